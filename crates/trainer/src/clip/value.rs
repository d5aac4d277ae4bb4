//! Clamps each gradient element to [-`limit`, `limit`], as PyTorch's `clip_grad_value_` does.

use candle::Result;
use models::Param;
use ops::Gradients;
use serde::{Deserialize, Serialize};

use super::{Clip, positive};

/// `clip = { kind = "value" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Value {
    /// The maximum absolute value.
    pub limit: f64,
}

impl Default for Value {
    fn default() -> Value {
        Value { limit: 1.0 }
    }
}

impl Clip for Value {
    fn clip(&self, gradients: &mut Gradients, params: &[&Param], _: usize) -> Result<()> {
        for param in params {
            gradients.change(&param.var, |it| it.clamp(-self.limit, self.limit))?;
        }
        Ok(())
    }

    fn on_card(&self) -> gpu::update::Clip {
        gpu::update::Clip::Value(self.limit as f32)
    }

    fn problem(&self) -> Option<String> {
        positive("limit", self.limit)
    }
}
