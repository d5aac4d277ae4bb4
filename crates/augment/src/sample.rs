//! A picture looked at through a map of places: bilinear, in fixed point.
//!
//! Each pixel of the result is the mean of the four around its place, weighed by how near they are in
//! steps of 1/2048 of a pixel. A place outside is what the border says; one within half a pixel of
//! the edge sees the outermost pixels alone, as PIL's `Image.transform` has it. The arithmetic is in
//! whole numbers once the places are known, so that every machine gives the same picture.

use serde::{Deserialize, Serialize};

use crate::Picture;

/// What is seen outside of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Border {
    /// A colour: red, green, blue.
    Constant([u8; 3]),
    /// The picture mirrored about its outermost pixels, which are not repeated (OpenCV's
    /// `BORDER_REFLECT_101`).
    Reflect,
    /// The outermost pixels.
    Replicate,
}

impl Default for Border {
    /// Black.
    fn default() -> Border {
        Border::Constant([0; 3])
    }
}

/// Parts of a pixel.
const STEPS: i64 = 1 << 11;

/// A picture of `[height, width]` whose pixel at (column, row) is what `place` names in the source, in
/// continuous coordinates: (0.5, 0.5) is the middle of the first pixel.
pub(crate) fn sample(
    source: &Picture,
    [height, width]: [usize; 2],
    border: Border,
    mut place: impl FnMut(usize, usize) -> (f64, f64),
) -> Picture {
    let (w, h) = (i64::from(source.width()), i64::from(source.height()));
    let bytes = source.as_raw();
    let pixel = |x: i64, y: i64| {
        let at = (y * w + x) as usize * 3;
        &bytes[at..at + 3]
    };
    let mut result = Vec::with_capacity(height * width * 3);
    for row in 0..height {
        for column in 0..width {
            let (x, y) = place(column, row);
            let [x, y] = [x, y].map(steps);
            let is_inside = |it: i64, n: i64| it >= -STEPS / 2 && it < n * STEPS - STEPS / 2;
            if let Border::Constant(colour) = border
                && !(is_inside(x, w) && is_inside(y, h))
            {
                result.extend_from_slice(&colour);
                continue;
            }
            let (left, top) = (x.div_euclid(STEPS), y.div_euclid(STEPS));
            let (fx, fy) = (x.rem_euclid(STEPS) as u32, y.rem_euclid(STEPS) as u32);
            let [x0, x1] = [left, left + 1].map(|it| brought_inside(it, w, border));
            let [y0, y1] = [top, top + 1].map(|it| brought_inside(it, h, border));
            let corners = [pixel(x0, y0), pixel(x1, y0), pixel(x0, y1), pixel(x1, y1)];
            let one = STEPS as u32;
            for c in 0..3 {
                let [a, b, c, d] = corners.map(|it| u32::from(it[c]));
                let upper = a * (one - fx) + b * fx;
                let lower = c * (one - fx) + d * fx;
                let sum = upper * (one - fy) + lower * fy;
                result.push(((sum + one * one / 2) / (one * one)) as u8);
            }
        }
    }
    Picture::from_raw(width as u32, height as u32, result).expect("three bytes a pixel")
}

/// A coordinate in steps from the middle of the first pixel, rounded; far outside stays far outside.
fn steps(at: f64) -> i64 {
    // Shifted, so that cutting off rounds downwards on both sides of 0 without a call to `floor`.
    const FAR: f64 = (1_u64 << 40) as f64;
    (((at - 0.5) * STEPS as f64 + (FAR + 0.5)) as i64).saturating_sub(FAR as i64)
}

/// The pixel that stands for one that may lie outside of 0..n.
pub(crate) fn brought_inside(at: i64, n: i64, border: Border) -> i64 {
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
    use super::{Border, brought_inside, sample};
    use crate::Picture;

    #[test]
    fn what_is_outside_follows_the_border() {
        let picture = Picture::from_fn(3, 1, |x, _| image::Rgb([x as u8 * 100; 3]));
        let seen = |border| {
            let wide = sample(&picture, [1, 9], border, |x, _| (x as f64 - 2.5, 0.5));
            wide.pixels().map(|it| it.0[0]).collect::<Vec<_>>()
        };
        assert_eq!(seen(Border::Constant([7; 3])), [7, 7, 7, 0, 100, 200, 7, 7, 7]);
        assert_eq!(seen(Border::Replicate), [0, 0, 0, 0, 100, 200, 200, 200, 200]);
        assert_eq!(seen(Border::Reflect), [100, 200, 100, 0, 100, 200, 100, 0, 100]);
        assert_eq!(brought_inside(-5, 1, Border::Reflect), 0);
    }

    #[test]
    fn places_between_pixels_are_means_and_infinity_is_outside() {
        let picture = Picture::from_fn(2, 2, |x, y| image::Rgb([(x * 100 + y * 40) as u8; 3]));
        let one = |at| sample(&picture, [1, 1], Border::Constant([9; 3]), |_, _| at).into_raw()[0];
        assert_eq!(one((1.0, 1.0)), 70);
        assert_eq!(one((0.75, 0.5)), 25);
        assert_eq!(one((0.1, 1.9)), 40, "the edge is not blended with the border");
        for far in [(f64::INFINITY, 0.5), (0.5, f64::NEG_INFINITY), (1e300, 1e300)] {
            assert_eq!(one(far), 9);
        }
    }
}
