//! Enlarging one side bilinearly: each pixel is a mean of two neighbours.
//!
//! Pixel i of n is centred at p = start + (i + 1/2)·length/n - 1/2, and is (1 - f)·x[⌊p⌋] + f·x[⌊p⌋ + 1]
//! with f = p - ⌊p⌋ in steps of 2⁻²², rounded; beyond the outermost pixels there is nothing else.
//! PIL's `Image.resize`. The general way has a list of weights for each pixel, and takes longer.

use std::ops::Range;

use super::Picture;

/// The two neighbours of a pixel: the first of them, and how much the second counts.
struct Taps {
    first: usize,
    second_counts: u32,
}

const STEP_BITS: u32 = 22;
const ONE: u32 = 1 << STEP_BITS;

/// Of `size` pixels that a part of `n` pixels is enlarged to; there are at least two of them.
fn taps(n: usize, start: f64, length: f64, size: usize) -> Vec<Taps> {
    let tap = |idx: usize| {
        let place = start + (idx as f64 + 0.5) * length / size as f64 - 0.5;
        let place = place.clamp(0.0, (n - 1) as f64);
        let first = (place as usize).min(n - 2);
        let second_counts = ((place - first as f64) * f64::from(ONE)).round() as u32;
        Taps { first, second_counts }
    };
    (0..size).map(tap).collect()
}

/// A part of the columns of some rows, from `start` on, in `size` columns.
pub(super) fn columns(
    picture: &Picture,
    rows: Range<usize>,
    start: f64,
    length: f64,
    size: usize,
) -> Picture {
    let w = picture.width() as usize;
    let taps = taps(w, start, length, size);
    let bytes = picture.as_raw().as_slice();
    let mut made = vec![[0; 3]; size * rows.len()];
    for (row, pixels) in rows.clone().zip(made.chunks_exact_mut(size)) {
        let row = &bytes[row * w * 3..];
        for (pixel, tap) in pixels.iter_mut().zip(&taps) {
            let six: &[u8; 6] = row[tap.first * 3..].first_chunk().expect("two pixels");
            for (c, channel) in pixel.iter_mut().enumerate() {
                *channel = mean(six[c], six[c + 3], tap.second_counts);
            }
        }
    }
    Picture::from_raw(size as u32, rows.len() as u32, made.into_flattened())
        .expect("three bytes a pixel")
}

/// A part of the rows, from `start` on, in `size` rows.
pub(super) fn rows(picture: &Picture, start: f64, length: f64, size: usize) -> Picture {
    let (w, h) = picture.dimensions();
    let wide = w as usize * 3;
    let bytes = picture.as_raw().as_slice();
    let mut made = vec![0; size * wide];
    for (to, tap) in made.chunks_exact_mut(wide).zip(taps(h as usize, start, length, size)) {
        let (first, second) = bytes[tap.first * wide..][..2 * wide].split_at(wide);
        ops::vectorised(
            #[inline(always)]
            || {
                for ((to, &a), &b) in to.iter_mut().zip(first).zip(second) {
                    *to = mean(a, b, tap.second_counts);
                }
            },
        );
    }
    Picture::from_raw(w, size as u32, made).expect("three bytes a pixel")
}

#[inline(always)]
fn mean(first: u8, second: u8, second_counts: u32) -> u8 {
    let sum = u32::from(first) * (ONE - second_counts) + u32::from(second) * second_counts;
    ((sum + ONE / 2) >> STEP_BITS) as u8
}

#[cfg(test)]
mod tests {
    use super::{columns, rows};
    use crate::Picture;

    #[test]
    fn pixels_are_means_of_their_two_neighbours() {
        let bytes = vec![0, 100, 255, 40, 101, 0];
        // Centres of four pixels on two: -1/4, 1/4, 3/4, 5/4; the outermost see one alone.
        let want = [0, 100, 255, 10, 100, 191, 30, 101, 64, 40, 101, 0];
        let wide = columns(&Picture::from_raw(2, 1, bytes.clone()).unwrap(), 0..1, 0.0, 2.0, 4);
        assert_eq!(wide.as_raw(), &want);
        let high = rows(&Picture::from_raw(1, 2, bytes).unwrap(), 0.0, 2.0, 4);
        assert_eq!(high.as_raw(), &want);
    }

    #[test]
    fn a_part_sees_the_pixels_beside_it() {
        let picture =
            Picture::from_fn(9, 7, |x, y| image::Rgb([x, y, x + y].map(|it| it as u8 * 14)));
        let whole = columns(&picture, 0..7, 0.0, 9.0, 27);
        let part = columns(&picture, 2..5, 3.0, 4.0, 12);
        for (x, y, pixel) in part.enumerate_pixels() {
            assert_eq!(pixel, whole.get_pixel(x + 9, y + 2));
        }
        let (whole, part) = (rows(&picture, 0.0, 7.0, 28), rows(&picture, 2.0, 3.0, 12));
        for (x, y, pixel) in part.enumerate_pixels() {
            assert_eq!(pixel, whole.get_pixel(x, y + 8));
        }
    }
}
