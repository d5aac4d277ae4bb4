//! The learning rate as a function of the clock. One file a curve.
//!
//! A schedule has no state: a resumed run asks the same question and gets the same answer.

mod constant;
mod cosine;
mod exponential;
mod step;

use base::Clock;

base::choice! {
    /// The `[schedule]` section of a config.
    pub enum ScheduleConfig: dyn Schedule {
        /// Half a cosine wave down to `floor`.
        "cosine" => Cosine(cosine::Cosine),
        /// The same rate throughout.
        "constant" => Constant(constant::Constant),
        /// Times `gamma` every `epochs` epochs.
        "step" => Step(step::Step),
        /// Times `gamma` every epoch.
        "exponential" => Exponential(exponential::Exponential),
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
    /// The rates at a step; the clock starts at the end of the warm-up.
    fn at(&self, clock: &Clock) -> Rates;

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String> {
        None
    }
}

impl ScheduleConfig {
    /// The rates at a step of the whole run; until `warm` they rise evenly to the curve's beginning.
    pub fn rates(&self, clock: &Clock, warm: &Clock) -> Rates {
        let rates = self.get().at(&clock.since(warm));
        match clock.step < warm.step {
            true => Rates { lr: rates.lr * (clock.step + 1) as f64 / warm.step as f64, ..rates },
            false => rates,
        }
    }
}

/// What is wrong with a factor, if anything is.
fn factor_problem(name: &str, value: f64) -> Option<String> {
    (!(value > 0.0 && value <= 1.0))
        .then(|| format!("`{name}` is above 0 and at most 1, not {value}"))
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
            let lr = schedule.rates(&at(step), &at(4)).lr;
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
