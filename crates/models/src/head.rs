//! Heads: from features to predictions. One file per head.

mod bins;
mod branched;
mod built;
mod cosine;
mod factored;
mod joint;
mod multi_sample_dropout;
mod output_spec;
mod regression;
mod sigmoid;

use base::{Task, task::Scope};
use candle::Result;

pub use bins::Bins;
pub use branched::Branched;
pub use built::{BuiltHead, Tap};
pub use cosine::{Cosine, CosineClasses};
pub use factored::Factored;
pub use joint::Joint;
pub use multi_sample_dropout::{Mean, MultiSampleDropout};
pub use output_spec::OutputSpec;
use output_spec::dropout_problem;
pub use regression::Regression;
pub use sigmoid::Sigmoid;

use crate::{Stage, params::Builder};

base::choice! {
    /// The `[head]` section of a config: the outputs that are predicted from the features.
    pub enum HeadConfig: dyn Head {
        /// One linear classifier over the joint classes, with optional hidden layers.
        "joint" => Joint(Joint),
        /// One classifier per factor of the task; their probabilities are multiplied.
        "factored" => Factored(Factored),
        /// As `factored`, with a copy of the last convolution stage for each factor.
        "branched" => Branched(Branched),
        /// Cosine similarity between the features and a weight vector per class; the losses `arcface`
        /// and `ldam`, which add the margins, need this head.
        "cosine" => Cosine(Cosine),
        /// As `factored`, with a numeric factor, such as an age, as a distribution over whole numbers, which
        /// is cut into ranges at inference.
        "bins" => Bins(Bins),
        /// As `factored`, with regression of the number of a numeric factor, such as an age: auxiliary to its
        /// ranges, or cut into them.
        "regression" => Regression(Regression),
        /// One independent binary classifier per joint class.
        "sigmoid" => Sigmoid(Sigmoid),
        /// As `joint`, trained on several dropout masks at once (Inoue, 2019).
        "multi_sample_dropout" => MultiSampleDropout(MultiSampleDropout),
    }
}

/// The config of a head, which builds it.
pub trait Head {
    /// Creates the parameters and the layers that hold them.
    ///
    /// # Errors
    /// A task that is a [misfit](Head::misfit).
    fn build(
        &self,
        on: HeadInput<'_>,
        task: &Task,
        builder: Builder<'_>,
    ) -> Result<Box<dyn BuiltHead>>;

    /// Returns the specifications of its outputs in training, in their order.
    ///
    /// # Errors
    /// A task that is a [misfit](Head::misfit).
    fn outputs(&self, task: &Task) -> Result<Vec<OutputSpec>>;

    /// Returns the number of the backbone's last stages that it builds its own copies of, instead of
    /// sharing them.
    fn n_copied(&self) -> usize {
        0
    }

    /// Returns the name, below the head's place, of the layer that a published classifier of the joint
    /// classes is loaded into. `None` where no single layer predicts the joint classes.
    fn classifier(&self) -> Option<&'static str>;

    /// Returns the problem with the settings, if any.
    fn problem(&self) -> Option<String>;

    /// Returns why the head cannot be used for a task, if it cannot.
    fn misfit(&self, _: &Task) -> Option<String> {
        None
    }

    /// Whether the head predicts the number of a numeric factor, which every training image then needs.
    fn needs_numbers(&self) -> bool {
        false
    }

    /// Returns the factor whose number it predicts, if it does.
    fn number(&self, task: &Task) -> Option<usize> {
        let outputs = self.outputs(task).ok()?;
        outputs.iter().find_map(|it| match it.scope {
            Scope::Factor(idx) if it.form.is_numeric() => Some(idx),
            _ => None,
        })
    }
}

/// The input of a head.
#[derive(Clone, Copy)]
pub struct HeadInput<'a> {
    /// The number of features of the backbone.
    pub n_features: usize,
    /// The last stages, as many as the head [copies](Head::n_copied).
    pub last: &'a [Stage<'a>],
}

/// Returns the problem with a number that must be above 0, if any.
fn positive_problem(name: &str, value: f64) -> Option<String> {
    (!(value > 0.0 && value.is_finite())).then(|| format!("`{name}` is above 0, not {value}"))
}

/// The factor whose number a head predicts, and where its predictions are cut into levels.
///
/// - `factor`: from the settings; empty for the only numeric one.
/// - `cuts`: from the settings; empty for the task's own.
///
/// # Errors
/// A task without such a factor, or another number of cuts than the task's.
fn number_of(
    task: &Task,
    factor: &str,
    cuts: &[f64],
) -> std::result::Result<(usize, Vec<f64>), String> {
    let idx = match task.numeric_named(factor) {
        Ok(idx) => idx,
        Err(problem) if task.numeric().next().is_none() => {
            return Err(format!("{problem}: choose another head, such as `factored`"));
        }
        Err(problem) => return Err(format!("`factor`: {problem}")),
    };
    let own = &task.factors[idx].cuts;
    match cuts.len() {
        0 => Ok((idx, own.clone())),
        n if n == own.len() => Ok((idx, cuts.to_vec())),
        _ => Err(format!("`cuts` are {} numbers, as this data's {own:?}, not {cuts:?}", own.len())),
    }
}

/// Returns the problem with cuts, if any.
fn cuts_problem(cuts: &[f64]) -> Option<String> {
    let is_ascending = cuts.windows(2).all(|it| it[0] < it[1]);
    (!is_ascending || cuts.iter().any(|it| !it.is_finite()))
        .then(|| format!("`cuts` are numbers in ascending order, not {cuts:?}"))
}

#[cfg(test)]
mod tests {
    use base::{Seed, Task, task::Factor};
    use candle::{DType, Device};

    use super::{HeadConfig, HeadInput};
    use crate::params::Params;

    fn head(text: &str) -> HeadConfig {
        toml::from_str(text).expect("a head")
    }

    #[test]
    fn invalid_settings_are_reported() {
        for (_, head) in HeadConfig::zoo() {
            assert_eq!(head.get().problem(), None, "{head:?}");
            assert_eq!(head.get().misfit(&Task::mask_gender_age()), None, "{head:?}");
        }
        for (text, want) in [
            ("kind = \"joint\"\ndropout = 1.5", "`dropout` is from 0 to below 1, not 1.5"),
            ("kind = \"factored\"\nwidth = 0", "`width` is from 1 to 65536, not 0"),
            ("kind = \"factored\"\ndepth = 100", "`depth` is from 0 to 16, not 100"),
            ("kind = \"cosine\"\nscale = 0.0", "`scale` is above 0, not 0"),
            ("kind = \"bins\"\nmax = 0", "`max` - `min` is from 1 to 1000, not 0"),
            (
                "kind = \"bins\"\nmin = -9000000000000000000\nmax = 9000000000000000000",
                "`max` - `min` is from 1 to 1000, not 18000000000000000000",
            ),
            ("kind = \"bins\"\ndropout = -0.1", "`dropout` is from 0 to below 1, not -0.1"),
            (
                "kind = \"bins\"\ncuts = [60, 30]",
                "`cuts` are numbers in ascending order, not [60.0, 30.0]",
            ),
            ("kind = \"regression\"\nweight = 0.0", "`weight` is above 0, not 0"),
            ("kind = \"regression\"\nscale = -1.0", "`scale` is above 0, not -1"),
            ("kind = \"regression\"\ncenter = nan", "`center` is a finite number, not NaN"),
            (
                "kind = \"regression\"\ncuts = [31, 59]",
                "`cuts` apply only where the number is the prediction: set `auxiliary = false`, or \
                 leave them empty",
            ),
            ("kind = \"sigmoid\"\nwidth = 0", "`width` is from 1 to 65536, not 0"),
            ("kind = \"multi_sample_dropout\"\nsamples = 0", "`samples` is from 1 to 64, not 0"),
            (
                "kind = \"multi_sample_dropout\"\ndropout = 1.0",
                "`dropout` is from 0 to below 1, not 1",
            ),
        ] {
            assert_eq!(head(text).get().problem().as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn numeric_heads_need_a_task_with_such_a_factor() {
        let check = |text: &str, task: &Task, want: &str| {
            let head = head(text);
            assert_eq!(head.get().problem(), None, "{text}");
            let misfit = head.get().misfit(task).expect(text);
            assert!(misfit.contains(want), "{text}: {misfit}");
            let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
            let err = head
                .get()
                .build(HeadInput { n_features: 3, last: &[] }, task, params.builder())
                .err()
                .expect("an error");
            assert!(err.to_string().contains(want), "{text}: {err}");
        };
        let breeds = Task::new(vec![Factor::new("breed", &["beagle", "boxer"])]);
        let people = Task::mask_gender_age();
        let none = "this data has no numeric factor: choose another head, such as `factored`";
        check("kind = \"bins\"", &breeds, none);
        check("kind = \"regression\"\nfactor = \"breed\"", &breeds, none);
        check("kind = \"bins\"\nfactor = \"mask\"", &people, "`factor`: `mask` is not a numeric");
        let mut several = people.clone();
        several.factors[0] = Factor::ranges("height", &["<160", ">=160"], &[160.0]);
        check("kind = \"bins\"", &several, "name one of: height, age");
        check("kind = \"bins\"\ncuts = [31]", &people, "`cuts` are 2 numbers");
        check("kind = \"regression\"\nauxiliary = false\ncuts = [1, 2, 3]", &people, "2 numbers");
        check("kind = \"bins\"\nmax = 40", &people, "`max` is at least 60");
        check("kind = \"bins\"\ncuts = [30, 61]", &people, "`max` is at least 61");
        check("kind = \"bins\"\nmin = 30", &people, "`min` is below 30");
    }
}
