//! Calibrations: maps from a prediction to one whose probabilities can be believed, fitted on held-out images.
//!
//! Of the images to which a calibrated model gives a class with probability 0.8, 80 % are of that class. A
//! calibration is fitted on images of groups that no member trained on; what it is worth is what it is worth on
//! groups that it was not fitted on either, so it is scored nested.

mod isotonic;
mod off;
mod temperature;
mod vector;

use base::hint;
use rayon::prelude::*;

use crate::HeldOut;

base::choice! {
    /// The `calibration` of a bundle.
    pub enum CalibrationConfig: dyn Calibration {
        /// The probabilities as they are.
        "none" => Off(off::Off),
        /// One temperature for all log-probabilities (Guo et al., 2017); keeps the order of the classes.
        "temperature" => Temperature(temperature::Temperature),
        /// A factor and an offset for the log-probability of each class (vector scaling; Guo et al., 2017).
        "vector" => Vector(vector::Vector),
        /// A rising curve for each class against the rest (Zadrozny and Elkan, 2002), made to sum to 1 again.
        "isotonic" => Isotonic(isotonic::Isotonic),
    }
}

/// A map from the probabilities of an image to calibrated ones.
pub trait Calibration: Sync {
    /// Returns the calibrated probabilities of one image; they sum to 1.
    fn apply(&self, probabilities: &[f64]) -> Vec<f64>;

    /// Returns what is wrong with the numbers for so many classes, if anything.
    fn problem(&self, n_classes: usize) -> Option<String>;

    /// Returns a calibration of this kind, fitted on the first member of `held_out`, which has images.
    fn fit(&self, held_out: &HeldOut) -> CalibrationConfig;
}

impl CalibrationConfig {
    /// Probabilities below this are raised to it before their logarithm is taken, which is then finite.
    pub const LOWEST: f64 = 1e-12;

    /// Returns the calibration of a kind, fitted on the first member of `held_out`.
    ///
    /// # Errors
    /// There is no such kind, there are no images, or a probability is not finite.
    pub fn fit(kind: &str, held_out: &HeldOut) -> Result<CalibrationConfig, String> {
        let zoo = CalibrationConfig::zoo();
        let Some((_, default)) = zoo.into_iter().find(|it| it.0 == kind) else {
            let kinds: Vec<&str> = CalibrationConfig::KINDS.iter().map(|it| it.0).collect();
            return Err(format!("there is no calibration `{kind}`: {}", hint(kind, &kinds)));
        };
        if held_out.n_images() == 0 {
            return Err("there are no held-out images to fit a calibration on".to_owned());
        }
        if !held_out.members[0].par_iter().all(|it| it.is_finite()) {
            return Err("a held-out probability is not finite (NaN or infinite): no calibration \
                        can be fitted on it"
                .to_owned());
        }
        Ok(default.get().fit(held_out))
    }

    /// Returns `held_out` with the calibrated probabilities of its first member as its only one.
    #[must_use]
    pub fn calibrate(&self, held_out: &HeldOut) -> HeldOut {
        held_out.map(|rows| self.get().apply(rows[0]))
    }
}

/// Returns the logarithms of the probabilities, all finite unless a probability is NaN.
pub(crate) fn log_probabilities(probabilities: &[f64]) -> impl Iterator<Item = f64> + '_ {
    // `max` would replace NaN.
    let lowest = CalibrationConfig::LOWEST;
    probabilities.iter().map(move |&p| if p < lowest { lowest.ln() } else { p.ln() })
}

/// Replaces logits by their softmax, and returns the logarithm of the sum of their exponentials.
pub(crate) fn softmax(logits: &mut [f64]) -> f64 {
    let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for it in logits.iter_mut() {
        *it = (*it - greatest).exp();
        sum += *it;
    }
    logits.iter_mut().for_each(|it| *it /= sum);
    greatest + sum.ln()
}
