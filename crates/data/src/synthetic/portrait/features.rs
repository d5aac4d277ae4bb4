//! The head with its features: eyes, wrinkles, mouth and nose, beard and glasses.

use base::Rng;
use rand::Rng as _;

use super::{face::Face, hair::hair_colour};
use crate::synthetic::{
    brush::{Canvas, curve, ellipse, flat, gradient, mix, shade, shape},
    person::{Beard, Person},
};

pub(super) fn head(canvas: &mut Canvas, person: &Person, face: &Face, light: f32) {
    let (x, w) = (face.x, face.w);
    for side in [-1.0, 1.0] {
        canvas.fill(
            ellipse(x + side * w, face.eyes + 4.0, 3.2, 6.0),
            flat(shade(person.skin, 0.88), 1.0),
        );
        if person.earrings {
            canvas.fill(
                ellipse(x + side * (w + 0.8), face.eyes + 11.0, 1.2, 1.5),
                flat([0.95, 0.85, 0.4], 1.0),
            );
        }
    }
    let (bright, dark) = (shade(person.skin, 1.06), shade(person.skin, 0.84));
    let (left, right) = if light < 0.0 { (bright, dark) } else { (dark, bright) };
    let reach = w * (1.6 - 0.6 * light.abs());
    canvas.fill(
        face.outline(),
        gradient((x - reach, 50.0), (x + reach, 64.0), (left, 1.0), (right, 1.0)),
    );
}

pub(super) fn eyes(canvas: &mut Canvas, person: &Person, face: &Face, rng: &mut Rng) {
    let (gaze, size) = (rng.random_range(-0.9..0.9), person.eye_size);
    let open = rng.random_range(0.62..0.8) - 0.18 * person.wrinkles;
    let brows = mix(shade(person.hair, 0.8), [0.7, 0.7, 0.7], person.greyness * 0.7);
    for side in [-1.0, 1.0] {
        let (x, y) = (face.x + side * face.w * 0.46, face.eyes);
        canvas.fill(ellipse(x, y, size * 1.25, size * open), flat([0.97, 0.97, 0.96], 1.0));
        canvas
            .fill(ellipse(x + gaze, y, size * 0.62, size * open.min(0.62)), flat(person.iris, 1.0));
        canvas.fill(ellipse(x + gaze, y, size * 0.28, size * 0.28), flat([0.03; 3], 1.0));
        canvas.fill(ellipse(x + gaze + 0.6, y - 0.7, 0.5, 0.5), flat([1.0; 3], 0.9));
        let lid = size * open;
        canvas.stroke(
            curve((x - size * 1.3, y + 0.2), &[((x, y - lid * 1.9), (x + size * 1.3, y + 0.2))]),
            [0.15, 0.1, 0.1],
            0.85,
            0.7 + 0.7 * person.lips,
        );
        let height = y - 6.8 + 0.8 * person.wrinkles;
        canvas.stroke(
            curve(
                (x - side * 4.6, height + 0.4),
                &[((x + side * 1.0, height - 2.0), (x + side * 5.6, height + 1.2))],
            ),
            brows,
            0.95,
            person.brow,
        );
    }
}

/// Wrinkles: on the forehead, around the eyes and next to the nose.
pub(super) fn lines(canvas: &mut Canvas, person: &Person, face: &Face) {
    let (x, depth) = (face.x, person.wrinkles);
    let tone = shade(person.skin, 0.55);
    let mut line = |from: (f32, f32), by: (f32, f32), to: (f32, f32), alpha: f32| {
        canvas.stroke(curve(from, &[(by, to)]), tone, alpha.clamp(0.0, 0.85), 0.9);
    };
    for idx in 0..4 {
        // The lines deepen one after the other.
        let alpha = (depth * 4.6 - 0.5 - idx as f32) * 0.7;
        if alpha > 0.03 {
            let (y, half) =
                (face.eyes - 12.5 - 3.0 * idx as f32, face.w * (0.6 - 0.06 * idx as f32));
            line((x - half, y), (x, y - 1.6), (x + half, y), alpha);
        }
    }
    for side in [-1.0, 1.0] {
        let (ex, ey) = (x + side * face.w * 0.46, face.eyes);
        for (idx, rise) in [(0, 0.0), (1, -2.4), (2, 2.4)] {
            let alpha = (depth * 3.4 - 0.8 - idx as f32 * 0.7) * 0.7;
            if alpha > 0.03 {
                let from = (ex + side * 5.2, ey + rise * 0.5);
                line(from, (ex + side * 7.0, ey + rise), (ex + side * 8.8, ey + rise * 1.6), alpha);
            }
        }
        let bags = (depth * 1.6 - 0.5) * 0.6;
        if bags > 0.03 {
            line((ex - 3.8, ey + 4.0), (ex, ey + 6.6), (ex + 3.8, ey + 4.0), bags);
        }
        let folds = (depth * 1.5 - 0.35) * 0.8;
        if folds > 0.03 {
            let from = (x + side * 4.4, face.nose - 1.0);
            line(
                from,
                (x + side * 9.0, face.nose + 4.0),
                (x + side * 9.0, face.mouth + 3.0),
                folds,
            );
        }
    }
}

pub(super) fn mouth_and_nose(canvas: &mut Canvas, person: &Person, face: &Face, rng: &mut Rng) {
    let (x, nose, mouth) = (face.x, face.nose, face.mouth);
    let smile = rng.random_range(-0.6..2.2);
    let beard = hair_colour(person);
    match person.beard {
        Beard::None => {}
        Beard::Stubble => canvas.fill(ellipse(x, mouth + 3.0, face.jaw, 12.0), flat(beard, 0.2)),
        Beard::Moustache => canvas.fill(ellipse(x, mouth - 2.8, 8.0, 2.2), flat(beard, 0.95)),
        Beard::Full => {
            let path = shape(
                (x - face.w + 1.5, mouth - 10.0),
                &[
                    ((x - face.jaw, mouth - 5.0), (x - 7.0, mouth - 4.5)),
                    ((x, mouth - 5.5), (x + 7.0, mouth - 4.5)),
                    ((x + face.jaw, mouth - 5.0), (x + face.w - 1.5, mouth - 10.0)),
                    ((x + face.w, face.chin - 2.0), (x, face.chin + 2.0)),
                    ((x - face.w, face.chin - 2.0), (x - face.w + 1.5, mouth - 10.0)),
                ],
            );
            canvas.fill(path, flat(beard, 0.95));
        }
    }
    let tone = shade(person.skin, 0.62);
    canvas.stroke(
        curve(
            (x + 1.2, face.eyes + 3.0),
            &[((x + 3.2, nose - 3.0), (x + 3.6, nose)), ((x, nose + 2.4), (x - 3.2, nose + 0.4))],
        ),
        tone,
        0.75,
        1.1,
    );
    let lips = mix(shade(person.skin, 0.75), [0.78, 0.25, 0.30], 0.25 + 0.75 * person.lips);
    let full = 1.3 + 1.3 * person.lips;
    let path = shape(
        (x - 6.6, mouth - smile * 0.5),
        &[
            ((x - 2.0, mouth - full), (x, mouth - full * 0.5)),
            ((x + 2.0, mouth - full), (x + 6.6, mouth - smile * 0.5)),
            ((x, mouth + full * 1.7 + smile), (x - 6.6, mouth - smile * 0.5)),
        ],
    );
    canvas.fill(path, flat(lips, 1.0));
    canvas.stroke(
        curve(
            (x - 6.6, mouth - smile * 0.5),
            &[((x, mouth + 0.6 + smile), (x + 6.6, mouth - smile * 0.5))],
        ),
        shade(lips, 0.6),
        0.8,
        0.6,
    );
}

pub(super) fn glasses(canvas: &mut Canvas, person: &Person, face: &Face) {
    let Some(glasses) = person.glasses else { return };
    let (rx, ry) = if glasses.round { (7.0, 6.6) } else { (8.2, 5.2) };
    for side in [-1.0, 1.0] {
        let (x, y) = (face.x + side * face.w * 0.46, face.eyes + 0.8);
        canvas.fill(ellipse(x, y, rx, ry), flat([0.9, 0.95, 1.0], 0.18));
        canvas.stroke(ellipse(x, y, rx, ry), glasses.colour, 1.0, 1.2);
        let (from, to) = ((x + side * rx, y - 1.0), (face.x + side * (face.w + 1.0), y - 2.0));
        canvas.stroke(curve(from, &[(from, to)]), glasses.colour, 1.0, 1.1);
    }
    let y = face.eyes + 0.2;
    let inner = face.w * 0.46 - rx;
    canvas.stroke(
        curve((face.x - inner, y), &[((face.x, y - 2.0), (face.x + inner, y))]),
        glasses.colour,
        1.0,
        1.1,
    );
}
