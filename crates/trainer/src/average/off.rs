//! No averaging: the trained weights themselves are evaluated and saved.

use base::Epochs;
use serde::{Deserialize, Serialize};

use super::Rule;

/// `[average] kind = "none"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Off {}

impl Rule for Off {
    fn share(&self, _: usize, _: &Epochs, _: u64) -> Option<f64> {
        None
    }

    fn problem(&self) -> Option<String> {
        None
    }
}
