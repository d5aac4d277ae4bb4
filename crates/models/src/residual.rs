//! Residual blocks: y = act(f(x) + x).
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

/// The end of a residual block: act(f(x) + x), where training drops f(x) of whole images (stochastic
/// depth).
pub(crate) struct Residual {
    /// The name of the random stream.
    pub(crate) name: String,
    /// The probability that f(x) of an image is dropped.
    pub(crate) drop_path: f64,
    pub(crate) activation: Activation,
}

impl Residual {
    /// - `last`: the last convolution of f.
    /// - `xs`: the input of `last`.
    /// - `skip`: the output of the shortcut.
    pub(crate) fn forward(
        &self,
        last: &ConvNorm,
        xs: &Value,
        skip: &Value,
        pass: &Pass<'_>,
    ) -> Result<Value> {
        match pass {
            Pass::Eval(_) if last.norm.activation == Activation::None => {
                let then = last.norm.epilogue(pass, self.activation)?.plus(skip);
                last.conv.with_epilogue(xs, pass, then)
            }
            _ => self.add(&last.forward(xs, pass)?, skip, pass),
        }
    }

    /// act(ys + skip), where training drops the ys of whole images.
    pub(crate) fn add(&self, ys: &Value, skip: &Value, pass: &Pass<'_>) -> Result<Value> {
        let ys = ops::drop_path(ys, self.drop_path, pass, &self.name)?;
        ops::activate(&ops::add(&ys, skip)?, self.activation)
    }
}

/// One residual block: convolutions and a shortcut.
pub(crate) struct ResidualBlock {
    /// All convolutions but the last.
    inner: Vec<ConvNorm>,
    last: ConvNorm,
    squeeze_excite: Option<SqueezeExcite>,
    /// The shortcut's pooling, to the output's size.
    pool: Option<Window>,
    /// The shortcut's convolution, to the output's size and width.
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
