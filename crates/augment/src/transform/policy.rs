//! The changes that RandAugment and TrivialAugment choose from, each with a magnitude.
//!
//! As torchvision's on PIL images, with bilinear interpolation.

use base::Rng;
use rand::Rng as _;

use super::{
    autocontrast,
    color_jitter::{self, Definition},
    equalize, posterize, sharpen, solarize,
};
use crate::{Border, Canvas, Image, OpError, Projection};

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

/// All, in the order of torchvision's.
pub(super) const CHANGES: [Change; 14] = [
    Change::Identity,
    Change::ShearX,
    Change::ShearY,
    Change::TranslateX,
    Change::TranslateY,
    Change::Rotate,
    Change::Brightness,
    Change::Color,
    Change::Contrast,
    Change::Sharpness,
    Change::Posterize,
    Change::Solarize,
    Change::AutoContrast,
    Change::Equalize,
];

/// The greatest magnitudes of a space.
pub(super) struct Space {
    /// Pixels moved per pixel.
    pub(super) shear: f64,
    /// Pixels to the right and down.
    pub(super) translate: [f64; 2],
    /// Degrees.
    pub(super) rotate: f64,
    /// How far from 1 factors are.
    pub(super) enhance: f64,
    /// Bits lost.
    pub(super) posterize: f64,
}

impl Space {
    /// The magnitude of a bin of `n_bins`, and whether it may as well be negative.
    pub(super) fn magnitude(&self, change: Change, bin: usize, n_bins: usize) -> (f64, bool) {
        let share = bin as f64 / (n_bins - 1).max(1) as f64;
        match change {
            Change::Identity | Change::AutoContrast | Change::Equalize => (0.0, false),
            Change::ShearX | Change::ShearY => (self.shear * share, true),
            Change::TranslateX => (self.translate[0] * share, true),
            Change::TranslateY => (self.translate[1] * share, true),
            Change::Rotate => (self.rotate * share, true),
            Change::Brightness | Change::Color | Change::Contrast | Change::Sharpness => {
                (self.enhance * share, true)
            }
            Change::Posterize => (8.0 - (self.posterize * share).round_ties_even(), false),
            Change::Solarize => (255.0 * (1.0 - share), false),
        }
    }

    /// Draws a change, its bin where `bin` has none, and its sign.
    pub(super) fn draw(&self, bin: Option<usize>, n_bins: usize, rng: &mut Rng) -> (Change, f64) {
        let change = CHANGES[rng.random_range(0..CHANGES.len())];
        let bin = bin.unwrap_or_else(|| rng.random_range(0..n_bins));
        let (magnitude, is_signed) = self.magnitude(change, bin, n_bins);
        let is_negative = is_signed && rng.random_bool(0.5);
        (change, if is_negative { -magnitude } else { magnitude })
    }
}

/// Makes a change.
pub(super) fn make(
    (change, magnitude): (Change, f64),
    border: Border,
    canvas: &mut Canvas<'_>,
) -> Result<(), OpError> {
    let size = canvas.size();
    match map(change, magnitude, size) {
        // What does not move is not sampled.
        Some(map) if map == Projection::IDENTITY => {}
        Some(map) => canvas.warp(map, size, border)?,
        None => recolour(change, magnitude, canvas.pixels()?),
    }
    Ok(())
}

/// Where the pixels of an image of `[height, width]` come from, for a change that moves them or
/// does nothing.
fn map(change: Change, magnitude: f64, size: [usize; 2]) -> Option<Projection> {
    Some(match change {
        Change::Identity => Projection::IDENTITY,
        Change::ShearX => Projection([[1.0, magnitude, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        Change::ShearY => Projection([[1.0, 0.0, 0.0], [magnitude, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        Change::TranslateX => Projection::shift(-magnitude.trunc(), 0.0),
        Change::TranslateY => Projection::shift(0.0, -magnitude.trunc()),
        Change::Rotate => {
            let (sin, cos) = magnitude.to_radians().sin_cos();
            let middle = size.map(|it| it as f64 / 2.0);
            Projection::shift(-middle[1], -middle[0])
                .then(&Projection([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]))
                .then(&Projection::shift(middle[1], middle[0]))
        }
        _ => return None,
    })
}

/// Makes a change that moves no pixel.
fn recolour(change: Change, magnitude: f64, image: &mut Image) {
    let factor = 1.0 + magnitude;
    let enhance = |image: &mut Image, change| {
        color_jitter::change(image, &[(change, factor)], Definition::Torchvision);
    };
    match change {
        Change::Brightness => enhance(image, color_jitter::Change::Brightness),
        Change::Color => enhance(image, color_jitter::Change::Saturation),
        Change::Contrast => enhance(image, color_jitter::Change::Contrast),
        Change::Sharpness => sharpen::change(image, factor),
        Change::Posterize => posterize::change(image, magnitude as u32),
        Change::Solarize => solarize::change(image, magnitude),
        Change::AutoContrast => autocontrast::change(image),
        Change::Equalize => equalize::change(image),
        _ => {}
    }
}

/// What is wrong with a number of bins, if anything is.
pub(super) fn bins_problem(n_bins: usize) -> Option<String> {
    (!(2..=1000).contains(&n_bins)).then(|| {
        format!("`num_magnitude_bins` is how many magnitudes there are, 2 to 1000, not {n_bins}")
    })
}

#[cfg(test)]
pub(super) mod tests {
    use testkit::Golden;

    use super::{Border, CHANGES, Canvas, Space, make};
    use crate::transform::golden::check_golden;

    #[test]
    fn every_change_is_the_one_of_torchvision() {
        check_golden("policy", 3, |case, image| {
            let name: String = case.to("name");
            let change = *CHANGES.iter().find(|it| format!("{it:?}") == name).unwrap();
            let mut canvas = Canvas::from(image.clone());
            let border = Border::Constant([9, 99, 200]);
            make((change, case.to("magnitude")), border, &mut canvas).unwrap();
            *image = canvas.finish().unwrap();
        });
    }

    /// Compares a space's magnitudes with torchvision's.
    pub(in crate::transform) fn check_space(name: &str, space: impl Fn([usize; 2]) -> Space) {
        for case in Golden::read("colours").at(name).list() {
            let n_bins = case.to("n_bins");
            for change in CHANGES {
                let (want, signed): (Vec<f64>, bool) = case.at("space").to(&format!("{change:?}"));
                for (bin, want) in want.into_iter().enumerate() {
                    let got = space(case.to("size")).magnitude(change, bin, n_bins);
                    assert!((got.0 - want).abs() < 1e-4 && got.1 == signed, "{change:?} {bin}");
                }
            }
        }
    }
}
