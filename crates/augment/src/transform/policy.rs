//! The operations that RandAugment and TrivialAugment choose from, each with a magnitude.
//!
//! As in torchvision on PIL images, with bilinear interpolation.

use base::Rng;
use rand::Rng as _;

use super::{
    autocontrast,
    color_jitter::{self, Definition},
    equalize, posterize, sharpen, solarize,
};
use crate::{Border, Canvas, Image, OpError, Projection};

/// The operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
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

/// All operations, in torchvision's order.
pub(super) const OPS: [Op; 14] = [
    Op::Identity,
    Op::ShearX,
    Op::ShearY,
    Op::TranslateX,
    Op::TranslateY,
    Op::Rotate,
    Op::Brightness,
    Op::Color,
    Op::Contrast,
    Op::Sharpness,
    Op::Posterize,
    Op::Solarize,
    Op::AutoContrast,
    Op::Equalize,
];

/// The maximum magnitudes of an augmentation space.
pub(super) struct Space {
    /// The displacement per pixel.
    pub(super) shear: f64,
    /// Pixels to the right and down.
    pub(super) translate: [f64; 2],
    /// Degrees.
    pub(super) rotate: f64,
    /// The maximum distance of factors from 1.
    pub(super) enhance: f64,
    /// The number of bits removed.
    pub(super) posterize: f64,
}

impl Space {
    /// Returns the magnitude of bin `bin` of `n_bins`, and whether its sign is random.
    pub(super) fn magnitude(&self, op: Op, bin: usize, n_bins: usize) -> (f64, bool) {
        let share = bin as f64 / (n_bins - 1).max(1) as f64;
        match op {
            Op::Identity | Op::AutoContrast | Op::Equalize => (0.0, false),
            Op::ShearX | Op::ShearY => (self.shear * share, true),
            Op::TranslateX => (self.translate[0] * share, true),
            Op::TranslateY => (self.translate[1] * share, true),
            Op::Rotate => (self.rotate * share, true),
            Op::Brightness | Op::Color | Op::Contrast | Op::Sharpness => {
                (self.enhance * share, true)
            }
            Op::Posterize => (8.0 - (self.posterize * share).round_ties_even(), false),
            Op::Solarize => (255.0 * (1.0 - share), false),
        }
    }

    /// Samples an operation, its bin unless `bin` is given, and its sign.
    pub(super) fn sample(&self, bin: Option<usize>, n_bins: usize, rng: &mut Rng) -> (Op, f64) {
        let op = OPS[rng.random_range(0..OPS.len())];
        let bin = bin.unwrap_or_else(|| rng.random_range(0..n_bins));
        let (magnitude, is_signed) = self.magnitude(op, bin, n_bins);
        let is_negative = is_signed && rng.random_bool(0.5);
        (op, if is_negative { -magnitude } else { magnitude })
    }
}

/// Applies an operation.
pub(super) fn apply(
    (op, magnitude): (Op, f64),
    border: Border,
    canvas: &mut Canvas<'_>,
) -> Result<(), OpError> {
    let size = canvas.size();
    match map(op, magnitude, size) {
        // The identity is not resampled.
        Some(map) if map == Projection::IDENTITY => {}
        Some(map) => canvas.warp(map, size, border)?,
        None => recolour(op, magnitude, canvas.pixels()?),
    }
    Ok(())
}

/// The map from output to source coordinates for an image of `[height, width]`; `None` for an operation on
/// colours.
fn map(op: Op, magnitude: f64, size: [usize; 2]) -> Option<Projection> {
    Some(match op {
        Op::Identity => Projection::IDENTITY,
        Op::ShearX => Projection([[1.0, magnitude, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        Op::ShearY => Projection([[1.0, 0.0, 0.0], [magnitude, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        Op::TranslateX => Projection::shift(-magnitude.trunc(), 0.0),
        Op::TranslateY => Projection::shift(0.0, -magnitude.trunc()),
        Op::Rotate => {
            let (sin, cos) = magnitude.to_radians().sin_cos();
            let middle = size.map(|it| it as f64 / 2.0);
            Projection::shift(-middle[1], -middle[0])
                .then(&Projection([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]))
                .then(&Projection::shift(middle[1], middle[0]))
        }
        _ => return None,
    })
}

/// Applies an operation on colours.
fn recolour(op: Op, magnitude: f64, image: &mut Image) {
    let factor = 1.0 + magnitude;
    let enhance = |image: &mut Image, op| {
        color_jitter::change(image, &[(op, factor)], Definition::Torchvision);
    };
    match op {
        Op::Brightness => enhance(image, color_jitter::Change::Brightness),
        Op::Color => enhance(image, color_jitter::Change::Saturation),
        Op::Contrast => enhance(image, color_jitter::Change::Contrast),
        Op::Sharpness => sharpen::change(image, factor),
        Op::Posterize => posterize::change(image, magnitude as u32),
        Op::Solarize => solarize::change(image, magnitude),
        Op::AutoContrast => autocontrast::change(image),
        Op::Equalize => equalize::change(image),
        _ => {}
    }
}

/// Returns what is wrong with a number of bins, if anything.
pub(super) fn bins_problem(n_bins: usize) -> Option<String> {
    (!(2..=1000).contains(&n_bins))
        .then(|| format!("`num_magnitude_bins` must be 2 to 1000, not {n_bins}"))
}

#[cfg(test)]
pub(super) mod tests {
    use testkit::Golden;

    use super::{Border, Canvas, OPS, Space, apply};
    use crate::transform::golden::check_golden;

    #[test]
    fn every_operation_agrees_with_torchvision() {
        check_golden("policy", 3, |case, image| {
            let name: String = case.to("name");
            let op = *OPS.iter().find(|it| format!("{it:?}") == name).unwrap();
            let mut canvas = Canvas::from(image.clone());
            let border = Border::Constant([9, 99, 200]);
            apply((op, case.to("magnitude")), border, &mut canvas).unwrap();
            *image = canvas.finish().unwrap();
        });
    }

    /// Checks that the magnitudes of a space are torchvision's.
    pub(in crate::transform) fn check_space(name: &str, space: impl Fn([usize; 2]) -> Space) {
        for case in Golden::read("colours").at(name).list() {
            let n_bins = case.to("n_bins");
            for op in OPS {
                let (want, signed): (Vec<f64>, bool) = case.at("space").to(&format!("{op:?}"));
                for (bin, want) in want.into_iter().enumerate() {
                    let got = space(case.to("size")).magnitude(op, bin, n_bins);
                    assert!((got.0 - want).abs() < 1e-4 && got.1 == signed, "{op:?} {bin}");
                }
            }
        }
    }
}
