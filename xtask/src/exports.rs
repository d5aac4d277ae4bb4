//! `cargo xtask exports`: checks that ONNX Runtime and tract predict with exported models what we do, and timm with
//! exported weights: every published network, every head, and an ensemble with its preprocessing.
//!
//! `tests/zoo/export.rs` writes the cases, and `tests/peers/exports.py` compares them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

use crate::variables;

/// The test that writes a case.
const TEST: &str = "zoo::export::a_case_is_written_for_other_runtimes";

/// Compares all models, and prints a table.
///
/// - `words`: `--python PATH`, an interpreter with the libraries; `--keep FOLDER`, to keep the files.
pub(crate) fn check(root: &Path, program: &Path, words: &[String]) -> anyhow::Result<()> {
    let (mut python, mut keep) = (PathBuf::from("python3"), None);
    for pair in words.chunks(2) {
        match pair {
            [name, path] if name == "--python" => python = PathBuf::from(path),
            [name, path] if name == "--keep" => keep = Some(PathBuf::from(path)),
            _ => bail!("expected `--python PATH` or `--keep FOLDER`, not `{}`", pair.join(" ")),
        }
    }
    let temporary = tempfile::tempdir()?;
    let dir = keep.unwrap_or_else(|| temporary.path().to_owned());
    let manifest = root.join("Cargo.toml");
    let test = ["test", "--release", "--workspace", "--test", "it", "--manifest-path"];
    let mut build = Command::new("cargo");
    let mut compare = Command::new(&python);
    build.args(test).arg(&manifest).arg("--no-run");
    compare.arg(root.join("tests/peers/exports.py")).arg(program).arg(&dir).arg("cargo");
    compare.args(test).arg(&manifest).args(["--", "--exact", TEST]);
    for name in variables::of_cargo() {
        build.env_remove(&name);
        compare.env_remove(&name);
    }
    ensure!(build.status()?.success(), "building the tests failed");
    let status = compare.status().with_context(|| python.display().to_string())?;
    ensure!(status.success(), "some models differ, or could not be compared");
    Ok(())
}
