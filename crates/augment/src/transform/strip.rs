//! A strip of an image's pixels, in planar layout.
//!
//! Since values of a channel are adjacent and changed without tables, the compiler vectorises the operations.

use super::Image;

/// The number of pixels.
pub(super) const N: usize = 64;

/// The reds, greens and blues of the pixels, all in 0..=255.
pub(super) type Strip = [[i32; N]; 3];

/// Changes all pixels, strip by strip; `change` is given the number of a strip's pixels. It must be
/// `#[inline(always)]`, with everything that it calls.
pub(super) fn each_strip(image: &mut Image, mut change: impl FnMut(&mut Strip, usize)) {
    ops::vectorised(
        #[inline(always)]
        || {
            for pixels in image.as_chunks_mut::<3>().0.chunks_mut(N) {
                let mut strip = [[0; N]; 3];
                let [r, g, b] = &mut strip;
                for (((pixel, r), g), b) in pixels.iter().zip(r).zip(g).zip(b) {
                    (*r, *g, *b) = (pixel[0].into(), pixel[1].into(), pixel[2].into());
                }
                change(&mut strip, pixels.len());
                let [r, g, b] = &strip;
                for (((pixel, r), g), b) in pixels.iter_mut().zip(r).zip(g).zip(b) {
                    // One by one: the compiler does not keep three bytes in one register.
                    pixel[0] = *r as u8;
                    pixel[1] = *g as u8;
                    pixel[2] = *b as u8;
                }
            }
        },
    );
}

/// Changes each pixel of a strip.
#[inline(always)]
pub(super) fn each_pixel(strip: &mut Strip, change: impl Fn([i32; 3]) -> [i32; 3]) {
    let [r, g, b] = strip;
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        [*r, *g, *b] = change([*r, *g, *b]);
    }
}

#[cfg(test)]
mod tests {
    use super::each_strip;
    use crate::Image;

    #[test]
    fn strips_cover_all_pixels() {
        for n in [1, 63, 64, 65, 200] {
            let mut image = Image::from_fn(n, 1, |x, _| image::Rgb([x as u8, 7, 9]));
            let mut count = 0;
            each_strip(&mut image, |[r, g, _], n| {
                count += n;
                (r[0], g[0]) = (g[0], r[0]);
            });
            assert_eq!(count, n as usize);
            for (x, pixel) in (0..).zip(image.pixels()) {
                assert_eq!(pixel.0, if x % 64 == 0 { [7, x, 9] } else { [x, 7, 9] });
            }
        }
    }
}
