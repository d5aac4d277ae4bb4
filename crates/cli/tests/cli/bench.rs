//! A test fixture: a temporary folder to run the program in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use expect_test::Expect;
use tempfile::TempDir;

/// A temporary folder, usually with a small experiment and synthetic people.
pub(crate) struct Bench {
    dir: TempDir,
}

pub(crate) const SMALL: &str = r#"# A tiny network on a few people.
[data]
source = { kind = "mask_profiles", root = "people/train" }
split = { kind = "profile", ratio = 0.3 }

[augment]
train = [{ kind = "random_crop", size = [32, 24] }]
eval = [{ kind = "center_crop", size = [32, 24] }]

[model]
backbone = { kind = "efficientnet", variant = "lite0", width = 0.25, depth = 0.3 }

[train]
total = "2 epochs"
batch_size = 8
"#;

impl Bench {
    /// Creates an empty folder.
    pub(crate) fn empty() -> Bench {
        Bench { dir: tempfile::tempdir().unwrap() }
    }

    /// Creates a folder with the experiment and its data.
    pub(crate) fn new() -> Bench {
        let bench = Bench::empty();
        fs::write(bench.path("small.toml"), SMALL).unwrap();
        bench.ok(&[
            "data",
            "synthetic-people",
            "people",
            "--people",
            "8",
            "--test",
            "3",
            "--size",
            "40x32",
        ]);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_maskfit"));
        command.args(args).current_dir(self.dir.path()).env("MASKFIT_CACHE", self.path("cache"));
        for name in ["RUST_BACKTRACE", "CI", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed, and returns its stdout: the results.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.both(args).0
    }

    /// Runs a command that must succeed, and returns its stderr: progress, notes and status.
    #[track_caller]
    pub(crate) fn notes(&self, args: &[&str]) -> String {
        self.both(args).1
    }

    /// Runs a command that must succeed, and returns its stdout and stderr.
    #[track_caller]
    pub(crate) fn both(&self, args: &[&str]) -> (String, String) {
        let output = self.run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{args:?}\n{out}\n{err}");
        (out, err)
    }

    /// Runs a command that must fail with one error message, and create or remove no files.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], want: Expect) {
        let before = self.names();
        // Without the status, such as `reading the data`, nothing but the error is on stderr.
        let output = self.run(&[args, &["--quiet"]].concat());
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}\n{err}");
        assert_eq!(err.matches("error:").count(), 1, "{err}");
        want.assert_eq(err.trim_end());
        assert_eq!(self.names(), before, "the command left files");
    }

    /// Returns all paths in the folder except the cache.
    pub(crate) fn names(&self) -> Vec<PathBuf> {
        let mut names = Vec::new();
        let mut todo = vec![self.dir.path().to_owned()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && path != self.path("cache") {
                    todo.push(path.clone());
                }
                names.push(path);
            }
        }
        names.retain(|it| !it.starts_with(self.path("cache")));
        names.sort();
        names
    }

    /// Returns the path of an image of a synthetic person.
    pub(crate) fn image(&self, person: usize, name: &str) -> PathBuf {
        let images = self.path("people/train/images");
        let mut people: Vec<PathBuf> =
            fs::read_dir(images).unwrap().map(|it| it.unwrap().path()).collect();
        people.sort();
        people[person].join(name)
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the lines of messages, each on one line again where it was wrapped: the lines after its first are
/// indented.
pub(crate) fn unwrapped(messages: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in messages.lines() {
        match lines.last_mut() {
            // Tables are indented by more.
            Some(last) if matches!(line.len() - line.trim_start().len(), 2 | 6) => {
                *last += &format!(" {}", line.trim_start());
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

/// Replaces a field of the first row of a table without quotes for which `is_wanted` holds, and returns its image.
pub(crate) fn edit(
    table: &Path,
    column: usize,
    value: impl Fn(&str) -> String,
    is_wanted: impl Fn(&str) -> bool,
) -> String {
    let text = fs::read_to_string(table).unwrap();
    let row = text.lines().skip(1).find(|it| is_wanted(it)).unwrap();
    let mut fields: Vec<String> = row.split(',').map(str::to_owned).collect();
    fields[column] = value(&fields[column]);
    fs::write(table, text.replacen(row, &fields.join(","), 1)).unwrap();
    fields.swap_remove(0)
}

pub(crate) const TRAIN: [&str; 2] = ["train", "small.toml"];

/// Returns the files of a run that are reproducible byte for byte.
pub(crate) fn lasting(run: &Path) -> Vec<Vec<u8>> {
    let names = ["report.toml", "steps.csv", "epochs.csv", "valid.csv", "best/bundle.toml"];
    names.iter().map(|it| fs::read(run.join(it)).unwrap()).collect()
}
