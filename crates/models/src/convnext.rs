//! ConvNeXt: a convolutional network with the design of a vision transformer.
//!
//! Block: depthwise 7x7 -> layer norm -> 1x1 to four times the channels -> GELU -> 1x1 back -> scale per
//! channel (layer scale), added to the input. Between stages: layer norm and a 2x2 convolution of stride 2.
//!
//! Liu et al., "A ConvNet for the 2020s", 2022, <https://arxiv.org/abs/2201.03545>.
//! Parameters have timm's names, except the last norm: timm's `head.norm` is `norm` here.

use candle::{Result, Var};
use ops::{Activation, Padding, Pass, Value, Window};
use serde::{Deserialize, Serialize};

use crate::{
    Architecture, Layer, Naming, Stage, factor_problem,
    layers::{Conv, ConvPlan, Pool},
    params::{Builder, Init, Kind},
    residual::Residual,
    scaled, share_problem, with_prefix,
};

/// `backbone = { kind = "convnext", size = "tiny" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConvNeXt {
    /// `tiny`, `small` or `base`.
    pub size: ConvNeXtSize,
    /// Stochastic depth: the probability that the last block is dropped, decreasing linearly to 0 at
    /// the first.
    pub drop_path: f64,
    /// The initial value of the layer scale.
    pub layer_scale: f64,
    /// Multiplies all widths; published weights fit only 1.0.
    pub width: f64,
}

/// A published size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum ConvNeXtSize {
    Tiny,
    Small,
    Base,
}

impl Default for ConvNeXt {
    /// Tiny, with the paper's stochastic depth.
    fn default() -> ConvNeXt {
        ConvNeXt { size: ConvNeXtSize::Tiny, drop_path: 0.1, layer_scale: 1e-6, width: 1.0 }
    }
}

const EPS: f64 = 1e-6;
const INIT: Init = Init::Normal(0.02);

impl ConvNeXt {
    fn depths(&self) -> [usize; 4] {
        match self.size {
            ConvNeXtSize::Tiny => [3, 3, 9, 3],
            ConvNeXtSize::Small | ConvNeXtSize::Base => [3, 3, 27, 3],
        }
    }

    /// The channels of a stage; the first is stage 0.
    fn width_of(&self, stage: usize) -> usize {
        let first = if self.size == ConvNeXtSize::Base { 128 } else { 96 };
        scaled(first, self.width, 8) << stage
    }
}

/// A convolution of non-overlapping patches, with a bias.
fn patches(builder: Builder<'_>, n_in: usize, n_out: usize, size: usize) -> Result<Conv> {
    let window = Window::square(size, size, Padding::Valid);
    ConvPlan { has_bias: true, init: INIT, ..ConvPlan::dense(n_in, n_out, window) }.build(builder)
}

impl Architecture for ConvNeXt {
    fn stages(&self) -> Vec<Stage<'_>> {
        let n_blocks: usize = self.depths().iter().sum();
        let mut stages = vec![Stage::new("stem", |mut it| {
            let c = self.width_of(0);
            let conv = patches(it.under("stem.0"), 3, c, 4)?;
            Ok(vec![Box::new(conv) as Box<dyn Layer>, Box::new(Norm::new(it.under("stem.1"), c)?)])
        })];
        let mut n_before = 0;
        for (stage, depth) in self.depths().into_iter().enumerate() {
            let c = self.width_of(stage);
            stages.push(Stage::new(format!("stage{}", stage + 1), move |mut it| {
                let mut it = it.under(format!("stages.{stage}"));
                let mut layers: Vec<Box<dyn Layer>> = Vec::new();
                if stage > 0 {
                    layers.push(Box::new(Norm::new(it.under("downsample.0"), c / 2)?));
                    layers.push(Box::new(patches(it.under("downsample.1"), c / 2, c, 2)?));
                }
                for idx in 0..depth {
                    let last = (n_blocks - 1).max(1) as f64;
                    let drop_path = self.drop_path * (n_before + idx) as f64 / last;
                    let place = it.under(format!("blocks.{idx}"));
                    layers.push(Box::new(Block::new(self, place, c, drop_path)?));
                }
                Ok(layers)
            }));
            n_before += depth;
        }
        stages.push(Stage::new("neck", |mut it| {
            let norm = Norm::new(it.under("norm"), self.width())?;
            Ok(vec![Box::new(Pool) as Box<dyn Layer>, Box::new(norm)])
        }));
        stages
    }

    fn width(&self) -> usize {
        self.width_of(3)
    }

    fn problem(&self) -> Option<String> {
        let scale = self.layer_scale;
        share_problem("drop_path", self.drop_path)
            .or_else(|| factor_problem("width", self.width))
            .or_else(|| {
                (!(0.0..=16.0).contains(&scale))
                    .then(|| format!("`layer_scale` is from 0 to 16, not {scale}"))
            })
    }

    fn namings(&self, ours: &[String]) -> Vec<Naming> {
        vec![
            Naming::of("timm", ours, "head.fc", |it| with_prefix(it, &[("norm", "head.norm")])),
            Naming::of("torchvision", ours, "classifier.2", torchvision_name),
        ]
    }
}

/// torchvision numbers the stem and the downsampling layers among the `features`.
fn torchvision_name(name: &str) -> String {
    let ends = [("stem.0", "features.0.0"), ("stem.1", "features.0.1"), ("norm", "classifier.0")];
    let mut parts = name.splitn(4, '.');
    let parts = [(); 4].map(|()| parts.next().unwrap_or_default());
    match (parts, parts[1].parse::<usize>()) {
        (["stages", _, "downsample", rest], Ok(stage)) => {
            format!("features.{}.{rest}", 2 * stage)
        }
        (["stages", _, "blocks", rest], Ok(stage)) => {
            let (idx, rest) = rest.split_once('.').unwrap_or_default();
            let path = format!("features.{}.{idx}", 2 * stage + 1);
            if rest == "gamma" {
                return format!("{path}.layer_scale");
            }
            let layers = [
                ("conv_dw", "block.0"),
                ("norm", "block.2"),
                ("mlp.fc1", "block.3"),
                ("mlp.fc2", "block.5"),
            ];
            format!("{path}.{}", with_prefix(rest, &layers))
        }
        _ => with_prefix(name, &ends),
    }
}

/// Layer norm over the channels.
struct Norm {
    weight: Var,
    bias: Var,
}

impl Norm {
    fn new(mut builder: Builder<'_>, c: usize) -> Result<Norm> {
        Ok(Norm {
            weight: builder.param("weight", Kind::Norm, &[c], Init::Constant(1.0))?,
            bias: builder.param("bias", Kind::Norm, &[c], Init::Constant(0.0))?,
        })
    }
}

impl Layer for Norm {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        ops::layer_norm(xs, &pass.param(&self.weight), &pass.param(&self.bias), EPS)
    }
}

struct Block {
    depthwise: Conv,
    norm: Norm,
    /// Weight and bias.
    widen: (Var, Var),
    narrow: (Var, Var),
    scale: Var,
    residual: Residual,
}

impl Block {
    fn new(config: &ConvNeXt, mut it: Builder<'_>, c: usize, drop_path: f64) -> Result<Block> {
        let window = Window::square(7, 1, Padding::Symmetric);
        let depthwise =
            ConvPlan { groups: c, has_bias: true, init: INIT, ..ConvPlan::dense(c, c, window) };
        let mut linear = |name: &str, n_in: usize, n_out: usize| {
            let mut place = it.under(name);
            let weight = place.param("weight", Kind::Matrix, &[n_out, n_in], INIT)?;
            let bias = place.param("bias", Kind::Vector, &[n_out], Init::Constant(0.0))?;
            Ok::<_, candle::Error>((weight, bias))
        };
        let (widen, narrow) = (linear("mlp.fc1", c, 4 * c)?, linear("mlp.fc2", 4 * c, c)?);
        let name = it.path_of("drop_path");
        Ok(Block {
            depthwise: depthwise.build(it.under("conv_dw"))?,
            norm: Norm::new(it.under("norm"), c)?,
            widen,
            narrow,
            scale: it.param("gamma", Kind::Vector, &[c], Init::Constant(config.layer_scale))?,
            residual: Residual { name, drop_path, activation: Activation::None },
        })
    }
}

impl Layer for Block {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        let normed = self.norm.forward(&self.depthwise.forward(xs, pass)?, pass)?;
        let linear = |xs: &Value, (weight, bias): &(Var, Var)| {
            ops::linear(xs, &pass.param(weight), Some(&pass.param(bias)), None)
        };
        let wide = ops::activate(&linear(&normed, &self.widen)?, Activation::Gelu)?;
        let ys = linear(&wide, &self.narrow)?;
        let scale = pass.param(&self.scale);
        let ys = ops::scale_and_shift(&ys, Some(&scale), None, Activation::None)?;
        self.residual.add(&ys, xs, pass)
    }
}

#[cfg(test)]
mod tests {
    use candle::Result;

    use super::{ConvNeXt, ConvNeXtSize};
    use crate::{Architecture as _, stage::n_params};

    #[test]
    fn parameter_counts_match_torchvision() -> Result<()> {
        // torchvision's counts with 1000 classes, without the classifier.
        for (size, n, width) in [
            (ConvNeXtSize::Tiny, 28_589_128, 768),
            (ConvNeXtSize::Small, 50_223_688, 768),
            (ConvNeXtSize::Base, 88_591_464, 1024),
        ] {
            let config = ConvNeXt { size, ..ConvNeXt::default() };
            assert_eq!(n_params(&config)?, n - (width + 1) * 1000, "{size:?}");
            assert_eq!(config.width(), width);
        }
        Ok(())
    }
}
