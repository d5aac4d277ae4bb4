//! Gradient check: the backward pass against central differences, in `f64`.

/// Checks the gradient of a function at a point.
///
/// `f` takes a point and returns the value there and the gradient computed by its backward pass.
/// It works in `f64`, where a step of 1e-6 leaves about nine correct digits: a failure is a wrong
/// derivative, not rounding.
#[track_caller]
pub fn check_gradient(at: &[f64], mut f: impl FnMut(&[f64]) -> (f64, Vec<f64>)) {
    const STEP: f64 = 1e-6;
    let (_, gradient) = f(at);
    assert_eq!(gradient.len(), at.len(), "one derivative per input");
    for (idx, &got) in gradient.iter().enumerate() {
        let mut nudged = |by: f64| {
            let mut point = at.to_vec();
            point[idx] += by;
            f(&point).0
        };
        let want = (nudged(STEP) - nudged(-STEP)) / (2.0 * STEP);
        let close = (got - want).abs() <= 1e-6 * want.abs().max(1.0);
        assert!(close, "d/dx[{idx}] at {}: backward gives {got}, differences give {want}", at[idx]);
    }
}

#[cfg(test)]
mod tests {
    use super::check_gradient;

    #[test]
    fn a_correct_derivative_passes() {
        check_gradient(&[0.5, -2.0], |x| (x[0].sin() + x[1] * x[1], vec![x[0].cos(), 2.0 * x[1]]));
    }

    #[test]
    fn a_derivative_off_by_a_thousandth_fails() {
        let wrong = || check_gradient(&[0.5], |x| (x[0].sin(), vec![1.001 * x[0].cos()]));
        assert!(std::panic::catch_unwind(wrong).is_err());
    }
}
