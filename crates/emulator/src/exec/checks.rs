//! The checks of shared and global memory: bounds, alignment, unwritten bytes, races.

use super::block::Block;
use super::warp::{Outcome, Warp, problem};
use crate::faults::FaultKind;
use crate::memory::races::{Stamp, Touch};

/// A read or a write, in words.
pub(super) fn verb(touch: Touch) -> &'static str {
    match touch {
        Touch::Read | Touch::ReadOnly => "reads",
        Touch::Write => "writes",
        Touch::Atomic => "changes",
    }
}

impl Block<'_> {
    /// Checks an access to shared memory, and returns its offset.
    #[inline]
    pub(super) fn shared_access(
        &mut self,
        address: u64,
        bytes: usize,
        touch: Touch,
        lane: u32,
        warp: &Warp,
    ) -> Outcome<usize> {
        let size = self.shared.data.len();
        if address.checked_add(bytes as u64).is_none_or(|end| end > size as u64) {
            let message = format!(
                "{} {bytes} bytes at offset {} of {size} bytes of shared memory",
                verb(touch),
                address as i64
            );
            return problem(FaultKind::OutOfBounds, lane, message);
        }
        let at = address as usize;
        if !at.is_multiple_of(bytes) {
            return problem(
                FaultKind::Misaligned,
                lane,
                format!("{} {bytes} bytes at offset {at} of shared memory", verb(touch)),
            );
        }
        if touch == Touch::Write {
            self.shared.set_written(at, bytes);
        } else if !self.shared.is_written(at, bytes) {
            let message = format!(
                "{} {bytes} bytes at offset {at} of shared memory, which were never written, or by an asynchronous copy that is under way",
                verb(touch)
            );
            return problem(FaultKind::NeverWritten, lane, message);
        }
        let stamp = self.stamp(warp, lane);
        match self.shared.races.touch(
            self.number,
            at,
            bytes.trailing_zeros() as u8,
            touch,
            stamp,
            &self.order,
        ) {
            None => Ok(at),
            Some(other) => self.race(
                other,
                touch,
                lane,
                &format!("{bytes} bytes at offset {at} of shared memory"),
            ),
        }
    }

    /// Checks an access to global memory, and returns its allocation and offset.
    #[inline]
    pub(super) fn global_access(
        &mut self,
        address: u64,
        bytes: usize,
        touch: Touch,
        lane: u32,
        warp: &Warp,
    ) -> Outcome<(usize, usize)> {
        let found = self.memory.find(address);
        let (stamp, launch) = (self.stamp(warp, lane), self.launch);
        let Some(idx) = found else { return self.outside(address, bytes, touch, lane) };
        let it = self.memory.allocation(idx);
        if address < it.base || address - it.base + bytes as u64 > it.bytes {
            return self.outside(address, bytes, touch, lane);
        }
        let at = (address - it.base) as usize;
        if !at.is_multiple_of(bytes) {
            let near = self.memory.describe(address);
            return problem(
                FaultKind::Misaligned,
                lane,
                format!("{} {bytes} bytes of global memory at {near}", verb(touch)),
            );
        }
        if touch == Touch::Write {
            it.region.set_written(at, bytes);
        } else if !it.region.is_written(at, bytes) {
            let near = self.memory.describe(address);
            return problem(
                FaultKind::NeverWritten,
                lane,
                format!(
                    "{} {bytes} bytes of global memory that were never written: {near}",
                    verb(touch)
                ),
            );
        }
        it.touched |= if touch.is_read() { 1 } else { 2 };
        match it.region.races.touch(
            launch,
            at,
            bytes.trailing_zeros() as u8,
            touch,
            stamp,
            &self.order,
        ) {
            None => Ok((idx, at)),
            Some(other) => {
                let near = self.memory.describe(address);
                self.race(other, touch, lane, &format!("{bytes} bytes of global memory at {near}"))
            }
        }
    }

    #[inline(never)]
    pub(super) fn outside<T>(
        &self,
        address: u64,
        bytes: usize,
        touch: Touch,
        lane: u32,
    ) -> Outcome<T> {
        let message = format!(
            "{} {bytes} bytes of global memory at {address:#x}: {}",
            verb(touch),
            self.memory.describe(address)
        );
        problem(FaultKind::OutOfBounds, lane, message)
    }

    #[inline(never)]
    pub(super) fn race<T>(&self, other: Stamp, touch: Touch, lane: u32, what: &str) -> Outcome<T> {
        let name = self.name(other);
        if touch == Touch::ReadOnly {
            let message = format!(
                "reads {what} through the read-only cache (`ld.global.nc`), which {name} has written in this launch"
            );
            let kind = if self.is_own(other) { FaultKind::Race } else { FaultKind::BlockRace };
            return problem(kind, lane, message);
        }
        if self.is_own(other) {
            let message = format!(
                "{} {what}, which {name} touches too, with no barrier in between",
                verb(touch)
            );
            return problem(FaultKind::Race, lane, message);
        }
        problem(
            FaultKind::BlockRace,
            lane,
            format!("{} {what}, which {name} touches too in this launch", verb(touch)),
        )
    }

    /// Checks an access of `n` lanes side by side, from `lane` on, and returns the first one's offset.
    #[inline(always)]
    pub(super) fn shared_row(
        &mut self,
        address: u64,
        bytes: usize,
        touch: Touch,
        lane: u32,
        n: usize,
        warp: &Warp,
    ) -> Outcome<usize> {
        let (at, all) = (address as usize, n * bytes);
        let size = self.shared.data.len() as u64;
        let fits = address <= size && size - address >= all as u64 && at & (bytes - 1) == 0;
        if !fits || (touch.is_read() && !self.shared.is_written(at, all)) {
            return self.shared_each(address, bytes, touch, lane, n, warp);
        }
        if touch == Touch::Write {
            self.shared.set_written(at, all);
        }
        let (first, log2) = (self.stamp(warp, lane), bytes.trailing_zeros() as u8);
        let races = &mut self.shared.races;
        let race = races.touch_row(self.number, at, log2, n, touch, first, &self.order);
        match race {
            None => Ok(at),
            Some((thread, other)) => {
                let offset = at + thread as usize * bytes;
                self.race(
                    other,
                    touch,
                    lane + thread,
                    &format!("{bytes} bytes at offset {offset} of shared memory"),
                )
            }
        }
    }

    /// The same, one lane after the other, to find which is at fault.
    #[cold]
    #[inline(never)]
    fn shared_each(
        &mut self,
        address: u64,
        bytes: usize,
        touch: Touch,
        lane: u32,
        n: usize,
        warp: &Warp,
    ) -> Outcome<usize> {
        for idx in 0..n {
            let address = address.wrapping_add((idx * bytes) as u64);
            self.shared_access(address, bytes, touch, lane + idx as u32, warp)?;
        }
        Ok(address as usize)
    }

    /// The same in global memory; returns the allocation as well.
    #[inline(always)]
    pub(super) fn global_row(
        &mut self,
        address: u64,
        bytes: usize,
        touch: Touch,
        lane: u32,
        n: usize,
        warp: &Warp,
    ) -> Outcome<(usize, usize)> {
        let all = n * bytes;
        let (first, launch) = (self.stamp(warp, lane), self.launch);
        let Some(idx) = self.memory.find(address) else {
            return self.outside(address, bytes, touch, lane);
        };
        let it = self.memory.allocation(idx);
        let offset = address.wrapping_sub(it.base);
        let at = offset as usize;
        let fits = offset <= it.bytes && it.bytes - offset >= all as u64 && at & (bytes - 1) == 0;
        if !fits || (touch.is_read() && !it.region.is_written(at, all)) {
            return self.global_each(address, bytes, touch, lane, n, warp);
        }
        if touch == Touch::Write {
            it.region.set_written(at, all);
        }
        it.touched |= if touch.is_read() { 1 } else { 2 };
        let log2 = bytes.trailing_zeros() as u8;
        match it.region.races.touch_row(launch, at, log2, n, touch, first, &self.order) {
            None => Ok((idx, at)),
            Some((thread, other)) => {
                let near = self.memory.describe(address + u64::from(thread) * bytes as u64);
                self.race(
                    other,
                    touch,
                    lane + thread,
                    &format!("{bytes} bytes of global memory at {near}"),
                )
            }
        }
    }

    /// The same, one lane after the other, to find which is at fault.
    #[cold]
    #[inline(never)]
    fn global_each(
        &mut self,
        address: u64,
        bytes: usize,
        touch: Touch,
        lane: u32,
        n: usize,
        warp: &Warp,
    ) -> Outcome<(usize, usize)> {
        let found = self.global_access(address, bytes, touch, lane, warp)?;
        for idx in 1..n {
            let address = address.wrapping_add((idx * bytes) as u64);
            self.global_access(address, bytes, touch, lane + idx as u32, warp)?;
        }
        Ok(found)
    }
}
