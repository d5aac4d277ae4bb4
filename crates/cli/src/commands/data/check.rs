//! `maskfit data check`

use std::collections::BTreeSet;

use base::{Task, names::quoted, task::Scope};
use data::{Manifest, Sides, Use};
use serde_json::json;
use trainer::{Experiment, divide};

use crate::{
    End,
    args::ExperimentArgs,
    json::emit,
    preparation::{manifest, settled, use_threads},
    style::headed,
    tables::{Counted, counted},
    terminal::Terminal,
    wrap::{columns, cut, fold, wrapped},
};

/// Maximum width of the name of a class.
const NAME: usize = 36;

/// The images of a data set by what they are used for, as positions in the manifest.
struct Sets {
    training: Vec<usize>,
    validation: Vec<usize>,
    test: Vec<usize>,
    pseudo: Vec<usize>,
    /// In no set.
    left_out: Vec<usize>,
}

/// Checks the data, and prints how many images of each class each set has.
pub(super) fn check(args: &ExperimentArgs, terminal: &Terminal) -> anyhow::Result<End> {
    let experiment = settled(args, terminal)?;
    use_threads(experiment.threads)?;
    let manifest = manifest(&experiment, terminal)?;
    let sets = Sets::of(&experiment, &manifest)?;
    let task = &manifest.task;
    let n_groups = |images: &[usize]| {
        let groups: BTreeSet<usize> =
            images.iter().map(|&it| manifest.examples[it].group).collect();
        groups.len()
    };
    let images_of = |images: &[usize]| task.unit.images_of(images.len(), n_groups(images));
    let labelled: Vec<usize> =
        (0..manifest.examples.len()).filter(|it| !manifest.pseudo.contains(*it)).collect();
    say!("no problems found: {}", images_of(&labelled));
    let n_folds = experiment.data.split.folds(&manifest, experiment.data.split_seed)?.n();
    let of_fold = match n_folds {
        0 | 1 => String::new(),
        n => format!(" (fold {} of {n}, counted from 0)", experiment.data.fold),
    };
    for (set, name, images, more) in [
        ("training", "training set:", &sets.training, ""),
        ("validation", "validation set:", &sets.validation, of_fold.as_str()),
        ("test", "test set:", &sets.test, ""),
        ("none", "in no set:", &sets.left_out, ""),
        ("pseudo", "pseudo-labelled:", &sets.pseudo, " (training only)"),
    ] {
        let (n, groups) = (images.len(), n_groups(images));
        emit("set", json!({ "set": set, "images": n, "groups": groups }));
        if !images.is_empty() {
            say!("  {name:<16} {}{more}", images_of(images));
        }
    }
    let class = |images: &[usize]| -> Vec<usize> {
        images.iter().map(|&it| manifest.examples[it].class).collect()
    };
    let [training, validation, test] =
        [&sets.training, &sets.validation, &sets.test].map(|it| class(it));
    let by_set = [&training, &validation, &test].map(|it| class_counts(task, it));
    for (class, name) in task.class_names(Scope::Joint).iter().enumerate() {
        let [training, validation, test] = [0, 1, 2].map(|it: usize| by_set[it][class]);
        emit(
            "class",
            json!({
                "class": class,
                "name": name,
                "training": training,
                "validation": validation,
                "test": test,
            }),
        );
    }
    say!("{}", counts(task, &by_set));
    for (name, classes) in [("training", &training), ("validation", &validation)] {
        absent(task, name, classes).iter().for_each(|it| say!("{it}"));
    }
    Ok(End::Done)
}

impl Sets {
    fn of(experiment: &Experiment, manifest: &Manifest) -> anyhow::Result<Sets> {
        let Sides { train, valid } = divide(experiment, manifest, experiment.data.fold)?;
        let (pseudo, training) = train.into_iter().partition(|it| manifest.pseudo.contains(*it));
        let all = manifest.examples.iter().enumerate();
        let test = all.filter(|(_, it)| it.usage == Use::Test).map(|it| it.0).collect();
        let mut sets = Sets { training, validation: valid, test, pseudo, left_out: Vec::new() };
        let mut is_used = vec![false; manifest.examples.len()];
        for set in [&sets.training, &sets.validation, &sets.test, &sets.pseudo] {
            set.iter().for_each(|&it| is_used[it] = true);
        }
        sets.left_out = (0..is_used.len()).filter(|&it| !is_used[it]).collect();
        Ok(sets)
    }
}

/// Counts the images of each class.
///
/// - `classes`: the class of each image.
fn class_counts(task: &Task, classes: &[usize]) -> Vec<usize> {
    let mut counts = vec![0; task.n_classes()];
    classes.iter().for_each(|&it| counts[it] += 1);
    counts
}

/// Formats the number of images of each class in the training, the validation and the test set.
///
/// - `by_set`: the number of images of each class in each.
fn counts(task: &Task, by_set: &[Vec<usize>; 3]) -> String {
    let total: Vec<usize> =
        (0..task.n_classes()).map(|class| by_set.iter().map(|it| it[class]).sum()).collect();
    let mut rows = vec![["class", "", "training", "validation", "test"].map(str::to_owned)];
    for row in counted(&total) {
        rows.push(match row {
            Counted::Class(class) => {
                let [training, validation, test] =
                    [0, 1, 2].map(|it| by_set[it][class].to_string());
                let name = cut(&task.class_name(class, Scope::Joint), NAME);
                [class.to_string(), name, training, validation, test]
            }
            Counted::Between { n, least, most } => {
                let name = format!("{n} classes of {least} to {most} images");
                ["...".to_owned(), name, String::new(), String::new(), String::new()]
            }
        });
    }
    headed(&columns(&rows, &[true, false, true, true, true]))
}

/// Describes the classes of every scope, joint and of each factor, that have no images in a set; and what follows, if
/// it is the validation set.
fn absent(task: &Task, set: &str, classes: &[usize]) -> Vec<String> {
    let joint = (task.factors.len() > 1).then_some(Scope::Joint);
    let factors = (0..task.factors.len()).map(Scope::Factor);
    let of_scope = |scope: Scope| {
        let mut is_there = vec![false; task.n_classes_of(scope)];
        classes.iter().for_each(|&it| is_there[task.project(it, scope)] = true);
        let absent = (0..is_there.len()).filter(|&it| !is_there[it]);
        let absent: Vec<String> = absent.map(|it| task.class_name(it, scope)).collect();
        let scope = match scope {
            Scope::Joint => "joint classes".to_owned(),
            Scope::Factor(_) => format!("levels of `{}`", task.scope_name(scope)),
        };
        let (n, n_all, names) = (absent.len(), is_there.len(), quoted(&absent));
        let text = format!("{scope} without {set} images: {n} of {n_all}: {names}");
        (n > 0).then(|| fold("", &text))
    };
    let mut lines: Vec<String> = factors.chain(joint).filter_map(of_scope).collect();
    if set == "validation" && !lines.is_empty() {
        let text = "what has no validation images is left out of the validation scores, or counts as 0 where it \
                    is predicted: add images of it, or cross-validate with `maskfit kfold`, which scores every \
                    image";
        lines.push(wrapped("  ", text));
    }
    lines
}

#[cfg(test)]
mod tests {
    use base::Task;

    use super::absent;

    #[test]
    fn absent_classes_of_every_scope_are_named() {
        let task = Task::mask_gender_age();
        // Class 0 is worn male <30, 10 incorrect female 30-59, 12 not worn male <30: nobody is 60.
        let lines = absent(&task, "validation", &[0, 10, 12]);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], "levels of `age` without validation images: 1 of 3: `>=60`");
        assert!(lines[1].starts_with("joint classes without validation images: 15 of 18: "));
        assert!(lines[1].ends_with(" and 10 more"), "{}", lines[1]);
        assert!(
            lines[2].starts_with("  what has no validation images is left out of"),
            "{}",
            lines[2]
        );
        assert_eq!(absent(&task, "training", &[0, 10, 12]).len(), 2);
        let all: Vec<usize> = (0..18).collect();
        assert_eq!(absent(&task, "training", &all), [""; 0]);
    }
}
