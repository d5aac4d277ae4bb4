//! When a run is killed.

use std::{
    fs,
    path::Path,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use rand::{Rng as _, rngs::StdRng};

use super::course::Course;

/// Interval for polling a run's folder.
const POLL: Duration = Duration::from_micros(100);

/// The trigger of a kill.
pub(super) enum Aim {
    /// This long after the program was started.
    Time(Duration),
    /// This long after this many steps.
    Step(usize, Duration),
    /// This long after the start of the first write of this target that follows this many steps.
    Write(Target, usize, Duration),
}

/// An atomically written target.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Target {
    Checkpoint,
    Bundle,
    Table,
}

impl Target {
    /// Returns its folder in the run's folder.
    pub(super) fn dir(self) -> &'static str {
        match self {
            Target::Checkpoint => "checkpoints",
            Target::Bundle => "best",
            Target::Table => "",
        }
    }
}

impl Course {
    /// Samples the trigger of a kill, and sometimes of a second kill after resuming.
    pub(super) fn aims(&self, rng: &mut StdRng) -> Vec<Aim> {
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
pub(super) fn strike(child: &mut Child, run: &Path, aim: &Aim) -> anyhow::Result<()> {
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
pub(super) fn temporaries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = names.map(|it| it.file_name().to_string_lossy().into_owned());
    names.filter(|it| it.starts_with('.') && it.ends_with(".tmp")).collect()
}
