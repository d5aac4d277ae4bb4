//! EfficientNet: inverted residual blocks with depthwise convolutions and squeeze-excite, scaled
//! together in width, depth and resolution; and its Lite form for phones.
//!
//! Block: expand 1x1 -> depthwise k x k -> squeeze-excite -> project 1x1, plus the input where the
//! shape stays. Width is multiplied by w and rounded to eights, depth by d and rounded up.
//!
//! Tan & Le, "EfficientNet", 2019, <https://arxiv.org/abs/1905.11946>. Lite: R. Liu, "Higher accuracy
//! on vision models with EfficientNet-Lite", 2020: no squeeze-excite, ReLU6, first and last stage,
//! stem and head not scaled.
//! Padding, norm and naming are independent: torchvision and timm's `efficientnet_*` pad
//! symmetrically with eps 1e-5 (torchvision's B5-B7 with 1e-3 and momentum 0.01); timm's
//! `tf_efficientnet_*` and Lite pad as TensorFlow's `SAME` with eps 1e-3.
//! Parameters carry timm's names.

mod naming;

use candle::Result;
use naming::{efficientnet_pytorch_name, torchvision_name};
use ops::{Activation, Padding, Pass, Value, Window};
use serde::{Deserialize, Serialize};

use crate::{
    Architecture, Backbone, Naming,
    layers::{BatchNorm, Conv, ConvNorm, NormSettings, Residual, SqueezeExcite},
    params::Builder,
};

/// `backbone = { kind = "efficientnet", variant = "b0" }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EfficientNet {
    /// `b0` to `b7`, `lite0` to `lite4`.
    pub variant: Variant,
    /// `symmetric` (PyTorch) or `same` (TensorFlow). Left out: `symmetric`, for Lite `same`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padding: Option<Padding>,
    /// Added to the variance in batch norms. Left out: 1e-5, for B5-B7 and Lite 1e-3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_eps: Option<f64>,
    /// The share of a batch in the running statistics. Left out: 0.1, for B5-B7 0.01.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_momentum: Option<f64>,
    /// Stochastic depth: the chance that the last block is dropped, falling linearly to 0 at the
    /// first.
    pub drop_path: f64,
    /// Multiplies the variant's widths: 0.5 makes every layer half as wide. No published weights fit
    /// then.
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
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "their names say all there is to say")]
pub enum Variant {
    B0,
    B1,
    B2,
    B3,
    B4,
    B5,
    B6,
    B7,
    Lite0,
    Lite1,
    Lite2,
    Lite3,
    Lite4,
}

impl Variant {
    /// Every variant.
    pub const ALL: [Variant; 13] = {
        use Variant::{B0, B1, B2, B3, B4, B5, B6, B7, Lite0, Lite1, Lite2, Lite3, Lite4};
        [B0, B1, B2, B3, B4, B5, B6, B7, Lite0, Lite1, Lite2, Lite3, Lite4]
    };

    /// Multipliers of width and depth: the paper's and the Lite release's tables.
    fn scale(self) -> (f64, f64) {
        match self {
            Variant::B0 | Variant::Lite0 => (1.0, 1.0),
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

    fn is_large(self) -> bool {
        matches!(self, Variant::B5 | Variant::B6 | Variant::B7)
    }
}

/// One stage of B0, its table 1.
struct Stage {
    expand: usize,
    kernel: usize,
    stride: usize,
    width: usize,
    depth: usize,
}

const STAGES: [Stage; 7] = [
    Stage { expand: 1, kernel: 3, stride: 1, width: 16, depth: 1 },
    Stage { expand: 6, kernel: 3, stride: 2, width: 24, depth: 2 },
    Stage { expand: 6, kernel: 5, stride: 2, width: 40, depth: 2 },
    Stage { expand: 6, kernel: 3, stride: 2, width: 80, depth: 3 },
    Stage { expand: 6, kernel: 5, stride: 1, width: 112, depth: 3 },
    Stage { expand: 6, kernel: 5, stride: 2, width: 192, depth: 4 },
    Stage { expand: 6, kernel: 3, stride: 1, width: 320, depth: 1 },
];
const STEM_WIDTH: usize = 32;
const HEAD_WIDTH: usize = 1280;

/// One block as it is to be built.
struct BlockPlan {
    stage: usize,
    idx: usize,
    n_in: usize,
    n_out: usize,
    expand: usize,
    kernel: usize,
    stride: usize,
    drop_path: f64,
}

impl EfficientNet {
    fn padding(&self) -> Padding {
        let default = if self.variant.is_lite() { Padding::Same } else { Padding::Symmetric };
        self.padding.unwrap_or(default)
    }

    fn norm(&self) -> NormSettings {
        let variant = self.variant;
        let eps = if variant.is_lite() || variant.is_large() { 1e-3 } else { 1e-5 };
        let momentum = if variant.is_large() { 0.01 } else { 0.1 };
        NormSettings {
            eps: self.norm_eps.unwrap_or(eps),
            momentum: self.norm_momentum.unwrap_or(momentum),
        }
    }

    /// The same network, with what is left out said, and what only training knows at its default.
    pub(crate) fn answering(&self) -> EfficientNet {
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

    /// A width of B0's, scaled and rounded to eights, by no more than a tenth downwards.
    fn round_width(&self, width: usize) -> usize {
        let width = width as f64 * self.variant.scale().0 * self.width;
        let rounded = ((width + 4.0) / 8.0).floor().max(1.0) * 8.0;
        (if rounded < 0.9 * width { rounded + 8.0 } else { rounded }) as usize
    }

    fn stem_width(&self) -> usize {
        self.end_width(STEM_WIDTH)
    }

    fn head_width(&self) -> usize {
        self.end_width(HEAD_WIDTH)
    }

    /// Lite keeps stem and head at B0's size.
    fn end_width(&self, width: usize) -> usize {
        let plain = EfficientNet { variant: Variant::B0, ..self.clone() };
        if self.variant.is_lite() { plain.round_width(width) } else { self.round_width(width) }
    }

    fn blocks(&self) -> Vec<BlockPlan> {
        let mut n_in = self.stem_width();
        let mut plans = Vec::new();
        for (stage_idx, stage) in STAGES.iter().enumerate() {
            let is_end = stage_idx == 0 || stage_idx == STAGES.len() - 1;
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
    fn build(&self, mut builder: Builder<'_>) -> Result<Box<dyn Backbone>> {
        let (norm, activation) = (self.norm(), self.activation());
        let stem = Window::square(3, 2, self.padding());
        let plans = self.blocks();
        let n_last = plans.last().map_or(self.stem_width(), |it| it.n_out);
        let mut layer = |conv, conv_name: &str, norm_name: &str, c| -> Result<ConvNorm> {
            let conv = match conv {
                Some(window) => Conv::dense(builder.under(conv_name), 3, c, window)?,
                None => Conv::pointwise(builder.under(conv_name), n_last, c)?,
            };
            let norm = BatchNorm::new(builder.under(norm_name), c, norm, activation)?;
            Ok(ConvNorm { conv, norm })
        };
        let stem = layer(Some(stem), "conv_stem", "bn1", self.stem_width())?;
        let head = layer(None, "conv_head", "bn2", self.head_width())?;
        let mut blocks = Vec::new();
        for plan in plans {
            let name = format!("blocks.{}.{}", plan.stage, plan.idx);
            blocks.push(Block::new(self, &plan, builder.under(name))?);
        }
        Ok(Box::new(Built { stem, blocks, head, width: self.head_width() }))
    }

    fn problem(&self) -> Option<String> {
        let positive = |name: &str, x: f64| {
            (!(x > 0.0 && x <= 16.0))
                .then(|| format!("`{name}` is above 0 and at most 16, not {x}"))
        };
        let share = |name: &str, x: f64| {
            (!(0.0..1.0).contains(&x)).then(|| format!("`{name}` is from 0 to below 1, not {x}"))
        };
        positive("width", self.width)
            .or_else(|| positive("depth", self.depth))
            .or_else(|| share("drop_path", self.drop_path))
            .or_else(|| positive("norm_eps", self.norm_eps?))
            .or_else(|| share("norm_momentum", self.norm_momentum?))
    }

    fn namings(&self, ours: &[String]) -> Vec<Naming> {
        let plans = self.blocks();
        let all = |of: &dyn Fn(&str) -> String| {
            ours.iter().map(|name| (name.clone(), of(name))).collect::<Vec<_>>()
        };
        vec![
            Naming {
                library: "timm",
                backbone: all(&|name| name.to_owned()),
                classifier: "classifier",
            },
            Naming {
                library: "torchvision",
                backbone: all(&|name| torchvision_name(name, &plans)),
                classifier: "classifier.1",
            },
            Naming {
                library: "efficientnet_pytorch",
                backbone: all(&|name| efficientnet_pytorch_name(name, &plans)),
                classifier: "_fc",
            },
        ]
    }
}

/// One inverted residual block.
struct Block {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    squeeze_excite: Option<SqueezeExcite>,
    project: ConvNorm,
    residual: Option<Residual>,
}

impl Block {
    fn new(config: &EfficientNet, plan: &BlockPlan, mut builder: Builder<'_>) -> Result<Block> {
        let (norm, activation) = (config.norm(), config.activation());
        let n_wide = plan.n_in * plan.expand;
        let window = Window::square(plan.kernel, plan.stride, config.padding());
        let name = builder.path_of("drop_path");

        // timm numbers a block's norms in order, and calls the last convolution of a block that
        // does not expand `conv_pw`.
        let expands = plan.expand != 1;
        let names = if expands { ["bn2", "conv_pwl", "bn3"] } else { ["bn1", "conv_pw", "bn2"] };
        let expand = match expands {
            true => Some(ConvNorm {
                conv: Conv::pointwise(builder.under("conv_pw"), plan.n_in, n_wide)?,
                norm: BatchNorm::new(builder.under("bn1"), n_wide, norm, activation)?,
            }),
            false => None,
        };
        let depthwise = ConvNorm {
            conv: Conv::depthwise(builder.under("conv_dw"), n_wide, window)?,
            norm: BatchNorm::new(builder.under(names[0]), n_wide, norm, activation)?,
        };
        let squeeze_excite = match config.variant.is_lite() {
            true => None,
            // A quarter of the block's input, not of its expanded width.
            false => {
                let reduced = (plan.n_in / 4).max(1);
                Some(SqueezeExcite::new(builder.under("se"), n_wide, reduced, activation)?)
            }
        };
        let project = ConvNorm {
            conv: Conv::pointwise(builder.under(names[1]), n_wide, plan.n_out)?,
            norm: BatchNorm::new(builder.under(names[2]), plan.n_out, norm, Activation::None)?,
        };
        let has_residual = plan.stride == 1 && plan.n_in == plan.n_out;
        let residual = Residual { name, drop_path: plan.drop_path, activation: Activation::None };
        let residual = has_residual.then_some(residual);
        Ok(Block { expand, depthwise, squeeze_excite, project, residual })
    }

    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        let mut ys = match &self.expand {
            Some(expand) => expand.then_depthwise(&self.depthwise, xs, pass)?,
            None => self.depthwise.forward(xs, pass)?,
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

struct Built {
    stem: ConvNorm,
    blocks: Vec<Block>,
    head: ConvNorm,
    width: usize,
}

impl Backbone for Built {
    fn features(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        let mut xs = self.stem.forward(xs, pass)?;
        for block in &self.blocks {
            xs = block.forward(&xs, pass)?;
        }
        ops::global_avg_pool(&self.head.forward(&xs, pass)?)
    }

    fn width(&self) -> usize {
        self.width
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;
    use candle::{DType, Device, Result};

    use super::{EfficientNet, Variant};
    use crate::{Architecture as _, Params};

    /// Parameters of the backbone without its classifier.
    fn n_params(variant: Variant) -> Result<usize> {
        let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
        EfficientNet { variant, ..EfficientNet::default() }.build(params.builder())?;
        Ok(params.n_trained())
    }

    #[test]
    fn sizes_are_the_published_ones() -> Result<()> {
        // timm's counts with 1000 classes, less the classifier's (width + 1) * 1000.
        assert_eq!(n_params(Variant::B0)?, 5_288_548 - 1281 * 1000);
        assert_eq!(n_params(Variant::B4)?, 19_341_616 - 1793 * 1000);
        assert_eq!(n_params(Variant::Lite0)?, 4_652_008 - 1281 * 1000);
        assert_eq!(n_params(Variant::Lite4)?, 13_006_568 - 1281 * 1000);
        Ok(())
    }

    #[test]
    fn every_library_names_every_parameter_differently() -> Result<()> {
        for variant in [Variant::B1, Variant::Lite1] {
            let config = EfficientNet { variant, ..EfficientNet::default() };
            let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
            config.build(params.builder())?;
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
