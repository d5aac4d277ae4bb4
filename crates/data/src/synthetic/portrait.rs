//! An image of a synthetic person: head and shoulders, with or without a mask.

mod face;
mod features;
mod hair;
mod mask;

use base::Rng;
use image::{GrayImage, Luma, RgbImage};
use rand::Rng as _;
use rand_distr::{Distribution as _, Normal};
use tiny_skia::Transform;

use self::{
    face::Face,
    features::{eyes, glasses, head, lines, mouth_and_nose},
    hair::{hair_behind, hair_in_front},
    mask::{Worn, mask},
};
use super::{
    brush::{Canvas, HEIGHT, WIDTH, curve, ellipse, flat, gradient, mix, rectangle, shade, shape},
    person::Person,
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
