//! CutMix: pastes a rectangle of another image, and mixes the labels by area.
//!
//! λ ~ Beta(α, α); the rectangle has √(1 - λ) of each side, its centre is uniform in the image, and it is
//! clipped to the image. The label's λ is then corrected to the clipped area,
//! λ = 1 - area / (height · width).
//!
//! Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
//! Features", 2019, <https://arxiv.org/abs/1905.04899>, with timm's rounding: an odd side stays odd, where
//! the authors' code makes it one pixel shorter.
//! The authors mix a batch with the shuffled batch by one rectangle, in half of the batches or in all (`p`);
//! timm has `partner = "flipped"`, and mixes per batch, pair or example (its `elem`).

use base::{
    Length, Rng,
    mix::{Area, Layer},
};
use rand::Rng as _;
use rand_distr::Beta;
use serde::{Deserialize, Serialize};

use super::{
    Extras, MixOp, MixPlan,
    pairing::{Pairing, Partner, Per, alpha_problem},
};

/// `kind = "cutmix"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cutmix {
    /// The probability of mixing.
    p: f64,
    /// α of Beta(α, α).
    alpha: f64,
    /// Whether the rectangle, and whether to mix, is sampled per batch, pair or example.
    per: Per,
    /// The partner whose image is mixed in.
    partner: Partner,
    /// The length of training after which it is no longer applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Length>,
}

impl Default for Cutmix {
    /// The authors' settings for ImageNet.
    fn default() -> Cutmix {
        Cutmix { p: 1.0, alpha: 1.0, per: Per::Batch, partner: Partner::Shuffled, until: None }
    }
}

impl Cutmix {
    fn pairing(&self) -> Pairing {
        Pairing { p: self.p, per: self.per, partner: self.partner }
    }
}

impl MixOp for Cutmix {
    fn apply(&self, plan: &mut MixPlan, pool: &[usize], rng: &mut Rng) {
        let beta = Beta::new(self.alpha, self.alpha).expect("`alpha` was validated by `problem`");
        let size = plan.size;
        let pairs = self.pairing().sample(plan, pool, rng, |rng| {
            let lambda = rng.sample(beta);
            rectangle(size, lambda, size.map(|it| rng.random_range(0..it)))
        });
        for (row, image, area) in pairs {
            plan.overlay(row, Layer { image, area, from: [area.top, area.left], share: 1.0 });
        }
    }

    fn until(&self) -> Option<Length> {
        self.until
    }

    fn from(&self) -> Option<Extras<'_>> {
        self.pairing().from(None)
    }

    fn problem(&self) -> Option<String> {
        self.pairing().problem().or_else(|| alpha_problem(self.alpha))
    }
}

/// A rectangle with √(1 - λ) of each side of an image of `size`, around `centre`, clipped to the image.
fn rectangle(size: [usize; 2], lambda: f64, centre: [usize; 2]) -> Area {
    let ratio = (1.0 - lambda).sqrt();
    let [(top, height), (left, width)] = [0, 1].map(|axis| {
        let cut = (size[axis] as f64 * ratio) as usize;
        let begin = centre[axis].saturating_sub(cut / 2);
        let end = (centre[axis] + cut.div_ceil(2)).min(size[axis]);
        (begin, end - begin)
    });
    Area { top, left, height, width }
}

#[cfg(test)]
mod tests {
    use testkit::Golden;

    use super::rectangle;

    #[test]
    fn the_rectangle_is_as_in_timm() {
        for case in Golden::read("mixing").at("rectangles").list() {
            let (size, centre): ([usize; 2], [usize; 2]) = (case.to("size"), case.to("centre"));
            let area = rectangle(size, case.to("lambda"), centre);
            let [top, bottom, left, right]: [usize; 4] = case.to("edges");
            let edges = [area.top, area.top + area.height, area.left, area.left + area.width];
            assert_eq!(edges, [top, bottom, left, right], "{case:?}");
            let lambda = 1.0 - area.n_pixels() as f64 / (size[0] * size[1]) as f64;
            assert!((lambda - case.to::<f64>("corrected")).abs() < 1e-12, "{case:?}");
        }
    }
}
