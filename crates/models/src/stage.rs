//! A backbone in stages: the units in which layers are frozen, learning rates are set, feature maps are
//! taken, and a branched head copies layers.

use candle::Result;
use ops::{Pass, Value};

use crate::params::Builder;

/// A part of a network with its own parameters.
pub trait Layer {
    /// Maps feature maps `[n, h, w, c]` to feature maps, or at a backbone's end to features `[n, width]`.
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value>;
}

impl<L: Layer + ?Sized> Layer for Box<L> {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        (**self).forward(xs, pass)
    }
}

/// Layers in sequence.
impl<L: Layer> Layer for Vec<L> {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        self.iter().try_fold(xs.clone(), |xs, it| it.forward(&xs, pass))
    }
}

/// A stage that is not built yet: it can be built more than once.
pub struct Stage<'a> {
    /// `stem`, `stage1`, ..., `neck`.
    pub name: String,
    build: Box<Build<'a>>,
}

type Build<'a> = dyn Fn(Builder<'_>) -> Result<Box<dyn Layer>> + 'a;

impl<'a> Stage<'a> {
    /// A stage that `build` builds.
    pub fn new<L: Layer + 'static>(
        name: impl Into<String>,
        build: impl Fn(Builder<'_>) -> Result<L> + 'a,
    ) -> Stage<'a> {
        let build = move |it: Builder<'_>| Ok(Box::new(build(it)?) as Box<dyn Layer>);
        Stage { name: name.into(), build: Box::new(build) }
    }

    /// Creates the parameters and the layers that hold them.
    pub fn build(&self, builder: Builder<'_>) -> Result<Box<dyn Layer>> {
        (self.build)(builder)
    }
}

/// The number of trainable parameters of an architecture.
#[cfg(test)]
pub(crate) fn n_params(architecture: &dyn crate::Architecture) -> Result<usize> {
    let mut params = crate::Params::blank();
    for stage in architecture.stages() {
        stage.build(params.builder())?;
    }
    Ok(params.n_trainable())
}
