//! Warping an image by a map of coordinates: bilinear, in fixed point.
//!
//! Each output pixel is the mean of the four source pixels around its source point, weighted by distance in
//! steps of 1/2048 of a pixel. Points outside are filled according to the border; a point within half a pixel
//! of the edge takes the outermost pixels only, as in PIL's `Image.transform`. Once the points are known, the
//! arithmetic is in integers, so that every machine computes the same image.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Image, Projection};

/// How points outside of an image are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Border {
    /// With a colour: red, green, blue.
    Constant([u8; 3]),
    /// With the image mirrored about its outermost pixels, which are not repeated (OpenCV's
    /// `BORDER_REFLECT_101`).
    Reflect,
    /// With the outermost pixels.
    Replicate,
}

impl Default for Border {
    /// Black.
    fn default() -> Border {
        Border::Constant([0; 3])
    }
}

/// Fractions of coordinates are rounded to steps of 1/2048 of a pixel.
const STEP_BITS: u32 = 11;
const STEPS: i64 = 1 << STEP_BITS;
/// Coordinates along a row are accumulated in finer parts: after a row of 20,000 pixels they are exact to a
/// millionth of a pixel.
const PART_BITS: u32 = 40;
const PARTS: f64 = (1_u64 << PART_BITS) as f64;
/// The number of consecutive points that are processed together.
const STRETCH: usize = 64;
/// Coordinates beyond this, in pixels, do not fit into these parts.
const FAR: f64 = (1 << 21) as f64;

/// Returns an image of `[height, width]` whose pixel at (column, row) is the source at `place`, in continuous
/// coordinates: (0.5, 0.5) is the centre of the first pixel.
pub(crate) fn sample(
    source: &Image,
    [height, width]: [usize; 2],
    border: Border,
    place: impl Fn(usize, usize) -> (f64, f64),
) -> Image {
    let source = Source::new(source, border);
    by_rows([height, width], |row, pixels| {
        for (column, pixel) in pixels.iter_mut().enumerate() {
            let (x, y) = place(column, row);
            *pixel = source.at(steps(x), steps(y));
        }
    })
}

/// [`sample`] by a projective map.
pub(crate) fn project(
    source: &Image,
    [height, width]: [usize; 2],
    border: Border,
    map: &Projection,
) -> Image {
    let corners = [(0, 0), (width, 0), (0, height), (width, height)];
    let is_near = |(column, row)| {
        let (x, y) = map.at(column as f64, row as f64);
        x.abs() < FAR && y.abs() < FAR
    };
    if !(map.is_affine() && corners.into_iter().all(is_near)) {
        return sample(source, [height, width], border, |column, row| {
            map.at(column as f64 + 0.5, row as f64 + 0.5)
        });
    }
    let source = Source::new(source, border);
    let parts = |it: f64| (it * PARTS).round() as i64;
    let [dx, dy] = [parts(map.0[0][0]), parts(map.0[1][0])];
    by_rows([height, width], |row, pixels| {
        // Half a step is added, so that truncation rounds.
        let (x, y) = map.at(0.5, row as f64 + 0.5);
        let [x, y] = [x, y].map(|it| parts(it - 0.5 + 0.5 / STEPS as f64));
        let place = |column: usize| {
            [x + column as i64 * dx, y + column as i64 * dy].map(|it| it >> (PART_BITS - STEP_BITS))
        };
        let [across, down] = [(x, dx, source.w), (y, dy, source.h)]
            .map(|(start, step, n)| run(start, step, (n - 1) << PART_BITS, width));
        let start = across.start.max(down.start);
        let end = across.end.min(down.end).max(start);
        for column in (0..start).chain(end..width) {
            let [x, y] = place(column);
            pixels[column] = source.at(x, y);
        }
        // A translation by whole pixels is a copy.
        if (dx, dy) == (1 << PART_BITS, 0)
            && start < end
            && place(start).iter().all(|it| it % STEPS == 0)
        {
            let [x, y] = place(start);
            source.copy(x, y, &mut pixels[start..end]);
            return;
        }
        for (it, pixels) in pixels[start..end].chunks_mut(STRETCH).enumerate() {
            let column = (start + it * STRETCH) as i64;
            ops::vectorised(
                #[inline(always)]
                || source.between_each([x + column * dx, y + column * dy], [dx, dy], pixels),
            );
        }
    })
}

/// Returns an image of `[height, width]`, computed row by row.
fn by_rows([height, width]: [usize; 2], fill_row: impl Fn(usize, &mut [[u8; 3]])) -> Image {
    let mut pixels = vec![[0; 3]; height * width];
    for (row, pixels) in pixels.chunks_exact_mut(width).enumerate() {
        fill_row(row, pixels);
    }
    Image::from_raw(width as u32, height as u32, pixels.into_flattened())
        .expect("three bytes per pixel")
}

/// The indices of `0..n` for which `start + it * step` is in `0..end`.
fn run(start: i64, step: i64, end: i64, n: usize) -> Range<usize> {
    let (start, step) = if step < 0 { (end - 1 - start, -step) } else { (start, step) };
    if step == 0 {
        return if (0..end).contains(&start) { 0..n } else { 0..0 };
    }
    let reaches = |to: i64| (to - start + step - 1).div_euclid(step).clamp(0, n as i64) as usize;
    reaches(0)..reaches(end)
}

/// The source image.
struct Source<'a> {
    bytes: &'a [u8],
    w: i64,
    h: i64,
    border: Border,
}

impl Source<'_> {
    fn new(image: &Image, border: Border) -> Source<'_> {
        let (w, h) = image.dimensions();
        Source { bytes: image.as_raw(), w: w.into(), h: h.into(), border }
    }

    /// The value at a point, in steps from the centre of the first pixel.
    #[inline]
    fn at(&self, x: i64, y: i64) -> [u8; 3] {
        let (left, top) = (x >> STEP_BITS, y >> STEP_BITS);
        if (0..self.w - 1).contains(&left) && (0..self.h - 1).contains(&top) {
            return self.between(x, y);
        }
        let is_inside = |it: i64, n: i64| it >= -STEPS / 2 && it < n * STEPS - STEPS / 2;
        match self.border {
            Border::Constant(colour) if !(is_inside(x, self.w) && is_inside(y, self.h)) => colour,
            _ => {
                let [x0, x1] = [left, left + 1].map(|it| index_inside(it, self.w, self.border));
                let [y0, y1] = [top, top + 1].map(|it| index_inside(it, self.h, self.border));
                let pixel = |x, y| &self.bytes[(y * self.w + x) as usize * 3..][..3];
                let [fx, fy] = [x, y].map(|it| (it & (STEPS - 1)) as i32);
                std::array::from_fn(|c| {
                    let corners = [(x0, y0), (x1, y0), (x0, y1), (x1, y1)];
                    mean(corners.map(|(x, y)| pixel(x, y)[c].into()), fx, fy)
                })
            }
        }
    }

    /// The value at a point between four pixels.
    #[inline]
    fn between(&self, x: i64, y: i64) -> [u8; 3] {
        let at = ((y >> STEP_BITS) * self.w + (x >> STEP_BITS)) as usize * 3;
        let upper = &self.bytes[at..at + 6];
        let at = at + self.w as usize * 3;
        let lower = &self.bytes[at..at + 6];
        let [fx, fy] = [x, y].map(|it| (it & (STEPS - 1)) as i32);
        let channel = |c: usize| {
            mean([upper[c], upper[c + 3], lower[c], lower[c + 3]].map(i32::from), fx, fy)
        };
        [channel(0), channel(1), channel(2)]
    }

    /// The values at consecutive points that are between four pixels each: the first point in parts, the
    /// increment, and up to [`STRETCH`] pixels.
    #[inline(always)]
    fn between_each(&self, [x, y]: [i64; 2], [dx, dy]: [i64; 2], pixels: &mut [[u8; 3]]) {
        let n = pixels.len().min(STRETCH);
        let (mut xs, mut ys) = ([0_i64; STRETCH], [0_i64; STRETCH]);
        for (it, (to_x, to_y)) in xs.iter_mut().zip(&mut ys).enumerate() {
            *to_x = (x + it as i64 * dx) >> (PART_BITS - STEP_BITS);
            *to_y = (y + it as i64 * dy) >> (PART_BITS - STEP_BITS);
        }
        // First gather the upper and lower neighbours of each, then compute the means of many at once.
        let (mut upper, mut lower) = ([0_u64; STRETCH], [0_u64; STRETCH]);
        for it in 0..n {
            let at = ((ys[it] >> STEP_BITS) * self.w + (xs[it] >> STEP_BITS)) as usize * 3;
            upper[it] = self.two_pixels(at);
            lower[it] = self.two_pixels(at + self.w as usize * 3);
        }
        for (it, pixel) in pixels.iter_mut().enumerate().take(STRETCH) {
            let [fx, fy] = [(xs[it] & (STEPS - 1)) as i32, (ys[it] & (STEPS - 1)) as i32];
            let channel = |c: u32| {
                let byte = |of: u64, it: u32| ((of >> (8 * it)) & 255) as i32;
                let [a, b] = [byte(upper[it], c), byte(upper[it], c + 3)];
                mean([a, b, byte(lower[it], c), byte(lower[it], c + 3)], fx, fy)
            };
            pixel[0] = channel(0);
            pixel[1] = channel(1);
            pixel[2] = channel(2);
        }
    }

    /// The six bytes at an offset, the first in the lowest bits.
    #[inline(always)]
    fn two_pixels(&self, at: usize) -> u64 {
        match self.bytes[at..].first_chunk::<8>() {
            Some(eight) => u64::from_le_bytes(*eight),
            None => {
                let mut eight = [0; 8];
                eight[..6].copy_from_slice(&self.bytes[at..at + 6]);
                u64::from_le_bytes(eight)
            }
        }
    }

    /// Copies the pixels of a row from a point that is the centre of a pixel.
    fn copy(&self, x: i64, y: i64, to: &mut [[u8; 3]]) {
        let at = ((y >> STEP_BITS) * self.w + (x >> STEP_BITS)) as usize * 3;
        let to = to.as_flattened_mut();
        to.copy_from_slice(&self.bytes[at..at + to.len()]);
    }
}

/// The bilinear mean of the upper left, upper right, lower left and lower right neighbours of a point, which
/// is `fx` steps to the right of and `fy` below the first.
#[inline(always)]
fn mean([a, b, c, d]: [i32; 4], fx: i32, fy: i32) -> u8 {
    let upper = (a << STEP_BITS) + (b - a) * fx;
    let lower = (c << STEP_BITS) + (d - c) * fx;
    let sum = (upper << STEP_BITS) + (lower - upper) * fy;
    ((sum + (1 << (2 * STEP_BITS - 1))) >> (2 * STEP_BITS)) as u8
}

/// A coordinate in steps from the centre of the first pixel, rounded; far outside stays far outside.
fn steps(at: f64) -> i64 {
    // Shifted, so that truncation rounds downwards on both sides of 0 without a call to `floor`.
    const FAR: f64 = (1_u64 << 40) as f64;
    (((at - 0.5) * STEPS as f64 + (FAR + 0.5)) as i64).saturating_sub(FAR as i64)
}

/// The index of the pixel that fills index `at`, which may be outside of 0..n.
pub(crate) fn index_inside(at: i64, n: i64, border: Border) -> i64 {
    match border {
        _ if (0..n).contains(&at) => at,
        Border::Reflect if n > 1 => {
            let period = 2 * (n - 1);
            let at = at.rem_euclid(period);
            at.min(period - at)
        }
        _ => at.clamp(0, n - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::{Border, index_inside, sample};
    use crate::Image;

    #[test]
    fn points_outside_follow_the_border() {
        let image = Image::from_fn(3, 1, |x, _| image::Rgb([x as u8 * 100; 3]));
        let values = |border| {
            let wide = sample(&image, [1, 9], border, |x, _| (x as f64 - 2.5, 0.5));
            wide.pixels().map(|it| it.0[0]).collect::<Vec<_>>()
        };
        assert_eq!(values(Border::Constant([7; 3])), [7, 7, 7, 0, 100, 200, 7, 7, 7]);
        assert_eq!(values(Border::Replicate), [0, 0, 0, 0, 100, 200, 200, 200, 200]);
        assert_eq!(values(Border::Reflect), [100, 200, 100, 0, 100, 200, 100, 0, 100]);
        assert_eq!(index_inside(-5, 1, Border::Reflect), 0);
    }

    #[test]
    fn points_between_pixels_are_means_and_infinity_is_outside() {
        let image = Image::from_fn(2, 2, |x, y| image::Rgb([(x * 100 + y * 40) as u8; 3]));
        let one = |at| sample(&image, [1, 1], Border::Constant([9; 3]), |_, _| at).into_raw()[0];
        assert_eq!(one((1.0, 1.0)), 70);
        assert_eq!(one((0.75, 0.5)), 25);
        assert_eq!(one((0.1, 1.9)), 40, "the edge is not blended with the border");
        for far in [(f64::INFINITY, 0.5), (0.5, f64::NEG_INFINITY), (1e300, 1e300)] {
            assert_eq!(one(far), 9);
        }
    }
}
