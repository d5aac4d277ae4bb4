//! What is explained: the score of a class.

use base::{Task, hint, task::Scope};

use crate::ExplainError;

/// The class whose score is explained: a joint class, or a level of a factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The joint classes, or a factor.
    pub scope: Scope,
    /// A class of the scope; `None` for the one with the largest probability by this network.
    pub class: Option<usize>,
}

impl Target {
    /// The predicted joint class.
    pub const PREDICTED: Target = Target { scope: Scope::Joint, class: None };

    /// Returns the target that these names mean.
    ///
    /// - `factor`: the name of a factor; `None` for the joint classes, or for the only factor that has a level
    ///   called `class`.
    /// - `class`: the name of a class or level, or the number of a joint class; `None` for the predicted one.
    ///
    /// # Errors
    /// A name that the task does not have, or that several factors have.
    pub fn parse(
        task: &Task,
        factor: Option<&str>,
        class: Option<&str>,
    ) -> Result<Target, ExplainError> {
        let scope = match factor {
            None => Scope::Joint,
            Some(name) => match task.factors.iter().position(|it| it.name == name) {
                Some(idx) => Scope::Factor(idx),
                None => {
                    let names = task.factors.iter().map(|it| it.name.as_str());
                    return Err(unknown(name, "factor", names.collect()));
                }
            },
        };
        let Some(name) = class else { return Ok(Target { scope, class: None }) };
        let names = task.class_names(scope);
        if let Some(class) = names.iter().position(|it| it == name) {
            return Ok(Target { scope, class: Some(class) });
        }
        if scope != Scope::Joint {
            return Err(unknown(name, "level", names.iter().map(String::as_str).collect()));
        }
        let has_level = |idx: usize| {
            let level = task.factors[idx].levels.iter().position(|it| it == name)?;
            Some(Target { scope: Scope::Factor(idx), class: Some(level) })
        };
        match (0..task.factors.len()).filter_map(has_level).collect::<Vec<_>>()[..] {
            [target] => return Ok(target),
            [] => {}
            _ => {
                let reason = format!("`{name}` is a level of several factors: name one of them");
                return Err(ExplainError::NoTarget(reason));
            }
        }
        match name.parse::<usize>() {
            Ok(class) if class < names.len() => Ok(Target { scope, class: Some(class) }),
            _ => {
                let levels = task.factors.iter().flat_map(|it| &it.levels);
                let known = names.iter().chain(levels).map(String::as_str).collect();
                Err(unknown(name, "class or level", known))
            }
        }
    }
}

fn unknown(name: &str, what: &str, known: Vec<&str>) -> ExplainError {
    ExplainError::NoTarget(format!("there is no {what} `{name}`: {}", hint(name, &known)))
}

#[cfg(test)]
mod tests {
    use base::{
        Task,
        task::{Factor, Scope},
    };

    use super::Target;

    fn parsed(task: &Task, factor: Option<&str>, class: Option<&str>) -> Result<Target, String> {
        Target::parse(task, factor, class).map_err(|err| err.to_string())
    }

    #[test]
    fn a_target_is_found_by_name() {
        let task = Task::mask_gender_age();
        let of = |scope, class| Ok(Target { scope, class });
        assert_eq!(parsed(&task, None, None), Ok(Target::PREDICTED));
        assert_eq!(parsed(&task, Some("mask"), None), of(Scope::Factor(0), None));
        assert_eq!(parsed(&task, Some("age"), Some("<30")), of(Scope::Factor(2), Some(0)));
        assert_eq!(parsed(&task, None, Some("incorrect female >=60")), of(Scope::Joint, Some(11)));
        assert_eq!(parsed(&task, None, Some("11")), of(Scope::Joint, Some(11)));
        // The only factor with such a level.
        assert_eq!(parsed(&task, None, Some("worn")), of(Scope::Factor(0), Some(0)));
    }

    #[test]
    fn a_wrong_name_is_an_error_that_lists_the_names() {
        let task = Task::mask_gender_age();
        let err = parsed(&task, Some("masks"), None).unwrap_err();
        assert_eq!(err, "there is no factor `masks`: did you mean `mask`?");
        let err = parsed(&task, Some("gender"), Some("worn")).unwrap_err();
        assert_eq!(err, "there is no level `worn`: expected one of: male, female");
        assert!(parsed(&task, None, Some("18")).is_err());
        let twice = Task::new(vec![Factor::new("a", &["x", "y"]), Factor::new("b", &["x", "z"])]);
        let err = parsed(&twice, None, Some("x")).unwrap_err();
        assert_eq!(err, "`x` is a level of several factors: name one of them");
    }
}
