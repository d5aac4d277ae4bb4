//! `cp.async`: copies from global to shared memory that are under way until they are waited for.
//!
//! The bytes arrive when the thread waits. Until then their place in shared memory counts as never written, so that a
//! read without a wait is a fault; a read by another thread without a barrier after the wait is a race.

use super::access::addresses;
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
        let mut reading = 0;
        for lane in lanes(mask) {
            let idx = lane as usize;
            let valid = access
                .source_bytes
                .map_or(access.bytes.into(), |row| warp.registers.words[row as usize][idx]);
            if valid > access.bytes.into() {
                return problem(
                    FaultKind::Value,
                    lane,
                    format!("copies {valid} of {} bytes", access.bytes),
                );
            }
            let bytes = usize::from(access.bytes);
            let at = self.shared_access(to[idx], bytes, Touch::Write, lane, warp)?;
            self.shared.forget(at, bytes);
            if valid != 0 {
                reading |= 1 << lane;
                if !from[idx].is_multiple_of(bytes as u64) {
                    return problem(
                        FaultKind::Misaligned,
                        lane,
                        format!("copies {bytes} bytes from {}", self.memory.describe(from[idx])),
                    );
                }
                self.read_valid(from[idx], valid as usize, lane, warp)?;
            }
            warp.open_group.push(Copy {
                lane,
                to: at,
                from: from[idx],
                bytes: access.bytes,
                valid: valid as u8,
            });
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
        warp: &Warp,
    ) -> Outcome<(usize, usize)> {
        if valid.is_power_of_two() {
            return self.global_access(from, valid, Touch::Read, lane, warp);
        }
        let first = self.global_access(from, 1, Touch::Read, lane, warp)?;
        for offset in 1..valid {
            self.global_access(from + offset as u64, 1, Touch::Read, lane, warp)?;
        }
        Ok(first)
    }

    /// Ends the group of copies.
    pub(super) fn commit(&mut self, warp: &mut Warp) {
        let group = std::mem::take(&mut warp.open_group);
        warp.groups.push(group);
    }

    /// Lets copies arrive until at most `n` groups are under way.
    pub(super) fn wait(&mut self, n: u32, warp: &mut Warp) -> Outcome<()> {
        let n_done = warp.groups.len().saturating_sub(n as usize);
        let done: Vec<Vec<Copy>> = warp.groups.drain(..n_done).collect();
        for copy in done.into_iter().flatten() {
            let (bytes, valid) = (usize::from(copy.bytes), usize::from(copy.valid));
            let mut buffer = [0; 16];
            if valid != 0 {
                let (idx, at) = self.read_valid(copy.from, valid, copy.lane, warp)?;
                buffer[..valid]
                    .copy_from_slice(&self.memory.allocation(idx).region.data[at..at + valid]);
            }
            let at = self.shared_access(copy.to as u64, bytes, Touch::Write, copy.lane, warp)?;
            self.shared.data[at..at + bytes].copy_from_slice(&buffer[..bytes]);
        }
        Ok(())
    }
}
