//! Continuing from a bundle of one's own: `model.pretrained` names a run, a bundle or a fold of a cross-validation.
//!
//! The settings that the bundle determines are filled in, and the bundle is copied into the new run's folder. The groups
//! that it was trained on are copied too, and compared with those that the new run is validated and tested on: by name,
//! and by the hashes of their files, since a folder may have been renamed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use base::{
    config::{Layer, load},
    files::write_atomic,
    task::Unit,
};
use serde::Serialize;
use toml::Table;
use trainer::{DEFAULT, Earlier, Experiment, PRETRAINED, Plan, Run, kfold::is_kfold};

use crate::{
    args::ExperimentArgs,
    bundles,
    phrases::argument,
    runs,
    terminal::Terminal,
    trained_on::{TrainedOn, unknown},
};

/// Loads the experiment of a config file and `--set` arguments, completed by the bundle that it continues from, and
/// returns it with its name. Reports what is the bundle's.
pub(crate) fn experiment(
    args: &ExperimentArgs,
    terminal: &Terminal,
) -> anyhow::Result<(Experiment, String)> {
    let (layers, name) = runs::layers(args)?;
    let Some(named) = folder_of(&layers) else { return Ok((Experiment::load(&layers)?, name)) };
    let dir = bundle_of(&named).context("`model.pretrained`")?;
    bundles::note_unfinished(std::slice::from_ref(&named))?;
    let earlier = Earlier::open(&dir).context("`model.pretrained`")?;
    let (mut experiment, notes) = earlier.experiment(&layers)?;
    terminal.status(&format!("continuing from {}", dir.display()));
    notes.iter().for_each(|it| terminal.status(it));
    experiment.model.pretrained = dir;
    Ok((experiment, name))
}

/// Returns the folder that `model.pretrained` names, if it names one. The layers may be valid only over the bundle's
/// settings, so they are not loaded as an experiment yet.
fn folder_of(layers: &[Layer]) -> Option<PathBuf> {
    let default = Layer::from_toml("configs/default.toml", DEFAULT).ok()?;
    let merged: Table = load(&default, layers).ok()?;
    let path = merged.get("model")?.get("pretrained")?.as_str().map(PathBuf::from)?;
    path.is_dir().then_some(path)
}

/// Returns the bundle's folder for a run, a bundle or a fold.
fn bundle_of(named: &Path) -> anyhow::Result<PathBuf> {
    if is_kfold(named) {
        bail!(
            "{}: this is a cross-validation, and training continues from one model: name a fold, such as {}",
            named.display(),
            argument(&named.join("fold-0"))
        );
    }
    Ok(bundles::dirs(named)?.swap_remove(0))
}

/// Where a new run continues from, and what that means for its scores: `pretrained/origin.toml`.
#[derive(Serialize)]
pub(crate) struct Origin {
    /// The bundle's folder.
    bundle: PathBuf,
    /// The number of groups that it was trained on; missing if it is unknown.
    trained_on: Option<usize>,
    /// The number of these that the new run is validated on.
    of_validation: Option<usize>,
    /// The number of these that the new run is tested on.
    of_test: Option<usize>,
    #[serde(skip)]
    trained: Option<TrainedOn>,
}

/// The groups that a run is scored on.
pub(crate) struct Scored<'a> {
    /// The validation set, or those of all folds.
    pub(crate) valid: BTreeSet<&'a str>,
    /// The test set.
    pub(crate) test: BTreeSet<&'a str>,
    /// Whether it is a cross-validation.
    pub(crate) by_folds: bool,
}

impl<'a> Scored<'a> {
    /// Returns those of a run.
    pub(crate) fn by(plan: &'a Plan) -> Scored<'a> {
        let groups = |images: &[usize]| images.iter().map(|it| plan.group(*it)).collect();
        let (valid, test) = (groups(&plan.sides.valid), groups(&plan.test));
        Scored { valid, test, by_folds: false }
    }

    /// Returns those of a cross-validation, from the plan of one of its folds.
    pub(crate) fn by_folds_of(plan: &'a Plan) -> Scored<'a> {
        let mut scored = Scored::by(plan);
        scored.valid.extend(plan.sides.train.iter().map(|it| plan.group(*it)));
        Scored { by_folds: true, ..scored }
    }
}

impl Origin {
    /// Returns it for a plan that continues from a bundle, and warns of groups that the bundle was trained on and that
    /// are now scored.
    pub(crate) fn of(
        plan: &Plan,
        scored: &Scored<'_>,
        terminal: &Terminal,
    ) -> anyhow::Result<Option<Origin>> {
        let bundle = plan.pretrained.clone();
        if bundle.as_os_str().is_empty() || !bundle.is_dir() {
            return Ok(None);
        }
        let mut trained = TrainedOn::of(&bundle)?;
        let trained_on = trained.as_ref().map(|it| it.trained.groups.len());
        if let Some(it) = &mut trained {
            let renamed = renamed(plan, it);
            it.trained.groups.extend(renamed);
        }
        match &trained {
            None => terminal.status(&format!("note: {}", unknown(&bundle))),
            Some(it) => {
                for warning in warnings(it, &bundle, scored, plan.task.unit) {
                    terminal.status(&warning);
                }
            }
        }
        let count = |groups: &BTreeSet<&str>| {
            trained.as_ref().map(|it| it.among(groups.iter().copied()).len())
        };
        let (of_validation, of_test) = (count(&scored.valid), count(&scored.test));
        Ok(Some(Origin { bundle, trained_on, of_validation, of_test, trained }))
    }

    /// Writes it beside the copy of the bundle, with the groups that the bundle was trained on.
    pub(crate) fn write(&self, run: &Run) -> anyhow::Result<()> {
        let dir = run.dir().join(PRETRAINED);
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            write_atomic(&path, text.as_bytes()).with_context(|| path.display().to_string())
        };
        for (name, text) in self.trained.iter().flat_map(TrainedOn::tables) {
            write(name, &text)?;
        }
        write("origin.toml", &toml::to_string(self).context("origin.toml")?)
    }
}

/// Returns the groups of images whose file a bundle was trained on, under whatever name.
fn renamed(plan: &Plan, trained: &TrainedOn) -> BTreeSet<String> {
    let all = plan.hashes.iter().enumerate();
    let copies = all.filter(|it| trained.has_file(*it.1));
    copies.map(|(image, _)| plan.group(image).to_owned()).collect()
}

/// Returns a warning for each set with groups that a bundle was trained on.
fn warnings(trained: &TrainedOn, bundle: &Path, scored: &Scored<'_>, unit: Unit) -> Vec<String> {
    let seen = |groups: &BTreeSet<&str>, set: &str, effect: &str, fix: &str| {
        let n_seen = trained.among(groups.iter().copied()).len();
        (n_seen > 0).then(|| {
            format!(
                "warning: {}, which this continues from, was trained on {n_seen} of the {} of {set}: {effect}: {fix}",
                bundle.display(),
                unit.count(groups.len())
            )
        })
    };
    let people = unit.many();
    let valid = match scored.by_folds {
        false => seen(
            &scored.valid,
            "the validation set",
            "scores there are too good, and select the best evaluation",
            &format!(
                "split as for that bundle, with its `data.split`, `data.split_seed` and `data.fold`, or validate \
                 on other {people}"
            ),
        ),
        true => seen(
            &scored.valid,
            "the validation sets of the folds",
            "out-of-fold scores are too good",
            &format!("cross-validate from weights that were trained on other {people}"),
        ),
    };
    let test = seen(
        &scored.test,
        "the test set",
        "its scores are too good",
        &format!("test on other {people}"),
    );
    valid.into_iter().chain(test).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base::task::Unit;

    use super::{Scored, TrainedOn, warnings};
    use crate::trained_on::Known;

    #[test]
    fn sets_with_groups_that_the_bundle_was_trained_on_are_named() {
        let groups = ["a", "b", "c"].map(str::to_owned).into();
        let trained = Known { groups, ..Known::default() };
        let trained = TrainedOn { trained, ..TrainedOn::default() };
        let of = |valid: &[&'static str], test: &[&'static str], by_folds| {
            let (valid, test) = (valid.iter().copied().collect(), test.iter().copied().collect());
            let scored = Scored { valid, test, by_folds };
            warnings(&trained, Path::new("runs/a/best"), &scored, Unit::Person)
        };
        assert!(of(&["d", "e"], &["f"], false).is_empty());
        let both = of(&["d", "a", "b"], &["c"], false);
        let begin = "warning: runs/a/best, which this continues from, was trained on ";
        assert!(both[0].starts_with(&format!("{begin}2 of the 3 people of the validation set: ")));
        assert!(both[0].contains("`data.split_seed`"), "{}", both[0]);
        assert!(both[1].starts_with(&format!("{begin}1 of the 1 person of the test set: ")));
        let folds = of(&["a", "d"], &[], true);
        assert!(
            folds.len() == 1 && folds[0].contains("1 of the 2 people of the validation sets of")
        );
    }
}
