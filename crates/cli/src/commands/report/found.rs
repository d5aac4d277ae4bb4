//! Finds what a report is about: the folder, the predictions, and how their images were used.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use base::{Task, text};
use infer::Bundle;
use report::Basis;
use trainer::{Experiment, kfold::is_kfold};

use crate::{
    bundles,
    labelled_table::LabelledTable,
    runs::{self, is_trained_on_valid},
};

/// What a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Run,
    Kfold,
    /// Of `maskfit ensemble`.
    Ensemble,
    /// Of `maskfit soup`.
    Soup,
    /// Of `maskfit evaluate`.
    Evaluation,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Run => "run",
            Kind::Kfold => "cross-validation",
            Kind::Ensemble => "ensemble",
            Kind::Soup => "soup",
            Kind::Evaluation => "evaluation",
        }
    }
}

/// A folder to report on.
pub(super) struct Found {
    pub(super) dir: PathBuf,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) table: PathBuf,
    pub(super) task: Task,
    /// The images of the table, such as `test set`.
    pub(super) set: &'static str,
    pub(super) basis: Basis,
    /// The settings of a run or a cross-validation, with paths that are valid here; or why there are none.
    pub(super) experiment: Result<Experiment, String>,
    /// Whether the table is that of the test set.
    pub(super) is_test: bool,
}

/// Finds all folders, before any table is read.
pub(super) fn all(named: &[PathBuf]) -> anyhow::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    for named in named {
        let it = one(&runs::find(named)?)?;
        let same = |a: &Path, b: &Path| {
            a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
        };
        if found.iter().any(|known| same(&known.dir, &it.dir)) {
            bail!("{}: is named twice: name each run once", named.display());
        }
        found.push(it);
    }
    // Two runs of different folders may have the same name.
    let names: Vec<String> = found.iter().map(|it| it.name.clone()).collect();
    for (it, name) in found.iter_mut().zip(&names) {
        if names.iter().filter(|other| *other == name).count() > 1 {
            it.name = it.dir.display().to_string();
        }
    }
    Ok(found)
}

/// Finds the predictions of a folder.
///
/// # Errors
/// It is no finished run, or has no labelled predictions.
pub(super) fn one(dir: &Path) -> anyhow::Result<Found> {
    let dir = run_of(dir);
    let kind = kind(dir);
    let has = |name: &str| dir.join(name).is_file();
    if matches!(kind, Kind::Run | Kind::Kfold) && has("config.toml") && !has("report.toml") {
        let (what, command) = match kind {
            Kind::Kfold => ("cross-validation", "kfold --resume"),
            _ => ("run", "train --resume"),
        };
        bail!(
            "{}: this {what} is not finished: resume it with `maskfit {command} {}`, or report on another",
            dir.display(),
            crate::phrases::argument(dir)
        );
    }
    let is_test = match kind {
        Kind::Run => has("test.csv"),
        _ => has("test.csv") && !has("oof.csv") && !has("valid.csv"),
    };
    let is_trained = !is_test && is_trained_on_valid(dir);
    let LabelledTable { path, task } = match is_trained && has("valid.csv") {
        // Shown, and called meaningless.
        true => LabelledTable {
            path: dir.join("valid.csv"),
            task: Bundle::task(&bundles::dirs(dir)?.swap_remove(0))?,
        },
        false => LabelledTable::of(dir, is_test)?,
    };
    let (set, basis) = match kind {
        Kind::Run if is_test => ("test set", Basis::Test),
        Kind::Run if is_trained => ("validation set", Basis::Trained),
        Kind::Run => ("validation set", Basis::Selected),
        Kind::Kfold if is_test => ("test set", Basis::Test),
        Kind::Kfold => ("out-of-fold predictions", Basis::OutOfFold),
        Kind::Ensemble if is_test => ("test set", Basis::Nested),
        Kind::Ensemble if has_runs(dir) => ("validation set", Basis::Selected),
        Kind::Ensemble => ("out-of-fold predictions", Basis::Nested),
        Kind::Soup => ("validation set", Basis::Selected),
        Kind::Evaluation if is_test => ("test set", Basis::Evaluated),
        Kind::Evaluation => ("validation set", Basis::Evaluated),
    };
    let experiment = experiment(dir, kind);
    let (dir, name) = (dir.to_owned(), runs::name_of(dir));
    Ok(Found { dir, name, kind, table: path, task, set, basis, experiment, is_test })
}

/// Returns the folder of a run for that of its own bundle; any other as it is.
fn run_of(dir: &Path) -> &Path {
    let of_run =
        dir.parent().filter(|it| dir.ends_with("best") && it.join("config.toml").is_file());
    of_run.unwrap_or(dir)
}

fn kind(dir: &Path) -> Kind {
    let has = |name: &str| dir.join(name).is_file();
    let is_evaluation = || {
        let report: toml::Table =
            text::read(&dir.join("report.toml")).unwrap_or_default().parse().unwrap_or_default();
        report.contains_key("task")
    };
    match () {
        () if is_kfold(dir) => Kind::Kfold,
        () if has("config.toml") => Kind::Run,
        () if has("bundle.toml") && has("valid.csv") => Kind::Soup,
        () if has("bundle.toml") => Kind::Ensemble,
        () if is_evaluation() => Kind::Evaluation,
        () => Kind::Run,
    }
}

/// Whether an ensemble was made of runs, each of which selected its epoch on the images that the ensemble is scored on,
/// and not of cross-validations, which have several models.
fn has_runs(dir: &Path) -> bool {
    let report: toml::Table =
        text::read(&dir.join("report.toml")).unwrap_or_default().parse().unwrap_or_default();
    let members = report.get("members").and_then(toml::Value::as_array);
    let n_models = |it: &toml::Value| it.get("models").and_then(toml::Value::as_integer);
    members.into_iter().flatten().any(|it| n_models(it) == Some(1))
}

/// Returns the settings that name the data; or why there are none.
fn experiment(dir: &Path, kind: Kind) -> Result<Experiment, String> {
    let experiment = match kind {
        Kind::Run | Kind::Kfold => of_run(dir),
        // All its runs have the same images.
        Kind::Ensemble => first_run(dir).and_then(|it| of_run(&it)),
        Kind::Evaluation => Err(anyhow!("the folder of an evaluation does not name its data")),
        Kind::Soup => Err(anyhow!("the folder of a soup does not name its data")),
    };
    experiment.map_err(|err| format!("{err:#}"))
}

/// Returns the first run of an ensemble, as it was named.
fn first_run(dir: &Path) -> anyhow::Result<PathBuf> {
    let path = dir.join("report.toml");
    let report: toml::Table = text::read(&path)?.parse()?;
    let members = report.get("members").and_then(toml::Value::as_array);
    // The latest run may be another now.
    let run = members.and_then(|it| it.first()?.get("run")?.as_str()).filter(|it| *it != "latest");
    let run = run.with_context(|| format!("{}: no run is named", path.display()))?;
    let found = runs::find(Path::new(run))?;
    match run_of(&found).join("config.toml").is_file() {
        true => Ok(run_of(&found).to_owned()),
        false => bail!(
            "`{run}`, a run of the ensemble, is not here, or does not name its data: `cd` to where they were combined"
        ),
    }
}

/// Loads the settings of a run. Relative paths of the data are looked up in the folder that it was started in, then
/// here.
fn of_run(dir: &Path) -> anyhow::Result<Experiment> {
    let path = dir.join("config.toml");
    let text = text::read(&path).with_context(|| path.display().to_string())?;
    let layer = Experiment::layer_of_run(&path.display().to_string(), &text)?;
    let mut experiment = Experiment::load(&[layer])?;
    let start = runs::start_of(dir, &experiment.run.dir);
    for (at, place) in experiment.places_mut() {
        let there = start.as_ref().map(|it| it.join(&*place)).filter(|it| it.exists());
        match there {
            _ if place.as_os_str().is_empty() => {}
            Some(there) => *place = there,
            None if place.exists() => {}
            None => bail!(
                "`{at}` is `{}`, which does not exist: `cd` to where the run was started, or put the data back",
                place.display()
            ),
        }
    }
    Ok(experiment)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use trainer::Experiment;

    use super::{has_runs, of_run};

    #[test]
    fn an_ensemble_of_runs_has_members_of_one_model() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!has_runs(dir.path()));
        for (models, want) in [([5, 5], false), ([5, 1], true), ([1, 1], true)] {
            let member = |n: usize| format!("[[members]]\nrun = \"a\"\nmodels = {n}\n");
            let report = models.map(member).concat();
            fs::write(dir.path().join("report.toml"), report).unwrap();
            assert_eq!(has_runs(dir.path()), want, "{models:?}");
        }
    }

    #[test]
    fn data_is_found_from_the_folder_that_a_run_was_started_in() {
        let start = tempfile::tempdir().unwrap();
        let run = start.path().join("runs/a");
        fs::create_dir_all(&run).unwrap();
        let set = "data.source={kind = \"mask_profiles\", root = \"no such people\"}";
        let layers = [base::config::Layer::from_set(set).unwrap()];
        let text = Experiment::load(&layers).unwrap().to_toml();
        fs::write(run.join("config.toml"), text).unwrap();
        let err = of_run(&run).unwrap_err().to_string();
        let want = "`data.source.root` is `no such people`, which does not exist: `cd` to where the run was started, \
                    or put the data back";
        assert_eq!(err, want);
        fs::create_dir(start.path().join("no such people")).unwrap();
        let found = of_run(&run).unwrap().places();
        assert!(found[0].1.is_dir(), "{found:?}");
    }
}
