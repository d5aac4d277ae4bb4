//! The comparison of resumed runs with uninterrupted ones.

use anyhow::ensure;

use super::bench::Files;

/// The results of all runs.
#[derive(Default)]
pub(super) struct Tally {
    n_same: usize,
    pub(super) bad: Vec<String>,
}

impl Tally {
    pub(super) fn note(&mut self, whole: &Files, found: &Files, what: &str, out: &str) {
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

    pub(super) fn finish(self, n_times: usize) -> anyhow::Result<()> {
        println!("{} of {n_times} ended with identical bytes", self.n_same);
        ensure!(self.bad.is_empty(), "{} failed:\n{}", self.bad.len(), self.bad.join("\n"));
        Ok(())
    }
}
