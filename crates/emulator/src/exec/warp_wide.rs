//! Instructions in which the lanes of a warp exchange numbers: shuffles, votes, reductions.

use super::block::Block;
use super::instruction::{AtomicOperation, Shuffle, Step, Vote};
use super::registers::{LANES, Operands, store_bits};
use super::warp::{Outcome, Warp, lanes, problem};
use crate::faults::FaultKind;

impl Block<'_> {
    /// Whether all lanes of an instruction's mask are here; if not, the warp runs others first.
    pub(super) fn gather(
        &self,
        mask: u32,
        member_row: u32,
        warp: &mut Warp,
    ) -> Outcome<Option<u32>> {
        let row = &warp.registers.words[member_row as usize];
        let member = row[mask.trailing_zeros() as usize];
        for lane in lanes(mask) {
            if row[lane as usize] != member {
                return problem(
                    FaultKind::WarpSync,
                    lane,
                    "the lanes of a warp give different masks",
                );
            }
            if member >> lane & 1 == 0 {
                return problem(
                    FaultKind::WarpSync,
                    lane,
                    format!("the lane is not in the mask {member:#010x} that it gives"),
                );
            }
        }
        let missing = member & warp.live & !mask;
        if missing & warp.mask != 0 {
            let lane = (missing & warp.mask).trailing_zeros();
            return problem(
                FaultKind::WarpSync,
                lane,
                "the lane is in the mask, but its predicate keeps it from executing the instruction",
            );
        }
        if missing != 0 {
            warp.park()?;
            return Ok(None);
        }
        Ok(Some(member))
    }

    /// `__syncwarp`: orders the memory accesses of its lanes.
    pub(super) fn sync_warp(&mut self, o: &Operands, mask: u32, warp: &mut Warp) -> Outcome<bool> {
        let Some(member) = self.gather(mask, o.a, warp)? else { return Ok(false) };
        if self.order.is_exhausted() {
            return problem(
                FaultKind::Endless,
                mask.trailing_zeros(),
                "more barriers in a block than can be told apart",
            );
        }
        let whole = member & warp.live == warp.live;
        self.order.meet_lanes(warp.index, mask, whole);
        Ok(true)
    }

    /// Exchange between lanes. Row 0 of the predicates tells whether the source was in range.
    pub(super) fn shuffle(
        &mut self,
        mode: Shuffle,
        o: &Operands,
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<bool> {
        if self.gather(mask, o.e, warp)?.is_none() {
            return Ok(false);
        }
        let words = &warp.registers.words;
        let (a, b, c) = (words[o.a as usize], &words[o.b as usize], &words[o.c as usize]);
        let mut out = words[o.d as usize];
        let mut in_range = 0u32;
        for lane in lanes(mask) {
            let idx = lane as usize;
            let (by, clamp, segment) = (b[idx] & 31, c[idx] & 31, c[idx] >> 8 & 31);
            let first = lane & segment;
            let last = first | (clamp & !segment);
            let (source, fits) = match mode {
                Shuffle::Up => (lane.wrapping_sub(by), lane as i32 - by as i32 >= last as i32),
                Shuffle::Down => (lane + by, lane + by <= last),
                Shuffle::Butterfly => (lane ^ by, (lane ^ by) <= last),
                Shuffle::Index => (first | (by & !segment), (first | (by & !segment)) <= last),
            };
            let source = if fits { source } else { lane };
            if mask >> source & 1 == 0 {
                return problem(
                    FaultKind::WarpSync,
                    lane,
                    format!("reads lane {source} of its warp, which does not take part"),
                );
            }
            in_range |= u32::from(fits) << lane;
            out[idx] = a[source as usize];
        }
        warp.registers.words[o.d as usize] = out;
        warp.registers.bits[0] = in_range;
        Ok(true)
    }

    pub(super) fn vote(
        &mut self,
        mode: Vote,
        o: &Operands,
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<bool> {
        if self.gather(mask, o.b, warp)?.is_none() {
            return Ok(false);
        }
        let bits = warp.registers.bits[o.a as usize] & mask;
        let value = match mode {
            Vote::Ballot => {
                for lane in lanes(mask) {
                    warp.registers.words[o.d as usize][lane as usize] = bits;
                }
                return Ok(true);
            }
            Vote::All => bits == mask,
            Vote::Any => bits != 0,
            Vote::Uniform => bits == mask || bits == 0,
        };
        store_bits(&mut warp.registers, o.d, mask, if value { u32::MAX } else { 0 });
        Ok(true)
    }

    pub(super) fn reduce(
        &mut self,
        step: Step,
        o: &Operands,
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<bool> {
        if self.gather(mask, o.b, warp)?.is_none() {
            return Ok(false);
        }
        let a = warp.registers.words[o.a as usize];
        let mut out = [0; LANES];
        for lane in lanes(mask) {
            out[lane as usize] = match step {
                Step::Reduce(operation) => lanes(mask)
                    .map(|it| a[it as usize])
                    .reduce(|x, y| combine(operation, x, y))
                    .unwrap_or(0),
                // `match.any`: the lanes with the same value.
                _ => lanes(mask)
                    .filter(|it| a[*it as usize] == a[lane as usize])
                    .fold(0, |all, it| all | 1 << it),
            };
        }
        for lane in lanes(mask) {
            warp.registers.words[o.d as usize][lane as usize] = out[lane as usize];
        }
        Ok(true)
    }
}

fn combine(operation: AtomicOperation, x: u32, y: u32) -> u32 {
    super::atomic::apply(operation, x.into(), y.into(), 0, 32) as u32
}
