//! `maskfit predict`, and what it shares with `maskfit submit`.

use std::{collections::HashSet, fs::File, mem, path::Path, sync::Arc};

use anyhow::{anyhow, bail};
use augment::View;
use base::{
    names::quoted,
    table::Table,
    task::{Scope, Unit},
};
use candle::Device;
use data::{
    Content, Context, Finding, Findings, Recognise, check_images, check_sizes, list_images, remedy,
    sizes_of,
};
use ensemble::Conformal;
use infer::{Bundle, Prediction, PredictionTable, Predictor, Serving};
use serde::{Serialize, Serializer};
use serde_json::json;
use trainer::Callback as _;

use crate::{
    End,
    args::ModelArgs,
    bundles,
    json::emit,
    output::{Output, Own},
    preparation::{in_short, use_threads},
    runs,
    terminal::Terminal,
};

/// How to fix a damaged image.
const REPLACE: &str = "replace the file";
/// The shortest side, in pixels, of an image whose prediction is not doubted.
const TINY: usize = 8;

/// The tables that this command has written.
const OWN: Own<'static> =
    Own { what: "a table of `maskfit predict`", is_own: &PredictionTable::is_own::<File> };

/// Predicts all images that can be predicted; fails at the end, naming the others, if there are any.
///
/// - `output`: where the table goes; `None` for events only.
pub(crate) fn predict(
    models: &ModelArgs,
    joins_factors: bool,
    sets: Option<f64>,
    root: &Path,
    output: Option<&Path>,
) -> anyhow::Result<End> {
    let output = output.map(Output::at).transpose()?;
    output.as_ref().map_or(Ok(()), |it| it.check(&OWN))?;
    // First, because this sets the number of threads, and listing starts them.
    let bundle = open(models, joins_factors)?;
    let predictor = match sets {
        None => trainer::predictor(bundle.clone(), models.device)?,
        Some(level) => with_sets(&bundle, level, models)?,
    };
    let mut folder = list_images(root, Recognise::ByContent)?;
    folder.notes.iter().for_each(|it| status!("note: {it}"));
    if let Some(text) = folder.skipped_text() {
        complain!("{text}");
    }
    let terminal = Terminal::new();
    let mut unfit = unfit(&bundle, root, &folder.images, &terminal);
    let names: HashSet<&str> = unfit.0.iter().map(|it| it.place.as_str()).collect();
    folder.images.retain(|it| !names.contains(it.0.as_str()));
    unfit.0.append(&mut folder.unreadable.0);
    unfit.0.sort();
    // Unlike for a submission, which has a row for each image.
    for it in unfit.0.iter_mut().filter(|it| it.remedy.ends_with(REPLACE)) {
        it.remedy.push_str(", or leave it out");
    }
    for Finding { place, problem, .. } in &unfit.0 {
        emit("unpredicted", json!({ "image": place, "problem": problem }));
    }
    if folder.images.is_empty() {
        bail!(
            "{}: {}\nno image can be predicted: nothing is written",
            root.display(),
            in_short(&unfit)
        );
    }
    let images = Arc::from(mem::take(&mut folder.images));
    let table = PredictionTable::new(&bundle.task, sets.is_some());
    let classes = bundle.task.class_names(Scope::Joint);
    let row = |name: &str, it: &Prediction| -> anyhow::Result<Vec<String>> {
        emit("prediction", PredictionEvent::of(name, it, &classes));
        Ok(table.row(name, it))
    };
    let written = match &output {
        Some(output) => {
            let (header, to) = (table.header(), (output, &OWN));
            write(models, &predictor, &images, &header, to, &terminal, &row)
        }
        None => predict_each(models, &predictor, &images, &terminal, &mut |name, it| {
            row(name, it).map(drop)
        }),
    };
    if let Some(end) = stopped(&written, &terminal) {
        return Ok(end);
    }
    written?;
    let (n, n_unfit) = (images.len(), unfit.0.len());
    let file = output.as_ref().map(ToString::to_string);
    if let Some(file) = &file {
        say!("{}: {file}", rows(n));
    }
    emit("finished", json!({ "predicted": n, "unpredicted": n_unfit, "table": file }));
    if n_unfit > 0 {
        let others = match file {
            Some(_) => format!("these images have no row; {} written", rows(n)),
            None => format!("these images have no prediction; {n} others have one"),
        };
        bail!("{}: {}\n{others}", root.display(), in_short(&unfit));
    }
    Ok(End::Done)
}

/// A prediction, for `--json`.
#[derive(Serialize)]
struct PredictionEvent<'a> {
    image: &'a str,
    predicted: usize,
    class: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<Vec<&'a str>>,
    /// In the order of the task, so that `predicted` is an index of it.
    #[serde(serialize_with = "as_object")]
    probabilities: Vec<(&'a str, f64)>,
}

/// Writes pairs as an object, in their order.
fn as_object<S: Serializer>(pairs: &[(&str, f64)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(pairs.iter().copied())
}

impl<'a> PredictionEvent<'a> {
    /// - `classes`: the names of the joint classes.
    fn of(image: &'a str, it: &Prediction, classes: &'a [String]) -> PredictionEvent<'a> {
        let name = |class: usize| classes[class].as_str();
        PredictionEvent {
            image,
            predicted: it.predicted,
            class: name(it.predicted),
            number: it.number,
            set: it.set.as_ref().map(|it| it.iter().map(|&it| name(it)).collect()),
            probabilities: it
                .probabilities
                .iter()
                .enumerate()
                .map(|(it, &p)| (name(it), p))
                .collect(),
        }
    }
}

/// Returns a predictor of sets that hold the true class with probability `level`, and notes what they promise.
fn with_sets(bundle: &Bundle, level: f64, models: &ModelArgs) -> anyhow::Result<Predictor> {
    let predictor = trainer::predictor(bundle.clone(), models.device)?;
    let predictor = predictor.with_sets(level).map_err(|err| anyhow!("--sets {level}: {err}"))?;
    if let Some(conformal) = &bundle.conformal {
        let unit = bundle.task.unit;
        if let Some(why) = conformal.too_few(level, unit) {
            status!("note: {why}");
        }
        status!("note: {}", promise(conformal, level, unit));
    }
    Ok(predictor)
}

/// Returns what the sets of a level promise, in words.
pub(super) fn promise(conformal: &Conformal, level: f64, unit: Unit) -> String {
    let (new, many) = match unit {
        Unit::Image => ("a new image".to_owned(), unit.many()),
        _ => (format!("an image of a new {}", unit.one()), unit.many()),
    };
    // Every model has seen all folds but one. 2 level - 1 has as many decimals as the level.
    let n_decimals = level.to_string().split_once('.').map_or(0, |it| it.1.len()).max(2);
    let least = format!("{:.n_decimals$} (CV+)", conformal.guarantee(level));
    let proven = match (conformal.is_cv_plus(), conformal.is_fitted) {
        (false, false) => String::new(),
        (false, true) => format!("; less, since something was fitted on the same {many}"),
        (true, false) => format!("; proven is {least}"),
        (true, true) => {
            format!("; {least} would be proven, if nothing were fitted on the same {many}")
        }
    };
    format!(
        "a set of level {level} holds the class of {new} with probability {level}, on average over {many}{proven}"
    )
}

/// Opens models as one bundle.
///
/// - `joins_factors`: whether those of different factors are of one task.
pub(super) fn open(models: &ModelArgs, joins_factors: bool) -> anyhow::Result<Bundle> {
    use_threads(0)?;
    bundles::note_unfinished(&models.runs)?;
    bundles::open(&models.runs, joins_factors, &Device::Cpu)
}

pub(super) fn rows(n: usize) -> String {
    if n == 1 { "1 row".to_owned() } else { format!("{n} rows") }
}

/// Returns the images that a bundle cannot predict, with the reasons, and notes those that are too small to show
/// anything.
pub(super) fn unfit(
    bundle: &Bundle,
    root: &Path,
    images: &[(String, Content)],
    terminal: &Terminal,
) -> Findings {
    let max_pixels = bundle.members.iter().map(|it| it.pipeline.max_pixels).min();
    let cache = runs::cache_dir();
    let problems = check_images(
        root,
        images,
        &Context {
            cache: cache.as_deref(),
            max_pixels: max_pixels.unwrap_or(u64::MAX),
            progress: &|done, total| terminal.progress("checking images", done, total),
        },
    );
    terminal.clear();
    let mut findings = Findings::default();
    for (name, problem) in problems {
        let remedy = remedy(&problem, REPLACE);
        findings.add(name, problem, remedy);
    }
    // The size of a damaged image is meaningless.
    let damaged: HashSet<String> = findings.0.iter().map(|it| it.place.clone()).collect();
    let whole: Vec<_> = images.iter().filter(|it| !damaged.contains(&it.0)).collect();
    let contents: Vec<&Content> = whole.iter().map(|it| &it.1).collect();
    let sizes = sizes_of(&contents, &|done, total| terminal.progress("reading sizes", done, total));
    terminal.clear();
    for View { pipeline, .. } in bundle.views().unwrap_or_default() {
        let named = whole.iter().map(|it| it.0.as_str()).zip(sizes.iter().copied());
        check_sizes(named, "", &pipeline, &mut findings);
    }
    let refused: HashSet<&str> = findings.0.iter().map(|it| it.place.as_str()).collect();
    let named = whole.iter().map(|it| it.0.as_str()).zip(sizes.iter().copied());
    if let Some(note) = tiny(named.filter(|it| !refused.contains(it.0))) {
        status!("note: {note}");
    }
    findings.0.sort();
    findings.0.dedup_by(|a, b| a.place == b.place);
    findings
}

/// Returns a note on images that are too small to show anything, if any.
fn tiny<'a>(images: impl Iterator<Item = (&'a str, Option<[usize; 2]>)>) -> Option<String> {
    let is_tiny = |size: [usize; 2]| size.into_iter().any(|side| side < TINY);
    let tiny = images.filter(|it| it.1.is_some_and(is_tiny));
    let names: Vec<&str> = tiny.map(|it| it.0).collect();
    let (n, have) = (names.len(), if names.len() == 1 { "has" } else { "have" });
    (n > 0).then(|| {
        format!(
            "{} {have} a side shorter than {TINY} pixels, so that a prediction means little: {}",
            Unit::Image.count(n),
            quoted(&names)
        )
    })
}

/// Returns the settings of inference.
pub(super) fn serving(models: &ModelArgs) -> Serving {
    Serving {
        batch_size: models.batch_size,
        num_workers: models.num_workers,
        prefetch: 4,
        cache: None,
    }
}

/// Predicts images in order, and writes the row of each as soon as it is predicted; the file appears when
/// all are.
///
/// - `to`: where it goes, and what it may replace.
pub(super) fn write(
    models: &ModelArgs,
    predictor: &Predictor,
    images: &Arc<[(String, Content)]>,
    header: &[String],
    (output, own): (&Output, &Own<'_>),
    terminal: &Terminal,
    row: &dyn Fn(&str, &Prediction) -> anyhow::Result<Vec<String>>,
) -> anyhow::Result<()> {
    output.write_with(own, |out| {
        let mut table = Table::begin(out, header)?;
        predict_each(models, predictor, images, terminal, &mut |name, it| {
            Ok(table.row(row(name, it)?)?)
        })?;
        table.finish()?;
        Ok(())
    })
}

/// Predicts images in order, and calls `each` with the name of each and its prediction.
fn predict_each(
    models: &ModelArgs,
    predictor: &Predictor,
    images: &Arc<[(String, Content)]>,
    terminal: &Terminal,
    each: &mut dyn FnMut(&str, &Prediction) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    terminal.heed_interrupts();
    let mut n_done = 0;
    let predicted = predictor.predict_each(images, serving(models), &mut |it: Prediction| {
        if terminal.should_stop() {
            bail!("stopped");
        }
        each(&images[n_done].0, &it)?;
        n_done += 1;
        terminal.progress("predicting", n_done, images.len());
        Ok(())
    });
    terminal.clear();
    predicted
}

/// Returns how to end if Ctrl-C has stopped the command.
pub(super) fn stopped(result: &anyhow::Result<()>, terminal: &Terminal) -> Option<End> {
    (result.is_err() && terminal.should_stop()).then(|| {
        complain!("stopped: no file was written");
        End::Stopped
    })
}

#[cfg(test)]
mod tests {
    use base::task::Unit;
    use ensemble::Conformal;

    use super::promise;

    #[test]
    fn what_is_proven_has_the_digits_of_the_level() {
        let fold = "{ scores = [0.5], weights = [0.25] }";
        let text = format!("n_groups = 2\nfolds = [{fold}, {fold}]");
        let mut conformal: Conformal = toml::from_str(&text).unwrap();
        for (level, want) in [(0.8, "0.60"), (0.95, "0.90"), (0.999, "0.998"), (0.9995, "0.9990")] {
            let promise = promise(&conformal, level, Unit::Person);
            assert!(promise.ends_with(&format!("; proven is {want} (CV+)")), "{promise}");
        }
        conformal.is_fitted = true;
        let promise = promise(&conformal, 0.8, Unit::Person);
        assert!(
            promise.ends_with(
                "; 0.60 (CV+) would be proven, if nothing were fitted on the same people"
            )
        );
    }
}
