//! Copies the face detector's model out of the package `rustface`, where its authors ship it.
//!
//! Where a package's files are depends on cargo: the registry's folder or a vendored one. So the script runs
//! `cargo metadata`, first with `--offline`. That fails on a machine that has built but never tested the
//! workspace, since the packages that only tests need are not there yet; then cargo may use the network.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const MODEL: &str = "model/seeta_fd_frontal_v1.0.bin";

fn main() -> Result<(), Box<dyn Error>> {
    let package = package(&["--offline"]).or_else(|_| package(&[]))?;
    let model = package.join(MODEL);
    let copy = Path::new(&env::var("OUT_DIR")?).join("face.bin");
    fs::write(copy, fs::read(&model).map_err(|err| format!("{}: {err}", model.display()))?)?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    Ok(())
}

/// Returns the folder of the package `rustface`.
fn package(how: &[&str]) -> Result<PathBuf, Box<dyn Error>> {
    let target = env::var("TARGET")?;
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &target])
        .args(how)
        .current_dir(env::var("CARGO_MANIFEST_DIR")?)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let output: Value = serde_json::from_slice(&output.stdout)?;
    let packages = output["packages"].as_array().ok_or("`cargo metadata` lists no packages")?;
    let package = packages.iter().find(|it| it["name"] == "rustface");
    let manifest = package.and_then(|it| it["manifest_path"].as_str());
    let dir = manifest.and_then(|it| Path::new(it).parent());
    Ok(dir.ok_or("`cargo metadata` lists no package `rustface`")?.to_owned())
}
