//! `maskfit evaluate`
//!
//! The folder that it writes is compared like a run: its table is `valid.csv` or `test.csv`, and its `report.toml`
//! contains the task.

use std::{
    collections::BTreeSet,
    io::{BufWriter, Write as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use base::{Task, files::write_atomic_with};
use data::{Example, Manifest, Use};
use infer::{Bundle, LabelledWriter, Predictor, Serving};
use metrics::{Evaluation, Prediction, Report};
use trainer::{Callback as _, Experiment, class_tables, section};

use super::predict::{self, serving};
use crate::{
    End,
    args::{EvaluateArgs, ExperimentArgs, Side},
    new_folder::NewFolder,
    phrases::argument,
    preparation::{check_settings, manifest},
    runs,
    tables::{macro_f1, report},
    terminal::Terminal,
    trained_on::TrainedOn,
};

/// Groups to name in an error.
const SHOWN: usize = 5;

/// The head of `report.toml`.
#[derive(serde::Serialize)]
struct Head<'a> {
    models: Vec<String>,
    side: &'a str,
    task: &'a Task,
}

pub(crate) fn evaluate(args: &EvaluateArgs) -> anyhow::Result<End> {
    let output = NewFolder::at(&args.output)?;
    let experiment = experiment(args)?;
    check_settings(&experiment)?;
    let bundle = predict::open(&args.models)?;
    let terminal = Terminal::new();
    let manifest = manifest(&experiment, &terminal)?;
    if manifest.task.factors != bundle.task.factors {
        bail!(
            "the classes of the models differ from those of the data: name data with the same task"
        );
    }
    let side = side(args.side, &experiment, &manifest)?;
    check_unseen(args, &manifest, &side, &terminal)?;
    terminal.heed_interrupts();
    let written = write(args, bundle, &manifest, &side, &output, &terminal);
    terminal.clear();
    if written.is_err() && terminal.should_stop() {
        complain!("stopped: no file was written");
        return Ok(End::Stopped);
    }
    let scored = written?;
    let name = args.side.table();
    for (file, text) in class_tables(name, &scored) {
        output.write(&file, text.as_bytes())?;
    }
    let models = args.models.runs.iter().map(|it| it.display().to_string()).collect();
    let head = Head { models, side: name, task: &manifest.task };
    let text = toml::to_string(&head).expect("a task is TOML") + &section(name, &scored);
    output.write("report.toml", text.as_bytes())?;
    let dir = output.path().to_owned();
    output.finish()?;
    let what = match args.side {
        Side::Test => "test set",
        Side::Valid => "validation set",
        Side::All => "all images",
    };
    say!("{}", report(&format!("\n{what}"), &scored, &dir.join(name)));
    say!("{what}: {}", macro_f1(&scored));
    say!("predictions: {}", dir.join(format!("{name}.csv")).display());
    let test = if name == "test" { "--test " } else { "" };
    status!("next: maskfit compare {test}{} OTHER", argument(&dir));
    Ok(End::Done)
}

/// Returns the settings whose data is predicted.
fn experiment(args: &EvaluateArgs) -> anyhow::Result<Experiment> {
    if args.config.is_some() {
        let named = ExperimentArgs { config: args.config.clone(), set: args.set.clone() };
        return Ok(runs::experiment(&named)?.0);
    }
    let dir = runs::find(&args.models.runs[0])?;
    if !dir.join("config.toml").is_file() {
        bail!("{}: a bundle has no data: name an experiment file with `--config`", dir.display());
    }
    runs::experiment_like(&dir, &args.set)
}

/// Returns the images of a side.
fn side(side: Side, experiment: &Experiment, manifest: &Manifest) -> anyhow::Result<Vec<usize>> {
    let of_use = |wanted: Use| -> Vec<usize> {
        let all = manifest.examples.iter().enumerate();
        all.filter(|(_, it)| it.usage == wanted).map(|it| it.0).collect()
    };
    let images = match side {
        Side::All => {
            (0..manifest.examples.len()).filter(|it| !manifest.pseudo.contains(*it)).collect()
        }
        Side::Test => of_use(Use::Test),
        Side::Valid => {
            let folds = experiment.data.split.sides(manifest, experiment.data.split_seed)?;
            let (fold, n_folds) = (experiment.data.fold, folds.len());
            match folds.into_iter().nth(fold) {
                Some(it) => it.valid,
                None => {
                    bail!("at `data.fold`: there is no fold {fold} of {n_folds}, counted from 0")
                }
            }
        }
    };
    match images.is_empty() {
        true => bail!(
            "the data has no such images: name another `--side`, or other data with `--config`"
        ),
        false => Ok(images),
    }
}

/// Refuses images of groups that a model was trained on.
fn check_unseen(
    args: &EvaluateArgs,
    manifest: &Manifest,
    side: &[usize],
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let unit = manifest.task.unit;
    let group = |it: &usize| manifest.groups[manifest.examples[*it].group].as_str();
    let groups: BTreeSet<&str> = side.iter().map(group).collect();
    let mut problems = Vec::new();
    for named in &args.models.runs {
        for dir in runs::bundle_dirs(&runs::find(named)?)? {
            let Some(trained) = TrainedOn::of(&dir)? else {
                terminal.status(&format!(
                    "note: {}: what it was trained on is unknown: these images may be among it",
                    dir.display()
                ));
                continue;
            };
            let seen: Vec<&str> =
                groups.iter().copied().filter(|it| trained.groups.contains(*it)).collect();
            if !seen.is_empty() {
                let shown: Vec<_> = seen.iter().take(SHOWN).map(|it| format!("`{it}`")).collect();
                let more = if seen.len() > SHOWN { ", ..." } else { "" };
                problems.push(format!(
                    "{}: was trained on {} of these {}: {}{more}",
                    dir.display(),
                    seen.len(),
                    unit.count(groups.len()),
                    shown.join(", ")
                ));
            }
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => bail!(
            "{}\nits score there says nothing about new {}: choose another `--side`, or other data with \
             `--config`; out-of-fold predictions of a cross-validation are in its `oof.csv`",
            problems.join("\n"),
            unit.many()
        ),
    }
}

/// Predicts the images, writes the table, and returns the scores.
fn write(
    args: &EvaluateArgs,
    bundle: Bundle,
    manifest: &Manifest,
    side: &[usize],
    output: &NewFolder,
    terminal: &Terminal,
) -> anyhow::Result<Report> {
    let images: Arc<[_]> = side
        .iter()
        .map(|&it| (manifest.examples[it].name.clone(), manifest.examples[it].content.clone()))
        .collect();
    let unfit = predict::unfit(&bundle, Path::new("."), &images, terminal);
    if !unfit.0.is_empty() {
        bail!("{unfit}\nnothing is written");
    }
    let of_number = bundle.number();
    let predictor = Predictor::new(bundle, &candle::Device::Cpu);
    let file = format!("{}.csv", args.side.table());
    let shown = output.path().join(&file).display().to_string();
    let mut scores = Evaluation::new(&manifest.task);
    write_atomic_with(&output.begun()?.join(&file), |out| {
        let mut table = LabelledWriter::new(BufWriter::new(out), &manifest.task);
        let mut n_done = 0;
        let serving = Serving { cache: manifest.cache.clone(), ..serving(&args.models) };
        predictor.predict_each(&images, serving, &mut |it: infer::Prediction| {
            if terminal.should_stop() {
                bail!("stopped");
            }
            let example: &Example = &manifest.examples[side[n_done]];
            let it = Prediction {
                probabilities: &it.probabilities,
                predicted: it.predicted,
                class: example.class,
                group: example.group,
                number: it.number,
                true_number: of_number.and_then(|factor| example.number(factor)),
            };
            scores.add(&it);
            let group = &manifest.groups[example.group];
            table.row(&example.name, group, &it).with_context(|| shown.clone())?;
            n_done += 1;
            terminal.progress("predicting", n_done, side.len());
            Ok(())
        })?;
        let flushed = table.finish().and_then(|mut it| it.flush());
        flushed.with_context(|| shown.clone())
    })?;
    Ok(scores.report(base::Seed(0)))
}
