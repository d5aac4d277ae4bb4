//! Progressive resizing: the first epochs on smaller images, perhaps more of them at once.
//!
//! What the training pipeline makes is made smaller at its end; where a crop or a warp comes before, the
//! two are one resampling. Epochs keep their images, so that only the time of a step changes. As
//! fast.ai's entries to DAWNBench (2018) did; Tan & Le, "EfficientNetV2", 2021, vary the augmentation too.

use base::Length;
use serde::{Deserialize, Serialize};

/// One item of `[train] sizes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// When it ends: whole epochs, or a share of them.
    pub until: Length,
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
    /// Images a step; left out, `train.batch_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
}

/// The epoch that each item ends before.
///
/// - `total`: of the run.
///
/// # Errors
/// A length that is counted in steps, which themselves depend on batch sizes; and an item that ends before
/// it begins.
pub(crate) fn ends(sizes: &[Size], total: Length) -> Result<Vec<usize>, String> {
    let mut ends: Vec<usize> = Vec::new();
    for Size { until, .. } in sizes {
        let end = match (*until, total) {
            (Length::Epochs(n), _) => n,
            (Length::Percent(p), Length::Epochs(n)) => p / 100.0 * n,
            (Length::Percent(_), _) => {
                return Err("a share is of whole epochs: count `train.total` in epochs".to_owned());
            }
            (Length::Steps(_), _) => {
                return Err(format!("`until = \"{until}\"`: count in epochs, or in percent"));
            }
        };
        let end = end.round() as usize;
        if end <= ends.last().copied().unwrap_or(0) {
            return Err(format!("`until = \"{until}\"` is no epoch after the one before"));
        }
        ends.push(end);
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use base::Length;

    use super::{Size, ends};

    fn found(untils: &[&str], total: &str) -> Result<Vec<usize>, String> {
        let size = |it: &&str| Size { until: it.parse().unwrap(), size: [8, 8], batch_size: None };
        ends(&untils.iter().map(size).collect::<Vec<_>>(), total.parse::<Length>().unwrap())
    }

    #[test]
    fn sizes_change_with_epochs() {
        assert_eq!(found(&["40 %", "75 %"], "10 epochs"), Ok(vec![4, 8]));
        assert_eq!(found(&["3 epochs"], "500 steps"), Ok(vec![3]));
        assert!(found(&["40 %"], "500 steps").unwrap_err().contains("train.total"));
        assert!(found(&["40 steps"], "5 epochs").unwrap_err().contains("percent"));
        assert!(found(&["2 epochs", "10 %"], "10 epochs").unwrap_err().contains("after"));
        assert!(found(&["1 %"], "10 epochs").unwrap_err().contains("after"));
    }
}
