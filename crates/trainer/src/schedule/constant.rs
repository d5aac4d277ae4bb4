//! A constant learning rate.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule};

/// `[schedule] kind = "constant"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Constant {}

impl Schedule for Constant {
    fn at(&self, _: &Clock) -> Rates {
        Rates::of(1.0)
    }
}
