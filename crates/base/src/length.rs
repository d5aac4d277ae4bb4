//! A duration of training, in epochs, steps or percent of the run.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// `"3 epochs"`, `"500 steps"` or `"5 %"` of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Length {
    /// Epochs: passes over the training set.
    Epochs(f64),
    /// Optimizer steps.
    Steps(usize),
    /// Percent of the whole run.
    Percent(f64),
}

/// The text is not a length.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a length: write \"3 epochs\", \"500 steps\" or \"5 %\"")]
pub struct NotALength(String);

impl Length {
    /// Whether the length is zero.
    pub fn is_none(self) -> bool {
        match self {
            Length::Epochs(n) | Length::Percent(n) => n <= 0.0,
            Length::Steps(n) => n == 0,
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
    fn display_round_trips() {
        for text in ["3 epochs", "0.5 epochs", "7 steps", "12.5 %"] {
            assert_eq!(text.parse::<Length>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn invalid_text_is_an_error() {
        for text in ["", "3", "3 hours", "-1 epochs", "1.5 steps", "NaN %", "inf epochs"] {
            assert!(text.parse::<Length>().is_err(), "{text}");
        }
    }
}
