//! A number with its interval.

use metrics::Interval;
use serde::{Deserialize, Serialize};

/// A number with its 95 % confidence interval over groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The number; `None` if it is undefined.
    pub value: Option<f64>,
    /// The lower limit; `None` with a single group.
    pub low: Option<f64>,
    /// The upper limit.
    pub high: Option<f64>,
}

impl From<Interval> for Estimate {
    fn from(it: Interval) -> Estimate {
        let [value, low, high] = [it.value, it.low, it.high].map(defined);
        Estimate { value, low, high }
    }
}

impl Estimate {
    /// Returns a number without an interval.
    pub fn of(value: f64) -> Estimate {
        Estimate { value: defined(value), low: None, high: None }
    }
}

/// Returns a number, unless it is NaN or infinite.
pub fn defined(x: f64) -> Option<f64> {
    Some(x).filter(|it| it.is_finite())
}
