//! The scores that weights can be fitted by.

use metrics::{LogLoss, MacroF1, Metric};
use serde::{Deserialize, Serialize};

/// The score that is fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The lowest log loss, which has one minimum on the simplex.
    #[default]
    LogLoss,
    /// The greatest macro F1.
    MacroF1,
}

impl By {
    /// Returns the metric.
    pub fn metric(self) -> &'static dyn Metric {
        match self {
            By::LogLoss => &LogLoss::DEFAULT,
            By::MacroF1 => &MacroF1::DEFAULT,
        }
    }
}
