//! The uninterrupted run, which tells when the others can be killed.

use std::{fs, time::Duration};

use anyhow::Context as _;

use crate::endurance::bench::Bench;

/// Properties of an uninterrupted run.
pub(super) struct Course {
    pub(super) lasts: Duration,
    pub(super) total: usize,
    /// The steps with the best evaluation so far, at which a bundle was written.
    pub(super) better: Vec<usize>,
    /// A group in the training set.
    pub(super) group: String,
}

impl Course {
    /// Reads the properties of a run that has ended.
    pub(super) fn of(bench: &Bench, name: &str, lasts: Duration) -> anyhow::Result<Course> {
        Ok(Course {
            lasts,
            total: bench.steps(name),
            better: bench.better(name)?,
            group: bench.trained_on(name)?,
        })
    }
}

impl Bench {
    /// Returns a group in the training set of a run.
    fn trained_on(&self, name: &str) -> anyhow::Result<String> {
        let table = fs::read_to_string(self.run(name).join("split.csv"))?;
        let group = table.lines().find_map(|it| it.strip_suffix(",train"));
        Ok(group.context("`split.csv` has no group in the training set")?.to_owned())
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
