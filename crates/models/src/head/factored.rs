//! One linear layer for each factor: mask, gender and age are asked separately.

use base::{Task, task::Scope};
use candle::Result;
use ops::{Pass, Value};
use serde::{Deserialize, Serialize};

use super::{Head, Heads, dropout_problem};
use crate::{layers::Linear, params::Builder};

/// `[head] kind = "factored"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Factored {
    /// The share of features dropped in training, in 0..1; the same ones for all factors.
    pub dropout: f64,
}

impl Default for Factored {
    /// EfficientNet-B0's and Lite0's (B3 0.3, B4 0.4).
    fn default() -> Factored {
        Factored { dropout: 0.2 }
    }
}

impl Head for Factored {
    fn build(
        &self,
        n_features: usize,
        task: &Task,
        mut builder: Builder<'_>,
    ) -> Result<Box<dyn Heads>> {
        let name = builder.path_of("dropout");
        let linear = |(idx, factor): (usize, &base::task::Factor)| {
            let builder = builder.under(&factor.name);
            Ok((Scope::Factor(idx), Linear::new(builder, n_features, factor.levels.len())?))
        };
        let linears = task.factors.iter().enumerate().map(linear).collect::<Result<_>>()?;
        Ok(Box::new(Built { linears, dropout: self.dropout, name }))
    }

    fn classifier(&self) -> Option<&'static str> {
        None
    }

    fn problem(&self) -> Option<String> {
        dropout_problem(self.dropout)
    }
}

struct Built {
    linears: Vec<(Scope, Linear)>,
    dropout: f64,
    name: String,
}

impl Heads for Built {
    fn logits(&self, features: &Value, pass: &Pass<'_>) -> Result<Vec<(Scope, Value)>> {
        let features = ops::dropout(features, self.dropout, pass, &self.name)?;
        let logits =
            |(scope, linear): &(Scope, Linear)| Ok((*scope, linear.forward(&features, pass)?));
        self.linears.iter().map(logits).collect()
    }
}
