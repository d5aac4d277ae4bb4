//! Phases: the parts of a run, each with its own length, settings and training images.
//!
//! A phase continues with the weights that the phase before it ends with. Everything else begins anew: its
//! lengths and epochs are counted from its beginning, and so are the schedule, the optimizer's state, the
//! average and the best evaluation. A run without phases is one phase.

use base::Length;
use serde::{Deserialize, Serialize};

use crate::{freeze::Freeze, schedule::ScheduleConfig, sizes::Size};

/// One item of `[[phase]]`. A setting that is left out is the run's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseSection {
    /// Its name, for `restore`.
    pub name: String,
    /// Its length, in place of `train.total`. The last phase may have no steps if it restores layers.
    pub total: Length,
    /// In place of `train.warmup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Length>,
    /// In place of `train.batch_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// In place of `train.sizes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<Vec<Size>>,
    /// In place of `train.freeze`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Vec<Freeze>>,
    /// In place of `optim.lr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// In place of `[schedule]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleConfig>,
    /// Whether it continues with the optimizer's state, rather than an empty one.
    #[serde(default)]
    pub keep_optimizer: bool,
    /// The images that it is trained on.
    #[serde(default)]
    pub data: TrainOn,
    /// Layers that begin with their weights of an earlier phase.
    #[serde(default)]
    pub restore: Vec<Restore>,
}

/// The images that a phase is trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainOn {
    /// The training set.
    #[default]
    Train,
    /// The training and the validation set: from then on scores are meaningless, and the last evaluation
    /// counts as the best.
    All,
}

/// One item of `restore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// `head`, `backbone`, `norm` (every norm of the backbone), a stage such as `stem`, or several, such as
    /// `stem..stage3`.
    pub layers: String,
    /// The name of the phase whose weights they get.
    pub phase: String,
    /// When in that phase.
    #[serde(default)]
    pub at: Moment,
}

/// A moment of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Its best evaluation.
    #[default]
    Best,
    /// Its end.
    End,
}

impl PhaseSection {
    /// Creates a phase with the settings of the run.
    pub(crate) fn new(name: &str, total: Length) -> PhaseSection {
        PhaseSection {
            name: name.to_owned(),
            total,
            warmup: None,
            batch_size: None,
            sizes: None,
            freeze: None,
            lr: None,
            schedule: None,
            keep_optimizer: false,
            data: TrainOn::Train,
            restore: Vec::new(),
        }
    }

    /// Returns the name of a setting as the user wrote it, from the run's setting that it takes the place of; `None`
    /// for one that the phase does not set.
    ///
    /// - `idx`: the position of the phase.
    pub(crate) fn setting(&self, idx: usize, of_run: &str) -> Option<String> {
        let names = [
            ("train.total", "total", true),
            ("train.warmup", "warmup", self.warmup.is_some()),
            ("train.batch_size", "batch_size", self.batch_size.is_some()),
            ("train.sizes", "sizes", self.sizes.is_some()),
            ("train.freeze", "freeze", self.freeze.is_some()),
            ("optim", "lr", self.lr.is_some()),
            ("schedule", "schedule", self.schedule.is_some()),
            ("restore", "restore", true),
        ];
        names.iter().filter(|it| it.2).find_map(|(replaced, name, _)| {
            let rest = of_run.strip_prefix(replaced)?;
            (rest.is_empty() || rest.starts_with('[')).then(|| format!("phase[{idx}].{name}{rest}"))
        })
    }

    /// Returns a message on the phase's settings that names the setting of the phase, or else the phase.
    ///
    /// - `idx`: its position.
    pub(crate) fn located(&self, idx: usize, message: &str) -> String {
        let parts = message.strip_prefix("at `").and_then(|it| it.split_once('`'));
        match parts.and_then(|(of_run, rest)| Some((self.setting(idx, of_run)?, rest))) {
            Some((setting, rest)) => format!("at `{setting}`{rest}"),
            None => format!("in phase `{}`: {message}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Length;

    use super::PhaseSection;

    #[test]
    fn a_setting_is_named_as_it_was_written() {
        let section = PhaseSection {
            freeze: Some(Vec::new()),
            ..PhaseSection::new("a", Length::Epochs(1.0))
        };
        let of = |name: &str| section.setting(2, name);
        assert_eq!(of("train.freeze[0]").as_deref(), Some("phase[2].freeze[0]"));
        assert_eq!(of("train.total").as_deref(), Some("phase[2].total"));
        // The run sets these.
        assert_eq!([of("train.warmup"), of("train.sizes[1]"), of("optim")], [None, None, None]);
        let message = "at `train.freeze[0]`: `stem` is never frozen";
        let located = section.located(2, message);
        assert_eq!(located, "at `phase[2].freeze[0]`: `stem` is never frozen");
        let other = "at `train.warmup`: is too long";
        assert_eq!(section.located(2, other), format!("in phase `a`: {other}"));
    }
}
