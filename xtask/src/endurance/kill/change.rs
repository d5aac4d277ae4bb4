//! Changes of settings and labels, with which a killed run is resumed.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use rand::{Rng as _, rngs::StdRng};

use super::{
    aim::{Aim, Target, strike},
    course::Course,
};
use crate::endurance::bench::{Bench, Files, HEADER, REVIEWED, succeeds};

/// A change before a run is resumed.
pub(super) enum Change {
    /// The `--set` argument for a setting that affects the results, and the setting's name.
    Setting(&'static str, &'static str),
    /// A decision on a label of a training image: the row of the reviewed table, and the image.
    Label(String, String),
}

impl Change {
    pub(super) fn sample(course: &Course, rng: &mut StdRng) -> Change {
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
        let (group, decision) = (&course.group, DECISIONS[rng.random_range(0..DECISIONS.len())]);
        let image = format!("{group}/normal.jpg");
        Change::Label(format!("{group},{image},mask,not worn,worn,0.1,{decision}\n"), image)
    }

    pub(super) fn describe(&self) -> String {
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
    /// Checks that a change is refused by name, and that no files are changed.
    pub(super) fn refuses(&self, name: &str, change: &Change) -> anyhow::Result<()> {
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
    pub(super) fn allowed(
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
