//! EfficientNet: inverted residual blocks with depthwise convolutions and squeeze-excite, scaled
//! together in width, depth and resolution; EfficientNetV2, and EfficientNet-Lite for phones.
//!
//! Block: expand 1x1 -> depthwise k x k -> squeeze-excite -> project 1x1, plus the input where the
//! shape is unchanged. Width is multiplied by w and rounded to a multiple of 8, depth by d and rounded up.
//!
//! Tan & Le, "EfficientNet", 2019, <https://arxiv.org/abs/1905.11946>. Lite: R. Liu, "Higher accuracy
//! on vision models with EfficientNet-Lite", 2020: no squeeze-excite, ReLU6, first and last stage,
//! stem and head not scaled. V2: Tan & Le, "EfficientNetV2", 2021,
//! <https://arxiv.org/abs/2104.00298>, table 4 and its larger sizes: one dense 3x3 convolution
//! expands in the first stages ("fused"), without squeeze-excite there.
//! Padding, norm and naming are independent: torchvision and timm's `efficientnet_*` pad
//! symmetrically with eps 1e-5 (torchvision's B5-B7 with 1e-3 and momentum 0.01); timm's
//! `tf_efficientnet_*`, Lite and V2 pad as TensorFlow's `SAME` with eps 1e-3 (torchvision's V2
//! symmetrically).
//! Parameters have timm's names.

mod naming;
mod plan;

use candle::Result;
use naming::{efficientnet_pytorch_name, torchvision_name};
use ops::{Activation, Padding, Pass, Value, Window};
use plan::BlockPlan;
use serde::{Deserialize, Serialize};

use crate::{
    Architecture, Layer, Naming, Stage, factor_problem,
    layers::{BatchNorm, Conv, ConvNorm, NormSettings, Pool, SqueezeExcite},
    params::Builder,
    residual::Residual,
    share_problem,
};

/// `backbone = { kind = "efficientnet", variant = "b0" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EfficientNet {
    /// `b0` to `b7`, `v2s`, `v2m`, `v2l`, `lite0` to `lite4`.
    pub variant: Variant,
    /// `symmetric` (PyTorch) or `same` (TensorFlow). Default: `symmetric`; for Lite and V2 `same`,
    /// as their weights were trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padding: Option<Padding>,
    /// Added to the variance in batch norms. Default: 1e-5; for B5-B7, Lite and V2 1e-3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_eps: Option<f64>,
    /// The weight of a batch in the running statistics. Default: 0.1; for B5-B7 0.01.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_momentum: Option<f64>,
    /// Stochastic depth: the probability that the last block is dropped, decreasing linearly to 0 at
    /// the first.
    pub drop_path: f64,
    /// Multiplies the variant's widths: 0.5 makes every layer half as wide. Published weights fit only
    /// 1.0.
    pub width: f64,
    /// Multiplies the variant's depths.
    pub depth: f64,
}

impl Default for EfficientNet {
    /// B0 with the paper's stochastic depth.
    fn default() -> EfficientNet {
        EfficientNet {
            variant: Variant::B0,
            padding: None,
            norm_eps: None,
            norm_momentum: None,
            drop_path: 0.2,
            width: 1.0,
            depth: 1.0,
        }
    }
}

/// A published size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Variant {
    B0,
    B1,
    B2,
    B3,
    B4,
    B5,
    B6,
    B7,
    V2S,
    V2M,
    V2L,
    Lite0,
    Lite1,
    Lite2,
    Lite3,
    Lite4,
}

impl Variant {
    /// Every variant.
    pub const ALL: [Variant; 16] = {
        use Variant::{
            B0, B1, B2, B3, B4, B5, B6, B7, Lite0, Lite1, Lite2, Lite3, Lite4, V2L, V2M, V2S,
        };
        [B0, B1, B2, B3, B4, B5, B6, B7, V2S, V2M, V2L, Lite0, Lite1, Lite2, Lite3, Lite4]
    };

    /// Multipliers of width and depth, from the tables of the paper and of the Lite release.
    fn scale(self) -> (f64, f64) {
        match self {
            Variant::B0 | Variant::V2S | Variant::V2M | Variant::V2L | Variant::Lite0 => (1.0, 1.0),
            Variant::B1 | Variant::Lite1 => (1.0, 1.1),
            Variant::B2 | Variant::Lite2 => (1.1, 1.2),
            Variant::B3 | Variant::Lite3 => (1.2, 1.4),
            Variant::B4 | Variant::Lite4 => (1.4, 1.8),
            Variant::B5 => (1.6, 2.2),
            Variant::B6 => (1.8, 2.6),
            Variant::B7 => (2.0, 3.1),
        }
    }

    fn is_lite(self) -> bool {
        self >= Variant::Lite0
    }

    fn is_v2(self) -> bool {
        matches!(self, Variant::V2S | Variant::V2M | Variant::V2L)
    }

    fn is_large(self) -> bool {
        matches!(self, Variant::B5 | Variant::B6 | Variant::B7)
    }

    fn stem_width(self) -> usize {
        match self {
            Variant::V2S | Variant::V2M => 24,
            _ => 32,
        }
    }

    fn stages(self) -> &'static [StagePlan] {
        match self {
            Variant::V2S => &V2_S,
            Variant::V2M => &V2_M,
            Variant::V2L => &V2_L,
            _ => &B0,
        }
    }
}

/// One stage, as in the papers' tables.
struct StagePlan {
    expand: usize,
    kernel: usize,
    stride: usize,
    width: usize,
    depth: usize,
    /// Whether one dense convolution replaces the expanding and the depthwise one.
    is_fused: bool,
}

const fn mb([expand, kernel, stride, width, depth]: [usize; 5]) -> StagePlan {
    StagePlan { expand, kernel, stride, width, depth, is_fused: false }
}

const fn fused([expand, stride, width, depth]: [usize; 4]) -> StagePlan {
    StagePlan { expand, kernel: 3, stride, width, depth, is_fused: true }
}

const B0: [StagePlan; 7] = [
    mb([1, 3, 1, 16, 1]),
    mb([6, 3, 2, 24, 2]),
    mb([6, 5, 2, 40, 2]),
    mb([6, 3, 2, 80, 3]),
    mb([6, 5, 1, 112, 3]),
    mb([6, 5, 2, 192, 4]),
    mb([6, 3, 1, 320, 1]),
];
const V2_S: [StagePlan; 6] = [
    fused([1, 1, 24, 2]),
    fused([4, 2, 48, 4]),
    fused([4, 2, 64, 4]),
    mb([4, 3, 2, 128, 6]),
    mb([6, 3, 1, 160, 9]),
    mb([6, 3, 2, 256, 15]),
];
const V2_M: [StagePlan; 7] = [
    fused([1, 1, 24, 3]),
    fused([4, 2, 48, 5]),
    fused([4, 2, 80, 5]),
    mb([4, 3, 2, 160, 7]),
    mb([6, 3, 1, 176, 14]),
    mb([6, 3, 2, 304, 18]),
    mb([6, 3, 1, 512, 5]),
];
const V2_L: [StagePlan; 7] = [
    fused([1, 1, 32, 4]),
    fused([4, 2, 64, 7]),
    fused([4, 2, 96, 7]),
    mb([4, 3, 2, 192, 10]),
    mb([6, 3, 1, 224, 19]),
    mb([6, 3, 2, 384, 25]),
    mb([6, 3, 1, 640, 7]),
];
const HEAD_WIDTH: usize = 1280;

impl EfficientNet {
    fn padding(&self) -> Padding {
        let is_of_tensorflow = self.variant.is_lite() || self.variant.is_v2();
        let default = if is_of_tensorflow { Padding::Same } else { Padding::Symmetric };
        self.padding.unwrap_or(default)
    }

    fn norm(&self) -> NormSettings {
        let variant = self.variant;
        let is_of_tensorflow = variant.is_lite() || variant.is_large() || variant.is_v2();
        let eps = if is_of_tensorflow { 1e-3 } else { 1e-5 };
        let momentum = if variant.is_large() { 0.01 } else { 0.1 };
        NormSettings {
            eps: self.norm_eps.unwrap_or(eps),
            momentum: self.norm_momentum.unwrap_or(momentum),
            starts_at_zero: false,
        }
    }

    /// The same network with its defaults written out, and the settings that only training uses at
    /// their defaults.
    pub(crate) fn for_inference(&self) -> EfficientNet {
        EfficientNet {
            padding: Some(self.padding()),
            norm_eps: Some(self.norm().eps),
            norm_momentum: None,
            drop_path: 0.0,
            ..self.clone()
        }
    }

    fn activation(&self) -> Activation {
        if self.variant.is_lite() { Activation::Relu6 } else { Activation::Silu }
    }

    /// A width of B0, scaled and rounded to a multiple of 8, by no more than a tenth downwards.
    fn round_width(&self, width: usize) -> usize {
        let width = width as f64 * self.variant.scale().0 * self.width;
        let rounded = ((width + 4.0) / 8.0).floor().max(1.0) * 8.0;
        (if rounded < 0.9 * width { rounded + 8.0 } else { rounded }) as usize
    }

    fn stem_width(&self) -> usize {
        self.end_width(self.variant.stem_width())
    }

    fn head_width(&self) -> usize {
        self.end_width(HEAD_WIDTH)
    }

    /// The width of the stem or the head: Lite does not scale them.
    fn end_width(&self, width: usize) -> usize {
        let plain = EfficientNet { variant: Variant::B0, ..self.clone() };
        if self.variant.is_lite() { plain.round_width(width) } else { self.round_width(width) }
    }

    fn blocks(&self) -> Vec<BlockPlan> {
        let mut n_in = self.stem_width();
        let mut plans = Vec::new();
        let stages = self.variant.stages();
        for (stage_idx, stage) in stages.iter().enumerate() {
            let is_end = stage_idx == 0 || stage_idx == stages.len() - 1;
            let scale = if self.variant.is_lite() && is_end { 1.0 } else { self.variant.scale().1 };
            let depth = (stage.depth as f64 * scale * self.depth).ceil() as usize;
            for idx in 0..depth {
                let n_out = self.round_width(stage.width);
                plans.push(BlockPlan {
                    stage: stage_idx,
                    idx,
                    n_in,
                    n_out,
                    expand: stage.expand,
                    kernel: stage.kernel,
                    stride: if idx == 0 { stage.stride } else { 1 },
                    is_fused: stage.is_fused,
                    drop_path: 0.0,
                });
                n_in = n_out;
            }
        }
        let n_blocks = plans.len() as f64;
        for (idx, plan) in plans.iter_mut().enumerate() {
            plan.drop_path = self.drop_path * idx as f64 / n_blocks;
        }
        plans
    }
}

impl Architecture for EfficientNet {
    fn stages(&self) -> Vec<Stage<'_>> {
        let (norm, activation) = (self.norm(), self.activation());
        let stem = Stage::new("stem", move |mut it| {
            let window = Window::square(3, 2, self.padding());
            Ok(ConvNorm {
                conv: Conv::dense(it.under("conv_stem"), 3, self.stem_width(), window)?,
                norm: BatchNorm::new(it.under("bn1"), self.stem_width(), norm, activation)?,
            })
        });
        let mut stages = vec![stem];
        let mut n_last = self.stem_width();
        for idx in 0..self.variant.stages().len() {
            let plans = self.blocks().into_iter().filter(|it| it.stage == idx).collect::<Vec<_>>();
            n_last = plans.last().map_or(n_last, |it| it.n_out);
            stages.push(Stage::new(format!("stage{}", idx + 1), move |mut it| {
                let block = |plan: &BlockPlan| {
                    let name = format!("blocks.{}.{}", plan.stage, plan.idx);
                    Block::new(self, plan, it.under(name))
                };
                plans.iter().map(block).collect::<Result<Vec<_>>>()
            }));
        }
        stages.push(Stage::new("neck", move |mut it| {
            let head = ConvNorm {
                conv: Conv::pointwise(it.under("conv_head"), n_last, self.head_width())?,
                norm: BatchNorm::new(it.under("bn2"), self.head_width(), norm, activation)?,
            };
            Ok(vec![Box::new(head) as Box<dyn Layer>, Box::new(Pool)])
        }));
        stages
    }

    fn width(&self) -> usize {
        self.head_width()
    }

    fn problem(&self) -> Option<String> {
        factor_problem("width", self.width)
            .or_else(|| factor_problem("depth", self.depth))
            .or_else(|| share_problem("drop_path", self.drop_path))
            .or_else(|| {
                (self.padding == Some(Padding::Valid))
                    .then(|| "`padding` is `symmetric` or `same`, not `valid`".to_owned())
            })
            .or_else(|| factor_problem("norm_eps", self.norm_eps?))
            .or_else(|| share_problem("norm_momentum", self.norm_momentum?))
    }

    fn namings(&self, ours: &[String]) -> Vec<Naming> {
        let plans = self.blocks();
        let mut namings = vec![
            Naming::of("timm", ours, "classifier", str::to_owned),
            Naming::of("torchvision", ours, "classifier.1", |it| torchvision_name(it, &plans)),
        ];
        if !self.variant.is_v2() {
            let name = |it: &str| efficientnet_pytorch_name(it, &plans);
            namings.push(Naming::of("efficientnet_pytorch", ours, "_fc", name));
        }
        namings
    }
}

/// One inverted residual block: two or three convolutions, the last of which projects.
struct Block {
    /// The 1x1 convolution before a depthwise one.
    expand: Option<ConvNorm>,
    /// Depthwise, or fused with the expanding one; `None` where a fused block does not expand.
    spread: Option<ConvNorm>,
    squeeze_excite: Option<SqueezeExcite>,
    project: ConvNorm,
    residual: Option<Residual>,
}

impl Block {
    fn new(config: &EfficientNet, plan: &BlockPlan, mut builder: Builder<'_>) -> Result<Block> {
        let (norm, activation) = (config.norm(), config.activation());
        let &BlockPlan { n_in, n_out, is_fused, .. } = plan;
        let (n_wide, expands) = (n_in * plan.expand, plan.expand != 1);
        let window = Window::square(plan.kernel, plan.stride, config.padding());
        let name = builder.path_of("drop_path");

        // timm numbers the norms of a block in order, and names its convolutions by their function.
        let mut n_norms = 0;
        let mut norm = |builder: &mut Builder<'_>, c, activation| {
            n_norms += 1;
            BatchNorm::new(builder.under(format!("bn{n_norms}")), c, norm, activation)
        };
        let expand = match expands && !is_fused {
            true => Some(ConvNorm {
                conv: Conv::pointwise(builder.under("conv_pw"), n_in, n_wide)?,
                norm: norm(&mut builder, n_wide, activation)?,
            }),
            false => None,
        };
        let spread = match (is_fused, expands) {
            (false, _) => Some(Conv::depthwise(builder.under("conv_dw"), n_wide, window)?),
            (true, true) => Some(Conv::dense(builder.under("conv_exp"), n_in, n_wide, window)?),
            (true, false) => None,
        };
        let spread = match spread {
            Some(conv) => Some(ConvNorm { conv, norm: norm(&mut builder, n_wide, activation)? }),
            None => None,
        };
        let squeeze_excite = match config.variant.is_lite() || is_fused {
            true => None,
            // A quarter of the block's input, not of its expanded width.
            false => {
                let (reduced, names) = ((n_in / 4).max(1), ["conv_reduce", "conv_expand"]);
                let place = builder.under("se");
                Some(SqueezeExcite::new(place, n_wide, reduced, activation, names)?)
            }
        };
        let project = match (is_fused, expands) {
            (true, false) => ConvNorm {
                conv: Conv::dense(builder.under("conv"), n_in, n_out, window)?,
                norm: norm(&mut builder, n_out, activation)?,
            },
            (_, expands) => ConvNorm {
                conv: Conv::pointwise(
                    builder.under(if expands { "conv_pwl" } else { "conv_pw" }),
                    n_wide,
                    n_out,
                )?,
                norm: norm(&mut builder, n_out, Activation::None)?,
            },
        };
        let has_residual = plan.stride == 1 && n_in == n_out;
        let residual = Residual { name, drop_path: plan.drop_path, activation: Activation::None };
        let residual = has_residual.then_some(residual);
        Ok(Block { expand, spread, squeeze_excite, project, residual })
    }
}

impl Layer for Block {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        let mut ys = match (&self.expand, &self.spread) {
            (Some(expand), Some(depthwise)) => expand.then_depthwise(depthwise, xs, pass)?,
            (None, Some(spread)) => spread.forward(xs, pass)?,
            (_, None) => xs.clone(),
        };
        if let Some(squeeze_excite) = &self.squeeze_excite {
            ys = squeeze_excite.forward(&ys, pass)?;
        }
        match &self.residual {
            Some(it) => it.forward(&self.project, &ys, xs, pass),
            None => self.project.forward(&ys, pass),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::Result;

    use super::{EfficientNet, Variant};
    use crate::{Architecture as _, Params, stage};

    /// Parameters of the backbone without its classifier.
    fn n_params(variant: Variant) -> Result<usize> {
        stage::n_params(&EfficientNet { variant, ..EfficientNet::default() })
    }

    #[test]
    fn parameter_counts_match_timm() -> Result<()> {
        // timm's counts with 1000 classes, minus the classifier's (width + 1) * 1000.
        assert_eq!(n_params(Variant::B0)?, 5_288_548 - 1281 * 1000);
        assert_eq!(n_params(Variant::B4)?, 19_341_616 - 1793 * 1000);
        assert_eq!(n_params(Variant::V2S)?, 21_458_488 - 1281 * 1000);
        assert_eq!(n_params(Variant::V2M)?, 54_139_356 - 1281 * 1000);
        assert_eq!(n_params(Variant::V2L)?, 118_515_272 - 1281 * 1000);
        assert_eq!(n_params(Variant::Lite0)?, 4_652_008 - 1281 * 1000);
        assert_eq!(n_params(Variant::Lite4)?, 13_006_568 - 1281 * 1000);
        Ok(())
    }

    #[test]
    fn names_in_every_library_are_unique() -> Result<()> {
        for variant in [Variant::B1, Variant::V2S, Variant::Lite1] {
            let config = EfficientNet { variant, ..EfficientNet::default() };
            let mut params = Params::blank();
            for stage in config.stages() {
                stage.build(params.builder())?;
            }
            let ours: Vec<String> = params.named().map(|(name, _)| name.to_owned()).collect();
            for naming in config.namings(&ours) {
                let mut theirs: Vec<_> = naming.backbone.into_iter().map(|it| it.1).collect();
                theirs.sort();
                theirs.dedup();
                assert_eq!(theirs.len(), ours.len(), "{}", naming.library);
            }
        }
        Ok(())
    }
}
