//! Maps the levels of a root's factors to those of the first root, by name.

use base::{Task, names::quoted, task::Factor};

/// For each factor, the level of the first root for each level of another root; the last entry is the extra
/// level of strata that share none.
#[derive(Debug, PartialEq)]
pub(super) struct Levels(Vec<Vec<usize>>);

impl Levels {
    /// Maps levels of the other root to those of the first, one level per factor.
    pub(super) fn of(&self, own: &[usize]) -> Vec<usize> {
        own.iter().zip(&self.0).map(|(&level, to)| to[level]).collect()
    }
}

/// Builds the mapping from the levels of a root to those of the first.
///
/// # Errors
/// What differs: the factors, the cuts, or levels that the first root does not have.
pub(super) fn translate(task: &Task, first: &Task) -> Result<Levels, String> {
    let pairs = || task.factors.iter().zip(&first.factors);
    let n = first.factors.len();
    // The name of a single factor does not matter.
    let are_same = task.factors.len() == n && (n == 1 || pairs().all(|(a, b)| a.name == b.name));
    if !are_same {
        let names = |of: &Task| -> String {
            of.factors.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let (own, first) = (names(task), names(first));
        return Err(format!(
            "its factors are {own}, those of the first root {first}: all roots must have the same factors"
        ));
    }
    let levels = pairs().map(|(own, first)| translate_levels(own, first));
    Ok(Levels(levels.collect::<Result<_, _>>()?))
}

fn translate_levels(own: &Factor, first: &Factor) -> Result<Vec<usize>, String> {
    let name = &own.name;
    if own.cuts != first.cuts {
        let (own, first) = (&own.cuts, &first.cuts);
        return Err(format!(
            "it cuts `{name}` at {own:?}, the first root at {first:?}: use the same cuts"
        ));
    }
    let of = |level: &String| first.levels.iter().position(|it| it == level);
    let unknown: Vec<&str> =
        own.levels.iter().filter(|it| of(it).is_none()).map(String::as_str).collect();
    if unknown.is_empty() {
        let levels = own.levels.iter().filter_map(of);
        return Ok(levels.chain([first.levels.len()]).collect());
    }
    Err(format!(
        "`{name}` of the first root has no level {}: leave these images out, or put the root that has all classes first",
        quoted(unknown)
    ))
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use super::translate;

    /// The class of the first root for each class of another one.
    fn classes(task: &Task, first: &Task) -> Vec<usize> {
        let levels = translate(task, first).unwrap();
        (0..task.n_classes()).map(|it| first.class_of(&levels.of(&task.levels_of(it)))).collect()
    }

    fn one(name: &str, levels: &[&str]) -> Task {
        Task::new(vec![Factor::new(name, levels)])
    }

    #[test]
    fn classes_are_matched_by_name() {
        let task = Task::mask_gender_age();
        assert_eq!(classes(&task, &task), (0..18).collect::<Vec<_>>());
        // Some of the classes, in another order, of a factor with another name.
        let first = one("class", &["ant", "bee", "cat", "dog"]);
        assert_eq!(classes(&one("breed", &["dog", "bee"]), &first), [3, 1]);
        // With several factors.
        let mut other = task.clone();
        other.factors[0] = Factor::new("mask", &["not worn", "worn"]);
        let want: Vec<usize> = (12..18).chain(0..6).collect();
        assert_eq!(classes(&other, &task), want);
    }

    #[test]
    fn differences_are_reported() {
        let task = Task::mask_gender_age();
        let first = one("class", &["ant", "bee"]);
        let mut cut = task.clone();
        cut.factors[2].cuts[0] = 29.0;
        let mut renamed = task.clone();
        renamed.factors[1].name = "sex".to_owned();
        let many: Vec<String> = (0..9).map(|it| format!("{it}")).collect();
        let many = one("class", &many.iter().map(String::as_str).collect::<Vec<_>>());
        for (other, first, want) in [
            (&first, &task, "its factors are class, those of the first root mask, gender, age: "),
            (
                &renamed,
                &task,
                "its factors are mask, sex, age, those of the first root mask, gender, age: ",
            ),
            (&cut, &task, "it cuts `age` at [29.0, 60.0], the first root at [30.0, 60.0]: "),
            (
                &one("class", &["bee", "cow"]),
                &first,
                "`class` of the first root has no level `cow`: ",
            ),
            (
                &many,
                &first,
                "`class` of the first root has no level `0`, `1`, `2`, `3`, `4` and 4 more: ",
            ),
        ] {
            let err = translate(other, first).unwrap_err();
            assert!(err.starts_with(want), "{err}");
        }
    }
}
