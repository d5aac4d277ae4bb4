//! XResNet: fastai's ResNet.
//!
//! Compared with [`ResNet`](crate::ResNet), the stem is three 3x3 convolutions, and a shortcut that
//! reduces the map has average pooling instead of a stride; each block starts as the identity.
//!
//! He et al., "Bag of Tricks for Image Classification", 2018, <https://arxiv.org/abs/1812.01187>
//! (B, C and D); Howard & Gugger, "fastai: A Layered API", 2020, <https://arxiv.org/abs/2002.04688>.
//! Parameters have fastai's names.

use candle::Result;
use ops::{Activation, Padding, Window};
use serde::{Deserialize, Serialize};

use crate::{
    Architecture, Layer, Naming, Stage, factor_problem,
    layers::{ConvNorm, ConvPlan, NormSettings, Pool, StemPool},
    residual::ResidualBlock,
    resnet::{blocks_of, depth_problem},
    scaled, share_problem,
};

/// `backbone = { kind = "xresnet", depth = 50 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct XResNet {
    /// Layers with weights, counted as in a ResNet: 18, 34, 50, 101 or 152.
    pub depth: usize,
    /// Stochastic depth: the probability that the last block is dropped, decreasing linearly to 0 at
    /// the first.
    pub drop_path: f64,
    /// Multiplies all widths.
    pub width: f64,
}

impl Default for XResNet {
    fn default() -> XResNet {
        XResNet { depth: 50, drop_path: 0.0, width: 1.0 }
    }
}

impl XResNet {
    /// The width of the stem's output.
    fn stem_width(&self) -> usize {
        scaled(64, self.width, 8)
    }
}

fn plan(n_in: usize, n_out: usize, kernel: usize, stride: usize) -> ConvPlan {
    ConvPlan::dense(n_in, n_out, Window::square(kernel, stride, Padding::Symmetric))
}

impl Architecture for XResNet {
    fn stages(&self) -> Vec<Stage<'_>> {
        let (blocks, is_bottleneck) = blocks_of(self.depth).unwrap_or_default();
        let (stem_width, n_blocks) = (self.stem_width(), blocks.iter().sum::<usize>());
        let mut stages = vec![Stage::new("stem", move |mut it| {
            let mut layers: Vec<Box<dyn Layer>> = Vec::new();
            let widths = [3, stem_width / 2, stem_width / 2, stem_width];
            for (idx, stride) in [2, 1, 1].into_iter().enumerate() {
                let names = [&*format!("{idx}.0"), &*format!("{idx}.1")];
                let plan = plan(widths[idx], widths[idx + 1], 3, stride);
                let (norm, activation) = (NormSettings::PLAIN, Activation::Relu);
                layers.push(Box::new(ConvNorm::new(&mut it, names, &plan, norm, activation)?));
            }
            layers.push(Box::new(StemPool));
            Ok(layers)
        })];
        let (mut n_in, mut n_before) = (stem_width, 0);
        for (stage, depth) in blocks.into_iter().enumerate() {
            let inner = stem_width << stage;
            let n_out = inner * if is_bottleneck { 4 } else { 1 };
            stages.push(Stage::new(format!("stage{}", stage + 1), move |mut it| {
                let mut block = |idx: usize| {
                    let n_in = if idx == 0 { n_in } else { n_out };
                    let stride = if stage > 0 && idx == 0 { 2 } else { 1 };
                    let mut place = it.under(format!("{}.{idx}", stage + 4));
                    let plans = match is_bottleneck {
                        true => vec![
                            plan(n_in, inner, 1, 1),
                            plan(inner, inner, 3, stride),
                            plan(inner, n_out, 1, 1),
                        ],
                        false => vec![plan(n_in, inner, 3, stride), plan(inner, n_out, 3, 1)],
                    };
                    let (mut convs, n_convs) = (Vec::new(), plans.len());
                    for (idx, plan) in plans.into_iter().enumerate() {
                        let is_last = idx + 1 == n_convs;
                        let activation = if is_last { Activation::None } else { Activation::Relu };
                        let settings =
                            NormSettings { starts_at_zero: is_last, ..NormSettings::PLAIN };
                        let path = format!("convpath.{idx}");
                        let names = [&*format!("{path}.0"), &*format!("{path}.1")];
                        convs.push(ConvNorm::new(&mut place, names, &plan, settings, activation)?);
                    }
                    // With an odd size, `Same` adds a window for the last row and column.
                    let pool = (stride > 1).then(|| Window::square(2, stride, Padding::Same));
                    let downsample = match n_in == n_out {
                        true => None,
                        false => {
                            let path = if pool.is_some() { "idpath.1" } else { "idpath.0" };
                            let names = [&*format!("{path}.0"), &*format!("{path}.1")];
                            let (plan, norm) = (plan(n_in, n_out, 1, 1), NormSettings::PLAIN);
                            Some(ConvNorm::new(&mut place, names, &plan, norm, Activation::None)?)
                        }
                    };
                    let drop_path = self.drop_path * (n_before + idx) as f64 / n_blocks as f64;
                    Ok(ResidualBlock::new(&place, convs, None, pool, downsample, drop_path))
                };
                (0..depth).map(&mut block).collect::<Result<Vec<_>>>()
            }));
            (n_in, n_before) = (n_out, n_before + depth);
        }
        stages.push(Stage::new("neck", |_| Ok(Pool)));
        stages
    }

    fn width(&self) -> usize {
        self.stem_width() * 8 * if self.depth >= 50 { 4 } else { 1 }
    }

    fn problem(&self) -> Option<String> {
        depth_problem(self.depth)
            .or_else(|| share_problem("drop_path", self.drop_path))
            .or_else(|| factor_problem("width", self.width))
    }

    fn namings(&self, ours: &[String]) -> Vec<Naming> {
        vec![Naming::of("fastai", ours, "11", str::to_owned)]
    }
}

#[cfg(test)]
mod tests {
    use candle::Result;

    use super::XResNet;
    use crate::{Architecture as _, stage::n_params};

    #[test]
    fn parameter_count_matches_fastai() -> Result<()> {
        // fastai's count with 1000 classes, without the classifier.
        let config = XResNet::default();
        assert_eq!(n_params(&config)?, 25_576_264 - 2049 * 1000);
        assert_eq!(config.width(), 2048);
        Ok(())
    }
}
