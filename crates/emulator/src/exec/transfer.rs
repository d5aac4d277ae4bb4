//! Between memory and registers: bytes of a lane, or of all lanes side by side.

#![expect(clippy::needless_range_loop, reason = "a lane is an index into several arrays")]

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

/// Bytes side by side into all lanes.
pub(super) fn put_row(registers: &mut Registers, access: &Access, from: &[u8]) {
    let (n, n_rows) = (usize::from(access.bytes), access.rows.len());
    for (idx, row) in access.rows.iter().enumerate() {
        match (*row, n) {
            (Row::Word(row), 4) => {
                let row = &mut registers.words[row as usize];
                for lane in 0..LANES {
                    let at = (lane * n_rows + idx) * 4;
                    row[lane] =
                        u32::from_le_bytes([from[at], from[at + 1], from[at + 2], from[at + 3]]);
                }
            }
            (row, _) => {
                for lane in 0..LANES {
                    let at = (lane * n_rows + idx) * n;
                    let value = element(access, &from[at..at + n]);
                    match row {
                        Row::Word(row) => registers.words[row as usize][lane] = value as u32,
                        Row::Double(row) => registers.doubles[row as usize][lane] = value,
                    }
                }
            }
        }
    }
}

/// A lane of registers into bytes.
#[inline(always)]
pub(super) fn get(registers: &Registers, access: &Access, lane: usize, to: &mut [u8]) {
    let n = usize::from(access.bytes);
    for (idx, row) in access.rows.iter().enumerate() {
        let to = &mut to[idx * n..(idx + 1) * n];
        match (*row, n) {
            (Row::Word(row), 4) => {
                to.copy_from_slice(&registers.words[row as usize][lane].to_le_bytes())
            }
            (Row::Word(row), 2) => {
                to.copy_from_slice(&(registers.words[row as usize][lane] as u16).to_le_bytes())
            }
            (Row::Word(row), _) => to.copy_from_slice(
                &u64::from(registers.words[row as usize][lane]).to_le_bytes()[..n],
            ),
            (Row::Double(row), _) => {
                to.copy_from_slice(&registers.doubles[row as usize][lane].to_le_bytes()[..n])
            }
        }
    }
}

/// All lanes into bytes side by side.
pub(super) fn get_row(registers: &Registers, access: &Access, to: &mut [u8]) {
    let bytes = usize::from(access.bytes) * access.rows.len();
    for (lane, to) in to.chunks_exact_mut(bytes).enumerate() {
        get(registers, access, lane, to);
    }
}
