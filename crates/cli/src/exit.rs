//! The exit codes of the program: what it returns, its help and the reference have them from here.

/// The command did what it was asked to.
pub(crate) const DONE: u8 = 0;
/// An error of the user or of the system.
pub(crate) const FAILED: u8 = 1;
/// A bug in this program.
pub(crate) const BUG: u8 = 2;
/// After Ctrl-C, by shell convention.
pub(crate) const INTERRUPTED: u8 = 130;

/// Every exit code, with its meaning.
pub(crate) const CODES: [(u8, &str); 4] = [
    (DONE, "success; of `serve` also after Ctrl-C or SIGTERM"),
    (FAILED, "an error of the user or the system, such as a wrong setting"),
    (BUG, "a bug of maskfit: please report it"),
    (INTERRUPTED, "stopped by Ctrl-C or SIGTERM"),
];

/// Formats the codes for `--help`.
pub(crate) fn help() -> String {
    let lines = CODES.map(|(code, meaning)| format!("  {code:<4} {meaning}"));
    format!("Exit codes:\n{}", lines.join("\n"))
}
