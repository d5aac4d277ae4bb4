//! TrivialAugment: one change drawn from fourteen, of any magnitude.
//!
//! Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", 2021,
//! <https://arxiv.org/abs/2103.10158>. torchvision's `TrivialAugmentWide`, but that shears,
//! translations and rotations are bilinear.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Transform,
    policy::{Space, bins_problem, make},
};
use crate::{Border, Canvas, OpError};

/// `kind = "trivial_augment"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrivialAugment {
    /// How many magnitudes there are.
    pub num_magnitude_bins: usize,
    /// What is seen outside of the image.
    pub border: Border,
}

impl Default for TrivialAugment {
    /// torchvision's.
    fn default() -> TrivialAugment {
        TrivialAugment { num_magnitude_bins: 31, border: Border::default() }
    }
}

/// The wide space: the same for images of any size.
const WIDE: Space =
    Space { shear: 0.99, translate: [32.0; 2], rotate: 135.0, enhance: 0.99, posterize: 6.0 };

impl Transform for TrivialAugment {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        make(WIDE.draw(None, self.num_magnitude_bins, rng), self.border, canvas)
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
    fn magnitudes_are_those_of_torchvision() {
        check_space("trivial_augment", |_| WIDE);
    }
}
