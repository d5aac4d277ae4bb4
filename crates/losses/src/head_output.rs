//! What a loss is bound to: one question of a head, and how often each answer is right in training.

use base::{Task, task::Scope};
use ops::Form;

/// How many training images there are of each kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Of each joint class, by the training cuts.
    pub classes: Vec<usize>,
    /// The age on each image, where the data has ages.
    pub ages: Vec<f64>,
}

/// One question of a head.
#[derive(Clone, Debug)]
pub struct HeadOutput<'a> {
    /// What is asked of an image.
    pub task: &'a Task,
    /// What of it.
    pub scope: Scope,
    /// What the numbers of the answer mean.
    pub form: Form,
    /// How many training images each number is the right answer of; of a number of years, nothing.
    pub counts: Vec<usize>,
}

impl<'a> HeadOutput<'a> {
    /// The question about `asks` whose answer is `n_out` numbers.
    pub fn new(
        task: &'a Task,
        scope: Scope,
        form: &Form,
        n_out: usize,
        counts: &Counts,
    ) -> HeadOutput<'a> {
        let mut own = vec![0; n_out];
        match form {
            Form::Number { .. } => own.clear(),
            Form::Bins { .. } => {
                counts.ages.iter().for_each(|&age| own[year_of(age, n_out)] += 1);
            }
            Form::Classes | Form::Cosines { .. } | Form::Independent => {
                for (class, n) in counts.classes.iter().enumerate() {
                    own[task.project(class, scope)] += n;
                }
            }
        }
        HeadOutput { task, scope, form: form.clone(), counts: own }
    }

    /// What a person calls it: `joint`, or the factor's name.
    pub fn name(&self) -> &str {
        self.task.scope_name(self.scope)
    }

    /// Whether one of several numbers is right: of classes, cosines, or bins of years.
    pub(crate) fn is_choice(&self) -> bool {
        matches!(self.form, Form::Classes | Form::Cosines { .. } | Form::Bins { .. })
    }
}

/// The bin of an age: the years that are completed, the last bin for all that are older.
pub(crate) fn year_of(age: f64, n_years: usize) -> usize {
    (age.max(0.0) as usize).min(n_years - 1)
}
