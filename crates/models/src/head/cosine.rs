//! Cosine similarity between the features and a weight vector of each class.
//!
//! The outputs are ŵ · x̂ with x̂ = x / ‖x‖ and ŵ = w / ‖w‖, and the logits are `scale` times that: the norms
//! of the features and of the weight vectors have no effect, and there is no bias.
//!
//! Wang et al., "NormFace", 2017, <https://arxiv.org/abs/1704.06369>; the same in ArcFace (Deng et
//! al., 2018) and LDAM (Cao et al., 2019). Their margins depend on the true class, and so belong to the
//! loss, not to the head: at inference there is none.

use base::Task;
use candle::{Result, Var};
use ops::{Form, Output, Pass, Value};
use serde::{Deserialize, Serialize};

use super::{BuiltHead, Head, HeadInput, OutputSpec, dropout_problem, positive_problem};
use crate::{
    layers::LinearInit,
    params::{Builder, Kind},
};

/// `[head] kind = "cosine"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosine {
    /// The factor from cosines to logits: the softmax of cosines alone is never confident.
    pub scale: f64,
    /// Whether the classes are the joint ones, or the levels of each factor.
    pub by: CosineClasses,
    /// Dropout probability of the features, in 0..1.
    pub dropout: f64,
}

/// The classes of a cosine head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CosineClasses {
    /// The joint classes.
    Joint,
    /// The levels of each factor.
    Factor,
}

impl Default for Cosine {
    /// The scale of LDAM's code, and of the usual PyTorch port of ArcFace (its paper has 64);
    /// EfficientNet-B0's dropout.
    fn default() -> Cosine {
        Cosine { scale: 30.0, by: CosineClasses::Joint, dropout: 0.2 }
    }
}

impl Head for Cosine {
    fn build(
        &self,
        on: HeadInput<'_>,
        task: &Task,
        mut builder: Builder<'_>,
    ) -> Result<Box<dyn BuiltHead>> {
        let name = builder.path_of("dropout");
        let weight = |output: OutputSpec| {
            // Only the directions matter, and they are uniform in the code of ArcFace and of LDAM.
            let [init, _] = LinearInit::Xavier.of(on.n_features, output.n_out);
            let mut builder = builder.under(&output.name);
            let dims = [output.n_out, on.n_features];
            let weight = builder.param("weight", Kind::Matrix, &dims, init)?;
            Ok((output, weight))
        };
        let weights = self.outputs(task)?.into_iter().map(weight).collect::<Result<_>>()?;
        Ok(Box::new(Built { weights, dropout: self.dropout, name }))
    }

    fn outputs(&self, task: &Task) -> Result<Vec<OutputSpec>> {
        let outputs = match self.by {
            CosineClasses::Joint => vec![OutputSpec::joint(task)],
            CosineClasses::Factor => OutputSpec::factors(task),
        };
        let form = || Form::Cosines { scale: self.scale };
        Ok(outputs.into_iter().map(|it| OutputSpec { form: form(), ..it }).collect())
    }

    fn classifier(&self) -> Option<&'static str> {
        None
    }

    fn problem(&self) -> Option<String> {
        dropout_problem(self.dropout).or_else(|| positive_problem("scale", self.scale))
    }
}

struct Built {
    weights: Vec<(OutputSpec, Var)>,
    dropout: f64,
    name: String,
}

impl BuiltHead for Built {
    fn outputs(&self, features: &Value, pass: &Pass<'_>) -> Result<Vec<Output<Value>>> {
        let features = ops::dropout(features, self.dropout, pass, &self.name)?;
        let features = ops::l2_normalise(&features, 1.0)?;
        let output = |(output, weight): &(OutputSpec, Var)| {
            let weight = ops::l2_normalise(&pass.param(weight), 1.0)?;
            let cosines = ops::linear(&features, &weight, None, None)?;
            Ok(Output::new(output.scope, output.form.clone(), cosines))
        };
        self.weights.iter().map(output).collect()
    }
}
