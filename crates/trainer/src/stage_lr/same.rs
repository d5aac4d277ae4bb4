//! The same learning rate for all stages.

use serde::{Deserialize, Serialize};

use super::StageLr;

/// `stage_lr = { kind = "same" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Same {}

impl StageLr for Same {
    fn scales(&self, stages: &[&str]) -> Result<Vec<f64>, String> {
        Ok(vec![1.0; stages.len()])
    }
}
