//! The mode in which a network is run: inference, inference with gradients, or training.

use base::{Rng, Seed};
use candle::{Result, Tensor, Var};

use crate::{Prepacked, Tape, Value};

/// One run of a network over a batch.
pub enum Pass<'a> {
    /// Inference: running statistics, no dropout, nothing recorded. Weights are packed once for all passes
    /// with the same `Prepacked`, which must not outlive a change of the parameters.
    Eval(&'a Prepacked),
    /// Inference with gradients: the network of [`Pass::Eval`], recorded on a tape from its first leaf on. The
    /// parameters are constants: gradients are those of other leaves, such as a feature map.
    Gradient(&'a Tape),
    /// Training: the statistics of the batch, dropout, and a tape for the backward pass.
    Train(Training<'a>),
}

/// The state of a training pass.
pub struct Training<'a> {
    /// The tape that records the backward pass.
    pub tape: &'a Tape,
    /// The seed of the dropout masks.
    pub seed: Seed,
    /// The optimizer step, so that each step has its own masks.
    pub step: usize,
    /// The index of the batch's first row within the whole step, which may consist of several smaller
    /// batches: a mask depends on the row, not on its position in memory.
    pub first_row: usize,
    /// The weight of this batch in the running statistics, in place of each norm's own momentum:
    /// 1 / (k + 1) in the batch after k makes them the mean of all batches.
    pub momentum: Option<f64>,
}

impl Pass<'_> {
    /// Whether it is training: norms use the statistics of the batch, and dropout drops.
    pub fn is_training(&self) -> bool {
        matches!(self, Pass::Train(_))
    }

    /// Exports a value for candle's operations: as a leaf of its graph, if the pass has a tape.
    pub fn export(&self, value: &Value) -> Result<Tensor> {
        let mut one = self.export_all(std::slice::from_ref(value))?;
        Ok(one.remove(0))
    }

    /// Exports values together: from a card, with one wait.
    pub fn export_all(&self, values: &[Value]) -> Result<Vec<Tensor>> {
        match self {
            Pass::Eval(_) => Value::tensors(values),
            Pass::Gradient(tape) => tape.export_all(values),
            Pass::Train(it) => it.tape.export_all(values),
        }
    }

    /// A parameter for this pass: a leaf of the tape in training, a constant at inference.
    pub fn param(&self, var: &Var) -> Value {
        match self {
            Pass::Eval(packed) => Value::parameter(var, packed),
            Pass::Gradient(tape) => tape.constant(var),
            Pass::Train(it) => it.tape.leaf(var),
        }
    }

    /// The random stream of the layer `name` for one row of the batch; `None` at inference.
    pub(crate) fn stream(&self, name: &str, row: usize) -> Option<Rng> {
        match self {
            Pass::Eval(_) | Pass::Gradient(_) => None,
            Pass::Train(it) => {
                let row = it.first_row + row;
                Some(it.seed.stream(&format!("{name}/{}/{row}", it.step)))
            }
        }
    }
}
