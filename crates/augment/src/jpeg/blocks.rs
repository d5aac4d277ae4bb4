//! One plane of the image: the coefficients that are read, and the pixels they are transformed to.

use std::ops::Range;

use super::{
    huffman::{Bits, Codes, ORDER},
    layout::Plane,
    transform::{Group, LANES, transform},
};

/// The blocks of some MCUs, and their pixels.
pub(super) struct Blocks {
    /// The blocks of a row of MCUs, in groups of adjacent blocks.
    groups: Vec<Group>,
    /// The number of groups in a row of blocks.
    across: usize,
    /// The number of rows of blocks in a row of MCUs.
    down: usize,
    /// The side of a transformed block.
    side: usize,
    /// The quantization table, in the order of the file.
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
        let groups_across = (columns.len() * across).div_ceil(LANES);
        Blocks {
            groups: vec![Group::default(); groups_across * down],
            across: groups_across,
            down,
            side,
            steps,
            pixels: vec![0; rows.len() * down * side * groups_across * LANES * side],
        }
    }

    /// Reads a block of the row of MCUs.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        [down, across]: [usize; 2],
        bits: &mut Bits<'_>,
        codes: &Codes,
        predictor: &mut i32,
    ) {
        let group = &mut self.groups[down * self.across + across / LANES];
        let lane = across % LANES;
        let coefficients = group.coefficients.as_flattened_mut();
        if self.side == 1 {
            // A single pixel needs only the DC coefficient.
            bits.skip_block(codes, predictor);
            coefficients[lane] = predictor.wrapping_mul(i32::from(self.steps[0])) as i16;
            return;
        }
        let last = bits.block(codes, predictor, |at, number| {
            let place = usize::from(ORDER[at]) * LANES + lane;
            coefficients[place % (64 * LANES)] =
                number.wrapping_mul(i32::from(self.steps[at])) as i16;
        });
        group.last = group.last.max(last);
    }

    /// Sets a block of the row of MCUs from coefficients in the order of the file.
    #[inline(always)]
    pub(super) fn set(&mut self, [down, across]: [usize; 2], block: &[i16; 64]) {
        let group = &mut self.groups[down * self.across + across / LANES];
        let lane = across % LANES;
        for (at, (&number, &step)) in block.iter().zip(&self.steps).enumerate() {
            if number != 0 {
                let number = i32::from(number).wrapping_mul(i32::from(step));
                group.coefficients[usize::from(ORDER[at])][lane] = number as i16;
                group.last = group.last.max(at);
            }
        }
    }

    /// Transforms the row of MCUs with index `row` to pixels, and clears its coefficients.
    #[inline(always)]
    pub(super) fn transform(&mut self, row: usize) {
        let side = self.side;
        let width = self.across * LANES * side;
        let rows = self.pixels[row * self.down * side * width..].chunks_exact_mut(side * width);
        for (groups, rows) in self.groups.chunks_exact_mut(self.across).zip(rows) {
            for (it, group) in groups.iter_mut().enumerate() {
                transform(group, side, |row, pixels| {
                    rows[row * width + it * LANES * side..][..pixels.len()].copy_from_slice(pixels);
                });
                *group = Group::default();
            }
        }
    }

    /// The pixels of a row of the plane, from the first column that was read.
    pub(super) fn row(&self, row: usize) -> &[u8] {
        let width = self.across * LANES * self.side;
        &self.pixels[row * width..][..width]
    }
}
