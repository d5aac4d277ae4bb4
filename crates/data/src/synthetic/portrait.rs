//! An image of a synthetic person: head and shoulders, with or without a mask.

use base::Rng;
use image::{GrayImage, Luma, RgbImage};
use rand::Rng as _;
use rand_distr::{Distribution as _, Normal};
use tiny_skia::Transform;

use super::{
    brush::{Canvas, HEIGHT, WIDTH, curve, ellipse, flat, gradient, mix, rectangle, shade, shape},
    person::{Beard, Colour, Hairstyle, Person},
};

/// Which of a person's seven images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shot {
    /// A mask worn, 1 to 5.
    Mask(u32),
    /// A mask worn incorrectly.
    Incorrect,
    /// No mask.
    Normal,
}

impl Shot {
    /// A person's images, in the order of their names.
    pub const ALL: [Shot; 7] = [
        Shot::Incorrect,
        Shot::Mask(1),
        Shot::Mask(2),
        Shot::Mask(3),
        Shot::Mask(4),
        Shot::Mask(5),
        Shot::Normal,
    ];

    /// Returns the name of the file, without extension.
    pub fn name(self) -> String {
        match self {
            Shot::Mask(idx) => format!("mask{idx}"),
            Shot::Incorrect => "incorrect_mask".to_owned(),
            Shot::Normal => "normal".to_owned(),
        }
    }
}

/// Renders an image of `[height, width]` pixels.
pub fn draw(person: &Person, shot: Shot, size: [usize; 2]) -> RgbImage {
    paint(person, shot, size, None)
}

/// Returns the pixels of an image of a person that the mask covers, straps included: 255 where it covers at least
/// half of a pixel, else 0. `None` for the image without a mask.
pub fn mask_area(person: &Person, shot: Shot, size: [usize; 2]) -> Option<GrayImage> {
    if shot == Shot::Normal {
        return None;
    }
    let mut area = Canvas::new(size);
    paint(person, shot, size, Some(&mut area));
    let [h, w] = size.map(|it| it as u32);
    let mut pixels = GrayImage::new(w, h);
    for (pixel, painted) in pixels.pixels_mut().zip(area.pixmap.pixels()) {
        *pixel = Luma([if painted.alpha() >= 128 { 255 } else { 0 }]);
    }
    Some(pixels)
}

/// Renders an image.
///
/// - `area`: an empty canvas, on which the mask alone is painted.
fn paint(person: &Person, shot: Shot, size: [usize; 2], area: Option<&mut Canvas>) -> RgbImage {
    let mut rng = person.seed.stream(&format!("shot/{}", shot.name()));
    let mut canvas = Canvas::new(size);
    let to_pixels = canvas.transform;
    backdrop(&mut canvas, person, &mut rng);

    // The camera position varies: a small rotation, translation and scale around the face.
    let (turn, zoom) = (rng.random_range(-7.0..7.0), rng.random_range(0.84..1.12));
    let (dx, dy) = (rng.random_range(-7.0..7.0), rng.random_range(-6.0..6.0));
    canvas.transform = to_pixels
        .pre_translate(WIDTH / 2.0 + dx, 62.0 + dy)
        .pre_concat(Transform::from_rotate(turn))
        .pre_scale(zoom, zoom)
        .pre_translate(-WIDTH / 2.0, -62.0);
    let light: f32 = rng.random_range(-1.0..1.0);
    let face = Face::of(person);
    hair_behind(&mut canvas, person, &face);
    body(&mut canvas, person, &face);
    head(&mut canvas, person, &face, light);
    mouth_and_nose(&mut canvas, person, &face, &mut rng);
    eyes(&mut canvas, person, &face, &mut rng);
    lines(&mut canvas, person, &face);
    hair_in_front(&mut canvas, person, &face);
    let worn = match shot {
        Shot::Normal => None,
        Shot::Mask(_) => Some(Worn::Right),
        Shot::Incorrect => {
            let wrong = [Worn::BelowNose, Worn::OnChin, Worn::FromOneEar, Worn::OverEyes];
            Some(wrong[rng.random_range(0..wrong.len())])
        }
    };
    if let Some(worn) = worn {
        if let Some(area) = area {
            area.transform = canvas.transform;
            mask(area, &face, worn, &mut rng.clone());
        }
        mask(&mut canvas, &face, worn, &mut rng);
    }
    // Glasses cover the mask's edge.
    glasses(&mut canvas, person, &face);
    canvas.transform = to_pixels;
    camera(&canvas, size, &mut rng)
}

/// The positions of facial features, in units.
struct Face {
    x: f32,
    /// Half the face's width.
    w: f32,
    top: f32,
    eyes: f32,
    nose: f32,
    mouth: f32,
    chin: f32,
    /// Half the jaw's width.
    jaw: f32,
}

impl Face {
    fn of(person: &Person) -> Face {
        let w = person.width;
        Face {
            x: WIDTH / 2.0,
            w,
            top: 30.0,
            eyes: 58.0,
            nose: 71.0,
            mouth: 79.0,
            chin: 92.0 + person.jaw * 2.0,
            jaw: w * (0.5 + 0.3 * person.jaw),
        }
    }

    fn outline(&self) -> Option<tiny_skia::Path> {
        let Face { x, w, top, eyes, chin, jaw, .. } = *self;
        shape(
            (x - w, eyes),
            &[
                ((x - w, top + 2.0), (x, top)),
                ((x + w, top + 2.0), (x + w, eyes)),
                ((x + w, eyes + 18.0), (x + jaw, chin - 7.0)),
                ((x + jaw * 0.6, chin), (x, chin)),
                ((x - jaw * 0.6, chin), (x - jaw, chin - 7.0)),
                ((x - w, eyes + 18.0), (x - w, eyes)),
            ],
        )
    }
}

/// The colour of the hair, including grey.
fn hair_colour(person: &Person) -> Colour {
    mix(person.hair, [0.82, 0.82, 0.83], person.greyness)
}

fn backdrop(canvas: &mut Canvas, person: &Person, rng: &mut Rng) {
    let [a, b] = person.backdrop;
    let all = rectangle(0.0, 0.0, WIDTH, HEIGHT);
    let down = rng.random_range(0.0..WIDTH);
    canvas.fill(all, gradient((down, 0.0), (WIDTH - down, HEIGHT), (a, 1.0), (b, 1.0)));
    for _ in 0..person.n_shapes {
        let (x, y) = (rng.random_range(0.0..WIDTH), rng.random_range(0.0..HEIGHT));
        let (w, h) = (rng.random_range(4.0..40.0), rng.random_range(4.0..60.0));
        let tone = shade(b, rng.random_range(0.5..1.5));
        let path = match rng.random_bool(0.6) {
            true => rectangle(x - w / 2.0, y - h / 2.0, w, h),
            false => ellipse(x, y, w / 2.0, h / 2.0),
        };
        canvas.fill(path, flat(tone, 0.7));
    }
}

fn hair_behind(canvas: &mut Canvas, person: &Person, face: &Face) {
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

fn body(canvas: &mut Canvas, person: &Person, face: &Face) {
    let (x, chin) = (face.x, face.chin);
    let neck = 9.0 + 4.0 * person.jaw;
    let shoulders = 34.0 + 8.0 * person.jaw;
    let colour = person.clothes.colour;
    let path = shape(
        (x - neck, chin + 10.0),
        &[
            ((x - shoulders, chin + 14.0), (x - shoulders - 4.0, HEIGHT + 40.0)),
            ((x, HEIGHT + 42.0), (x + shoulders + 4.0, HEIGHT + 40.0)),
            ((x + shoulders, chin + 14.0), (x + neck, chin + 10.0)),
            ((x, chin + 22.0), (x - neck, chin + 10.0)),
        ],
    );
    let fill = gradient((x, chin), (x, HEIGHT), (colour, 1.0), (shade(colour, 0.75), 1.0));
    canvas.fill(path, fill);
    let skin = shade(person.skin, 0.86);
    canvas.fill(rectangle(x - neck, chin - 14.0, neck * 2.0, 26.0), flat(skin, 1.0));
    canvas.fill(ellipse(x, chin + 12.0, neck, 5.0), flat(skin, 1.0));
    if person.clothes.collar {
        let cloth = mix(colour, [1.0; 3], 0.55);
        for side in [-1.0, 1.0] {
            let path = shape(
                (x + side * neck, chin + 7.0),
                &[
                    ((x + side * neck, chin + 14.0), (x, chin + 20.0)),
                    ((x + side * 8.0, chin + 26.0), (x + side * 10.0, chin + 26.0)),
                    ((x + side * (neck + 6.0), chin + 16.0), (x + side * neck, chin + 7.0)),
                ],
            );
            canvas.fill(path, flat(cloth, 1.0));
        }
    } else {
        canvas.stroke(
            curve((x - neck, chin + 11.0), &[((x, chin + 21.0), (x + neck, chin + 11.0))]),
            shade(colour, 0.6),
            0.9,
            1.4,
        );
    }
}

fn head(canvas: &mut Canvas, person: &Person, face: &Face, light: f32) {
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

fn eyes(canvas: &mut Canvas, person: &Person, face: &Face, rng: &mut Rng) {
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
fn lines(canvas: &mut Canvas, person: &Person, face: &Face) {
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

fn mouth_and_nose(canvas: &mut Canvas, person: &Person, face: &Face, rng: &mut Rng) {
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

fn hair_in_front(canvas: &mut Canvas, person: &Person, face: &Face) {
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

fn glasses(canvas: &mut Canvas, person: &Person, face: &Face) {
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

/// How a mask is worn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worn {
    Right,
    BelowNose,
    OnChin,
    FromOneEar,
    OverEyes,
}

fn mask(canvas: &mut Canvas, face: &Face, worn: Worn, rng: &mut Rng) {
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

/// Simulates the camera: exposure, a colour cast, and noise.
fn camera(canvas: &Canvas, [h, w]: [usize; 2], rng: &mut Rng) -> RgbImage {
    let exposure = rng.random_range(0.72..1.18);
    let cast: [f32; 3] = std::array::from_fn(|_| exposure * rng.random_range(0.94..1.06));
    let noise = Normal::new(0.0, rng.random_range(1.0..5.0)).expect("a finite std");
    let mut pixels = Vec::with_capacity(h * w * 3);
    for pixel in canvas.pixmap.pixels() {
        let grain: f32 = noise.sample(rng);
        // The background is opaque, so premultiplication does not change the colours.
        for (value, cast) in [pixel.red(), pixel.green(), pixel.blue()].into_iter().zip(cast) {
            pixels.push((f32::from(value) * cast + grain).clamp(0.0, 255.0) as u8);
        }
    }
    RgbImage::from_raw(w as u32, h as u32, pixels).expect("three bytes per pixel")
}
