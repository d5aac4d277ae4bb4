//! Temperature scaling: p_c^(1/T) / Σ_j p_j^(1/T).
//!
//! Guo et al., "On Calibration of Modern Neural Networks", 2017. T > 1 makes predictions less confident. Theirs
//! divides the logits; log-probabilities differ from them by a constant of the image, which cancels, so this is
//! the same for one network, and is defined for an ensemble too.
//!
//! T minimises the log loss of the held-out images. That is convex in β = 1/T, with the derivative
//! mean_i Σ_c q_c (ln p_c - ln p_y), where p are the probabilities before and q those after scaling: Newton's
//! method finds its root, and bisection steps in where Newton's would leave the bracket.

use serde::{Deserialize, Serialize};

use crate::{
    Calibration, CalibrationConfig, HeldOut,
    calibration::{log_probabilities, softmax},
    image_sums::image_sums,
};

/// `{ kind = "temperature", temperature = 1.3 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Temperature {
    /// What the log-probabilities are divided by.
    pub temperature: f64,
}

impl Default for Temperature {
    fn default() -> Temperature {
        Temperature { temperature: 1.0 }
    }
}

/// The range of temperatures: an optimum beyond it, as of predictions that are all correct, is moved to its end.
const RANGE: [f64; 2] = [0.01, 100.0];

impl Temperature {
    /// Returns the temperature with the lowest log loss of the first member.
    fn of(held_out: &HeldOut) -> Temperature {
        let [mut low, mut high] = [RANGE[1].recip(), RANGE[0].recip()];
        // Newton's steps are slow where the loss falls exponentially.
        if derivatives(held_out, high)[0] < 0.0 {
            return Temperature { temperature: RANGE[0] };
        }
        if derivatives(held_out, low)[0] > 0.0 {
            return Temperature { temperature: RANGE[1] };
        }
        let mut beta = 1.0_f64;
        for _ in 0..200 {
            let [first, second] = derivatives(held_out, beta);
            match first > 0.0 {
                true => high = beta,
                false => low = beta,
            }
            let newton = beta - first / second;
            let next = match newton > low && newton < high {
                true => newton,
                false => (low * high).sqrt(),
            };
            let change = (next / beta - 1.0).abs();
            beta = next;
            if first == 0.0 || change < 1e-13 {
                break;
            }
        }
        Temperature { temperature: beta.recip() }
    }
}

/// Returns the first and second derivative by β of the mean log loss.
fn derivatives(held_out: &HeldOut, beta: f64) -> [f64; 2] {
    let n = held_out.n_images();
    let sums = image_sums(n, 2, |images, sums| {
        let (mut logits, mut scaled) = (Vec::new(), Vec::new());
        for image in images {
            logits.clear();
            logits.extend(log_probabilities(held_out.row(0, image)));
            scaled.clear();
            scaled.extend(logits.iter().map(|it| beta * it));
            softmax(&mut scaled);
            // From the true class's on, so that a tiny derivative is not lost in rounding.
            let from = logits[held_out.classes[image]];
            let moment = |power: i32, from: f64| -> f64 {
                scaled.iter().zip(&logits).map(|(q, it)| q * (it - from).powi(power)).sum()
            };
            let first = moment(1, from);
            sums[0] += first;
            sums[1] += moment(2, from + first);
        }
    });
    [sums[0] / n as f64, sums[1] / n as f64]
}

impl Calibration for Temperature {
    fn apply(&self, probabilities: &[f64]) -> Vec<f64> {
        let mut scaled: Vec<f64> =
            log_probabilities(probabilities).map(|it| it / self.temperature).collect();
        softmax(&mut scaled);
        scaled
    }

    fn problem(&self, _: usize) -> Option<String> {
        let is_fine = self.temperature.is_finite() && self.temperature > 0.0;
        (!is_fine)
            .then(|| format!("`temperature` must be positive and finite, not {}", self.temperature))
    }

    fn fit(&self, held_out: &HeldOut) -> CalibrationConfig {
        CalibrationConfig::Temperature(Temperature::of(held_out))
    }
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};
    use testkit::check_close_slices;

    use super::Temperature;
    use crate::{Calibration as _, HeldOut};

    fn held_out(n_correct: usize, n_wrong: usize, p: f64) -> HeldOut {
        let n = n_correct + n_wrong;
        HeldOut {
            task: Task::new(vec![Factor::new("class", &["a", "b"])]),
            classes: (0..n).map(|it| usize::from(it >= n_correct)).collect(),
            groups: (0..n).collect(),
            folds: vec![0; n],
            members: vec![[p, 1.0 - p].repeat(n)],
        }
    }

    #[test]
    fn the_fitted_confidence_is_the_accuracy() {
        // All images have p = 0.9, and 3 of 4 are correct: p' = 0.75, where ln 3 = ln 9 / T, so T = 2.
        let it = Temperature::of(&held_out(3, 1, 0.9));
        assert!((it.temperature - 2.0).abs() < 1e-9, "{it:?}");
        check_close_slices(&it.apply(&[0.9, 0.1]), &[0.75, 0.25], 1e-9);
    }

    #[test]
    fn an_optimum_beyond_the_range_is_moved_to_its_end() {
        let all_correct = Temperature::of(&held_out(4, 0, 0.9)).temperature;
        assert!((all_correct / 0.01 - 1.0).abs() < 1e-6, "{all_correct}");
        let all_wrong = Temperature::of(&held_out(0, 4, 0.9)).temperature;
        assert!((all_wrong / 100.0 - 1.0).abs() < 1e-6, "{all_wrong}");
    }

    #[test]
    fn probabilities_without_information_keep_a_finite_temperature() {
        let it = Temperature::of(&held_out(3, 1, 0.5)).temperature;
        assert!(it.is_finite() && it > 0.0, "{it}");
    }

    #[test]
    fn a_probability_of_zero_stays_finite() {
        // ln 1e-12 / 2: the square root of 1e-12 is 1e-6.
        let it = Temperature { temperature: 2.0 }.apply(&[1.0, 0.0]);
        check_close_slices(&it, &[1.0 / (1.0 + 1e-6), 1e-6 / (1.0 + 1e-6)], 1e-12);
    }
}
