//! One classifier over the joint classes: softmax over all of them.

use base::Task;
use candle::Result;
use ops::Activation;
use serde::{Deserialize, Serialize};

use super::{
    BuiltHead, Head, HeadInput,
    output_spec::{OutputSpec, Shape},
};
use crate::{layers::LinearInit, params::Builder};

/// `[head] kind = "joint"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Joint {
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

impl Default for Joint {
    /// EfficientNet-B0's and Lite0's dropout (B3 0.3, B4 0.4; a write-up of the competition has 0.7),
    /// and no hidden layers.
    fn default() -> Joint {
        Joint {
            dropout: 0.2,
            depth: 0,
            width: 512,
            activation: Activation::Relu,
            init: LinearInit::Default,
        }
    }
}

impl Joint {
    fn shape(&self) -> Shape {
        let Joint { dropout, depth, width, activation, init } = *self;
        Shape { depth, width, dropout, activation, init }
    }
}

impl Head for Joint {
    fn build(
        &self,
        on: HeadInput<'_>,
        task: &Task,
        builder: Builder<'_>,
    ) -> Result<Box<dyn BuiltHead>> {
        self.shape().build(self.outputs(task)?, on.n_features, builder)
    }

    fn outputs(&self, task: &Task) -> Result<Vec<OutputSpec>> {
        Ok(vec![OutputSpec::joint(task)])
    }

    fn classifier(&self) -> Option<&'static str> {
        self.shape().only("joint")
    }

    fn problem(&self) -> Option<String> {
        self.shape().problem()
    }
}
