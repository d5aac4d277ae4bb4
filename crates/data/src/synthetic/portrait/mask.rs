//! The mask: its colour, and how it is worn.

use base::Rng;
use rand::Rng as _;

use super::face::Face;
use crate::synthetic::{
    brush::{Canvas, curve, gradient, shade, shape},
    person::Colour,
};

/// How a mask is worn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worn {
    Right,
    BelowNose,
    OnChin,
    FromOneEar,
    OverEyes,
}

pub(super) fn mask(canvas: &mut Canvas, face: &Face, worn: Worn, rng: &mut Rng) {
    // Surgical blue, white, black, skin tones, and cloth of any colour.
    let kind = rng.random_range(0..5);
    let colour: Colour = match kind {
        0 => [0.62, 0.80, 0.90],
        1 => [0.95, 0.95, 0.94],
        2 => [0.12, 0.12, 0.13],
        3 => {
            [rng.random_range(0.7..0.95), rng.random_range(0.55..0.75), rng.random_range(0.4..0.65)]
        }
        _ => std::array::from_fn(|_| rng.random_range(0.15..0.9)),
    };
    let Face { x, w, chin, .. } = *face;
    let slip = rng.random_range(-1.2..1.2);
    let (top, bottom, ear) = match worn {
        Worn::Right => (face.nose - 9.0 + slip, chin + 2.0, face.eyes + 3.0),
        Worn::BelowNose => (face.nose + 3.2 + slip * 0.4, chin + 4.0, face.eyes + 5.0),
        Worn::OnChin => (face.mouth + 4.6 + slip, chin + 9.0, face.eyes + 7.0),
        Worn::OverEyes => (face.eyes - 9.0 + slip, face.nose + 3.0, face.eyes - 3.0),
        Worn::FromOneEar => {
            let side = if rng.random_bool(0.5) { -1.0 } else { 1.0 };
            return dangle(canvas, face, colour, side);
        }
    };
    let cheeks = w - 1.5;
    let low = if worn == Worn::OverEyes { w * 0.75 } else { face.jaw * 0.8 };
    let middle = (top + bottom) / 2.0;
    for side in [-1.0, 1.0] {
        for (from, to) in [(top + 3.0, ear), (bottom - 6.0, ear + 6.0)] {
            let start = (x + side * cheeks, from);
            canvas.stroke(
                curve(start, &[(start, (x + side * (w + 1.0), to))]),
                shade(colour, 0.85),
                0.95,
                0.9,
            );
        }
    }
    let peak = if kind % 2 == 0 { 2.5 } else { 5.0 };
    let path = shape(
        (x - cheeks, top + 4.0),
        &[
            ((x - cheeks * 0.5, top - peak * 0.4), (x, top - peak * 0.5)),
            ((x + cheeks * 0.5, top - peak * 0.4), (x + cheeks, top + 4.0)),
            ((x + cheeks * 1.02, middle + 3.0), (x + low, bottom - 5.0)),
            ((x + low * 0.5, bottom + 1.0), (x, bottom + 1.0)),
            ((x - low * 0.5, bottom + 1.0), (x - low, bottom - 5.0)),
            ((x - cheeks * 1.02, middle + 3.0), (x - cheeks, top + 4.0)),
        ],
    );
    let fill = gradient(
        (x - w, top),
        (x + w, bottom),
        (shade(colour, 1.08), 1.0),
        (shade(colour, 0.84), 1.0),
    );
    canvas.fill(path, fill);
    let fold = shade(colour, 0.8);
    match kind {
        0 | 4 => {
            for share in [0.3, 0.52, 0.74] {
                let y = top + (bottom - top) * share;
                let half = cheeks * (0.92 - 0.25 * share);
                canvas.stroke(
                    curve((x - half, y), &[((x, y + 2.2), (x + half, y))]),
                    fold,
                    0.6,
                    0.7,
                );
            }
        }
        1 | 3 => {
            canvas.stroke(curve((x, top), &[((x + 1.4, middle), (x, bottom))]), fold, 0.6, 0.9)
        }
        _ => {}
    }
}

/// A mask that hangs from one ear.
fn dangle(canvas: &mut Canvas, face: &Face, colour: Colour, side: f32) {
    let x = face.x + side * (face.w + 1.0);
    let top = face.eyes + 14.0;
    canvas.stroke(
        curve((x, face.eyes + 2.0), &[((x + side, top), (x - side * 2.0, top))]),
        shade(colour, 0.85),
        1.0,
        1.0,
    );
    let path = shape(
        (x - 7.0, top),
        &[
            ((x, top - 3.0), (x + 6.0, top + 1.0)),
            ((x + 8.0, top + 12.0), (x + 4.0, top + 22.0)),
            ((x - 3.0, top + 25.0), (x - 7.0, top + 20.0)),
            ((x - 9.0, top + 10.0), (x - 7.0, top)),
        ],
    );
    canvas.fill(
        path,
        gradient((x - 8.0, top), (x + 8.0, top + 22.0), (colour, 1.0), (shade(colour, 0.8), 1.0)),
    );
    canvas.stroke(
        curve((x - 7.0, top + 10.0), &[((x, top + 13.0), (x + 6.0, top + 10.0))]),
        shade(colour, 0.75),
        0.6,
        0.8,
    );
}
