//! Residual blocks: what is learned is what to add to the input.
//!
//! He et al., "Deep Residual Learning for Image Recognition", 2015,
//! <https://arxiv.org/abs/1512.03385>.

use candle::Result;
use ops::{Activation, Pass, Value, Window};

use crate::{
    Layer,
    layers::{ConvNorm, SqueezeExcite},
    params::Builder,
};

/// The end of a residual block: act(f(x) + x), where learning drops f(x) of whole images.
pub(crate) struct Residual {
    /// Of the stream of random numbers.
    pub(crate) name: String,
    /// The chance that an image's is dropped.
    pub(crate) drop_path: f64,
    pub(crate) activation: Activation,
}

impl Residual {
    /// - `last`: the last convolution of f.
    /// - `xs`: what that gets.
    /// - `skip`: what goes past the block.
    pub(crate) fn forward(
        &self,
        last: &ConvNorm,
        xs: &Value,
        skip: &Value,
        pass: &Pass<'_>,
    ) -> Result<Value> {
        match pass {
            Pass::Eval if last.norm.activation == Activation::None => {
                let then = last.norm.finish(self.activation)?.plus(skip);
                last.conv.finished(xs, pass, then)
            }
            _ => self.add(&last.forward(xs, pass)?, skip, pass),
        }
    }

    /// act(ys + skip), where learning drops the ys of whole images.
    pub(crate) fn add(&self, ys: &Value, skip: &Value, pass: &Pass<'_>) -> Result<Value> {
        let ys = ops::drop_path(ys, self.drop_path, pass, &self.name)?;
        ops::activate(&ops::sum(&ys, skip)?, self.activation)
    }
}

/// One residual block: convolutions, and what goes past them.
pub(crate) struct ResidualBlock {
    /// All convolutions but the last.
    inner: Vec<ConvNorm>,
    last: ConvNorm,
    squeeze_excite: Option<SqueezeExcite>,
    /// What goes past the block is brought to the result's size and width.
    pool: Option<Window>,
    downsample: Option<ConvNorm>,
    residual: Residual,
}

impl ResidualBlock {
    /// - `convs`: at least one.
    pub(crate) fn new(
        builder: &Builder<'_>,
        mut convs: Vec<ConvNorm>,
        squeeze_excite: Option<SqueezeExcite>,
        pool: Option<Window>,
        downsample: Option<ConvNorm>,
        drop_path: f64,
    ) -> ResidualBlock {
        let last = convs.pop().expect("a block has convolutions");
        let name = builder.path_of("drop_path");
        let residual = Residual { name, drop_path, activation: Activation::Relu };
        ResidualBlock { inner: convs, last, squeeze_excite, pool, downsample, residual }
    }
}

impl Layer for ResidualBlock {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        let mut ys = xs.clone();
        for conv in &self.inner {
            ys = conv.forward(&ys, pass)?;
        }
        let mut skip = xs.clone();
        if let Some(window) = self.pool {
            skip = ops::avg_pool(&skip, window)?;
        }
        if let Some(it) = &self.downsample {
            skip = it.forward(&skip, pass)?;
        }
        match &self.squeeze_excite {
            Some(it) => {
                let ys = it.forward(&self.last.forward(&ys, pass)?, pass)?;
                self.residual.add(&ys, &skip, pass)
            }
            None => self.residual.forward(&self.last, &ys, &skip, pass),
        }
    }
}
