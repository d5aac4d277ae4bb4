//! What a loss says of a batch: terms that are added.

use candle::{Result, Tensor};

/// A sum of terms.
#[derive(Clone, Debug, Default)]
pub struct LossTerms {
    /// At least one, but of no questions.
    pub terms: Vec<Term>,
}

/// One term.
#[derive(Clone, Debug)]
pub struct Term {
    /// How much of it is descended on.
    pub weight: f64,
    /// What is descended on.
    pub value: TermValue,
}

/// A judgement, with sum and norm kept apart where examples are judged one by one, so that several
/// batches that make up one step add up to what one large batch would have been.
#[derive(Clone, Debug)]
pub enum TermValue {
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

impl LossTerms {
    /// One term that counts fully.
    pub fn of(value: TermValue) -> LossTerms {
        LossTerms { terms: vec![Term { weight: 1.0, value }] }
    }

    /// Adds `weight` times another terms.
    pub fn add(&mut self, other: LossTerms, weight: f64) {
        let scaled = |it: Term| Term { weight: weight * it.weight, ..it };
        self.terms.extend(other.terms.into_iter().map(scaled));
    }

    /// What a step descends on: a number.
    pub fn mean(&self) -> Result<Tensor> {
        self.part(&self.norms(), 1.0)
    }

    /// The sum of the rows' weights in each term; nothing of a term that judges the batch as a whole.
    pub fn norms(&self) -> Vec<f64> {
        let norm = |it: &Term| match it.value {
            TermValue::PerExample { norm, .. } => norm,
            TermValue::Batch(_) => 0.0,
        };
        self.terms.iter().map(norm).collect()
    }

    /// What this part of a step adds to what the whole step descends on: a number.
    ///
    /// - `norms`: those of all parts, added up.
    /// - `share`: of the step's rows. A term that judges batches as a whole judges each part, and counts
    ///   by it.
    pub fn part(&self, norms: &[f64], share: f64) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (Term { weight, value }, norm) in self.terms.iter().zip(norms) {
            let mean = match value {
                // Rows that all weigh nothing cost nothing.
                TermValue::PerExample { weighted, .. } => {
                    (weighted.sum_all()? * (weight / if *norm > 0.0 { *norm } else { 1.0 }))?
                }
                TermValue::Batch(loss) => (loss * (weight * share))?,
            };
            sum = Some(match sum {
                Some(before) => (before + mean)?,
                None => mean,
            });
        }
        Ok(sum.expect("a network says at least one thing"))
    }
}
