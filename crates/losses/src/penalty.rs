//! What a loss says of a batch: terms that are added.

use candle::{Result, Tensor};

/// A sum of terms.
#[derive(Clone, Debug, Default)]
pub struct Penalty {
    /// At least one, but of no questions.
    pub terms: Vec<Term>,
}

/// One term.
#[derive(Clone, Debug)]
pub struct Term {
    /// How much of it is descended on.
    pub weight: f64,
    /// What is descended on.
    pub judged: Judged,
}

/// A judgement, with sum and norm kept apart where examples are judged one by one, so that several
/// batches that make up one step add up to what one large batch would have been.
#[derive(Clone, Debug)]
pub enum Judged {
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
    /// One term that counts fully.
    pub fn of(judged: Judged) -> Penalty {
        Penalty { terms: vec![Term { weight: 1.0, judged }] }
    }

    /// Adds `weight` times another penalty.
    pub fn add(&mut self, other: Penalty, weight: f64) {
        let scaled = |it: Term| Term { weight: weight * it.weight, ..it };
        self.terms.extend(other.terms.into_iter().map(scaled));
    }

    /// What a step descends on: a number.
    pub fn mean(&self) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for Term { weight, judged } in &self.terms {
            let mean = match judged {
                // Rows that all weigh nothing cost nothing.
                Judged::PerExample { weighted, norm } => {
                    (weighted.sum_all()? * (weight / if *norm > 0.0 { *norm } else { 1.0 }))?
                }
                Judged::Batch(loss) => (loss * *weight)?,
            };
            sum = Some(match sum {
                Some(before) => (before + mean)?,
                None => mean,
            });
        }
        Ok(sum.expect("a network says at least one thing"))
    }
}
