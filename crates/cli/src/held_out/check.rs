//! What keeps runs from being combined: other images, groups or labels, too many probabilities, a test set that a
//! model was trained on.

use std::path::PathBuf;

use anyhow::bail;
use base::task::Unit;
use infer::Index;

use crate::{
    phrases::counted_names,
    trained_on::{Image, TrainedOn, unknown},
};

/// The largest number of probabilities of all runs: 0.8 GB, and a few times that while they are fitted on.
const MOST: usize = 100_000_000;

/// Returns what differs between the images of each run and those of the first.
///
/// - `runs`: the name and the images of each run.
pub(super) fn differences(runs: &[(&str, &Index)]) -> Vec<String> {
    let Some(((a, first), others)) = runs.split_first() else { return Vec::new() };
    let mut problems = Vec::new();
    for (b, other) in others {
        if let Some(problem) = difference(first, other) {
            problems.push(format!("{a} and {b} do not hold out the same images: {problem}"));
        }
    }
    if !problems.is_empty() {
        problems.push(
            "combine cross-validations of the same data, or runs with the same data, `data.split`, \
             `data.split_seed` and `data.fold`"
                .to_owned(),
        );
    }
    problems
}

/// Returns what differs between the images of two runs, if anything.
fn difference(a: &Index, b: &Index) -> Option<String> {
    fn only<'a>(of: &'a Index, other: &Index) -> Vec<&'a str> {
        let all = of.images.iter().map(|it| it.image.as_str());
        all.filter(|it| other.position(it).is_none()).collect()
    }
    let (only_a, only_b) = (only(a, b), only(b, a));
    if only_a.is_empty() && only_b.is_empty() {
        let groups = |it: &Index| it.groups.clone();
        let is_other = a.images.iter().zip(&b.images).any(|(a, b)| a.group != b.group);
        return (groups(a) != groups(b) || is_other)
            .then(|| "they are assigned to different groups".to_owned());
    }
    Some(format!(
        "only in the first: {}; only in the other: {}",
        counted_names(&only_a),
        counted_names(&only_b)
    ))
}

/// Returns a problem if images have other labels in a run than in those before it, so that they may be images of
/// other data with the same names.
///
/// - `names`: those images.
pub(super) fn relabelled(run: &str, names: &[&str]) -> Option<String> {
    (!names.is_empty()).then(|| {
        format!(
            "{run}: images have other labels than in the runs before it: {}: combine runs of the same data with the \
             same labels and `data.reviewed`, or train them again with those",
            counted_names(names)
        )
    })
}

/// Returns a problem if all runs have more probabilities than memory is meant to hold.
pub(super) fn too_many(n_probabilities: usize) -> Option<String> {
    (n_probabilities > MOST).then(|| {
        format!(
            "the runs have {n_probabilities} held-out probabilities together, and at most {MOST} are held in \
             memory: combine fewer runs"
        )
    })
}

/// Checks that no bundle was trained on any of the groups, or the files, of a test set, as far as is known, and returns
/// notes on what is not.
///
/// # Errors
/// Names the bundles that were.
pub(super) fn unseen<'a>(
    bundles: impl Iterator<Item = &'a PathBuf>,
    images: &[Image<'_>],
    unit: Unit,
) -> anyhow::Result<Vec<String>> {
    let (mut notes, mut problems) = (Vec::new(), Vec::new());
    for dir in bundles {
        match TrainedOn::of(dir)? {
            None => notes.push(unknown(dir)),
            Some(known) => {
                let by_name = known.problem(dir, images, unit);
                problems.extend(by_name.or_else(|| known.problem_of_files(dir, images)));
            }
        }
    }
    match problems.is_empty() {
        true => Ok(notes),
        false => bail!(
            "{}\nwhat is fitted there does not hold for new {}: name runs whose test set no model was trained on, \
             or leave out `--fit-on test`",
            problems.join("\n"),
            unit.many()
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base::{
        Task,
        task::{Factor, Unit},
    };
    use infer::Index;

    use super::{Image, MOST, differences, relabelled, too_many, unseen};

    #[test]
    fn all_runs_with_other_images_or_groups_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let task = Task::new(vec![Factor::new("class", &["a", "b"])]);
        let index = |name: &str, rows: &str| {
            let path = dir.path().join(name);
            fs::write(&path, format!("image,group,truth,predicted,a,b\n{rows}")).unwrap();
            Index::of(&[path], &task).unwrap()
        };
        let a = index("a", "x,p,0,0,1,0\ny,q,1,0,1,0\n");
        // Labels, predictions and order do not matter.
        let b = index("b", "y,q,0,1,0,1\nx,p,0,0,1,0\n");
        let c = index("c", "x,p,0,0,1,0\nz,q,1,0,1,0\n");
        let d = index("d", "x,q,0,0,1,0\ny,q,1,0,1,0\n");
        assert!(differences(&[("a", &a), ("b", &b)]).is_empty() && differences(&[]).is_empty());
        let found = differences(&[("a", &a), ("b", &b), ("c", &c), ("d", &d)]);
        assert_eq!(found.len(), 3, "{found:?}");
        let of_c = "a and c do not hold out the same images: only in the first: 1 (`y`); only in the other: 1 (`z`)";
        assert_eq!(found[0], of_c);
        assert!(found[1].ends_with("the same images: they are assigned to different groups"));
        assert_eq!(relabelled("b", &[]), None);
        let problem = relabelled("b", &["y"]).unwrap();
        assert!(
            problem
                .starts_with("b: images have other labels than in the runs before it: 1 (`y`): ")
        );
        assert!(too_many(MOST).is_none() && too_many(MOST + 1).is_some());
    }

    #[test]
    fn a_test_set_that_a_model_was_trained_on_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let bundles = ["a", "b"].map(|it| dir.path().join(it));
        bundles.iter().for_each(|it| fs::create_dir(it).unwrap());
        fs::write(bundles[0].join("split.csv"), "group,side\np,train\nq,test\n").unwrap();
        fn image(group: &str, hash: Option<u64>) -> Image<'_> {
            Image { name: "i.jpg", group, hash }
        }
        let unseen = |images: &[Image<'_>]| {
            unseen(bundles.iter(), images, Unit::Person).map_err(|err| err.to_string())
        };
        let check =
            |groups: &[&str]| unseen(&groups.iter().map(|it| image(it, None)).collect::<Vec<_>>());
        let notes = check(&["q", "r"]).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains("b: what it was trained on is unknown"), "{notes:?}");
        let err = check(&["p", "q"]).unwrap_err();
        let want = "a: was trained on 1 of these 2 people: `p`\n";
        assert!(err.contains(want) && err.contains("for new people: name runs"), "{err}");
        // Nor under another name.
        fs::write(bundles[0].join("files.csv"), "hash,side\nff,train\n").unwrap();
        assert_eq!(unseen(&[image("q", Some(0xfe))]).unwrap().len(), 1);
        let err = unseen(&[image("q", Some(0xfe)), image("r", Some(0xff))]).unwrap_err();
        assert!(
            err.contains("a: was trained on the files of 1 of these 2 images: `i.jpg`"),
            "{err}"
        );
    }
}
