//! Progressive resizing: the first epochs train on smaller images, optionally with a larger batch size.
//!
//! A resize is appended to the training pipeline; where a crop or a warp comes before it, the two are one
//! resampling. The images of an epoch stay the same; only the time of a step changes. As in fast.ai's entries
//! to DAWNBench (2018); Tan & Le, "EfficientNetV2", 2021, vary the augmentation too.

use base::Length;
use serde::{Deserialize, Serialize};

/// One item of `[train] sizes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// When it ends: whole epochs, or a share of those of the run, or of the phase.
    pub until: Length,
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
    /// Images per step; defaults to `train.batch_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
}

/// Returns the epoch that each item ends before.
///
/// - `total`: the length of the run, or of the phase.
///
/// # Errors
/// A length is in steps, whose number depends on the batch sizes; or an item ends before it begins.
pub(crate) fn ends(sizes: &[Size], total: Length) -> Result<Vec<usize>, String> {
    let mut ends: Vec<usize> = Vec::new();
    for Size { until, .. } in sizes {
        let end = match (*until, total) {
            (Length::Epochs(n), _) => n,
            (Length::Percent(p), Length::Epochs(n)) => p / 100.0 * n,
            (Length::Percent(_), _) => {
                return Err(
                    "a percentage needs whole epochs: set `train.total` in epochs".to_owned()
                );
            }
            (Length::Steps(_), _) => {
                return Err(format!("`until = \"{until}\"`: use epochs or percent"));
            }
        };
        let end = end.round() as usize;
        if end <= ends.last().copied().unwrap_or(0) {
            return Err(format!(
                "`until = \"{until}\"` must end at least one epoch after the previous item, or after the start"
            ));
        }
        ends.push(end);
    }
    Ok(ends)
}

/// Returns the batch size of an epoch.
///
/// - `ends`: the epoch that each item ends before.
/// - `default`: that of larger images.
pub(crate) fn batch_size(
    sizes: &[Size],
    ends: impl IntoIterator<Item = usize>,
    default: usize,
    epoch_idx: usize,
) -> usize {
    let size = sizes.iter().zip(ends).find(|(_, end)| epoch_idx < *end);
    size.and_then(|(it, _)| it.batch_size).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use base::Length;

    use super::{Size, ends};

    fn ends_of(untils: &[&str], total: &str) -> Result<Vec<usize>, String> {
        let size = |it: &&str| Size { until: it.parse().unwrap(), size: [8, 8], batch_size: None };
        ends(&untils.iter().map(size).collect::<Vec<_>>(), total.parse::<Length>().unwrap())
    }

    #[test]
    fn sizes_change_with_epochs() {
        assert_eq!(ends_of(&["40 %", "75 %"], "10 epochs"), Ok(vec![4, 8]));
        assert_eq!(ends_of(&["3 epochs"], "500 steps"), Ok(vec![3]));
        assert!(ends_of(&["40 %"], "500 steps").unwrap_err().contains("train.total"));
        assert!(ends_of(&["40 steps"], "5 epochs").unwrap_err().contains("percent"));
        assert!(ends_of(&["2 epochs", "10 %"], "10 epochs").unwrap_err().contains("after"));
        assert!(ends_of(&["1 %"], "10 epochs").unwrap_err().contains("after"));
    }
}
