//! What all pages of the reference are written with.

use std::path::Path;

/// The first line of a generated page.
pub(super) const NOTE: &str = "<!-- Generated from the code by `cargo xtask docs`: change the comments in the code instead. -->\n";

/// The repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Formats the cell of a Markdown table.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

/// Formats the cell of a Markdown table with code, in which `<` needs no escape.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}
