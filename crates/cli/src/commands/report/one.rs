//! Collects the report on one run.

use std::time::Duration;

use anyhow::Context as _;
use data::{Context, Manifest};
use report::{
    AttributeOf, ConfusedPair, Gallery, Grounds, Limits, RunReport, Shown, label_errors, verdict,
};
use trainer::Callback as _;

use super::{
    curves::curves,
    facts::{self, Data},
    found::{Found, Kind},
    images::Images,
    maps,
    predictions::{self, Read},
    setup::setup,
    test_set,
};
use crate::{runs, terminal::Terminal, trained_on::TrainedOn};

/// The largest images of a run whose settings are unknown.
const MAX_PIXELS: u64 = 50_000_000;

/// Collects the report on one run.
///
/// - `manifest`: the data, if it is read already.
/// - `patience`: how long maps are made.
pub(super) fn report(
    found: &Found,
    manifest: Option<&Manifest>,
    limits: Limits,
    patience: Duration,
    terminal: &Terminal,
) -> anyhow::Result<RunReport> {
    let mut run = RunReport {
        name: found.name.clone(),
        kind: found.kind.name().to_owned(),
        set: found.set.to_owned(),
        ..RunReport::default()
    };
    let read = predictions::read(found)?;
    let listed = match manifest {
        Some(_) => None,
        None => listed(found, &mut run.notes, terminal),
    };
    let manifest = manifest.or(listed.as_ref());
    let data = data(found, manifest, &mut run);
    let max_pixels = found.experiment.as_ref().map_or(MAX_PIXELS, |it| it.data.max_pixels);
    let mut images = Images::new(manifest, max_pixels);

    let all = &read.collected;
    run.scores = all.scores();
    test_set::add(&mut run, found);
    run.curves = curves(found, &mut run.notes);
    run.confusions = all.confusions();
    run.classes = all.classes();
    run.reliability = all.reliability();
    let attributes = attributes(&read, manifest, &images, &mut run.notes);
    run.notes.extend(of_one_value(&all.of_one_value(&attributes)));
    run.attributes = all.by_attribute(&attributes);
    let gallery = all.gallery(limits);
    show(&mut run, &read, &gallery, &mut images);
    labels(&mut run, &read, limits.labels, &mut images);
    maps::add(&mut run, found, &read, &gallery, &data, &mut images, patience);
    run.notes.extend(images.note());
    run.setup = setup(found);
    let (n_wrong, n_wrong_factors) = all.wrong_factors();
    let earlier = TrainedOn::earlier(&found.dir)?.unwrap_or_default();
    let grounds = Grounds {
        basis: found.basis,
        unit: all.task.unit,
        n_images: all.records.len(),
        n_groups: all.n_groups,
        n_wrong,
        n_wrong_factors,
        rarest: all.rarest(&data.n_trained),
        estimate: estimate(found, &mut run.notes),
        n_earlier: earlier.among(read.groups.iter().map(String::as_str)).len(),
        n_earlier_of_test: earlier.among(data.test_groups.iter().map(String::as_str)).len(),
    };
    run.verdict = verdict(&run, &grounds);
    Ok(run)
}

/// Returns the score that estimates that of a run on all the data.
fn estimate(found: &Found, notes: &mut Vec<String>) -> Option<(String, report::Estimate)> {
    let read = trainer::Estimate::read(&found.dir);
    let it = read.unwrap_or_else(|err| {
        notes.push(format!("The estimate is left out: {err}."));
        None
    })?;
    let [low, high] = it.macro_f1_interval;
    let macro_f1 = report::Estimate { value: Some(it.macro_f1), low: Some(low), high: Some(high) };
    Some((it.cross_validation, macro_f1))
}

/// Lists the data of a run, without opening images: those that are gone are noted where they are shown.
fn listed(found: &Found, notes: &mut Vec<String>, terminal: &Terminal) -> Option<Manifest> {
    let list = || -> anyhow::Result<Manifest> {
        let experiment = found.experiment.as_ref().map_err(|it| anyhow::anyhow!("{it}"))?;
        let cache = runs::cache_dir();
        let context = Context {
            cache: cache.as_deref(),
            max_pixels: experiment.data.max_pixels,
            progress: &|done, total| terminal.progress("listing the data", done, total),
        };
        experiment.listing(&context).context("the data cannot be listed")
    };
    let listed = list();
    terminal.clear();
    listed
        .map_err(|err| {
            notes.push(format!("There are no images and no attributes: {err:#}."));
        })
        .ok()
}

/// Returns what is known about the data.
fn data(found: &Found, manifest: Option<&Manifest>, run: &mut RunReport) -> Data {
    let read = match found.kind {
        Kind::Run | Kind::Kfold => facts::read(&found.dir, &found.task),
        Kind::Ensemble | Kind::Soup | Kind::Evaluation => Ok(Data::default()),
    };
    let mut data = read.unwrap_or_else(|reason| {
        run.notes.push(format!("The classes of the data are unknown: {reason}."));
        Data::default()
    });
    run.data = std::mem::take(&mut data.facts);
    run.data.unit = found.task.unit.one().to_owned();
    run.data.units = found.task.unit.many().to_owned();
    if let Some(manifest) = manifest {
        facts::add_sizes(&mut run.data, manifest);
    }
    data
}

/// Returns the attributes that the data keeps for reports, of the images that were predicted.
fn attributes(
    read: &Read,
    manifest: Option<&Manifest>,
    images: &Images<'_>,
    notes: &mut Vec<String>,
) -> Vec<AttributeOf> {
    let Some(manifest) = manifest.filter(|it| !it.attributes.is_empty()) else { return Vec::new() };
    let values = |idx: usize| -> Option<Vec<u32>> {
        let value = |name: &String| images.example(name)?.attributes.get(idx).copied();
        read.images.iter().map(value).collect()
    };
    let all = manifest.attributes.iter().enumerate().map(|(idx, it)| {
        let (name, of_values) = (it.name.clone(), it.values.clone());
        Some(AttributeOf { name, values: of_values, of_images: values(idx)? })
    });
    let all: Option<Vec<AttributeOf>> = all.collect();
    all.unwrap_or_else(|| {
        let text =
            "There are no attributes: some images that were predicted are no longer in the data.";
        notes.push(text.to_owned());
        Vec::new()
    })
}

/// Says which attributes are left out.
fn of_one_value(names: &[String]) -> Option<String> {
    let shown: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
    let what = if names.len() == 1 { "it has" } else { "each has" };
    (!names.is_empty()).then(|| {
        format!(
            "There are no scores by {}: {what} one value in all of these images.",
            shown.join(", ")
        )
    })
}

/// Adds the images of the gallery.
fn show(run: &mut RunReport, read: &Read, gallery: &Gallery, images: &mut Images<'_>) {
    let mut shown = |of: &[usize]| -> Vec<Shown> {
        let one = |&at: &usize| {
            let name = read.images.get(at)?;
            let mut shown = read.collected.shown(at, name);
            shown.image = images.uri(name);
            Some(shown)
        };
        of.iter().filter_map(one).collect()
    };
    run.top_losses = shown(&gallery.top_losses);
    run.least_certain = shown(&gallery.least_certain);
    for it in &gallery.pairs {
        let (wrong, right) = (shown(&it.wrong), shown(&it.right));
        run.confused.push(ConfusedPair { pair: it.pair.clone(), wrong, right });
    }
}

/// Adds the likely label errors.
fn labels(run: &mut RunReport, read: &Read, n_shown: usize, images: &mut Images<'_>) {
    let Some(predictions) = &read.predictions else {
        let n = read.images.len();
        run.notes.push(format!(
            "Likely label errors are left out: there are too many probabilities of {n} images; `maskfit labels` \
             finds them."
        ));
        return;
    };
    let (mut labels, shown) = label_errors(predictions, &read.images, &read.groups, n_shown);
    for (row, at) in labels.rows.iter_mut().zip(shown) {
        row.image = read.images.get(at).and_then(|it| images.uri(it));
    }
    run.labels = labels;
}
