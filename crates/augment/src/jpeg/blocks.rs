//! One plane of the image: coefficients that are read, and pixels once they are transformed.

use std::ops::Range;

use super::{
    huffman::{Bits, Codes, ORDER},
    layout::Plane,
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
    /// The side of what a block becomes.
    side: usize,
    /// What each coefficient is multiplied by, in the order of the file.
    steps: [u16; 64],
    pixels: Vec<u8>,
}

impl Blocks {
    pub(super) fn new(
        plane: &Plane,
        steps: [u16; 64],
        [rows, columns]: [Range<usize>; 2],
    ) -> Blocks {
        let ([down, across], side) = (plane.blocks, plane.side);
        let lots_across = (columns.len() * across).div_ceil(LANES);
        Blocks {
            lots: vec![Lot::default(); lots_across * down],
            across: lots_across,
            down,
            side,
            steps,
            pixels: vec![0; rows.len() * down * side * lots_across * LANES * side],
        }
    }

    /// Reads a block of the row of units.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        [down, across]: [usize; 2],
        bits: &mut Bits<'_>,
        codes: &Codes,
        before: &mut i32,
    ) {
        let lot = &mut self.lots[down * self.across + across / LANES];
        let lane = across % LANES;
        let coefficients = lot.coefficients.as_flattened_mut();
        if self.side == 1 {
            // Of a single pixel there is only the mean.
            bits.skip_block(codes, before);
            coefficients[lane] = before.wrapping_mul(i32::from(self.steps[0])) as i16;
            return;
        }
        let last = bits.block(codes, before, |at, number| {
            let place = usize::from(ORDER[at]) * LANES + lane;
            coefficients[place % (64 * LANES)] =
                number.wrapping_mul(i32::from(self.steps[at])) as i16;
        });
        lot.last = lot.last.max(last);
    }

    /// Takes a block of the row of units that has been read: coefficients in the order of the file.
    #[inline(always)]
    pub(super) fn set(&mut self, [down, across]: [usize; 2], block: &[i16; 64]) {
        let lot = &mut self.lots[down * self.across + across / LANES];
        let lane = across % LANES;
        for (at, (&number, &step)) in block.iter().zip(&self.steps).enumerate() {
            if number != 0 {
                let number = i32::from(number).wrapping_mul(i32::from(step));
                lot.coefficients[usize::from(ORDER[at])][lane] = number as i16;
                lot.last = lot.last.max(at);
            }
        }
    }

    /// Makes pixels of the row of units, the `row`th, and forgets its coefficients.
    #[inline(always)]
    pub(super) fn transform(&mut self, row: usize) {
        let side = self.side;
        let width = self.across * LANES * side;
        let rows = self.pixels[row * self.down * side * width..].chunks_exact_mut(side * width);
        for (lots, rows) in self.lots.chunks_exact_mut(self.across).zip(rows) {
            for (it, lot) in lots.iter_mut().enumerate() {
                transform(lot, side, |row, pixels| {
                    rows[row * width + it * LANES * side..][..pixels.len()].copy_from_slice(pixels);
                });
                *lot = Lot::default();
            }
        }
    }

    /// The pixels of a row of the plane, from the first column that was read.
    pub(super) fn row(&self, row: usize) -> &[u8] {
        let width = self.across * LANES * self.side;
        &self.pixels[row * width..][..width]
    }
}
