//! Between memory and registers: bytes of a lane, or of all lanes side by side.

use std::ops::Range;

use super::instruction::{Access, Row};
use super::registers::{LANES, Number, Registers};

/// An element of memory, extended to 64 bits.
#[inline(always)]
fn element(access: &Access, from: &[u8]) -> u64 {
    let value = match access.bytes {
        4 => u64::from(u32::from_le_bytes([from[0], from[1], from[2], from[3]])),
        2 => u64::from(u16::from_le_bytes([from[0], from[1]])),
        1 => u64::from(from[0]),
        _ => u64::from_le_bytes([
            from[0], from[1], from[2], from[3], from[4], from[5], from[6], from[7],
        ]),
    };
    let unused = 64 - 8 * u32::from(access.bytes);
    if access.is_signed { ((value << unused) as i64 >> unused) as u64 } else { value }
}

/// Bytes into a lane of registers.
#[inline(always)]
pub(super) fn put(registers: &mut Registers, access: &Access, lane: usize, from: &[u8]) {
    let n = usize::from(access.bytes);
    for (idx, row) in access.rows.iter().enumerate() {
        let value = element(access, &from[idx * n..(idx + 1) * n]);
        match *row {
            Row::Word(row) => registers.words[row as usize][lane] = value as u32,
            Row::Double(row) => registers.doubles[row as usize][lane] = value,
        }
    }
}

/// The same bytes into several lanes.
#[inline(always)]
pub(super) fn spread(registers: &mut Registers, access: &Access, mask: u32, from: &[u8]) {
    let n = usize::from(access.bytes);
    for (idx, row) in access.rows.iter().enumerate() {
        let value = element(access, &from[idx * n..(idx + 1) * n]);
        match *row {
            Row::Word(row) => u32::store(registers, row, mask, &[value as u32; LANES]),
            Row::Double(row) => u64::store(registers, row, mask, &[value; LANES]),
        }
    }
}

/// The same bytes into lanes side by side.
#[inline(always)]
pub(super) fn spread_row(
    registers: &mut Registers,
    access: &Access,
    lanes: Range<usize>,
    from: &[u8],
) {
    let n = usize::from(access.bytes);
    for (idx, row) in access.rows.iter().enumerate() {
        let value = element(access, &from[idx * n..(idx + 1) * n]);
        match *row {
            Row::Word(row) => registers.words[row as usize][lanes.clone()].fill(value as u32),
            Row::Double(row) => registers.doubles[row as usize][lanes.clone()].fill(value),
        }
    }
}

/// Bytes side by side into lanes side by side.
#[inline(always)]
pub(super) fn put_row(
    registers: &mut Registers,
    access: &Access,
    lanes: Range<usize>,
    from: &[u8],
) {
    let (n, all) = (usize::from(access.bytes), usize::from(access.bytes) * access.rows.len());
    for (idx, row) in access.rows.iter().enumerate() {
        match *row {
            Row::Word(row) => {
                let row = &mut registers.words[row as usize][lanes.clone()];
                let pieces = row.iter_mut().zip(from.chunks_exact(all));
                match n {
                    4 => pieces.for_each(|(to, from)| {
                        let at = idx * 4;
                        *to = u32::from_le_bytes([
                            from[at],
                            from[at + 1],
                            from[at + 2],
                            from[at + 3],
                        ]);
                    }),
                    2 if !access.is_signed => pieces.for_each(|(to, from)| {
                        *to = u16::from_le_bytes([from[idx * 2], from[idx * 2 + 1]]).into();
                    }),
                    _ => pieces.for_each(|(to, from)| {
                        *to = element(access, &from[idx * n..(idx + 1) * n]) as u32;
                    }),
                }
            }
            Row::Double(row) => {
                let row = &mut registers.doubles[row as usize][lanes.clone()];
                for (to, from) in row.iter_mut().zip(from.chunks_exact(all)) {
                    *to = element(access, &from[idx * n..(idx + 1) * n]);
                }
            }
        }
    }
}

/// A lane of registers into bytes.
#[inline(always)]
pub(super) fn get(registers: &Registers, access: &Access, lane: usize, to: &mut [u8]) {
    get_row(registers, access, lane..lane + 1, to);
}

/// Lanes side by side into bytes side by side.
#[inline(always)]
pub(super) fn get_row(registers: &Registers, access: &Access, lanes: Range<usize>, to: &mut [u8]) {
    let (n, all) = (usize::from(access.bytes), usize::from(access.bytes) * access.rows.len());
    for (idx, row) in access.rows.iter().enumerate() {
        match *row {
            Row::Word(row) => {
                let row = &registers.words[row as usize][lanes.clone()];
                let pieces = row.iter().zip(to.chunks_exact_mut(all));
                match n {
                    4 => pieces.for_each(|(from, to)| {
                        to[idx * 4..idx * 4 + 4].copy_from_slice(&from.to_le_bytes());
                    }),
                    2 => pieces.for_each(|(from, to)| {
                        to[idx * 2..idx * 2 + 2].copy_from_slice(&from.to_le_bytes()[..2]);
                    }),
                    // `st.b8`; no wider element comes from a register of 32 bits.
                    _ => pieces.for_each(|(from, to)| {
                        to[idx * n..(idx + 1) * n]
                            .copy_from_slice(&u64::from(*from).to_le_bytes()[..n]);
                    }),
                }
            }
            Row::Double(row) => {
                let row = &registers.doubles[row as usize][lanes.clone()];
                for (from, to) in row.iter().zip(to.chunks_exact_mut(all)) {
                    to[idx * n..(idx + 1) * n].copy_from_slice(&from.to_le_bytes()[..n]);
                }
            }
        }
    }
}
