//! Programs that measure: each ends with a line of JSON.

use std::{env, ffi::OsStr, path::PathBuf, process::Command};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Returns the path of this program.
pub(super) fn own() -> anyhow::Result<PathBuf> {
    env::current_exe().context("cannot find the path of this program")
}

/// Runs a command, and returns the JSON in the last line of its output.
pub(super) fn last_line(
    program: impl AsRef<OsStr>,
    args: &[impl AsRef<str>],
) -> anyhow::Result<Value> {
    let program = program.as_ref();
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    let command = || format!("{} {}", program.display(), args.join(" "));
    let output = Command::new(program).args(&args).output().with_context(command)?;
    if !output.status.success() {
        bail!(
            "{}: {}\n{}",
            command(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next_back().unwrap_or_default();
    let value: Option<Value> = serde_json::from_str(line).ok().filter(Value::is_object);
    value.with_context(|| format!("{}: its last line is not JSON: {line}", command()))
}

#[cfg(test)]
mod tests {
    use super::last_line;

    fn printed(text: &str) -> anyhow::Result<serde_json::Value> {
        last_line("printf", &[text])
    }

    #[test]
    fn only_the_last_line_is_parsed() -> anyhow::Result<()> {
        let line = printed("warming up\\n{\"train_img_s\": 3.5}\\n")?;
        assert_eq!(line["train_img_s"], 3.5);
        Ok(())
    }

    #[test]
    fn errors_name_the_command() {
        let err = printed("no figures").unwrap_err().to_string();
        assert_eq!(err, "printf no figures: its last line is not JSON: no figures");
        let none: [&str; 0] = [];
        let err = last_line("false", &none).unwrap_err().to_string();
        assert!(err.starts_with("false : exit status: 1"), "{err}");
        let err = last_line("no-such-program", &none).unwrap_err().to_string();
        assert_eq!(err, "no-such-program ");
    }
}
