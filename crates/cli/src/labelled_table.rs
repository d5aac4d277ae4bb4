//! The table of held-out predictions of a run, a cross-validation, an ensemble or an evaluation.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base::{Task, text};
use infer::Bundle;
use toml::Table;
use trainer::kfold::is_kfold;

use crate::{
    bundles,
    runs::{find, is_trained_on_valid},
};

/// A table of predictions with true labels.
pub(crate) struct LabelledTable {
    pub(crate) path: PathBuf,
    pub(crate) task: Task,
}

impl LabelledTable {
    /// Finds the table of labelled predictions of a run or a cross-validation.
    ///
    /// - `test`: of the test set, instead of the validation set or the out-of-fold predictions.
    pub(crate) fn of(named: &Path, test: bool) -> anyhow::Result<LabelledTable> {
        let dir = find(named)?;
        let evaluated = evaluated_task(&dir)?;
        // Checked before the table.
        let first = match &evaluated {
            None => bundles::dirs(&dir)?.swap_remove(0),
            Some(_) => dir.clone(),
        };
        let is_held_out = is_kfold(&dir) || dir.join("oof.csv").is_file();
        let file = match (test, is_held_out) {
            (true, _) => "test.csv",
            (false, true) => "oof.csv",
            (false, false) => "valid.csv",
        };
        let path = dir.join(file);
        if !path.is_file() {
            let why = match (test, dir.join("report.toml").is_file()) {
                (true, true) if evaluated.is_some() => {
                    "it has those of a validation set: leave out --test"
                }
                (true, true) => "its data has no test set: leave out --test",
                (false, true) if evaluated.is_some() => "it has those of a test set: add --test",
                (false, _)
                    if dir.join("test.csv").is_file() && dir.join("bundle.toml").is_file() =>
                {
                    "it has those of a test set: add --test"
                }
                (false, _) if dir.join("bundle.toml").is_file() => {
                    "a bundle has no held-out predictions: name its run, or predict labelled images with \
                     `maskfit evaluate`"
                }
                _ => {
                    "this is not a finished run: name a folder of `runs/`, or resume it with `--resume`"
                }
            };
            bail!("{}: there is no {file}: {why}", dir.display());
        }
        if file == "valid.csv" && is_trained_on_valid(&dir) {
            bail!(
                "{}: this run was trained on its validation set (`data = \"all\"` in a phase), so its predictions \
                 for it estimate nothing: name another run, or compare on the test set with --test",
                dir.display()
            );
        }
        let task = evaluated.map_or_else(|| Bundle::task(&first), Ok)?;
        Ok(LabelledTable { path, task })
    }
}

/// Returns the task of a folder that `maskfit evaluate` wrote; `None` for other folders.
fn evaluated_task(dir: &Path) -> anyhow::Result<Option<Task>> {
    let path = dir.join("report.toml");
    let report: Table = text::read(&path).unwrap_or_default().parse().unwrap_or_default();
    let Some(task) = report.get("task") else { return Ok(None) };
    let task: Task = task.clone().try_into().with_context(|| path.display().to_string())?;
    match task.problem() {
        Some(problem) => bail!("{}: at `task`: {problem}", path.display()),
        None => Ok(Some(task)),
    }
}
