//! DenseNet: each layer takes the outputs of all layers before it, and adds a few channels.
//!
//! Layer: norm, ReLU, 1x1 to 4k channels, norm, ReLU, 3x3 to k channels, concatenated with its input.
//! Between blocks, a 1x1 convolution halves the channels, and average pooling the size of the map.
//!
//! Huang et al., "Densely Connected Convolutional Networks", 2016,
//! <https://arxiv.org/abs/1608.06993>.
//! Parameters have torchvision's and timm's names, which are the same except for a dot in torchvision's
//! published files.

use candle::Result;
use ops::{Activation, Padding, Pass, Value, Window};
use serde::{Deserialize, Serialize};

use crate::{
    Architecture, Layer, Naming, Stage, factor_problem,
    layers::{BatchNorm, Conv, ConvNorm, ConvPlan, NormSettings, Pool, StemPool},
    params::Builder,
    scaled, share_problem,
};

/// `backbone = { kind = "densenet", depth = 121 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DenseNet {
    /// Layers with weights: 121, 161, 169 or 201.
    pub depth: usize,
    /// Dropout probability of the channels that each layer adds.
    pub dropout: f64,
    /// Multiplies all widths; published weights fit only 1.0.
    pub width: f64,
}

impl Default for DenseNet {
    /// DenseNet-121 as published for ImageNet, without dropout.
    fn default() -> DenseNet {
        DenseNet { depth: 121, dropout: 0.0, width: 1.0 }
    }
}

/// Channels of a bottleneck per channel that a layer adds.
const BOTTLENECK: usize = 4;

impl DenseNet {
    const DEPTHS: [usize; 4] = [121, 161, 169, 201];

    /// The number of layers of each block.
    fn layers(&self) -> Option<[usize; 4]> {
        Some(match self.depth {
            121 => [6, 12, 24, 16],
            161 => [6, 12, 36, 24],
            169 => [6, 12, 32, 32],
            201 => [6, 12, 48, 32],
            _ => return None,
        })
    }

    /// The growth rate: channels that each layer adds.
    fn growth(&self) -> usize {
        scaled(if self.depth == 161 { 48 } else { 32 }, self.width, 8)
    }

    /// Channels before each block, and after the last.
    fn widths(&self) -> [usize; 5] {
        let mut widths = [2 * self.growth(); 5];
        for (idx, n) in self.layers().unwrap_or_default().into_iter().enumerate() {
            let grown = widths[idx] + n * self.growth();
            widths[idx + 1] = if idx < 3 { grown / 2 } else { grown };
        }
        widths
    }
}

fn norm(builder: Builder<'_>, c: usize) -> Result<BatchNorm> {
    BatchNorm::new(builder, c, NormSettings::PLAIN, Activation::Relu)
}

impl Architecture for DenseNet {
    fn stages(&self) -> Vec<Stage<'_>> {
        let (growth, widths) = (self.growth(), self.widths());
        let mut stages = vec![Stage::new("stem", move |mut it| {
            let plan = ConvPlan::dense(3, widths[0], Window::square(7, 2, Padding::Symmetric));
            let names = ["features.conv0", "features.norm0"];
            let (settings, activation) = (NormSettings::PLAIN, Activation::Relu);
            let conv = ConvNorm::new(&mut it, names, &plan, settings, activation)?;
            Ok(vec![Box::new(conv) as Box<dyn Layer>, Box::new(StemPool)])
        })];
        for (block, n_layers) in self.layers().unwrap_or_default().into_iter().enumerate() {
            let name = format!("stage{}", block + 1);
            stages.push(Stage::new(name, move |mut builder| {
                let mut layers: Vec<Box<dyn Layer>> = Vec::new();
                if block > 0 {
                    let place = builder.under(format!("features.transition{block}"));
                    let n_in =
                        widths[block - 1] + (self.layers().unwrap_or_default()[block - 1]) * growth;
                    layers.push(Box::new(Transition::new(place, n_in, widths[block])?));
                }
                for idx in 0..n_layers {
                    let name = format!("features.denseblock{}.denselayer{}", block + 1, idx + 1);
                    let n_in = widths[block] + idx * growth;
                    layers.push(Box::new(Dense::new(
                        builder.under(name),
                        n_in,
                        growth,
                        self.dropout,
                    )?));
                }
                Ok(layers)
            }));
        }
        stages.push(Stage::new("neck", move |mut it| {
            let norm = norm(it.under("features.norm5"), widths[4])?;
            Ok(vec![Box::new(norm) as Box<dyn Layer>, Box::new(Pool)])
        }));
        stages
    }

    fn width(&self) -> usize {
        self.widths()[4]
    }

    fn problem(&self) -> Option<String> {
        let is_unknown = self.layers().is_none();
        is_unknown
            .then(|| format!("`depth` is one of {:?}, not {}", DenseNet::DEPTHS, self.depth))
            .or_else(|| share_problem("dropout", self.dropout))
            .or_else(|| factor_problem("width", self.width))
    }

    fn namings(&self, ours: &[String]) -> Vec<Naming> {
        // In files from before torch 0.4 the parts of a layer are named `norm.1` and `conv.2`.
        let old = |name: &str| {
            let mut name = name.to_owned();
            if name.contains("denselayer") {
                for part in ["norm", "conv"] {
                    for idx in ["1", "2"] {
                        let (new, old) = (format!(".{part}{idx}."), format!(".{part}.{idx}."));
                        name = name.replace(&new, &old);
                    }
                }
            }
            name
        };
        vec![
            Naming::of("torchvision and timm", ours, "classifier", str::to_owned),
            Naming::of("early torchvision", ours, "classifier", old),
        ]
    }
}

/// One layer: its output is concatenated with its input.
struct Dense {
    norm1: BatchNorm,
    conv1: ConvNorm,
    conv2: Conv,
    dropout: f64,
    name: String,
}

impl Dense {
    fn new(mut builder: Builder<'_>, n_in: usize, growth: usize, dropout: f64) -> Result<Dense> {
        let n_inner = BOTTLENECK * growth;
        let window = Window::square(3, 1, Padding::Symmetric);
        Ok(Dense {
            norm1: norm(builder.under("norm1"), n_in)?,
            conv1: ConvNorm {
                conv: Conv::pointwise(builder.under("conv1"), n_in, n_inner)?,
                norm: norm(builder.under("norm2"), n_inner)?,
            },
            conv2: Conv::dense(builder.under("conv2"), n_inner, growth, window)?,
            dropout,
            name: builder.path_of("dropout"),
        })
    }
}

impl Layer for Dense {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        let normed = self.norm1.forward(xs, pass)?;
        let new = self.conv2.forward(&self.conv1.forward(&normed, pass)?, pass)?;
        let new = ops::dropout(&new, self.dropout, pass, &self.name)?;
        ops::concat(&[xs, &new])
    }
}

/// Halves the channels, and height and width of the map.
struct Transition {
    norm: BatchNorm,
    conv: Conv,
}

impl Transition {
    fn new(mut builder: Builder<'_>, n_in: usize, n_out: usize) -> Result<Transition> {
        let norm = norm(builder.under("norm"), n_in)?;
        Ok(Transition { norm, conv: Conv::pointwise(builder.under("conv"), n_in, n_out)? })
    }
}

impl Layer for Transition {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        let xs = self.conv.forward(&self.norm.forward(xs, pass)?, pass)?;
        ops::avg_pool(&xs, Window::square(2, 2, Padding::Symmetric))
    }
}

#[cfg(test)]
mod tests {
    use candle::Result;

    use super::DenseNet;
    use crate::{Architecture as _, stage::n_params};

    #[test]
    fn parameter_counts_match_torchvision() -> Result<()> {
        // torchvision's counts with 1000 classes, without the classifier.
        for (depth, n, width) in [
            (121, 7_978_856, 1024),
            (161, 28_681_000, 2208),
            (169, 14_149_480, 1664),
            (201, 20_013_928, 1920),
        ] {
            let config = DenseNet { depth, ..DenseNet::default() };
            assert_eq!(n_params(&config)?, n - (width + 1) * 1000, "{depth}");
            assert_eq!(config.width(), width);
        }
        Ok(())
    }
}
