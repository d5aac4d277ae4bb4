//! `cargo xtask exports`: checks that ONNX Runtime and tract predict with exported models what we do, and timm with
//! exported weights: every published network, every head, and an ensemble with its preprocessing.
//!
//! `tests/zoo/export.rs` writes the cases, and `tests/peers/exports.py` compares them.

use std::{path::Path, process::Command};

use anyhow::{Context as _, ensure};

use crate::{peers::Peers, variables};

/// The test that writes a case.
const TEST: &str = "zoo::export::a_case_is_written_for_other_runtimes";

/// Compares all models, and prints a table.
pub(crate) fn check(root: &Path, program: &Path, peers: &Peers) -> anyhow::Result<()> {
    let (python, dir) = (peers.python.as_path(), peers.dir());
    let manifest = root.join("Cargo.toml");
    let test = ["test", "--release", "--workspace", "--test", "it", "--manifest-path"];
    let mut build = Command::new("cargo");
    let mut compare = Command::new(python);
    build.args(test).arg(&manifest).arg("--no-run");
    compare.arg(root.join("tests/peers/exports.py")).arg(program).arg(dir).arg("cargo");
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
