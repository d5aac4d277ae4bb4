//! Trains a backbone of one's own: a few convolutions, each with ReLU.
//!
//! ```sh
//! cargo run --release -p maskfit --features examples --example own_backbone -- runs/tiny
//! ```
//!
//! Its stages can be frozen, and have learning rates of their own; every head, resuming and the ONNX export work with
//! it. The bundle names it: any program that opens the bundle must have added it before.

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::{env, error::Error, path::Path};

use maskfit::{
    Callback, Classifier, Image,
    backbone::{
        Activation, Architecture, BackboneConfig, Builder, Init, Kind, Layer, Padding, Pass, Stage,
        Value, Window, activate, conv2d, global_avg_pool,
    },
    candle::{Result as TensorResult, Var},
    experiment, train,
};
use serde::Deserialize;

/// The backbone is set like any other.
const CONFIG: &str = r#"
    [data]
    source = { kind = "synthetic_people", n_people = 8, n_test = 2, size = [40, 32] }
    split = { kind = "profile", ratio = 0.3 }

    [augment]
    train = [{ kind = "random_crop", size = [32, 24] }]
    eval = [{ kind = "center_crop", size = [32, 24] }]

    [model]
    backbone = { kind = "tiny", widths = [8, 16] }

    [train]
    total = "2 steps"
    batch_size = 8
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::args_os().nth(1).ok_or("usage: own_backbone FOLDER")?;
    let grey = Image::from_pixel(32, 40, [128, 128, 128].into());
    println!("probabilities of a grey image: {:?}", with_tiny(Path::new(&dir), grey)?);
    Ok(())
}

/// `[model] backbone = { kind = "tiny" }`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tiny {
    /// The number of channels after each convolution.
    widths: Vec<usize>,
}

impl Default for Tiny {
    fn default() -> Tiny {
        Tiny { widths: vec![16, 32, 64] }
    }
}

impl Architecture for Tiny {
    fn stages(&self) -> Vec<Stage<'_>> {
        // Normalised images have three channels.
        let mut n_in = 3;
        let mut stages = Vec::new();
        for (idx, &n_out) in self.widths.iter().enumerate() {
            let from = n_in;
            n_in = n_out;
            stages.push(Stage::new(format!("stage{idx}"), move |builder: Builder<'_>| {
                ConvRelu::new(builder, idx, from, n_out)
            }));
        }
        stages.push(Stage::new("neck", |_: Builder<'_>| Ok(Mean)));
        stages
    }

    fn width(&self) -> usize {
        self.widths.last().copied().unwrap_or(0)
    }

    fn problem(&self) -> Option<String> {
        let is_fine = !self.widths.is_empty() && !self.widths.contains(&0);
        (!is_fine).then(|| format!("`widths` are numbers above 0, not {:?}", self.widths))
    }
}

/// A convolution of 3x3 with stride 2, and ReLU.
struct ConvRelu {
    weight: Var,
}

impl ConvRelu {
    fn new(
        mut builder: Builder<'_>,
        idx: usize,
        n_in: usize,
        n_out: usize,
    ) -> TensorResult<ConvRelu> {
        // Its name in files is `conv0.weight`; the layout in memory is `[out, kh, kw, in]`.
        let mut place = builder.under(format!("conv{idx}"));
        let dims = [n_out, 3, 3, n_in];
        Ok(ConvRelu { weight: place.param("weight", Kind::Dense, &dims, Init::KaimingFanOut)? })
    }
}

impl Layer for ConvRelu {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> TensorResult<Value> {
        let window = Window::square(3, 2, Padding::Symmetric);
        let ys = conv2d(xs, &pass.param(&self.weight), window, None)?;
        activate(&ys, Activation::Relu)
    }
}

/// The mean over all positions.
struct Mean;

impl Layer for Mean {
    fn forward(&self, xs: &Value, _: &Pass<'_>) -> TensorResult<Value> {
        global_avg_pool(xs)
    }
}

/// Prints nothing.
struct Quiet;

impl Callback for Quiet {}

/// Trains in a folder, and returns the probabilities of an image.
pub(crate) fn with_tiny(dir: &Path, image: Image) -> Result<Vec<f64>, Box<dyn Error>> {
    BackboneConfig::add::<Tiny>("tiny")?;
    train(&experiment("own_backbone.rs", CONFIG)?, dir, &Quiet)?;
    let classifier = Classifier::open(&dir.join("best"))?;
    Ok(classifier.predict(&[image])?.remove(0).probabilities)
}
