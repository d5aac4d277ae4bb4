//! Regression of the age in years: auxiliary to its ranges, or instead of them.
//!
//! years = 10 x + 40, so that ages of 18 to 60 are x of -2.2 to 2; the loss is `weight` times the
//! squared error in years. The factors are predicted as in `factored`: with `auxiliary`, the predictions
//! are theirs, and the number only adds a loss term; without, the age is the number, cut into ranges.
//!
//! The competition's first write-up (001) adds 0.001 times the squared error of the age to the loss
//! of the classes, and reports terrible results without that factor.

use base::Task;
use candle::{Result, bail};
use ops::{Activation, Form};
use serde::{Deserialize, Serialize};

use super::{
    BuiltHead, Head, HeadInput, cuts_problem,
    output_spec::{OutputSpec, Shape},
    positive_problem, years_of,
};
use crate::{layers::LinearInit, params::Builder};

/// `[head] kind = "age_number"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgeNumber {
    /// Dropout probability of the features and of each hidden layer's outputs, in 0..1.
    pub dropout: f64,
    /// Number of hidden layers of each output.
    pub depth: usize,
    /// Width of each hidden layer.
    pub width: usize,
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// Initialisation of the layers.
    pub init: LinearInit,
    /// Whether the number is an auxiliary output: the age is predicted by its ranges as well, and these
    /// are the prediction.
    pub auxiliary: bool,
    /// The weight of the squared error in years in the loss.
    pub weight: f64,
    /// The ages at which levels begin where the years are the prediction; empty for those of the metric.
    pub cuts: Vec<f64>,
}

impl Default for AgeNumber {
    /// EfficientNet-B0's and Lite0's dropout (B3 0.3, B4 0.4; a write-up of the competition has 0.7),
    /// and no hidden layers. The write-up's weight.
    fn default() -> AgeNumber {
        AgeNumber {
            dropout: 0.2,
            depth: 0,
            width: 512,
            activation: Activation::Relu,
            init: LinearInit::Default,
            auxiliary: true,
            weight: 0.001,
            cuts: Vec::new(),
        }
    }
}

impl AgeNumber {
    fn shape(&self) -> Shape {
        let AgeNumber { dropout, depth, width, activation, init, .. } = *self;
        Shape { depth, width, dropout, activation, init }
    }
}

impl Head for AgeNumber {
    fn build(
        &self,
        on: HeadInput<'_>,
        task: &Task,
        builder: Builder<'_>,
    ) -> Result<Box<dyn BuiltHead>> {
        self.shape().build(self.outputs(task)?, on.n_features, builder)
    }

    fn outputs(&self, task: &Task) -> Result<Vec<OutputSpec>> {
        let (ranged, cuts) = match years_of(task, &self.cuts) {
            Ok(it) => it,
            Err(misfit) => bail!("{misfit}"),
        };
        let mut outputs = OutputSpec::factors(task);
        let years = OutputSpec {
            name: format!("{}_number", task.factors[ranged].name),
            scope: outputs[ranged].scope,
            form: Form::Number {
                scale: 10.0,
                shift: 40.0,
                cuts: (!self.auxiliary).then_some(cuts),
            },
            weight: self.weight,
            n_out: 1,
        };
        match self.auxiliary {
            true => outputs.push(years),
            false => outputs[ranged] = years,
        }
        Ok(outputs)
    }

    fn classifier(&self) -> Option<&'static str> {
        None
    }

    fn problem(&self) -> Option<String> {
        let weight = positive_problem("weight", self.weight);
        let unused = (self.auxiliary && !self.cuts.is_empty()).then(|| {
            "`cuts` apply only where the years are the prediction: set `auxiliary = false`, or leave \
             them empty"
                .to_owned()
        });
        self.shape().problem().or(weight).or(unused).or_else(|| cuts_problem(&self.cuts))
    }

    fn misfit(&self, task: &Task) -> Option<String> {
        years_of(task, &self.cuts).err()
    }

    fn needs_ages(&self) -> bool {
        true
    }
}
