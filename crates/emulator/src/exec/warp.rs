//! A warp: 32 lanes that execute one instruction together, and part at branches.
//!
//! The lanes with the lowest position run first; where they reach lanes that wait, they run on together. So lanes
//! of structured code meet again at the end of each branch and loop.

use super::instruction::Barrier;
use super::registers::{LANES, Registers};
use crate::faults::FaultKind;
use crate::memory::region::Region;

const NOWHERE: u32 = u32::MAX;

/// What went wrong, and in which lane.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) kind: FaultKind,
    pub(crate) message: String,
    pub(crate) lane: u32,
}

pub(crate) type Outcome<T> = Result<T, Box<Problem>>;

pub(crate) fn problem<T>(kind: FaultKind, lane: u32, message: impl Into<String>) -> Outcome<T> {
    Err(Box::new(Problem { kind, message: message.into(), lane }))
}

/// What a warp waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    Running,
    /// At a barrier: its number, its threads, and what it is.
    Waiting(Barrier),
    Done,
}

/// An asynchronous copy under way, of lanes side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy {
    pub(crate) lane: u32,
    /// How many lanes; several copy all their bytes.
    pub(crate) n: usize,
    pub(crate) to: usize,
    pub(crate) from: u64,
    pub(crate) bytes: u8,
    /// The bytes that are copied; the others are zeros.
    pub(crate) valid: u8,
}

/// The state of a warp.
pub(crate) struct Warp {
    pub(crate) registers: Registers,
    /// Its number within the block.
    pub(crate) index: usize,
    /// The position of the running lanes.
    pub(crate) pc: u32,
    /// The running lanes.
    pub(crate) mask: u32,
    /// The lanes that have not left the kernel.
    pub(crate) live: u32,
    /// The lanes that there were.
    pub(crate) all: u32,
    pub(crate) state: State,
    /// Local memory, lane after lane.
    pub(crate) local: Region,
    pub(crate) groups: Vec<Vec<Copy>>,
    pub(crate) open_group: Vec<Copy>,
    /// Groups that have arrived, for the next ones.
    pub(crate) spare_groups: Vec<Vec<Copy>>,
    pub(crate) steps: u64,
    /// Where lanes that do not run are.
    at: [u32; LANES],
    waiting: u32,
    /// Of these, the lanes that cannot run before others arrive.
    parked: u32,
    /// The next position at which lanes wait.
    merge_at: u32,
}

impl Warp {
    pub(crate) fn new(index: usize, registers: Registers, local_bytes: usize) -> Self {
        Self {
            registers,
            index,
            pc: 0,
            mask: 0,
            live: 0,
            all: 0,
            state: State::Running,
            local: Region::new(local_bytes * LANES),
            groups: Vec::new(),
            open_group: Vec::new(),
            spare_groups: Vec::new(),
            steps: 0,
            at: [0; LANES],
            waiting: 0,
            parked: 0,
            merge_at: NOWHERE,
        }
    }

    /// To the kernel's first instruction.
    pub(crate) fn restart(&mut self, lanes: u32) {
        (self.pc, self.mask, self.live, self.all) = (0, lanes, lanes, lanes);
        (self.waiting, self.parked, self.merge_at) = (0, 0, NOWHERE);
        self.state = State::Running;
        self.local.clear();
        self.groups.clear();
        self.open_group.clear();
        self.steps = 0;
    }

    /// Joins lanes that wait here.
    #[inline]
    pub(crate) fn meet(&mut self) {
        if self.pc == self.merge_at {
            self.merge();
        }
    }

    #[inline(never)]
    fn merge(&mut self) {
        for lane in lanes(self.waiting) {
            if self.at[lane as usize] == self.pc {
                self.mask |= 1 << lane;
            }
        }
        self.waiting &= !self.mask;
        self.parked &= !self.mask;
        self.find_merge();
    }

    fn find_merge(&mut self) {
        let next =
            lanes(self.waiting).map(|it| self.at[it as usize]).filter(|it| *it >= self.pc).min();
        self.merge_at = next.unwrap_or(NOWHERE);
    }

    /// Lanes of `taken` go to `target`, the other running ones to the next instruction. Whether they part.
    #[inline]
    pub(crate) fn branch(&mut self, taken: u32, target: u32) -> bool {
        if taken == self.mask {
            self.pc = target;
            if self.waiting != 0 {
                self.schedule();
            }
            return false;
        }
        if taken == 0 {
            self.pc += 1;
            return false;
        }
        for lane in lanes(taken) {
            self.at[lane as usize] = target;
        }
        self.waiting |= taken;
        self.mask &= !taken;
        self.pc += 1;
        self.schedule();
        true
    }

    /// Each lane of `taken` goes to a position of its own.
    pub(crate) fn branch_each(&mut self, taken: u32, target: impl Fn(u32) -> u32) {
        self.pc += 1;
        for lane in lanes(taken) {
            self.at[lane as usize] = target(lane);
        }
        self.waiting |= taken;
        self.mask &= !taken;
        if self.mask == 0 {
            // The position is none that lanes wait at, so that the lowest of them runs.
            self.pc = NOWHERE;
        }
        self.schedule();
    }

    /// Lanes leave the kernel.
    pub(crate) fn exit(&mut self, lanes: u32) -> Outcome<()> {
        self.live &= !lanes;
        self.mask &= !lanes;
        if self.mask != 0 {
            self.pc += 1;
            return Ok(());
        }
        if self.live == 0 {
            self.state = State::Done;
            return Ok(());
        }
        // Lanes that waited for those that left may run now.
        self.parked = 0;
        self.switch()
    }

    /// The running lanes wait for others before they can execute their instruction.
    pub(crate) fn park(&mut self) -> Outcome<()> {
        for lane in lanes(self.mask) {
            self.at[lane as usize] = self.pc;
        }
        self.waiting |= self.mask;
        self.parked |= self.mask;
        self.switch()
    }

    /// The running lanes go on only if none is behind them.
    fn schedule(&mut self) {
        let able = self.waiting & !self.parked;
        let lowest = lanes(able).map(|it| self.at[it as usize]).min().unwrap_or(NOWHERE);
        if lowest < self.pc {
            for lane in lanes(self.mask) {
                self.at[lane as usize] = self.pc;
            }
            self.waiting |= self.mask;
            self.take(lowest);
        }
        self.find_merge();
    }

    fn take(&mut self, position: u32) {
        self.mask = lanes(self.waiting)
            .filter(|it| self.at[*it as usize] == position)
            .fold(0, |all, it| all | 1 << it);
        self.waiting &= !self.mask;
        self.parked &= !self.mask;
        self.pc = position;
    }

    fn switch(&mut self) -> Outcome<()> {
        let able = self.waiting & !self.parked;
        match lanes(able).map(|it| self.at[it as usize]).min() {
            Some(lowest) => {
                self.take(lowest);
                self.find_merge();
                Ok(())
            }
            None => problem(
                FaultKind::WarpSync,
                self.waiting.trailing_zeros(),
                "lanes wait at instructions of a warp (`.sync`) that the other lanes of their masks do not reach",
            ),
        }
    }
}

/// The lanes of a mask.
#[derive(Clone, Copy)]
pub(crate) struct LanesOf(u32);

impl Iterator for LanesOf {
    type Item = u32;

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let lane = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(lane)
    }
}

/// The lanes of a mask.
#[inline(always)]
pub(crate) fn lanes(mask: u32) -> LanesOf {
    LanesOf(mask)
}
