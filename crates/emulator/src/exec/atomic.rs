//! Atomic operations on integers, lane after lane.

use super::block::Block;
use super::checks::verb;
use super::instruction::{Access, AtomicOperation, Row};
use super::warp::{Outcome, Warp, lanes, problem};
use crate::faults::FaultKind;
use crate::memory::races::Touch;
use crate::ptx::Space;

impl Block<'_> {
    pub(super) fn atomic(&mut self, access: &Access, mask: u32, warp: &mut Warp) -> Outcome<()> {
        let Some(operation) = access.operation else { return Ok(()) };
        let bytes = usize::from(access.bytes);
        self.counts.atomics += u64::from(mask.count_ones());
        self.each_space(access, mask, warp, |block, space, addresses, mask, warp| {
            match space {
                Space::Shared => {}
                Space::Global => block.count_sectors(bytes as u64, addresses, mask, Touch::Atomic),
                other => {
                    return problem(
                        FaultKind::OutOfBounds,
                        mask.trailing_zeros(),
                        format!("{} {other:?} memory atomically", verb(Touch::Atomic)),
                    );
                }
            }
            for lane in lanes(mask) {
                let address = addresses[lane as usize];
                let read = |row: Row| match row {
                    Row::Word(row) => warp.registers.words[row as usize][lane as usize].into(),
                    Row::Double(row) => warp.registers.doubles[row as usize][lane as usize],
                };
                let (b, c) = (read(access.rows[0]), read(access.rows[access.rows.len() - 2]));
                let data = if space == Space::Shared {
                    let at = block.shared_access(address, bytes, Touch::Atomic, lane, warp)?;
                    &mut block.shared.data[at..at + bytes]
                } else {
                    let (idx, at) =
                        block.global_access(address, bytes, Touch::Atomic, lane, warp)?;
                    &mut block.memory.allocation(idx).region.data[at..at + bytes]
                };
                let mut old = [0; 8];
                old[..bytes].copy_from_slice(data);
                let old = u64::from_le_bytes(old);
                data.copy_from_slice(
                    &apply(operation, old, b, c, 8 * u32::from(access.bytes)).to_le_bytes()
                        [..bytes],
                );
                match access.rows[access.rows.len() - 1] {
                    Row::Word(row) => {
                        warp.registers.words[row as usize][lane as usize] = old as u32
                    }
                    Row::Double(row) => warp.registers.doubles[row as usize][lane as usize] = old,
                }
            }
            Ok(())
        })
    }
}

/// The new value of a memory cell.
pub(super) fn apply(operation: AtomicOperation, old: u64, b: u64, c: u64, bits: u32) -> u64 {
    let unused = 64 - bits;
    let signed = |x: u64| (x << unused) as i64 >> unused;
    let by = |chooses_b: bool| if chooses_b { b } else { old };
    match operation {
        AtomicOperation::Add => old.wrapping_add(b),
        AtomicOperation::MinUnsigned => old.min(b),
        AtomicOperation::MaxUnsigned => old.max(b),
        AtomicOperation::MinSigned => by(signed(b) < signed(old)),
        AtomicOperation::MaxSigned => by(signed(b) > signed(old)),
        AtomicOperation::And => old & b,
        AtomicOperation::Or => old | b,
        AtomicOperation::Xor => old ^ b,
        AtomicOperation::Exchange => b,
        AtomicOperation::CompareAndSwap => {
            if old == b {
                c
            } else {
                old
            }
        }
        AtomicOperation::Increment => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOperation::Decrement => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
    }
}
