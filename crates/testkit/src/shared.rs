//! Data that is not part of the repository, for checks that can use it.

#![expect(clippy::print_stderr, reason = "a check that is skipped says so")]

use std::{
    env,
    path::{Path, PathBuf},
};

/// A file or folder of the data that lies beside the repository, if it is there.
///
/// It is looked for in `MASKFIT_DATA`, else in `../shared/data` beside the workspace.
/// Where it is absent, says so, and the check is to be skipped.
pub fn shared_data(path: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = env::var_os("MASKFIT_DATA").map_or(beside, PathBuf::from);
    let path = root.join(path);
    if !path.exists() {
        eprintln!("skipped: {} is absent (MASKFIT_DATA names another folder)", path.display());
        return None;
    }
    Some(path)
}
