//! `cargo xtask kill`: kills runs with `kill -9` and resumes them.
//!
//! A kill is triggered by the contents of the run's folder: a row of `steps.csv`, or the temporary file of an
//! atomic write (a few are triggered by time, to cover the beginning and the end of the program). Where the
//! kill occurred is determined from the files it left, not from its trigger: one that missed its target
//! counts for what it hit.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{Bench, Files, HEADER, REVIEWED, Tally, succeeds};

/// Kills runs with `kill -9`, in parallel on all cores, and resumes them; every other run is first resumed
/// with different settings or labels, which must be refused, or is allowed.
pub(crate) fn kill(program: &Path, n_times: usize) -> anyhow::Result<()> {
    let bench = Bench::new(program, &std::env::temp_dir())?;
    let began = Instant::now();
    let whole = bench.whole()?;
    let lasts = began.elapsed();
    let course = Course {
        lasts,
        total: bench.steps("whole"),
        better: bench.better("whole")?,
        person: bench.trained_on("whole")?,
    };
    ensure!(
        course.total > 20 && !course.better.is_empty(),
        "the run is too short to be killed at a chosen moment"
    );
    println!(
        "an uninterrupted run takes {:.1} s and has {} steps; {n_times} runs are killed",
        lasts.as_secs_f64(),
        course.total
    );
    let (next, tally, places) =
        (AtomicUsize::new(0), Mutex::<Tally>::default(), Mutex::<Places>::default());
    let one = |idx: usize| -> anyhow::Result<()> {
        let name = format!("killed-{idx}");
        let mut rng = StdRng::seed_from_u64(idx as u64);
        bench.begin(&name)?;
        let mut kills = Vec::new();
        for aim in course.aims(&mut rng) {
            strike(&mut bench.start(&name, &[])?, &bench.run(&name), &aim)?;
            let place = Place::of(&bench, &name);
            kills.push(place.describe(course.total));
            places.lock().expect(NO_PANIC).note(&place, course.total);
        }
        let mut what = kills.join(", then ");
        if idx % 2 == 1 && bench.is_resumable(&name) {
            let change = Change::sample(&course, &mut rng);
            what += &format!(", {}", change.describe());
            bench.refuses(&name, &change).with_context(|| what.clone())?;
            if rng.random_bool(0.4) {
                places.lock().expect(NO_PANIC).n_allowed += 1;
                let (alone, again) = bench
                    .allowed(&name, &change, &whole, &course, &mut rng)
                    .with_context(|| what.clone())?;
                what += ", refused, then allowed and killed again";
                tally.lock().expect(NO_PANIC).note(&alone, &again, &what, "");
                return Ok(fs::remove_dir_all(bench.place(&name))?);
            }
            places.lock().expect(NO_PANIC).n_refused += 1;
            what += ", refused, and reverted";
        }
        let out = bench.resume_or_begin(&name)?;
        let found = bench.files(&name)?;
        tally.lock().expect(NO_PANIC).note(&whole, &found, &what, &out);
        Ok(fs::remove_dir_all(bench.place(&name))?)
    };
    let work = || {
        while let idx = next.fetch_add(1, Ordering::Relaxed)
            && idx < n_times
        {
            if let Err(err) = one(idx) {
                println!("run {idx}: {err:#}");
                tally.lock().expect(NO_PANIC).bad.push(format!("run {idx}: {err:#}"));
            }
        }
    };
    thread::scope(|scope| {
        let n_workers = thread::available_parallelism().map_or(1, usize::from);
        (0..n_workers).for_each(|_| drop(scope.spawn(work)));
    });
    let places = places.into_inner().expect(NO_PANIC);
    println!("in {:.0} s {places}", began.elapsed().as_secs_f64());
    tally.into_inner().expect(NO_PANIC).finish(n_times)?;
    places.check()
}

const NO_PANIC: &str = "no thread panics";

/// Interval for polling a run's folder.
const POLL: Duration = Duration::from_micros(100);

/// Properties of an uninterrupted run.
struct Course {
    lasts: Duration,
    total: usize,
    /// The steps with the best evaluation so far, at which a bundle was written.
    better: Vec<usize>,
    /// A person in the training set.
    person: String,
}

/// The trigger of a kill.
enum Aim {
    /// This long after the program was started.
    Time(Duration),
    /// This long after this many steps.
    Step(usize, Duration),
    /// This long after the start of the first write of this target that follows this many steps.
    Write(Target, usize, Duration),
}

/// An atomically written target.
#[derive(Clone, Copy, PartialEq)]
enum Target {
    Checkpoint,
    Bundle,
    Table,
}

impl Target {
    /// Returns its folder in the run's folder.
    fn dir(self) -> &'static str {
        match self {
            Target::Checkpoint => "checkpoints",
            Target::Bundle => "best",
            Target::Table => "",
        }
    }
}

impl Course {
    /// Samples the trigger of a kill, and sometimes of a second kill after resuming.
    fn aims(&self, rng: &mut StdRng) -> Vec<Aim> {
        let inner = |rng: &mut StdRng| rng.random_range(1..self.total - 5);
        // Most files take a few milliseconds.
        let soon = |rng: &mut StdRng| Duration::from_secs_f64(3e-3 * rng.random::<f64>().powi(2));
        let a_step = self.lasts.div_f64(self.total as f64);
        let step = |rng: &mut StdRng| Aim::Step(inner(rng), a_step.mul_f64(rng.random()));
        match rng.random_range(0..100) {
            0..10 => vec![Aim::Time(self.lasts.mul_f64(rng.random()))],
            10..40 => vec![step(rng)],
            40..70 => vec![Aim::Write(Target::Checkpoint, inner(rng), soon(rng))],
            70..88 => {
                let better = &self.better[..self.better.len().min(4)];
                let at = better[rng.random_range(0..better.len())];
                vec![Aim::Write(Target::Bundle, at, soon(rng))]
            }
            // The final tables.
            88..92 => vec![Aim::Write(Target::Table, self.total, soon(rng))],
            // Tables are truncated when a run is resumed.
            _ => vec![step(rng), Aim::Write(Target::Table, 0, soon(rng))],
        }
    }
}

/// Kills a program at the trigger, unless it ends before.
fn strike(child: &mut Child, run: &Path, aim: &Aim) -> anyhow::Result<()> {
    let began = Instant::now();
    let is_due = || match aim {
        Aim::Time(after) => began.elapsed() >= *after,
        Aim::Step(step, _) => n_rows(&run.join("steps.csv")) >= *step,
        Aim::Write(target, step, _) => {
            n_rows(&run.join("steps.csv")) >= *step
                && !temporaries(&run.join(target.dir())).is_empty()
        }
    };
    while !is_due() {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        thread::sleep(POLL);
    }
    if let Aim::Step(_, after) | Aim::Write(_, _, after) = aim {
        thread::sleep(*after);
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Returns the number of rows of a table without its header; 0 if there is no table.
fn n_rows(path: &Path) -> usize {
    let text = fs::read(path).unwrap_or_default();
    text.iter().filter(|it| **it == b'\n').count().saturating_sub(1)
}

/// Returns the temporary files of a folder: unfinished writes.
fn temporaries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = names.map(|it| it.file_name().to_string_lossy().into_owned());
    names.filter(|it| it.starts_with('.') && it.ends_with(".tmp")).collect()
}

/// Where a kill occurred, determined from the files it left.
struct Place {
    steps: usize,
    /// The targets that were being written.
    within: Vec<Target>,
}

impl Place {
    fn of(bench: &Bench, name: &str) -> Place {
        let run = bench.run(name);
        let mut within = Vec::new();
        for target in [Target::Checkpoint, Target::Bundle, Target::Table] {
            let dir = run.join(target.dir());
            let names = || fs::read_dir(&dir).into_iter().flatten().flatten();
            let names = names().map(|it| it.file_name().to_string_lossy().into_owned());
            let weights: Vec<String> = names.filter(|it| it.ends_with(".safetensors")).collect();
            let is_half = !temporaries(&dir).is_empty()
                || match target {
                    // Both the new and the old one exist.
                    Target::Checkpoint => {
                        weights.iter().filter(|it| !it.starts_with('.')).count() > 1
                    }
                    // Weights without the description that names them.
                    Target::Bundle => {
                        let text = fs::read_to_string(dir.join("bundle.toml")).unwrap_or_default();
                        weights.iter().any(|it| !it.starts_with('.') && !text.contains(it.as_str()))
                    }
                    Target::Table => ["steps.csv", "epochs.csv", "metrics.csv", "metrics.jsonl"]
                        .iter()
                        .any(|it| fs::read(dir.join(it)).is_ok_and(|it| !it.ends_with(b"\n"))),
                };
            if is_half {
                within.push(target);
            }
        }
        Place { steps: bench.steps(name), within }
    }

    fn describe(&self, total: usize) -> String {
        let what = |it: &Target| match it {
            Target::Checkpoint => ", while writing a checkpoint",
            Target::Bundle => ", while writing a bundle",
            Target::Table => ", while writing a table",
        };
        let within: String = self.within.iter().map(what).collect();
        format!("killed after {} of {total} steps{within}", self.steps)
    }
}

/// Numbers of kills by place.
#[derive(Default)]
struct Places {
    before: usize,
    between: usize,
    after: usize,
    checkpoint: usize,
    bundle: usize,
    table: usize,
    /// While writing any of the three.
    within: usize,
    /// Changes that were refused and reverted, and those that were refused and then allowed.
    n_refused: usize,
    n_allowed: usize,
}

impl Places {
    fn note(&mut self, place: &Place, total: usize) {
        match place.steps {
            0 => self.before += 1,
            it if it < total => self.between += 1,
            _ => self.after += 1,
        }
        self.checkpoint += usize::from(place.within.contains(&Target::Checkpoint));
        self.bundle += usize::from(place.within.contains(&Target::Bundle));
        self.table += usize::from(place.within.contains(&Target::Table));
        self.within += usize::from(!place.within.is_empty());
    }

    fn all(&self) -> usize {
        self.before + self.between + self.after
    }

    fn percent(&self, n: usize) -> usize {
        100 * n / self.all().max(1)
    }

    /// Checks that enough kills hit interesting moments, if there were at least 50 kills.
    fn check(&self) -> anyhow::Result<()> {
        let is_aimed = self.percent(self.between) >= 80 && self.percent(self.within) >= 25;
        ensure!(
            is_aimed || self.all() < 50,
            "too few kills between the first and the last step, or during the writing of a file"
        );
        Ok(())
    }
}

impl std::fmt::Display for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} kills:", self.all())?;
        for (n, what) in [
            (self.before, "before the first step"),
            (self.between, "between the first and the last step"),
            (self.after, "after the last step"),
            (self.checkpoint, "while writing a checkpoint"),
            (self.bundle, "while writing a bundle"),
            (self.table, "while writing a table"),
            (self.within, "while writing any of these"),
        ] {
            writeln!(f, "{n:>6}  {:>3} %  {what}", self.percent(n))?;
        }
        writeln!(
            f,
            "settings or labels changed before {} resumes: all refused by name; then {} reverted, {} allowed",
            self.n_refused + self.n_allowed,
            self.n_refused,
            self.n_allowed
        )
    }
}

/// A change before a run is resumed.
enum Change {
    /// The `--set` argument for a setting that affects the results, and the setting's name.
    Setting(&'static str, &'static str),
    /// A decision on a label of a training image: the row of the reviewed table, and the image.
    Label(String, String),
}

impl Change {
    fn sample(course: &Course, rng: &mut StdRng) -> Change {
        const SETTINGS: [(&str, &str); 6] = [
            ("optim.lr=1e-3", "optim.lr"),
            ("train.warmup=0 steps", "train.warmup"),
            ("train.total=70 steps", "train.total"),
            ("average.decay=0.9", "average.decay"),
            ("augment.mix=[]", "augment.mix"),
            ("seed=9", "seed"),
        ];
        const DECISIONS: [&str; 3] = ["drop", "weight 0.5", "fix"];
        if rng.random() {
            let (set, name) = SETTINGS[rng.random_range(0..SETTINGS.len())];
            return Change::Setting(set, name);
        }
        let (person, decision) = (&course.person, DECISIONS[rng.random_range(0..DECISIONS.len())]);
        let image = format!("{person}/normal.jpg");
        Change::Label(format!("{person},{image},mask,not worn,worn,0.1,{decision}\n"), image)
    }

    fn describe(&self) -> String {
        match self {
            Change::Setting(set, _) => format!("resumed with {set}"),
            Change::Label(row, _) => {
                let decision = row.trim_end().rsplit(',').next().unwrap_or_default();
                format!("resumed with the decision `{decision}` on a label")
            }
        }
    }

    /// Returns the arguments it adds to the command.
    fn args(&self) -> Vec<&str> {
        match self {
            Change::Setting(set, _) => vec!["--set", set],
            Change::Label(..) => Vec::new(),
        }
    }

    /// Returns the name that the refusal must contain.
    fn name(&self) -> &str {
        match self {
            Change::Setting(_, name) => name,
            Change::Label(_, image) => image,
        }
    }
}

impl Bench {
    /// Starts a run, or resumes it if it exists, with further arguments.
    fn start(&self, name: &str, args: &[&str]) -> anyhow::Result<Child> {
        let mut command: Command = match self.is_begun(name) {
            true => self.resume(name),
            false => self.train(name),
        };
        command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("cannot start the program")
    }

    /// Returns whether a run has a checkpoint and is not finished.
    fn is_resumable(&self, name: &str) -> bool {
        let checkpoints = fs::read_dir(self.run(name).join("checkpoints")).into_iter().flatten();
        let mut names =
            checkpoints.flatten().map(|it| it.file_name().to_string_lossy().into_owned());
        let is_finished = self.run(name).join("report.toml").is_file();
        !is_finished && names.any(|it| !it.starts_with('.'))
    }

    /// Checks that a change is refused by name, and that no files are changed.
    fn refuses(&self, name: &str, change: &Change) -> anyhow::Result<()> {
        let reviewed = self.place(name).join(REVIEWED);
        let before = self.lasting(name)?;
        if let Change::Label(row, _) = change {
            fs::write(&reviewed, format!("{HEADER}{row}"))?;
        }
        let output = self.resume(name).args(change.args()).output()?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_clear = output.status.code() == Some(1)
            && errors.matches("error:").count() == 1
            && errors.contains(change.name())
            && errors.contains("--allow-changes");
        ensure!(
            is_clear,
            "expected a refusal by name, but the program ended with {}: {errors}",
            output.status
        );
        ensure!(self.lasting(name)? == before, "the refusal changed files of the run");
        fs::write(&reviewed, HEADER)?;
        Ok(())
    }

    /// Resumes a run with an allowed change, once uninterrupted and once killed again; returns the files of
    /// both.
    fn allowed(
        &self,
        name: &str,
        change: &Change,
        whole: &Files,
        course: &Course,
        rng: &mut StdRng,
    ) -> anyhow::Result<(Files, Files)> {
        if let Change::Label(row, _) = change {
            fs::write(self.place(name).join(REVIEWED), format!("{HEADER}{row}"))?;
        }
        let other = format!("{name}-again");
        copy(&self.place(name), &self.place(&other))?;
        let begun = fs::read(self.run(name).join("config.toml"))?;
        let args = [&["--allow-changes"], &change.args()[..]].concat();
        let out = succeeds(self.resume(name).args(&args).output()?)?;
        let changed = out.lines().any(|it| it.contains("changed: ") && it.contains(change.name()));
        ensure!(changed, "the output does not name the change: {out}");
        let from = out
            .lines()
            .find_map(|it| it.split_once("after step ")?.1.split(' ').next()?.parse().ok());
        let from: usize =
            from.with_context(|| format!("the output does not name the step: {out}"))?;
        // Earlier steps are unchanged, and each step occurs once.
        let alone = self.files(name)?;
        let table = |files: &Files| -> Vec<String> {
            let text = files.get("steps.csv").map(|it| String::from_utf8_lossy(it).into_owned());
            text.unwrap_or_default().lines().skip(1).map(str::to_owned).collect()
        };
        let (ours, theirs) = (table(&alone), table(whole));
        ensure!(ours[..from] == theirs[..from], "steps before the change differ");
        let steps = ours.iter().map(|it| it.split(',').next().unwrap_or_default().to_owned());
        let n_steps = if change.name() == "train.total" { 70 } else { course.total };
        ensure!(
            steps.eq((1..=n_steps).map(|it| it.to_string())),
            "steps are missing, or occur twice"
        );
        if let Change::Setting(..) = change {
            let kept = alone.get(&format!("config-until-{from}.toml"));
            ensure!(kept == Some(&begun), "the settings until step {from} are not saved");
            ensure!(alone.get("config.toml") != Some(&begun), "the settings are not the new ones");
        }
        // The other run is killed soon after resuming, or later.
        let aim = match rng.random_range(0..4) {
            0 => Aim::Time(course.lasts.mul_f64(0.2 * rng.random::<f64>())),
            1 => Aim::Write(Target::Table, 0, Duration::from_micros(rng.random_range(0..2000))),
            2 => Aim::Write(
                Target::Checkpoint,
                from,
                Duration::from_micros(rng.random_range(0..2000)),
            ),
            _ => Aim::Step(rng.random_range(from..course.total), Duration::ZERO),
        };
        strike(&mut self.start(&other, &args)?, &self.run(&other), &aim)?;
        // Until there is a checkpoint after the change, the change must be allowed again.
        let finished = self.run(&other).join("report.toml").is_file();
        if !finished {
            // If it was killed before it had saved the new settings, the run is unchanged: resumed without
            // the change it would continue with the old settings.
            let is_untouched = fs::read(self.run(&other).join("config.toml"))? == begun;
            let is_lost = is_untouched && matches!(change, Change::Setting(..));
            let args_again: &[&str] = if is_lost { &args } else { &[] };
            let output = self.resume(&other).args(args_again).output()?;
            if !output.status.success() {
                let errors = String::from_utf8_lossy(&output.stderr);
                ensure!(
                    errors.contains("--allow-changes"),
                    "expected a refusal, but the program failed: {errors}"
                );
                succeeds(self.resume(&other).args(&args).output()?)?;
            }
        }
        let again = self.files(&other)?;
        fs::remove_dir_all(self.place(&other))?;
        Ok((alone, again))
    }

    /// Returns the files of a run, except unfinished writes and the lock.
    fn lasting(&self, name: &str) -> anyhow::Result<Files> {
        let mut files = self.files(name)?;
        files.retain(|it, _| !it.ends_with(".tmp"));
        Ok(files)
    }

    /// Returns a person in the training set of a run.
    fn trained_on(&self, name: &str) -> anyhow::Result<String> {
        let table = fs::read_to_string(self.run(name).join("split.csv"))?;
        let person = table.lines().find_map(|it| it.strip_suffix(",train"));
        Ok(person.context("`split.csv` has no person in the training set")?.to_owned())
    }

    /// Returns the steps with the best evaluation so far.
    fn better(&self, name: &str) -> anyhow::Result<Vec<usize>> {
        let table = fs::read_to_string(self.run(name).join("epochs.csv"))?;
        let mut rows = table.lines().map(|it| it.split(','));
        let column = rows.next().and_then(|mut it| it.position(|it| it == "best"));
        let column = column.context("`epochs.csv` has no column `best`")?;
        let better = rows.filter_map(|mut row| {
            let step = row.next()?.parse().ok()?;
            (row.nth(column - 1)? == "true").then_some(step)
        });
        Ok(better.collect())
    }
}

/// Copies a folder recursively.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => drop(fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}
