//! Label smoothing.
//!
//! With t a distribution over C classes and s the smoothing,
//!
//! - over all: (1 - s) t + s / C. As in PyTorch, timm and fastai; Szegedy et al., "Rethinking the
//!   Inception Architecture", 2015.
//! - over the others: (1 - s) t + s (1 - t) / (C - 1). As in the competition's baseline.

use candle::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// The classes that the smoothing is spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmoothingOver {
    /// All classes, including the true one.
    All,
    /// All classes except the true one.
    Others,
}

/// Smooths the distributions `[n, class]` by `share`.
pub(crate) fn smooth(targets: &Tensor, share: f64, over: SmoothingOver) -> Result<Tensor> {
    let n_classes = targets.dim(1)? as f64;
    match over {
        SmoothingOver::All => targets.affine(1.0 - share, share / n_classes),
        // With a single class there are no others.
        SmoothingOver::Others if n_classes < 2.0 => Ok(targets.clone()),
        SmoothingOver::Others => {
            let others = share / (n_classes - 1.0);
            targets.affine(1.0 - share - others, others)
        }
    }
}

/// Returns the problem with a smoothing, if any.
pub(crate) fn problem(share: f64) -> Option<String> {
    (!(0.0..1.0).contains(&share))
        .then(|| format!("`label_smoothing` is from 0 to below 1, not {share}"))
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use super::{SmoothingOver, smooth};

    fn one_hot(n_classes: usize) -> Result<Tensor> {
        let row: Vec<f64> = (0..n_classes).map(|it| f64::from(it == 1)).collect();
        Tensor::new(row, &Device::Cpu)?.unsqueeze(0)
    }

    fn check(n_classes: usize, over: SmoothingOver, off: f64, on: f64) -> Result<()> {
        let mut want = vec![off; n_classes];
        want[1] = on;
        check_close(&smooth(&one_hot(n_classes)?, 0.1, over)?, &want, 1e-15);
        Ok(())
    }

    #[test]
    fn smoothed_labels_match_the_write_ups() -> Result<()> {
        // Write-up 000: [0.025, 0.925, 0.025, 0.025]; write-up 004: 0.91 and nine times 0.01.
        check(4, SmoothingOver::All, 0.025, 0.925)?;
        check(10, SmoothingOver::All, 0.01, 0.91)?;
        // The competition's baseline: s / (C - 1), and 1 - s.
        check(18, SmoothingOver::Others, 0.1 / 17.0, 0.9)
    }

    #[test]
    fn single_class_is_unchanged() -> Result<()> {
        let one = Tensor::new(&[[1f64]], &Device::Cpu)?;
        for over in [SmoothingOver::All, SmoothingOver::Others] {
            check_close(&smooth(&one, 0.1, over)?, &[1.0], 1e-15);
        }
        Ok(())
    }
}
