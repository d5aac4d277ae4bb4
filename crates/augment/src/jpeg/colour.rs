//! Planes of luma and colours to red, green and blue.
//!
//! Halved colours are interpolated: each pixel takes three parts of the nearest and one of the next
//! nearest, down and across, as libjpeg's "fancy upsampling" does. Then, with Cb and Cr from -128:
//! R = Y + 1.402 Cr, G = Y - 0.344136 Cb - 0.714136 Cr, B = Y + 1.772 Cb, in parts of 65536.

use std::ops::Range;

use crate::Picture;

use super::{blocks::Blocks, header::Header};

/// The planes of a part of a picture.
pub(super) struct Colours<'a> {
    planes: &'a [Blocks],
    /// By how much colours are smaller, down and across.
    most: [usize; 2],
    /// The first row and column of the planes that were read.
    origin: [usize; 2],
    /// The rows and columns of the whole planes of colours.
    size: [usize; 2],
}

impl<'a> Colours<'a> {
    /// `origin`: the first unit, down and across.
    pub(super) fn new(
        header: &Header<'_>,
        planes: &'a [Blocks],
        origin: [usize; 2],
    ) -> Colours<'a> {
        let most = header.most();
        let size = [0, 1].map(|it| header.size[it].div_ceil(most[it]));
        Colours { planes, most, origin: origin.map(|it| it * 8), size }
    }

    /// The pixels.
    #[inline(always)]
    pub(super) fn picture(&self, rows: Range<usize>, columns: Range<usize>) -> Picture {
        let (height, width) = (rows.len(), columns.len());
        let mut pixels = vec![[0; 3]; height * width];
        let mut colours = [0, 1].map(|_| vec![0_u8; width + 4]);
        let mut mixed = vec![0_u16; width / self.most[1] + 4];
        for (row, pixels) in rows.zip(pixels.chunks_exact_mut(width)) {
            let start = columns.start - self.origin[1] * self.most[1];
            let luma = &self.planes[0].row(row - self.origin[0] * self.most[0])[start..][..width];
            let [_, cb, cr] = self.planes else {
                for (pixel, &y) in pixels.iter_mut().zip(luma) {
                    *pixel = [y; 3];
                }
                continue;
            };
            if self.most == [1, 1] {
                let [cb, cr] = [cb, cr].map(|it| &it.row(row - self.origin[0])[start..][..width]);
                to_rgb(luma, cb, cr, pixels);
                continue;
            }
            for (plane, to) in [cb, cr].into_iter().zip(&mut colours) {
                self.interpolate(plane, row, &columns, &mut mixed, to);
            }
            let skipped = columns.start % self.most[1];
            let [cb, cr] = [0, 1].map(|it| &colours[it][skipped..][..width]);
            to_rgb(luma, cb, cr, pixels);
        }
        Picture::from_raw(width as u32, height as u32, pixels.into_flattened())
            .expect("three bytes a pixel")
    }

    /// A row of colours as wide as the picture. Where colours are half as wide, it begins at an even column.
    #[inline(always)]
    fn interpolate(
        &self,
        plane: &Blocks,
        row: usize,
        columns: &Range<usize>,
        mixed: &mut [u16],
        to: &mut [u8],
    ) {
        // The nearest row, and the next nearest, weighed.
        let near = row / self.most[0];
        let next = match (self.most[0], row % 2) {
            (1, _) => near,
            (_, 0) => near.saturating_sub(1),
            _ => (near + 1).min(self.size[0] - 1),
        };
        let [near, next] = [near, next].map(|it| plane.row(it - self.origin[0]));
        let is_tall = self.most[0] > 1;
        if self.most[1] == 1 {
            let start = columns.start - self.origin[1];
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
        // With one neighbour on each side, which the outermost have themselves.
        let place = |it: usize| it.min(self.size[1] - 1) - self.origin[1];
        let mix = |at: usize| {
            let (a, b) = (u16::from(near[at]), u16::from(next[at]));
            if is_tall { 3 * a + b } else { a }
        };
        let n = end - first;
        mixed[0] = mix(place(first.saturating_sub(1)));
        mixed[n + 1] = mix(place(end));
        let start = first - self.origin[1];
        for ((to, &a), &b) in mixed[1..=n].iter_mut().zip(&near[start..]).zip(&next[start..]) {
            let (a, b) = (u16::from(a), u16::from(b));
            *to = if is_tall { 3 * a + b } else { a };
        }
        let (even, odd, bits) = if is_tall { (8, 7, 4) } else { (1, 2, 2) };
        let pairs = to.as_chunks_mut::<2>().0;
        for (it, to) in pairs[..n].iter_mut().enumerate() {
            let [before, at, after] = [mixed[it], mixed[it + 1], mixed[it + 2]];
            *to =
                [((3 * at + before + even) >> bits) as u8, ((3 * at + after + odd) >> bits) as u8];
        }
    }
}

/// A part in 65536 of a number, rounded: `2 * it` fits, being of a byte.
#[inline(always)]
fn part(it: i16, of: i16) -> i16 {
    (((i32::from(2 * it) * i32::from(of)) >> 16) as i16 + 1) >> 1
}

/// A row.
#[inline(always)]
fn to_rgb(luma: &[u8], cb: &[u8], cr: &[u8], pixels: &mut [[u8; 3]]) {
    for (((pixel, &y), &cb), &cr) in pixels.iter_mut().zip(luma).zip(cb).zip(cr) {
        let y = i16::from(y);
        let [cb, cr] = [cb, cr].map(|it| i16::from(it) - 128);
        // 1.402 = 1 + 0.402, 1.772 = 2 - 0.228 and 0.714136 = 1 - 0.285864, so that parts fit.
        let r = y + cr + part(cr, 26_345);
        let green = (i32::from(cb) * -22_554 + i32::from(cr) * 18_734 + 32_768) >> 16;
        let g = y - cr + green as i16;
        let b = y + 2 * cb + part(cb, -14_942);
        pixel[0] = r.clamp(0, 255) as u8;
        pixel[1] = g.clamp(0, 255) as u8;
        pixel[2] = b.clamp(0, 255) as u8;
    }
}
