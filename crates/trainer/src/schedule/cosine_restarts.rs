//! Cosine annealing with warm restarts, each cycle optionally longer and lower.
//!
//! In the i-th cycle, t of its T = `cycle` · `mult`ⁱ epochs in:
//! floor + (decayⁱ - floor) (1 + cos(π t / T)) / 2, updated every step.
//!
//! Loshchilov & Hutter, "SGDR", 2016, <https://arxiv.org/abs/1608.03983>; `mult` is PyTorch's `T_mult` and
//! timm's `cycle_mul`, `decay` is timm's `cycle_decay`. Unlike there, no peak is below the floor.

use base::Clock;
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, factor_problem, floor_problem, half_wave};

/// `[schedule] kind = "cosine_restarts"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosineRestarts {
    /// The length of the first cycle, in epochs.
    pub cycle: f64,
    /// The ratio of each cycle's length to the previous one's.
    pub mult: f64,
    /// The factor from one cycle's peak to the next.
    pub decay: f64,
    /// The final rate of each cycle, as a share of the first peak.
    pub floor: f64,
}

impl Default for CosineRestarts {
    /// The cycle of the competition's 2021 winner; the other defaults are PyTorch's and timm's.
    fn default() -> CosineRestarts {
        CosineRestarts { cycle: 10.0, mult: 1.0, decay: 1.0, floor: 0.0 }
    }
}

/// Above the rounding error of a sum of epochs, and below one step of any epoch.
const ROUNDING: f64 = 1e-9;

impl CosineRestarts {
    /// Returns how many cycles are complete after `epoch` epochs, and the completed share of the next one.
    fn find(&self, epoch: f64) -> (f64, f64) {
        let cycles = epoch / self.cycle + ROUNDING;
        // The first i cycles are (multⁱ - 1) / (mult - 1) times as long as the first.
        let (idx, before) = match self.mult > 1.0 {
            true => {
                let idx = (1.0 + cycles * (self.mult - 1.0)).log(self.mult).floor();
                (idx, (self.mult.powf(idx) - 1.0) / (self.mult - 1.0))
            }
            false => (cycles.floor(), cycles.floor()),
        };
        (idx, (cycles - ROUNDING - before) / self.mult.powf(idx))
    }
}

impl Schedule for CosineRestarts {
    fn at(&self, clock: &Clock) -> Rates {
        let (idx, share) = self.find(clock.epoch);
        let peak = self.decay.powf(idx).max(self.floor);
        Rates::of(half_wave(peak, self.floor, share))
    }

    fn problem(&self) -> Option<String> {
        let is_cycle = (0.01..=1e6).contains(&self.cycle);
        let cycle = (!is_cycle)
            .then(|| format!("`cycle` is a number of epochs from 0.01 to 1e6, not {}", self.cycle));
        let is_mult = (1.0..=1e6).contains(&self.mult);
        let mult = (!is_mult).then(|| format!("`mult` is at least 1, not {}", self.mult));
        cycle
            .or(mult)
            .or_else(|| factor_problem("decay", self.decay))
            .or_else(|| floor_problem(self.floor))
    }
}

#[cfg(test)]
mod tests {
    use super::CosineRestarts;

    #[test]
    fn a_cycle_ends_where_the_next_begins() {
        // Cycles of 2, 4 and 8 epochs end after 2, 6 and 14; of 0.1 epochs, after each tenth.
        let doubling = CosineRestarts { cycle: 2.0, mult: 2.0, ..CosineRestarts::default() };
        let found = [0.0, 1.0, 2.0, 5.0, 6.0, 10.0, 14.0].map(|it| doubling.find(it));
        let want =
            [(0.0, 0.0), (0.0, 0.5), (1.0, 0.0), (1.0, 0.75), (2.0, 0.0), (2.0, 0.5), (3.0, 0.0)];
        for (found, want) in found.iter().zip(want) {
            assert!(
                found.0 == want.0 && (found.1 - want.1).abs() < 1e-8,
                "{found:?}, not {want:?}"
            );
        }
        let short = CosineRestarts { cycle: 0.1, ..CosineRestarts::default() };
        for step in 0..100 {
            let (idx, share) = short.find(4.3 + f64::from(step) / 10.0);
            assert!(idx == f64::from(43 + step) && share.abs() < 1e-6, "{step}: {idx}, {share}");
        }
    }
}
