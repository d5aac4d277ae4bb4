//! Checks weights for values that are not finite and for negative variances.

use candle::{DType, Tensor};

use super::error::WeightsError;

/// Checks that all weights are finite and all running variances are at least 0.
///
/// # Errors
/// Lists every tensor with a value that is not finite, and every running variance below 0.
pub(crate) fn check_numbers<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), WeightsError> {
    let mut problems = Vec::new();
    for (name, tensor) in tensors {
        let numbers = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let n_bad = numbers.iter().filter(|it| !it.is_finite()).count();
        let is_variance = name.ends_with("running_var");
        if n_bad > 0 {
            let n = numbers.len();
            problems
                .push(format!("`{name}` is not finite (NaN or infinite): {n_bad} of {n} values"));
        } else if is_variance && numbers.iter().any(|&it| it < 0.0) {
            problems.push(format!("`{name}` is a variance with values below 0"));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(WeightsError::NotFinite(problems)) }
}
