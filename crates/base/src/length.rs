//! A duration of training, in epochs, steps or percent of the run.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Epochs;

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

    /// The length in optimizer steps, from the start of a run with these epochs.
    pub fn to_steps(self, epochs: &Epochs) -> usize {
        epochs.steps_of(self.of_whole(epochs))
    }

    /// Like [`Length::to_steps`], in steps of the full run if only some of them are taken.
    pub fn of_whole(self, epochs: &Epochs) -> usize {
        let whole = epochs.whole();
        match self {
            Length::Epochs(n) => whole.steps(n),
            Length::Steps(n) => n,
            Length::Percent(p) => (p / 100.0 * whole.total() as f64).round() as usize,
        }
    }

    /// Whether exactly `step` steps are a multiple of this length.
    pub fn is_up(self, step: usize, epochs: &Epochs) -> bool {
        match self {
            // Multiples of epochs, not of steps: epochs differ in length.
            Length::Epochs(n) => epochs.steps((epochs.epoch(step) / n).round() * n) == step,
            other => step.is_multiple_of(other.to_steps(epochs).max(1)),
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
    use crate::Epochs;

    #[test]
    fn three_units_count_steps() {
        let epochs = Epochs::new(Length::Steps(200), |_| Ok(10)).unwrap();
        let steps = |text: &str| text.parse::<Length>().unwrap().to_steps(&epochs);
        assert_eq!(["3 epochs", "0.5 epochs", "7 steps", "5 %"].map(steps), [30, 5, 7, 10]);
    }

    #[test]
    fn intervals_are_counted_in_the_same_units() {
        let up = |text: &str, n_steps: fn(usize) -> usize| -> Vec<usize> {
            let epochs = Epochs::new(Length::Steps(20), |it| Ok(n_steps(it))).unwrap();
            let length: Length = text.parse().unwrap();
            (1..=20).filter(|&it| length.is_up(it, &epochs)).collect()
        };
        assert_eq!(up("7 steps", |_| 5), [7, 14]);
        assert_eq!(up("25 %", |_| 5), [5, 10, 15, 20]);
        assert_eq!(up("1 epochs", |_| 5), [5, 10, 15, 20]);
        assert_eq!(up("0.5 epochs", |_| 5), [3, 5, 8, 10, 13, 15, 18, 20]);
        assert_eq!(up("0.1 epochs", |_| 5).len(), 20);
        assert_eq!(up("1.5 epochs", |_| 6), [9, 18]);
        // Epochs of 8, 6, 4 and 2 steps.
        assert_eq!(up("1 epochs", |it| 8 - 2 * it), [8, 14, 18, 20]);
        assert_eq!(up("0.5 epochs", |it| 8 - 2 * it), [4, 8, 11, 14, 16, 18, 19, 20]);
        assert_eq!(up("2 epochs", |it| 8 - 2 * it), [14, 20]);
    }

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
