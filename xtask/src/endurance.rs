//! `cargo xtask kill` and `cargo xtask full-disk`: a run that is interrupted at any moment and resumed must
//! leave the same bytes as an uninterrupted run.

mod kill;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context as _, bail, ensure};
pub(crate) use kill::kill;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

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
const REVIEWED: &str = "reviewed.csv";
const HEADER: &str = "person,image,factor,given,suggested,score,decision\n";

/// File contents by name.
type Files = BTreeMap<String, Vec<u8>>;

/// Runs experiments on a small file system, which is filled up to a few bytes at random moments.
pub(crate) fn full_disk(program: &Path, n_times: usize) -> anyhow::Result<()> {
    let Some(disk) = env::var_os(DISK).map(PathBuf::from) else {
        // In a separate mount namespace the file system is private, and disappears with this process.
        let disk = env::temp_dir().join(format!("maskfit-disk-{}", std::process::id()));
        fs::create_dir_all(&disk)?;
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c"]);
        command.arg("mount -t tmpfs -o size=64m tmpfs \"$1\" && exec \"$2\" full-disk \"$3\"");
        command.arg("sh").arg(&disk).arg(env::current_exe()?).arg(n_times.to_string());
        let status = command.env(DISK, &disk).status();
        drop(fs::remove_dir(&disk));
        ensure!(
            status.context("`unshare` is needed, to mount a small disk")?.success(),
            "the test failed"
        );
        return Ok(());
    };
    let bench = Bench::new(program, &disk)?;
    let began = Instant::now();
    let whole = bench.whole()?;
    let lasts = began.elapsed();
    let largest = whole.values().map(Vec::len).max().unwrap_or(0);
    fs::remove_dir_all(bench.place("whole"))?;
    let mut rng = StdRng::seed_from_u64(0);
    let mut tally = Tally::default();
    for idx in 0..n_times {
        let name = format!("full-{idx}");
        let ballast = disk.join("ballast");
        bench.begin(&name)?;
        // Often less than a page, sometimes nearly two files.
        let room = (2.0 * largest as f64 * rng.random::<f64>().powi(4)) as usize;
        let mut train = bench.train(&name);
        let child = train.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        thread::sleep(lasts.mul_f64(rng.random()));
        fill(&ballast, room)?;
        let output = child.wait_with_output()?;
        let steps = bench.steps(&name);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let n_errors = errors.lines().filter(|it| it.starts_with("error:")).count();
        fs::remove_file(&ballast)?;
        let what = match output.status.success() {
            true => format!("{room} bytes were enough"),
            false => format!("full after {steps} steps"),
        };
        println!("{what}: {}", errors.trim().lines().collect::<Vec<_>>().join(" | "));
        let is_clear = output.status.success() || n_errors == 1 && errors.contains("No space left");
        if !is_clear {
            tally.bad.push(format!("{what}, with unexpected errors: {errors}"));
        }
        let out = bench.resume_or_begin(&name)?;
        tally.note(&whole, &bench.files(&name)?, &what, &out);
        fs::remove_dir_all(bench.place(&name))?;
    }
    tally.finish(n_times)
}

/// The environment variable with the path of the small disk, set for the inner process.
const DISK: &str = "MASKFIT_FULL_DISK";

/// Fills the disk until about `room` bytes are left, up to the block size.
fn fill(ballast: &Path, room: usize) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(ballast)?;
    let block = vec![1; 4096];
    while file.write_all(&block).is_ok() {}
    let n = fs::metadata(ballast)?.len();
    file.set_len(n.saturating_sub(room as u64))?;
    Ok(())
}

/// A temporary folder with experiments and their runs.
struct Bench {
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(program: &Path, within: &Path) -> anyhow::Result<Bench> {
        Ok(Bench { program: program.to_owned(), dir: tempfile::tempdir_in(within)? })
    }

    /// Creates a folder for a run, with the experiment.
    fn begin(&self, name: &str) -> anyhow::Result<()> {
        let place = self.place(name);
        fs::create_dir(&place)?;
        fs::write(place.join("experiment.toml"), EXPERIMENT)?;
        fs::write(place.join(REVIEWED), HEADER)?;
        Ok(())
    }

    fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the folder of the run.
    fn run(&self, name: &str) -> PathBuf {
        self.place(name).join("runs/run")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(self.place(name)).env("MASKFIT_CACHE", self.dir.path().join("cache"));
        command
    }

    fn train(&self, name: &str) -> Command {
        let mut command = self.command(name);
        command.args(["train", "experiment.toml"]);
        command
    }

    fn resume(&self, name: &str) -> Command {
        let mut command = self.command(name);
        command.args(["train", "--resume", "runs/run"]);
        command
    }

    fn whole(&self) -> anyhow::Result<Files> {
        self.begin("whole")?;
        succeeds(self.train("whole").output()?)?;
        self.files("whole")
    }

    /// Returns the number of steps in the table of a run.
    fn steps(&self, name: &str) -> usize {
        let table = fs::read_to_string(self.run(name).join("steps.csv")).unwrap_or_default();
        table.lines().count().saturating_sub(1)
    }

    /// Returns whether there is a run to resume.
    fn is_begun(&self, name: &str) -> bool {
        self.run(name).join("config.toml").is_file()
    }

    /// Resumes a run, or begins it if there is none yet.
    fn resume_or_begin(&self, name: &str) -> anyhow::Result<String> {
        if self.run(name).join("report.toml").is_file() {
            return Ok("already finished".to_owned());
        }
        match self.is_begun(name) {
            true => succeeds(self.resume(name).output()?),
            false => succeeds(self.train(name).output()?),
        }
    }

    /// Returns the files of a run, except those that contain times.
    fn files(&self, name: &str) -> anyhow::Result<Files> {
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
                } else if !["timing.csv", "lock"].contains(&relative.as_str()) {
                    files.insert(relative, fs::read(path)?);
                }
            }
        }
        Ok(files)
    }
}

/// Returns what a program printed that must have succeeded.
fn succeeds(output: Output) -> anyhow::Result<String> {
    let [out, err] =
        [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it).into_owned());
    match output.status.success() {
        true => Ok(err + &out),
        false => bail!("{out}{err}"),
    }
}

/// The results of all runs.
#[derive(Default)]
struct Tally {
    n_same: usize,
    bad: Vec<String>,
}

impl Tally {
    fn note(&mut self, whole: &Files, found: &Files, what: &str, out: &str) {
        let from = out.lines().find(|it| it.contains("after step")).unwrap_or("from the beginning");
        let names = whole.keys().chain(found.keys());
        let differ: Vec<&String> = names.filter(|&it| whole.get(it) != found.get(it)).collect();
        match differ.is_empty() {
            true => {
                self.n_same += 1;
                println!("{what}, {}: identical", from.trim());
            }
            false => {
                println!("{what}, {}: DIFFERENT in {differ:?}", from.trim());
                self.bad.push(format!("{what}: {differ:?}"));
            }
        }
    }

    fn finish(self, n_times: usize) -> anyhow::Result<()> {
        println!("{} of {n_times} ended with identical bytes", self.n_same);
        ensure!(self.bad.is_empty(), "{} failed:\n{}", self.bad.len(), self.bad.join("\n"));
        Ok(())
    }
}
