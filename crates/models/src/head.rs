//! Heads: from features to what is said of them. One file a head.

mod age_bins;
mod age_number;
mod branched;
mod cosine;
mod factored;
mod joint;
mod multi_sample_dropout;
mod output_spec;
mod sigmoid;

use base::Task;
use candle::Result;
use ops::{Output, Pass, Value};

pub use age_bins::AgeBins;
pub use age_number::AgeNumber;
pub use branched::Branched;
pub use cosine::{Ask, Cosine};
pub use factored::Factored;
pub use joint::Joint;
pub use multi_sample_dropout::{Mean, MultiSampleDropout};
pub use output_spec::OutputSpec;
pub use sigmoid::Sigmoid;

use crate::{Stage, params::Builder};

base::choice! {
    /// The `[head]` section of a config: what is asked of the features.
    pub enum HeadConfig: dyn Head {
        /// One output a joint class, of linear layers.
        "joint" => Joint(Joint),
        /// Each factor of the task by linear layers of its own; their answers are multiplied.
        "factored" => Factored(Factored),
        /// As `factored`, each factor with a copy of the last convolution stage.
        "branched" => Branched(Branched),
        /// By the angle between features and a direction of each class; the margins of ArcFace and
        /// LDAM, which need this head, are a loss's.
        "cosine" => Cosine(Cosine),
        /// As `factored`, with the age as a distribution over years that is cut when answering.
        "age_bins" => AgeBins(AgeBins),
        /// As `factored`, with the age as a number of years: beside its ranges, or cut into them.
        "age_number" => AgeNumber(AgeNumber),
        /// One output a joint class, each a yes or no of its own.
        "sigmoid" => Sigmoid(Sigmoid),
        /// As `joint`, learning from several dropout masks at once (Inoue, 2019).
        "multi_sample_dropout" => MultiSampleDropout(MultiSampleDropout),
    }
}

/// A head's config, which knows how to build it.
pub trait Head {
    /// Creates the parameters and the layers that hold them.
    ///
    /// # Errors
    /// A task that is a [misfit](Head::misfit).
    fn build(&self, on: On<'_>, task: &Task, builder: Builder<'_>) -> Result<Box<dyn Heads>>;

    /// What it asks in training, in the order of its outputs.
    ///
    /// # Errors
    /// A task that is a [misfit](Head::misfit).
    fn outputs(&self, task: &Task) -> Result<Vec<OutputSpec>>;

    /// How many of the backbone's last stages it builds copies of, for itself, instead of sharing
    /// them.
    fn n_copied(&self) -> usize {
        0
    }

    /// Where a published classifier of the joint classes belongs: the name of the layer, below
    /// the head's place. `None` where no single layer answers jointly.
    fn classifier(&self) -> Option<&'static str>;

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String>;

    /// Why the head cannot answer a task, if it cannot.
    fn misfit(&self, _: &Task) -> Option<String> {
        None
    }

    /// Whether every image that it learns from needs an age.
    fn needs_ages(&self) -> bool {
        false
    }
}

/// What a head sits on.
#[derive(Clone, Copy)]
pub struct On<'a> {
    /// How many features the backbone ends in.
    pub n_features: usize,
    /// The last stages, as many as the head [copies](Head::n_copied).
    pub last: &'a [Stage<'a>],
}

/// What sits on a backbone.
pub trait Heads {
    /// What is said of features `[n, width]`, or of the maps that the copied stages take: one output
    /// a question.
    fn outputs(&self, features: &Value, pass: &Pass<'_>) -> Result<Vec<Output<Value>>>;
}

/// What is wrong with a share to drop, if anything is.
fn dropout_problem(dropout: f64) -> Option<String> {
    (!(0.0..1.0).contains(&dropout))
        .then(|| format!("`dropout` is from 0 to below 1, not {dropout}"))
}

/// What is wrong with a number that must be above 0, if anything is.
fn positive_problem(name: &str, value: f64) -> Option<String> {
    (!(value > 0.0 && value.is_finite())).then(|| format!("`{name}` is above 0, not {value}"))
}

/// The factor that a head of ages asks in years, and where its answers are cut.
///
/// - `cuts`: the settings'; empty for the task's own.
///
/// # Errors
/// A task without such a factor, or cuts that are not its.
fn years_of(task: &Task, cuts: &[f64]) -> std::result::Result<(usize, Vec<f64>), String> {
    let Some(idx) = task.ranged() else {
        return Err("this data has no ages: choose another head, such as `factored`".to_owned());
    };
    let own = &task.factors[idx].cuts;
    match cuts.len() {
        0 => Ok((idx, own.clone())),
        n if n == own.len() => Ok((idx, cuts.to_vec())),
        _ => Err(format!("`cuts` are {} numbers, as this data's {own:?}, not {cuts:?}", own.len())),
    }
}

/// What is wrong with cuts, if anything is.
fn cuts_problem(cuts: &[f64]) -> Option<String> {
    let is_rising = cuts.windows(2).all(|it| it[0] < it[1]);
    (!is_rising || cuts.iter().any(|it| !it.is_finite()))
        .then(|| format!("`cuts` are rising numbers of years, not {cuts:?}"))
}

#[cfg(test)]
mod tests {
    use base::{Seed, Task, task::Factor};
    use candle::{DType, Device};

    use super::{HeadConfig, On};
    use crate::params::Params;

    fn head(text: &str) -> HeadConfig {
        toml::from_str(text).expect("a head")
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        for (_, head) in HeadConfig::zoo() {
            assert_eq!(head.get().problem(), None, "{head:?}");
            assert_eq!(head.get().misfit(&Task::mask_gender_age()), None, "{head:?}");
        }
        for (text, want) in [
            ("kind = \"joint\"\ndropout = 1.5", "`dropout` is from 0 to below 1, not 1.5"),
            ("kind = \"factored\"\nwidth = 0", "`width` is from 1 to 65536, not 0"),
            ("kind = \"factored\"\ndepth = 100", "`depth` is from 0 to 16, not 100"),
            ("kind = \"cosine\"\nscale = 0.0", "`scale` is above 0, not 0"),
            ("kind = \"age_bins\"\noldest = 0", "`oldest` is from 1 to 1000, not 0"),
            ("kind = \"age_bins\"\ndropout = -0.1", "`dropout` is from 0 to below 1, not -0.1"),
            (
                "kind = \"age_bins\"\ncuts = [60, 30]",
                "`cuts` are rising numbers of years, not [60.0, 30.0]",
            ),
            ("kind = \"age_number\"\nweight = 0.0", "`weight` is above 0, not 0"),
            (
                "kind = \"age_number\"\ncuts = [31, 59]",
                "`cuts` are for years that are the answer: set `auxiliary = false`, or leave them empty",
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
    fn a_head_of_ages_needs_a_task_of_ages() {
        let check = |text: &str, task: &Task, want: &str| {
            let head = head(text);
            assert_eq!(head.get().problem(), None, "{text}");
            let misfit = head.get().misfit(task).expect(text);
            assert!(misfit.contains(want), "{text}: {misfit}");
            let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
            let err = head
                .get()
                .build(On { n_features: 3, last: &[] }, task, params.builder())
                .err()
                .expect("an error");
            assert!(err.to_string().contains(want), "{text}: {err}");
        };
        let ageless = Task { factors: vec![Factor::new("breed", &["beagle", "boxer"])] };
        let people = Task::mask_gender_age();
        check("kind = \"age_bins\"", &ageless, "this data has no ages");
        check("kind = \"age_number\"", &ageless, "this data has no ages");
        check("kind = \"age_bins\"\ncuts = [31]", &people, "`cuts` are 2 numbers");
        check("kind = \"age_number\"\nbeside = false\ncuts = [1, 2, 3]", &people, "2 numbers");
        check("kind = \"age_bins\"\noldest = 40", &people, "`oldest` is at least 60");
        check("kind = \"age_bins\"\ncuts = [30, 61]", &people, "`oldest` is at least 61");
    }
}
