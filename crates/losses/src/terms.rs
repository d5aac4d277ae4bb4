//! The result of a loss: a sum of terms.

use candle::{Result, Tensor};

/// A sum of terms.
#[derive(Clone, Debug, Default)]
pub struct LossTerms {
    /// At least one, unless the head has no outputs.
    pub terms: Vec<Term>,
}

/// One term.
#[derive(Clone, Debug)]
pub struct Term {
    /// The weight of the term in the sum.
    pub weight: f64,
    /// The value.
    pub value: TermValue,
}

/// The value of a term. Sum and norm of per-example losses are separate, so that the micro-batches of
/// one step (gradient accumulation) add up to the loss of one large batch.
#[derive(Clone, Debug)]
pub enum TermValue {
    /// One loss per row.
    PerExample {
        /// `[n]`: the loss of each row times its weight.
        weighted: Tensor,
        /// The sum of the rows' weights: the divisor of the sum of `weighted`.
        norm: f64,
    },
    /// A loss of the batch as a whole: a scalar.
    Batch(Tensor),
}

impl LossTerms {
    /// Returns one term of weight 1.
    pub fn of(value: TermValue) -> LossTerms {
        LossTerms { terms: vec![Term { weight: 1.0, value }] }
    }

    /// Adds the terms of `other`, multiplied by `weight`.
    pub fn add(&mut self, other: LossTerms, weight: f64) {
        let scaled = |it: Term| Term { weight: weight * it.weight, ..it };
        self.terms.extend(other.terms.into_iter().map(scaled));
    }

    /// Returns the loss of a step of one batch: a scalar.
    pub fn mean(&self) -> Result<Tensor> {
        self.part(&self.norms(), 1.0)
    }

    /// Returns the sum of the rows' weights of each term; 0 for a term of the batch as a whole.
    pub fn norms(&self) -> Vec<f64> {
        let norm = |it: &Term| match it.value {
            TermValue::PerExample { norm, .. } => norm,
            TermValue::Batch(_) => 0.0,
        };
        self.terms.iter().map(norm).collect()
    }

    /// Returns the contribution of this micro-batch to the loss of the step: a scalar.
    ///
    /// - `norms`: the norms of all micro-batches, added up.
    /// - `share`: the share of the step's rows in this micro-batch. A term of the batch as a whole is
    ///   computed for each micro-batch, and weighted by this share.
    ///
    /// # Panics
    /// There are no terms.
    pub fn part(&self, norms: &[f64], share: f64) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (Term { weight, value }, norm) in self.terms.iter().zip(norms) {
            let mean = match value {
                // If all rows have weight 0, so does the loss.
                TermValue::PerExample { weighted, .. } => {
                    (weighted.sum_all()? * (weight / if *norm > 0.0 { *norm } else { 1.0 }))?
                }
                TermValue::Batch(loss) => (loss * (weight * share))?,
            };
            sum = Some(match sum {
                Some(sum) => (sum + mean)?,
                None => mean,
            });
        }
        Ok(sum.expect("at least one term"))
    }
}
