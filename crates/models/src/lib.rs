//! Functions from pictures to logits: backbones, heads, their parameters, and weight files.
//!
//! To add a backbone, write its file, declare it below, and give it a line in [`BackboneConfig`].
//! The zoo tests find it there.

mod efficientnet;
mod head;
mod layers;
mod model;
mod params;
mod pickle;
mod published;
mod resnet;
mod weights;

use candle::Result;
use ops::{Pass, Value};

pub use efficientnet::{EfficientNet, Variant};
pub use head::{Factored, Head, HeadConfig, Heads, Joint};
pub use model::{Model, ModelSpec};
pub use params::{Builder, Init, Kind, Param, Params};
pub use published::{Input, Interpolation, Published, published};
pub use resnet::ResNet;
pub use weights::{
    Classifier, Fit, Fitted, Format, WeightsError, WeightsFile, first_few, read_weights,
};

base::choice! {
    /// `[model] backbone`: what turns a picture into features.
    pub enum BackboneConfig: dyn Architecture {
        /// EfficientNet B0-B7 and Lite0-4 (Tan & Le, 2019): depthwise blocks scaled in width, depth
        /// and resolution.
        "efficientnet" => EfficientNet(EfficientNet),
        /// ResNet-18 to 152 (He et al., 2015): dense 3x3 convolutions with a way past them.
        "resnet" => ResNet(ResNet),
    }
}

/// A backbone's config, which knows how to build it.
pub trait Architecture {
    /// Creates the parameters and the layers that hold them.
    fn build(&self, builder: Builder<'_>) -> Result<Box<dyn Backbone>>;

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
    pub classifier: &'static str,
}

/// A network up to its features.
pub trait Backbone {
    /// Turns pictures `[n, h, w, 3]`, normalised, into features `[n, width]`.
    fn features(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value>;

    /// How many features there are.
    fn width(&self) -> usize;
}
