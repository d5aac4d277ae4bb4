//! No calibration: the probabilities as they are.

use serde::{Deserialize, Serialize};

use crate::{Calibration, CalibrationConfig, HeldOut};

/// `{ kind = "none" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Off {}

impl Calibration for Off {
    fn apply(&self, probabilities: &[f64]) -> Vec<f64> {
        probabilities.to_vec()
    }

    fn problem(&self, _: usize) -> Option<String> {
        None
    }

    fn fit(&self, _: &HeldOut) -> CalibrationConfig {
        CalibrationConfig::Off(Off {})
    }
}
