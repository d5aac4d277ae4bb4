//! What keeps runs from being combined: other images, other groups, too many probabilities.

use infer::Index;

/// The largest number of probabilities of all runs: 0.8 GB, and a few times that while they are fitted on.
const MOST: usize = 100_000_000;
/// The number of images to name.
const SHOWN: usize = 5;

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
    let only = |of: &Index, other: &Index| -> Vec<String> {
        let all = of.images.iter().filter(|it| other.position(&it.image).is_none());
        all.map(|it| format!("`{}`", it.image)).collect()
    };
    let (only_a, only_b) = (only(a, b), only(b, a));
    if only_a.is_empty() && only_b.is_empty() {
        let groups = |it: &Index| it.groups.clone();
        let is_other = a.images.iter().zip(&b.images).any(|(a, b)| a.group != b.group);
        return (groups(a) != groups(b) || is_other)
            .then(|| "they are assigned to different groups".to_owned());
    }
    Some(format!("only in the first: {}; only in the other: {}", list(&only_a), list(&only_b)))
}

/// Counts names, and lists the first of them.
fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        few if few.len() <= SHOWN => format!("{} ({})", few.len(), few.join(", ")),
        many => format!("{} ({}, ...)", many.len(), many[..SHOWN].join(", ")),
    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use base::{Task, task::Factor};
    use infer::Index;

    use super::{MOST, differences, too_many};

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
        assert!(too_many(MOST).is_none() && too_many(MOST + 1).is_some());
    }
}
