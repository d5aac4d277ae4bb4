//! Random gamma correction.
//!
//! y = 255 (x / 255)^g, truncated, with 100 g uniform in a range.
//!
//! albumentations' `RandomGamma`.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{
    Transform, range_problem,
    tables::{look_up, table},
};
use crate::{Canvas, Image, OpError};

/// `kind = "gamma"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gamma {
    /// The minimum and maximum exponent, in percent: below 100 brightens.
    pub limit: [f64; 2],
}

impl Default for Gamma {
    /// albumentations' defaults.
    fn default() -> Gamma {
        Gamma { limit: [80.0, 120.0] }
    }
}

impl Transform for Gamma {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let percent = rng.random_range(self.limit[0]..=self.limit[1]);
        change(canvas.pixels()?, percent / 100.0);
        Ok(())
    }

    fn is_random(&self) -> bool {
        self.limit[0] < self.limit[1]
    }

    fn problem(&self) -> Option<String> {
        range_problem("limit", "exponents in percent", self.limit, [1.0, 10_000.0])
    }
}

/// Raises every byte, as a fraction of 255, to a power.
fn change(image: &mut Image, gamma: f64) {
    // The identity, without any rounding.
    if gamma != 1.0 {
        look_up(image, &table(|x| ((f64::from(x) / 255.0).powf(gamma) * 255.0) as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn agrees_with_albumentations() {
        // albumentations accumulates 255ths, and truncates some of them.
        check_golden("gamma", 1, |case, image| change(image, case.to("gamma")));
    }
}
