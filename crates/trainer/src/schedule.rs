//! Learning-rate schedules: the learning rate as a function of the clock. One file per schedule.
//!
//! A schedule has no state, so a resumed run gets the same rates. One that depends on evaluation scores
//! receives all scores so far, from the first to the last.

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
mod restart;
mod step;

use std::f64::consts::PI;

use base::{Clock, Length};

base::choice! {
    /// The `[schedule]` section of a config.
    pub enum ScheduleConfig: dyn Schedule {
        /// Cosine annealing to `floor`.
        "cosine" => Cosine(cosine::Cosine),
        /// A constant learning rate.
        "constant" => Constant(constant::Constant),
        /// Multiplies the learning rate by `gamma` every `epochs` epochs.
        "step" => Step(step::Step),
        /// Multiplies the learning rate by `gamma` after each of the epochs `milestones`.
        "multi_step" => MultiStep(multi_step::MultiStep),
        /// Multiplies the learning rate by `gamma` every epoch.
        "exponential" => Exponential(exponential::Exponential),
        /// Polynomial decay: the remaining share of the run to the power `power`.
        "polynomial" => Polynomial(polynomial::Polynomial),
        /// Cosine annealing with warm restarts, each cycle optionally longer and lower (SGDR).
        "cosine_restarts" => CosineRestarts(cosine_restarts::CosineRestarts),
        /// Any schedule, begun anew every so many epochs.
        "restart" => Restart(restart::Restart),
        /// Constant for most of the run, then cosine annealing (fastai's fit_flat_cos).
        "flat_cosine" => FlatCosine(flat_cosine::FlatCosine),
        /// The 1cycle policy with cosine annealing, of momentum as well; PyTorch's or fastai's.
        "one_cycle" => OneCycle(one_cycle::OneCycle),
        /// Trains the head alone, then all stages at discriminative rates (fastai's fine_tune).
        "fine_tune" => FineTune(fine_tune::FineTune),
        /// Multiplies the learning rate by `factor` when evaluations stop improving.
        "plateau" => Plateau(plateau::Plateau),
    }
}

/// The rates that an optimizer uses in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// The learning rate, as a multiple of the optimizer's.
    pub lr: f64,
    /// Replaces the optimizer's momentum, or first beta, where the schedule sets it.
    pub momentum: Option<f64>,
    /// The first stage's learning rate as a share of the head's; the stages in between are geometrically
    /// spaced. 1: the same for all.
    pub slice: f64,
}

impl Rates {
    /// Creates rates with a learning rate only.
    pub fn of(lr: f64) -> Rates {
        Rates { lr, momentum: None, slice: 1.0 }
    }
}

/// The rates over the course of a run.
pub trait Schedule {
    /// Returns the rates at a step. The clock starts at the end of the warm-up, and of the frozen phase if
    /// there is one; or at the beginning of a cycle, and covers that cycle only.
    fn at(&self, clock: &Clock) -> Rates;

    /// Returns the length of its cycles, if it begins anew after each.
    fn every(&self) -> Option<Length> {
        None
    }

    /// Returns how long the backbone is frozen after the warm-up while only the head is trained.
    fn frozen(&self) -> Option<Length> {
        None
    }

    /// Returns the rates in the frozen phase; the clock covers that phase only.
    fn while_frozen(&self, clock: &Clock) -> Rates {
        self.at(clock)
    }

    /// Returns the factor that the evaluation scores so far apply to the rates.
    fn left(&self, _scores: &[f64], _more_is_better: bool) -> f64 {
        1.0
    }

    /// Returns the first invalid setting as a message, if there is one.
    fn problem(&self) -> Option<String> {
        None
    }
}

impl ScheduleConfig {
    /// Returns the rates at a step of the whole run, without the factor of the evaluation scores.
    ///
    /// - `warm`: the end of the warm-up, in which the learning rate rises linearly to the schedule's first
    ///   rate.
    /// - `unfreezes`: when the backbone starts to be trained, not before `warm`; or when the cycle begins, at
    ///   whose end the clock's run ends.
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

/// Returns the cosine interpolation between two numbers (half a wave).
///
/// - `share`: the progress, from 0 to 1.
fn half_wave(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (0.5 * (1.0 + (PI * share.clamp(0.0, 1.0)).cos()))
}

/// Validates a factor.
fn factor_problem(name: &str, value: f64) -> Option<String> {
    (!(value > 0.0 && value <= 1.0))
        .then(|| format!("`{name}` is above 0 and at most 1, not {value}"))
}

/// Validates the final rate of a curve.
fn floor_problem(floor: f64) -> Option<String> {
    (!(0.0..=1.0).contains(&floor)).then(|| format!("`floor` is a share of the peak, not {floor}"))
}

/// Validates a share of the run.
fn share_problem(name: &str, value: f64) -> Option<String> {
    (!(value > 0.0 && value < 1.0))
        .then(|| format!("`{name}` is a share of the run between 0 and 1, not {value}"))
}

/// Validates a divisor of the peak.
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
    fn warmup_leads_into_the_curve() {
        let schedule = ScheduleConfig::default();
        let at = |step| Clock { step, total: 12, epoch: step as f64 / 4.0 };
        let mut plot = String::new();
        for step in 0..=12 {
            let lr = schedule.rates(&at(step), &at(4), &at(4)).lr;
            let bar = "#".repeat((lr * 20.0).round() as usize);
            plot += format!("{step:2} {lr:.3} {bar}").trim_end();
            plot += "\n";
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
        .assert_eq(&plot);
    }
}
