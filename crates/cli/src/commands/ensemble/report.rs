//! `report.toml` of an ensemble.

use base::table::{self, number};
use ensemble::{Bin, By, Coverage, ReliabilityReport};
use metrics::Report;
use serde::Serialize;
use trainer::section;

use super::{recipe::Fitted, scores::Scores, summary::Summary};
use crate::held_out::FitOn;

#[derive(Serialize)]
struct Head<'a> {
    combine: &'a str,
    calibration: &'a str,
    by: By,
    fit_on: FitOn,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notes: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    correlation: &'a [Vec<f64>],
    members: Vec<Member<'a>>,
    steps: Vec<Step<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    sets: &'a [Coverage],
}

#[derive(Serialize)]
struct Member<'a> {
    run: &'a str,
    models: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    #[serde(flatten)]
    scores: Flat,
    #[serde(skip_serializing_if = "Option::is_none")]
    adds: Option<f64>,
}

#[derive(Serialize)]
struct Step<'a> {
    name: &'a str,
    nested: Flat,
    #[serde(skip_serializing_if = "Option::is_none")]
    fitted: Option<Flat>,
}

/// Scores with their intervals.
#[derive(Serialize)]
struct Flat {
    macro_f1: f64,
    macro_f1_interval: [f64; 2],
    log_loss: f64,
    log_loss_interval: [f64; 2],
    expected_calibration_error: f64,
    expected_calibration_error_interval: [f64; 2],
}

impl From<&Scores> for Flat {
    fn from(it: &Scores) -> Flat {
        let [f1, loss] = [&it.macro_f1, &it.log_loss].map(|it| it.interval());
        let ece = it.ece.centred_interval();
        Flat {
            macro_f1: f1.value,
            macro_f1_interval: [f1.low, f1.high],
            log_loss: loss.value,
            log_loss_interval: [loss.low, loss.high],
            expected_calibration_error: ece.value,
            expected_calibration_error_interval: [ece.low, ece.high],
        }
    }
}

/// Formats the report.
///
/// - `nested`: the report on the nested predictions.
pub(super) fn to_toml(fitted: &Fitted, nested: &Report, summary: &Summary) -> String {
    let members = summary.members.iter().map(|it| Member {
        run: &it.name,
        models: it.n_models,
        weight: it.weight,
        scores: (&it.scores).into(),
        adds: it.adds,
    });
    let steps = summary.steps.iter().map(|it| Step {
        name: &it.name,
        nested: (&it.nested).into(),
        fitted: it.fitted.as_ref().map(Flat::from),
    });
    let notes = summary.notes();
    let head = Head {
        combine: fitted.combine.kind(),
        calibration: fitted.calibration.kind(),
        by: summary.by,
        fit_on: summary.fit_on,
        notes: &notes,
        correlation: &summary.correlation,
        members: members.collect(),
        steps: steps.collect(),
        sets: &summary.coverage,
    };
    toml::to_string(&head).expect("scores are TOML") + &section("nested", nested)
}

/// Formats the table of how far the probabilities can be believed: of the predicted class, and of each class.
pub(super) fn reliability(it: &ReliabilityReport) -> String {
    let header = ["class", "ece", "from", "to", "images", "confidence", "accuracy"];
    let mut rows: Vec<[String; 7]> = Vec::new();
    let mut add = |class: &str, ece: f64, bins: &[Bin]| {
        let edge = |bin: usize| number(bin as f64 / bins.len() as f64);
        for (idx, bin) in bins.iter().enumerate().filter(|it| it.1.n_images > 0) {
            rows.push([
                class.to_owned(),
                number(ece),
                edge(idx),
                edge(idx + 1),
                bin.n_images.to_string(),
                number(bin.confidence),
                number(bin.accuracy),
            ]);
        }
    };
    add("", it.ece.value, &it.bins);
    it.classes.iter().for_each(|of| add(&of.class, of.ece, &of.bins));
    table::text(header, rows)
}
