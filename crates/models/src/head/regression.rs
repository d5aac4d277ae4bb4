//! Regression of a number, such as an age: auxiliary to its ranges, or instead of them.
//!
//! y = scale x + center, by default 10 x + 40, so that ages of 18 to 60 are x of -2.2 to 2; the loss is
//! `weight` times the squared error. The factors are predicted as in `factored`: with `auxiliary`, the
//! predictions are theirs, and the number only adds a loss term; without, the level is that of the number,
//! cut into ranges.
//!
//! The competition's first write-up (001) adds 0.001 times the squared error of the age to the loss
//! of the classes, and reports terrible results without that factor.

use base::Task;
use candle::{Result, bail};
use ops::{Activation, Form};
use serde::{Deserialize, Serialize};

use super::{
    BuiltHead, Head, HeadInput, cuts_problem, number_of,
    output_spec::{OutputSpec, Shape},
    positive_problem,
};
use crate::{layers::LinearInit, params::Builder};

/// `[head] kind = "regression"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Regression {
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
    /// The numeric factor whose number is predicted; empty for the only one.
    pub factor: String,
    /// The number at x = 0: near the mean of the data's.
    pub center: f64,
    /// The number per unit of x: near the standard deviation of the data's.
    pub scale: f64,
    /// Whether the number is an auxiliary output: the factor is predicted by its ranges as well, and these
    /// are the prediction.
    pub auxiliary: bool,
    /// The weight of the squared error in the loss.
    pub weight: f64,
    /// The numbers at which levels begin where the number is the prediction; empty for those of the metric.
    pub cuts: Vec<f64>,
}

impl Default for Regression {
    /// EfficientNet-B0's and Lite0's dropout (B3 0.3, B4 0.4; a write-up of the competition has 0.7),
    /// and no hidden layers. Center and scale for the ages of adults. The write-up's weight.
    fn default() -> Regression {
        Regression {
            dropout: 0.2,
            depth: 0,
            width: 512,
            activation: Activation::Relu,
            init: LinearInit::Default,
            factor: String::new(),
            center: 40.0,
            scale: 10.0,
            auxiliary: true,
            weight: 0.001,
            cuts: Vec::new(),
        }
    }
}

impl Regression {
    fn shape(&self) -> Shape {
        let Regression { dropout, depth, width, activation, init, .. } = *self;
        Shape { depth, width, dropout, activation, init }
    }
}

impl Head for Regression {
    fn build(
        &self,
        on: HeadInput<'_>,
        task: &Task,
        builder: Builder<'_>,
    ) -> Result<Box<dyn BuiltHead>> {
        self.shape().build(self.outputs(task)?, on.n_features, builder)
    }

    fn outputs(&self, task: &Task) -> Result<Vec<OutputSpec>> {
        let (factor, cuts) = match number_of(task, &self.factor, &self.cuts) {
            Ok(it) => it,
            Err(misfit) => bail!("{misfit}"),
        };
        let mut outputs = OutputSpec::factors(task);
        let number = OutputSpec {
            name: format!("{}_number", task.factors[factor].name),
            scope: outputs[factor].scope,
            form: Form::Number {
                scale: self.scale,
                center: self.center,
                cuts: (!self.auxiliary).then_some(cuts),
            },
            weight: self.weight,
            n_out: 1,
        };
        match self.auxiliary {
            true => outputs.push(number),
            false => outputs[factor] = number,
        }
        Ok(outputs)
    }

    fn classifier(&self) -> Option<&'static str> {
        None
    }

    fn problem(&self) -> Option<String> {
        let center = (!self.center.is_finite())
            .then(|| format!("`center` is a finite number, not {}", self.center));
        let scale = positive_problem("scale", self.scale);
        let weight = positive_problem("weight", self.weight);
        let unused = (self.auxiliary && !self.cuts.is_empty()).then(|| {
            "`cuts` apply only where the number is the prediction: set `auxiliary = false`, or leave \
             them empty"
                .to_owned()
        });
        let numbers = center.or(scale).or(weight);
        self.shape().problem().or(numbers).or(unused).or_else(|| cuts_problem(&self.cuts))
    }

    fn misfit(&self, task: &Task) -> Option<String> {
        number_of(task, &self.factor, &self.cuts).err()
    }

    fn needs_numbers(&self) -> bool {
        true
    }
}
