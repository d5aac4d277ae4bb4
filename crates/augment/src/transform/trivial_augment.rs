//! TrivialAugment: applies one operation chosen from fourteen, at a random magnitude.
//!
//! Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", 2021,
//! <https://arxiv.org/abs/2103.10158>. torchvision's `TrivialAugmentWide`, except that shears,
//! translations and rotations are bilinear.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Transform,
    policy::{Space, apply, bins_problem},
};
use crate::{Border, Canvas, OpError};

/// `kind = "trivial_augment"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrivialAugment {
    /// The number of magnitudes.
    pub num_magnitude_bins: usize,
    /// How pixels outside of the image are filled.
    pub border: Border,
}

impl Default for TrivialAugment {
    /// torchvision's defaults.
    fn default() -> TrivialAugment {
        TrivialAugment { num_magnitude_bins: 31, border: Border::default() }
    }
}

/// The wide augmentation space: the same for images of any size.
const WIDE: Space =
    Space { shear: 0.99, translate: [32.0; 2], rotate: 135.0, enhance: 0.99, posterize: 6.0 };

impl Transform for TrivialAugment {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        apply(WIDE.sample(None, self.num_magnitude_bins, rng), self.border, canvas)
    }

    fn is_random(&self) -> bool {
        true
    }

    fn problem(&self) -> Option<String> {
        bins_problem(self.num_magnitude_bins)
    }
}

#[cfg(test)]
mod tests {
    use super::WIDE;
    use crate::transform::policy::tests::check_space;

    #[test]
    fn magnitudes_agree_with_torchvision() {
        check_space("trivial_augment", |_| WIDE);
    }
}
