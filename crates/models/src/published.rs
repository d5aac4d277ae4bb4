//! Networks by the names that timm gives them, and what their published weights were made for.
//!
//! Wightman, "PyTorch Image Models", <https://github.com/huggingface/pytorch-image-models>, version
//! 1.0.31: the weights that it takes for a name when nothing else is said. The facts are held to
//! those of the package itself (`tests/golden/published.py`).

use candle::Result;
use ops::Padding;

use crate::{BackboneConfig, EfficientNet, Params, ResNet, Variant};

/// A network as it was published.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// timm's name.
    pub name: &'static str,
    /// What to build.
    pub backbone: BackboneConfig,
    /// Which of the weights of that name the rest is about, as timm calls them.
    pub tag: &'static str,
    /// What pictures these weights want.
    pub input: Input,
    /// Multiplications, each with its addition, for one picture of that size and 1000 classes.
    pub multiply_adds: u64,
}

/// How pictures were prepared for published weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input {
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
    /// The part of the resized picture's shorter side that the size is.
    pub crop: f64,
    /// How pictures are resized.
    pub interpolation: Interpolation,
    /// The colours that become 0, where 1 is the brightest.
    pub mean: [f64; 3],
    /// What becomes 1 above the mean.
    pub std: [f64; 3],
}

/// How source pixels are weighed when a picture is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say all there is to say")]
pub enum Interpolation {
    Bilinear,
    Bicubic,
}

/// A mean and a deviation of the three colours.
type Colours = ([f64; 3], [f64; 3]);

/// Of ImageNet's pictures.
const IMAGENET: Colours = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// From -1 to 1, as Inception began it.
const HALF: Colours = ([0.5; 3], [0.5; 3]);

/// Every published network that can be built here.
#[rustfmt::skip]
pub fn published() -> Vec<Published> {
    use Interpolation::{Bicubic, Bilinear};
    use Variant::{B0, B1, B2, B3, B4, B5, B6, B7, Lite0, Lite1, Lite2, Lite3, Lite4};
    vec![
        // The shorter side is resized to the size divided by the crop; multiply-adds are last.
        of("tf_efficientnet_b0",    tf(B0),        "ns_jft_in1k",         224, 0.875, Bicubic,  IMAGENET, 385_814_752),
        of("efficientnet_b0",       pt(B0),        "ra_in1k",             224, 0.875, Bicubic,  IMAGENET, 385_814_752),
        of("tf_efficientnet_b1",    tf(B1),        "ns_jft_in1k",         240, 0.882, Bicubic,  IMAGENET, 686_802_832),
        of("efficientnet_b1",       pt(B1),        "ra4_e3600_r240_in1k", 240, 0.900, Bicubic,  HALF,     686_802_832),
        of("tf_efficientnet_b2",    tf(B2),        "ns_jft_in1k",         260, 0.890, Bicubic,  IMAGENET, 993_561_872),
        of("efficientnet_b2",       pt(B2),        "ra_in1k",             256, 0.875, Bicubic,  IMAGENET, 859_853_760),
        of("tf_efficientnet_b3",    tf(B3),        "ns_jft_in1k",         300, 0.904, Bicubic,  IMAGENET, 1_827_141_392),
        of("efficientnet_b3",       pt(B3),        "ra2_in1k",            288, 0.875, Bicubic,  IMAGENET, 1_589_198_096),
        of("tf_efficientnet_b4",    tf(B4),        "ns_jft_in1k",         380, 0.922, Bicubic,  IMAGENET, 4_393_771_024),
        of("efficientnet_b4",       pt(B4),        "ra2_in1k",            320, 0.875, Bicubic,  IMAGENET, 3_063_687_008),
        of("tf_efficientnet_b5",    tf(B5),        "ns_jft_in1k",         456, 0.934, Bicubic,  IMAGENET, 10_266_384_752),
        of("efficientnet_b5",       pt(B5),        "sw_in12k_ft_in1k",    448, 1.000, Bicubic,  IMAGENET, 9_404_374_080),
        of("tf_efficientnet_b6",    tf(B6),        "ns_jft_in1k",         528, 0.942, Bicubic,  IMAGENET, 19_067_593_536),
        of("efficientnet_b6",       pt(B6),        "untrained",           528, 0.942, Bicubic,  IMAGENET, 19_067_593_536),
        of("tf_efficientnet_b7",    tf(B7),        "ns_jft_in1k",         600, 0.949, Bicubic,  IMAGENET, 37_745_884_192),
        of("efficientnet_b7",       pt(B7),        "untrained",           600, 0.949, Bicubic,  IMAGENET, 37_745_884_192),
        of("tf_efficientnet_lite0", tf(Lite0),     "in1k",                224, 0.875, Bicubic,  HALF,     385_187_552),
        of("efficientnet_lite0",    pt(Lite0),     "ra_in1k",             224, 0.875, Bicubic,  IMAGENET, 385_187_552),
        of("tf_efficientnet_lite1", tf(Lite1),     "in1k",                240, 0.882, Bicubic,  HALF,     600_185_232),
        of("efficientnet_lite1",    pt(Lite1),     "untrained",           240, 0.882, Bicubic,  IMAGENET, 600_185_232),
        of("tf_efficientnet_lite2", tf(Lite2),     "in1k",                260, 0.890, Bicubic,  HALF,     859_736_272),
        of("efficientnet_lite2",    pt(Lite2),     "untrained",           260, 0.890, Bicubic,  IMAGENET, 859_736_272),
        of("tf_efficientnet_lite3", tf(Lite3),     "in1k",                300, 0.904, Bilinear, HALF,     1_607_554_544),
        of("efficientnet_lite3",    pt(Lite3),     "untrained",           300, 0.904, Bicubic,  IMAGENET, 1_607_554_544),
        of("tf_efficientnet_lite4", tf(Lite4),     "in1k",                380, 0.920, Bilinear, HALF,     3_943_564_112),
        of("efficientnet_lite4",    pt(Lite4),     "untrained",           380, 0.922, Bicubic,  IMAGENET, 3_943_564_112),
        of("resnet18",              resnet(18),    "a1_in1k",             224, 0.950, Bicubic,  IMAGENET, 1_814_073_344),
        of("resnet34",              resnet(34),    "a1_in1k",             224, 0.950, Bicubic,  IMAGENET, 3_663_761_408),
        of("resnet50",              resnet(50),    "a1_in1k",             224, 0.950, Bicubic,  IMAGENET, 4_089_184_256),
        of("resnet101",             resnet(101),   "a1h_in1k",            224, 0.950, Bicubic,  IMAGENET, 7_801_405_440),
        of("resnet152",             resnet(152),   "a1h_in1k",            224, 0.950, Bicubic,  IMAGENET, 11_513_626_624),
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
    (mean, std): Colours,
    multiply_adds: u64,
) -> Published {
    let input = Input { size: [size; 2], crop, interpolation, mean, std };
    Published { name, backbone, tag, input, multiply_adds }
}

/// As TensorFlow pads and norms.
fn tf(variant: Variant) -> BackboneConfig {
    efficientnet(variant, Padding::Same, 1e-3)
}

/// As PyTorch does.
fn pt(variant: Variant) -> BackboneConfig {
    efficientnet(variant, Padding::Symmetric, 1e-5)
}

fn efficientnet(variant: Variant, padding: Padding, norm_eps: f64) -> BackboneConfig {
    let (padding, norm_eps) = (Some(padding), Some(norm_eps));
    let plain = EfficientNet { variant, padding, norm_eps, ..EfficientNet::default() };
    BackboneConfig::EfficientNet(EfficientNet { drop_path: 0.0, ..plain })
}

fn resnet(depth: usize) -> BackboneConfig {
    BackboneConfig::ResNet(ResNet { depth, drop_path: 0.0 })
}

impl Published {
    /// The published network that a config describes, if it is one.
    pub fn find(backbone: &BackboneConfig) -> Option<Published> {
        let asked = answering(backbone);
        published().into_iter().find(|it| answering(&it.backbone) == asked)
    }

    /// The parameters and buffers of the backbone, blank, and the number of its features.
    pub fn params(&self) -> Result<(Params, usize)> {
        let mut params = Params::blank();
        let width = self.backbone.get().build(params.builder())?.width();
        Ok((params, width))
    }

    /// How many numbers training changes, with a classifier of 1000 classes.
    pub fn n_parameters(&self) -> Result<usize> {
        let (params, width) = self.params()?;
        Ok(params.n_trained() + (width + 1) * 1000)
    }

    /// The name with the weights', if there are any: `tf_efficientnet_lite0.in1k`.
    pub fn full_name(&self) -> String {
        match self.is_trained() {
            true => format!("{}.{}", self.name, self.tag),
            false => self.name.to_owned(),
        }
    }

    /// Whether there are weights of that name.
    pub fn is_trained(&self) -> bool {
        self.tag != "untrained"
    }
}

/// A config as far as answers depend on it: what is left out is said, what only training knows is not.
fn answering(backbone: &BackboneConfig) -> BackboneConfig {
    match backbone {
        BackboneConfig::EfficientNet(it) => BackboneConfig::EfficientNet(it.answering()),
        BackboneConfig::ResNet(it) => {
            BackboneConfig::ResNet(ResNet { drop_path: 0.0, ..it.clone() })
        }
    }
}

impl Input {
    /// The shorter side of the resized picture, before the crop: timm rounds it down.
    pub fn resized(&self) -> usize {
        let shorter = self.size[0].min(self.size[1]);
        (shorter as f64 / self.crop).floor() as usize
    }

    /// What the colours are normalised with, in a word where there is one.
    pub fn colours(&self) -> String {
        let Input { mean, std, .. } = self;
        match (*mean, *std) {
            it if it == IMAGENET => "imagenet".to_owned(),
            it if it == HALF => "inception (0.5)".to_owned(),
            _ => format!("mean {mean:?}, std {std:?}"),
        }
    }
}

impl Interpolation {
    /// As configs write it.
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
    fn no_name_stands_for_two_networks() {
        let mut names: Vec<&str> = published().into_iter().map(|it| it.name).collect();
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(names.binary_search(&"tf_efficientnet_lite0").is_ok());
    }

    #[test]
    fn the_table_says_what_timm_says() {
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
    fn what_only_training_knows_makes_no_other_network() {
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
    fn the_side_before_the_crop_is_timms() {
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
