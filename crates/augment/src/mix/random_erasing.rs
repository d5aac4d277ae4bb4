//! Random erasing: erases a rectangle; the label stays.
//!
//! With probability p, for each row: the area is uniform in a range of fractions of the image, and
//! height / width = eᵘ with u uniform between ln a and -ln a. A rectangle that does not fit is sampled again,
//! at most ten times. It is applied after normalisation and after all mixing, wherever it is in the list.
//!
//! Zhong et al., "Random Erasing Data Augmentation", 2017, <https://arxiv.org/abs/1708.04896>, as in timm
//! (with one rectangle), with its defaults; the values of `fill` are those of timm's `mode`.

use base::{
    Length, Rng,
    mix::{Area, Erased, Fill},
};
use rand::Rng as _;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::{MixOp, MixPlan, pairing::probability_problem};

/// `kind = "random_erasing"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomErasing {
    /// The probability for each row.
    p: f64,
    /// The minimum and maximum erased area, as fractions of the image.
    area: [f64; 2],
    /// The minimum height / width; the maximum is its reciprocal.
    aspect: f64,
    /// The content of the erased rectangle.
    fill: FillMode,
    /// The length of training after which it is no longer applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Length>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FillMode {
    /// The mean colour, 0.
    Const,
    /// One random colour, normally distributed.
    Rand,
    /// A random colour for each pixel.
    Pixel,
}

impl Default for RandomErasing {
    /// timm's defaults.
    fn default() -> RandomErasing {
        RandomErasing {
            p: 0.5,
            area: [0.02, 1.0 / 3.0],
            aspect: 0.3,
            fill: FillMode::Const,
            until: None,
        }
    }
}

/// Samples a rectangle of an image of `size` with an area fraction within `area` and a logarithm of
/// height / width within `steepness`; `None` if none of ten fits.
pub(crate) fn rectangle(
    size: [usize; 2],
    area: [f64; 2],
    steepness: [f64; 2],
    rng: &mut Rng,
) -> Option<Area> {
    let [height, width] = (0..10).find_map(|_| {
        let share = rng.random_range(area[0]..=area[1]);
        sides(size, share, rng.random_range(steepness[0]..=steepness[1]).exp())
    })?;
    let top = rng.random_range(0..=size[0] - height);
    let left = rng.random_range(0..=size[1] - width);
    Some(Area { top, left, height, width })
}

impl MixOp for RandomErasing {
    fn apply(&self, plan: &mut MixPlan, _: &[usize], rng: &mut Rng) {
        for row in &mut plan.rows {
            if rng.random::<f64>() >= self.p {
                continue;
            }
            let widest = -self.aspect.ln();
            let Some(area) = rectangle(plan.size, self.area, [-widest, widest], rng) else {
                continue;
            };
            let mut normal = || rng.sample::<f64, _>(StandardNormal) as f32;
            let fill = match self.fill {
                FillMode::Const => Fill::Colour([0.0; 3]),
                FillMode::Rand => Fill::Colour(std::array::from_fn(|_| normal())),
                FillMode::Pixel => {
                    Fill::Pixels((0..area.n_pixels() * 3).map(|_| normal()).collect())
                }
            };
            row.erased.push(Erased { area, fill });
        }
    }

    fn until(&self) -> Option<Length> {
        self.until
    }

    fn problem(&self) -> Option<String> {
        let [least, most] = self.area;
        if !(0.0 < least && least <= most && most <= 1.0) {
            return Some(format!(
                "`area` must be [minimum, maximum] fractions of the image, in (0, 1], not {:?}",
                self.area
            ));
        }
        if !(0.0 < self.aspect && self.aspect <= 1.0) {
            return Some(format!(
                "`aspect` must be the minimum height / width, above 0 and at most 1, not {}",
                self.aspect
            ));
        }
        probability_problem(self.p)
    }
}

/// The height and width of a rectangle with the area fraction `share` and height / width = `aspect`; `None`
/// if it is as high or as wide as the image of `size`.
fn sides(size: [usize; 2], share: f64, aspect: f64) -> Option<[usize; 2]> {
    let area = share * (size[0] * size[1]) as f64;
    let sides = [area * aspect, area / aspect].map(|it| it.sqrt().round_ties_even() as usize);
    (sides[0] < size[0] && sides[1] < size[1]).then_some(sides)
}

#[cfg(test)]
mod tests {
    use testkit::Golden;

    use super::sides;

    #[test]
    fn sides_are_as_in_timm() {
        for case in Golden::read("mixing").at("erased").list() {
            let got = sides(case.to("size"), case.to("share"), case.to("aspect"));
            assert_eq!(got, case.to("sides"), "{case:?}");
        }
    }
}
