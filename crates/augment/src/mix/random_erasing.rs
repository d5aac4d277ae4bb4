//! Random erasing: a rectangle hidden, and the label stays.
//!
//! With probability p, for each row: an area uniform in a range of shares of the image, and
//! height / width = eᵘ with u uniform between ln a and -ln a. What does not fit is drawn again, ten
//! times at most. It is done after normalisation and after all mixing, wherever in the list it stands.
//!
//! Zhong et al., "Random Erasing Data Augmentation", 2017, <https://arxiv.org/abs/1708.04896>, as timm
//! does it (with one rectangle), with its defaults; `fill` has the names of its `mode`.

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
    /// The probability of each row.
    p: f64,
    /// The least and the most that is hidden, as shares of the image.
    area: [f64; 2],
    /// The flattest rectangle's height / width; the steepest has the reciprocal.
    aspect: f64,
    /// What hides it.
    fill: Hiding,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Length>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Hiding {
    /// The mean colour, 0.
    Const,
    /// One random colour, normally distributed.
    Rand,
    /// A random colour for each pixel.
    Pixel,
}

impl Default for RandomErasing {
    /// timm's.
    fn default() -> RandomErasing {
        RandomErasing {
            p: 0.5,
            area: [0.02, 1.0 / 3.0],
            aspect: 0.3,
            fill: Hiding::Const,
            until: None,
        }
    }
}

/// A rectangle of an image of `size` with a share within `area` and the logarithm of height / width
/// within `steepness`, if one in ten fits.
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
                Hiding::Const => Fill::Colour([0.0; 3]),
                Hiding::Rand => Fill::Colour(std::array::from_fn(|_| normal())),
                Hiding::Pixel => Fill::Pixels((0..area.n_pixels() * 3).map(|_| normal()).collect()),
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
                "`area` is the least and the most that is hidden, shares above 0 and up to 1, not {:?}",
                self.area
            ));
        }
        if !(0.0 < self.aspect && self.aspect <= 1.0) {
            return Some(format!(
                "`aspect` is the flattest rectangle's height / width, above 0 and up to 1, not {}",
                self.aspect
            ));
        }
        probability_problem(self.p)
    }
}

/// Height and width of a rectangle of an image's share and with height / width = `aspect`, unless it
/// is as high or as wide as the image of `size`.
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
    fn sides_are_timms() {
        for case in Golden::read("mixing").at("erased").list() {
            let got = sides(case.to("size"), case.to("share"), case.to("aspect"));
            assert_eq!(got, case.to("sides"), "{case:?}");
        }
    }
}
