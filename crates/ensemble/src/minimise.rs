//! L-BFGS: minimises a smooth convex function of many numbers, given its gradient.
//!
//! Nocedal and Wright, "Numerical Optimization", 2006, algorithms 7.4 and 7.5: the direction follows from the last
//! [`MEMORY`] steps and changes of the gradient. The step is halved until the function falls by enough (Armijo);
//! for convex functions that suffices. Close to the minimum the function changes by less than its rounding error,
//! where the gradient is still exact, so a change within that error counts as a fall.

use std::collections::VecDeque;

/// The number of steps that are remembered.
const MEMORY: usize = 10;

/// The largest number of steps.
const MAX_STEPS: usize = 1000;

/// The largest number of steps in a row without a fall.
const MAX_FLAT: usize = 20;

/// The relative rounding error of the function: of a sum over many images.
const ROUNDING: f64 = 1e-13;

/// Returns the minimum of `f`, which returns its value and gradient: a point where no part of the gradient is
/// greater than `tolerance`, or from which no step goes further down.
pub(crate) fn minimise(
    start: Vec<f64>,
    tolerance: f64,
    f: impl Fn(&[f64]) -> (f64, Vec<f64>),
) -> Vec<f64> {
    let mut x = start;
    let (mut value, mut gradient) = f(&x);
    let mut steps: VecDeque<Step> = VecDeque::new();
    let mut n_flat = 0;
    for _ in 0..MAX_STEPS {
        if gradient.iter().all(|it| it.abs() <= tolerance) || n_flat == MAX_FLAT {
            break;
        }
        let direction = direction(&gradient, &steps);
        let slope = dot(&direction, &gradient);
        // The first step has no scale yet: it is of length 1 at most.
        let mut size = match steps.is_empty() {
            true => dot(&gradient, &gradient).sqrt().recip().min(1.0),
            false => 1.0,
        };
        let rounding = ROUNDING * value.abs();
        let next = loop {
            let to: Vec<f64> = x.iter().zip(&direction).map(|(x, it)| x + size * it).collect();
            let (to_value, to_gradient) = f(&to);
            if to_value <= value + 1e-4 * size * slope + rounding {
                break Some((to, to_value, to_gradient));
            }
            size /= 2.0;
            if size < 1e-20 {
                break None;
            }
        };
        let Some((to, to_value, to_gradient)) = next else {
            if steps.is_empty() {
                break;
            }
            // What is remembered misleads: begin anew.
            steps.clear();
            continue;
        };
        let by: Vec<f64> = to.iter().zip(&x).map(|(to, x)| to - x).collect();
        let change: Vec<f64> = to_gradient.iter().zip(&gradient).map(|(to, it)| to - it).collect();
        let curvature = dot(&by, &change);
        if curvature > 1e-12 * (dot(&by, &by) * dot(&change, &change)).sqrt() {
            steps.push_back(Step { by, change, curvature });
            if steps.len() > MEMORY {
                steps.pop_front();
            }
        }
        n_flat = if to_value < value - rounding { 0 } else { n_flat + 1 };
        (x, value, gradient) = (to, to_value, to_gradient);
    }
    x
}

/// A step, the change of the gradient over it, and the product of both.
struct Step {
    by: Vec<f64>,
    change: Vec<f64>,
    curvature: f64,
}

/// Returns minus the gradient times the approximate inverse of the Hessian, by the two-loop recursion.
fn direction(gradient: &[f64], steps: &VecDeque<Step>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|it| -it).collect();
    let mut shares = Vec::new();
    for step in steps.iter().rev() {
        let share = dot(&step.by, &direction) / step.curvature;
        direction.iter_mut().zip(&step.change).for_each(|(it, y)| *it -= share * y);
        shares.push(share);
    }
    if let Some(last) = steps.back() {
        let scale = last.curvature / dot(&last.change, &last.change);
        direction.iter_mut().for_each(|it| *it *= scale);
    }
    for (step, share) in steps.iter().zip(shares.into_iter().rev()) {
        let back = dot(&step.change, &direction) / step.curvature;
        direction.iter_mut().zip(&step.by).for_each(|(it, s)| *it += (share - back) * s);
    }
    direction
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use testkit::check_close_slices;

    use super::minimise;

    #[test]
    fn an_ill_conditioned_quadratic_is_minimised() {
        // f = Σ_i 10^i (x_i - i)² / 2: the curvatures differ by 10⁵.
        let scale = |i: usize| 10_f64.powi(i as i32);
        let f = |x: &[f64]| {
            let terms = x.iter().enumerate();
            let value: f64 =
                terms.clone().map(|(i, x)| scale(i) * (x - i as f64).powi(2) / 2.0).sum();
            (value, terms.map(|(i, x)| scale(i) * (x - i as f64)).collect())
        };
        let at = minimise(vec![7.0; 6], 1e-9, f);
        assert!(at.iter().enumerate().all(|(i, x)| (x - i as f64).abs() < 1e-8), "{at:?}");
    }

    #[test]
    fn a_minimum_stays_where_it_is() {
        let at = minimise(vec![0.0; 3], 1e-9, |x| (x.iter().map(|x| x * x).sum(), x.to_vec()));
        check_close_slices(&at, &[0.0; 3], 0.0);
    }
}
