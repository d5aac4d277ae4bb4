//! The examples of the training set, grouped by class and by person for the samplers.

use base::task::Scope;

use crate::manifest::Manifest;

/// The examples of a training set by class and by person, as positions in that set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Groups {
    /// The name of each class.
    pub names: Vec<String>,
    /// The examples of each class; a class may have none.
    pub classes: Vec<Vec<usize>>,
    /// The examples of each person, who has at least one.
    pub people: Vec<Vec<usize>>,
}

impl Groups {
    /// Groups the examples of a training set.
    ///
    /// - `side`: the training set, as positions in the manifest.
    /// - `training_classes`: the joint class of each example of the manifest.
    /// - `over`: the classes to group by: `joint`, a factor's name, or `years`, one class per age in years.
    ///
    /// # Errors
    /// Another name, or `years` where an example has no age.
    pub fn new(
        manifest: &Manifest,
        side: &[usize],
        training_classes: &[usize],
        over: &str,
    ) -> Result<Groups, String> {
        let task = &manifest.task;
        let (names, levels): (Vec<String>, Vec<usize>) = if over == "years" {
            let age = |&idx: &usize| {
                let example = &manifest.examples[idx];
                example.age.ok_or_else(|| {
                    let name = &example.name;
                    format!("`over = \"years\"` needs ages, but `{name}` has none")
                })
            };
            let ages = side.iter().map(age).collect::<Result<Vec<f64>, _>>()?;
            let mut years = ages.clone();
            years.sort_by(f64::total_cmp);
            years.dedup();
            let level = |age: &f64| years.partition_point(|it| it < age);
            (years.iter().map(f64::to_string).collect(), ages.iter().map(level).collect())
        } else {
            let factors = (0..task.factors.len()).map(Scope::Factor);
            let mut scopes = std::iter::once(Scope::Joint).chain(factors);
            let Some(scope) = scopes.find(|&it| task.scope_name(it) == over) else {
                let factors: Vec<&str> = task.factors.iter().map(|it| it.name.as_str()).collect();
                let factors = factors.join(", ");
                return Err(format!(
                    "unknown `over = \"{over}\"`: use one of joint, {factors}, years"
                ));
            };
            let level = |&idx: &usize| task.project(training_classes[idx], scope);
            (task.class_names(scope), side.iter().map(level).collect())
        };
        let mut people = vec![Vec::new(); manifest.people.len()];
        let mut classes = vec![Vec::new(); names.len()];
        for (at, (&idx, level)) in side.iter().zip(levels).enumerate() {
            people[manifest.examples[idx].person].push(at);
            classes[level].push(at);
        }
        people.retain(|it| !it.is_empty());
        Ok(Groups { names, classes, people })
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

#[cfg(test)]
mod tests {
    use base::Task;

    use super::Groups;
    use crate::{Content, Example, Manifest, Use};

    /// Three people of one image each; the first is not in the training set.
    fn groups(over: &str, ages: [Option<f64>; 3]) -> Result<Groups, String> {
        let example = |person: usize| Example {
            name: format!("image {person}"),
            content: Content::Memory([].into()),
            person,
            class: 6 * person,
            age: ages[person],
            usage: Use::Pool,
            weight: 1.0,
        };
        let task = Task::mask_gender_age();
        let manifest = Manifest::new(task, vec![String::new(); 3], (0..3).map(example).collect());
        let training_classes = manifest.training_classes(&[29.0, 59.0])?;
        Groups::new(&manifest, &[1, 2], &training_classes, over)
    }

    #[test]
    fn groups_have_the_training_classes() {
        let ages = [None, Some(59.0), Some(30.0)];
        let joint = groups("joint", ages).unwrap();
        assert_eq!(
            (joint.names.len(), &joint.classes[6 + 2], &joint.classes[12 + 1]),
            (18, &vec![0], &vec![1])
        );
        assert_eq!(joint.people, [[0], [1]]);
        let age = groups("age", ages).unwrap();
        assert_eq!((age.names[2].as_str(), age.classes), (">=60", vec![vec![], vec![1], vec![0]]));
        assert_eq!(groups("mask", ages).unwrap().counts().collect::<Vec<_>>(), [0, 1, 1]);
        let years = groups("years", ages).unwrap();
        assert_eq!(
            (years.names, years.classes),
            (vec!["30".into(), "59".into()], vec![vec![1], vec![0]])
        );
    }

    #[test]
    fn unknown_classes_and_missing_ages_are_errors() {
        let err = groups("masks", [None; 3]).unwrap_err();
        assert_eq!(err, "unknown `over = \"masks\"`: use one of joint, mask, gender, age, years");
        let err = groups("years", [None, Some(1.0), None]).unwrap_err();
        assert_eq!(err, "`over = \"years\"` needs ages, but `image 2` has none");
    }
}
