//! `ldmatrix` and `mma`: matrices spread over the lanes of a warp.
//!
//! Products of f16 and bf16 are exact in f32; here each is added with one rounding to the nearest, in the order of
//! the columns. Tensor cores add several at once and round towards zero: results are compared by tolerance.

#![expect(clippy::needless_range_loop, reason = "a lane is an index into several arrays")]

use super::block::Block;
use super::instruction::{Access, Element, Matrix};
use super::registers::{LANES, has_wide};
use super::rounding::{canon, f16_of, of_bf16, of_f16};
use super::warp::{Outcome, Warp, problem};
use crate::faults::FaultKind;
use crate::memory::races::Touch;
use crate::ptx::Space;

impl Block<'_> {
    pub(super) fn load_matrix(
        &mut self,
        access: &Access,
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        self.whole(mask, warp, "ldmatrix")?;
        let n = access.rows.len();
        let used = if n == 4 { u32::MAX } else { (1 << (8 * n)) - 1 };
        self.each_space(access, mask & used, warp, |block, space, addresses, mask, warp| {
            if space != Space::Shared || mask != used {
                return problem(
                    FaultKind::OutOfBounds,
                    mask.trailing_zeros(),
                    "`ldmatrix` reads shared memory only",
                );
            }
            block.counts.shared_read += 16 * u64::from(mask.count_ones());
            block.count_banks(16, addresses, mask);
            for (matrix, row) in access.rows.iter().enumerate() {
                let mut elements = [[0u16; 8]; 8];
                for (line, elements) in elements.iter_mut().enumerate() {
                    let lane = matrix * 8 + line;
                    let at =
                        block.shared_row(addresses[lane], 16, Touch::Read, lane as u32, 1, warp)?;
                    let bytes = &block.shared.data[at..at + 16];
                    for idx in 0..8 {
                        elements[idx] = u16::from_le_bytes([bytes[2 * idx], bytes[2 * idx + 1]]);
                    }
                }
                let super::instruction::Row::Word(row) = *row else { continue };
                let words = &mut warp.registers.words[row as usize];
                for lane in 0..LANES {
                    let (line, column) = (lane / 4, lane % 4 * 2);
                    let [low, high] = if access.is_transposed {
                        [elements[column][line], elements[column + 1][line]]
                    } else {
                        [elements[line][column], elements[line][column + 1]]
                    };
                    words[lane] = u32::from(low) | u32::from(high) << 16;
                }
            }
            Ok(())
        })
    }

    fn whole(&self, mask: u32, warp: &Warp, name: &str) -> Outcome<()> {
        if mask == u32::MAX {
            return Ok(());
        }
        let missing = (!mask).trailing_zeros();
        let why =
            if warp.all >> missing & 1 == 0 { "does not exist" } else { "does not take part" };
        problem(
            FaultKind::WarpSync,
            mask.trailing_zeros(),
            format!("`{name}` needs all 32 lanes: lane {missing} {why}"),
        )
    }

    /// `d = a b + c`, with a of 16 rows and b of 8 columns.
    pub(super) fn multiply(&mut self, m: &Matrix, mask: u32, warp: &mut Warp) -> Outcome<()> {
        self.whole(mask, warp, "mma")?;
        let k = usize::from(m.k);
        self.counts.mma += 1;
        self.counts.mma_products += 16 * 8 * k as u64;
        let words = &warp.registers.words;
        let mut a = [[0f32; 16]; 16];
        let mut b = [[0f32; 16]; 8];
        let halves = |word: u32| match m.inputs {
            Element::F16 => [of_f16(word & 0xffff), of_f16(word >> 16)],
            _ => [of_bf16(word & 0xffff), of_bf16(word >> 16)],
        };
        let tf32 = |word: u32| f32::from_bits(word & !0x1fff);
        for lane in 0..LANES {
            let (group, quad) = (lane / 4, lane % 4);
            if m.inputs == Element::Tf32 {
                for i in 0..k / 2 {
                    a[group + i % 2 * 8][quad + i / 2 * 4] = tf32(words[m.a[i] as usize][lane]);
                }
                for i in 0..k / 4 {
                    b[group][quad + i * 4] = tf32(words[m.b[i] as usize][lane]);
                }
                continue;
            }
            for i in 0..k / 4 {
                let [x, y] = halves(words[m.a[i] as usize][lane]);
                let (row, column) = (group + i % 2 * 8, quad * 2 + i / 2 * 8);
                (a[row][column], a[row][column + 1]) = (x, y);
            }
            for i in 0..k / 8 {
                let [x, y] = halves(words[m.b[i] as usize][lane]);
                (b[group][quad * 2 + i * 8], b[group][quad * 2 + i * 8 + 1]) = (x, y);
            }
        }
        let mut sums = [[0f32; 8]; 16];
        products_here(&a, &b, &mut sums);
        let mut d = [[0u32; LANES]; 4];
        for lane in 0..LANES {
            let (group, quad) = (lane / 4, lane % 4);
            for i in 0..4 {
                let sum = sums[group + i / 2 * 8][quad * 2 + i % 2];
                if m.sums_f16 {
                    let c = words[m.c[i / 2] as usize][lane] >> (16 * (i % 2)) & 0xffff;
                    d[i / 2][lane] |= f16_of(sum + of_f16(c)) << (16 * (i % 2));
                } else {
                    let value = sum + f32::from_bits(words[m.c[i] as usize][lane]);
                    d[i][lane] = canon(value).to_bits();
                }
            }
        }
        for (row, values) in m.d.iter().zip(d).take(if m.sums_f16 { 2 } else { 4 }) {
            warp.registers.words[*row as usize] = values;
        }
        Ok(())
    }
}

/// Sums of products of the rows of both.
#[inline(always)]
fn products(a: &[[f32; 16]; 16], b: &[[f32; 16]; 8], sums: &mut [[f32; 8]; 16]) {
    let mut columns = [[0f32; 8]; 16];
    for k in 0..16 {
        for j in 0..8 {
            columns[k][j] = b[j][k];
        }
    }
    for i in 0..16 {
        let mut all = [0f32; 8];
        for k in 0..16 {
            for j in 0..8 {
                all[j] = a[i][k].mul_add(columns[k][j], all[j]);
            }
        }
        sums[i] = all;
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn products_wide(a: &[[f32; 16]; 16], b: &[[f32; 16]; 8], sums: &mut [[f32; 8]; 16]) {
    products(a, b, sums);
}

fn products_here(a: &[[f32; 16]; 16], b: &[[f32; 16]; 8], sums: &mut [[f32; 8]; 16]) {
    #[cfg(target_arch = "x86_64")]
    if has_wide() {
        // SAFETY: the machine has these instructions.
        #[expect(unsafe_code, reason = "a function compiled for the machine's instructions")]
        return unsafe { products_wide(a, b, sums) };
    }
    products(a, b, sums);
}
