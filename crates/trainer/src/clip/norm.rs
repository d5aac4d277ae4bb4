//! Clips the norm of all gradients together to `max_norm`.
//!
//! g ← g · min(1, max_norm / (‖g‖₂ + 1e-6)), with the norm over all parameters together.
//!
//! Pascanu et al., "On the difficulty of training recurrent neural networks", 2013,
//! <https://arxiv.org/abs/1211.5063>, as in PyTorch's `clip_grad_norm_`; the norm is summed in f64.

use candle::Result;
use models::Param;
use ops::Gradients;
use serde::{Deserialize, Serialize};

use super::{Clip, positive};
use crate::rows::{Rows, read};

/// `clip = { kind = "norm" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Norm {
    /// The maximum norm.
    pub max_norm: f64,
}

impl Default for Norm {
    /// The usual value.
    fn default() -> Norm {
        Norm { max_norm: 1.0 }
    }
}

impl Clip for Norm {
    fn clip(&self, gradients: &mut Gradients, params: &[&Param], _: usize) -> Result<()> {
        let mut sum = 0.0;
        for param in params {
            if let Some(it) = gradients.get(&param.var) {
                sum += read(it, |xs| Rows::whole().sums(xs, xs, |x, y| x * y)[0])?;
            }
        }
        let factor = self.max_norm / (sum.sqrt() + 1e-6);
        if factor < 1.0 {
            for param in params {
                gradients.change(&param.var, |it| it * factor)?;
            }
        }
        Ok(())
    }

    fn on_card(&self) -> gpu::update::Clip {
        gpu::update::Clip::Norm(self.max_norm)
    }

    fn problem(&self) -> Option<String> {
        positive("max_norm", self.max_norm)
    }
}
