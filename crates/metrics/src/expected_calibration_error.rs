//! Expected calibration error (ECE): the mean absolute difference between confidence and accuracy.
//!
//! The confidence of a prediction is the probability of the predicted class. The range 0 to 1 is divided into
//! M bins of equal width, bin m being ((m - 1) / M, m / M]; with n_m images in bin m,
//!
//! ECE = Σ_m n_m / n · |accuracy in m - mean confidence in m|.
//!
//! Guo et al., "On Calibration of Modern Neural Networks", 2017.

use serde::{Deserialize, Serialize};

use crate::{Basis, Metric, Prediction, Sums, quotient};

/// `{ kind = "expected_calibration_error", bins = 15 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpectedCalibrationError {
    /// The number of bins.
    pub bins: usize,
}

impl ExpectedCalibrationError {
    /// With the usual number of bins.
    pub const DEFAULT: ExpectedCalibrationError = ExpectedCalibrationError { bins: 15 };

    /// Returns the bin of a confidence, from 0.
    pub fn bin(&self, confidence: f64) -> usize {
        let bin = (confidence * self.bins as f64).ceil() as usize;
        bin.clamp(1, self.bins) - 1
    }
}

impl Default for ExpectedCalibrationError {
    fn default() -> ExpectedCalibrationError {
        ExpectedCalibrationError::DEFAULT
    }
}

impl Sums for ExpectedCalibrationError {
    /// For each bin: correct predictions minus confidences, and images.
    fn n_sums(&self, _: usize) -> usize {
        2 * self.bins
    }

    fn add(&self, it: &Prediction<'_>, add: &mut dyn FnMut(usize, f64)) {
        let confidence = it.probabilities[it.predicted];
        let bin = self.bin(confidence);
        add(2 * bin, f64::from(it.is_correct()) - confidence);
        add(2 * bin + 1, 1.0);
    }

    fn of(&self, sums: &[f64]) -> f64 {
        let (gaps, n) = sums.chunks(2).fold((0.0, 0.0), |(g, n), it| (g + it[0].abs(), n + it[1]));
        quotient(gaps, n)
    }
}

impl Metric for ExpectedCalibrationError {
    fn basis(&self) -> Basis<'_> {
        Basis::Sums(self)
    }

    fn more_is_better(&self) -> bool {
        false
    }

    fn problem(&self) -> Option<String> {
        let is_fine = (1..=100_000).contains(&self.bins);
        (!is_fine).then(|| format!("`bins` must be from 1 to 100000, not {}", self.bins))
    }
}
