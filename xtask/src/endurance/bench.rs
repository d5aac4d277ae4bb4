//! The runs that are interrupted, in a temporary folder.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use anyhow::{Context as _, bail};

/// Sixty steps with every component that has state between steps.
const EXPERIMENT: &str = r#"
threads = 1
track   = [{ kind = "csv" }, { kind = "jsonl" }, { kind = "tensorboard" }, { kind = "wandb" }]

[run]
name = "run"

[data]
source    = { kind = "synthetic_people", n_people = 30, n_test = 6, size = [48, 40], seed = 1 }
reviewed  = ["reviewed.csv"]
sampler   = { kind = "dynamic_balance" }
num_workers = 2

[augment]
train = [{ kind = "random_crop", size = [40, 36] }, { kind = "color_jitter" }, { kind = "horizontal_flip" }]
eval  = [{ kind = "center_crop", size = [40, 36] }]
mix   = [{ kind = "mixup", alpha = 0.4 }]

[schedule]
kind  = "cosine_restarts"
cycle = 1.0

[average]
kind  = "ema"
decay = 0.95

[train]
total      = "60 steps"
batch_size = 8

[eval]
every   = "10 steps"
best_by = { kind = "log_loss" }

[checkpoint]
every = "5 steps"
"#;

/// The table of reviewed labels that the experiment names, and its header.
pub(super) const REVIEWED: &str = "reviewed.csv";
pub(super) const HEADER: &str = "group,image,factor,given,suggested,score,decision\n";

/// File contents by name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// A temporary folder with experiments and their runs.
pub(super) struct Bench {
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new(program: &Path, within: &Path) -> anyhow::Result<Bench> {
        Ok(Bench { program: program.to_owned(), dir: tempfile::tempdir_in(within)? })
    }

    /// Creates a folder for a run, with the experiment.
    pub(super) fn begin(&self, name: &str) -> anyhow::Result<()> {
        let place = self.place(name);
        fs::create_dir(&place)?;
        fs::write(place.join("experiment.toml"), EXPERIMENT)?;
        fs::write(place.join(REVIEWED), HEADER)?;
        Ok(())
    }

    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the folder of the run.
    pub(super) fn run(&self, name: &str) -> PathBuf {
        self.place(name).join("runs/run")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(self.place(name)).env("MASKFIT_CACHE", self.dir.path().join("cache"));
        command
    }

    pub(super) fn train(&self, name: &str) -> Command {
        let mut command = self.command(name);
        command.args(["train", "experiment.toml"]);
        command
    }

    pub(super) fn resume(&self, name: &str) -> Command {
        let mut command = self.command(name);
        command.args(["train", "--resume", "runs/run"]);
        command
    }

    /// Starts a run, or resumes it if it exists, with further arguments.
    pub(super) fn start(&self, name: &str, args: &[&str]) -> anyhow::Result<Child> {
        let mut command: Command = match self.is_begun(name) {
            true => self.resume(name),
            false => self.train(name),
        };
        command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("cannot start the program")
    }

    pub(super) fn whole(&self) -> anyhow::Result<Files> {
        self.begin("whole")?;
        succeeds(self.train("whole").output()?)?;
        self.files("whole")
    }

    /// Returns the number of steps in the table of a run.
    pub(super) fn steps(&self, name: &str) -> usize {
        let table = fs::read_to_string(self.run(name).join("steps.csv")).unwrap_or_default();
        table.lines().count().saturating_sub(1)
    }

    /// Returns whether there is a run to resume.
    fn is_begun(&self, name: &str) -> bool {
        self.run(name).join("config.toml").is_file()
    }

    /// Resumes a run, or begins it if there is none yet.
    pub(super) fn resume_or_begin(&self, name: &str) -> anyhow::Result<String> {
        if self.run(name).join("report.toml").is_file() {
            return Ok("already finished".to_owned());
        }
        match self.is_begun(name) {
            true => succeeds(self.resume(name).output()?),
            false => succeeds(self.train(name).output()?),
        }
    }

    /// Returns the files of a run, except those that contain times.
    pub(super) fn files(&self, name: &str) -> anyhow::Result<Files> {
        let mut files = BTreeMap::new();
        let mut todo = vec![self.run(name)];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
                let path = entry?.path();
                let relative = path.strip_prefix(self.run(name))?.display().to_string();
                // These contain times.
                if ["tensorboard", "wandb"].contains(&relative.as_str()) {
                    continue;
                }
                if path.is_dir() {
                    todo.push(path);
                } else if !["timing.csv", "report.html", "lock"].contains(&relative.as_str()) {
                    files.insert(relative, fs::read(path)?);
                }
            }
        }
        Ok(files)
    }
}

/// Returns what a program printed that must have succeeded.
pub(super) fn succeeds(output: Output) -> anyhow::Result<String> {
    let [out, err] =
        [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it).into_owned());
    match output.status.success() {
        true => Ok(err + &out),
        false => bail!("{out}{err}"),
    }
}
