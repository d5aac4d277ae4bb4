//! What a run was trained on: a device, and the type of activations there.
//!
//! The settings are what was asked for: with `device = "auto"`, `amp` has no effect where there is no card. So
//! `report.toml` has `ran_on`, what the steps ran on, in order: one entry, and more where a run was resumed on another
//! device, or where folds ran on several.

use std::{fmt, path::Path};

use base::text;
use gpu::Storage;
use serde::{Deserialize, Serialize};
use toml::Value;

/// The name of the CPU.
const CPU: &str = "cpu";

/// A device that steps ran on, and the type of activations there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RanOn {
    /// `cpu`, or the name of the card.
    pub device: String,
    /// `f32`, `bf16` or `f16`.
    pub precision: String,
}

/// What is read of a `report.toml`.
#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    ran_on: Vec<RanOn>,
}

impl RanOn {
    /// A card.
    pub(crate) fn card(name: &str, storage: Storage) -> RanOn {
        RanOn { device: name.to_owned(), precision: storage.name().to_owned() }
    }

    /// The CPU.
    pub(crate) fn cpu() -> RanOn {
        RanOn::card(CPU, Storage::F32)
    }

    /// Returns what a finished run or cross-validation was trained on, by its `report.toml`; nothing where that is
    /// unknown, as it is of reports of earlier versions.
    pub fn of(dir: &Path) -> Vec<RanOn> {
        let report = text::read(&dir.join("report.toml")).unwrap_or_default();
        toml::from_str(&report).map_or_else(|_| Vec::new(), |it: Found| it.ran_on)
    }

    /// Formats all as a line of a `report.toml`; as nothing if there are none.
    pub(crate) fn to_toml(all: &[RanOn]) -> String {
        match all {
            [] => String::new(),
            all => format!("ran_on = {}\n", Value::try_from(all).expect("texts are TOML")),
        }
    }
}

impl fmt::Display for RanOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = if self.device == CPU { "the CPU" } else { self.device.as_str() };
        write!(f, "{device} in {}", self.precision)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use gpu::Storage;

    use super::RanOn;

    #[test]
    fn a_report_names_what_ran() {
        let all = [RanOn::card("NVIDIA \"H\"", Storage::Bf16), RanOn::cpu()];
        let texts = all.each_ref().map(ToString::to_string);
        assert_eq!(texts, ["NVIDIA \"H\" in bf16", "the CPU in f32"]);
        let dir = tempfile::tempdir().unwrap();
        let found = |text: &str| {
            fs::write(dir.path().join("report.toml"), text).unwrap();
            RanOn::of(dir.path())
        };
        let line = RanOn::to_toml(&all);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert_eq!(found(&format!("steps = 2\n{line}\n[valid]\nimages = 3\n")), all);
    }

    #[test]
    fn an_earlier_report_names_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(RanOn::of(dir.path()).is_empty());
        fs::write(dir.path().join("report.toml"), "steps = 2\n\n[valid]\nimages = 3\n").unwrap();
        assert!(RanOn::of(dir.path()).is_empty());
        assert_eq!(RanOn::to_toml(&[]), "");
    }
}
