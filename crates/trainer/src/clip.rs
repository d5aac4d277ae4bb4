//! Clipping: gradients that are too large are made smaller before a step. One file a way.

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
        /// Gradients as they are.
        "none" => Off(off::Off),
        /// All of them by one factor, so that their norm is at most so much (Pascanu et al., 2013).
        "norm" => Norm(norm::Norm),
        /// Each number by itself.
        "value" => Value(value::Value),
        /// Each row by its weights' norm (Brock et al., 2021).
        "adaptive" => Adaptive(adaptive::Adaptive),
    }
}

/// A way to make gradients smaller.
pub trait Clip {
    /// Makes gradients smaller where they are too large.
    ///
    /// - `params`: what has a gradient, in name order.
    /// - `head`: the position of the head's stage.
    ///
    /// # Errors
    /// Only of tensors.
    fn clip(&self, gradients: &mut Gradients, params: &[&Param], head: usize) -> Result<()>;

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String>;
}

/// The 2-norm of each row.
fn norms(rows: Rows, xs: &[f32]) -> Vec<f64> {
    rows.sums(xs, xs, |x, y| x * y).into_iter().map(f64::sqrt).collect()
}

/// What is wrong with a number that is to be above 0, if anything is.
fn positive(name: &str, value: f64) -> Option<String> {
    (!(value > 0.0 && value.is_finite())).then(|| format!("`{name}` is above 0, not {value}"))
}
