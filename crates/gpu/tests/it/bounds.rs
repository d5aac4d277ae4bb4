//! Comparisons of numbers that each have a bound of their own, and of partial moments.

use gpu::parts::{Parts, PartsKind};

/// Fails unless each number is within its own bound.
#[track_caller]
pub(crate) fn within(what: &str, got: &[f64], want: &[f64], bounds: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}: another number of numbers");
    // Not so for a NaN.
    let is_near = |idx: usize| (got[idx] - want[idx]).abs() <= bounds[idx];
    let wrong: Vec<usize> = (0..got.len()).filter(|idx| !is_near(*idx)).collect();
    if let Some(&idx) = wrong.first() {
        panic!(
            "{what}: {} of {} are wrong; number {idx} is {} and not {} ± {:.1e}; the first: {:?}",
            wrong.len(),
            got.len(),
            got[idx],
            want[idx],
            bounds[idx],
            &wrong[..wrong.len().min(12)]
        );
    }
}

/// Merges partial moments (Chan et al., 1979), and compares them with those of the stored numbers.
#[track_caller]
pub(crate) fn check_moments(
    what: &str,
    found: &[f64],
    parts: &Parts,
    stored: &[f64],
    is_pivotless: bool,
) {
    let &Parts { n, c, kind, .. } = parts;
    assert_eq!((kind, found.len()), (PartsKind::Moments, n * (2 * c + 1)), "{what}");
    let rows = stored.len() / c;
    let (values, counts) = found.split_at(n * 2 * c);
    assert_eq!(counts.iter().sum::<f64>(), rows as f64, "{what}: the parts' rows");
    for channel in 0..c {
        let column: Vec<f64> = stored.iter().skip(channel).step_by(c).copied().collect();
        let mean = column.iter().sum::<f64>() / rows as f64;
        let squares: f64 = column.iter().map(|it| (it - mean).powi(2)).sum();
        let total: f64 = (0..n).map(|part| counts[part] * values[part * 2 * c + channel]).sum();
        let merged = total / rows as f64;
        let spread: f64 = (0..n)
            .map(|part| {
                let of_part = values[part * 2 * c + channel];
                values[(part * 2 + 1) * c + channel] + counts[part] * (of_part - merged).powi(2)
            })
            .sum();
        let most = column.iter().fold(0f64, |most, it| most.max(it.abs()));
        assert!(
            (merged - mean).abs() <= 1e-6 * most + 1e-12,
            "{what}: mean {merged} of channel {channel}, not {mean}"
        );
        // A part loses at most a factor of its count of the last bit; the means of parts were rounded. After a residual
        // or an activation the pivot is 0.
        let about_zero =
            if is_pivotless { 2f64.powi(-22) * most * most * rows as f64 } else { 0.0 };
        let bound = 2e-5 * squares
            + 2f64.powi(-23) * most * (squares * rows as f64).sqrt()
            + about_zero
            + 1e-9;
        assert!(
            (spread - squares).abs() <= bound,
            "{what}: squares {spread} of channel {channel}, not {squares}"
        );
    }
}
