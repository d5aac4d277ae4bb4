//! The environment variables that `cargo run` sets for this program, and that commands which it starts must not have.
//!
//! ring's build script depends on them, and would be rebuilt each time that an xtask command follows a cargo
//! command typed by the user.

use std::env;

/// Returns their names.
pub(crate) fn of_cargo() -> impl Iterator<Item = String> {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|it| it.starts_with("CARGO_PKG_") || it.starts_with("CARGO_MANIFEST_"))
}
