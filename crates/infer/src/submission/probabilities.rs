//! The probability of each class, as Kaggle scores it: the id, and a column for each class, by name.
//!
//! Log loss punishes a confident error by -ln p without bound, so competitors clip. With `clip = [lo, hi]`
//! each probability p becomes min(max(p, lo), hi), and each row is divided by its sum. The usual bounds for
//! C classes are lo = 0.01 / C and hi = 0.99, which leave the most probable class what it is. The metric
//! `{ kind = "log_loss", clip = [lo, hi] }` is the score of the clipped rows.
//!
//! A write-up (002: 120 breeds of dogs, log loss 0.5843) states the upper bound as 0.99 / 120, where 0.99 is
//! meant. `clip = "write_up_002"` is what it states, lo = 0.01 / C and hi = 0.99 / C, and cannot score 0.58:
//! once the row is divided by its sum, the true class has at most
//! 0.00825 / (0.00825 + 119 * 0.0000833) = 0.454, and the log loss is at least -ln 0.454 = 0.789.
//!
//! Probabilities have at most nine significant digits; rows sum to 1 within 1e-6 as written, or are refused.

use base::{Task, table::number, task::Scope};
use serde::{Deserialize, Serialize};

use super::{Submit, columns::Column};
use crate::predictor::Prediction;

/// `[submit] kind = "probabilities"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Probabilities {
    /// The lowest and the highest probability before each row is divided by its sum, `[lo, hi]`, or the
    /// literal bounds of a write-up, `"write_up_002"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<Clip>,
}

/// The bounds of probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be [lo, hi] or \"write_up_002\"")]
pub enum Clip {
    /// The lowest and the highest probability.
    Bounds([f64; 2]),
    /// Bounds of a name.
    Named(Named),
}

/// Bounds that depend on the number of classes, C.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Named {
    /// 0.01 / C and 0.99 / C.
    #[serde(rename = "write_up_002")]
    WriteUp002,
}

/// How far from 1 the sum of a row as written may be.
const TOLERANCE: f64 = 1e-6;

impl Clip {
    /// Clips a row, and divides it by its sum.
    fn apply(self, row: &mut [f64]) {
        let n = row.len() as f64;
        let [lo, hi] = match self {
            Clip::Bounds(it) => it,
            Clip::Named(Named::WriteUp002) => [0.01 / n, 0.99 / n],
        };
        row.iter_mut().for_each(|p| *p = p.max(lo).min(hi));
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= sum);
    }
}

impl Submit for Probabilities {
    fn columns(&self, task: &Task, _: Option<usize>) -> Vec<Column> {
        task.class_names(Scope::Joint).into_iter().map(Column::required).collect()
    }

    fn fields(
        &self,
        _: &Task,
        _: Option<usize>,
        prediction: &Prediction,
    ) -> Result<Vec<String>, String> {
        let mut row = prediction.probabilities.clone();
        if let Some(clip) = self.clip {
            clip.apply(&mut row);
        }
        let fields: Vec<String> = row.into_iter().map(number).collect();
        let written = |it: &String| it.parse().unwrap_or(f64::NAN);
        let sum: f64 = fields.iter().map(written).sum();
        // NaN is not close to 1.
        match (sum - 1.0).abs() <= TOLERANCE {
            true => Ok(fields),
            false => Err(format!("its probabilities sum to {sum}, not to 1")),
        }
    }

    fn problem(&self) -> Option<String> {
        match self.clip {
            // NaN is in no range.
            Some(Clip::Bounds([lo, hi])) if !((0.0..hi).contains(&lo) && hi <= 1.0) => {
                Some(format!("`clip` is [lo, hi] with 0 <= lo < hi <= 1, not [{lo}, {hi}]"))
            }
            _ => None,
        }
    }
}
