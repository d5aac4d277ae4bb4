//! What a loss says of a batch.

use candle::{Result, Tensor};

/// A penalty, with sum and norm kept apart where examples are judged one by one, so that several
/// batches that make up one step add up to what one large batch would have been.
#[derive(Clone, Debug)]
pub enum Penalty {
    /// Each row for itself.
    PerExample {
        /// `[n]`: the loss of each row times its weight.
        weighted: Tensor,
        /// The sum of the rows' weights: what the sum of `weighted` is divided by.
        norm: f64,
    },
    /// The batch as a whole: a number.
    Batch(Tensor),
}

impl Penalty {
    /// The mean that a step descends on: a number.
    pub fn mean(&self) -> Result<Tensor> {
        match self {
            Penalty::PerExample { weighted, norm } => weighted.sum_all()? / *norm,
            Penalty::Batch(loss) => Ok(loss.clone()),
        }
    }
}
