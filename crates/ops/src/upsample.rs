//! Bilinear upsampling of an RGB8 image along one axis: each pixel is interpolated between two neighbours.
//!
//! Pixel i of `size` is centred at p = start + (i + 1/2)·length/size - 1/2, and is x + (y - x)·f of the
//! pixel x at ⌊p⌋ and the next pixel y, f = p - ⌊p⌋ in steps of 2⁻¹⁵, rounded; beyond the outermost pixels
//! the edge pixel is repeated. Same as PIL's `Image.resize`, whose steps are 2⁻²². The bits are the same on
//! all instruction sets.

use crate::isa::vectorised;

/// The position of a pixel between two source pixels: `part` beyond the first, in steps of 2⁻¹⁵.
struct Between {
    first: usize,
    second: usize,
    part: i16,
}

const STEP_BITS: u32 = 15;

/// The source positions of `size` pixels, to which a part of a line of `n` pixels is upsampled.
fn between(n: usize, start: f64, length: f64, size: usize) -> impl Iterator<Item = Between> {
    (0..size).map(move |idx| {
        let place = start + (idx as f64 + 0.5) * length / size as f64 - 0.5;
        let steps = place.clamp(0.0, (n - 1) as f64) * f64::from(1 << STEP_BITS);
        let steps = steps.round() as usize;
        let (first, part) = (steps >> STEP_BITS, steps % (1 << STEP_BITS));
        // The last pixel has no next pixel, and needs none.
        Between { first, second: first + usize::from(part > 0), part: part as i16 }
    })
}

#[inline(always)]
fn mean(first: u8, second: u8, part: i16) -> u8 {
    let (first, second) = (i32::from(first), i32::from(second));
    let more = (second - first) * i32::from(part) + (1 << (STEP_BITS - 1));
    (first + (more >> STEP_BITS)) as u8
}

/// Eight bytes of an output line, computed from 16 bytes of the input line: a pixel is three bytes, and
/// eight adjacent bytes depend on at most five pixels.
struct Eight {
    from: usize,
    /// Indices into the 16 bytes; every other one is [`NONE`], which zero-extends the bytes in a register.
    first: [u8; 16],
    second: [u8; 16],
    parts: [i16; 8],
}

const NONE: u8 = 0x80;

/// Enlarges the part of each line that begins at column `start` and is `length` columns wide to `size`
/// columns. `bytes` are lines of `width` pixels; the part lies within them.
///
/// # Panics
/// If lines have no pixels, or the part has more than `size` columns.
pub fn upsample_columns(
    bytes: &[u8],
    width: usize,
    start: f64,
    length: f64,
    size: usize,
) -> Vec<u8> {
    assert!(length <= size as f64, "cannot upsample {length} columns to {size}");
    let (line, longer) = (width * 3, size * 3);
    let pixels: Vec<Between> = between(width, start, length, size).collect();
    let eight = |idx: usize| {
        let places = idx * 8..longer.min(idx * 8 + 8);
        let from = (pixels[places.start / 3].first * 3).min(line.saturating_sub(16));
        let mut made = Eight { from, first: [NONE; 16], second: [NONE; 16], parts: [0; 8] };
        for (idx, place) in places.enumerate() {
            let (pixel, channel) = (&pixels[place / 3], place % 3);
            made.first[2 * idx] = (pixel.first * 3 + channel - from) as u8;
            made.second[2 * idx] = (pixel.second * 3 + channel - from) as u8;
            made.parts[idx] = pixel.part;
            debug_assert!(made.second[2 * idx] < 16, "{width} {start} {length} {size}: {place}");
        }
        made
    };
    let eights: Vec<Eight> = (0..longer.div_ceil(8)).map(eight).collect();
    let n_lines = bytes.len() / line;
    // The last eight bytes of a line may reach into the next one, which is written after it.
    let mut made = vec![0; n_lines * longer + 8];
    for (idx, line) in bytes.chunks_exact(line).enumerate() {
        upsample_line(line, &eights, &mut made[idx * longer..]);
    }
    made.truncate(n_lines * longer);
    made
}

fn upsample_line(line: &[u8], eights: &[Eight], made: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if crate::Isa::chosen() > crate::Isa::Portable && line.len() >= 16 {
        // SAFETY: the processor has the instructions, and there are 16 bytes in the line.
        return unsafe { x86::upsample_line(line, eights, made) };
    }
    for (eight, made) in eights.iter().zip(made.chunks_exact_mut(8)) {
        let line = &line[eight.from..];
        for (idx, (byte, &part)) in made.iter_mut().zip(&eight.parts).enumerate() {
            // Bytes beyond the end of the line are not used.
            let byte_at = |picks: &[u8; 16]| match picks[2 * idx] {
                NONE => 0,
                pick => line[usize::from(pick)],
            };
            *byte = mean(byte_at(&eight.first), byte_at(&eight.second), part);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi16, _mm_loadu_si128, _mm_mulhrs_epi16, _mm_packus_epi16,
        _mm_shuffle_epi8, _mm_storel_epi64, _mm_sub_epi16,
    };

    use super::Eight;

    /// Same as [`super::upsample_line`].
    ///
    /// # Safety
    /// `line` has at least 16 bytes.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn upsample_line(line: &[u8], eights: &[Eight], made: &mut [u8]) {
        let last = line.len() - 16;
        for (eight, made) in eights.iter().zip(made.chunks_exact_mut(8)) {
            let load = |from: *const u8| {
                // SAFETY: of each pointer below, 16 bytes may be read.
                unsafe { _mm_loadu_si128(from.cast::<__m128i>()) }
            };
            let bytes = load(line[eight.from.min(last)..].as_ptr());
            let first = _mm_shuffle_epi8(bytes, load(eight.first.as_ptr()));
            let second = _mm_shuffle_epi8(bytes, load(eight.second.as_ptr()));
            // A product with `part`, rounded as in `mean`.
            let parts = load(eight.parts.as_ptr().cast());
            let more = _mm_mulhrs_epi16(_mm_sub_epi16(second, first), parts);
            let sums = _mm_add_epi16(first, more);
            // SAFETY: there are eight bytes to write.
            unsafe {
                _mm_storel_epi64(made.as_mut_ptr().cast(), _mm_packus_epi16(sums, sums));
            }
        }
    }
}

/// Enlarges the part of the lines that begins at line `start` and is `length` lines high to `size`
/// lines. `bytes` are lines of `width` pixels; the part lies within them.
///
/// # Panics
/// If there are no lines or lines have no pixels, or the part has more than `size` lines.
pub fn upsample_rows(bytes: &[u8], width: usize, start: f64, length: f64, size: usize) -> Vec<u8> {
    assert!(length <= size as f64, "cannot upsample {length} lines to {size}");
    let wide = width * 3;
    let mut made = vec![0; size * wide];
    let places = between(bytes.len() / wide, start, length, size);
    for (line, Between { first, second, part }) in made.chunks_exact_mut(wide).zip(places) {
        let [first, second] = [first, second].map(|it| &bytes[it * wide..][..wide]);
        vectorised(
            #[inline(always)]
            || {
                for ((byte, &first), &second) in line.iter_mut().zip(first).zip(second) {
                    *byte = mean(first, second, part);
                }
            },
        );
    }
    made
}

#[cfg(test)]
mod tests {
    use super::{upsample_columns, upsample_rows};

    /// Irregular bytes.
    fn bytes(n: usize) -> Vec<u8> {
        (0..n).map(|it| (it * it * 7 + it * 31) as u8).collect()
    }

    #[test]
    fn pixels_are_interpolated_between_their_neighbours() {
        let bytes = [0, 100, 255, 40, 101, 0];
        // Centres of four pixels on two: -1/4, 1/4, 3/4, 5/4; the outermost use one pixel alone.
        let want = [0, 100, 255, 10, 100, 191, 30, 101, 64, 40, 101, 0];
        assert_eq!(upsample_columns(&bytes, 2, 0.0, 2.0, 4), want);
        assert_eq!(upsample_rows(&bytes, 1, 0.0, 2.0, 4), want);
    }

    /// Checks the definition for every part of lines of every width.
    #[test]
    fn every_width_and_part_agrees_with_the_definition() {
        for width in 1..24 {
            for size in [1, 2, 3, 5, 8, 17, 24, 61] {
                for (start, length) in [(0, 1), (0, 3), (2, 4), (1, 7), (5, 17), (0, 24)] {
                    let (start, length) = (f64::from(start) * 0.9, f64::from(length) * 0.95);
                    if start + length > width as f64 || length > size as f64 {
                        continue;
                    }
                    let bytes = bytes(width * 3 * 3);
                    let got = upsample_columns(&bytes, width, start, length, size);
                    assert_eq!(got.len(), 3 * size * 3);
                    // Bit for bit equal to `upsample_rows` on rows of one pixel, which has no SIMD code.
                    for (line, got) in bytes.chunks(width * 3).zip(got.chunks(size * 3)) {
                        assert_eq!(got, upsample_rows(line, 1, start, length, size));
                    }
                    for (idx, got) in got.into_iter().enumerate() {
                        let (line, pixel, channel) = (idx / size / 3, idx / 3 % size, idx % 3);
                        let place = start + (pixel as f64 + 0.5) * length / size as f64 - 0.5;
                        let place = place.clamp(0.0, width as f64 - 1.0);
                        let at = |pixel: usize| {
                            let pixel = pixel.min(width - 1);
                            f64::from(bytes[(line * width + pixel) * 3 + channel])
                        };
                        let (part, pixel) = (place.fract(), place as usize);
                        let want = at(pixel) * (1.0 - part) + at(pixel + 1) * part;
                        let off = (f64::from(got) - want).abs();
                        assert!(off <= 0.51, "{width} {start} {length} {size}: {got}, not {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_more_column_and_a_subpixel_shift_are_possible() {
        let bytes = bytes(40 * 3);
        assert_eq!(upsample_columns(&bytes, 40, 0.0, 40.0, 40), bytes);
        assert_eq!(upsample_rows(&bytes, 1, 0.0, 40.0, 40), bytes);
        for part in [1e-9, 0.3, 0.999_999_999] {
            let shifted = upsample_columns(&bytes, 40, part, 39.0, 39);
            assert_eq!(shifted, upsample_rows(&bytes, 1, part, 39.0, 39));
        }
        let more = upsample_columns(&bytes, 40, 0.0, 40.0, 41);
        assert_eq!(more, upsample_rows(&bytes, 1, 0.0, 40.0, 41));
    }
}
