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

/// A narrower interval has no width: its limits differ by the rounding of sums.
const NO_WIDTH: f64 = 1e-9;

impl Estimate {
    /// Whether all resamples have the same score, as they may with few groups: such an interval says nothing about
    /// other groups.
    pub fn has_no_spread(&self) -> bool {
        self.low.zip(self.high).is_some_and(|(low, high)| high - low < NO_WIDTH)
    }

    /// Returns a number without an interval.
    pub fn of(value: f64) -> Estimate {
        Estimate { value: defined(value), low: None, high: None }
    }
}

/// Returns a number, unless it is NaN or infinite.
pub fn defined(x: f64) -> Option<f64> {
    Some(x).filter(|it| it.is_finite())
}
