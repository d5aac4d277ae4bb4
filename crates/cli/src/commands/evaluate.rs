//! `maskfit evaluate`
//!
//! The folder that it writes is compared like a run: its table is `valid.csv` or `test.csv`, and its `report.toml`
//! contains the task.

use std::{
    collections::{BTreeSet, HashMap},
    io::{BufWriter, Write as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use base::{
    Task,
    files::write_atomic_with,
    names::listed,
    records::{Record, Records},
    task::{Scope, Unit},
    text,
};
use data::{Example, Manifest, Use};
use infer::{Bundle, LabelledWriter, Serving};
use metrics::{Prediction, Report};
use trainer::{Callback as _, Experiment, Scoring, class_tables, section};

use super::predict::{self, serving};
use crate::{
    End,
    args::{EvaluateArgs, ExperimentArgs, Side},
    bundles,
    new_folder::NewFolder,
    phrases::argument,
    preparation::{check_settings, images_of, in_short},
    runs,
    tables::{macro_f1, report},
    terminal::Terminal,
    trained_on::{Image, Known, TrainedOn, data_of, unknown},
};

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
    trainer::check_device(args.models.device)?;
    // The data shows below whether they are of one task.
    let bundle = predict::open(&args.models, true)?;
    let terminal = Terminal::new();
    let manifest = images_of(&experiment, &terminal)?;
    if let Some(how) = bundle.task.difference("the models", &manifest.task, "the data") {
        bail!(
            "{how}\nname data with the factors, levels and cuts of the models, in the same order"
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
            "the data has no {}: name another `--side`, or other data with `--config`",
            match side {
                Side::Test => "test set",
                Side::Valid => "validation set",
                Side::All => "images",
            }
        ),
        false => Ok(images),
    }
}

/// Returns the images of a side whose label or group is not the one in the table of a run's data: they may be other
/// images of the same name. Empty where there is no such table, or it is of another task.
fn others(dir: &Path, manifest: &Manifest, side: &[usize]) -> anyhow::Result<Vec<String>> {
    let Some(path) = data_of(dir) else { return Ok(Vec::new()) };
    if Bundle::task(dir)?.factors != manifest.task.factors {
        return Ok(Vec::new());
    }
    let text = text::read(&path).with_context(|| path.display().to_string())?;
    let table = Records::exact(&text);
    let Ok(columns) = table.header().columns(["image", "group", "label", "use"]) else {
        bail!("{}: line 1: the columns are not those of a run's data", path.display());
    };
    let fields = |row: Record| columns.map(|it| row.fields.get(it).unwrap_or_default().to_owned());
    let labelled = table.rows().map(fields).filter(|it| !it[3].starts_with("pseudo "));
    let known: HashMap<String, [String; 2]> =
        labelled.map(|[image, group, label, _]| (image, [label, group])).collect();
    let labels = manifest.task.class_names(Scope::Joint);
    let other = |&it: &usize| {
        let example = &manifest.examples[it];
        let [label, group] = known.get(&example.name)?;
        let (own, of) = (&labels[example.class], &manifest.groups[example.group]);
        let is_same = label == own && group == of;
        (!is_same).then(|| format!("`{}` ({own} of {of}, not {label} of {group})", example.name))
    };
    Ok(side.iter().filter_map(other).collect())
}

/// Counts images, and lists the first of them.
fn counted(images: &[String]) -> String {
    let have = if images.len() == 1 { "image has" } else { "images have" };
    let than = "another label or group than in the run's `data.csv`";
    format!("{} {have} {than}: {}", images.len(), listed(images))
}

/// Refuses images that a model was trained on, by the names of their groups and by their files, and a run's own data if
/// it is not what it was.
fn check_unseen(
    args: &EvaluateArgs,
    manifest: &Manifest,
    side: &[usize],
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let unit = manifest.task.unit;
    let image = |&it: &usize| {
        let Example { name, group, hash, .. } = &manifest.examples[it];
        Image { name, group: &manifest.groups[*group], hash: *hash }
    };
    let images: Vec<Image<'_>> = side.iter().map(image).collect();
    let is_own = args.config.is_none() && args.set.is_empty();
    let mut problems = Vec::new();
    for named in &args.models.runs {
        for dir in bundles::dirs(&runs::find(named)?)? {
            let shown = dir.display();
            let Some(known) = TrainedOn::of(&dir)? else {
                terminal.status(&format!("note: {}", unknown(&dir)));
                continue;
            };
            let others = others(&dir, manifest, side)?;
            if !others.is_empty() && is_own {
                bail!(
                    "{shown}: {}: restore the run's data, or name the new one with `--config`",
                    counted(&others)
                );
            }
            if let Some(copies) = known.copies(&dir, &images) {
                terminal.status(&format!("note: {copies}: the score is optimistically biased"));
            }
            match (known.problem(&dir, &images, unit), known.problem_of_files(&dir, &images)) {
                (None, Some(copies)) => problems.push(copies + ": remove them from the data"),
                (Some(_), Some(copies)) if args.new_groups => problems.push(copies),
                (Some(_), None) if args.new_groups => {
                    let groups: BTreeSet<&str> = images.iter().map(|it| it.group).collect();
                    let (n, many) = (known.among(groups).len(), unit.many());
                    terminal.status(&format!(
                        "note: {shown}: {n} of these {many} have names of {many} that it was trained on, and are \
                         treated as new (`--new-groups`)"
                    ));
                }
                (Some(mut problem), by_file) => {
                    if !others.is_empty() {
                        let (counted, one) = (counted(&others), unit.one());
                        problem += &format!(
                            "; {counted}: if this is other data, give each {one} and image a name of its own"
                        );
                    }
                    if args.config.is_some() && by_file.is_none() {
                        let many = unit.many();
                        problem += &format!(
                            "; known by name only: if these are other {many} than those of the run, go on with \
                             `--new-groups`"
                        );
                    }
                    problems.push(problem);
                }
                (None, None) => {
                    if !others.is_empty() {
                        terminal.status(&format!("note: {shown}: {}", counted(&others)));
                    }
                    if let Some(selected) = selected(&known, &images, unit) {
                        terminal.status(&format!(
                            "note: {shown}: an epoch was selected on {selected}: the score is optimistically biased"
                        ));
                    }
                }
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

/// Returns how many of the groups, or else of the files, of some images the epochs were selected on.
fn selected(known: &TrainedOn, images: &[Image<'_>], unit: Unit) -> Option<String> {
    let Known { groups, files } = &known.selected;
    let all: BTreeSet<&str> = images.iter().map(|it| it.group).collect();
    let n = all.iter().filter(|it| groups.contains(**it)).count();
    let n_files = images.iter().filter(|it| it.hash.is_some_and(|it| files.contains(&it))).count();
    match (n, n_files) {
        (0, 0) => None,
        (0, n) => Some(format!("the files of {n} of these {}", Unit::Image.count(images.len()))),
        (n, _) => Some(format!("{n} of these {}", unit.count(all.len()))),
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
        bail!("{}\nnothing is written", in_short(&unfit));
    }
    let of_number = bundle.number();
    let predictor = trainer::predictor(bundle, args.models.device)?;
    let file = format!("{}.csv", args.side.table());
    let shown = output.path().join(&file).display().to_string();
    let of_side = side.iter().map(|&it| manifest.examples[it].attributes.as_slice());
    let mut scores = Scoring::new(&manifest.task, &manifest.attributes, of_side);
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
            scores.add(&example.attributes, &it);
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
