//! RandAugment: some changes one after the other, each drawn from fourteen, all of one magnitude.
//!
//! Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space",
//! 2019, <https://arxiv.org/abs/1909.13719>. torchvision's, with its defaults, but that shears,
//! translations and rotations are bilinear.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Transform,
    policy::{Space, bins_problem, make},
};
use crate::{Border, Canvas, OpError};

/// `kind = "rand_augment"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandAugment {
    /// How many changes.
    pub num_ops: usize,
    /// How strong they are: below `num_magnitude_bins`.
    pub magnitude: usize,
    /// How many magnitudes there are.
    pub num_magnitude_bins: usize,
    /// What is seen outside of the image.
    pub border: Border,
}

impl Default for RandAugment {
    /// torchvision's.
    fn default() -> RandAugment {
        RandAugment { num_ops: 2, magnitude: 9, num_magnitude_bins: 31, border: Border::default() }
    }
}

impl Transform for RandAugment {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let space = space(canvas.size());
        for _ in 0..self.num_ops {
            let change = space.draw(Some(self.magnitude), self.num_magnitude_bins, rng);
            make(change, self.border, canvas)?;
        }
        Ok(())
    }

    fn is_random(&self) -> bool {
        self.num_ops > 0
    }

    fn problem(&self) -> Option<String> {
        if self.num_ops > 100 {
            return Some(format!("`num_ops` is how many changes, up to 100, not {}", self.num_ops));
        }
        bins_problem(self.num_magnitude_bins).or_else(|| {
            (self.magnitude >= self.num_magnitude_bins).then(|| {
                format!(
                    "`magnitude` is below `num_magnitude_bins`, {}, not {}",
                    self.num_magnitude_bins, self.magnitude
                )
            })
        })
    }
}

/// The magnitudes for an image of `[height, width]`.
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
    fn magnitudes_are_those_of_torchvision() {
        check_space("rand_augment", space);
    }
}
