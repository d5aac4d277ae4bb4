//! Mixup: blends two images and their labels.
//!
//! y = λ x + (1 - λ) x', λ ~ Beta(α, α).
//!
//! Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, <https://arxiv.org/abs/1710.09412>.
//! The settings cover the differences between the implementations in use; the default is the paper's:
//!
//! | | `alpha` | `per` | `partner` | `at_least_half` |
//! | --- | --- | --- | --- | --- |
//! | the authors' | 1 | batch | shuffled | false |
//! | fastai's | 0.4 | example | shuffled | true: λ ← max(λ, 1 - λ) |
//! | timm's | 1 | batch, pair or example (its `elem`) | flipped | false |
//! | λ uniform in 0.5..1 | 1 | example | shuffled | true |
//!
//! The last row follows from Beta(1, 1) being uniform in 0..1. With `partner = "any"`, the partner is an image
//! of the whole training set rather than of the batch. timm rejects odd batches; here the middle
//! image of an odd batch is mixed with itself.

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

/// `kind = "mixup"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixup {
    /// The probability of mixing.
    p: f64,
    /// α of Beta(α, α): below 1, λ is more often near 0 or 1; above, near 0.5.
    alpha: f64,
    /// Whether λ is at least 0.5, so that a row's own image has the larger weight.
    at_least_half: bool,
    /// Whether λ, and whether to mix, is sampled per batch, pair or example.
    per: Per,
    /// The partner whose image is mixed in.
    partner: Partner,
    /// The length of training after which it is no longer applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Length>,
}

impl Default for Mixup {
    /// The authors' settings for CIFAR-10.
    fn default() -> Mixup {
        Mixup {
            p: 1.0,
            alpha: 1.0,
            at_least_half: false,
            per: Per::Batch,
            partner: Partner::Shuffled,
            until: None,
        }
    }
}

impl Mixup {
    fn pairing(&self) -> Pairing {
        Pairing { p: self.p, per: self.per, partner: self.partner }
    }
}

impl MixOp for Mixup {
    fn apply(&self, plan: &mut MixPlan, pool: &[usize], rng: &mut Rng) {
        let beta = Beta::new(self.alpha, self.alpha).expect("`alpha` was validated by `problem`");
        let pairs = self.pairing().sample(plan, pool, rng, |rng| rng.sample(beta));
        for (row, image, lambda) in pairs {
            let lambda = if self.at_least_half { lambda.max(1.0 - lambda) } else { lambda };
            let area = Area::whole(plan.size);
            plan.overlay(row, Layer { image, area, from: [0, 0], share: 1.0 - lambda });
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
