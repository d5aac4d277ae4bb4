//! `maskfit ensemble`
//!
//! The held-out predictions of runs are combined, calibrated and decided by what is fitted on them; each step is
//! scored as fitted and nested. What is fitted on all of them is the bundle; the nested predictions are its
//! `oof.csv`, or its `test.csv` if it is fitted on a test set.

mod attributes;
mod fits;
#[cfg(test)]
mod fixture;
mod nested;
mod recipe;
mod report;
mod save;
mod scores;
mod summary;

use anyhow::bail;
use ensemble::{
    Conformal, Fit, HeldOut, N_PARTS, Predicted, Reliability, Tune, Weights, error_correlation,
    parts,
};
use trainer::Callback as _;

use self::{
    attributes::Attributes,
    fits::Fits,
    recipe::{Fitted, Part, Recipe, Stage},
    save::{Made, save},
    scores::{SEED, Scorer, gain},
    summary::{MemberSummary, Step, Summary},
};
use super::predict::promise;
use crate::{
    End,
    args::EnsembleArgs,
    held_out::{self, Columns, FitOn},
    new_folder::NewFolder,
    phrases::argument,
    preparation::use_threads,
    tables,
    terminal::Terminal,
};

/// The levels of prediction sets whose coverage is measured.
const LEVELS: [f64; 3] = [0.8, 0.9, 0.95];
/// The level that the promise of prediction sets is given for.
const LEVEL: f64 = 0.9;

pub(crate) fn ensemble(args: &EnsembleArgs) -> anyhow::Result<End> {
    let output = NewFolder::at(&args.output)?;
    let mut columns = held_out::read(&args.runs, args.fit_on)?;
    let mut recipe = recipe_of(args, &columns)?;
    let sets = if args.sets { Some(check_sets(&columns)?) } else { None };
    use_threads(0)?;
    let terminal = Terminal::new();
    terminal.heed_interrupts();
    let stopped = || {
        complain!("stopped: no file was written");
        Ok(End::Stopped)
    };
    if let Some(views) = &args.views {
        let serving = infer::Serving {
            batch_size: args.batch_size,
            num_workers: args.num_workers,
            prefetch: 4,
            cache: None,
        };
        let predicted = columns.predict_with(views, &args.set, &serving, &terminal);
        terminal.clear();
        if predicted.is_err() && terminal.should_stop() {
            return stopped();
        }
        predicted?;
    }
    let weights = given(&recipe.fit.weights).to_vec();
    if !columns.are_whole() {
        // Their joint prediction is one member.
        recipe.fit = Fit { weights: Weights::default(), ..recipe.fit };
    }
    let held_out = columns.held_out(&weights)?;
    let scorer = Scorer::new(&held_out);
    status!("fitting");
    let fits = Fits::of(&recipe, &held_out, &terminal);
    terminal.clear();
    if fits.is_err() && terminal.should_stop() {
        return stopped();
    }
    let fits = fits.map_err(anyhow::Error::msg)?;
    let members = members(&columns, &held_out, &recipe, &fits, &scorer, &weights);
    let steps = steps(&recipe, &fits, &held_out, &scorer);
    let nested = &fits.nested;
    let probabilities = nested.probabilities();
    // None of these was fitted on the image's own group.
    let honest = HeldOut {
        task: held_out.task.clone(),
        classes: held_out.classes.clone(),
        groups: held_out.groups.clone(),
        folds: held_out.folds.clone(),
        members: vec![probabilities.probabilities.clone()],
    };
    let conformal = match sets {
        None => None,
        Some(Sets::Split) => Some(Conformal::split(&honest)),
        Some(Sets::CvPlus) => Some(Conformal::cv_plus(&honest)),
    };
    let mut conformal = conformal.transpose().map_err(anyhow::Error::msg)?;
    if let Some(it) = &mut conformal {
        it.is_fitted = steps.iter().any(|it| it.fitted.is_some());
    }
    let coverage = match &conformal {
        None => Vec::new(),
        Some(_) => {
            let parts = parts(&honest, N_PARTS, SEED).map_err(anyhow::Error::msg)?;
            Conformal::coverage(&honest, &parts, &LEVELS).map_err(anyhow::Error::msg)?
        }
    };
    let mut reliability = Reliability::new(&held_out.task);
    probabilities.iter().for_each(|it| reliability.add(&it));
    if terminal.should_stop() {
        return stopped();
    }
    let unit = columns.task.unit;
    let summary = Summary {
        by: args.by,
        fit_on: args.fit_on,
        unit,
        members,
        correlation: if held_out.members.len() > 1 {
            error_correlation(&held_out)
        } else {
            Vec::new()
        },
        steps,
        coverage,
        promise: conformal.as_ref().map_or(String::new(), |it| promise(it, LEVEL, unit)),
        reliability: reliability.report(SEED),
        notes: notes(&columns, &recipe),
    };
    let is_fitted = recipe.is_fitted() || conformal.is_some();
    let made = Made { fitted: fits.fitted.clone(), conformal, weights, is_fitted };
    let attributes = Attributes::of(&columns, &args.set, &terminal).unwrap_or_else(|err| {
        status!("note: there are no scores by attribute: {err:#}");
        Attributes::default()
    });
    let last = nested.predictions(recipe.last());
    let scored = save(&output, &columns, &attributes, &made, last, &summary)?;
    let dir = output.path().to_owned();
    output.finish()?;
    let of_test = if args.fit_on == FitOn::Test { " of the test set" } else { "" };
    say!("{}{of_test}", unit.images_of(columns.images.len(), columns.group_names.len()));
    summary.print();
    let by_attribute = tables::attributes(&scored);
    if !by_attribute.is_empty() {
        say!("{}", by_attribute.trim_end());
    }
    say!("\nbundle: {}", dir.display());
    status!("next: maskfit predict {} --images DIR -o FILE", argument(&dir));
    Ok(End::Done)
}

/// Returns what is to be fitted.
///
/// # Errors
/// What does not apply to these runs.
fn recipe_of(args: &EnsembleArgs, columns: &Columns) -> anyhow::Result<Recipe> {
    let n = columns.columns.len();
    let is_mean = args.combine.kind() == "soft_vote";
    // Weights may be those of a table.
    let of_table = args.combine.get().weights().unwrap_or_default();
    let weights = match args.weights == Weights::default() {
        true => Weights::Given(of_table.to_vec()),
        false => args.weights.clone(),
    };
    let recipe = Recipe {
        combine: args.combine.clone(),
        fit: Fit { weights, by: args.by },
        calibrate: args.calibrate,
        tune: args.tune.clone(),
    };
    let mut problems = Vec::new();
    let n_given = given(&recipe.fit.weights).len();
    if n_given > 0 && n_given != n {
        problems.push(format!(
            "--weights: one number is needed for each run, {n} in all, not {n_given}"
        ));
    }
    if args.combine.get().weights().is_none() && recipe.fit.weights != Weights::default() {
        problems.push(format!("--weights: a `{}` has none: leave it out", args.combine.kind()));
    }
    if !columns.are_whole() && (!is_mean || recipe.fit.is_fitted()) {
        problems.push(
            "the runs predict different factors, so they can only be combined by `soft_vote` with equal or \
             given weights: leave out --combine, and --weights `fit` and `greedy`"
                .to_owned(),
        );
    }
    let has_numeric = columns.task.numeric().next().is_some();
    if args.tune.contains(&Tune::Thresholds) && !has_numeric {
        problems
            .push("--tune thresholds: the task has no numeric factor: tune `classes`".to_owned());
    }
    if args.sets && args.combine.kind() == "hard_vote" && args.calibrate != "none" {
        // What a calibration makes of a share of 0 is the same for all classes, and another number for each part of
        // the nested predictions: neither their sets nor their coverage are those of the bundle.
        problems.push(
            "--sets: a calibrated `hard_vote` cannot order the classes without a vote: leave out --calibrate, or \
             combine by `soft_vote`"
                .to_owned(),
        );
    }
    match problems.is_empty() {
        true => Ok(recipe),
        false => bail!("{}", problems.join("\n")),
    }
}

/// Returns what the user should know of what everything is fitted on.
fn notes(columns: &Columns, recipe: &Recipe) -> Vec<String> {
    let mut notes = Vec::new();
    if columns.fit_on == FitOn::Test {
        notes.push(
            "the test set is now used for fitting: only the nested score estimates that of new images"
                .to_owned(),
        );
    }
    if recipe.calibrate != "none" && columns.are_of_single_folds() {
        let instead = match columns.have_test() {
            true => "fit it on predictions of the mean for the test set, with `--fit-on test`",
            false => "check it with `maskfit evaluate` on images that no fold was trained on",
        };
        notes.push(format!(
            "the calibration is fitted on predictions of single folds, and leaves their mean, which is less \
             confident, slightly underconfident: {instead}"
        ));
    }
    notes
}

/// Returns the weights that are given as numbers.
fn given(weights: &Weights) -> &[f64] {
    match weights {
        Weights::Given(all) => all,
        Weights::Fit | Weights::Greedy => &[],
    }
}

/// How the scores of prediction sets are taken.
enum Sets {
    Split,
    CvPlus,
}

/// Returns how prediction sets follow from these runs.
///
/// # Errors
/// They do not.
fn check_sets(columns: &Columns) -> anyhow::Result<Sets> {
    // Of a test set no model of a cross-validation has seen anybody.
    let are_new = columns.fit_on == FitOn::Test;
    match are_new || columns.columns.iter().all(|it| it.bundles.len() == 1) {
        true => Ok(Sets::Split),
        false if columns.folds().is_some() && columns.are_whole() => Ok(Sets::CvPlus),
        false => bail!(
            "--sets: takes runs with one validation set, or cross-validations with the same folds, not repeated, \
             that predict every factor; or a test set, with `--fit-on test`"
        ),
    }
}

/// Scores each run, and what it adds.
fn members(
    columns: &Columns,
    held_out: &HeldOut,
    recipe: &Recipe,
    fits: &Fits<'_>,
    scorer: &Scorer,
    given: &[f64],
) -> Vec<MemberSummary> {
    let n = columns.columns.len();
    let is_whole = columns.are_whole();
    let weights = if is_whole { fits.fitted.combine.get().weights() } else { Some(given) };
    let total: f64 = weights.map_or(0.0, |it| it.iter().sum());
    let summary = |(idx, column): (usize, &held_out::Column)| MemberSummary {
        name: column.name.clone(),
        n_models: column.bundles.len(),
        weight: weights.map(|it| it.get(idx).map_or(1.0 / n as f64, |it| it / total)),
        scores: match is_whole {
            true => scorer.scores(&Predicted::member(held_out, idx)),
            false => {
                let own = columns.own(idx);
                scorer.scores(&Predicted::member(&own, 0))
            }
        },
        adds: fits.without.get(idx).map(|it| gain(it, recipe.fit.by).value),
    };
    columns.columns.iter().enumerate().map(summary).collect()
}

/// Scores every step from the members to the prediction.
fn steps(recipe: &Recipe, fits: &Fits<'_>, held_out: &HeldOut, scorer: &Scorer) -> Vec<Step> {
    let mut steps = Vec::new();
    let is_plain = recipe.combine.kind() == "soft_vote"
        && recipe.fit == Fit { by: recipe.fit.by, ..Fit::default() };
    if held_out.members.len() > 1 && !is_plain {
        let mean = Fitted::default().predict_all(held_out, Stage::Combined);
        steps.push(Step {
            name: "mean".to_owned(),
            is_calibration: false,
            by: recipe.fit.by,
            options: String::new(),
            fitted: None,
            nested: scorer.scores(&mean),
        });
    }
    for Part { stage, name, is_fitted, by, options } in recipe.stages() {
        let on_all = || scorer.scores(&fits.fitted.predict_all(held_out, stage));
        steps.push(Step {
            name,
            is_calibration: stage == Stage::Calibrated,
            by,
            options,
            fitted: is_fitted.then(on_all),
            nested: scorer.scores(fits.nested.predictions(stage)),
        });
    }
    steps
}
