//! A length of training, in whichever unit the experiment's author thinks in.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// `"3 epochs"`, `"500 steps"` or `"5 %"` of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Length {
    /// Passes over the training set.
    Epochs(f64),
    /// Optimizer steps.
    Steps(usize),
    /// A share of the whole run, in percent.
    Percent(f64),
}

/// The text is not a length.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no length: write \"3 epochs\", \"500 steps\" or \"5 %\"")]
pub struct NotALength(String);

impl Length {
    /// Whether it is no length at all.
    pub fn is_none(self) -> bool {
        match self {
            Length::Epochs(n) | Length::Percent(n) => n <= 0.0,
            Length::Steps(n) => n == 0,
        }
    }

    /// The length in optimizer steps, for a run of `total` steps.
    pub fn to_steps(self, steps_per_epoch: usize, total: usize) -> usize {
        match self {
            Length::Epochs(n) => (n * steps_per_epoch as f64).round() as usize,
            Length::Steps(n) => n,
            Length::Percent(p) => (p / 100.0 * total as f64).round() as usize,
        }
    }
}

impl FromStr for Length {
    type Err = NotALength;

    fn from_str(text: &str) -> Result<Length, NotALength> {
        let err = || NotALength(text.to_owned());
        let (amount, unit) = text.trim().split_once(' ').ok_or_else(err)?;
        let number =
            || amount.parse::<f64>().ok().filter(|it| (0.0..1e9).contains(it)).ok_or_else(err);
        match unit.trim() {
            "epoch" | "epochs" => Ok(Length::Epochs(number()?)),
            "step" | "steps" => amount.parse().map(Length::Steps).map_err(|_| err()),
            "%" => Ok(Length::Percent(number()?)),
            _ => Err(err()),
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Length::Epochs(n) => write!(f, "{n} epochs"),
            Length::Steps(n) => write!(f, "{n} steps"),
            Length::Percent(p) => write!(f, "{p} %"),
        }
    }
}

impl TryFrom<String> for Length {
    type Error = NotALength;

    fn try_from(text: String) -> Result<Length, NotALength> {
        text.parse()
    }
}

impl From<Length> for String {
    fn from(length: Length) -> String {
        length.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Length;

    #[test]
    fn three_units_count_steps() {
        let steps = |text: &str| text.parse::<Length>().unwrap().to_steps(10, 200);
        assert_eq!(["3 epochs", "0.5 epochs", "7 steps", "5 %"].map(steps), [30, 5, 7, 10]);
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["3 epochs", "0.5 epochs", "7 steps", "12.5 %"] {
            assert_eq!(text.parse::<Length>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in ["", "3", "3 hours", "-1 epochs", "1.5 steps", "NaN %", "inf epochs"] {
            assert!(text.parse::<Length>().is_err(), "{text}");
        }
    }
}
