//! Vector scaling: the softmax of scale_c · ln p_c + bias_c.
//!
//! Guo et al., "On Calibration of Modern Neural Networks", 2017. Ours is on log-probabilities, which differ from
//! logits by a constant of the image: with unequal scales that is another family of maps, the one that is
//! defined for an ensemble too. Theirs is not regularised; ours minimises
//!
//! Σ_i -ln p'_{y_i} + ½ Σ_c ((scale_c - 1)² + bias_c²),
//!
//! so that few images, or a class without any, change little.

use serde::{Deserialize, Serialize};

use crate::{
    Calibration, CalibrationConfig, HeldOut,
    calibration::{log_probabilities, softmax},
    image_sums::image_sums,
    minimise::minimise,
};

/// `{ kind = "vector", scale = [0.9, 1.1], bias = [0.2, -0.2] }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vector {
    /// The factor of each class's log-probability; empty for 1.
    pub scale: Vec<f64>,
    /// What is added to each class's log-probability after that; empty for 0.
    pub bias: Vec<f64>,
}

impl Vector {
    /// Returns the scales and biases with the lowest regularised log loss of the first member.
    fn of(held_out: &HeldOut) -> Vector {
        let (n_images, n) = (held_out.n_images(), held_out.task.n_classes());
        // Scales first, then biases; everything is divided by the number of images.
        let start = [vec![1.0; n], vec![0.0; n]].concat();
        let objective = |at: &[f64]| {
            let (scale, bias) = at.split_at(n);
            let mut sums = image_sums(n_images, 2 * n + 1, |images, sums| {
                let (mut logits, mut scaled) = (Vec::new(), Vec::new());
                for image in images {
                    let class = held_out.classes[image];
                    logits.clear();
                    logits.extend(log_probabilities(held_out.row(0, image)));
                    scaled.clear();
                    scaled.extend(
                        logits.iter().zip(scale.iter().zip(bias)).map(|(it, (s, b))| s * it + b),
                    );
                    let true_logit = scaled[class];
                    sums[2 * n] += softmax(&mut scaled) - true_logit;
                    scaled[class] -= 1.0;
                    for (idx, (error, it)) in scaled.iter().zip(&logits).enumerate() {
                        sums[idx] += error * it;
                        sums[n + idx] += error;
                    }
                }
            });
            let mut loss = sums.pop().unwrap_or_default();
            for (sum, (at, start)) in sums.iter_mut().zip(at.iter().zip(&start)) {
                loss += (at - start).powi(2) / 2.0;
                *sum = (*sum + at - start) / n_images as f64;
            }
            (loss / n_images as f64, sums)
        };
        let mut scale = minimise(start.clone(), 1e-10, objective);
        let bias = scale.split_off(n);
        Vector { scale, bias }
    }
}

impl Calibration for Vector {
    fn apply(&self, probabilities: &[f64]) -> Vec<f64> {
        let at = |all: &[f64], class: usize, default| all.get(class).copied().unwrap_or(default);
        let scaled = |(class, it)| at(&self.scale, class, 1.0) * it + at(&self.bias, class, 0.0);
        let mut logits: Vec<f64> =
            log_probabilities(probabilities).enumerate().map(scaled).collect();
        softmax(&mut logits);
        logits
    }

    fn problem(&self, n_classes: usize) -> Option<String> {
        let check = |name: &str, all: &[f64]| {
            let is_fine = all.is_empty() || all.len() == n_classes;
            if !is_fine || !all.iter().all(|it| it.is_finite()) {
                return Some(format!(
                    "`{name}` takes a finite number for each of the {n_classes} classes, or none"
                ));
            }
            None
        };
        check("scale", &self.scale).or_else(|| check("bias", &self.bias))
    }

    fn fit(&self, held_out: &HeldOut) -> CalibrationConfig {
        CalibrationConfig::Vector(Vector::of(held_out))
    }
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};
    use testkit::check_close_slices;

    use super::Vector;
    use crate::{Calibration as _, HeldOut};

    #[test]
    fn scale_and_bias_are_those_of_the_log_probability() {
        // Logits 2 ln 0.6 + ln 3 = ln 1.08 and ln 0.4: p = 1.08 / 1.48.
        let it = Vector { scale: vec![2.0, 1.0], bias: vec![3.0_f64.ln(), 0.0] };
        check_close_slices(&it.apply(&[0.6, 0.4]), &[1.08 / 1.48, 0.4 / 1.48], 1e-12);
    }

    #[test]
    fn one_image_and_a_class_without_any_change_little() {
        let held_out = HeldOut {
            task: Task::new(vec![Factor::new("class", &["a", "b", "c"])]),
            classes: vec![0],
            groups: vec![0],
            folds: vec![0],
            members: vec![vec![0.8, 0.15, 0.05]],
        };
        let it = Vector::of(&held_out);
        assert_eq!(it.problem(3), None);
        assert!(it.scale.iter().all(|it| (it - 1.0).abs() < 0.5), "{it:?}");
        assert!(it.bias.iter().all(|it| it.abs() < 0.3), "{it:?}");
    }

    #[test]
    fn numbers_for_other_classes_are_a_problem() {
        let it = Vector { scale: vec![1.0; 2], bias: vec![] };
        assert_eq!(it.problem(2), None);
        assert!(it.problem(3).unwrap().contains("`scale`"));
    }
}
