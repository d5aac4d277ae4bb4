//! ResNet: blocks of convolutions that learn what to add to their input.
//!
//! He et al., "Deep Residual Learning for Image Recognition", 2015,
//! <https://arxiv.org/abs/1512.03385>. As in torchvision and timm, the stride of a bottleneck is in
//! its 3x3 convolution instead of its first ("version 1.5").
//! Parameters carry the names of torchvision and timm, which are the same.

use candle::Result;
use ops::{Activation, Padding, Pass, Value, Window};
use serde::{Deserialize, Serialize};

use crate::{
    Architecture, Backbone, Naming,
    layers::{BatchNorm, Conv, ConvNorm, NormSettings, Residual},
    params::Builder,
};

/// `backbone = { kind = "resnet", depth = 18 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResNet {
    /// Layers with weights: 18, 34, 50, 101 or 152.
    pub depth: usize,
    /// Stochastic depth: the chance that the last block is dropped, falling linearly to 0 at the
    /// first.
    pub drop_path: f64,
}

impl Default for ResNet {
    /// ResNet-50 as it was published.
    fn default() -> ResNet {
        ResNet { depth: 50, drop_path: 0.0 }
    }
}

const NORM: NormSettings = NormSettings { eps: 1e-5, momentum: 0.1 };
const STEM_WIDTH: usize = 64;

/// How a depth is made up: table 1 of the paper.
struct Plan {
    /// Blocks of each stage.
    blocks: [usize; 4],
    /// Whether a block is 1x1, 3x3, 1x1 instead of two 3x3.
    is_bottleneck: bool,
}

impl ResNet {
    /// The published depths.
    pub const DEPTHS: [usize; 5] = [18, 34, 50, 101, 152];

    fn plan(&self) -> Option<Plan> {
        let (blocks, is_bottleneck) = match self.depth {
            18 => ([2, 2, 2, 2], false),
            34 => ([3, 4, 6, 3], false),
            50 => ([3, 4, 6, 3], true),
            101 => ([3, 4, 23, 3], true),
            152 => ([3, 8, 36, 3], true),
            _ => return None,
        };
        Some(Plan { blocks, is_bottleneck })
    }
}

impl Architecture for ResNet {
    fn build(&self, mut builder: Builder<'_>) -> Result<Box<dyn Backbone>> {
        let Some(Plan { blocks, is_bottleneck }) = self.plan() else {
            candle::bail!("{}", self.problem().unwrap_or_default());
        };
        let stem =
            conv_norm(&mut builder, "conv1", "bn1", (3, STEM_WIDTH, 7, 2), Activation::Relu)?;
        let growth = if is_bottleneck { 4 } else { 1 };
        let (mut n_in, mut built) = (STEM_WIDTH, Vec::new());
        let n_blocks: usize = blocks.iter().sum();
        for (stage, depth) in blocks.into_iter().enumerate() {
            let width = STEM_WIDTH << stage;
            for idx in 0..depth {
                let stride = if stage > 0 && idx == 0 { 2 } else { 1 };
                let drop_path = self.drop_path * built.len() as f64 / n_blocks as f64;
                let place = builder.under(format!("layer{}.{idx}", stage + 1));
                let shape = Shape { n_in, width, n_out: width * growth, stride };
                built.push(Block::new(place, &shape, drop_path)?);
                n_in = shape.n_out;
            }
        }
        Ok(Box::new(Built { stem, blocks: built, width: n_in }))
    }

    fn problem(&self) -> Option<String> {
        if self.plan().is_none() {
            return Some(format!("`depth` is one of {:?}, not {}", ResNet::DEPTHS, self.depth));
        }
        (!(0.0..1.0).contains(&self.drop_path))
            .then(|| format!("`drop_path` is from 0 to below 1, not {}", self.drop_path))
    }

    fn namings(&self, ours: &[String]) -> Vec<Naming> {
        let backbone = ours.iter().map(|name| (name.clone(), name.clone())).collect();
        vec![Naming { library: "torchvision and timm", backbone, classifier: "fc" }]
    }
}

/// - `shape`: channels in and out, kernel and stride.
fn conv_norm(
    builder: &mut Builder<'_>,
    conv: &str,
    norm: &str,
    (n_in, n_out, kernel, stride): (usize, usize, usize, usize),
    activation: Activation,
) -> Result<ConvNorm> {
    let window = Window::square(kernel, stride, Padding::Symmetric);
    Ok(ConvNorm {
        conv: Conv::dense(builder.under(conv), n_in, n_out, window)?,
        norm: BatchNorm::new(builder.under(norm), n_out, NORM, activation)?,
    })
}

struct Shape {
    n_in: usize,
    /// Of the convolutions inside.
    width: usize,
    n_out: usize,
    stride: usize,
}

/// One residual block.
struct Block {
    /// All convolutions but the last.
    inner: Vec<ConvNorm>,
    last: ConvNorm,
    /// What goes past the block is brought to the result's shape.
    downsample: Option<ConvNorm>,
    residual: Residual,
}

impl Block {
    fn new(mut builder: Builder<'_>, shape: &Shape, drop_path: f64) -> Result<Block> {
        let &Shape { n_in, width, n_out, stride } = shape;
        // Channels in and out, kernel and stride of each.
        let convs = match n_out == width {
            true => vec![(n_in, width, 3, stride), (width, n_out, 3, 1)],
            false => vec![(n_in, width, 1, 1), (width, width, 3, stride), (width, n_out, 1, 1)],
        };
        let (mut inner, n_convs) = (Vec::new(), convs.len());
        for (idx, conv) in (1..).zip(convs) {
            let activation = if idx < n_convs { Activation::Relu } else { Activation::None };
            let names = (format!("conv{idx}"), format!("bn{idx}"));
            inner.push(conv_norm(&mut builder, &names.0, &names.1, conv, activation)?);
        }
        let last = inner.pop().expect("a block has convolutions");
        let downsample = match stride == 1 && n_in == n_out {
            true => None,
            false => Some(conv_norm(
                &mut builder,
                "downsample.0",
                "downsample.1",
                (n_in, n_out, 1, stride),
                Activation::None,
            )?),
        };
        let name = builder.path_of("drop_path");
        let residual = Residual { name, drop_path, activation: Activation::Relu };
        Ok(Block { inner, last, downsample, residual })
    }

    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        let mut ys = xs.clone();
        for conv in &self.inner {
            ys = conv.forward(&ys, pass)?;
        }
        let skip = match &self.downsample {
            Some(it) => it.forward(xs, pass)?,
            None => xs.clone(),
        };
        self.residual.forward(&self.last, &ys, &skip, pass)
    }
}

struct Built {
    stem: ConvNorm,
    blocks: Vec<Block>,
    width: usize,
}

impl Backbone for Built {
    fn features(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        let pool = Window::square(3, 2, Padding::Symmetric);
        let mut xs = ops::max_pool(&self.stem.forward(xs, pass)?, pool)?;
        for block in &self.blocks {
            xs = block.forward(&xs, pass)?;
        }
        ops::global_avg_pool(&xs)
    }

    fn width(&self) -> usize {
        self.width
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;
    use candle::{DType, Device, Result};

    use super::ResNet;
    use crate::{Architecture as _, Params};

    #[test]
    fn sizes_are_the_published_ones() -> Result<()> {
        // torchvision's counts with 1000 classes, less the classifier's (width + 1) * 1000.
        for (depth, n, width) in
            [(18, 11_689_512, 512), (34, 21_797_672, 512), (50, 25_557_032, 2048)]
        {
            let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
            let built = ResNet { depth, drop_path: 0.0 }.build(params.builder())?;
            assert_eq!(params.n_trained(), n - (width + 1) * 1000, "{depth}");
            assert_eq!(built.width(), width);
        }
        Ok(())
    }

    #[test]
    fn another_depth_is_no_resnet() {
        let err = ResNet { depth: 19, drop_path: 0.0 }.problem().unwrap();
        assert!(err.contains("18, 34, 50, 101, 152") && err.contains("19"), "{err}");
    }
}
