//! One independent binary classifier per joint class.
//!
//! p_c = σ(x_c) / Σ_k σ(x_k); trained by binary cross-entropy, summed over the classes.
//!
//! Beyer et al., "Are we done with ImageNet?", 2020, <https://arxiv.org/abs/2006.07159>, train
//! single-label classifiers in this way: an image of two classes, mixed or mislabelled, costs less.
//! A published classifier is not loaded: its outputs mean something else.

use base::Task;
use candle::Result;
use ops::{Activation, Form};
use serde::{Deserialize, Serialize};

use super::{
    BuiltHead, Head, HeadInput,
    output_spec::{OutputSpec, Shape},
};
use crate::{layers::LinearInit, params::Builder};

/// `[head] kind = "sigmoid"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sigmoid {
    /// Dropout probability of the features and of each hidden layer's outputs, in 0..1.
    pub dropout: f64,
    /// Number of hidden layers.
    pub depth: usize,
    /// Width of each hidden layer.
    pub width: usize,
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// Initialisation of the layers.
    pub init: LinearInit,
}

impl Default for Sigmoid {
    /// EfficientNet-B0's and Lite0's dropout (B3 0.3, B4 0.4; a write-up of the competition has 0.7),
    /// and no hidden layers.
    fn default() -> Sigmoid {
        Sigmoid {
            dropout: 0.2,
            depth: 0,
            width: 512,
            activation: Activation::Relu,
            init: LinearInit::Default,
        }
    }
}

impl Sigmoid {
    fn shape(&self) -> Shape {
        let Sigmoid { dropout, depth, width, activation, init } = *self;
        Shape { depth, width, dropout, activation, init }
    }
}

impl Head for Sigmoid {
    fn build(
        &self,
        on: HeadInput<'_>,
        task: &Task,
        builder: Builder<'_>,
    ) -> Result<Box<dyn BuiltHead>> {
        self.shape().build(self.outputs(task)?, on.n_features, builder)
    }

    fn outputs(&self, task: &Task) -> Result<Vec<OutputSpec>> {
        Ok(vec![OutputSpec { form: Form::Independent, ..OutputSpec::joint(task) }])
    }

    fn classifier(&self) -> Option<&'static str> {
        None
    }

    fn problem(&self) -> Option<String> {
        self.shape().problem()
    }
}
