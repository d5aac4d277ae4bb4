//! A given multiple for each stage.

use serde::{Deserialize, Serialize};

use super::StageLr;

/// `stage_lr = { kind = "given" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Given {
    /// The multiple of each stage, in order.
    pub values: Vec<f64>,
}

impl StageLr for Given {
    fn scales(&self, stages: &[&str]) -> Result<Vec<f64>, String> {
        match self.values.len() == stages.len() {
            true => Ok(self.values.clone()),
            false => Err(format!(
                "`values` has {} items, but there are {} stages: {}",
                self.values.len(),
                stages.len(),
                stages.join(", ")
            )),
        }
    }

    fn problem(&self) -> Option<String> {
        let is_rate = |it: &f64| *it >= 0.0 && it.is_finite();
        let wrong = self.values.iter().find(|it| !is_rate(it));
        wrong.map(|it| format!("`values` are 0 or more, not {it}"))
    }
}
