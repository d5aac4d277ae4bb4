//! ResNet: residual blocks, whose convolutions compute what is added to their input.
//!
//! He et al., "Deep Residual Learning for Image Recognition", 2015,
//! <https://arxiv.org/abs/1512.03385>. As in torchvision and timm, the stride of a bottleneck is in
//! its 3x3 convolution instead of its first ("version 1.5"), and as in timm the scale of a block's last
//! norm is initialised to 0, so that a block starts as the identity.
//! ResNeXt has grouped 3x3 convolutions: Xie et al., 2016, <https://arxiv.org/abs/1611.05431>;
//! SE-ResNet gates the channels that a block adds: Hu et al., 2017, <https://arxiv.org/abs/1709.01507>,
//! with timm's reduction to a sixteenth of the channels, rounded to a multiple of 8.
//! Parameters have the names of torchvision and timm, which are the same.

use candle::Result;
use ops::{Activation, Padding, Window};
use serde::{Deserialize, Serialize};

use crate::{
    Architecture, Layer, Naming, Stage, factor_problem,
    layers::{ConvNorm, ConvPlan, NormSettings, Pool, SqueezeExcite, StemPool},
    params::Builder,
    residual::ResidualBlock,
    scaled, share_problem,
};

/// `backbone = { kind = "resnet", depth = 18 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResNet {
    /// Layers with weights: 18, 34, 50, 101 or 152.
    pub depth: usize,
    /// Groups of the 3x3 convolutions; needs at least 50 layers.
    pub groups: usize,
    /// Channels per group in the first stage, doubled in each stage after it.
    pub group_width: usize,
    /// Whether blocks have squeeze-and-excitation.
    pub squeeze_excite: bool,
    /// Stochastic depth: the probability that the last block is dropped, decreasing linearly to 0 at
    /// the first.
    pub drop_path: f64,
    /// Multiplies all widths; published weights fit only 1.0.
    pub width: f64,
}

impl Default for ResNet {
    /// ResNet-50 as published.
    fn default() -> ResNet {
        ResNet {
            depth: 50,
            groups: 1,
            group_width: 64,
            squeeze_excite: false,
            drop_path: 0.0,
            width: 1.0,
        }
    }
}

const STEM_WIDTH: usize = 64;

/// The number of blocks of each stage, and whether a block is a bottleneck (1x1, 3x3, 1x1) instead of
/// two 3x3, by depth. Table 1 of the paper.
pub(crate) fn blocks_of(depth: usize) -> Option<([usize; 4], bool)> {
    Some(match depth {
        18 => ([2, 2, 2, 2], false),
        34 => ([3, 4, 6, 3], false),
        50 => ([3, 4, 6, 3], true),
        101 => ([3, 4, 23, 3], true),
        152 => ([3, 8, 36, 3], true),
        _ => return None,
    })
}

/// The depths that [`blocks_of`] accepts.
pub(crate) const DEPTHS: [usize; 5] = [18, 34, 50, 101, 152];

/// Returns the problem with a depth, if any.
pub(crate) fn depth_problem(depth: usize) -> Option<String> {
    let is_known = blocks_of(depth).is_some();
    (!is_known).then(|| format!("`depth` is one of {DEPTHS:?}, not {depth}"))
}

impl ResNet {
    fn block(&self, mut builder: Builder<'_>, shape: &Shape) -> Result<ResidualBlock> {
        let &Shape { n_in, planes, n_out, stride, drop_path } = shape;
        let plan = |n_in, n_out, kernel, stride, groups| {
            let window = Window::square(kernel, stride, Padding::Symmetric);
            ConvPlan { groups, ..ConvPlan::dense(n_in, n_out, window) }
        };
        let inner = planes * self.group_width / STEM_WIDTH * self.groups;
        let plans = match n_out == planes {
            true => vec![plan(n_in, planes, 3, stride, 1), plan(planes, n_out, 3, 1, 1)],
            false => vec![
                plan(n_in, inner, 1, 1, 1),
                plan(inner, inner, 3, stride, self.groups),
                plan(inner, n_out, 1, 1, 1),
            ],
        };
        let mut conv_norm = |names: [&str; 2], plan: &ConvPlan, settings, activation| {
            ConvNorm::new(&mut builder, names, plan, settings, activation)
        };
        let (mut convs, n_convs) = (Vec::new(), plans.len());
        for (idx, plan) in (1..).zip(plans) {
            let is_last = idx == n_convs;
            let activation = if is_last { Activation::None } else { Activation::Relu };
            let settings = NormSettings { starts_at_zero: is_last, ..NormSettings::PLAIN };
            let names = [&*format!("conv{idx}"), &*format!("bn{idx}")];
            convs.push(conv_norm(names, &plan, settings, activation)?);
        }
        let downsample = match stride == 1 && n_in == n_out {
            true => None,
            false => {
                let names = ["downsample.0", "downsample.1"];
                let (plan, settings) = (plan(n_in, n_out, 1, stride, 1), NormSettings::PLAIN);
                Some(conv_norm(names, &plan, settings, Activation::None)?)
            }
        };
        let squeeze_excite = match self.squeeze_excite {
            true => {
                let (reduced, names) = (scaled(n_out, 1.0 / 16.0, 8), ["fc1", "fc2"]);
                let place = builder.under("se");
                Some(SqueezeExcite::new(place, n_out, reduced, Activation::Relu, names)?)
            }
            false => None,
        };
        Ok(ResidualBlock::new(&builder, convs, squeeze_excite, None, downsample, drop_path))
    }
}

struct Shape {
    n_in: usize,
    /// The width of the inner convolutions, before `groups` and `group_width` scale it.
    planes: usize,
    n_out: usize,
    stride: usize,
    drop_path: f64,
}

impl Architecture for ResNet {
    fn stages(&self) -> Vec<Stage<'_>> {
        let (blocks, is_bottleneck) = blocks_of(self.depth).unwrap_or_default();
        let n_blocks: usize = blocks.iter().sum();
        let stem_width = scaled(STEM_WIDTH, self.width, STEM_WIDTH / 8);
        let mut stages = vec![Stage::new("stem", move |mut it| {
            let plan = ConvPlan::dense(3, stem_width, Window::square(7, 2, Padding::Symmetric));
            let (names, activation) = (["conv1", "bn1"], Activation::Relu);
            let conv = ConvNorm::new(&mut it, names, &plan, NormSettings::PLAIN, activation)?;
            Ok(vec![Box::new(conv) as Box<dyn Layer>, Box::new(StemPool)])
        })];
        let (mut n_in, mut n_before) = (stem_width, 0);
        for (stage, depth) in blocks.into_iter().enumerate() {
            let planes = stem_width << stage;
            let n_out = planes * if is_bottleneck { 4 } else { 1 };
            stages.push(Stage::new(format!("stage{}", stage + 1), move |mut it| {
                let block = |idx: usize| {
                    let shape = Shape {
                        n_in: if idx == 0 { n_in } else { n_out },
                        planes,
                        n_out,
                        stride: if stage > 0 && idx == 0 { 2 } else { 1 },
                        drop_path: self.drop_path * (n_before + idx) as f64 / n_blocks as f64,
                    };
                    self.block(it.under(format!("layer{}.{idx}", stage + 1)), &shape)
                };
                (0..depth).map(block).collect::<Result<Vec<_>>>()
            }));
            (n_in, n_before) = (n_out, n_before + depth);
        }
        stages.push(Stage::new("neck", |_| Ok(Pool)));
        stages
    }

    fn width(&self) -> usize {
        let growth = if self.depth >= 50 { 4 } else { 1 };
        scaled(STEM_WIDTH, self.width, STEM_WIDTH / 8) * 8 * growth
    }

    fn problem(&self) -> Option<String> {
        let in_groups = (self.groups, self.group_width) != (1, STEM_WIDTH);
        depth_problem(self.depth)
            .or_else(|| {
                (in_groups && self.depth < 50)
                    .then(|| "`groups` and `group_width` need `depth = 50` or more".to_owned())
            })
            .or_else(|| {
                let is_count = |it: usize| (1..=4096).contains(&it);
                (!is_count(self.groups) || !is_count(self.group_width))
                    .then(|| "`groups` and `group_width` are from 1 to 4096".to_owned())
            })
            .or_else(|| share_problem("drop_path", self.drop_path))
            .or_else(|| factor_problem("width", self.width))
    }

    fn namings(&self, ours: &[String]) -> Vec<Naming> {
        vec![Naming::of("torchvision and timm", ours, "fc", str::to_owned)]
    }
}

#[cfg(test)]
mod tests {
    use candle::Result;

    use super::ResNet;
    use crate::{Architecture as _, stage::n_params};

    #[test]
    fn parameter_counts_match_torchvision_and_timm() -> Result<()> {
        // torchvision's and timm's counts with 1000 classes, without the classifier.
        let plain = |depth| ResNet { depth, ..ResNet::default() };
        let next = |depth, group_width| ResNet { groups: 32, group_width, ..plain(depth) };
        for (config, n, width) in [
            (plain(18), 11_689_512, 512),
            (plain(34), 21_797_672, 512),
            (plain(50), 25_557_032, 2048),
            (next(50, 4), 25_028_904, 2048),
            (next(101, 8), 88_791_336, 2048),
            (ResNet { squeeze_excite: true, ..plain(50) }, 28_088_024, 2048),
            (ResNet { squeeze_excite: true, ..next(50, 4) }, 27_559_896, 2048),
        ] {
            assert_eq!(n_params(&config)?, n - (width + 1) * 1000, "{config:?}");
            assert_eq!(config.width(), width);
        }
        Ok(())
    }

    #[test]
    fn unknown_depth_is_reported() {
        let err = ResNet { depth: 19, ..ResNet::default() }.problem().unwrap();
        assert!(err.contains("18, 34, 50, 101, 152") && err.contains("19"), "{err}");
    }
}
