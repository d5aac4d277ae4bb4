//! An exponential moving average of weights and of batch-norm statistics.
//!
//! average ← d · average + (1 - d) · weights, where after n updates d is `decay`, or with warm-up
//! min(decay, 1 - (1 + n / gamma)^-power); the first update copies the weights.
//!
//! Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", 1992, in the form of
//! timm's `ModelEmaV3`, whose defaults these are.

use base::Epochs;
use serde::{Deserialize, Serialize};

use super::Rule;

/// `[average] kind = "ema"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ema {
    /// The decay d of the average at an update.
    pub decay: f64,
    /// Whether the decay is smaller at the beginning.
    pub warmup: bool,
    /// The inverse multiplicative factor of the warm-up: larger is longer.
    pub gamma: f64,
    /// The exponent of the warm-up: 2/3 suits runs of a million steps, 3/4 runs of a hundred thousand.
    pub power: f64,
    /// The number of steps between updates.
    pub every: usize,
}

impl Default for Ema {
    /// timm's defaults, with warm-up: without it, a short run's average would remain its initial weights.
    fn default() -> Ema {
        Ema { decay: 0.9998, warmup: true, gamma: 1.0, power: 2.0 / 3.0, every: 1 }
    }
}

impl Ema {
    fn decay_after(&self, n_before: u64) -> f64 {
        let n = n_before as f64;
        match (n_before, self.warmup) {
            (0, _) => 0.0,
            (_, true) => self.decay.min(1.0 - (1.0 + n / self.gamma).powf(-self.power)),
            (_, false) => self.decay,
        }
    }
}

impl Rule for Ema {
    fn share(&self, step: usize, _: &Epochs, n_before: u64) -> Option<f64> {
        step.is_multiple_of(self.every).then(|| 1.0 - self.decay_after(n_before))
    }

    fn problem(&self) -> Option<String> {
        if !(0.0..1.0).contains(&self.decay) {
            return Some(format!("`decay` is from 0 to below 1, not {}", self.decay));
        }
        for (name, value) in [("gamma", self.gamma), ("power", self.power)] {
            if !(value > 0.0 && value.is_finite()) {
                return Some(format!("`{name}` is above 0, not {value}"));
            }
        }
        (self.every == 0).then(|| "`every` is at least 1".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::Ema;

    /// `ModelEmaV3(..., use_warmup=True).get_decay(step)` of timm 1.0.31 at steps 1, 2, 3, 11, 101 and
    /// 10,001, which are our updates 0, 1, 2, 10, 100 and 10,000; with its defaults except for the decay.
    #[test]
    fn the_warm_up_matches_timm() {
        let ema = Ema::default();
        let wants = [
            (0, 0.0),
            (1, 0.370_039_475_052_563_4),
            (2, 0.519_250_143_230_863_8),
            (10, 0.797_819_991_766_425_8),
            (100, 0.953_890_994_972_239_3),
            (10_000, 0.997_845_708_926_979_4),
        ];
        for (n, want) in wants {
            let got = ema.decay_after(n);
            assert!((got - want).abs() < 1e-12, "{n}: {got}, not {want}");
        }
        assert_eq!(ema.decay_after(10_000_000), 0.9998);
    }
}
