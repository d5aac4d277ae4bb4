//! Isotonic calibration: for each class against the rest a rising curve of its probability, then divided by the
//! sum over the classes.
//!
//! Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", 2002. A
//! class's curve is the non-decreasing function of its probability with the least squared error to "is of the
//! class", found by pooling adjacent violators (PAVA): scikit-learn's `IsotonicRegression(out_of_bounds="clip")`.
//!
//! The curve of n images may be exactly 0, which no number of images can show, and which makes the log loss of a
//! surprise infinite. So its value is at least 1 / (n + 2), Laplace's rule of succession, or the uncalibrated
//! probability where that is lower. (scikit-learn's `CalibratedClassifierCV` has no floor, and predicts all
//! classes alike where every curve is 0.) A class without images, or without images of others, keeps its
//! probability, since there is nothing to fit.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Calibration, CalibrationConfig, HeldOut};

/// `{ kind = "isotonic", floor = 0.001, classes = [[[0.1, 0.9], [0.0, 1.0]], [[], []]] }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Isotonic {
    /// The lowest value of a curve, except where the probability is lower.
    pub floor: f64,
    /// For each class the points x, rising, and their values y, not falling, from 0 to 1: straight between points,
    /// constant beyond the first and last. Without points the probability stays as it is.
    pub classes: Vec<[Vec<f64>; 2]>,
}

/// The most points of all curves, which are stored in the bundle: those of a longer curve are thinned evenly.
const MAX_POINTS: usize = 100_000;

impl Isotonic {
    /// Returns the curves fitted on the first member.
    fn of(held_out: &HeldOut) -> Isotonic {
        let (n_images, n_classes) = (held_out.n_images(), held_out.task.n_classes());
        let max_points = (MAX_POINTS / n_classes).clamp(50, 1000);
        let curve = |class: usize| {
            let pair = |image: usize| {
                (held_out.row(0, image)[class], f64::from(held_out.classes[image] == class))
            };
            thinned(curve((0..n_images).map(pair).collect()), max_points)
        };
        let classes = (0..n_classes).into_par_iter().map(curve).collect();
        Isotonic { floor: 1.0 / (n_images as f64 + 2.0), classes }
    }
}

/// Consecutive images with the same fitted value.
struct Block {
    /// The lowest and highest x.
    x: [f64; 2],
    n: f64,
    /// The sum of y.
    sum: f64,
}

/// Returns the points of the non-decreasing curve through (x, y) with the least squared error, y being 0 or 1.
/// There are none if all y are the same.
fn curve(mut pairs: Vec<(f64, f64)>) -> [Vec<f64>; 2] {
    let sum: f64 = pairs.iter().map(|it| it.1).sum();
    if sum == 0.0 || sum == pairs.len() as f64 {
        return [Vec::new(), Vec::new()];
    }
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut blocks: Vec<Block> = Vec::new();
    for (x, y) in pairs {
        match blocks.last_mut() {
            // Images with the same probability get the same value.
            Some(last) if last.x == [x, x] => {
                last.n += 1.0;
                last.sum += y;
            }
            _ => {
                pool(&mut blocks);
                blocks.push(Block { x: [x, x], n: 1.0, sum: y });
            }
        }
    }
    pool(&mut blocks);
    let mut points = [Vec::new(), Vec::new()];
    for Block { x: [low, high], n, sum } in blocks {
        let ends = if low < high { vec![low, high] } else { vec![low] };
        for x in ends {
            points[0].push(x);
            points[1].push(sum / n);
        }
    }
    points
}

/// Merges the last block with those before it whose mean is not lower.
fn pool(blocks: &mut Vec<Block>) {
    while let [.., before, last] = blocks.as_mut_slice() {
        // Cross-multiplied: sums and numbers are integers, so this is exact.
        if before.sum * last.n < last.sum * before.n {
            return;
        }
        before.x[1] = last.x[1];
        before.n += last.n;
        before.sum += last.sum;
        blocks.pop();
    }
}

/// Returns at most `n` of the points, evenly spaced by their position, with the first and the last.
fn thinned(points: [Vec<f64>; 2], n: usize) -> [Vec<f64>; 2] {
    let last = points[0].len().saturating_sub(1);
    if last < n {
        return points;
    }
    points.map(|all| (0..n).map(|it| all[it * last / (n - 1)]).collect())
}

/// Returns the value of a curve.
fn value([x, y]: &[Vec<f64>; 2], at: f64) -> f64 {
    let after = x.partition_point(|it| *it < at);
    match (after, x.len()) {
        (0, _) => y[0],
        (after, n) if after == n => y[n - 1],
        (after, _) => {
            let share = (at - x[after - 1]) / (x[after] - x[after - 1]);
            y[after - 1] + share * (y[after] - y[after - 1])
        }
    }
}

impl Calibration for Isotonic {
    fn apply(&self, probabilities: &[f64]) -> Vec<f64> {
        let of_class = |(class, &p): (usize, &f64)| match self.classes.get(class) {
            Some(curve) if !curve[0].is_empty() && !p.is_nan() => {
                value(curve, p).max(self.floor.min(p))
            }
            _ => p,
        };
        let mut calibrated: Vec<f64> = probabilities.iter().enumerate().map(of_class).collect();
        let sum: f64 = calibrated.iter().sum();
        calibrated.iter_mut().for_each(|it| *it /= sum);
        calibrated
    }

    fn problem(&self, n_classes: usize) -> Option<String> {
        if !(self.classes.is_empty() || self.classes.len() == n_classes) {
            let n = self.classes.len();
            return Some(format!("`classes` has curves of {n} classes, not of {n_classes}"));
        }
        if !(0.0 < self.floor && self.floor < 1.0 || self.floor == 0.0 && self.classes.is_empty()) {
            return Some(format!("`floor` must be between 0 and 1, not {}", self.floor));
        }
        let is_fine = |[x, y]: &[Vec<f64>; 2]| {
            x.len() == y.len()
                && x.iter().chain(y).all(|it| (0.0..=1.0).contains(it))
                && x.windows(2).all(|it| it[0] < it[1])
                && y.windows(2).all(|it| it[0] <= it[1])
        };
        let class = self.classes.iter().position(|it| !is_fine(it))?;
        Some(format!(
            "`classes[{class}]` must be rising x and as many y that do not fall, from 0 to 1"
        ))
    }

    fn fit(&self, held_out: &HeldOut) -> CalibrationConfig {
        CalibrationConfig::Isotonic(Isotonic::of(held_out))
    }
}

#[cfg(test)]
mod tests {
    use testkit::check_close_slices;

    use super::{Isotonic, curve, thinned, value};
    use crate::Calibration as _;

    #[test]
    fn violators_are_pooled() {
        // 0, 1, 0, 1 at 0.1, 0.3, 0.5, 0.9: the middle two are pooled to 1/2.
        let it = curve(vec![(0.9, 1.0), (0.1, 0.0), (0.5, 0.0), (0.3, 1.0)]);
        assert_eq!(it, [vec![0.1, 0.3, 0.5, 0.9], vec![0.0, 0.5, 0.5, 1.0]]);
        // Straight between 0.1 and 0.3, constant beyond the ends.
        let at = |x| value(&it, x);
        check_close_slices(
            &[at(0.2), at(0.4), at(0.7), at(0.0), at(1.0)],
            &[0.25, 0.5, 0.75, 0.0, 1.0],
            1e-12,
        );
    }

    #[test]
    fn equal_probabilities_get_one_value() {
        let it = curve(vec![(0.5, 1.0), (0.5, 0.0), (0.5, 1.0), (0.2, 0.0)]);
        assert_eq!(it, [vec![0.2, 0.5], vec![0.0, 2.0 / 3.0]]);
    }

    #[test]
    fn a_class_without_images_keeps_its_probability() {
        let none: [Vec<f64>; 2] = Default::default();
        assert_eq!(curve(vec![(0.1, 0.0), (0.4, 0.0)]), none);
        let rising = [vec![0.0, 1.0], vec![0.0, 0.5]];
        let it = Isotonic { floor: 0.01, classes: vec![rising, [vec![], vec![]]] };
        assert_eq!(it.problem(2), None);
        // 0.8 becomes 0.4, and 0.2 stays: 2/3 and 1/3.
        check_close_slices(&it.apply(&[0.8, 0.2]), &[2.0 / 3.0, 1.0 / 3.0], 1e-12);
    }

    #[test]
    fn no_probability_becomes_zero() {
        let never = || [vec![0.0, 1.0], vec![0.0, 0.0]];
        let it = Isotonic { floor: 0.1, classes: vec![never(), never()] };
        // 0.1 and the lower 0.02, of a sum of 0.12.
        check_close_slices(&it.apply(&[0.98, 0.02]), &[0.1 / 0.12, 0.02 / 0.12], 1e-12);
    }

    #[test]
    fn a_long_curve_is_thinned() {
        let all: Vec<f64> = (0..1001).map(f64::from).collect();
        let [x, _] = thinned([all.clone(), all.clone()], 11);
        assert_eq!(x, (0..11).map(|it| f64::from(100 * it)).collect::<Vec<f64>>());
        assert_eq!(thinned([all.clone(), all.clone()], 1001)[0], all);
    }
}
