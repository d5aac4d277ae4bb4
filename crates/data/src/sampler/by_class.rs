//! The examples of the training set, grouped by class and by group for the samplers.

use base::task::Scope;

use crate::manifest::Manifest;

/// The examples of a training set by class and by group, as positions in that set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ByClass {
    /// The name of each class.
    pub names: Vec<String>,
    /// The examples of each class; a class may have none.
    pub classes: Vec<Vec<usize>>,
    /// The examples of each group, who has at least one.
    pub groups: Vec<Vec<usize>>,
}

impl ByClass {
    /// ByClass the examples of a training set.
    ///
    /// - `side`: the training set, as positions in the manifest.
    /// - `training_classes`: the joint class of each example of the manifest.
    /// - `over`: the classes to group by: `joint`, a factor's name, or that of a numeric factor and
    ///   `.number`, such as `age.number`: one class per number.
    ///
    /// # Errors
    /// Another name, or an example without the number.
    pub fn new(
        manifest: &Manifest,
        side: &[usize],
        training_classes: &[usize],
        over: &str,
    ) -> Result<ByClass, String> {
        let task = &manifest.task;
        let mut scopes =
            [Scope::Joint].into_iter().chain((0..task.factors.len()).map(Scope::Factor));
        let number_of = |idx: usize| format!("{}.number", task.factors[idx].name);
        let scope = scopes.find(|&it| task.scope_name(it) == over);
        let (names, levels) = match (scope, task.numeric().find(|&it| number_of(it) == over)) {
            (Some(scope), _) => {
                let level = |&idx: &usize| task.project(training_classes[idx], scope);
                (task.class_names(scope), side.iter().map(level).collect())
            }
            (None, Some(factor)) => by_number(manifest, side, factor)
                .map_err(|name| format!("`over = \"{over}\"`: `{name}` has no such number"))?,
            (None, None) => {
                let factors = task.factors.iter().map(|it| it.name.clone());
                let names = ["joint".to_owned()].into_iter().chain(factors);
                let names: Vec<String> = names.chain(task.numeric().map(number_of)).collect();
                let names = names.join(", ");
                return Err(format!("unknown `over = \"{over}\"`: use one of {names}"));
            }
        };
        let mut groups = vec![Vec::new(); manifest.groups.len()];
        let mut classes = vec![Vec::new(); names.len()];
        for (at, (&idx, level)) in side.iter().zip(levels).enumerate() {
            groups[manifest.examples[idx].group].push(at);
            classes[level].push(at);
        }
        groups.retain(|it| !it.is_empty());
        Ok(ByClass { names, classes, groups })
    }

    /// Returns the number of examples.
    pub fn n_examples(&self) -> usize {
        self.classes.iter().map(Vec::len).sum()
    }

    /// Returns the number of examples of each class.
    pub fn counts(&self) -> impl Iterator<Item = usize> {
        self.classes.iter().map(Vec::len)
    }

    /// Counts the given examples by class.
    pub fn counts_of(&self, examples: &[usize]) -> Vec<usize> {
        let mut class_of = vec![0; self.n_examples()];
        for (class, members) in self.classes.iter().enumerate() {
            members.iter().for_each(|&it| class_of[it] = class);
        }
        let mut counts = vec![0; self.classes.len()];
        examples.iter().for_each(|&it| counts[class_of[it]] += 1);
        counts
    }
}

/// Returns a class for each distinct number of a factor, in order, and the class of each example.
///
/// # Errors
/// The name of an example without the number.
fn by_number<'a>(
    manifest: &'a Manifest,
    side: &[usize],
    factor: usize,
) -> Result<(Vec<String>, Vec<usize>), &'a str> {
    let number = |&idx: &usize| {
        let example = &manifest.examples[idx];
        example.number(factor).ok_or(example.name.as_str())
    };
    let numbers = side.iter().map(number).collect::<Result<Vec<f64>, _>>()?;
    let mut distinct = numbers.clone();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    let level = |number: &f64| distinct.partition_point(|it| it < number);
    Ok((distinct.iter().map(f64::to_string).collect(), numbers.iter().map(level).collect()))
}

#[cfg(test)]
mod tests {
    use base::Task;

    use super::ByClass;
    use crate::{Content, Example, Manifest, Use};

    /// Three groups of one image each; the first is not in the training set.
    fn by_class(over: &str, ages: [Option<f64>; 3]) -> Result<ByClass, String> {
        let example = |group: usize| Example {
            name: format!("image {group}"),
            content: Content::Memory([].into()),
            group,
            class: 6 * group,
            numbers: vec![f64::NAN, f64::NAN, ages[group].unwrap_or(f64::NAN)],
            attributes: Vec::new(),
            usage: Use::Pool,
            weight: 1.0,
            hash: None,
        };
        let task = Task::mask_gender_age();
        let manifest = Manifest::new(task, vec![String::new(); 3], (0..3).map(example).collect());
        let training_classes =
            manifest.training_classes(&[("age".to_owned(), vec![29.0, 59.0])].into())?;
        ByClass::new(&manifest, &[1, 2], &training_classes, over)
    }

    #[test]
    fn groups_have_the_training_classes() {
        let ages = [None, Some(59.0), Some(30.0)];
        let joint = by_class("joint", ages).unwrap();
        assert_eq!(
            (joint.names.len(), &joint.classes[6 + 2], &joint.classes[12 + 1]),
            (18, &vec![0], &vec![1])
        );
        assert_eq!(joint.groups, [[0], [1]]);
        let age = by_class("age", ages).unwrap();
        assert_eq!((age.names[2].as_str(), age.classes), (">=60", vec![vec![], vec![1], vec![0]]));
        assert_eq!(by_class("mask", ages).unwrap().counts().collect::<Vec<_>>(), [0, 1, 1]);
        let numbers = by_class("age.number", ages).unwrap();
        assert_eq!(
            (numbers.names, numbers.classes),
            (vec!["30".into(), "59".into()], vec![vec![1], vec![0]])
        );
    }

    #[test]
    fn unknown_classes_and_missing_ages_are_errors() {
        let err = by_class("masks", [None; 3]).unwrap_err();
        assert_eq!(
            err,
            "unknown `over = \"masks\"`: use one of joint, mask, gender, age, age.number"
        );
        let err = by_class("age.number", [None, Some(1.0), None]).unwrap_err();
        assert_eq!(err, "`over = \"age.number\"`: `image 2` has no such number");
    }
}
