//! The held-out predictions of several runs for the same images, from their tables: what ensembles, calibrations
//! and thresholds are fitted on.
//!
//! Each run is one column: of a cross-validation its `oof.csv`, in which each image is predicted by the fold that
//! did not train on it, and of a run its `valid.csv`; or of both their `test.csv`, in which each image is predicted
//! by the mean of all folds, as by the bundle. Everything that keeps runs from being combined is one
//! error, before anything else is done.

mod check;
mod views;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::bail;
use augment::{Step, ViewsConfig};
use base::{
    Task,
    task::{Scope, ScopePrediction},
};
use ensemble::HeldOut;
use infer::{Index, LabelledReader, Row};

use self::check::{differences, too_many, unseen};
use crate::{
    bundles,
    labelled_table::LabelledTable,
    runs,
    trained_on::{Image, hashes},
};

/// The images whose predictions are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(crate) enum FitOn {
    /// Those that the run, or the fold of a cross-validation, did not train on.
    HeldOut,
    /// The test set: every fold of a cross-validation predicts every image.
    Test,
}

impl FitOn {
    /// Returns the name of the table of an ensemble's nested predictions.
    pub(crate) fn table(self) -> &'static str {
        match self {
            FitOn::HeldOut => "oof",
            FitOn::Test => "test",
        }
    }
}

/// The held-out predictions of runs, all in the order of `images`.
pub(crate) struct Columns {
    /// The product of the factors of all runs.
    pub(crate) task: Task,
    /// The names of the images, sorted.
    pub(crate) images: Vec<String>,
    /// The names of the groups, sorted.
    pub(crate) group_names: Vec<String>,
    /// The position of each image's group.
    pub(crate) groups: Vec<usize>,
    /// The true joint class of each image.
    pub(crate) classes: Vec<usize>,
    /// The hash of each image's file, as far as a run's table of its data has it.
    pub(crate) hashes: Vec<Option<u64>>,
    pub(crate) columns: Vec<Column>,
    pub(crate) fit_on: FitOn,
}

/// The held-out predictions of one run.
pub(crate) struct Column {
    /// The run, as it was named.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// The bundle that a run saves, or that each fold of a cross-validation does.
    pub(crate) bundles: Vec<PathBuf>,
    /// The factors that it predicts, and the position of each in the task of all runs.
    pub(crate) task: Task,
    pub(crate) places: Vec<usize>,
    /// The images that each bundle predicts: those that it held out, or the test set. Of repeated
    /// cross-validations an image is held out by one fold in each repeat. Its probabilities are the mean of all
    /// that predict it.
    pub(crate) held: Vec<Vec<usize>>,
    /// The probabilities of the run's own classes, `[image * n_classes + class]`.
    pub(crate) probabilities: Vec<f64>,
    /// The views that they were predicted with, and the transforms of training; `None` for the bundles' own.
    pub(crate) views: Option<(ViewsConfig, Vec<Step>)>,
}

/// A run whose tables are found and indexed, but not read.
struct Found {
    name: String,
    dir: PathBuf,
    bundles: Vec<PathBuf>,
    table: PathBuf,
    task: Task,
    index: Index,
}

/// Reads the held-out predictions of runs, cross-validations and the bundles in their folders.
///
/// # Errors
/// Names everything that keeps them from being combined.
pub(crate) fn read(named: &[PathBuf], fit_on: FitOn) -> anyhow::Result<Columns> {
    let (mut found, mut problems) = (Vec::<Found>::new(), Vec::new());
    for named in named {
        match find(named, fit_on) {
            Ok(it) if found.iter().any(|known| is_same(&known.dir, &it.dir)) => {
                problems.push(format!("{}: is named twice: name it once", named.display()));
            }
            Ok(it) => found.push(it),
            Err(err) => problems.push(format!("{err:#}")),
        }
    }
    let task = match Task::product(found.iter().map(|it| (it.name.as_str(), &it.task))) {
        Ok(it) if problems.is_empty() => it,
        Ok(_) => return Err(all(problems)),
        Err(_) if found.is_empty() => return Err(all(problems)),
        Err(reason) => {
            problems.push(format!(
                "{reason}: name runs with the same levels and cuts, or train one again with those of the other"
            ));
            return Err(all(problems));
        }
    };
    let images: Vec<_> = found.iter().map(|it| (it.name.as_str(), &it.index)).collect();
    problems.extend(differences(&images));
    let n_of = |it: &Found| it.index.images.len().saturating_mul(it.task.n_classes());
    problems.extend(too_many(found.iter().map(n_of).sum()));
    if !problems.is_empty() {
        return Err(all(problems));
    }
    let columns = Columns::of(task, found, fit_on)?;
    if fit_on == FitOn::Test {
        let bundles = columns.columns.iter().flat_map(|it| &it.bundles);
        let images = columns.images.iter().zip(&columns.groups).zip(&columns.hashes);
        let images = images.map(|((name, &group), &hash)| {
            let group = columns.group_names[group].as_str();
            Image { name, group, hash }
        });
        let notes = unseen(bundles, &images.collect::<Vec<_>>(), columns.task.unit)?;
        notes.iter().for_each(|it| status!("note: {it}"));
    }
    Ok(columns)
}

/// Returns one error of all problems.
fn all(problems: Vec<String>) -> anyhow::Error {
    match problems.as_slice() {
        [one] => anyhow::anyhow!("{one}"),
        many => anyhow::anyhow!("these runs cannot be combined:\n  {}", many.join("\n  ")),
    }
}

/// Finds the tables of a run, and indexes its images.
fn find(named: &Path, fit_on: FitOn) -> anyhow::Result<Found> {
    let mut dir = runs::find(named)?;
    // A run's own bundle is the run.
    if let Some(run) = dir.parent().filter(|it| dir.ends_with("best") && is_run(it)) {
        dir = run.to_owned();
    }
    // A soup has those that none of its models trained on.
    if dir.join("bundle.toml").is_file() && !dir.join("valid.csv").is_file() {
        bail!(
            "{}: a bundle has no held-out predictions of its own: name the runs that it was made of",
            dir.display()
        );
    }
    let bundles = bundles::dirs(&dir)?;
    let is_test = fit_on == FitOn::Test;
    if is_test && dir.join("report.toml").is_file() && !has_test(&dir) {
        bail!(
            "{}: there is no test.csv, the predictions for a test set: name runs whose data has one, or leave out \
             `--fit-on test`",
            dir.display()
        );
    }
    let LabelledTable { path, task } = LabelledTable::of(&dir, is_test)?;
    let index = Index::of(std::slice::from_ref(&path), &task)?;
    index.check()?;
    if index.images.is_empty() {
        bail!("{}: it has no images", path.display());
    }
    Ok(Found { name: named.display().to_string(), dir, bundles, table: path, task, index })
}

/// Whether a run has predictions for a test set.
fn has_test(dir: &Path) -> bool {
    dir.join("test.csv").is_file()
}

fn is_run(dir: &Path) -> bool {
    dir.join("config.toml").is_file()
}

fn is_same(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

impl Columns {
    /// Reads the tables; all have the same images and groups.
    ///
    /// # Errors
    /// Images whose labels differ between runs: they may be other images of the same name. Damaged tables.
    fn of(task: Task, found: Vec<Found>, fit_on: FitOn) -> anyhow::Result<Columns> {
        let first = &found[0].index;
        let images: Vec<String> = first.images.iter().map(|it| it.image.clone()).collect();
        let groups = first.images.iter().map(|it| it.group).collect();
        let group_names = first.groups.clone();
        let mut levels = vec![vec![None; task.factors.len()]; images.len()];
        let (mut all_places, mut problems) = (Vec::new(), Vec::new());
        for Found { name, task: own, index, .. } in &found {
            let places = task.places(own).map_err(anyhow::Error::msg)?;
            let mut relabelled = Vec::new();
            for (known, image) in levels.iter_mut().zip(&index.images) {
                let mut is_other = false;
                for (&place, level) in places.iter().zip(own.levels_of(image.class)) {
                    is_other |= *known[place].get_or_insert(level) != level;
                }
                if is_other {
                    relabelled.push(image.image.as_str());
                }
            }
            problems.extend(check::relabelled(name, &relabelled));
            all_places.push(places);
        }
        if !problems.is_empty() {
            return Err(all(problems));
        }
        let mut columns = Vec::new();
        for (found, places) in found.into_iter().zip(all_places) {
            let Found { name, dir, bundles, table, task: own, index } = found;
            let held = held(&dir, &bundles, &index, &own, fit_on)?;
            let probabilities = probabilities(&table, &own, &index)?;
            let (task, views) = (own, None);
            columns.push(Column { name, dir, bundles, task, places, held, probabilities, views });
        }
        let class = |levels: Vec<Option<usize>>| {
            task.class_of(&levels.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>())
        };
        let classes = levels.into_iter().map(class).collect();
        let hashes = hashes_of(&images, &columns)?;
        Ok(Columns { task, images, group_names, groups, classes, hashes, columns, fit_on })
    }

    /// Whether every run has predictions for a test set.
    pub(crate) fn have_test(&self) -> bool {
        self.columns.iter().all(|it| has_test(&it.dir))
    }

    /// Whether images were predicted by single folds, while a bundle predicts with the mean of all.
    pub(crate) fn are_of_single_folds(&self) -> bool {
        self.fit_on == FitOn::HeldOut && self.columns.iter().any(|it| it.bundles.len() > 1)
    }

    /// Returns whether every run predicts every factor.
    pub(crate) fn are_whole(&self) -> bool {
        self.columns.iter().all(|it| it.places.len() == self.task.factors.len())
    }

    /// Returns the predictions of every run, which are moved out where they can be large; or, where runs predict only
    /// some factors, one joint prediction.
    ///
    /// - `weights`: those of the runs in a joint prediction; empty for equal ones.
    pub(crate) fn held_out(&mut self, weights: &[f64]) -> anyhow::Result<HeldOut> {
        let n = self.images.len();
        let members = match self.are_whole() {
            true => (0..self.columns.len()).map(|it| self.take(it)).collect(),
            false => {
                let mut joined = Vec::with_capacity(n * self.task.n_classes());
                for image in 0..n {
                    let own = self.columns.iter().map(|it| self.predictions(it, image));
                    joined.extend(self.task.join(&own.collect::<Vec<_>>(), weights)?);
                }
                vec![joined]
            }
        };
        Ok(HeldOut {
            task: self.task.clone(),
            classes: self.classes.clone(),
            groups: self.groups.clone(),
            folds: self.folds().unwrap_or_else(|| vec![0; n]),
            members,
        })
    }

    /// Returns the predictions of a run that predicts only some factors, in its own task.
    pub(crate) fn own(&self, idx: usize) -> HeldOut {
        let column = &self.columns[idx];
        let class = |class: &usize| {
            let levels = self.task.levels_of(*class);
            let own: Vec<usize> = column.places.iter().map(|&it| levels[it]).collect();
            column.task.class_of(&own)
        };
        HeldOut {
            task: column.task.clone(),
            classes: self.classes.iter().map(class).collect(),
            groups: self.groups.clone(),
            folds: vec![0; self.images.len()],
            members: vec![column.probabilities.clone()],
        }
    }

    /// Returns the fold that held each image out, where all runs are cross-validations with the same folds that are
    /// not repeated.
    pub(crate) fn folds(&self) -> Option<Vec<usize>> {
        let first = &self.columns[0].held;
        let n_held: usize = first.iter().map(Vec::len).sum();
        let is_same = self.columns.iter().all(|it| it.held == *first);
        if first.len() < 2 || n_held != self.images.len() || !is_same {
            return None;
        }
        let mut folds = vec![0; self.images.len()];
        for (fold, images) in first.iter().enumerate() {
            images.iter().for_each(|&it| folds[it] = fold);
        }
        Some(folds)
    }

    /// Returns a run's predictions for an image, in the task of all runs.
    fn predictions(&self, column: &Column, image: usize) -> Vec<ScopePrediction> {
        let n = column.task.n_classes();
        let probabilities = column.probabilities[image * n..][..n].to_vec();
        let own = vec![ScopePrediction { scope: Scope::Joint, probabilities }];
        self.task.place(&column.task, &column.places, own)
    }

    /// Moves out the joint probabilities of a run that predicts every factor.
    fn take(&mut self, idx: usize) -> Vec<f64> {
        if self.columns[idx].task.factors != self.task.factors {
            // The factors are in another order.
            let of_image =
                |image| self.predictions(&self.columns[idx], image).swap_remove(0).probabilities;
            return (0..self.images.len()).flat_map(of_image).collect();
        }
        std::mem::take(&mut self.columns[idx].probabilities)
    }
}

/// Returns the hash of each image's file, as far as a run's table of its data has it; of several runs, the first.
fn hashes_of(images: &[String], columns: &[Column]) -> anyhow::Result<Vec<Option<u64>>> {
    let mut known = HashMap::new();
    for column in columns.iter().rev() {
        known.extend(hashes(&column.dir)?);
    }
    Ok(images.iter().map(|it| known.get(it).copied()).collect())
}

/// Returns the images that each bundle of a run predicts.
fn held(
    dir: &Path,
    bundles: &[PathBuf],
    index: &Index,
    task: &Task,
    fit_on: FitOn,
) -> anyhow::Result<Vec<Vec<usize>>> {
    let n = index.images.len();
    if bundles.len() == 1 || fit_on == FitOn::Test {
        return Ok(vec![(0..n).collect(); bundles.len()]);
    }
    let (mut all, mut is_held) = (Vec::new(), vec![false; n]);
    for bundle in bundles {
        let images = Index::of(&[bundle.with_file_name("valid.csv")], task)?.images;
        let held: Option<Vec<usize>> = images.iter().map(|it| index.position(&it.image)).collect();
        let held = held.unwrap_or_default();
        held.iter().for_each(|&it| is_held[it] = true);
        all.push(held);
    }
    match is_held.contains(&false) || all.iter().any(Vec::is_empty) {
        true => bail!(
            "{}: the images of `oof.csv` are not those that the folds hold out: join the folds again",
            dir.display()
        ),
        false => Ok(all),
    }
}

/// Reads the probabilities of a table, in the order of its index.
fn probabilities(table: &Path, task: &Task, index: &Index) -> anyhow::Result<Vec<f64>> {
    let n = task.n_classes();
    let mut all = vec![0.0; index.images.len() * n];
    let (mut reader, mut row) = (LabelledReader::open(table, task)?, Row::default());
    while reader.next(&mut row)? {
        let Some(at) = index.position(&row.image) else {
            bail!("{}: has changed while it was read: start again", table.display());
        };
        all[at * n..][..n].copy_from_slice(&row.probabilities);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base::{Task, task::Factor};

    use super::{Column, hashes_of};

    #[test]
    fn hashes_of_images_are_those_of_the_first_run_that_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let column = |name: &str, rows: &str| {
            let dir = dir.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("data.csv"), format!("image,hash\n{rows}")).unwrap();
            Column {
                name: name.to_owned(),
                dir,
                bundles: Vec::new(),
                task: Task::new(vec![Factor::new("class", &["a", "b"])]),
                places: vec![0],
                held: Vec::new(),
                probabilities: Vec::new(),
                views: None,
            }
        };
        let columns = [column("a", "x,0a\ny,\n"), column("b", "x,0b\ny,0c\n")];
        let images = ["w", "x", "y"].map(str::to_owned);
        assert_eq!(hashes_of(&images, &columns).unwrap(), [None, Some(0x0a), Some(0x0c)]);
    }
}
