//! Functions from images to what is said of them: backbones, heads, their parameters, and weight files.
//!
//! To add a backbone, write its file, declare it below, and give it a line in [`BackboneConfig`].
//! The zoo tests find it there.

mod convnext;
mod densenet;
mod efficientnet;
mod head;
mod layers;
mod model;
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
    AgeBins, AgeNumber, Ask, Branched, Cosine, Factored, Head, HeadConfig, Heads, Joint, Mean,
    MultiSampleDropout, On, OutputSpec, Sigmoid,
};
pub use layers::LinearInit;
pub use model::{Model, ModelSpec};
pub use params::{Builder, Init, Kind, Param, Params};
pub use published::{Convention, Input, Interpolation, Origin, Published, published};
pub use resnet::ResNet;
pub use stage::{Layer, Stage};
pub use vgg::Vgg;
pub use weights::{
    Classifier, Fit, Fitted, Format, WeightsError, WeightsFile, first_few, read_weights,
};
pub use xresnet::XResNet;

base::choice! {
    /// `[model] backbone`: what turns an image into features.
    pub enum BackboneConfig: dyn Architecture {
        /// EfficientNet B0-B7 and Lite0-4 (Tan & Le, 2019), V2-S/M/L (2021): depthwise blocks scaled
        /// in width, depth and resolution.
        "efficientnet" => EfficientNet(EfficientNet),
        /// ResNet-18 to 152 (He et al., 2015): convolutions with a way past them; in groups ResNeXt
        /// (Xie et al., 2016), with squeeze-excite SE-ResNet (Hu et al., 2017).
        "resnet" => ResNet(ResNet),
        /// fastai's ResNet (He et al., "Bag of Tricks", 2018): a deeper stem, pooling on the way
        /// past.
        "xresnet" => XResNet(XResNet),
        /// VGG-11 to 19 (Simonyan & Zisserman, 2014): 3x3 convolutions and nothing else.
        "vgg" => Vgg(Vgg),
        /// DenseNet-121 to 201 (Huang et al., 2016): every layer sees all before it.
        "densenet" => DenseNet(DenseNet),
        /// ConvNeXt-Tiny, -Small and -Base (Liu et al., 2022): depthwise 7x7 and layer norm.
        "convnext" => ConvNeXt(ConvNeXt),
    }
}

/// A backbone's config, which knows how to build it.
pub trait Architecture {
    /// The stages in their order: the first takes images `[n, h, w, 3]`, normalised, the last,
    /// the neck, ends in features `[n, width]`, and those between make maps.
    fn stages(&self) -> Vec<Stage<'_>>;

    /// How many features there are.
    fn width(&self) -> usize;

    /// The names that a public library gives to this architecture's parameters, library by
    /// library: pairs of ours and theirs.
    fn namings(&self, ours: &[String]) -> Vec<Naming>;

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String>;
}

/// What one library calls our parameters.
pub struct Naming {
    /// The library.
    pub library: &'static str,
    /// `(ours, theirs)` for every parameter and buffer of the backbone.
    pub backbone: Vec<(String, String)>,
    /// What it calls the classifier on top, without `.weight` and `.bias`.
    pub classifier: String,
}

impl Naming {
    /// The naming that calls each of our parameters as `theirs` says.
    fn of(
        library: &'static str,
        ours: &[String],
        classifier: &'static str,
        theirs: impl Fn(&str) -> String,
    ) -> Naming {
        let backbone = ours.iter().map(|name| (name.clone(), theirs(name))).collect();
        Naming { library, backbone, classifier: classifier.to_owned() }
    }
}

/// A name whose beginning, up to a dot, is replaced by the first pair that fits.
fn with_prefix(name: &str, renames: &[(&str, &str)]) -> String {
    for (ours, theirs) in renames {
        if let Some(rest) = name.strip_prefix(ours).and_then(|it| it.strip_prefix('.')) {
            return format!("{theirs}.{rest}");
        }
    }
    name.to_owned()
}

/// What is wrong with a chance or share, if anything is.
fn share_problem(name: &str, x: f64) -> Option<String> {
    (!(0.0..1.0).contains(&x)).then(|| format!("`{name}` is from 0 to below 1, not {x}"))
}

/// What is wrong with a factor of sizes, if anything is.
fn factor_problem(name: &str, x: f64) -> Option<String> {
    (!(x > 0.0 && x <= 16.0)).then(|| format!("`{name}` is above 0 and at most 16, not {x}"))
}

/// A published width times a setting's factor, as a multiple of `step` and at least that.
fn scaled(width: usize, factor: f64, step: usize) -> usize {
    ((width as f64 * factor / step as f64).round() as usize).max(1) * step
}
