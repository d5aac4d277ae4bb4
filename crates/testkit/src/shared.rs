//! Data outside the repository, for tests that can use it.

#![expect(clippy::print_stderr, reason = "a skipped test is reported")]

use std::{
    env,
    path::{Path, PathBuf},
};

/// Returns a file or folder of the shared data outside the repository, if it exists.
///
/// It is looked up in `MASKFIT_DATA`, or else in `../shared/data` next to the workspace.
/// If it is absent, this is printed, and the test is to be skipped.
pub fn shared_data(path: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = env::var_os("MASKFIT_DATA").map_or(default, PathBuf::from);
    let path = root.join(path);
    if !path.exists() {
        eprintln!("skipped: {} is absent (set MASKFIT_DATA to use another folder)", path.display());
        return None;
    }
    Some(path)
}
