//! The hair: what is behind the head, and what is in front of it.

use super::face::Face;
use crate::synthetic::{
    brush::{Canvas, ellipse, flat, gradient, mix, shade, shape},
    person::{Colour, Hairstyle, Person},
};

/// The colour of the hair, including grey.
pub(super) fn hair_colour(person: &Person) -> Colour {
    mix(person.hair, [0.82, 0.82, 0.83], person.greyness)
}

pub(super) fn hair_behind(canvas: &mut Canvas, person: &Person, face: &Face) {
    let hair = hair_colour(person);
    let (x, w) = (face.x, face.w);
    let (bottom, wide) = match person.hairstyle {
        Hairstyle::Long => (118.0, w + 9.0),
        Hairstyle::Bob => (92.0, w + 7.0),
        Hairstyle::Curly => (70.0, w + 6.0),
        Hairstyle::Tied => (62.0, w + 3.0),
        Hairstyle::Cropped | Hairstyle::Parted => (60.0, w + 2.0),
    };
    let top = face.top - 7.0 + 4.0 * person.hairline;
    let path = shape(
        (x - wide, bottom),
        &[
            ((x - wide - 2.0, top), (x, top)),
            ((x + wide + 2.0, top), (x + wide, bottom)),
            ((x, bottom + 5.0), (x - wide, bottom)),
        ],
    );
    canvas.fill(
        path,
        gradient((x, top), (x, bottom), (shade(hair, 1.05), 1.0), (shade(hair, 0.7), 1.0)),
    );
    if person.hairstyle == Hairstyle::Tied {
        canvas.fill(ellipse(x + w * 0.45, face.top - 6.0, 7.0, 6.0), flat(shade(hair, 0.9), 1.0));
    }
}

pub(super) fn hair_in_front(canvas: &mut Canvas, person: &Person, face: &Face) {
    let hair = hair_colour(person);
    let (x, w) = (face.x, face.w);
    let top = face.top - 7.0 + 4.0 * person.hairline;
    // Where the hair ends on the forehead: high if the hairline recedes.
    let edge = face.top + 13.5 - 14.0 * person.hairline;
    let sides = face.eyes - 4.0;
    let fill = || {
        gradient(
            (x - w, top),
            (x + w, edge + 12.0),
            (shade(hair, 1.18), 1.0),
            (shade(hair, 0.82), 1.0),
        )
    };
    let part = match person.hairstyle {
        Hairstyle::Parted | Hairstyle::Bob => 0.45,
        Hairstyle::Long => -0.3,
        _ => 0.0,
    };
    let path = shape(
        (x - w - 1.5, sides),
        &[
            ((x - w - 3.0, top + 1.0), (x, top)),
            ((x + w + 3.0, top + 1.0), (x + w + 1.5, sides)),
            ((x + w - 1.0, edge + 1.0), (x + w * part, edge)),
            ((x - w + 1.0, edge + 1.0), (x - w - 1.5, sides)),
        ],
    );
    canvas.fill(path, fill());
    match person.hairstyle {
        Hairstyle::Curly => {
            for idx in 0..11 {
                let at = std::f32::consts::PI * (idx as f32 + 0.5) / 11.0;
                let (cx, cy) = (
                    x - (w + 1.0) * at.cos(),
                    face.top + 15.0 - 18.0 * at.sin() + 4.0 * person.hairline,
                );
                canvas.fill(
                    ellipse(cx, cy, 5.6, 5.2),
                    flat(shade(hair, 0.9 + 0.2 * (idx % 2) as f32), 1.0),
                );
            }
        }
        Hairstyle::Long | Hairstyle::Bob => {
            let bottom = if person.hairstyle == Hairstyle::Long { 112.0 } else { 88.0 };
            for side in [-1.0, 1.0] {
                let path = shape(
                    (x + side * (w - 3.5), face.eyes - 14.0),
                    &[
                        ((x + side * (w + 4.0), face.eyes), (x + side * (w + 1.0), bottom)),
                        (
                            (x + side * (w + 6.0), bottom + 3.0),
                            (x + side * (w + 9.0), bottom - 3.0),
                        ),
                        (
                            (x + side * (w + 9.0), face.eyes - 20.0),
                            (x + side * (w - 3.5), face.eyes - 14.0),
                        ),
                    ],
                );
                canvas.fill(path, flat(shade(hair, if side < 0.0 { 1.05 } else { 0.85 }), 1.0));
            }
        }
        _ => {}
    }
}
