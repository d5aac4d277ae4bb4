//! `cargo xtask candle-cuda`: checks the types of the feature `candle-cuda` of `ops`, without CUDA.
//!
//! candle's `cuda` compiles its kernels with nvcc when it is built. To check types nothing is linked and nothing runs,
//! so that a compiler which leaves empty files is enough.
//! `Cargo.lock` does not list what candle's `cuda` depends on: cargo takes the newest that fits.

use std::{env, fs, path::Path};

use anyhow::Context as _;
use xshell::{Shell, cmd};

use crate::variables;

/// What is called as nvcc: makes the files that it is asked for.
const STAND_IN: &str = r#"#!/bin/sh
source= before=
for it in "$@"; do
    case "$it" in *.cu) source=$(basename "$it" .cu) ;; esac
done
for it in "$@"; do
    case "$before" in
        -o) : > "$it" ;;
        --output-directory) : > "$it/$source.ptx" ;;
    esac
    before=$it
done
echo "Cuda compilation tools, release 11.8"
"#;

/// Runs the lints, and so checks the types.
pub(crate) fn check(sh: &Shell, root: &Path) -> anyhow::Result<()> {
    sh.change_dir(root);
    // A folder of its own: with other features candle and all that depends on it is another build.
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let target = target.join("candle-cuda");
    fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
    let nvcc = target.join("nvcc");
    fs::write(&nvcc, STAND_IN).with_context(|| nvcc.display().to_string())?;
    make_executable(&nvcc)?;
    let lints = cmd!(
        sh,
        "cargo clippy --package ops --features ops/candle-cuda,candle/cuda --target-dir {target} -- -D warnings"
    );
    // The versions of CUDA and of the card are those that `gpu` is built for.
    let lints = lints.env("NVCC", &nvcc).env("CUDA_COMPUTE_CAP", "80");
    let lints = lints.env_remove("CUDARC_CUDA_VERSION");
    let lints = variables::of_cargo().fold(lints, |command, name| command.env_remove(name));
    lints.run().context("the feature `candle-cuda` does not compile")
}

#[cfg(unix)]
fn make_executable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| path.display().to_string())
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> anyhow::Result<()> {
    anyhow::bail!("the stand-in for nvcc is a shell script: run this on Linux or macOS")
}
