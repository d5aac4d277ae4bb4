//! What the classes of one root are among those of the first: the same, found by name.

use base::{Task, task::Factor};

/// The class of the first root that each class of another one is.
///
/// # Errors
/// What differs: the questions, the cuts, or levels that the first root has not.
pub(super) fn translate(task: &Task, first: &Task) -> Result<Vec<usize>, String> {
    let pairs = || task.factors.iter().zip(&first.factors);
    let n = first.factors.len();
    // What the only question is called tells nothing.
    let are_alike = task.factors.len() == n && (n == 1 || pairs().all(|(a, b)| a.name == b.name));
    if !are_alike {
        let names = |of: &Task| -> String {
            of.factors.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let (own, first) = (names(task), names(first));
        return Err(format!("it asks for {own}, the first root for {first}: roots ask the same"));
    }
    let levels = pairs().map(|(own, first)| translate_levels(own, first));
    let levels: Vec<Vec<usize>> = levels.collect::<Result<_, _>>()?;
    let class = |own: usize| {
        let own = task.levels_of(own).into_iter().zip(&levels);
        first.class_of(&own.map(|(level, to)| to[level]).collect::<Vec<_>>())
    };
    Ok((0..task.n_classes()).map(class).collect())
}

/// So many unknown classes are named.
const SHOWN: usize = 5;

fn translate_levels(own: &Factor, first: &Factor) -> Result<Vec<usize>, String> {
    let name = &own.name;
    if own.cuts != first.cuts {
        let (own, first) = (&own.cuts, &first.cuts);
        return Err(format!("it cuts `{name}` at {own:?}, the first root at {first:?}: cut alike"));
    }
    let of = |level: &String| first.levels.iter().position(|it| it == level);
    let unknown: Vec<&str> =
        own.levels.iter().filter(|it| of(it).is_none()).map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(own.levels.iter().filter_map(of).collect());
    }
    let shown = unknown[..unknown.len().min(SHOWN)].join("`, `");
    let more = match unknown.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    Err(format!(
        "of `{name}` the first root has no `{shown}`{more}: leave these pictures out, or put the root \
         that has all classes first"
    ))
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use super::translate;

    fn one(name: &str, levels: &[&str]) -> Task {
        Task { factors: vec![Factor::new(name, levels)] }
    }

    #[test]
    fn classes_are_found_by_name() {
        let task = Task::mask_gender_age();
        assert_eq!(translate(&task, &task), Ok((0..18).collect()));
        // Some of the classes, in another order, of a question that is called otherwise.
        let first = one("class", &["ant", "bee", "cat", "dog"]);
        assert_eq!(translate(&one("breed", &["dog", "bee"]), &first), Ok(vec![3, 1]));
        // Of two questions each.
        let mut other = task.clone();
        other.factors[0] = Factor::new("mask", &["not worn", "worn"]);
        let want = (12..18).chain(0..6).collect();
        assert_eq!(translate(&other, &task), Ok(want));
    }

    #[test]
    fn what_differs_is_said() {
        let task = Task::mask_gender_age();
        let first = one("class", &["ant", "bee"]);
        let mut cut = task.clone();
        cut.factors[2].cuts[0] = 29.0;
        let mut renamed = task.clone();
        renamed.factors[1].name = "sex".to_owned();
        let many: Vec<String> = (0..9).map(|it| format!("{it}")).collect();
        let many = one("class", &many.iter().map(String::as_str).collect::<Vec<_>>());
        for (other, first, want) in [
            (&first, &task, "it asks for class, the first root for mask, gender, age: "),
            (&renamed, &task, "it asks for mask, sex, age, the first root for mask, gender, age: "),
            (&cut, &task, "it cuts `age` at [29.0, 60.0], the first root at [30.0, 60.0]: "),
            (&one("class", &["bee", "cow"]), &first, "of `class` the first root has no `cow`: "),
            (
                &many,
                &first,
                "of `class` the first root has no `0`, `1`, `2`, `3`, `4` and 4 more: ",
            ),
        ] {
            let err = translate(other, first).unwrap_err();
            assert!(err.starts_with(want), "{err}");
        }
    }
}
