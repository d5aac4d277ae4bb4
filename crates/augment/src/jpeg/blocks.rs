//! One plane of the picture: coefficients that are read, and pixels once they are transformed.

use std::ops::Range;

use super::{
    header::Component,
    huffman::{Bits, ORDER},
    transform::{LANES, Lot, transform},
};

/// The blocks of some units, and their pixels.
pub(super) struct Blocks {
    /// A row of units: blocks that stand side by side, so many in a lot.
    lots: Vec<Lot>,
    /// Lots in a row of blocks.
    across: usize,
    /// Rows of blocks in a row of units.
    down: usize,
    /// Eight pixels at a time.
    pixels: Vec<[u8; 8]>,
}

impl Blocks {
    pub(super) fn new(it: &Component, [rows, columns]: [Range<usize>; 2]) -> Blocks {
        let [down, across] = it.blocks;
        let lots_across = (columns.len() * across).div_ceil(LANES);
        Blocks {
            lots: vec![Lot::default(); lots_across * down],
            across: lots_across,
            down,
            pixels: vec![[0; 8]; rows.len() * down * 8 * lots_across * LANES],
        }
    }

    /// Reads a block of the row of units.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        [down, across]: [usize; 2],
        bits: &mut Bits<'_>,
        it: &Component,
        before: &mut i32,
    ) {
        let lot = &mut self.lots[down * self.across + across / LANES];
        let lane = across % LANES;
        let coefficients = lot.coefficients.as_flattened_mut();
        let last = bits.block(&it.codes, before, |at, number| {
            let place = usize::from(ORDER[at]) * LANES + lane;
            coefficients[place % (64 * LANES)] =
                number.wrapping_mul(i32::from(it.steps[at])) as i16;
        });
        lot.last = lot.last.max(last);
    }

    /// Makes pixels of the row of units, the `row`th, and forgets its coefficients.
    #[inline(always)]
    pub(super) fn transform(&mut self, row: usize) {
        let width = self.across * LANES;
        let rows = self.pixels[row * self.down * 8 * width..].chunks_exact_mut(8 * width);
        for (lots, rows) in self.lots.chunks_exact_mut(self.across).zip(rows) {
            for (it, lot) in lots.iter_mut().enumerate() {
                transform(lot, |row, eights| {
                    rows[row * width + it * LANES..][..LANES].copy_from_slice(eights);
                });
                *lot = Lot::default();
            }
        }
    }

    /// The pixels of a row of the plane, from the first column that was read.
    pub(super) fn row(&self, row: usize) -> &[u8] {
        let width = self.across * LANES;
        self.pixels[row * width..][..width].as_flattened()
    }
}
