//! Joins the predictions of all folds: `oof.csv`, `test.csv` and the scores.
//!
//! With repeats, each image is held out once in each: `oof-<repeat>.csv` has the predictions of one, and `oof.csv` the
//! mean of their probabilities, which estimates an ensemble of as many models as there are repeats.

use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
};

use base::{Seed, names::quoted};
use data::{Folds, Manifest, Use};
use infer::{Index, LabelledReader, LabelledWriter, Row, mean};
use metrics::{MetricConfig, Prediction, Report, RunningMetric};

use crate::{
    error::FitError,
    fold_folders::home,
    ran_on::RanOn,
    report::{section, write_tables},
    run::{Run, RunError},
    scoring::Scoring,
};

/// The results of a cross-validation.
pub struct KfoldOutcome {
    /// The macro F1 of each fold on its validation set.
    pub folds: Vec<f64>,
    /// The mean of the folds.
    pub mean: f64,
    /// The standard deviation of the folds, with n - 1.
    pub std: f64,
    /// The macro F1 of the out-of-fold predictions of each repeat; of one, that of `joined`.
    pub repeats: Vec<f64>,
    /// The scores of all out-of-fold predictions together, averaged over repeats.
    pub joined: Report,
    /// The scores of the ensemble of all folds' models, averaged as by `submit`, on the test set, where the
    /// source has one.
    pub test: Option<Report>,
}

/// What is joined: a cross-validation whose folds are finished.
pub(super) struct Joining<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) run: &'a Run,
    pub(super) folds: &'a Folds,
    /// The seed of intervals.
    pub(super) seed: Seed,
}

/// Checks that the folds of a repeat hold out each image once, with its label.
///
/// # Errors
/// Images are missing, duplicated, not in the data or labelled differently.
fn check(joining: &Joining<'_>, repeat: usize, held: &Index) -> Result<(), String> {
    let Joining { manifest, folds, .. } = joining;
    let mut classes = HashMap::new();
    for (idx, it) in manifest.examples.iter().enumerate() {
        if folds.holding_out(manifest, repeat, idx).is_some() {
            classes.insert(it.name.as_str(), (it.class, 0));
        }
    }
    let (mut duplicated, mut unknown, mut relabelled) = (Vec::new(), Vec::new(), Vec::new());
    for image in &held.images {
        let name = image.image.as_str();
        match classes.get_mut(name) {
            None => unknown.push(name),
            Some((_, n)) if *n > 0 => duplicated.push(name),
            Some((class, n)) => {
                *n += 1;
                if *class != image.class {
                    relabelled.push(name);
                }
            }
        }
    }
    let mut missing: Vec<&str> = classes.iter().filter(|it| it.1.1 == 0).map(|it| *it.0).collect();
    missing.sort();
    let mut problems = Vec::new();
    for (what, images) in [
        ("missing", missing),
        ("duplicated", duplicated),
        ("not in the data", unknown),
        ("labelled differently from the data", relabelled),
    ] {
        if !images.is_empty() {
            let n = images.len();
            problems.push(format!("{n} {what}: {}", quoted(images)));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "the folds do not hold out each image once, in `valid.csv`:\n  {}\nremove the folder of a \
             fold to train it again, or start a new cross-validation",
            problems.join("\n  ")
        )),
    }
}

/// The scores of a table of predictions, whose rows name their images.
struct Named<'a> {
    scoring: Scoring,
    /// The attributes of each image; empty where there are none.
    values: HashMap<&'a str, &'a [u32]>,
}

impl<'a> Named<'a> {
    /// - `is_in`: whether the image at a position of the data is in the table.
    fn new(manifest: &'a Manifest, is_in: impl Fn(usize) -> bool) -> Named<'a> {
        let of_table = manifest.examples.iter().enumerate().filter(|it| is_in(it.0));
        let all: Vec<(&str, &[u32])> =
            of_table.map(|(_, it)| (it.name.as_str(), it.attributes.as_slice())).collect();
        let scoring = Scoring::new(&manifest.task, &manifest.attributes, all.iter().map(|it| it.1));
        let is_known = !manifest.attributes.is_empty();
        Named { scoring, values: all.into_iter().filter(|_| is_known).collect() }
    }

    fn add(&mut self, image: &str, it: &Prediction<'_>) {
        let values = self.values.get(image).copied().unwrap_or_default();
        self.scoring.add(values, it);
    }
}

/// Reads a table of predictions: the image of each row and its prediction, with the position of its group.
fn read(
    joining: &Joining<'_>,
    path: &Path,
    index: &Index,
    each: &mut dyn FnMut(&str, &Prediction<'_>),
) -> Result<(), RunError> {
    let mut reader = LabelledReader::open(path, &joining.manifest.task)?;
    let mut row = Row::default();
    while reader.next(&mut row)? {
        let group = index.group(&row.group).expect("the index has all groups");
        each(&row.image, &row.prediction(group));
    }
    Ok(())
}

/// Joins the folds' predictions and scores them, row by row.
pub(super) fn join(joining: &Joining<'_>) -> Result<KfoldOutcome, FitError> {
    let &Joining { manifest, run, folds, seed } = joining;
    let (task, n_repeats) = (&manifest.task, folds.n_repeats());
    let tables = |folds: Range<usize>, file: &str| -> Vec<PathBuf> {
        folds.map(|it| home(run.dir(), it).join(file)).collect()
    };
    let metric = MetricConfig::default();
    let new = || RunningMetric::new(metric.get(), task.n_classes());
    // Every repeat holds out the same images.
    let mut scoring = Named::new(manifest, |image| folds.holding_out(manifest, 0, image).is_some());
    let (mut of_folds, mut of_repeats, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for repeat in 0..n_repeats {
        let held = tables(folds.of_repeat(repeat), "valid.csv");
        let index = Index::of(&held, task).map_err(RunError::from)?;
        let damaged = |reason| RunError::Damaged { path: run.dir().to_owned(), reason };
        check(joining, repeat, &index).map_err(damaged)?;
        let name = match n_repeats {
            1 => "oof.csv".to_owned(),
            _ => format!("oof-{repeat}.csv"),
        };
        run.write_with(&name, |out| index.copy(out).map_err(RunError::from))?;
        joined.push(run.dir().join(name));
        let mut of_repeat = new();
        for path in &held {
            let mut of_fold = new();
            read(joining, path, &index, &mut |image, it| {
                of_fold.add(it);
                of_repeat.add(it);
                if n_repeats == 1 {
                    scoring.add(image, it);
                }
            })?;
            of_folds.push(of_fold.score());
        }
        of_repeats.push(of_repeat.score());
    }
    if n_repeats > 1 {
        write_mean(joining, &joined, "oof", &mut scoring)?;
    }
    let joined = scoring.scoring.report(seed);
    write_tables(run, "oof", &joined)?;
    let test = match manifest.examples.iter().any(|it| it.usage == Use::Test) {
        false => None,
        true => {
            let is_test = |image: usize| manifest.examples[image].usage == Use::Test;
            let mut scoring = Named::new(manifest, is_test);
            write_mean(joining, &tables(0..folds.n(), "test.csv"), "test", &mut scoring)?;
            let report = scoring.scoring.report(seed);
            write_tables(run, "test", &report)?;
            Some(report)
        }
    };

    let n = of_folds.len() as f64;
    let mean = of_folds.iter().sum::<f64>() / n;
    let square: f64 = of_folds.iter().map(|it| (it - mean) * (it - mean)).sum();
    let std = (square / (n - 1.0)).sqrt();
    let mut text = format!("folds = {of_folds:?}\nmean = {mean}\nstd = {std}\n");
    if n_repeats > 1 {
        text += &format!("repeats = {of_repeats:?}\n");
    }
    // As TOML spells it.
    text = text.replace("NaN", "nan");
    let mut ran_on: Vec<RanOn> = Vec::new();
    for it in (0..folds.n()).flat_map(|it| RanOn::of(&home(run.dir(), it))) {
        if !ran_on.contains(&it) {
            ran_on.push(it);
        }
    }
    text += &RanOn::to_toml(&ran_on);
    text += &section("joined", &joined);
    text.extend(test.as_ref().map(|it| section("test", it)));
    run.write("report.toml", &text)?;
    Ok(KfoldOutcome { folds: of_folds, mean, std, repeats: of_repeats, joined, test })
}

/// Writes and scores the mean of several tables' predictions of the same images.
fn write_mean(
    joining: &Joining<'_>,
    tables: &[PathBuf],
    name: &str,
    scoring: &mut Named<'_>,
) -> Result<(), FitError> {
    let (task, run, file) = (&joining.manifest.task, joining.run, format!("{name}.csv"));
    let index = Index::of(&tables[..1], task).map_err(RunError::from)?;
    run.write_with(&file, |out| {
        let failed = |source| RunError::Io { path: run.dir().join(&file), source };
        let mut table = LabelledWriter::new(out, task);
        mean(tables, task, &mut |row| {
            let group = index.group(&row.group).expect("the index has all groups");
            let it = row.prediction(group);
            scoring.add(&row.image, &it);
            table.row(&row.image, &row.group, &it).map_err(failed)
        })?;
        table.finish().map(drop).map_err(failed)
    })?;
    Ok(())
}
