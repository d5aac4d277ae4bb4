//! Comparisons that report where two results differ.

use candle::{DType, Tensor};

/// Checks that a tensor's values, in row-major order, are within `tolerance` of `want`.
#[track_caller]
pub fn check_close(got: &Tensor, want: &[f64], tolerance: f64) {
    let got = got.flatten_all().and_then(|it| it.to_dtype(DType::F64)?.to_vec1::<f64>());
    check_close_slices(&got.expect("a readable tensor"), want, tolerance);
}

/// Checks that two lists are within `tolerance` of each other, element by element.
#[track_caller]
pub fn check_close_slices(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "different sizes");
    for (idx, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance, "[{idx}]: got {got}, want {want}");
    }
}

/// The norm of the difference over the norm of `want`; 0 where both vanish.
pub fn relative_distance(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len(), "different sizes");
    let norm = |xs: &mut dyn Iterator<Item = f64>| xs.map(|x| x * x).sum::<f64>().sqrt();
    let distance = norm(&mut got.iter().zip(want).map(|(a, b)| a - b));
    match norm(&mut want.iter().copied()) {
        0.0 if distance == 0.0 => 0.0,
        scale => distance / scale,
    }
}
