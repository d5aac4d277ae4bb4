//! The folder of an ensemble: the bundle, the nested predictions, the scores, and who was trained on.

use std::io::{BufWriter, Write as _};

use anyhow::Context as _;
use base::files::write_atomic_with;
use ensemble::{CombineConfig, Conformal, Predicted, SoftVote};
use infer::{Bundle, LabelledWriter};
use metrics::{AttributeSums, Report};
use trainer::class_tables;

use super::{attributes::Attributes, recipe::Fitted, report, scores::SEED, summary::Summary};
use crate::{
    held_out::{Columns, FitOn},
    new_folder::NewFolder,
    trained_on::{Known, TrainedOn},
};

/// The tag of the weights in the bundle.
const TAG: &str = "ensemble";

/// What was made of the runs.
pub(super) struct Made {
    pub(super) fitted: Fitted,
    pub(super) conformal: Option<Conformal>,
    /// The weights of runs that predict different factors; empty for equal ones.
    pub(super) weights: Vec<f64>,
    /// Whether anything was fitted on the predictions.
    pub(super) is_fitted: bool,
}

/// Writes all files, and returns the scores of the nested predictions.
///
/// - `nested`: the nested predictions.
pub(super) fn save(
    output: &NewFolder,
    columns: &Columns,
    attributes: &Attributes,
    made: &Made,
    nested: &Predicted<'_>,
    summary: &Summary,
) -> anyhow::Result<Report> {
    // The largest files first: a disk that is full is noticed early.
    let bundle = bundle(columns, made)?;
    if let Some(problem) = bundle.problem() {
        anyhow::bail!("these runs do not fit together: {problem}");
    }
    bundle.save(output.begun()?, TAG)?;
    let name = columns.fit_on.table();
    let file = format!("{name}.csv");
    let shown = output.path().join(&file).display().to_string();
    let written = write_atomic_with(&output.begun()?.join(&file), |out| {
        let mut table = LabelledWriter::new(BufWriter::new(out), &columns.task);
        for (image, it) in nested.iter().enumerate() {
            table.row(&columns.images[image], &columns.group_names[it.group], &it)?;
        }
        table.finish()?.flush()
    });
    written.context(shown)?;
    let scored = scores(columns, attributes, nested);
    for (file, text) in class_tables(name, &scored) {
        output.write(&file, text.as_bytes())?;
    }
    output.write("reliability.csv", report::reliability(&summary.reliability).as_bytes())?;
    for (name, text) in trained_on(columns, made.is_fitted)?.iter().flat_map(TrainedOn::tables) {
        output.write(name, text.as_bytes())?;
    }
    output.write("report.toml", report::to_toml(&made.fitted, &scored, summary).as_bytes())?;
    Ok(scored)
}

/// Returns the scores of the nested predictions, those by attribute among them.
fn scores(columns: &Columns, attributes: &Attributes, nested: &Predicted<'_>) -> Report {
    let Attributes { all, of_images } = attributes;
    let named: Vec<(&str, &[String])> =
        all.iter().map(|it| (it.name.as_str(), it.values.as_slice())).collect();
    let images = of_images.iter().map(Vec::as_slice);
    let mut sums = AttributeSums::new(&columns.task, &named, images);
    of_images.iter().zip(nested.iter()).for_each(|(values, it)| sums.add(values, &it));
    Report { attributes: sums.report(SEED), ..nested.report(SEED) }
}

/// Returns the bundle: the models of each run are one input of the combination.
fn bundle(columns: &Columns, made: &Made) -> anyhow::Result<Bundle> {
    let (mut members, mut inputs) = (Vec::new(), Vec::new());
    for column in &columns.columns {
        let n_before = members.len();
        for idx in 0..column.bundles.len() {
            members.extend(column.open(idx)?.members);
        }
        inputs.push(members.len() - n_before);
    }
    if inputs.iter().all(|it| *it == 1) {
        inputs.clear();
    }
    let Fitted { combine, calibration, decision } = made.fitted.clone();
    let combine = match columns.are_whole() {
        true => combine,
        // The members are joined by their factors.
        false => CombineConfig::SoftVote(SoftVote { weights: made.weights.clone() }),
    };
    let conformal = made.conformal.clone();
    let bundle = Bundle::new(columns.task.clone(), members);
    Ok(Bundle { inputs, combine, calibration, decision, conformal, ..bundle })
}

/// Returns what any model was trained on, as far as it is known, and what was fitted on. A test
/// set that the runs were combined on is none for this bundle, whether or not anything was fitted.
fn trained_on(columns: &Columns, is_fitted: bool) -> anyhow::Result<Option<TrainedOn>> {
    let mut all: Option<TrainedOn> = None;
    for dir in columns.columns.iter().flat_map(|it| &it.bundles) {
        if let Some(own) = TrainedOn::of(dir)? {
            all.get_or_insert_default().add(own);
        }
    }
    if is_fitted || columns.fit_on == FitOn::Test {
        let groups = columns.group_names.iter().cloned().collect();
        let files = columns.hashes.iter().copied().flatten().collect();
        let fitted = Known { groups, files };
        all.get_or_insert_default().add(TrainedOn { fitted, ..TrainedOn::default() });
    }
    Ok(all)
}
