//! How the factors of two tasks differ, in words: one of two models or data sets that do not fit together.

use std::collections::HashSet;

use crate::{
    names::quoted,
    task::{Factor, Task},
};

impl Task {
    /// Returns how the factors of this task differ from those of another; `None` if they are the same.
    ///
    /// - `own`, `name`: what the two are called, for example `the models` and `the data`.
    pub fn difference(&self, own: &str, other: &Task, name: &str) -> Option<String> {
        if self.factors == other.factors {
            return None;
        }
        let names = |task: &Task| quoted(task.factors.iter().map(|it| it.name.as_str()));
        let both = self.factors.iter().zip(&other.factors);
        let is_same = |(a, b): (&Factor, &Factor)| a.name == b.name;
        if self.factors.len() != other.factors.len() || !both.clone().all(is_same) {
            return Some(format!(
                "the factors of {own}: {}; of {name}: {}",
                names(self),
                names(other)
            ));
        }
        let differing = both.into_iter().find(|(a, b)| a != b);
        differing.map(|(a, b)| of_factors((own, a), (name, b)))
    }
}

/// Returns how two factors of the same name differ, each with what its task is called.
pub(crate) fn of_factors((own, a): (&str, &Factor), (name, b): (&str, &Factor)) -> String {
    let factor = &a.name;
    let only = |here: &str, a: &Factor, b: &Factor| {
        let known: HashSet<&str> = b.levels.iter().map(String::as_str).collect();
        let only: Vec<&str> =
            a.levels.iter().map(String::as_str).filter(|it| !known.contains(it)).collect();
        (!only.is_empty()).then(|| format!("only in {here}: {}", quoted(only)))
    };
    let only: Vec<String> = only(own, a, b).into_iter().chain(only(name, b, a)).collect();
    if !only.is_empty() {
        return format!("the levels of the factor `{factor}` differ, {}", only.join("; "));
    }
    let mut levels = a.levels.iter().zip(&b.levels).enumerate();
    if let Some((idx, (a, b))) = levels.find(|(_, (a, b))| a != b) {
        return format!(
            "the levels of the factor `{factor}` are in another order: level {} is `{a}` in {own}, and `{b}` in \
             {name}",
            idx + 1
        );
    }
    let cuts = |it: &Factor| match it.cuts.as_slice() {
        [] => "no cuts".to_owned(),
        cuts => {
            let cuts: Vec<String> = cuts.iter().map(f64::to_string).collect();
            format!("the cuts {}", cuts.join(", "))
        }
    };
    format!("the factor `{factor}` has {} in {own}, and {} in {name}", cuts(a), cuts(b))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use crate::task::{Factor, Task};

    #[track_caller]
    fn check(a: &[Factor], b: &[Factor], want: Expect) {
        let [a, b] = [a, b].map(|it| Task::new(it.to_vec()));
        want.assert_eq(&a.difference("runs/a", &b, "the data").unwrap_or_default());
    }

    #[test]
    fn the_difference_of_two_tasks_is_said_in_words() {
        let class = |levels: &[&str]| [Factor::new("class", levels)];
        let pets = class(&["cat", "dog, big"]);
        check(&pets, &pets, expect![""]);
        check(
            &pets,
            &class(&["cat", "bird"]),
            expect![
                "the levels of the factor `class` differ, only in runs/a: `dog, big`; only in the data: `bird`"
            ],
        );
        check(
            &pets,
            &class(&["cat"]),
            expect!["the levels of the factor `class` differ, only in runs/a: `dog, big`"],
        );
        check(
            &pets,
            &class(&["dog, big", "cat"]),
            expect![
                "the levels of the factor `class` are in another order: level 1 is `cat` in runs/a, and `dog, big` in the data"
            ],
        );
        let many = ["a", "b", "c", "d", "e", "f", "g", "cat", "dog, big"];
        check(
            &pets,
            &class(&many),
            expect![
                "the levels of the factor `class` differ, only in the data: `a`, `b`, `c`, `d`, `e` and 2 more"
            ],
        );
        let age =
            |cuts: &[f64]| [Factor { cuts: cuts.to_vec(), ..Factor::new("age", &["x", "y"]) }];
        check(
            &age(&[30.0]),
            &age(&[29.5]),
            expect!["the factor `age` has the cuts 30 in runs/a, and the cuts 29.5 in the data"],
        );
        check(
            &age(&[]),
            &age(&[30.0]),
            expect!["the factor `age` has no cuts in runs/a, and the cuts 30 in the data"],
        );
        let both = [pets.as_slice(), &age(&[])].concat();
        check(&pets, &both, expect!["the factors of runs/a: `class`; of the data: `class`, `age`"]);
        let turned = [&age(&[])[..], &pets].concat();
        check(
            &turned,
            &both,
            expect!["the factors of runs/a: `age`, `class`; of the data: `class`, `age`"],
        );
    }
}
