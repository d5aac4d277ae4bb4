//! The difference hash: 256 bits of what an image looks like, which survive another encoding.
//!
//! The image is averaged to 16 rows of 17 greys; bit (y, x) says whether grey x + 1 of row y is
//! brighter than grey x by more than 2 of 255. Two images are as far apart as they have bits that
//! differ.
//!
//! Source: N. Krawetz, "Kind of Like That", The Hacker Factor Blog, 2013 (dHash).
//!
//! We differ: 16 rows of 16 bits instead of 8 of 8, and 2 levels of grey instead of none. Portraits are
//! all of one build: of 2,158 people whose faces lie alike, 585 pairs of images of different people
//! are within 3 of 64 bits, while none is within 19 of these 256. And where a background is plain, the
//! sign of a difference is noise: a drawn portrait saved again at half the quality is 37 bits away
//! without the 2 levels, and 5 with them.

use augment::Image;

use super::summary::grey;

/// Rows, and bits in each.
const SIDE: usize = 16;

/// Levels of grey that are noise.
const NOISE: u64 = 2;

/// What an image looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DifferenceHash([u64; 4]);

impl DifferenceHash {
    /// Into so many bands the bits are cut, of 16 each: hashes that differ in fewer bits than this
    /// have a band in common.
    pub(super) const N_BANDS: usize = SIDE;

    pub(super) fn of(image: &Image) -> DifferenceHash {
        let (h, w) = (image.height() as usize, image.width() as usize);
        let mut cells = [[0; SIDE + 1]; SIDE];
        for (y, row) in image.as_raw().chunks_exact(3 * w).enumerate() {
            let mut sums = [0; SIDE + 1];
            for (x, pixel) in row.chunks_exact(3).enumerate() {
                let grey = grey([pixel[0], pixel[1], pixel[2]].map(u64::from));
                shares(x, w, SIDE + 1).for_each(|(cell, share)| sums[cell] += share * grey);
            }
            for (cell_y, share) in shares(y, h, SIDE) {
                cells[cell_y].iter_mut().zip(sums).for_each(|(cell, sum)| *cell += share * sum);
            }
        }
        let noise = grey([NOISE; 3]) * (h * w) as u64;
        let mut hash = DifferenceHash::default();
        for (y, row) in cells.iter().enumerate() {
            for (x, pair) in row.windows(2).enumerate() {
                // A band has one bit of each row: a plain background fills none.
                let band = (x + SIDE - y) % SIDE;
                let bit = SIDE * band + y;
                hash.0[bit / 64] |= u64::from(pair[0] + noise < pair[1]) << (bit % 64);
            }
        }
        hash
    }

    /// Whether nothing gets brighter from left to right: an image of one colour, which looks like no
    /// other.
    pub(super) fn is_plain(self) -> bool {
        self.0 == [0; 4]
    }

    /// How many bits differ.
    #[inline(always)]
    pub(super) fn distance(self, other: DifferenceHash) -> u32 {
        self.0.iter().zip(other.0).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    /// The bits of a band.
    fn band(self, idx: usize) -> u16 {
        (self.0[idx / 4] >> (16 * (idx % 4))) as u16
    }

    /// The same bits, a band first in their order, and then those after it. Two hashes are as far apart
    /// before as after.
    pub(super) fn band_first(self, band: usize) -> DifferenceHash {
        let bands =
            |word: usize| (4 * word..4 * word + 4).map(move |it| (band + it) % Self::N_BANDS);
        let word = |word| bands(word).fold(0, |bits, it| bits << 16 | u64::from(self.band(it)));
        DifferenceHash([0, 1, 2, 3].map(word))
    }

    /// The band that [`band_first`](Self::band_first) has put first.
    #[inline(always)]
    pub(super) fn first_band(self) -> u16 {
        (self.0[0] >> 48) as u16
    }

    /// One of so many bits.
    pub(super) fn from_bits(bits: [u64; 4]) -> DifferenceHash {
        DifferenceHash(bits)
    }
}

/// The cells that a pixel lies in when `side` pixels become `n` cells, and how much of it lies in each:
/// every cell gets `side` in all.
fn shares(at: usize, side: usize, n: usize) -> impl Iterator<Item = (usize, u64)> {
    let (begin, end) = (at * n, (at + 1) * n);
    (begin / side..end.div_ceil(side))
        .map(move |cell| (cell, (end.min((cell + 1) * side) - begin.max(cell * side)) as u64))
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::{DifferenceHash, shares};

    fn grey_image(w: u32, h: u32, at: impl Fn(u32, u32) -> u8) -> RgbImage {
        RgbImage::from_fn(w, h, |x, y| Rgb([at(x, y); 3]))
    }

    #[test]
    fn brighter_to_the_right_is_all_ones() {
        for (w, h) in [(17, 16), (50, 3), (85, 99)] {
            let rising = DifferenceHash::of(&grey_image(w, h, |x, _| 3 * x as u8));
            assert_eq!(rising.0, [u64::MAX; 4], "{w}x{h}");
            let falling = DifferenceHash::of(&grey_image(w, h, |x, _| 255 - 3 * x as u8));
            assert_eq!(falling.0, [0; 4], "{w}x{h}");
        }
        assert!(DifferenceHash::of(&grey_image(1, 1, |_, _| 7)).is_plain());
    }

    #[test]
    fn three_pixels_in_two_cells_share_the_middle_one() {
        let of = |at| shares(at, 3, 2).collect::<Vec<_>>();
        assert_eq!([of(0), of(1), of(2)], [vec![(0, 2)], vec![(0, 1), (1, 1)], vec![(1, 2)]]);
    }

    #[test]
    fn one_bright_pixel_is_one_bit_of_one_band() {
        // Column 5 of row 3: it is brighter than its left neighbour, so bit 4 of the row, of band
        // 4 - 3 = 1.
        let image = grey_image(17, 16, |x, y| if (x, y) == (5, 3) { 200 } else { 100 });
        let hash = DifferenceHash::of(&image);
        assert_eq!(hash.distance(DifferenceHash::default()), 1);
        let bands: Vec<u16> = (0..16).map(|it| hash.band(it)).collect();
        assert_eq!(bands.iter().position(|&it| it != 0), Some(1));
        assert_eq!(bands[1], 1 << 3);
    }

    #[test]
    fn a_band_put_first_decides_the_order_and_no_distance() {
        let [a, b] = [[0x0123_4567_89ab_cdef, 1, 2, 3], [0xfedc_ba98, 7, 9, 1 << 63]];
        let [a, b] = [a, b].map(DifferenceHash::from_bits);
        for band in 0..DifferenceHash::N_BANDS {
            let [from_a, from_b] = [a, b].map(|it| it.band_first(band));
            assert_eq!(from_a.first_band(), a.band(band));
            assert_eq!(from_a.distance(from_b), a.distance(b));
        }
        assert_eq!(a.band_first(1).0[0], 0x89ab_4567_0123_0001);
    }
}
