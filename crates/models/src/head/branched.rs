//! One branch per factor: a copy of the last convolution stage, and layers as in `factored`.
//!
//! The factors share the early stages; the last stage is specific to each.
//! Every copy starts from the stage's published weights where there are any.
//!
//! Branches of a shared trunk: Caruana, "Multitask Learning", 1997; a write-up of the competition copied
//! the last stage of its network for each factor.

use base::Task;
use candle::Result;
use ops::{Activation, Output, Pass, Value};
use serde::{Deserialize, Serialize};

use super::{
    BuiltHead, Head, HeadInput, Tap,
    output_spec::{OutputSpec, Shape},
};
use crate::{Layer, Stage, layers::LinearInit, params::Builder};

/// `[head] kind = "branched"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Branched {
    /// Dropout probability of the features and of each hidden layer's outputs, in 0..1.
    pub dropout: f64,
    /// Number of hidden layers of each factor.
    pub depth: usize,
    /// Width of each hidden layer.
    pub width: usize,
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// Initialisation of the linear layers.
    pub init: LinearInit,
}

impl Default for Branched {
    /// As `factored`.
    fn default() -> Branched {
        Branched {
            dropout: 0.2,
            depth: 0,
            width: 512,
            activation: Activation::Relu,
            init: LinearInit::Default,
        }
    }
}

impl Branched {
    fn shape(&self) -> Shape {
        let Branched { dropout, depth, width, activation, init } = *self;
        Shape { depth, width, dropout, activation, init }
    }
}

impl Head for Branched {
    fn build(
        &self,
        on: HeadInput<'_>,
        task: &Task,
        mut builder: Builder<'_>,
    ) -> Result<Box<dyn BuiltHead>> {
        let branch = |output: OutputSpec| {
            let mut place = builder.under(&output.name);
            let stage = |it: &Stage<'_>| -> Result<_> {
                Ok((it.name.clone(), it.build(place.under("branch"))?))
            };
            let stages = on.last.iter().map(stage).collect::<Result<_>>()?;
            let output = vec![output];
            let heads = self.shape().build(output, on.n_features, builder.here())?;
            Ok(Branch { stages, heads })
        };
        let branches = self.outputs(task)?.into_iter().map(branch).collect::<Result<_>>()?;
        Ok(Box::new(Built { branches }))
    }

    fn outputs(&self, task: &Task) -> Result<Vec<OutputSpec>> {
        Ok(OutputSpec::factors(task))
    }

    /// The last stage of feature maps, and the neck.
    fn n_copied(&self) -> usize {
        2
    }

    fn classifier(&self) -> Option<&'static str> {
        None
    }

    fn problem(&self) -> Option<String> {
        self.shape().problem()
    }
}

struct Branch {
    /// Each copied stage with its name.
    stages: Vec<(String, Box<dyn Layer>)>,
    heads: Box<dyn BuiltHead>,
}

struct Built {
    branches: Vec<Branch>,
}

impl BuiltHead for Built {
    fn outputs(&self, maps: &Value, pass: &Pass<'_>) -> Result<Vec<Output<Value>>> {
        self.outputs_tapped(maps, pass, &mut |_, ys| Ok(ys))
    }

    fn outputs_tapped(
        &self,
        maps: &Value,
        pass: &Pass<'_>,
        tap: &mut Tap<'_>,
    ) -> Result<Vec<Output<Value>>> {
        let mut outputs = Vec::new();
        for Branch { stages, heads } in &self.branches {
            let mut ys = maps.clone();
            for (name, stage) in stages {
                ys = tap(name, stage.forward(&ys, pass)?)?;
            }
            outputs.extend(heads.outputs(&ys, pass)?);
        }
        Ok(outputs)
    }
}
