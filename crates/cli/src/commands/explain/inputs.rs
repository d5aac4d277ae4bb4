//! The images to explain: named ones, or wrong and right ones of a run's own sets.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use data::{Content, Findings, Recognise, list_images};
use explain::Target;
use infer::LabelledPredictions;
use trainer::kfold::is_kfold;

use crate::{
    args::{ExplainArgs, LabelledSide},
    folds,
    labelled_table::LabelledTable,
    preparation::{images_of, in_short},
    runs,
    terminal::Terminal,
};

/// An image to explain.
pub(super) struct Input {
    /// Its name, which no other image has.
    pub(super) name: String,
    /// Where it is, or its name in the data.
    pub(super) path: PathBuf,
    pub(super) content: Content,
    /// The number of the model that explains it.
    pub(super) member: usize,
    /// Its true class, if it is known.
    pub(super) truth: Option<Truth>,
}

/// The true class of an image.
pub(super) struct Truth {
    pub(super) name: String,
    /// Whether the run predicted it.
    pub(super) is_predicted: bool,
}

/// Returns the images to explain, at least one.
///
/// # Errors
/// A path that cannot be read, or a file that cannot be an image.
pub(super) fn inputs(args: &ExplainArgs, terminal: &Terminal) -> anyhow::Result<Vec<Input>> {
    let inputs = match args.side {
        Some(side) => labelled(args, side, terminal)?,
        None => named(&args.images, args.member.unwrap_or(0))?,
    };
    match inputs.is_empty() {
        true => bail!("there are no images to explain"),
        false => Ok(inputs),
    }
}

/// Lists the images of files and folders. Images of one folder are named by their paths in it, those of several by
/// their whole paths.
fn named(roots: &[PathBuf], member: usize) -> anyhow::Result<Vec<Input>> {
    let (mut inputs, mut unreadable) = (Vec::new(), Findings::default());
    for root in roots {
        let mut folder = list_images(root, Recognise::ByContent)?;
        folder.notes.iter().for_each(|it| status!("note: {it}"));
        if let Some(text) = folder.skipped_text() {
            complain!("{text}");
        }
        unreadable.0.append(&mut folder.unreadable.0);
        for (name, content) in folder.images {
            let path = if root.is_dir() { root.join(&name) } else { root.clone() };
            let name = if roots.len() == 1 { name } else { path.display().to_string() };
            inputs.push(Input { name, path, content, member, truth: None });
        }
    }
    if !unreadable.0.is_empty() {
        unreadable.0.sort();
        bail!("{}\nnothing is written", in_short(&unreadable));
    }
    // A file that is named twice, or named and in a folder that is.
    let mut known = HashSet::new();
    inputs.retain(|it| known.insert(it.path.clone()));
    Ok(inputs)
}

/// Whether each image is explained by the fold of a cross-validation that held it out.
pub(super) fn is_out_of_fold(args: &ExplainArgs, dir: &Path) -> bool {
    is_kfold(dir) && args.side == Some(LabelledSide::Valid) && args.member.is_none()
}

/// Returns the table of labelled predictions of a set: those of the models that explain its images.
fn table_of(args: &ExplainArgs, dir: &Path, side: LabelledSide) -> anyhow::Result<LabelledTable> {
    let is_test = side == LabelledSide::Test;
    let fold = args.member.unwrap_or(0);
    let of = if is_kfold(dir) { dir.join(format!("fold-{fold}")) } else { dir.to_owned() };
    if is_test && dir.join("report.toml").is_file() && !of.join("test.csv").is_file() {
        bail!(
            "{}: `--side test`: its data has no test set: explain its validation set with `--side valid`, or name \
             `--images`",
            dir.display()
        );
    }
    if is_kfold(dir) && !is_out_of_fold(args, dir) {
        return LabelledTable::of(&of, is_test);
    }
    let table = LabelledTable::of(dir, is_test)?;
    // Of repeats the first: the mean of all is the prediction of no model.
    let first = Some(dir.join("oof-0.csv")).filter(|it| is_out_of_fold(args, dir) && it.is_file());
    Ok(LabelledTable { path: first.unwrap_or(table.path), ..table })
}

/// Returns images of a run's own set, half of them wrong and half right.
fn labelled(
    args: &ExplainArgs,
    side: LabelledSide,
    terminal: &Terminal,
) -> anyhow::Result<Vec<Input>> {
    let dir = runs::find(&args.run)?;
    if !dir.join("config.toml").is_file() {
        bail!(
            "{}: `--side` needs the folder of a run or a cross-validation, with its data and predictions: name one, or name `--images`",
            dir.display()
        );
    }
    let table = table_of(args, &dir, side)?;
    let folds = is_out_of_fold(args, &dir).then(|| folds::holding_out(&dir)).transpose()?;
    let labelled = LabelledPredictions::open(&table.path, &table.task)?;
    let (factor, target) = (args.factor.as_deref(), args.target.as_deref());
    let scope = Target::parse(&table.task, factor, target)?.scope;
    let manifest = images_of(&runs::experiment_like(&dir, &args.set)?, terminal)?;
    let by_name: HashMap<&str, _> =
        manifest.examples.iter().map(|it| (it.name.as_str(), it)).collect();
    let projected = labelled.predictions.project(scope);
    let chosen = chosen(&projected, args.n);
    let input = |at: usize| {
        let name = &labelled.images[at];
        let Some(example) = by_name.get(name.as_str()) else {
            bail!("`{name}` is no longer in the data: restore the data of this run");
        };
        let member = match &folds {
            None => args.member.unwrap_or(0),
            Some(folds) => *folds.get(name).with_context(|| {
                format!("{}: no fold held `{name}` out", dir.join("data.csv").display())
            })?,
        };
        Ok(Input {
            name: name.clone(),
            path: Path::new(name).to_owned(),
            content: example.content.clone(),
            member,
            truth: Some(Truth {
                name: table.task.class_name(projected.classes[at], scope),
                is_predicted: projected.predicted[at] == projected.classes[at],
            }),
        })
    };
    chosen.into_iter().map(input).collect()
}

/// Returns the positions of the most certain wrong predictions, and of the most certain right ones: half of `n` each,
/// and more of the others where there are too few.
fn chosen(of: &metrics::Predictions, n: usize) -> Vec<usize> {
    let certainty = |at: &usize| of.probabilities[*at][of.predicted[*at]];
    let is_right = |at: &usize| of.predicted[*at] == of.classes[*at];
    let (mut right, mut wrong): (Vec<usize>, Vec<usize>) = (0..of.len()).partition(is_right);
    for it in [&mut right, &mut wrong] {
        it.sort_by(|a, b| certainty(b).total_cmp(&certainty(a)).then(a.cmp(b)));
    }
    let n_wrong = wrong.len().min(n - (n / 2).min(right.len()));
    wrong.truncate(n_wrong);
    right.truncate(n - n_wrong);
    [wrong, right].concat()
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};
    use metrics::Predictions;

    use super::chosen;

    #[test]
    fn the_most_certain_wrong_and_right_images_are_chosen() {
        let task = Task::new(vec![Factor::new("a", &["x", "y"])]);
        // Right: 0 (0.9), 1 (0.6), 4 (0.7). Wrong: 2 (0.8), 3 (0.55).
        let p = [0.9, 0.6, 0.2, 0.45, 0.7].map(|it: f64| vec![it, 1.0 - it]).to_vec();
        let it = Predictions::new(task, p, vec![0; 5], (0..5).collect());
        assert_eq!(chosen(&it, 2), [2, 0]);
        assert_eq!(chosen(&it, 3), [2, 3, 0]);
        // Too few are wrong, or right.
        assert_eq!(chosen(&it, 5), [2, 3, 0, 4, 1]);
        assert_eq!(chosen(&it, 100), [2, 3, 0, 4, 1]);
    }
}
