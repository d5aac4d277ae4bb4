//! Adaptive gradient clipping (AGC): the gradient norm of each row is limited by the norm of its weights.
//!
//! For a row with weights w and gradient g, where ‖g‖ > m = clip_factor · max(‖w‖, eps): g ← g · m / ‖g‖. A
//! one-dimensional parameter is one row. The head is not clipped, as in the paper.
//!
//! Brock et al., "High-Performance Large-Scale Image Recognition Without Normalization", 2021,
//! <https://arxiv.org/abs/2102.06171>, with timm's defaults.

use candle::{Result, Tensor};
use models::{Kind, Param};
use ops::Gradients;
use serde::{Deserialize, Serialize};

use super::{Clip, norms, positive};
use crate::rows::{Rows, read};

/// `clip = { kind = "adaptive" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adaptive {
    /// The maximum ratio of a gradient's norm to its weights' norm.
    pub clip_factor: f64,
    /// The minimum norm of weights, so that weights initialised to 0 can be trained.
    pub eps: f64,
}

impl Default for Adaptive {
    fn default() -> Adaptive {
        Adaptive { clip_factor: 0.01, eps: 1e-3 }
    }
}

/// The minimum norm that gradients are divided by.
const SMALLEST: f64 = 1e-6;

impl Clip for Adaptive {
    fn clip(&self, gradients: &mut Gradients, params: &[&Param], head: usize) -> Result<()> {
        for param in params.iter().filter(|it| it.stage < head) {
            let rows = match param.kind {
                Kind::Vector | Kind::Norm | Kind::Buffer => Rows::whole(),
                Kind::Matrix | Kind::Dense | Kind::Depthwise => Rows::of(param),
            };
            let weights = read(param.var.as_tensor(), |xs| norms(rows, xs))?;
            gradients.change(&param.var, |grad| {
                let mut xs = read(grad, <[f32]>::to_vec)?;
                let factors: Vec<f32> = norms(rows, &xs)
                    .into_iter()
                    .zip(&weights)
                    .map(|(norm, weight)| {
                        let max_norm = self.clip_factor * weight.max(self.eps);
                        if norm < max_norm { 1.0 } else { (max_norm / norm.max(SMALLEST)) as f32 }
                    })
                    .collect();
                rows.visit(xs.len(), |row, idx| xs[idx] *= factors[row]);
                Tensor::from_vec(xs, grad.dims(), grad.device())
            })?;
        }
        Ok(())
    }

    fn on_card(&self) -> gpu::update::Clip {
        let Adaptive { clip_factor, eps } = *self;
        gpu::update::Clip::Adaptive { clip_factor, eps }
    }

    fn problem(&self) -> Option<String> {
        positive("clip_factor", self.clip_factor).or_else(|| positive("eps", self.eps))
    }
}
