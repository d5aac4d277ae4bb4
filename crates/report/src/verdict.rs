//! The verdict: the score, what it holds for, and what limits it, in plain sentences.
//!
//! Each sentence follows from numbers of the page by a rule, and is left out where the rule does not hold:
//!
//! - the score: always.
//! - what it holds for: by how the images were used ([`Basis`]), or, where the model continued from one that was trained
//!   on some of their groups, by that.
//! - the estimate: of a run that was trained on all the data after a cross-validation, the score of that. Where the
//!   images were trained on, nothing else is said of them.
//! - the test set: where a cross-validation has predictions for it.
//! - a small set: the interval of macro F1 is wider than 0.1, or has no width.
//! - the worst factor: of several factors, the one that is wrong in most of the wrong images; of one factor, the most
//!   frequent confusion, if it has at least a tenth of all errors.
//! - the rarest class: the class of the set with the fewest training images has at most half as many as the median
//!   class, and an F1 that is at least 0.05 below macro F1.
//! - the largest gap: of the attributes whose gap has p < 0.05 / the number of tested attributes (Bonferroni), the one
//!   with the largest gap. Without one, that no gap is significant.
//! - over-fitting: in more than half of the curves, the last validation loss is at least a tenth above the lowest, and
//!   the training loss is lower than there. Or training was short: in more than half of the curves, the last validation
//!   loss is the lowest, and at least a hundredth below that of the evaluation before.
//! - calibration: the expected calibration error is at least 0.05.
//! - label noise: a factor whose accuracy is at least 0.8, and whose share of likely errors is from 0.01 to 0.2: a
//!   weaker model, or one that doubts more, is rather wrong itself. Of several, the one with the largest share.

use std::ops::RangeInclusive;

use base::task::Unit;

use crate::contents::{Curve, CurvePoint, Estimate, FactorLabels, RunReport};

/// How the images of a report were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Neither for training nor for selecting the model.
    Test,
    /// Each was predicted by the fold that was not trained on it.
    OutOfFold,
    /// The model was selected on them.
    Selected,
    /// The model was trained on them.
    Trained,
    /// An ensemble was fitted on them, and scored nested.
    Nested,
    /// Labelled images that no model was trained on, as far as is known.
    Evaluated,
}

/// What the verdict depends on besides the page.
#[derive(Clone, Debug, PartialEq)]
pub struct Grounds {
    /// How the images were used.
    pub basis: Basis,
    /// What a group is.
    pub unit: Unit,
    /// The number of images.
    pub n_images: usize,
    /// The number of groups.
    pub n_groups: usize,
    /// The number of wrong images.
    pub n_wrong: usize,
    /// Of these the number with each factor wrong.
    pub n_wrong_factors: Vec<usize>,
    /// The class of the set with the fewest training images, and their number; `None` if they are unknown, or more
    /// than half of those of the median class.
    pub rarest: Option<(String, usize)>,
    /// The name of the cross-validation that estimates the score, and its out-of-fold macro F1.
    pub estimate: Option<(String, Estimate)>,
    /// The number of groups that the bundle that the model continued from was trained on.
    pub n_earlier: usize,
    /// That number of the test set of a cross-validation.
    pub n_earlier_of_test: usize,
}

/// A wider interval is a limit of its own.
const WIDE: f64 = 0.1;
/// The least share of errors of a confusion that is named.
const FREQUENT: f64 = 0.1;
/// How far below macro F1 the F1 of the rarest class is to be named.
const BELOW: f64 = 0.05;
/// The level of significance.
const ALPHA: f64 = 0.05;
/// The relative rise of the validation loss that is over-fitting.
const RISE: f64 = 0.1;
/// The relative fall of the validation loss that promises more.
const FALL: f64 = 0.01;
/// The calibration error that is named.
const MISCALIBRATED: f64 = 0.05;
/// The shares of likely label errors that are named.
const NOISY: RangeInclusive<f64> = 0.01..=0.2;
/// The least accuracy of a factor whose labels are doubted.
const TRUSTED: f64 = 0.8;

/// Returns the sentences, in the order above.
///
/// - `run`: with all sections but the verdict.
pub fn verdict(run: &RunReport, of: &Grounds) -> Vec<String> {
    let holds_for = earlier(of).unwrap_or_else(|| basis(of).to_owned());
    let sentences = [score(run, of), Some(holds_for), estimate(of)];
    let mut sentences: Vec<String> = sentences.into_iter().flatten().collect();
    if of.basis == Basis::Trained {
        return sentences;
    }
    let more = [
        test(run, of),
        small(run, of),
        worst(run, of),
        rarest(run, of),
        gap(run),
        fit(&run.curves),
        calibration(run),
        labels(run),
    ];
    sentences.extend(more.into_iter().flatten());
    sentences
}

fn score(run: &RunReport, of: &Grounds) -> Option<String> {
    let joint = run.scores.first()?;
    let images = of.unit.images_of(of.n_images, of.n_groups);
    let Some(macro_f1) = joint.macro_f1.value else {
        return Some(format!(
            "The score is undefined: a probability is not finite ({}, {images}).",
            run.set
        ));
    };
    let accuracy =
        joint.accuracy.value.map_or(String::new(), |it| format!(", and accuracy {it:.3}"));
    Some(format!(
        "Macro F1 is {macro_f1:.3}{}{accuracy}, on the {} ({images}).",
        interval(joint.macro_f1),
        run.set
    ))
}

/// Formats the limits of a number in brackets.
fn interval(it: Estimate) -> String {
    match (it.low, it.high) {
        _ if it.has_no_spread() => " (no interval: no spread)".to_owned(),
        (Some(low), Some(high)) => format!(" (95 % CI {low:.3} to {high:.3})"),
        _ => String::new(),
    }
}

fn basis(of: &Grounds) -> &'static str {
    match of.basis {
        Basis::Test => {
            "These images were used neither for training nor for selecting the model: the score is an unbiased estimate."
        }
        Basis::OutOfFold => {
            "Each image was predicted by the model of a fold that was not trained on it; each fold's model was selected \
             on its own held-out images, so the score is slightly optimistically biased."
        }
        Basis::Selected => {
            "The model was selected on these images, so the score is optimistically biased."
        }
        Basis::Trained => {
            "The model was trained on these images, so the score says nothing about new ones."
        }
        Basis::Nested => {
            "What was fitted on these images is scored nested: each image by a fit without its group."
        }
        Basis::Evaluated => {
            "No image is of a group that the models are known to be trained on; whether they were selected on these \
             images is not known."
        }
    }
}

fn earlier(of: &Grounds) -> Option<String> {
    (of.n_earlier > 0 && of.basis != Basis::Trained).then(|| {
        format!(
            "The bundle that the model continued from was trained on {} of these {}, so the score is too good.",
            of.n_earlier,
            of.unit.count(of.n_groups)
        )
    })
}

fn estimate(of: &Grounds) -> Option<String> {
    let (cross_validation, macro_f1) = of.estimate.as_ref()?;
    Some(format!(
        "What estimates its score is the out-of-fold macro F1 of the cross-validation `{cross_validation}`: {:.3}{}.",
        macro_f1.value?,
        interval(*macro_f1)
    ))
}

fn test(run: &RunReport, of: &Grounds) -> Option<String> {
    let test = run.test.as_ref()?;
    let joint = test.scopes.first()?;
    let folds = if test.n_folds == 1 { "fold" } else { "folds" };
    let single = format!("a single model (mean of {} {folds})", test.n_folds);
    let score =
        |it: Estimate, models: &str| Some(format!("{:.3}{} for {models}", it.value?, interval(it)));
    let scores = [
        score(joint.ensemble.macro_f1, "the models of all folds together"),
        score(joint.folds.macro_f1, &single),
    ];
    let scores: Vec<String> = scores.into_iter().flatten().collect();
    let holds_for = match of.n_earlier_of_test {
        0 => "The test score is the one that counts: no model was trained or selected on these images.".to_owned(),
        n => format!(
            "It is too good: the bundle that the models continued from was trained on {n} of these {}.",
            of.unit.count(test.n_groups)
        ),
    };
    (!scores.is_empty()).then(|| {
        format!(
            "On the test set ({}), macro F1 is {}. {holds_for}",
            of.unit.images_of(test.n_images, test.n_groups),
            scores.join(", and ")
        )
    })
}

fn small(run: &RunReport, of: &Grounds) -> Option<String> {
    let it = run.scores.first()?.macro_f1;
    let width = it.high? - it.low?;
    let groups = of.unit.count(of.n_groups);
    if it.has_no_spread() {
        return Some(format!(
            "All resamples of the {groups} have the same score, so there is no interval, and the score is no more \
             certain."
        ));
    }
    (width > WIDE).then(|| {
        format!(
            "The interval is {width:.2} wide, since the set has only {groups}, and the score itself is not known \
             better than that. The interval of a difference is narrower: compare two runs with `maskfit compare`."
        )
    })
}

fn worst(run: &RunReport, of: &Grounds) -> Option<String> {
    let n_wrong = of.n_wrong;
    if n_wrong == 0 {
        return Some("No image is predicted wrongly.".to_owned());
    }
    let share = |n: usize| 100.0 * n as f64 / n_wrong as f64;
    if of.n_wrong_factors.len() > 1 {
        // The first scope is the joint one; of equal factors the first.
        let names = run.scores.iter().skip(1).map(|it| &it.name);
        let most = names.zip(&of.n_wrong_factors).rev().max_by_key(|it| it.1);
        let (name, n) = most?;
        return Some(format!(
            "`{name}` limits the score most: it is wrong in {n} of the {n_wrong} wrong images ({:.0} %).",
            share(*n)
        ));
    }
    let pair = run.confusions.first()?.pairs.first()?;
    (pair.of_errors >= FREQUENT).then(|| {
        format!(
            "The most frequent error is `{}` predicted as `{}`: {} of the {n_wrong} wrong images ({:.0} %).",
            pair.actual,
            pair.predicted,
            pair.n_images,
            share(pair.n_images)
        )
    })
}

fn rarest(run: &RunReport, of: &Grounds) -> Option<String> {
    let macro_f1 = run.scores.first()?.macro_f1.value?;
    let (name, n) = of.rarest.as_ref()?;
    // Of many classes only the worst have rows.
    let row = run.classes.first()?.rows.iter().find(|it| it.name == *name)?;
    let f1 = row.f1.value?;
    let images = Unit::Image.count(*n);
    (f1 <= macro_f1 - BELOW).then(|| {
        format!(
            "Of the classes that have images here, `{name}` is the rarest in training ({images}): its F1 is {f1:.3}, \
             {:.3} below the mean.",
            macro_f1 - f1
        )
    })
}

/// Returns the level of significance, and the number of tested attributes by which it is divided.
pub(crate) fn limit_of_p(run: &RunReport) -> (f64, usize) {
    (ALPHA, run.attributes.iter().filter(|it| it.gap.is_some()).count())
}

fn gap(run: &RunReport) -> Option<String> {
    let tested = || run.attributes.iter().filter_map(|it| Some((it, it.gap.as_ref()?)));
    let (alpha, n) = limit_of_p(run);
    if n == 0 {
        return None;
    }
    let is_significant = |p: Option<f64>| p.is_some_and(|it| it < alpha / n as f64);
    let found = tested().filter(|it| is_significant(it.1.p));
    let size = |it: &Estimate| it.value.unwrap_or(0.0);
    let largest = found.max_by(|a, b| size(&a.1.difference).total_cmp(&size(&b.1.difference)));
    let Some((attribute, gap)) = largest else {
        let names: Vec<String> = tested().map(|it| format!("`{}`", it.0.name)).collect();
        return Some(format!(
            "No gap of accuracy between the values of {} is significant.",
            names.join(", ")
        ));
    };
    let value = |it: &str| if it.is_empty() { "(empty)".to_owned() } else { format!("`{it}`") };
    let among = if n == 1 { String::new() } else { format!(", {n} attributes tested") };
    Some(format!(
        "By `{}`, accuracy is {:.3} lower for {} than for {}{} (p = {}{among}).",
        attribute.name,
        size(&gap.difference),
        value(&gap.lowest),
        value(&gap.highest),
        interval(gap.difference).replacen(" (", ", ", 1).trim_end_matches(')'),
        shown(gap.p.unwrap_or(1.0)),
    ))
}

/// Formats a p value.
fn shown(p: f64) -> String {
    if p < 0.001 { "0.001".to_owned() } else { format!("{p:.3}") }
}

fn fit(curves: &[Curve]) -> Option<String> {
    let is_most = |n: usize| 2 * n > curves.len();
    let over: Vec<(f64, f64, f64)> = curves.iter().filter_map(overfit).collect();
    if let Some((epoch, low, last)) = over.first().filter(|_| is_most(over.len())) {
        let folds = in_folds(over.len(), curves.len());
        return Some(format!(
            "The model over-fits{folds}: the validation loss rises from {low:.3} at epoch {} to {last:.3} at the end, \
             while the training loss falls.",
            round(*epoch)
        ));
    }
    let n = curves.iter().filter(|it| is_short(it)).count();
    (n > 0 && is_most(n)).then(|| {
        let folds = in_folds(n, curves.len());
        format!(
            "The validation loss was still falling at the end{folds}: longer training may help."
        )
    })
}

fn in_folds(n: usize, of: usize) -> String {
    if of == 1 { String::new() } else { format!(" in {n} of {of} folds") }
}

/// Formats an epoch.
fn round(epoch: f64) -> String {
    let text = format!("{epoch:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns the epoch and the value of the lowest validation loss, and the last, where the model over-fits.
fn overfit(it: &Curve) -> Option<(f64, f64, f64)> {
    let known = |it: &&CurvePoint| it.valid_loss.is_some();
    let points: Vec<&CurvePoint> = it.points.iter().filter(known).collect();
    let last = points.last()?;
    let low = points.iter().min_by(|a, b| loss(a).total_cmp(&loss(b)))?;
    let rises = loss(last) >= (1.0 + RISE) * loss(low);
    let falls = last.train_loss? < low.train_loss?;
    (rises && falls && last.step > low.step).then(|| (low.epoch, loss(low), loss(last)))
}

fn loss(it: &CurvePoint) -> f64 {
    it.valid_loss.unwrap_or(f64::INFINITY)
}

fn is_short(it: &Curve) -> bool {
    let [.., before, last] = it.points.as_slice() else { return false };
    let lowest = it.points.iter().map(loss).fold(f64::INFINITY, f64::min);
    last.valid_loss.is_some() && loss(last) <= lowest && loss(last) <= (1.0 - FALL) * loss(before)
}

fn calibration(run: &RunReport) -> Option<String> {
    let it = run.reliability.first()?;
    let ece = it.ece.value.filter(|it| *it >= MISCALIBRATED)?;
    let mean = |of: fn(&crate::contents::ReliabilityBin) -> f64| {
        it.bins.iter().map(|bin| of(bin) * bin.n_images as f64).sum::<f64>()
    };
    let way = match mean(|it| it.confidence) > mean(|it| it.accuracy) {
        true => "overconfident",
        false => "underconfident",
    };
    Some(format!(
        "Probabilities are {way}: confidence and accuracy differ by {ece:.3} on average (ECE)."
    ))
}

/// Returns the share of the labels that are likely errors.
fn share(it: &FactorLabels) -> f64 {
    it.n_errors as f64 / it.n_labels.max(1) as f64
}

/// Whether the labels that the model doubts are more likely wrong than the model.
pub(crate) fn is_trusted(run: &RunReport, of: &FactorLabels) -> bool {
    // The first scope is the joint one, that of a single factor.
    let own = run.scores.iter().skip(1).find(|scope| scope.name == of.factor);
    let scope = own.or_else(|| run.scores.first().filter(|_| run.scores.len() == 1));
    let accuracy = scope.and_then(|it| it.accuracy.value);
    share(of) <= *NOISY.end() && accuracy.is_some_and(|it| it >= TRUSTED)
}

fn labels(run: &RunReport) -> Option<String> {
    let is_named = |it: &&FactorLabels| NOISY.contains(&share(it)) && is_trusted(run, it);
    let factors = run.labels.factors.iter().filter(is_named);
    let it = factors.max_by(|a, b| share(a).total_cmp(&share(b)))?;
    Some(format!(
        "The model doubts {} of the {} labels of `{}` ({:.1} %): look at {} under likely label errors.",
        it.n_errors,
        it.n_labels,
        it.factor,
        100.0 * share(it),
        if it.n_errors == 1 { "it" } else { "them" }
    ))
}

#[cfg(test)]
mod tests;
