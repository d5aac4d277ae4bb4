//! A number, such as an age, as a distribution over whole numbers, which is cut into ranges at inference.
//!
//! q = softmax(x) over the numbers `min` to `max`, trained by cross-entropy with the labelled number
//! rounded down; the other factors as in `factored`. `ops/src/output.rs` documents how q becomes a level.
//!
//! Rothe et al., "DEX: Deep EXpectation of apparent age from a single image", 2015. A write-up of
//! the competition (003) improved from 0.6802 to 0.6995 macro F1 with the years 0 to 60, cut at 31 and 59
//! where the metric cuts at 30 and 60.

use base::Task;
use candle::{Result, bail};
use ops::{Activation, Decide, Form};
use serde::{Deserialize, Serialize};

use super::{
    BuiltHead, Head, HeadInput, cuts_problem, number_of,
    output_spec::{OutputSpec, Shape},
};
use crate::{layers::LinearInit, params::Builder};

/// `[head] kind = "bins"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bins {
    /// Dropout probability of the features and of each hidden layer's outputs, in 0..1.
    pub dropout: f64,
    /// Number of hidden layers of each factor.
    pub depth: usize,
    /// Width of each hidden layer.
    pub width: usize,
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// Initialisation of the layers.
    pub init: LinearInit,
    /// The numeric factor whose number is predicted; empty for the only one.
    pub factor: String,
    /// The first number, which stands for itself and all smaller ones.
    pub min: i64,
    /// The last number, which stands for itself and all greater ones.
    pub max: i64,
    /// How a distribution over numbers becomes a level.
    pub decide: Decide,
    /// The numbers at which levels begin at inference; empty for those of the metric.
    pub cuts: Vec<f64>,
}

impl Default for Bins {
    /// EfficientNet-B0's and Lite0's dropout (B3 0.3, B4 0.4; a write-up of the competition has 0.7),
    /// and no hidden layers. The competition's people are at most 60. The mass of a range is the prediction
    /// that minimises log loss.
    fn default() -> Bins {
        Bins {
            dropout: 0.2,
            depth: 0,
            width: 512,
            activation: Activation::Relu,
            init: LinearInit::Default,
            factor: String::new(),
            min: 0,
            max: 60,
            decide: Decide::Mass,
            cuts: Vec::new(),
        }
    }
}

/// The maximum of `max` - `min`.
const MOST: i128 = 1000;

impl Bins {
    fn shape(&self) -> Shape {
        let Bins { dropout, depth, width, activation, init, .. } = *self;
        Shape { depth, width, dropout, activation, init }
    }

    /// The factor whose number is predicted, and its cuts.
    fn number(&self, task: &Task) -> std::result::Result<(usize, Vec<f64>), String> {
        let (factor, cuts) = number_of(task, &self.factor, &self.cuts)?;
        let Bins { min, max, .. } = *self;
        let [first, last] = [cuts.first(), cuts.last()].map(|it| it.copied().unwrap_or(f64::NAN));
        if min as f64 >= first {
            return Err(format!("`min` is below {first}, where the first range ends, not {min}"));
        }
        if (max as f64) < last {
            return Err(format!(
                "`max` is at least {last}, where the last range begins, not {max}"
            ));
        }
        Ok((factor, cuts))
    }
}

impl Head for Bins {
    fn build(
        &self,
        on: HeadInput<'_>,
        task: &Task,
        builder: Builder<'_>,
    ) -> Result<Box<dyn BuiltHead>> {
        self.shape().build(self.outputs(task)?, on.n_features, builder)
    }

    fn outputs(&self, task: &Task) -> Result<Vec<OutputSpec>> {
        let (factor, cuts) = match self.number(task) {
            Ok(it) => it,
            Err(misfit) => bail!("{misfit}"),
        };
        let mut outputs = OutputSpec::factors(task);
        outputs[factor].form = Form::Bins { min: self.min, decide: self.decide, cuts };
        outputs[factor].n_out = self.min.abs_diff(self.max) as usize + 1;
        Ok(outputs)
    }

    fn classifier(&self) -> Option<&'static str> {
        None
    }

    fn problem(&self) -> Option<String> {
        let range = i128::from(self.max) - i128::from(self.min);
        let range = (!(1..=MOST).contains(&range))
            .then(|| format!("`max` - `min` is from 1 to {MOST}, not {range}"));
        self.shape().problem().or(range).or_else(|| cuts_problem(&self.cuts))
    }

    fn misfit(&self, task: &Task) -> Option<String> {
        self.number(task).err()
    }

    fn needs_numbers(&self) -> bool {
        true
    }
}
