//! Cross-entropy of distributions.
//!
//! CE(p, t) = -Σ_c t_c ln p_c with p = softmax(logits), summed over the heads: the negative
//! log-likelihood of the joint class where factors are answered independently.

use base::{Clock, Task};
use candle::{D, Result, Tensor};
use candle_nn::ops::log_softmax;
use ops::Logits;
use serde::{Deserialize, Serialize};

use crate::{Counts, Loss, LossKind, Penalty, Targets};

/// `[loss] kind = "cross_entropy"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrossEntropy {}

impl LossKind for CrossEntropy {
    fn bind(&self, _: &Task, _: &Counts) -> Box<dyn Loss> {
        Box::new(self.clone())
    }
}

impl Loss for CrossEntropy {
    fn judge(&self, logits: &Logits, targets: &Targets, _: &Clock) -> Result<Penalty> {
        let mut total: Option<Tensor> = None;
        for (scope, logits) in &logits.heads {
            let targets = targets.distribution(*scope)?;
            let loss = (targets * log_softmax(logits, D::Minus1)?)?.sum(D::Minus1)?.neg()?;
            total = Some(match total {
                Some(before) => (before + loss)?,
                None => loss,
            });
        }
        let weighted = total.expect("a network has at least one head");
        Ok(Penalty::PerExample { weighted, norm: targets.n_rows() as f64 })
    }
}
