//! Any schedule, begun anew after every cycle of the same length.
//!
//! Each cycle has its own clock: it starts at 0, and the cycle's length is that of the run. The end of the run
//! may cut the last cycle short.
//!
//! Equals re-creating PyTorch's scheduler, with the optimizer's initial rate, every so many epochs. SGDR
//! (Loshchilov & Hutter, 2016, <https://arxiv.org/abs/1608.03983>), whose cycles may become longer and lower,
//! is `cosine_restarts`.

use base::{Clock, Length};
use serde::{Deserialize, Serialize};

use super::{Rates, Schedule, ScheduleConfig, cosine::Cosine};

/// The schedules of a whole run, which cannot be begun anew.
const WHOLE: [&str; 3] = ["fine_tune", "plateau", "restart"];

/// `[schedule] kind = "restart"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restart {
    /// The length of a cycle.
    pub every: Length,
    /// The schedule of each cycle.
    pub schedule: Box<ScheduleConfig>,
}

impl Default for Restart {
    /// Cosine annealing in the cycles that `cosine_restarts` has by default.
    fn default() -> Restart {
        let schedule = Box::new(ScheduleConfig::Cosine(Cosine::default()));
        Restart { every: Length::Epochs(10.0), schedule }
    }
}

impl Schedule for Restart {
    fn at(&self, clock: &Clock) -> Rates {
        self.schedule.get().at(clock)
    }

    fn every(&self) -> Option<Length> {
        Some(self.every)
    }

    fn problem(&self) -> Option<String> {
        if self.every.is_none() {
            return Some("`every` is longer than 0".to_owned());
        }
        let kind = self.schedule.kind();
        if WHOLE.contains(&kind) {
            let others = ScheduleConfig::KINDS.iter().map(|it| it.0);
            let others: Vec<_> =
                others.filter(|it| !WHOLE.contains(it)).map(|it| format!("`{it}`")).collect();
            return Some(format!(
                "`schedule`: `{kind}` depends on the whole run and cannot be begun anew, expected one of {}",
                others.join(", ")
            ));
        }
        self.schedule.get().problem().map(|it| format!("`schedule`: {it}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Restart, WHOLE};
    use crate::schedule::Schedule as _;

    #[test]
    fn schedules_that_depend_on_the_whole_run_are_refused() {
        let problem = |text: &str| toml::from_str::<Restart>(text).unwrap().problem();
        assert_eq!(problem(""), None);
        assert!(problem("every = '0 steps'").unwrap().contains("`every`"));
        for kind in WHOLE {
            let problem = problem(&format!("schedule = {{ kind = '{kind}' }}")).unwrap();
            assert!(problem.starts_with(&format!("`schedule`: `{kind}` depends")), "{problem}");
            assert!(
                problem.contains("`cosine`") && !problem.contains("of `fine_tune`"),
                "{problem}"
            );
        }
        let nested = problem("schedule = { kind = 'cosine', floor = 2.0 }").unwrap();
        assert!(nested.starts_with("`schedule`: `floor`"), "{nested}");
    }
}
