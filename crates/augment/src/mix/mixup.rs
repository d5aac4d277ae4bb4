//! Mixup: two images blended, and their labels with them.
//!
//! y = λ x + (1 - λ) x', λ ~ Beta(α, α).
//!
//! Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, <https://arxiv.org/abs/1710.09412>.
//! The settings stand for what differs between the code that is in use; the default is the paper's:
//!
//! | | `alpha` | `per` | `partner` | `at_least_half` |
//! | --- | --- | --- | --- | --- |
//! | the authors' | 1 | batch | shuffled | false |
//! | fastai's | 0.4 | example | shuffled | true: λ ← max(λ, 1 - λ) |
//! | timm's | 1 | batch, pair or example (its `elem`) | flipped | false |
//! | λ uniform in 0.5..1 | 1 | example | shuffled | true |
//!
//! The last because Beta(1, 1) is uniform in 0..1. timm refuses odd batches; here the middle image
//! of one is mixed with itself.

use base::{
    Length, Rng,
    mix::{Area, Layer},
};
use rand::Rng as _;
use rand_distr::Beta;
use serde::{Deserialize, Serialize};

use super::{
    MixOp, MixPlan,
    pairing::{Pairing, Partner, Per, alpha_problem},
};

/// `kind = "mixup"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixup {
    /// The probability to be mixed.
    p: f64,
    /// Of Beta(α, α): below 1 λ is near 0 or 1 more often, above near a half.
    alpha: f64,
    /// Whether a row is its own image for the larger part.
    at_least_half: bool,
    /// For whom λ is drawn, and whether to mix.
    per: Per,
    /// Whose image is mixed in.
    partner: Partner,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Length>,
}

impl Default for Mixup {
    /// The authors' for CIFAR-10.
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
    fn apply(&self, plan: &mut MixPlan, _: &[usize], rng: &mut Rng) {
        let beta = Beta::new(self.alpha, self.alpha).expect("`problem` has looked at `alpha`");
        let pairs = self.pairing().draw(plan, rng, |rng| rng.sample(beta));
        for (row, image, lambda) in pairs {
            let lambda = if self.at_least_half { lambda.max(1.0 - lambda) } else { lambda };
            let area = Area::whole(plan.size);
            plan.lay(row, Layer { image, area, from: [0, 0], share: 1.0 - lambda });
        }
    }

    fn until(&self) -> Option<Length> {
        self.until
    }

    fn problem(&self) -> Option<String> {
        self.pairing().problem().or_else(|| alpha_problem(self.alpha))
    }
}
