//! Where runs were killed.

use std::fs;

use anyhow::ensure;

use super::aim::{Target, temporaries};
use crate::endurance::bench::Bench;

/// Where a kill occurred, determined from the files it left.
pub(super) struct Place {
    steps: usize,
    /// The targets that were being written.
    within: Vec<Target>,
}

impl Place {
    pub(super) fn of(bench: &Bench, name: &str) -> Place {
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

    pub(super) fn describe(&self, total: usize) -> String {
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
pub(super) struct Places {
    before: usize,
    between: usize,
    after: usize,
    checkpoint: usize,
    bundle: usize,
    table: usize,
    /// While writing any of the three.
    within: usize,
    /// Changes that were refused and reverted, and those that were refused and then allowed.
    pub(super) n_refused: usize,
    pub(super) n_allowed: usize,
}

impl Places {
    pub(super) fn note(&mut self, place: &Place, total: usize) {
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
    pub(super) fn check(&self) -> anyhow::Result<()> {
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
