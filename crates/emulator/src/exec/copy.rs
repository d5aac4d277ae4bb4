//! `cp.async`: copies from global to shared memory that are under way until they are waited for.
//!
//! The bytes arrive when the thread waits. Until then their place in shared memory counts as never written, so that a
//! read without a wait is a fault; a read by another thread without a barrier after the wait is a race.

use super::access::{Pattern, addresses};
use super::block::Block;
use super::instruction::Access;
use super::warp::{Copy, Outcome, Warp, lanes, problem};
use crate::faults::FaultKind;
use crate::memory::races::Touch;

impl Block<'_> {
    pub(super) fn copy_async(
        &mut self,
        access: &Access,
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        let Some((base, offset)) = access.source else { return Ok(()) };
        let to = addresses(&warp.registers, access.base, access.offset);
        let from = addresses(&warp.registers, Some(base), offset);
        self.count_shared(access.bytes.into(), &to, mask, Touch::Write, false);
        let bytes = usize::from(access.bytes);
        let (mut reading, mut whole) = (0, 0);
        for lane in lanes(mask) {
            let valid = valid_of(access, lane, warp);
            if valid > access.bytes.into() {
                return problem(FaultKind::Value, lane, format!("copies {valid} of {bytes} bytes"));
            }
            reading |= u32::from(valid != 0) << lane;
            whole |= u32::from(valid as usize == bytes) << lane;
        }
        let before =
            Pattern::of(&to, whole, bytes).before & Pattern::of(&from, whole, bytes).before;
        let mut rest = mask;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            let n = (before >> lane).trailing_ones() as usize + 1;
            let (to, from) = (to[lane as usize], from[lane as usize]);
            let valid = valid_of(access, lane, warp) as u8;
            let at = self.shared_row(to, bytes, Touch::Write, lane, n, warp)?;
            self.shared.forget(at, n * bytes);
            if valid != 0 {
                if !from.is_multiple_of(bytes as u64) {
                    return problem(
                        FaultKind::Misaligned,
                        lane,
                        format!("copies {bytes} bytes from {}", self.memory.describe(from)),
                    );
                }
                self.read_valid(from, valid.into(), lane, n, warp)?;
            }
            warp.open_group.push(Copy { lane, n, to: at, from, bytes: access.bytes, valid });
            rest &= (u64::MAX << (lane as usize + n)) as u32;
        }
        self.count_sectors(access.bytes.into(), &from, reading, Touch::Read);
        Ok(())
    }

    /// Checks a read whose size may be no power of two, in pieces, and returns the first one's place.
    fn read_valid(
        &mut self,
        from: u64,
        valid: usize,
        lane: u32,
        n: usize,
        warp: &Warp,
    ) -> Outcome<(usize, usize)> {
        if valid.is_power_of_two() {
            return self.global_row(from, valid, Touch::Read, lane, n, warp);
        }
        let first = self.global_access(from, 1, Touch::Read, lane, warp)?;
        for offset in 1..valid {
            self.global_access(from + offset as u64, 1, Touch::Read, lane, warp)?;
        }
        Ok(first)
    }

    /// Ends the group of copies.
    pub(super) fn commit(&mut self, warp: &mut Warp) {
        let next = warp.spare_groups.pop().unwrap_or_default();
        let group = std::mem::replace(&mut warp.open_group, next);
        warp.groups.push(group);
    }

    /// Lets copies arrive until at most `n` groups are under way.
    pub(super) fn wait(&mut self, n: u32, warp: &mut Warp) -> Outcome<()> {
        let n_done = warp.groups.len().saturating_sub(n as usize);
        for _ in 0..n_done {
            let mut group = warp.groups.remove(0);
            for copy in &group {
                self.arrive_copy(copy, warp)?;
            }
            group.clear();
            warp.spare_groups.push(group);
        }
        Ok(())
    }

    fn arrive_copy(&mut self, copy: &Copy, warp: &Warp) -> Outcome<()> {
        let Copy { lane, n, to, from, .. } = *copy;
        let (bytes, valid) = (usize::from(copy.bytes), usize::from(copy.valid));
        let source = match valid {
            0 => None,
            _ => Some(self.read_valid(from, valid, lane, n, warp)?),
        };
        let at = self.shared_row(to as u64, bytes, Touch::Write, lane, n, warp)?;
        let to = &mut self.shared.data[at..at + n * bytes];
        // Several lanes copy all their bytes, one lane perhaps fewer.
        let n_copied = if n > 1 { n * bytes } else { valid };
        if let Some((idx, at)) = source {
            let from = &self.memory.allocation(idx).region.data[at..at + n_copied];
            to[..n_copied].copy_from_slice(from);
        }
        to[n_copied..].fill(0);
        Ok(())
    }
}

/// The bytes that a lane copies; the others are zeros.
fn valid_of(access: &Access, lane: u32, warp: &Warp) -> u32 {
    let row = access.source_bytes.map(|it| &warp.registers.words[it as usize]);
    row.map_or(access.bytes.into(), |it| it[lane as usize])
}
