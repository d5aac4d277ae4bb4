//! One output for each joint class.

use base::{Task, task::Scope};
use candle::Result;
use ops::{Pass, Value};
use serde::{Deserialize, Serialize};

use super::{Head, Heads, dropout_problem};
use crate::{layers::Linear, params::Builder};

/// `[head] kind = "joint"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Joint {
    /// The share of features dropped in training, in 0..1.
    pub dropout: f64,
}

impl Default for Joint {
    /// EfficientNet-B0's and Lite0's (B3 0.3, B4 0.4).
    fn default() -> Joint {
        Joint { dropout: 0.2 }
    }
}

impl Head for Joint {
    fn build(
        &self,
        n_features: usize,
        task: &Task,
        mut builder: Builder<'_>,
    ) -> Result<Box<dyn Heads>> {
        let name = builder.path_of("dropout");
        let linear = Linear::new(builder.under("joint"), n_features, task.n_classes())?;
        Ok(Box::new(Built { linear, dropout: self.dropout, name }))
    }

    fn classifier(&self) -> Option<&'static str> {
        Some("joint")
    }

    fn problem(&self) -> Option<String> {
        dropout_problem(self.dropout)
    }
}

struct Built {
    linear: Linear,
    dropout: f64,
    name: String,
}

impl Heads for Built {
    fn logits(&self, features: &Value, pass: &Pass<'_>) -> Result<Vec<(Scope, Value)>> {
        let features = ops::dropout(features, self.dropout, pass, &self.name)?;
        Ok(vec![(Scope::Joint, self.linear.forward(&features, pass)?)])
    }
}
