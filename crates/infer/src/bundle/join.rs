//! One bundle of several: the weighted mean of all their members.
//!
//! Of bundles with different tasks, such as a model for each factor, the task is the product of all factors.

use base::Task;
use ensemble::{CalibrationConfig, CombineConfig, SoftVote};

use super::Bundle;

impl Bundle {
    /// Joins bundles into the weighted mean of their members.
    ///
    /// - `bundles`: at least one, each with a name for errors.
    /// - `weights`: the weight of each bundle, which its members share; empty for members that all count the
    ///   same. A single bundle without a weight is returned as it is.
    ///
    /// # Errors
    /// Everything that is wrong: tasks that do not fit together, weights, and bundles that were calibrated,
    /// tuned or combined in another way, which does not hold for them as parts of another ensemble.
    pub fn join(bundles: Vec<(String, Bundle)>, weights: &[f64]) -> Result<Bundle, String> {
        let n = bundles.len();
        let is_alone = n == 1 && weights.is_empty();
        if let Some((_, only)) = bundles.first().filter(|_| is_alone) {
            return Ok(only.clone());
        }
        let mut problems = Vec::new();
        if n == 0 {
            problems.push("there are no bundles to join: name at least one".to_owned());
        }
        let sum: f64 = weights.iter().sum();
        let are_fine = weights.iter().all(|it| *it >= 0.0) && sum > 0.0 && sum.is_finite();
        if !(weights.is_empty() || weights.len() == n && are_fine) {
            problems.push(format!(
                "the weights must be {n} numbers of at least 0, one for each bundle, and not all 0: not {weights:?}"
            ));
        }
        let (mut task, mut fitting) = (None, Vec::new());
        for (name, bundle) in &bundles {
            if !bundle.is_mean() {
                problems.push(format!(
                    "{name}: what was fitted for it (its combination, calibration or decision) does not hold in \
                     another ensemble: name the runs that it was made of"
                ));
            }
            let own = (name.as_str(), &bundle.task);
            match Task::product(fitting.iter().copied().chain([own])) {
                Ok(it) => {
                    task = Some(it);
                    fitting.push(own);
                }
                Err(problem) => problems.push(format!(
                    "{name}: {problem}: predict with each alone, or train one again with the levels and cuts of the \
                     other"
                )),
            }
        }
        let Some(task) = task.filter(|_| problems.is_empty()) else {
            return Err(problems.join("\n"));
        };
        let are_equal = weights.is_empty() && bundles.iter().all(|it| it.1.weights().is_empty());
        let (mut members, mut shares) = (Vec::new(), Vec::new());
        for (idx, (_, bundle)) in bundles.into_iter().enumerate() {
            let weight = weights.get(idx).copied().unwrap_or(bundle.members.len() as f64);
            shares.extend(bundle.shares().into_iter().map(|it| weight * it));
            members.extend(bundle.members);
        }
        let weights = if are_equal { Vec::new() } else { shares };
        let combine = CombineConfig::SoftVote(SoftVote { weights });
        Ok(Bundle { combine, ..Bundle::new(task, members) })
    }

    /// Whether the prediction is the weighted mean of the members, and its most probable class.
    fn is_mean(&self) -> bool {
        matches!(self.combine, CombineConfig::SoftVote(_))
            && matches!(self.calibration, CalibrationConfig::Off(_))
            && self.decision.is_argmax()
            && self.conformal.is_none()
    }

    /// Returns the weight of each member among all; empty if all are equal.
    pub fn weights(&self) -> Vec<f64> {
        let of_inputs = self.combine.get().weights().unwrap_or_default();
        if self.inputs.is_empty() || self.inputs.iter().all(|it| *it == 1) {
            return of_inputs.to_vec();
        }
        let of_input = |(idx, &n): (usize, &usize)| {
            std::iter::repeat_n(of_inputs.get(idx).copied().unwrap_or(1.0) / n as f64, n)
        };
        self.inputs.iter().enumerate().flat_map(of_input).collect()
    }

    /// Returns the share of each member, which sum to 1.
    fn shares(&self) -> Vec<f64> {
        let weights = self.weights();
        let weights = if weights.is_empty() { vec![1.0; self.members.len()] } else { weights };
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|it| it / sum).collect()
    }
}
