//! What a network says: one tensor of logits a head.

use base::task::Scope;
use candle::Tensor;

/// The logits of each head, with the question that it answers.
#[derive(Clone, Debug)]
pub struct Logits {
    /// `(question, [n, class])`, in the order of the heads.
    pub heads: Vec<(Scope, Tensor)>,
}
