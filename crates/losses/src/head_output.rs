//! One output of a head, which a loss is bound to, with the number of training images of each class.

use base::{Task, task::Scope};
use ops::Form;

/// The class counts and numbers of the training images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// The number of images of each joint class, by the training cuts.
    pub classes: Vec<usize>,
    /// The number of each image, by the factor whose number the head predicts, if it does.
    pub numbers: Vec<f64>,
}

/// One output of a head.
#[derive(Clone, Debug)]
pub struct HeadOutput<'a> {
    /// The task.
    pub task: &'a Task,
    /// The target: the joint class, or one factor.
    pub scope: Scope,
    /// The meaning of the numbers.
    pub form: Form,
    /// The number of training images of each class; empty for a number.
    pub counts: Vec<usize>,
}

impl<'a> HeadOutput<'a> {
    /// The output for `scope` with `n_out` numbers.
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
            Form::Bins { min, .. } => {
                counts.numbers.iter().for_each(|&it| own[bin_of(it, *min, n_out)] += 1);
            }
            Form::Classes | Form::Cosines { .. } | Form::Independent => {
                for (class, n) in counts.classes.iter().enumerate() {
                    own[task.project(class, scope)] += n;
                }
            }
        }
        HeadOutput { task, scope, form: form.clone(), counts: own }
    }

    /// Returns `joint`, or the factor's name.
    pub fn name(&self) -> &str {
        self.task.scope_name(self.scope)
    }

    /// Whether the numbers are a distribution over classes: classes, cosines, or bins of a number.
    pub(crate) fn is_categorical(&self) -> bool {
        matches!(self.form, Form::Classes | Form::Cosines { .. } | Form::Bins { .. })
    }
}

/// Returns the bin of a number: that of the whole number at or below it, such as the completed years of an
/// age; the first and the last bin hold all numbers beyond them.
pub(crate) fn bin_of(number: f64, min: i64, n_bins: usize) -> usize {
    ((number - min as f64).floor().max(0.0) as usize).min(n_bins - 1)
}
