//! RandAugment: applies several operations in sequence, each chosen from fourteen, all of one magnitude.
//!
//! Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space",
//! 2019, <https://arxiv.org/abs/1909.13719>. torchvision's implementation, with its defaults, except that
//! shears, translations and rotations are bilinear.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Transform,
    policy::{Space, apply, bins_problem},
};
use crate::{Border, Canvas, OpError};

/// `kind = "rand_augment"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandAugment {
    /// The number of operations.
    pub num_ops: usize,
    /// The magnitude: below `num_magnitude_bins`.
    pub magnitude: usize,
    /// The number of magnitudes.
    pub num_magnitude_bins: usize,
    /// How pixels outside of the image are filled.
    pub border: Border,
}

impl Default for RandAugment {
    /// torchvision's defaults.
    fn default() -> RandAugment {
        RandAugment { num_ops: 2, magnitude: 9, num_magnitude_bins: 31, border: Border::default() }
    }
}

impl Transform for RandAugment {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let space = space(canvas.size());
        for _ in 0..self.num_ops {
            let change = space.sample(Some(self.magnitude), self.num_magnitude_bins, rng);
            apply(change, self.border, canvas)?;
        }
        Ok(())
    }

    fn is_random(&self) -> bool {
        self.num_ops > 0
    }

    fn problem(&self) -> Option<String> {
        if self.num_ops > 100 {
            return Some(format!("`num_ops` must be at most 100, not {}", self.num_ops));
        }
        bins_problem(self.num_magnitude_bins).or_else(|| {
            (self.magnitude >= self.num_magnitude_bins).then(|| {
                format!(
                    "`magnitude` must be below `num_magnitude_bins = {}`, not {}",
                    self.num_magnitude_bins, self.magnitude
                )
            })
        })
    }
}

/// The augmentation space for an image of `[height, width]`.
fn space([h, w]: [usize; 2]) -> Space {
    Space {
        shear: 0.3,
        translate: [w, h].map(|it| 150.0 / 331.0 * it as f64),
        rotate: 30.0,
        enhance: 0.9,
        posterize: 4.0,
    }
}

#[cfg(test)]
mod tests {
    use super::space;
    use crate::transform::policy::tests::check_space;

    #[test]
    fn magnitudes_agree_with_torchvision() {
        check_space("rand_augment", space);
    }
}
