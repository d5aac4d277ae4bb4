//! The bundles of runs: their folders, and several of them as one ensemble.

use std::path::{Path, PathBuf};

use anyhow::bail;
use base::Task;
use candle::Device;
use infer::Bundle;
use trainer::{Experiment, Run, kfold::is_kfold};

use crate::{known_runs::instead_of, runs::find};

/// Opens the bundles of runs, cross-validations and bundle folders as one ensemble, whose members count equally.
///
/// - `joins_factors`: whether models of different factors are of one task, which no bundle shows.
///
/// # Errors
/// Bundles that do not fit together, or that may be of unrelated tasks.
pub(crate) fn open(
    named: &[PathBuf],
    joins_factors: bool,
    device: &Device,
) -> anyhow::Result<Bundle> {
    let mut all_dirs = Vec::new();
    for named in named {
        all_dirs.extend(dirs(&find(named)?)?);
    }
    check_related(&all_dirs, joins_factors)?;
    let open = |dir: PathBuf| Ok((dir.display().to_string(), Bundle::open(&dir, device)?));
    let all = all_dirs.into_iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    Bundle::join(all, &[]).map_err(anyhow::Error::msg)
}

/// Checks that the factors of bundles may be multiplied.
///
/// - `joins_factors`: as for [`open`].
pub(crate) fn check_related(dirs: &[PathBuf], joins_factors: bool) -> anyhow::Result<()> {
    if joins_factors {
        return Ok(());
    }
    let task = |dir: &PathBuf| Ok((dir.display().to_string(), Bundle::task(dir)?));
    let tasks = dirs.iter().map(task).collect::<anyhow::Result<Vec<_>>>()?;
    unrelated(&tasks).map_or(Ok(()), |problem| bail!(problem))
}

/// Returns why the factors of bundles may not be those of one task: none of them has all factors.
fn unrelated(tasks: &[(String, Task)]) -> Option<String> {
    // Tasks that contradict each other are reported when they are joined.
    let joint = Task::product(tasks.iter().map(|it| (it.0.as_str(), &it.1))).ok()?;
    if tasks.iter().any(|it| it.1.factors.len() == joint.factors.len()) {
        return None;
    }
    let names = |task: &Task| -> Vec<String> {
        let mut names: Vec<_> = task.factors.iter().map(|it| format!("`{}`", it.name)).collect();
        names.sort();
        names
    };
    let mut shown: Vec<(&str, Vec<String>)> = Vec::new();
    for (dir, task) in tasks {
        let names = names(task);
        if shown.iter().all(|it| it.1 != names) {
            shown.push((dir, names));
        }
    }
    let lines: Vec<String> =
        shown.iter().map(|(dir, names)| format!("  {dir}: {}", names.join(", "))).collect();
    Some(format!(
        "the models predict different factors, and none of them predicts all:\n{}\nif these are factors of one \
         task, such as the mask and the age of a person, multiply their probabilities with `--join-factors`; \
         otherwise predict with each model alone",
        lines.join("\n")
    ))
}

/// Notes which runs are not finished: their bundles are those of the best evaluation so far.
pub(crate) fn note_unfinished(named: &[PathBuf]) -> anyhow::Result<()> {
    for named in named {
        let dir = find(named)?;
        let is_run = dir.join("config.toml").is_file() && !is_kfold(&dir);
        // Where nothing is saved, there is an error instead.
        if is_run && has_bundle(&dir) && !dir.join("report.toml").is_file() {
            let what = match Run::is_busy(&dir) {
                true => "is still being trained",
                false => "was stopped before its end",
            };
            status!(
                "note: {}: this run {what}: its best evaluation so far is what is used",
                dir.display()
            );
        }
    }
    Ok(())
}

/// Whether the bundle of an evaluation is saved in the folder of a run.
fn has_bundle(dir: &Path) -> bool {
    dir.join("best/bundle.toml").is_file()
}

/// Returns the bundle folders of a run, a cross-validation or a bundle.
pub(crate) fn dirs(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.exists() {
        bail!(
            "{}: there is no such folder: name a run, a bundle or `latest`{}",
            path.display(),
            instead_of(path, &Experiment::load(&[])?.run.dir)
        );
    }
    if path.is_file() {
        bail!("{}: this is a file: name the folder of a run or a bundle", path.display());
    }
    if is_kfold(path) {
        if !path.join("report.toml").is_file() {
            bail!(
                "{}: this cross-validation is not finished: resume it with `kfold --resume`",
                path.display()
            );
        }
        let folds = (0..).map(|it| path.join(format!("fold-{it}"))).take_while(|it| it.is_dir());
        let folds: Vec<PathBuf> = folds.map(|it| it.join("best")).collect();
        return Ok(folds);
    }
    let best = path.join("best");
    let is_begun = path.join("config.toml").is_file() && !path.join("report.toml").is_file();
    // While the first evaluation is saved, there is a folder, but no bundle.
    if is_begun && !has_bundle(path) {
        let remedy = match Run::is_busy(path) {
            true => "try again after its first evaluation".to_owned(),
            false => format!("resume it with `maskfit train --resume {}`", path.display()),
        };
        bail!("{}: no evaluation of this run is saved yet: {remedy}", path.display());
    }
    Ok(vec![if best.is_dir() { best } else { path.to_owned() }])
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use super::unrelated;

    #[test]
    fn factors_are_multiplied_unasked_only_where_one_bundle_has_them_all() {
        let task = |names: &[&str]| {
            Task::new(names.iter().map(|it| Factor::new(it, &["a", "b"])).collect())
        };
        let problem = |all: &[&[&str]]| {
            let named = |(idx, names): (usize, &&[&str])| (format!("b{idx}"), task(names));
            unrelated(&all.iter().enumerate().map(named).collect::<Vec<_>>())
        };
        for fine in [
            &[&["breed"][..]][..],
            &[&["mask", "age"], &["age", "mask"]],
            &[&["age"], &["mask", "age"], &["mask"]],
        ] {
            assert_eq!(problem(fine), None, "{fine:?}");
        }
        let err = problem(&[&["breed"], &["mask", "age"], &["age", "mask"]]).unwrap();
        let begin = "the models predict different factors, and none of them predicts all:\n  b0: `breed`\n  \
                     b1: `age`, `mask`\nif these are factors of one task, ";
        assert!(err.starts_with(begin) && err.contains("`--join-factors`"), "{err}");
        // Nor where they overlap.
        assert!(problem(&[&["mask", "age"], &["age", "gender"]]).is_some());
    }
}
