//! No gradient clipping.

use candle::Result;
use models::Param;
use ops::Gradients;
use serde::{Deserialize, Serialize};

use super::Clip;

/// `clip = { kind = "none" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Off {}

impl Clip for Off {
    fn clip(&self, _: &mut Gradients, _: &[&Param], _: usize) -> Result<()> {
        Ok(())
    }

    fn on_card(&self) -> gpu::update::Clip {
        gpu::update::Clip::Off
    }

    fn problem(&self) -> Option<String> {
        None
    }
}
