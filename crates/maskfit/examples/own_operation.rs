//! Trains and predicts with an image operation of one's own: a vignette, which darkens the image towards its corners.
//!
//! ```sh
//! cargo run --release -p maskfit --features examples --example own_operation -- runs/vignette
//! ```
//!
//! The bundle names the operation: any program that opens it must have added it before.

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::{env, error::Error, path::Path};

use maskfit::{
    Callback, Classifier, experiment,
    operation::{Canvas, Image, OpError, Rng, Transform, TransformConfig},
    train,
};
use rand::Rng as _;
use serde::Deserialize;

/// The operation is set like any other: random in training, always the same in validation and inference.
const CONFIG: &str = r#"
    [data]
    source = { kind = "synthetic_people", n_people = 8, n_test = 2, size = [40, 32] }
    split = { kind = "profile", ratio = 0.3 }

    [augment]
    train = [
        { kind = "random_crop", size = [32, 24] },
        { kind = "vignette", strength = [0.0, 0.6], p = 0.5 },
    ]
    eval = [
        { kind = "center_crop", size = [32, 24] },
        { kind = "vignette", strength = [0.2, 0.2] },
    ]

    [model]
    backbone = { kind = "efficientnet", variant = "lite0", width = 0.25, depth = 0.3 }

    [train]
    total = "2 steps"
    batch_size = 8
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::args_os().nth(1).ok_or("usage: own_operation FOLDER")?;
    let grey = Image::from_pixel(32, 40, [128, 128, 128].into());
    println!("probabilities of a grey image: {:?}", with_vignette(Path::new(&dir), grey)?);
    Ok(())
}

/// `kind = "vignette"`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Vignette {
    /// The smallest and the largest share of the light that the corners lose, 0 to 1.
    strength: [f64; 2],
}

impl Default for Vignette {
    fn default() -> Vignette {
        Vignette { strength: [0.0, 0.5] }
    }
}

impl Transform for Vignette {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        // All randomness comes from here, so that a run can be repeated.
        let strength = rng.random_range(self.strength[0]..=self.strength[1]);
        let image = canvas.pixels()?;
        let (w, h) = (f64::from(image.width()), f64::from(image.height()));
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            let [x, y] = [(f64::from(x) + 0.5) / w - 0.5, (f64::from(y) + 0.5) / h - 0.5];
            // 1 in the corners.
            let distance = (x * x + y * y) * 2.0;
            for it in &mut pixel.0 {
                *it = (f64::from(*it) * (1.0 - strength * distance)) as u8;
            }
        }
        Ok(())
    }

    fn is_random(&self) -> bool {
        self.strength[0] < self.strength[1]
    }

    fn problem(&self) -> Option<String> {
        let [from, to] = self.strength;
        let is_fine = 0.0 <= from && from <= to && to <= 1.0;
        (!is_fine).then(|| format!("`strength` is a range within 0 to 1, not {:?}", self.strength))
    }
}

/// Prints nothing.
struct Quiet;

impl Callback for Quiet {}

/// Trains in a folder, and returns the probabilities of an image.
pub(crate) fn with_vignette(dir: &Path, image: Image) -> Result<Vec<f64>, Box<dyn Error>> {
    TransformConfig::add::<Vignette>("vignette")?;
    train(&experiment("own_operation.rs", CONFIG)?, dir, &Quiet)?;
    let classifier = Classifier::open(&dir.join("best"))?;
    Ok(classifier.predict(&[image])?.remove(0).probabilities)
}
