//! Heads: from features to logits. One file a head.

mod factored;
mod joint;

use base::{Task, task::Scope};
use candle::Result;
use ops::{Pass, Value};

pub use factored::Factored;
pub use joint::Joint;

use crate::params::Builder;

base::choice! {
    /// The `[head]` section of a config: what is asked of the features.
    pub enum HeadConfig: dyn Head {
        /// One linear layer with one output a joint class.
        "joint" => Joint(Joint),
        /// One linear layer for each factor of the task; their answers are multiplied.
        "factored" => Factored(Factored),
    }
}

/// A head's config, which knows how to build it.
pub trait Head {
    /// Creates the parameters and the layers that hold them, on `n_features` features.
    fn build(&self, n_features: usize, task: &Task, builder: Builder<'_>)
    -> Result<Box<dyn Heads>>;

    /// Where a published classifier of the joint classes belongs: the name of the layer, below
    /// the head's place. `None` where no single layer answers jointly.
    fn classifier(&self) -> Option<&'static str>;

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String>;
}

/// What is wrong with a share to drop, if anything is.
fn dropout_problem(dropout: f64) -> Option<String> {
    (!(0.0..1.0).contains(&dropout))
        .then(|| format!("`dropout` is from 0 to below 1, not {dropout}"))
}

/// What sits on a backbone.
pub trait Heads {
    /// The logits `[n, class]` of each question, for features `[n, width]`.
    fn logits(&self, features: &Value, pass: &Pass<'_>) -> Result<Vec<(Scope, Value)>>;
}
