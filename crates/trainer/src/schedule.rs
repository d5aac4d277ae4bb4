//! The learning rate as a function of the clock. One file a curve.
//!
//! A schedule has no state: a resumed run asks the same question and gets the same answer. One that goes by
//! how well it went is told what the evaluations came to, from the first to the last.

mod constant;
mod cosine;
mod cosine_restarts;
mod exponential;
mod fine_tune;
mod flat_cosine;
mod multi_step;
mod one_cycle;
mod plateau;
mod polynomial;
mod step;

use std::f64::consts::PI;

use base::{Clock, Length};

base::choice! {
    /// The `[schedule]` section of a config.
    pub enum ScheduleConfig: dyn Schedule {
        /// Half a cosine wave down to `floor`.
        "cosine" => Cosine(cosine::Cosine),
        /// The same rate throughout.
        "constant" => Constant(constant::Constant),
        /// Times `gamma` every `epochs` epochs.
        "step" => Step(step::Step),
        /// Times `gamma` after each of the epochs `milestones`.
        "multi_step" => MultiStep(multi_step::MultiStep),
        /// Times `gamma` every epoch.
        "exponential" => Exponential(exponential::Exponential),
        /// What is left of the run, to the power of `power`.
        "polynomial" => Polynomial(polynomial::Polynomial),
        /// Half a cosine wave after the other, each perhaps longer and lower (SGDR).
        "cosine_restarts" => CosineRestarts(cosine_restarts::CosineRestarts),
        /// The same rate for most of the run, then half a cosine wave down (fastai's fit_flat_cos).
        "flat_cosine" => FlatCosine(flat_cosine::FlatCosine),
        /// Up and down in one cosine wave, while momentum goes down and up; by PyTorch or by fastai.
        "one_cycle" => OneCycle(one_cycle::OneCycle),
        /// The head alone for a while, then all stages, the first of them slowest (fastai's fine_tune).
        "fine_tune" => FineTune(fine_tune::FineTune),
        /// Times `factor` when evaluations are no better any more.
        "plateau" => Plateau(plateau::Plateau),
    }
}

/// What an optimizer is told for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// The learning rate, as a share of the optimizer's own.
    pub lr: f64,
    /// What takes the place of the optimizer's momentum, or first beta, where the schedule has a say.
    pub momentum: Option<f64>,
    /// What the first stage learns at, as a share of what the head does; those between are spaced
    /// evenly by factors. 1: all alike.
    pub slice: f64,
}

impl Rates {
    /// A learning rate alone.
    pub fn of(lr: f64) -> Rates {
        Rates { lr, momentum: None, slice: 1.0 }
    }
}

/// A curve of rates over a run.
pub trait Schedule {
    /// The rates at a step; the clock starts at the end of the warm-up, and of the rest if there is one.
    fn at(&self, clock: &Clock) -> Rates;

    /// How long the backbone rests after the warm-up, and the head learns alone.
    fn frozen(&self) -> Option<Length> {
        None
    }

    /// The rates meanwhile; the clock is of that time alone.
    fn while_frozen(&self, clock: &Clock) -> Rates {
        self.at(clock)
    }

    /// The share of the rates that evaluations leave, given what those so far came to.
    fn left(&self, _scores: &[f64], _more_is_better: bool) -> f64 {
        1.0
    }

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String> {
        None
    }
}

impl ScheduleConfig {
    /// The rates at a step of the whole run, as far as they are known ahead.
    ///
    /// - `warm`: the end of the warm-up; until then they rise evenly to the curve's beginning.
    /// - `awake`: when the backbone begins to learn, not before `warm`.
    pub fn rates(&self, clock: &Clock, warm: &Clock, unfreezes: &Clock) -> Rates {
        let rates = match clock.step < unfreezes.step {
            true => {
                let total = unfreezes.step.saturating_sub(warm.step).max(1);
                self.get().while_frozen(&Clock { total, ..clock.since(warm) })
            }
            false => self.get().at(&clock.since(unfreezes)),
        };
        match clock.step < warm.step {
            true => Rates { lr: rates.lr * (clock.step + 1) as f64 / warm.step as f64, ..rates },
            false => rates,
        }
    }
}

/// Half a cosine wave between two numbers.
///
/// - `share`: how much of the way is done, from 0 to 1.
fn half_wave(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (0.5 * (1.0 + (PI * share.clamp(0.0, 1.0)).cos()))
}

/// What is wrong with a factor, if anything is.
fn factor_problem(name: &str, value: f64) -> Option<String> {
    (!(value > 0.0 && value <= 1.0))
        .then(|| format!("`{name}` is above 0 and at most 1, not {value}"))
}

/// What is wrong with the end of a curve, if anything is.
fn floor_problem(floor: f64) -> Option<String> {
    (!(0.0..=1.0).contains(&floor)).then(|| format!("`floor` is a share of the peak, not {floor}"))
}

/// What is wrong with a share of the run at which something begins, if anything is.
fn share_problem(name: &str, value: f64) -> Option<String> {
    (!(value > 0.0 && value < 1.0))
        .then(|| format!("`{name}` is a share of the run between 0 and 1, not {value}"))
}

/// What is wrong with a number that the peak is divided by, if anything is.
fn divisor_problem(name: &str, value: f64) -> Option<String> {
    (!(value >= 1.0 && value.is_finite()))
        .then(|| format!("`{name}` divides the peak, and is at least 1, not {value}"))
}

#[cfg(test)]
mod tests {
    use base::Clock;
    use expect_test::expect;

    use super::ScheduleConfig;

    #[test]
    fn a_warmup_leads_into_the_curve() {
        let schedule = ScheduleConfig::default();
        let at = |step| Clock { step, total: 12, epoch: step as f64 / 4.0 };
        let mut sketch = String::new();
        for step in 0..=12 {
            let lr = schedule.rates(&at(step), &at(4), &at(4)).lr;
            let bar = "#".repeat((lr * 20.0).round() as usize);
            sketch += format!("{step:2} {lr:.3} {bar}").trim_end();
            sketch += "\n";
        }
        expect![[r#"
             0 0.250 #####
             1 0.500 ##########
             2 0.750 ###############
             3 1.000 ####################
             4 1.000 ####################
             5 0.962 ###################
             6 0.854 #################
             7 0.691 ##############
             8 0.500 ##########
             9 0.309 ######
            10 0.146 ###
            11 0.038 #
            12 0.000
        "#]]
        .assert_eq(&sketch);
    }
}
