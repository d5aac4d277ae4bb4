//! The age as a distribution over whole years, which is cut into ranges at inference.
//!
//! q = softmax(x) over the years 0 to `oldest`, trained by cross-entropy with the labelled year;
//! the other factors as in `factored`. `ops/src/output.rs` documents how q becomes a level.
//!
//! Rothe et al., "DEX: Deep EXpectation of apparent age from a single image", 2015. A write-up of
//! the competition (003) improved from 0.6802 to 0.6995 macro F1 with 61 years, cut at 31 and 59 where
//! the metric cuts at 30 and 60.

use base::Task;
use candle::{Result, bail};
use ops::{Activation, Decide, Form};
use serde::{Deserialize, Serialize};

use super::{
    BuiltHead, Head, HeadInput, cuts_problem,
    output_spec::{OutputSpec, Shape},
    years_of,
};
use crate::{layers::LinearInit, params::Builder};

/// `[head] kind = "age_bins"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgeBins {
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
    /// The last year, which stands for itself and all greater ages.
    pub oldest: usize,
    /// How a distribution over years becomes a level.
    pub decide: Decide,
    /// The ages at which levels begin at inference; empty for those of the metric.
    pub cuts: Vec<f64>,
}

impl Default for AgeBins {
    /// EfficientNet-B0's and Lite0's dropout (B3 0.3, B4 0.4; a write-up of the competition has 0.7),
    /// and no hidden layers. The competition's people are at most 60. The mass of a range is the prediction
    /// that minimises log loss.
    fn default() -> AgeBins {
        AgeBins {
            dropout: 0.2,
            depth: 0,
            width: 512,
            activation: Activation::Relu,
            init: LinearInit::Default,
            oldest: 60,
            decide: Decide::Mass,
            cuts: Vec::new(),
        }
    }
}

impl AgeBins {
    fn shape(&self) -> Shape {
        let AgeBins { dropout, depth, width, activation, init, .. } = *self;
        Shape { depth, width, dropout, activation, init }
    }

    /// The factor that is predicted in years, and its cuts.
    fn years(&self, task: &Task) -> std::result::Result<(usize, Vec<f64>), String> {
        let (ranged, cuts) = years_of(task, &self.cuts)?;
        let last = cuts.last().copied().unwrap_or(0.0);
        match self.oldest as f64 >= last {
            true => Ok((ranged, cuts)),
            false => Err(format!(
                "`oldest` is at least {last}, where the last range begins, not {}",
                self.oldest
            )),
        }
    }
}

impl Head for AgeBins {
    fn build(
        &self,
        on: HeadInput<'_>,
        task: &Task,
        builder: Builder<'_>,
    ) -> Result<Box<dyn BuiltHead>> {
        self.shape().build(self.outputs(task)?, on.n_features, builder)
    }

    fn outputs(&self, task: &Task) -> Result<Vec<OutputSpec>> {
        let (ranged, cuts) = match self.years(task) {
            Ok(it) => it,
            Err(misfit) => bail!("{misfit}"),
        };
        let mut outputs = OutputSpec::factors(task);
        outputs[ranged].form = Form::Bins { decide: self.decide, cuts };
        outputs[ranged].n_out = self.oldest + 1;
        Ok(outputs)
    }

    fn classifier(&self) -> Option<&'static str> {
        None
    }

    fn problem(&self) -> Option<String> {
        let is_year = (1..=1000).contains(&self.oldest);
        let oldest = (!is_year).then(|| format!("`oldest` is from 1 to 1000, not {}", self.oldest));
        self.shape().problem().or(oldest).or_else(|| cuts_problem(&self.cuts))
    }

    fn misfit(&self, task: &Task) -> Option<String> {
        self.years(task).err()
    }

    fn needs_ages(&self) -> bool {
        true
    }
}
