//! Conversion of component planes to RGB.
//!
//! Components at half resolution are interpolated: each pixel is 3/4 of the nearest and 1/4 of the next
//! nearest sample, vertically and horizontally, as in libjpeg's "fancy upsampling"; those of lower resolution
//! are repeated. Then, with Cb and Cr centred at 0: R = Y + 1.402 Cr, G = Y - 0.344136 Cb - 0.714136 Cr,
//! B = Y + 1.772 Cb, in units of 1/65536. CMYK is converted as in PIL.

use std::ops::Range;

use crate::Image;

use super::{
    blocks::Blocks,
    header::Space,
    layout::{Layout, Plane},
};

/// The planes of a part of an image.
pub(super) struct Colours<'a> {
    pub(super) layout: &'a Layout,
    pub(super) space: Space,
    pub(super) planes: &'a [Blocks],
    /// The first MCU that was read, down and across.
    pub(super) origin: [usize; 2],
}

impl Colours<'_> {
    /// Returns the pixels.
    #[inline(always)]
    pub(super) fn image(&self, rows: Range<usize>, columns: Range<usize>) -> Image {
        let (height, width) = (rows.len(), columns.len());
        let mut pixels = vec![[0; 3]; height * width];
        let mut buffers: [Vec<u8>; 4] = Default::default();
        let mut mixed = Vec::new();
        for (row, pixels) in rows.zip(pixels.chunks_exact_mut(width)) {
            let mut components = [&[][..]; 4];
            let planes = self.layout.planes.iter().zip(self.planes);
            for ((plane, buffer), to) in planes.zip(&mut buffers).zip(&mut components) {
                *to = self.row(row, plane, &columns, &mut mixed, buffer);
            }
            let [first, second, third, fourth] = components;
            match self.space {
                Space::Grey => {
                    for (pixel, &y) in pixels.iter_mut().zip(first) {
                        *pixel = [y; 3];
                    }
                }
                Space::YCbCr => to_rgb(first, second, third, pixels),
                Space::Rgb => {
                    for (((pixel, &r), &g), &b) in
                        pixels.iter_mut().zip(first).zip(second).zip(third)
                    {
                        *pixel = [r, g, b];
                    }
                }
                Space::Cmyk => {
                    for (((pixel, &c), &m), &y) in
                        pixels.iter_mut().zip(first).zip(second).zip(third)
                    {
                        *pixel = [c, m, y];
                    }
                    apply_black(fourth, pixels);
                }
                Space::Ycck => {
                    to_rgb(first, second, third, pixels);
                    for pixel in &mut *pixels {
                        *pixel = pixel.map(|it| 255 - it);
                    }
                    apply_black(fourth, pixels);
                }
            }
        }
        Image::from_raw(width as u32, height as u32, pixels.into_flattened())
            .expect("three bytes per pixel")
    }

    /// A row of a component, upsampled to the columns.
    #[inline(always)]
    fn row<'b>(
        &self,
        row: usize,
        (plane, blocks): (&Plane, &'b Blocks),
        columns: &Range<usize>,
        mixed: &mut Vec<u16>,
        buffer: &'b mut Vec<u8>,
    ) -> &'b [u8] {
        // The plane's first row and column that were read.
        let origin = [0, 1].map(|it| self.origin[it] * plane.blocks[it] * plane.side);
        let [down, across] = plane.expand;
        let near = row / down;
        let width = columns.len();
        if plane.is_smooth {
            buffer.resize(width + 4, 0);
            interpolate(plane, blocks, origin, row, columns, mixed, buffer);
            return &buffer[columns.start % across..][..width];
        }
        let near = &blocks.row(near - origin[0])[columns.start / across - origin[1]..];
        if across == 1 {
            return &near[..width];
        }
        let skipped = columns.start % across;
        buffer.clear();
        let n = (skipped + width).div_ceil(across);
        buffer.extend(near[..n].iter().flat_map(|&it| std::iter::repeat_n(it, across)));
        &buffer[skipped..][..width]
    }
}

/// Interpolates a row of a component at half resolution to the width of the result. If it has half the width,
/// the row begins at an even column.
#[inline(always)]
fn interpolate(
    plane: &Plane,
    blocks: &Blocks,
    origin: [usize; 2],
    row: usize,
    columns: &Range<usize>,
    mixed: &mut Vec<u16>,
    to: &mut [u8],
) {
    let [down, across] = plane.expand;
    // The nearest and the next nearest row.
    let near = row / down;
    let next = match (down, row % 2) {
        (1, _) => near,
        (_, 0) => near.saturating_sub(1),
        _ => (near + 1).min(plane.size[0] - 1),
    };
    let [near, next] = [near, next].map(|it| blocks.row(it - origin[0]));
    let is_tall = down > 1;
    if across == 1 {
        let start = columns.start - origin[1];
        let bias = 1 + (row % 2) as u16;
        for ((to, &a), &b) in
            to.iter_mut().zip(&near[start..]).zip(&next[start..]).take(columns.len())
        {
            *to = ((3 * u16::from(a) + u16::from(b) + bias) >> 2) as u8;
        }
        return;
    }
    let first = columns.start / 2;
    let end = columns.end.div_ceil(2);
    // With one neighbour on each side; the outermost are repeated.
    let place = |it: usize| it.min(plane.size[1] - 1) - origin[1];
    let mix = |at: usize| {
        let (a, b) = (u16::from(near[at]), u16::from(next[at]));
        if is_tall { 3 * a + b } else { a }
    };
    let n = end - first;
    mixed.resize(n + 2, 0);
    mixed[0] = mix(place(first.saturating_sub(1)));
    mixed[n + 1] = mix(place(end));
    let start = first - origin[1];
    for ((to, &a), &b) in mixed[1..=n].iter_mut().zip(&near[start..]).zip(&next[start..]) {
        let (a, b) = (u16::from(a), u16::from(b));
        *to = if is_tall { 3 * a + b } else { a };
    }
    let (even, odd, bits) = if is_tall { (8, 7, 4) } else { (1, 2, 2) };
    let pairs = to.as_chunks_mut::<2>().0;
    for (it, to) in pairs[..n].iter_mut().enumerate() {
        let [before, at, after] = [mixed[it], mixed[it + 1], mixed[it + 2]];
        *to = [((3 * at + before + even) >> bits) as u8, ((3 * at + after + odd) >> bits) as u8];
    }
}

/// Multiplies three inverted inks by black: 255 is no ink.
///
/// Slightly less than their product, with PIL's rounding: `k - k * (255 - c) / 255`.
#[inline(always)]
fn apply_black(black: &[u8], pixels: &mut [[u8; 3]]) {
    for (pixel, &k) in pixels.iter_mut().zip(black) {
        *pixel = pixel.map(|it| {
            let product = u32::from(255 - it) * u32::from(k) + 128;
            k - (((product >> 8) + product) >> 8) as u8
        });
    }
}

/// `it` times `of` / 65536, rounded: `2 * it` does not overflow, since it is from a byte.
#[inline(always)]
fn part(it: i16, of: i16) -> i16 {
    (((i32::from(2 * it) * i32::from(of)) >> 16) as i16 + 1) >> 1
}

/// Converts a row.
#[inline(always)]
fn to_rgb(luma: &[u8], cb: &[u8], cr: &[u8], pixels: &mut [[u8; 3]]) {
    for (((pixel, &y), &cb), &cr) in pixels.iter_mut().zip(luma).zip(cb).zip(cr) {
        let y = i16::from(y);
        let [cb, cr] = [cb, cr].map(|it| i16::from(it) - 128);
        // 1.402 = 1 + 0.402, 1.772 = 2 - 0.228 and 0.714136 = 1 - 0.285864, so that the factors fit 16 bits.
        let r = y + cr + part(cr, 26_345);
        let green = (i32::from(cb) * -22_554 + i32::from(cr) * 18_734 + 32_768) >> 16;
        let g = y - cr + green as i16;
        let b = y + 2 * cb + part(cb, -14_942);
        pixel[0] = r.clamp(0, 255) as u8;
        pixel[1] = g.clamp(0, 255) as u8;
        pixel[2] = b.clamp(0, 255) as u8;
    }
}
