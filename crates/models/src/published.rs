//! Published networks by their timm names, and the preprocessing of their weights.
//!
//! Wightman, "PyTorch Image Models", <https://github.com/huggingface/pytorch-image-models>, version
//! 1.0.31: the default weights of each name. The table is compared with the package itself
//! (`tests/golden/published.py`).

use candle::Result;
use ops::Padding;

use crate::{
    BackboneConfig, ConvNeXt, ConvNeXtSize, DenseNet, EfficientNet, Params, ResNet, Variant, Vgg,
    XResNet,
};

/// A published network.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// timm's name.
    pub name: &'static str,
    /// The architecture and its settings.
    pub backbone: BackboneConfig,
    /// timm's tag of the weights that the other fields describe.
    pub tag: &'static str,
    /// The preprocessing of these weights.
    pub input: Input,
    /// Multiply-adds (MACs) for one image of the input size and 1000 classes.
    pub multiply_adds: u64,
}

/// The preprocessing of published weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input {
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
    /// timm's `crop_pct`: the size as a fraction of the resized image's shorter side.
    pub crop: f64,
    /// The interpolation of the resize.
    pub interpolation: Interpolation,
    /// The channel means, of values in 0..1.
    pub mean: [f64; 3],
    /// The channel standard deviations.
    pub std: [f64; 3],
}

/// The interpolation when an image is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names suffice")]
pub enum Interpolation {
    Bilinear,
    Bicubic,
}

/// Mean and standard deviation of the three channels.
type MeanStd = ([f64; 3], [f64; 3]);

/// Means and standard deviations that differ by less count as equal.
const NEAR: f64 = 0.005;
/// ImageNet's statistics.
const IMAGENET: MeanStd = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// Inception's normalisation to -1..1.
const HALF: MeanStd = ([0.5; 3], [0.5; 3]);

/// Every published network that can be built here.
#[rustfmt::skip]
pub fn published() -> Vec<Published> {
    use Interpolation::{Bicubic, Bilinear};
    use ConvNeXtSize::{Base, Small, Tiny};
    use Variant::{
        B0, B1, B2, B3, B4, B5, B6, B7, Lite0, Lite1, Lite2, Lite3, Lite4, V2L, V2M, V2S,
    };
    vec![
        // The shorter side is resized to size / crop; the last column is multiply-adds.
        of("tf_efficientnet_b0",   tf(B0),                   "ns_jft_in1k",         224, 0.875, Bicubic,  IMAGENET, 385_814_752),
        of("efficientnet_b0",      pt(B0),                   "ra_in1k",             224, 0.875, Bicubic,  IMAGENET, 385_814_752),
        of("tf_efficientnet_b1",   tf(B1),                   "ns_jft_in1k",         240, 0.882, Bicubic,  IMAGENET, 686_802_832),
        of("efficientnet_b1",      pt(B1),                   "ra4_e3600_r240_in1k", 240, 0.900, Bicubic,  HALF,     686_802_832),
        of("tf_efficientnet_b2",   tf(B2),                   "ns_jft_in1k",         260, 0.890, Bicubic,  IMAGENET, 993_561_872),
        of("efficientnet_b2",      pt(B2),                   "ra_in1k",             256, 0.875, Bicubic,  IMAGENET, 859_853_760),
        of("tf_efficientnet_b3",   tf(B3),                   "ns_jft_in1k",         300, 0.904, Bicubic,  IMAGENET, 1_827_141_392),
        of("efficientnet_b3",      pt(B3),                   "ra2_in1k",            288, 0.875, Bicubic,  IMAGENET, 1_589_198_096),
        of("tf_efficientnet_b4",   tf(B4),                   "ns_jft_in1k",         380, 0.922, Bicubic,  IMAGENET, 4_393_771_024),
        of("efficientnet_b4",      pt(B4),                   "ra2_in1k",            320, 0.875, Bicubic,  IMAGENET, 3_063_687_008),
        of("tf_efficientnet_b5",   tf(B5),                   "ns_jft_in1k",         456, 0.934, Bicubic,  IMAGENET, 10_266_384_752),
        of("efficientnet_b5",      pt(B5),                   "sw_in12k_ft_in1k",    448, 1.000, Bicubic,  IMAGENET, 9_404_374_080),
        of("tf_efficientnet_b6",   tf(B6),                   "ns_jft_in1k",         528, 0.942, Bicubic,  IMAGENET, 19_067_593_536),
        of("efficientnet_b6",      pt(B6),                   "untrained",           528, 0.942, Bicubic,  IMAGENET, 19_067_593_536),
        of("tf_efficientnet_b7",   tf(B7),                   "ns_jft_in1k",         600, 0.949, Bicubic,  IMAGENET, 37_745_884_192),
        of("efficientnet_b7",      pt(B7),                   "untrained",           600, 0.949, Bicubic,  IMAGENET, 37_745_884_192),
        of("tf_efficientnet_lite0",tf(Lite0),                "in1k",                224, 0.875, Bicubic,  HALF,     385_187_552),
        of("efficientnet_lite0",   pt(Lite0),                "ra_in1k",             224, 0.875, Bicubic,  IMAGENET, 385_187_552),
        of("tf_efficientnet_lite1",tf(Lite1),                "in1k",                240, 0.882, Bicubic,  HALF,     600_185_232),
        of("efficientnet_lite1",   pt(Lite1),                "untrained",           240, 0.882, Bicubic,  IMAGENET, 600_185_232),
        of("tf_efficientnet_lite2",tf(Lite2),                "in1k",                260, 0.890, Bicubic,  HALF,     859_736_272),
        of("efficientnet_lite2",   pt(Lite2),                "untrained",           260, 0.890, Bicubic,  IMAGENET, 859_736_272),
        of("tf_efficientnet_lite3",tf(Lite3),                "in1k",                300, 0.904, Bilinear, HALF,     1_607_554_544),
        of("efficientnet_lite3",   pt(Lite3),                "untrained",           300, 0.904, Bicubic,  IMAGENET, 1_607_554_544),
        of("tf_efficientnet_lite4",tf(Lite4),                "in1k",                380, 0.920, Bilinear, HALF,     3_943_564_112),
        of("efficientnet_lite4",   pt(Lite4),                "untrained",           380, 0.922, Bicubic,  IMAGENET, 3_943_564_112),
        of("resnet18",             resnet(18),               "a1_in1k",             224, 0.950, Bicubic,  IMAGENET, 1_814_073_344),
        of("resnet34",             resnet(34),               "a1_in1k",             224, 0.950, Bicubic,  IMAGENET, 3_663_761_408),
        of("resnet50",             resnet(50),               "a1_in1k",             224, 0.950, Bicubic,  IMAGENET, 4_089_184_256),
        of("resnet101",            resnet(101),              "a1h_in1k",            224, 0.950, Bicubic,  IMAGENET, 7_801_405_440),
        of("resnet152",            resnet(152),              "a1h_in1k",            224, 0.950, Bicubic,  IMAGENET, 11_513_626_624),
        of("tf_efficientnetv2_s",  tf(V2S),                  "in21k_ft_in1k",       300, 1.000, Bicubic,  HALF,     5_307_561_248),
        of("efficientnetv2_s",     pt(V2S),                  "untrained",           288, 1.000, Bicubic,  IMAGENET, 4_707_823_040),
        of("tf_efficientnetv2_m",  tf(V2M),                  "in21k_ft_in1k",       384, 1.000, Bicubic,  HALF,     15_736_775_680),
        of("efficientnetv2_m",     pt(V2M),                  "untrained",           320, 1.000, Bicubic,  IMAGENET, 10_931_712_384),
        of("tf_efficientnetv2_l",  tf(V2L),                  "in21k_ft_in1k",       384, 1.000, Bicubic,  HALF,     35_899_418_624),
        of("efficientnetv2_l",     pt(V2L),                  "untrained",           384, 1.000, Bicubic,  IMAGENET, 35_899_418_624),
        of("resnext50_32x4d",      resnext(50, 32, 4),       "a1h_in1k",            224, 0.950, Bicubic,  IMAGENET, 4_230_479_872),
        of("resnext101_32x8d",     resnext(101, 32, 8),      "tv_in1k",             224, 0.875, Bilinear, IMAGENET, 16_414_015_488),
        of("seresnet50",           se(resnet(50)),           "a1_in1k",             224, 0.950, Bicubic,  IMAGENET, 4_091_699_200),
        of("seresnext50_32x4d",    se(resnext(50, 32, 4)),   "racm_in1k",           224, 0.875, Bicubic,  IMAGENET, 4_232_994_816),
        of("xresnet50",            xresnet(50),              "untrained",           224, 0.875, Bicubic,  IMAGENET, 4_328_824_832),
        of("vgg11",                vgg(11, false),           "tv_in1k",             224, 0.875, Bilinear, IMAGENET, 7_609_090_048),
        of("vgg11_bn",             vgg(11, true),            "tv_in1k",             224, 0.875, Bilinear, IMAGENET, 7_609_090_048),
        of("vgg13",                vgg(13, false),           "tv_in1k",             224, 0.875, Bilinear, IMAGENET, 11_308_466_176),
        of("vgg13_bn",             vgg(13, true),            "tv_in1k",             224, 0.875, Bilinear, IMAGENET, 11_308_466_176),
        of("vgg16",                vgg(16, false),           "tv_in1k",             224, 0.875, Bilinear, IMAGENET, 15_470_264_320),
        of("vgg16_bn",             vgg(16, true),            "tv_in1k",             224, 0.875, Bilinear, IMAGENET, 15_470_264_320),
        of("vgg19",                vgg(19, false),           "tv_in1k",             224, 0.875, Bilinear, IMAGENET, 19_632_062_464),
        of("vgg19_bn",             vgg(19, true),            "tv_in1k",             224, 0.875, Bilinear, IMAGENET, 19_632_062_464),
        of("densenet121",          densenet(121),            "ra_in1k",             224, 0.875, Bicubic,  IMAGENET, 2_834_161_664),
        of("densenet161",          densenet(161),            "tv_in1k",             224, 0.875, Bicubic,  IMAGENET, 7_727_907_072),
        of("densenet169",          densenet(169),            "tv_in1k",             224, 0.875, Bicubic,  IMAGENET, 3_359_843_328),
        of("densenet201",          densenet(201),            "tv_in1k",             224, 0.875, Bicubic,  IMAGENET, 4_291_365_888),
        of("convnext_tiny",        convnext(Tiny),           "in12k_ft_in1k",       224, 0.950, Bicubic,  IMAGENET, 4_455_531_264),
        of("convnext_small",       convnext(Small),          "in12k_ft_in1k",       224, 0.950, Bicubic,  IMAGENET, 8_683_712_256),
        of("convnext_base",        convnext(Base),           "fb_in22k_ft_in1k",    224, 0.875, Bicubic,  IMAGENET, 15_354_729_472),
    ]
}

/// A row of the table.
fn of(
    name: &'static str,
    backbone: BackboneConfig,
    tag: &'static str,
    size: usize,
    crop: f64,
    interpolation: Interpolation,
    (mean, std): MeanStd,
    multiply_adds: u64,
) -> Published {
    let input = Input { size: [size; 2], crop, interpolation, mean, std };
    Published { name, backbone, tag, input, multiply_adds }
}

/// With TensorFlow's padding and norm epsilon.
fn tf(variant: Variant) -> BackboneConfig {
    efficientnet(variant, Padding::Same, 1e-3)
}

/// With PyTorch's padding and norm epsilon.
fn pt(variant: Variant) -> BackboneConfig {
    efficientnet(variant, Padding::Symmetric, 1e-5)
}

fn efficientnet(variant: Variant, padding: Padding, norm_eps: f64) -> BackboneConfig {
    let (padding, norm_eps) = (Some(padding), Some(norm_eps));
    let plain = EfficientNet { variant, padding, norm_eps, ..EfficientNet::default() };
    BackboneConfig::EfficientNet(EfficientNet { drop_path: 0.0, ..plain })
}

fn resnet(depth: usize) -> BackboneConfig {
    BackboneConfig::ResNet(ResNet { depth, ..ResNet::default() })
}

/// - `groups`, `group_width`: of the 3x3 convolutions.
fn resnext(depth: usize, groups: usize, group_width: usize) -> BackboneConfig {
    BackboneConfig::ResNet(ResNet { depth, groups, group_width, ..ResNet::default() })
}

/// With squeeze-excite.
fn se(backbone: BackboneConfig) -> BackboneConfig {
    match backbone {
        BackboneConfig::ResNet(it) => BackboneConfig::ResNet(ResNet { squeeze_excite: true, ..it }),
        other => other,
    }
}

fn xresnet(depth: usize) -> BackboneConfig {
    BackboneConfig::XResNet(XResNet { depth, ..XResNet::default() })
}

fn vgg(depth: usize, batch_norm: bool) -> BackboneConfig {
    BackboneConfig::Vgg(Vgg { depth, batch_norm, ..Vgg::default() })
}

fn densenet(depth: usize) -> BackboneConfig {
    BackboneConfig::DenseNet(DenseNet { depth, ..DenseNet::default() })
}

fn convnext(size: ConvNeXtSize) -> BackboneConfig {
    BackboneConfig::ConvNeXt(ConvNeXt { size, drop_path: 0.0, ..ConvNeXt::default() })
}

impl Published {
    /// Returns the published network that a config describes, if any.
    pub fn find(backbone: &BackboneConfig) -> Option<Published> {
        let wanted = for_inference(backbone);
        published().into_iter().find(|it| for_inference(&it.backbone) == wanted)
    }

    /// Returns the backbone's parameters and buffers without values, and its number of features.
    pub fn params(&self) -> Result<(Params, usize)> {
        Ok((blank(&self.backbone)?, self.backbone.get().width()))
    }

    /// The number of trainable parameters, with a classifier of 1000 classes.
    pub fn n_parameters(&self) -> Result<usize> {
        let (params, width) = self.params()?;
        Ok(params.n_trainable() + (width + 1) * 1000)
    }

    /// The name with the tag of the weights, if there are any: `tf_efficientnet_lite0.in1k`.
    pub fn full_name(&self) -> String {
        match self.has_weights() {
            true => format!("{}.{}", self.name, self.tag),
            false => self.name.to_owned(),
        }
    }

    /// Whether timm publishes weights for this name.
    pub fn has_weights(&self) -> bool {
        self.tag != "untrained"
    }
}

/// The parameters and buffers of a backbone, without values.
pub(crate) fn blank(backbone: &BackboneConfig) -> Result<Params> {
    let mut params = Params::blank();
    for stage in backbone.get().stages() {
        stage.build(params.builder())?;
    }
    Ok(params)
}

/// Returns the part of a config that inference depends on: defaults are filled in, and settings that only
/// affect training are reset.
pub(crate) fn for_inference(backbone: &BackboneConfig) -> BackboneConfig {
    match backbone {
        BackboneConfig::EfficientNet(it) => BackboneConfig::EfficientNet(it.for_inference()),
        BackboneConfig::ResNet(it) => {
            BackboneConfig::ResNet(ResNet { drop_path: 0.0, ..it.clone() })
        }
        BackboneConfig::XResNet(it) => {
            BackboneConfig::XResNet(XResNet { drop_path: 0.0, ..it.clone() })
        }
        BackboneConfig::Vgg(it) => BackboneConfig::Vgg(Vgg { dropout: 0.0, ..it.clone() }),
        BackboneConfig::DenseNet(it) => {
            BackboneConfig::DenseNet(DenseNet { dropout: 0.0, ..it.clone() })
        }
        BackboneConfig::ConvNeXt(it) => {
            let ConvNeXt { size, width, .. } = it.clone();
            BackboneConfig::ConvNeXt(ConvNeXt { size, width, drop_path: 0.0, layer_scale: 0.0 })
        }
        BackboneConfig::Own(_) => backbone.clone(),
    }
}

impl Input {
    /// The shorter side of the resized image before the crop, rounded down as in timm.
    pub fn resized(&self) -> usize {
        let shorter = self.size[0].min(self.size[1]);
        (shorter as f64 / self.crop).floor() as usize
    }

    /// Returns whether normalising by this mean and standard deviation is equivalent: (x - 127) / 128 counts
    /// as (x - 127.5) / 127.5.
    pub fn is_normalised_by(&self, mean: [f64; 3], std: [f64; 3]) -> bool {
        let near = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < NEAR);
        near(self.mean, mean) && near(self.std, std)
    }

    /// The normalisation, by name if it has one.
    pub fn normalisation(&self) -> String {
        let Input { mean, std, .. } = self;
        match (*mean, *std) {
            it if it == IMAGENET => "imagenet".to_owned(),
            it if it == HALF => "inception (0.5)".to_owned(),
            _ => format!("mean {mean:?}, std {std:?}"),
        }
    }
}

impl Interpolation {
    /// The name in configs.
    pub fn name(self) -> &'static str {
        match self {
            Interpolation::Bilinear => "bilinear",
            Interpolation::Bicubic => "bicubic",
        }
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([h, w], name) = (self.size, self.interpolation.name());
        let list = |xs: [f64; 3]| xs.map(|x| x.to_string()).join(" ");
        let (mean, std) = (list(self.mean), list(self.std));
        write!(f, "{h}x{w}, crop {}, {name}, mean {mean}, std {std}", self.crop)
    }
}

#[cfg(test)]
mod tests {
    use testkit::Golden;

    use super::{Published, published};
    use crate::{BackboneConfig, EfficientNet, Variant};

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = published().into_iter().map(|it| it.name).collect();
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(names.binary_search(&"tf_efficientnet_lite0").is_ok());
    }

    #[test]
    fn table_equals_timms() {
        let golden = Golden::read("published").at("networks");
        let ours: Vec<&str> = published().iter().map(|it| it.name).collect();
        let mut sorted = ours.clone();
        sorted.sort();
        assert_eq!(golden.keys(), sorted, "run tests/golden/published.py");
        for it in published() {
            let want = golden.at(it.name);
            let name = it.name;
            assert_eq!(it.tag, want.to::<String>("tag"), "{name}");
            assert_eq!(it.input.size, want.to::<[usize; 2]>("size"), "{name}");
            assert_eq!(it.input.crop, want.to::<f64>("crop"), "{name}");
            let interpolation = want.to::<String>("interpolation");
            assert_eq!(it.input.interpolation.name(), interpolation, "{name}");
            assert_eq!(it.input.mean, want.to::<[f64; 3]>("mean"), "{name}");
            assert_eq!(it.input.std, want.to::<[f64; 3]>("std"), "{name}");
            assert_eq!(it.multiply_adds, want.to::<u64>("multiply_adds"), "{name}");
            assert_eq!(it.n_parameters().unwrap(), want.to::<usize>("parameters"), "{name}");
        }
    }

    #[test]
    fn training_settings_do_not_change_the_published_network() {
        let found = |it| Published::find(&BackboneConfig::EfficientNet(it)).map(|it| it.name);
        let plain = EfficientNet::default();
        let lite = EfficientNet { variant: Variant::Lite0, ..plain.clone() };
        assert_eq!(found(lite.clone()), Some("tf_efficientnet_lite0"));
        assert_eq!(found(EfficientNet { drop_path: 0.5, ..lite.clone() }), found(lite.clone()));
        assert_eq!(found(plain.clone()), Some("efficientnet_b0"));
        assert_eq!(found(EfficientNet { norm_eps: Some(1e-5), ..lite.clone() }), None);
        assert_eq!(found(EfficientNet { width: 0.5, ..lite }), None);
    }

    #[test]
    fn resized_side_is_timms() {
        let side = |name: &str| {
            published().into_iter().find(|it| it.name == name).map(|it| it.input.resized())
        };
        // floor(224 / 0.875), floor(240 / 0.882), 448 / 1.
        assert_eq!(side("resnet18"), Some(235));
        assert_eq!(side("tf_efficientnet_b0"), Some(256));
        assert_eq!(side("tf_efficientnet_b1"), Some(272));
        assert_eq!(side("efficientnet_b5"), Some(448));
    }
}
