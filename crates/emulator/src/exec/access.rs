//! Loads and stores: which space, how the addresses of lanes lie, and what moves.

#![expect(clippy::needless_range_loop, reason = "a lane is an index into several arrays")]

use super::block::Block;
use super::decode::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use super::instruction::{Access, Row};
use super::registers::{ALL, LANES, Registers};
use super::transfer::{get, get_row, put, put_row, spread};
use super::warp::{Outcome, Warp, lanes, problem};
use crate::faults::FaultKind;
use crate::memory::races::Touch;
use crate::ptx::Space;

/// How the addresses of lanes lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pattern {
    /// All lanes, side by side.
    Row,
    /// All at one place.
    Same,
    Any,
}

fn pattern(addresses: &[u64; LANES], mask: u32, bytes: usize) -> Pattern {
    let first = addresses[mask.trailing_zeros() as usize];
    let (mut same, mut row) = (0, 0);
    for lane in 0..LANES {
        let differs = addresses[lane] ^ first;
        same |= if mask & (1 << lane) == 0 { 0 } else { differs };
        row |= addresses[lane] ^ first.wrapping_add((lane * bytes) as u64);
    }
    match () {
        () if same == 0 => Pattern::Same,
        () if row == 0 && mask == ALL => Pattern::Row,
        () => Pattern::Any,
    }
}
impl Block<'_> {
    pub(super) fn load(&mut self, access: &Access, mask: u32, warp: &mut Warp) -> Outcome<()> {
        let bytes = access.bytes as usize * access.rows.len();
        self.each_space(access, mask, warp, |block, space, addresses, mask, warp| match space {
            Space::Param => block.load_parameters(access, addresses, mask, warp),
            Space::Local => block.load_local(access, addresses, mask, warp),
            Space::Shared => {
                let pattern = pattern(addresses, mask, bytes);
                block.count_shared(
                    bytes as u64,
                    addresses,
                    mask,
                    Touch::Read,
                    pattern != Pattern::Any,
                );
                let first = mask.trailing_zeros();
                match pattern {
                    Pattern::Any => {
                        block.shared_lanes(access, addresses, bytes, Touch::Read, mask, warp)?
                    }
                    Pattern::Same => {
                        let address = addresses[first as usize];
                        // Two readers are all that is kept of them.
                        block.shared_access(
                            address,
                            bytes,
                            Touch::Read,
                            31 - mask.leading_zeros(),
                            warp,
                        )?;
                        let at = block.shared_access(address, bytes, Touch::Read, first, warp)?;
                        spread(
                            &mut warp.registers,
                            access,
                            mask,
                            &block.shared.data[at..at + bytes],
                        );
                    }
                    Pattern::Row => {
                        let at = block.shared_row(addresses[0], bytes, Touch::Read, warp)?;
                        put_row(
                            &mut warp.registers,
                            access,
                            &block.shared.data[at..at + LANES * bytes],
                        );
                    }
                }
                Ok(())
            }
            _ => {
                let touch = if access.is_read_only { Touch::ReadOnly } else { Touch::Read };
                let pattern = pattern(addresses, mask, bytes);
                let first = mask.trailing_zeros();
                match pattern {
                    Pattern::Any => {
                        block.count_sectors(bytes as u64, addresses, mask, touch);
                        block.global_lanes(access, addresses, bytes, touch, mask, warp)?;
                    }
                    Pattern::Same => {
                        let address = addresses[first as usize];
                        block.count_sector_row(
                            bytes as u64,
                            address,
                            u64::from(mask.count_ones()),
                            0,
                            touch,
                        );
                        block.global_access(
                            address,
                            bytes,
                            touch,
                            31 - mask.leading_zeros(),
                            warp,
                        )?;
                        let (idx, at) = block.global_access(address, bytes, touch, first, warp)?;
                        let region = &block.memory.allocation(idx).region;
                        spread(&mut warp.registers, access, mask, &region.data[at..at + bytes]);
                    }
                    Pattern::Row => {
                        let address = addresses[0];
                        block.count_sector_row(
                            bytes as u64,
                            address,
                            LANES as u64,
                            bytes as u64,
                            touch,
                        );
                        let (idx, at) = block.global_row(address, bytes, touch, warp)?;
                        let region = &block.memory.allocation(idx).region;
                        put_row(&mut warp.registers, access, &region.data[at..at + LANES * bytes]);
                    }
                }
                Ok(())
            }
        })
    }

    pub(super) fn store(&mut self, access: &Access, mask: u32, warp: &mut Warp) -> Outcome<()> {
        let bytes = access.bytes as usize * access.rows.len();
        self.each_space(access, mask, warp, |block, space, addresses, mask, warp| match space {
            Space::Param => problem(
                FaultKind::OutOfBounds,
                mask.trailing_zeros(),
                "a kernel's parameters cannot be written",
            ),
            Space::Local => block.store_local(access, addresses, mask, warp),
            Space::Shared => {
                let is_row = pattern(addresses, mask, bytes) == Pattern::Row;
                block.count_shared(bytes as u64, addresses, mask, Touch::Write, is_row);
                if is_row {
                    let at = block.shared_row(addresses[0], bytes, Touch::Write, warp)?;
                    get_row(
                        &warp.registers,
                        access,
                        &mut block.shared.data[at..at + LANES * bytes],
                    );
                    return Ok(());
                }
                block.shared_lanes(access, addresses, bytes, Touch::Write, mask, warp)
            }
            _ => {
                if pattern(addresses, mask, bytes) == Pattern::Row {
                    block.count_sector_row(
                        bytes as u64,
                        addresses[0],
                        LANES as u64,
                        bytes as u64,
                        Touch::Write,
                    );
                    let (idx, at) = block.global_row(addresses[0], bytes, Touch::Write, warp)?;
                    let region = &mut block.memory.allocation(idx).region;
                    get_row(&warp.registers, access, &mut region.data[at..at + LANES * bytes]);
                    return Ok(());
                }
                block.count_sectors(bytes as u64, addresses, mask, Touch::Write);
                block.global_lanes(access, addresses, bytes, Touch::Write, mask, warp)
            }
        })
    }

    /// Reads or writes shared memory, each lane where it wants.
    #[inline(always)]
    fn shared_lanes(
        &mut self,
        access: &Access,
        addresses: &[u64; LANES],
        bytes: usize,
        touch: Touch,
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        let (size, log2) = (self.shared.data.len() as u64, bytes.trailing_zeros() as u8);
        let first = self.stamp(warp, 0);
        for lane in lanes(mask) {
            let address = addresses[lane as usize];
            let at = address as usize;
            let fits = address <= size && address + bytes as u64 <= size && at & (bytes - 1) == 0;
            if !fits || (touch.is_read() && !self.shared.is_written(at, bytes)) {
                return self.shared_access(address, bytes, touch, lane, warp).map(|_| ());
            }
            if touch == Touch::Write {
                self.shared.set_written(at, bytes);
            }
            if let Some(other) = self.shared.races.touch(
                self.number,
                at,
                log2,
                touch,
                first.later(lane),
                &self.order,
            ) {
                return self.race(
                    other,
                    touch,
                    lane,
                    &format!("{bytes} bytes at offset {at} of shared memory"),
                );
            }
            if touch.is_read() {
                put(&mut warp.registers, access, lane as usize, &self.shared.data[at..at + bytes]);
            } else {
                get(&warp.registers, access, lane as usize, &mut self.shared.data[at..at + bytes]);
            }
        }
        Ok(())
    }

    /// Reads or writes global memory, each lane where it wants.
    #[inline(always)]
    fn global_lanes(
        &mut self,
        access: &Access,
        addresses: &[u64; LANES],
        bytes: usize,
        touch: Touch,
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        let log2 = bytes.trailing_zeros() as u8;
        let (first, launch) = (self.stamp(warp, 0), self.launch);
        let mut rest = mask;
        while rest != 0 {
            let start = addresses[rest.trailing_zeros() as usize];
            let Some(idx) = self.memory.find(start) else {
                return self.outside(start, bytes, touch, rest.trailing_zeros());
            };
            let it = self.memory.allocation(idx);
            it.touched |= if touch.is_read() { 1 } else { 2 };
            let (base, size) = (it.base, it.bytes);
            // The lanes that are in this allocation, up to the first that is not.
            while rest != 0 {
                let lane = rest.trailing_zeros();
                let address = addresses[lane as usize];
                let offset = address.wrapping_sub(base);
                if offset >= size || size - offset < bytes as u64 {
                    if address == start {
                        return self.outside(start, bytes, touch, lane);
                    }
                    break;
                }
                let at = offset as usize;
                if at & (bytes - 1) != 0 || (touch.is_read() && !it.region.is_written(at, bytes)) {
                    return self.global_access(address, bytes, touch, lane, warp).map(|_| ());
                }
                if touch == Touch::Write {
                    it.region.set_written(at, bytes);
                }
                if let Some(other) =
                    it.region.races.touch(launch, at, log2, touch, first.later(lane), &self.order)
                {
                    let near = self.memory.describe(address);
                    return self.race(
                        other,
                        touch,
                        lane,
                        &format!("{bytes} bytes of global memory at {near}"),
                    );
                }
                if touch.is_read() {
                    put(
                        &mut warp.registers,
                        access,
                        lane as usize,
                        &it.region.data[at..at + bytes],
                    );
                } else {
                    get(
                        &warp.registers,
                        access,
                        lane as usize,
                        &mut it.region.data[at..at + bytes],
                    );
                }
                rest &= rest - 1;
            }
        }
        Ok(())
    }

    /// Calls `f` with the space of an access and the addresses within it; generic addresses may be of several.
    pub(super) fn each_space(
        &mut self,
        access: &Access,
        mask: u32,
        warp: &mut Warp,
        mut f: impl FnMut(&mut Self, Space, &[u64; LANES], u32, &mut Warp) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut addresses = addresses(&warp.registers, access.base, access.offset);
        if access.space != Space::Generic {
            return f(self, access.space, &addresses, mask, warp);
        }
        let mut rest = mask;
        while rest != 0 {
            let (space, window) = space_of(addresses[rest.trailing_zeros() as usize]);
            let same = lanes(rest)
                .filter(|it| space_of(addresses[*it as usize]).0 == space)
                .fold(0, |all, it| all | 1 << it);
            for lane in lanes(same) {
                addresses[lane as usize] -= window;
            }
            f(self, space, &addresses, same, warp)?;
            rest &= !same;
        }
        Ok(())
    }
}

/// The addresses of all lanes.
pub(super) fn addresses(registers: &Registers, base: Option<Row>, offset: i64) -> [u64; LANES] {
    let mut addresses = [offset as u64; LANES];
    match base {
        None => {}
        Some(Row::Double(row)) => {
            let row = &registers.doubles[row as usize];
            for lane in 0..LANES {
                addresses[lane] = addresses[lane].wrapping_add(row[lane]);
            }
        }
        Some(Row::Word(row)) => {
            let row = &registers.words[row as usize];
            for lane in 0..LANES {
                addresses[lane] = u64::from(row[lane].wrapping_add(offset as u32));
            }
        }
    }
    addresses
}
/// The space of a generic address, and where its window begins.
fn space_of(address: u64) -> (Space, u64) {
    let window = address >> 32 << 32;
    match window {
        LOCAL_WINDOW => (Space::Local, window),
        SHARED_WINDOW => (Space::Shared, window),
        PARAM_WINDOW => (Space::Param, window),
        _ => (Space::Global, 0),
    }
}
