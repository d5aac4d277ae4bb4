//! Predicts images with a bundle.
//!
//! ```sh
//! cargo run --release -p maskfit --features examples --example predict -- runs/a/best face.jpg other.png
//! ```

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::{env, error::Error, ffi::OsString, fs, path::Path};

use maskfit::{Classifier, Image, decode};

/// Images with more pixels are refused.
const MAX_PIXELS: u64 = 64_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args_os().skip(1);
    let bundle = args.next().ok_or("usage: predict BUNDLE IMAGE...")?;
    let images = args.map(read).collect::<Result<Vec<Image>, _>>()?;
    for (class, probability) in predict(Path::new(&bundle), &images)? {
        println!("{class}: {probability:.3}");
    }
    Ok(())
}

/// Reads an image.
fn read(path: OsString) -> Result<Image, Box<dyn Error>> {
    Ok(decode(&fs::read(path)?, MAX_PIXELS)?)
}

/// Returns the predicted class of each image and its probability.
pub(crate) fn predict(
    bundle: &Path,
    images: &[Image],
) -> Result<Vec<(String, f64)>, Box<dyn Error>> {
    let classifier = Classifier::open(bundle)?;
    let names = classifier.class_names();
    let predictions = classifier.predict(images)?.into_iter();
    Ok(predictions
        .map(|it| (names[it.predicted].clone(), it.probabilities[it.predicted]))
        .collect())
}
