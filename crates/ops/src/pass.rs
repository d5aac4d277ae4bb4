//! Which way a network is run: to answer, or to learn.

use base::{Rng, Seed};
use candle::Var;

use crate::{Tape, Value};

/// One run of a network over a batch.
pub enum Pass<'a> {
    /// Answering: running statistics, no dropout, nothing remembered.
    Eval,
    /// Learning: the batch's own statistics, dropout, and a tape to go back on.
    Train(Training<'a>),
}

/// What a learning pass needs to know.
pub struct Training<'a> {
    /// Where the way back is written.
    pub tape: &'a Tape,
    /// The root of the dropout masks.
    pub seed: Seed,
    /// The optimizer step, so that each has masks of its own.
    pub step: usize,
    /// The position of the batch's first row within the whole step, which several smaller batches
    /// may make up: a mask belongs to a row, not to a place in memory.
    pub first_row: usize,
    /// The share of this batch in the running statistics, in place of each norm's own momentum:
    /// 1 / (k + 1) in the batch after k makes them the mean of all batches.
    pub follow: Option<f64>,
}

impl Pass<'_> {
    /// A parameter as this pass sees it: a leaf of the tape, or just its numbers.
    pub fn param(&self, var: &Var) -> Value {
        match self {
            Pass::Eval => Value::constant(var.as_detached_tensor()),
            Pass::Train(it) => it.tape.leaf(var),
        }
    }

    /// The random stream of the layer `name` for one row of the batch; none when answering.
    pub(crate) fn stream(&self, name: &str, row: usize) -> Option<Rng> {
        match self {
            Pass::Eval => None,
            Pass::Train(it) => {
                let row = it.first_row + row;
                Some(it.seed.stream(&format!("{name}/{}/{row}", it.step)))
            }
        }
    }
}
