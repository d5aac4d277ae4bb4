//! Gradient clipping: large gradients are scaled down before a step. One file per method.

mod adaptive;
mod norm;
mod off;
mod value;

use candle::Result;
use models::Param;
use ops::Gradients;

use crate::rows::Rows;

base::choice! {
    /// `[train] clip`
    pub enum ClipConfig: dyn Clip {
        /// No gradient clipping.
        "none" => Off(off::Off),
        /// Clips the norm of all gradients together (Pascanu et al., 2013).
        "norm" => Norm(norm::Norm),
        /// Clips each gradient element to a range.
        "value" => Value(value::Value),
        /// Adaptive gradient clipping: each row by its weights' norm (Brock et al., 2021).
        "adaptive" => Adaptive(adaptive::Adaptive),
    }
}

/// A gradient clipping method.
pub trait Clip {
    /// Clips gradients in place.
    ///
    /// - `params`: the parameters that may have a gradient, in name order.
    /// - `head`: the index of the head's stage.
    ///
    /// # Errors
    /// A tensor operation fails.
    fn clip(&self, gradients: &mut Gradients, params: &[&Param], head: usize) -> Result<()>;

    /// Returns the same method as a card takes it, where it is a part of the optimizer's step.
    fn on_card(&self) -> gpu::update::Clip;

    /// Returns the first invalid setting as a message, if there is one.
    fn problem(&self) -> Option<String>;
}

/// Returns the 2-norm of each row.
fn norms(rows: Rows, xs: &[f32]) -> Vec<f64> {
    rows.sums(xs, xs, |x, y| x * y).into_iter().map(f64::sqrt).collect()
}

/// Validates a number that must be above 0.
fn positive(name: &str, value: f64) -> Option<String> {
    (!(value > 0.0 && value.is_finite())).then(|| format!("`{name}` is above 0, not {value}"))
}
