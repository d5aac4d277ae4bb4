//! Loads and stores: which space, how the addresses of lanes lie, and what moves.

use std::ops::Range;

use super::block::Block;
use super::decode::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use super::instruction::{Access, Row};
use super::registers::{LANES, Registers, has_wide};
use super::transfer::{get_row, put_row, spread, spread_row};
use super::warp::{Outcome, Warp, lanes, problem};
use crate::faults::FaultKind;
use crate::memory::races::Touch;
use crate::ptx::Space;

/// How the addresses of lanes lie.
pub(super) struct Pattern {
    /// Whether all are the same.
    is_same: bool,
    /// The lanes whose next one's bytes lie behind theirs.
    pub(super) before: u32,
    /// The lanes whose next one's bytes are theirs.
    with: u32,
}

/// Lanes whose bytes lie side by side, or are the same.
struct Stretch {
    lane: usize,
    n: usize,
    is_row: bool,
}

impl Pattern {
    #[inline(always)]
    pub(super) fn of(addresses: &[u64; LANES], mask: u32, bytes: usize) -> Pattern {
        let first = addresses[mask.trailing_zeros() as usize % LANES];
        let mut differs = [0u32; LANES];
        let (mut before, mut with) = ([0u32; LANES], [0u32; LANES]);
        for lane in 0..LANES {
            differs[lane] = u32::from(addresses[lane] != first) << lane;
        }
        for lane in 0..LANES - 1 {
            let step = addresses[lane + 1].wrapping_sub(addresses[lane]);
            before[lane] = u32::from(step == bytes as u64) << lane;
            with[lane] = u32::from(step == 0) << lane;
        }
        let any = |all: [u32; LANES]| all.into_iter().fold(0, |all, it| all | it);
        let pairs = mask & mask >> 1;
        Pattern {
            is_same: any(differs) & mask == 0,
            before: any(before) & pairs,
            with: any(with) & pairs,
        }
    }

    /// Whether all lanes lie side by side.
    #[inline(always)]
    fn is_row(&self) -> bool {
        self.before == u32::MAX >> 1
    }

    /// The lanes from the first of `rest` on.
    ///
    /// - `may_share`: whether lanes with the same bytes are taken together.
    #[inline(always)]
    fn stretch(&self, rest: u32, may_share: bool) -> Stretch {
        let lane = rest.trailing_zeros();
        let n = (self.before >> lane).trailing_ones();
        if n == 0 && may_share {
            let n = (self.with >> lane).trailing_ones() as usize + 1;
            return Stretch { lane: lane as usize, n, is_row: false };
        }
        Stretch { lane: lane as usize, n: n as usize + 1, is_row: true }
    }
}

impl Stretch {
    #[inline(always)]
    fn lanes(&self) -> Range<usize> {
        self.lane..self.lane + self.n
    }

    /// Lanes without these, which are the first.
    #[inline(always)]
    fn take_from(&self, rest: u32) -> u32 {
        rest & ((u64::MAX << (self.lane + self.n)) as u32)
    }
}

impl Block<'_> {
    pub(super) fn load(&mut self, access: &Access, mask: u32, warp: &mut Warp) -> Outcome<()> {
        self.transfer::<false>(access, mask, warp)
    }

    pub(super) fn store(&mut self, access: &Access, mask: u32, warp: &mut Warp) -> Outcome<()> {
        self.transfer::<true>(access, mask, warp)
    }

    fn transfer<const STORES: bool>(
        &mut self,
        access: &Access,
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        self.each_space(access, mask, warp, |block, space, addresses, mask, warp| {
            #[cfg(target_arch = "x86_64")]
            if has_wide() {
                // SAFETY: the machine has these instructions.
                #[expect(unsafe_code, reason = "compiled for the machine's instructions")]
                return unsafe {
                    block.transfer_wide::<STORES>(access, space, addresses, mask, warp)
                };
            }
            block.transfer_here::<STORES>(access, space, addresses, mask, warp)
        })
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(never)]
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn transfer_wide<const STORES: bool>(
        &mut self,
        access: &Access,
        space: Space,
        addresses: &[u64; LANES],
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        self.transfer_here::<STORES>(access, space, addresses, mask, warp)
    }

    #[inline(always)]
    fn transfer_here<const STORES: bool>(
        &mut self,
        access: &Access,
        space: Space,
        addresses: &[u64; LANES],
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        match STORES {
            true => self.store_here(access, space, addresses, mask, warp),
            false => self.load_here(access, space, addresses, mask, warp),
        }
    }

    #[inline(always)]
    fn load_here(
        &mut self,
        access: &Access,
        space: Space,
        addresses: &[u64; LANES],
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        let bytes = access.bytes as usize * access.rows.len();
        match space {
            Space::Param => self.load_parameters(access, addresses, mask, warp),
            Space::Local => self.load_local(access, addresses, mask, warp),
            Space::Shared => self.load_shared(access, addresses, bytes, mask, warp),
            _ => self.load_global(access, addresses, bytes, mask, warp),
        }
    }

    #[inline(always)]
    fn load_shared(
        &mut self,
        access: &Access,
        addresses: &[u64; LANES],
        bytes: usize,
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        let pattern = Pattern::of(addresses, mask, bytes);
        let is_regular = pattern.is_same || pattern.is_row();
        self.count_shared(bytes as u64, addresses, mask, Touch::Read, is_regular);
        if pattern.is_same {
            let (first, last) = (mask.trailing_zeros(), 31 - mask.leading_zeros());
            let address = addresses[first as usize];
            // Two readers are all that is kept of them.
            let at = self.shared_row(address, bytes, Touch::Read, first, 1, warp)?;
            self.shared_row(address, bytes, Touch::Read, last, 1, warp)?;
            spread(&mut warp.registers, access, mask, &self.shared.data[at..at + bytes]);
            return Ok(());
        }
        let mut rest = mask;
        while rest != 0 {
            let it = pattern.stretch(rest, true);
            let (address, n) = (addresses[it.lane], if it.is_row { it.n } else { 1 });
            let at = self.shared_row(address, bytes, Touch::Read, it.lane as u32, n, warp)?;
            let from = at..at + n * bytes;
            if it.is_row {
                put_row(&mut warp.registers, access, it.lanes(), &self.shared.data[from]);
            } else {
                let last = (it.lane + it.n - 1) as u32;
                self.shared_row(address, bytes, Touch::Read, last, 1, warp)?;
                spread_row(&mut warp.registers, access, it.lanes(), &self.shared.data[from]);
            }
            rest = it.take_from(rest);
        }
        Ok(())
    }

    #[inline(always)]
    fn load_global(
        &mut self,
        access: &Access,
        addresses: &[u64; LANES],
        bytes: usize,
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        let touch = if access.is_read_only { Touch::ReadOnly } else { Touch::Read };
        let pattern = Pattern::of(addresses, mask, bytes);
        if pattern.is_same {
            let (first, last) = (mask.trailing_zeros(), 31 - mask.leading_zeros());
            let (address, n) = (addresses[first as usize], u64::from(mask.count_ones()));
            self.count_sector_row(bytes as u64, address, n, 0, touch);
            self.global_row(address, bytes, touch, first, 1, warp)?;
            let (idx, at) = self.global_row(address, bytes, touch, last, 1, warp)?;
            let from = &self.memory.allocation(idx).region.data[at..at + bytes];
            spread(&mut warp.registers, access, mask, from);
            return Ok(());
        }
        self.count_global(addresses, bytes, mask, touch, &pattern);
        let mut rest = mask;
        while rest != 0 {
            let it = pattern.stretch(rest, true);
            let (address, n) = (addresses[it.lane], if it.is_row { it.n } else { 1 });
            if !it.is_row {
                let last = (it.lane + it.n - 1) as u32;
                self.global_row(address, bytes, touch, last, 1, warp)?;
            }
            let (idx, at) = self.global_row(address, bytes, touch, it.lane as u32, n, warp)?;
            let from = &self.memory.allocation(idx).region.data[at..at + n * bytes];
            if it.is_row {
                put_row(&mut warp.registers, access, it.lanes(), from);
            } else {
                spread_row(&mut warp.registers, access, it.lanes(), from);
            }
            rest = it.take_from(rest);
        }
        Ok(())
    }

    #[inline(always)]
    fn count_global(
        &mut self,
        addresses: &[u64; LANES],
        bytes: usize,
        mask: u32,
        touch: Touch,
        pattern: &Pattern,
    ) {
        if pattern.is_row() {
            let n = LANES as u64;
            self.count_sector_row(bytes as u64, addresses[0], n, bytes as u64, touch);
        } else {
            self.count_sectors(bytes as u64, addresses, mask, touch);
        }
    }

    #[inline(always)]
    fn store_here(
        &mut self,
        access: &Access,
        space: Space,
        addresses: &[u64; LANES],
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        let bytes = access.bytes as usize * access.rows.len();
        if space == Space::Param {
            let why = "a kernel's parameters cannot be written";
            return problem(FaultKind::OutOfBounds, mask.trailing_zeros(), why);
        }
        if space == Space::Local {
            return self.store_local(access, addresses, mask, warp);
        }
        let is_shared = space == Space::Shared;
        let pattern = Pattern::of(addresses, mask, bytes);
        if is_shared {
            self.count_shared(bytes as u64, addresses, mask, Touch::Write, pattern.is_row());
        } else {
            self.count_global(addresses, bytes, mask, Touch::Write, &pattern);
        }
        let mut rest = mask;
        while rest != 0 {
            let it = pattern.stretch(rest, false);
            let (address, lane, n) = (addresses[it.lane], it.lane as u32, it.n);
            let to = if is_shared {
                let at = self.shared_row(address, bytes, Touch::Write, lane, n, warp)?;
                &mut self.shared.data[at..at + n * bytes]
            } else {
                let (idx, at) = self.global_row(address, bytes, Touch::Write, lane, n, warp)?;
                &mut self.memory.allocation(idx).region.data[at..at + n * bytes]
            };
            get_row(&warp.registers, access, it.lanes(), to);
            rest = it.take_from(rest);
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
