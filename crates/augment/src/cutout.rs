//! Segmentation of a portrait into person and background.
//!
//! GrabCut: each side of the mask has a Gaussian mixture of its colours, each pixel costs -ln of the density
//! of its side, and two neighbours on different sides cost more the more similar they are:
//! γ / distance · exp(-β |difference|²).
//! The mask of the lowest cost is a minimum cut; then the mixtures are fitted to it, and so on.
//! Rother, Kolmogorov and Blake, "GrabCut: interactive foreground extraction using iterated graph
//! cuts", 2004.
//! There is no user-drawn box: the face implies the position of head and shoulders, which fixes the pixels in
//! the centre and in the corners, and is a prior elsewhere, since hair may resemble the background.
//! Components of the mask that are connected to neither head nor shoulders are removed, and holes are filled.

mod min_cut;
mod mixture;

use fast_image_resize::{
    PixelType, ResizeOptions, Resizer,
    images::{Image as Resized, ImageRef},
};
use image::GrayImage;

use self::{
    min_cut::{AHEAD, Grid},
    mixture::Mixture,
};
use crate::{Image, face::Face, filter::Filter};

/// The longer side of the image that is segmented.
const LONGER: usize = 128;

/// The number of iterations of fitting mixtures and mask.
const ROUNDS: usize = 3;

/// The cost of separating neighbours of equal colour: the paper's γ.
const GAMMA: f32 = 50.0;

/// The prior's cost for a pixel on the shape's centre line to be background, and for one at twice the shape's
/// size to be the person.
const SHAPE: f32 = 10.0;

/// Within this fraction of the shape all pixels are the person, and beyond the second all are background.
const CERTAIN: [f32; 2] = [0.6, 1.8];

/// The unit of integer costs.
const UNIT: f32 = 1.0 / 64.0;

/// The mask of the person, in a small size.
pub(crate) struct Cutout {
    size: [usize; 2],
    is_person: Vec<bool>,
}

impl Cutout {
    /// Segments the person with this face.
    pub(crate) fn of(image: &Image, face: &Face) -> Cutout {
        let full = [image.height() as usize, image.width() as usize];
        let size = small(full);
        let small = Filter::Bilinear.resize(image.clone(), size);
        let colours: Vec<[u8; 3]> = small.pixels().map(|it| it.0).collect();
        Cutout { size, is_person: grab_cut(&colours, &shape(face, full, size), size) }
    }

    /// The default mask: head and shoulders in the centre of an image of `[height, width]`.
    pub(crate) fn typical(full: [usize; 2]) -> Cutout {
        let size = small(full);
        let shape = shape(&Face::typical(full), full, size);
        Cutout { size, is_person: shape.into_iter().map(|it| it < 1.0).collect() }
    }

    /// Serialises the mask, one bit per pixel.
    pub(crate) fn write(&self) -> Vec<u8> {
        let byte = |it: &[bool]| it.iter().rev().fold(0, |byte, &it| byte << 1 | u8::from(it));
        self.is_person.chunks(8).map(byte).collect()
    }

    /// Reads what [`write`](Self::write) wrote for an image of `[height, width]`.
    pub(crate) fn read(bytes: &[u8], full: [usize; 2]) -> Option<Cutout> {
        let size = small(full);
        let n = size[0] * size[1];
        let is_person =
            (0..n).map(|it| bytes.get(it / 8).is_some_and(|byte| byte >> (it % 8) & 1 == 1));
        (bytes.len() == n.div_ceil(8)).then(|| Cutout { size, is_person: is_person.collect() })
    }

    /// The mask for an image of `[height, width]`: 255 for the person, 0 for the background, and in between
    /// along the edge.
    pub(crate) fn mask(&self, full: [usize; 2]) -> GrayImage {
        softened(&self.is_person, self.size, full)
    }
}

/// The size in which an image of `[height, width]` is segmented.
fn small(full: [usize; 2]) -> [usize; 2] {
    let shrink = full[0].max(full[1]) as f64 / LONGER as f64;
    full.map(|it| ((it as f64 / shrink).round() as usize).max(1))
}

/// The distance of each pixel of an image of `size` from the centre of head or shoulders, where 1 is their
/// edge; the face is that of an image of the size `full`.
fn shape(face: &Face, full: [usize; 2], size: [usize; 2]) -> Vec<f32> {
    let scale = [0, 1].map(|axis| size[axis] as f32 / full[axis] as f32);
    // In a strip, even the smallest face has some pixels.
    let h = (face.height as f32 * scale[0]).max(3.0);
    let w = (face.width as f32 * scale[1]).max(3.0);
    let middle_y = (face.top as f32 + 0.5 * face.height as f32) * scale[0];
    let middle_x = (face.left as f32 + 0.5 * face.width as f32) * scale[1];
    let mut shape = Vec::with_capacity(size[0] * size[1]);
    for y in 0..size[0] {
        let down = (y as f32 + 0.5 - middle_y) / h;
        // The face's box extends from the forehead to the chin; hair makes the head higher and wider.
        let head_y = (down + 0.12) / 0.8;
        // A neck, and shoulders that reach their full width one face height below it.
        let body = 0.45 + (1.4 * (down - 0.5)).clamp(0.0, 1.0);
        for x in 0..size[1] {
            let right = (x as f32 + 0.5 - middle_x) / w;
            let head_x = right / 0.6;
            let head = (head_y * head_y + head_x * head_x).sqrt();
            let shoulders = if down > 0.4 { right.abs() / body } else { f32::INFINITY };
            shape.push(head.min(shoulders));
        }
    }
    shape
}

/// Computes the mask of the person.
fn grab_cut(colours: &[[u8; 3]], shape: &[f32], size: [usize; 2]) -> Vec<bool> {
    let mut mask: Vec<bool> = shape.iter().map(|&it| it < 1.0).collect();
    let of_side = |mask: &[bool], side: bool| -> Vec<[u8; 3]> {
        colours.iter().zip(mask).filter(|it| *it.1 == side).map(|it| *it.0).collect()
    };
    let mut sides = [true, false].map(|it| of_side(&mask, it));
    if sides.iter().any(Vec::is_empty) {
        return mask;
    }
    let mut mixtures = sides.each_ref().map(|it| Mixture::of(it));
    let links = links(colours, size);
    for _ in 0..ROUNDS {
        mixtures = [0, 1].map(|it| mixtures[it].refined(&sides[it]));
        mask = connected(&cut(colours, shape, &links, &mixtures, size), shape, size);
        sides = [true, false].map(|it| of_side(&mask, it));
        if sides.iter().any(Vec::is_empty) {
            break;
        }
    }
    mask
}

/// The costs of separating each pixel from its four neighbours ahead; 0 if there is none.
fn links(colours: &[[u8; 3]], [h, w]: [usize; 2]) -> Vec<[f32; 4]> {
    let difference = |a: [u8; 3], b: [u8; 3]| -> u32 {
        a.into_iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
    };
    let mut differences = vec![[None; 4]; h * w];
    let (mut sum, mut n) = (0_u64, 0_u64);
    for y in 0..h {
        for x in 0..w {
            for (ahead, [down, right]) in AHEAD.into_iter().enumerate() {
                let (to_y, to_x) = (y.wrapping_add_signed(down), x.wrapping_add_signed(right));
                if to_y < h && to_x < w {
                    let it = difference(colours[y * w + x], colours[to_y * w + to_x]);
                    differences[y * w + x][ahead] = Some(it);
                    (sum, n) = (sum + u64::from(it), n + 1);
                }
            }
        }
    }
    // An image of one colour has no edges, and β does not matter.
    let beta = if sum == 0 { 0.0 } else { n as f32 / (2.0 * sum as f32) };
    let distances = AHEAD.map(|[down, right]| ((down * down + right * right) as f32).sqrt());
    let link = |it: &[Option<u32>; 4]| {
        std::array::from_fn(|ahead| match it[ahead] {
            Some(it) => GAMMA / distances[ahead] * libm::expf(-beta * it as f32),
            None => 0.0,
        })
    };
    differences.iter().map(link).collect()
}

/// The mask of the lowest cost for two mixtures.
fn cut(
    colours: &[[u8; 3]],
    shape: &[f32],
    links: &[[f32; 4]],
    [inside, outside]: &[Mixture; 2],
    [h, w]: [usize; 2],
) -> Vec<bool> {
    let whole = |cost: f32| (cost / UNIT) as i32;
    // More than all links of a pixel together.
    let never = whole(9.0 * GAMMA);
    let mut grid = Grid::new([h, w]);
    for idx in 0..h * w {
        let at = [idx / w, idx % w];
        let (colour, shape) = (colours[idx], shape[idx]);
        if shape < CERTAIN[0] {
            grid.cost(at, 0, never);
        } else if shape > CERTAIN[1] {
            grid.cost(at, never, 0);
        } else {
            let more = inside.cost(colour) - outside.cost(colour) + SHAPE * (shape - 1.0);
            grid.cost(at, whole(more.max(0.0)), whole((-more).max(0.0)));
        }
        for (ahead, &link) in links[idx].iter().enumerate() {
            if link > 0.0 {
                grid.link(at, ahead, whole(link));
            }
        }
    }
    grid.cut()
}

/// The mask without components that contain no certain pixel of the person, and with holes filled: regions
/// that are not connected to the image's edges.
fn connected(mask: &[bool], shape: &[f32], [h, w]: [usize; 2]) -> Vec<bool> {
    let certain = |it: &usize| mask[*it] && shape[*it] < CERTAIN[0];
    let person = reached(|it| mask[it], (0..h * w).filter(certain).collect(), [h, w]);
    let edge = |it: &usize| {
        let [y, x] = [*it / w, *it % w];
        !person[*it] && (y == 0 || x == 0 || y + 1 == h || x + 1 == w)
    };
    let around = reached(|it| !person[it], (0..h * w).filter(edge).collect(), [h, w]);
    around.into_iter().map(|it| !it).collect()
}

/// The pixels that are 4-connected to some pixels through those for which `enters` is true.
fn reached(enters: impl Fn(usize) -> bool, mut from: Vec<usize>, [h, w]: [usize; 2]) -> Vec<bool> {
    let mut reached = vec![false; h * w];
    for &it in &from {
        reached[it] = true;
    }
    while let Some(idx) = from.pop() {
        let [y, x] = [idx / w, idx % w];
        let neighbours = [
            (y > 0).then(|| idx - w),
            (y + 1 < h).then(|| idx + w),
            (x > 0).then(|| idx - 1),
            (x + 1 < w).then(|| idx + 1),
        ];
        for next in neighbours.into_iter().flatten() {
            if !reached[next] && enters(next) {
                reached[next] = true;
                from.push(next);
            }
        }
    }
    reached
}

/// The mask in full size, with a soft edge.
fn softened(mask: &[bool], [h, w]: [usize; 2], full: [usize; 2]) -> GrayImage {
    let at = |y: usize, x: usize| u32::from(mask[y * w + x]);
    let row =
        |y: usize, x: usize| at(y, x.saturating_sub(1)) + 2 * at(y, x) + at(y, (x + 1).min(w - 1));
    let blurred = |idx: usize| {
        let [y, x] = [idx / w, idx % w];
        let sum = row(y.saturating_sub(1), x) + 2 * row(y, x) + row((y + 1).min(h - 1), x);
        (sum * 255 / 16) as u8
    };
    let small: Vec<u8> = (0..h * w).map(blurred).collect();
    let from =
        ImageRef::new(w as u32, h as u32, &small, PixelType::U8).expect("one byte per pixel");
    let mut to = Resized::new(full[1] as u32, full[0] as u32, PixelType::U8);
    let options = ResizeOptions::new().resize_alg(fast_image_resize::ResizeAlg::Convolution(
        fast_image_resize::FilterType::Bilinear,
    ));
    Resizer::new().resize(&from, &mut to, &options).expect("both images are grey and not empty");
    GrayImage::from_raw(full[1] as u32, full[0] as u32, to.into_vec()).expect("one byte per pixel")
}

#[cfg(test)]
mod tests;
