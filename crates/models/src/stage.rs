//! A backbone in stages, which is how the field names its depths: what is frozen, what learns at
//! which rate, where maps are taken, and what a branched head copies.

use candle::Result;
use ops::{Pass, Value};

use crate::params::Builder;

/// A part of a network: a function of its own parameters.
pub trait Layer {
    /// Turns maps `[n, h, w, c]` into maps, or at a backbone's end into features `[n, width]`.
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value>;
}

impl<L: Layer + ?Sized> Layer for Box<L> {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        (**self).forward(xs, pass)
    }
}

/// One after the other.
impl<L: Layer> Layer for Vec<L> {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        self.iter().try_fold(xs.clone(), |xs, it| it.forward(&xs, pass))
    }
}

/// A stage that is not built yet, so that it can be built more than once.
pub struct Stage<'a> {
    /// `stem`, `stage1`, ..., `neck`.
    pub name: String,
    build: Box<Build<'a>>,
}

type Build<'a> = dyn Fn(Builder<'_>) -> Result<Box<dyn Layer>> + 'a;

impl<'a> Stage<'a> {
    /// A stage that `build` makes.
    pub fn new<L: Layer + 'static>(
        name: impl Into<String>,
        build: impl Fn(Builder<'_>) -> Result<L> + 'a,
    ) -> Stage<'a> {
        let build = move |it: Builder<'_>| Ok(Box::new(build(it)?) as Box<dyn Layer>);
        Stage { name: name.into(), build: Box::new(build) }
    }

    /// Creates the parameters, and the layers that hold them.
    pub fn build(&self, builder: Builder<'_>) -> Result<Box<dyn Layer>> {
        (self.build)(builder)
    }
}

/// How many numbers of an architecture training changes.
#[cfg(test)]
pub(crate) fn n_params(architecture: &dyn crate::Architecture) -> Result<usize> {
    let mut params = crate::Params::blank();
    for stage in architecture.stages() {
        stage.build(params.builder())?;
    }
    Ok(params.n_trained())
}
