//! Networks from images to predictions: backbones, heads, their parameters, and weight files.
//!
//! To add a backbone, write its file, declare it below, and give it a line in [`BackboneConfig`].
//! The zoo tests find it there.

mod convnext;
mod densenet;
mod efficientnet;
mod head;
mod layers;
mod model;
mod origin;
mod params;
mod pickle;
mod published;
mod residual;
mod resnet;
mod stage;
mod vgg;
mod weights;
mod xresnet;

pub use convnext::{ConvNeXt, ConvNeXtSize};
pub use densenet::DenseNet;
pub use efficientnet::{EfficientNet, Variant};
pub use head::{
    Bins, Branched, BuiltHead, Cosine, CosineClasses, Factored, Head, HeadConfig, HeadInput, Joint,
    Mean, MultiSampleDropout, OutputSpec, Regression, Sigmoid, Tap,
};
pub use layers::LinearInit;
pub use model::{Model, ModelSpec};
pub use origin::{Convention, Given, IdentifiedBy, Normalisation, Origin};
pub use params::{Builder, Init, Kind, Param, Params};
pub use published::{Input, Interpolation, Published, published};
pub use resnet::ResNet;
pub use stage::{Layer, Stage};
pub use vgg::Vgg;
pub use weights::{
    Classifier, Continued, ContinuedOutput, Format, LoadedWeights, NetworkMatch, WeightsError,
    WeightsFile, first_few, read_weights,
};
pub use xresnet::XResNet;

base::choice! {
    /// `[model] backbone`: the network from an image to features.
    pub enum BackboneConfig: dyn Architecture, open Own {
        /// EfficientNet B0-B7 and Lite0-4 (Tan & Le, 2019), V2-S/M/L (2021): inverted residual blocks,
        /// scaled in width, depth and resolution.
        "efficientnet" => EfficientNet(EfficientNet),
        /// ResNet-18 to 152 (He et al., 2015): residual blocks; ResNeXt with grouped convolutions
        /// (Xie et al., 2016), SE-ResNet with squeeze-excite (Hu et al., 2017).
        "resnet" => ResNet(ResNet),
        /// fastai's XResNet (He et al., "Bag of Tricks", 2018): a ResNet with a deeper stem, and average
        /// pooling in the shortcuts.
        "xresnet" => XResNet(XResNet),
        /// VGG-11 to 19 (Simonyan & Zisserman, 2014): a plain stack of 3x3 convolutions.
        "vgg" => Vgg(Vgg),
        /// DenseNet-121 to 201 (Huang et al., 2016): each layer takes the outputs of all layers before it.
        "densenet" => DenseNet(DenseNet),
        /// ConvNeXt-Tiny, -Small and -Base (Liu et al., 2022): depthwise 7x7 convolutions and layer norm.
        "convnext" => ConvNeXt(ConvNeXt),
    }
}

/// The config of a backbone, which builds it.
pub trait Architecture {
    /// Returns the stages in order: the first takes normalised images `[n, h, w, 3]`, the last, the
    /// neck, returns features `[n, width]`, and the others return feature maps.
    fn stages(&self) -> Vec<Stage<'_>>;

    /// Returns the number of features.
    fn width(&self) -> usize;

    /// Returns the parameter names of this architecture in public libraries, library by library, at least one: pairs of
    /// ours and theirs. By default our own.
    fn namings(&self, ours: &[String]) -> Vec<Naming> {
        vec![Naming::of("maskfit", ours, "head.joint", str::to_owned)]
    }

    /// Returns the problem with the settings, if any.
    fn problem(&self) -> Option<String>;
}

/// The names of our parameters in one library.
pub struct Naming {
    /// The library.
    pub library: &'static str,
    /// `(ours, theirs)` for every parameter and buffer of the backbone.
    pub backbone: Vec<(String, String)>,
    /// The library's name of the classifier on top, without `.weight` and `.bias`.
    pub classifier: String,
}

impl Naming {
    /// The naming in which each of our parameters has the name that `theirs` returns for it.
    pub fn of(
        library: &'static str,
        ours: &[String],
        classifier: &'static str,
        theirs: impl Fn(&str) -> String,
    ) -> Naming {
        let backbone = ours.iter().map(|name| (name.clone(), theirs(name))).collect();
        Naming { library, backbone, classifier: classifier.to_owned() }
    }
}

/// Replaces the prefix of a name, up to a dot, by the first pair that matches.
fn with_prefix(name: &str, renames: &[(&str, &str)]) -> String {
    for (ours, theirs) in renames {
        if let Some(rest) = name.strip_prefix(ours).and_then(|it| it.strip_prefix('.')) {
            return format!("{theirs}.{rest}");
        }
    }
    name.to_owned()
}

/// Returns the problem with a probability or share, if any.
fn share_problem(name: &str, x: f64) -> Option<String> {
    (!(0.0..1.0).contains(&x)).then(|| format!("`{name}` is from 0 to below 1, not {x}"))
}

/// Returns the problem with a factor that multiplies sizes, if any.
fn factor_problem(name: &str, x: f64) -> Option<String> {
    (!(x > 0.0 && x <= 16.0)).then(|| format!("`{name}` is above 0 and at most 16, not {x}"))
}

/// A published width times a setting's factor, rounded to a multiple of `step`, at least `step`.
fn scaled(width: usize, factor: f64, step: usize) -> usize {
    ((width as f64 * factor / step as f64).round() as usize).max(1) * step
}
