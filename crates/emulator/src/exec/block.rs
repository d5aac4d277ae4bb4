//! A block: its warps one after the other, each up to a barrier or its end.

use super::instruction::{ALWAYS, Barrier, Code, Reduction, Special, Step};
use super::registers::{LANES, Registers, has_wide};
use super::warp::{Outcome, Problem, State, Warp, problem};
use crate::counts::Counts;
use crate::faults::FaultKind;
use crate::memory::Memory;
use crate::memory::races::{Order, Stamp};
use crate::memory::region::Region;

/// The most instructions of a warp.
const MAX_STEPS: u64 = 1 << 26;
/// Barriers are numbered up to this.
const BARRIERS: usize = 16;

/// What the warps of a block share.
pub(crate) struct Block<'a> {
    pub(crate) code: &'a Code,
    pub(crate) memory: &'a mut Memory,
    pub(crate) parameters: &'a [u8],
    pub(crate) counts: &'a mut Counts,
    pub(crate) shared: Region,
    pub(crate) order: Order,
    /// The number of the launch, and of the block within it, from 1.
    pub(crate) launch: u64,
    pub(crate) number: u64,
    pub(crate) grid: [u32; 3],
    pub(crate) dims: [u32; 3],
    pub(crate) dynamic_shared: u32,
    pub(crate) banks: Box<[[u32; LANES]; LANES]>,
    /// Warps that have arrived at each barrier.
    arrived: [Vec<usize>; BARRIERS],
}

/// Where a problem arose.
pub(crate) struct Place {
    pub(crate) problem: Box<Problem>,
    pub(crate) warp: usize,
    pub(crate) line: u32,
}

impl<'a> Block<'a> {
    pub(crate) fn new(
        code: &'a Code,
        memory: &'a mut Memory,
        parameters: &'a [u8],
        counts: &'a mut Counts,
        launch: u64,
        grid: [u32; 3],
        dims: [u32; 3],
        dynamic_shared: u32,
    ) -> Self {
        Self {
            code,
            memory,
            parameters,
            counts,
            shared: Region::new((code.shared_bytes + dynamic_shared) as usize),
            order: Order::new(0, 0),
            launch,
            number: 0,
            grid,
            dims,
            dynamic_shared,
            banks: Box::new([[0; LANES]; LANES]),
            arrived: Default::default(),
        }
    }

    fn n_threads(&self) -> u32 {
        self.dims.iter().product()
    }

    /// The warps of a block, for all blocks.
    pub(crate) fn warps(&self) -> Vec<Warp> {
        let n = self.n_threads();
        let mut registers = Registers {
            words: vec![[0; LANES]; self.code.n_words],
            doubles: vec![[0; LANES]; self.code.n_doubles],
            bits: vec![0; self.code.n_bits],
        };
        for (row, value) in &self.code.word_constants {
            registers.words[*row as usize] = [*value; LANES];
        }
        for (row, value) in &self.code.double_constants {
            registers.doubles[*row as usize] = [*value; LANES];
        }
        for (row, value) in &self.code.bit_constants {
            registers.bits[*row as usize] = *value;
        }
        let make =
            |idx: u32| Warp::new(idx as usize, registers.clone(), self.code.local_bytes as usize);
        (0..n.div_ceil(LANES as u32)).map(make).collect()
    }

    /// Runs the block of a number.
    pub(crate) fn run(&mut self, number: u64, warps: &mut [Warp]) -> Result<(), Place> {
        self.number = number + 1;
        self.order = Order::new(number, warps.len());
        self.shared.clear();
        self.arrived.iter_mut().for_each(Vec::clear);
        let n = self.n_threads();
        let xy = u64::from(self.grid[0]) * u64::from(self.grid[1]);
        let block =
            [number % u64::from(self.grid[0]), number % xy / u64::from(self.grid[0]), number / xy];
        for warp in warps.iter_mut() {
            let first = warp.index as u32 * LANES as u32;
            let n = n - first;
            warp.restart(if n >= 32 { u32::MAX } else { (1 << n) - 1 });
            self.set_specials(warp, block.map(|it| it as u32));
        }
        loop {
            let mut ran = false;
            for idx in 0..warps.len() {
                if !matches!(warps[idx].state, State::Running) {
                    continue;
                }
                ran = true;
                self.run_warp(&mut warps[idx])
                    .map_err(|problem| self.place(problem, idx, warps[idx].pc))?;
                if let State::Waiting(barrier) = warps[idx].state {
                    // The warp's position is already behind the barrier.
                    let arrived = self.arrive(idx, barrier, warps);
                    arrived.map_err(|problem| self.place(problem, idx, warps[idx].pc - 1))?;
                }
            }
            if !ran {
                break;
            }
        }
        // No warp can run: either all are done, or some wait for ever.
        let waits = warps.iter().find(|it| matches!(it.state, State::Waiting(_)));
        match waits {
            None => Ok(()),
            Some(warp) => {
                let done = warps.iter().find(|it| matches!(it.state, State::Done));
                let why = match done {
                    Some(done) => format!(
                        "the barrier waits for ever: the threads of warp {} have left the kernel, those of warp {} wait",
                        done.index, warp.index
                    ),
                    None => {
                        "the barrier waits for ever: warps of the block wait at different barriers"
                            .to_owned()
                    }
                };
                let lane = warp.live.trailing_zeros();
                Err(self.place(
                    Box::new(Problem { kind: FaultKind::Barrier, message: why, lane }),
                    warp.index,
                    warp.pc - 1,
                ))
            }
        }
    }

    fn place(&self, problem: Box<Problem>, warp: usize, pc: u32) -> Place {
        let line = self.code.instructions.get(pc as usize).map_or(0, |it| it.line);
        Place { problem, warp, line }
    }

    fn set_specials(&self, warp: &mut Warp, block: [u32; 3]) {
        let first = warp.index as u32 * LANES as u32;
        let [x, y, _] = self.dims;
        for (row, special) in &self.code.specials {
            warp.registers.words[*row as usize] = std::array::from_fn(|lane| {
                let lane = lane as u32;
                let thread = first + lane;
                match special {
                    Special::Thread(axis) => {
                        [thread % x, thread / x % y, thread / x / y][usize::from(*axis)]
                    }
                    Special::Threads(axis) => self.dims[usize::from(*axis)],
                    Special::Block(axis) => block[usize::from(*axis)],
                    Special::Blocks(axis) => self.grid[usize::from(*axis)],
                    Special::Lane => lane,
                    Special::Warp => warp.index as u32,
                    Special::Warps => self.n_threads().div_ceil(LANES as u32),
                    Special::LanesEqual => 1 << lane,
                    Special::LanesBelow => (1 << lane) - 1,
                    Special::LanesUpTo => u32::MAX >> (31 - lane),
                    Special::LanesAbove => !(u32::MAX >> (31 - lane)),
                    Special::LanesFrom => !((1 << lane) - 1),
                    Special::DynamicShared => self.dynamic_shared,
                    Special::TotalShared => self.shared.data.len() as u32,
                }
            });
        }
    }

    /// Runs a warp until it waits or is done.
    fn run_warp(&mut self, warp: &mut Warp) -> Outcome<()> {
        #[cfg(target_arch = "x86_64")]
        if has_wide() {
            // SAFETY: the machine has these instructions.
            #[expect(unsafe_code, reason = "a function compiled for the machine's instructions")]
            return unsafe { self.run_warp_wide(warp) };
        }
        self.run_warp_here(warp)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "bmi1,bmi2,lzcnt,popcnt")]
    fn run_warp_wide(&mut self, warp: &mut Warp) -> Outcome<()> {
        self.run_warp_here(warp)
    }

    #[inline(always)]
    fn run_warp_here(&mut self, warp: &mut Warp) -> Outcome<()> {
        let code = self.code;
        loop {
            warp.meet();
            let it = &code.instructions[warp.pc as usize];
            let mask = match it.guard {
                ALWAYS => warp.mask,
                guard => {
                    let bits = warp.registers.bits[(guard / 2) as usize];
                    warp.mask & if guard & 1 == 0 { bits } else { !bits }
                }
            };
            self.counts.lanes[it.kind as usize] += u64::from(mask.count_ones());
            warp.steps += 1;
            let next = match it.step {
                Step::Lanes(run) => {
                    if mask != 0 {
                        // SAFETY: `Lanes::choose` has found the instructions that it was compiled for.
                        #[expect(
                            unsafe_code,
                            reason = "functions compiled for the machine's instructions"
                        )]
                        unsafe {
                            run(&mut warp.registers, &it.o, mask);
                        }
                    }
                    true
                }
                Step::Branch(target) => {
                    self.counts.divergent_branches += u64::from(warp.branch(mask, target));
                    false
                }
                _ if mask == 0 => true,
                Step::Exit => {
                    warp.exit(mask)?;
                    if matches!(warp.state, State::Done) {
                        self.counts.warp_instructions += warp.steps;
                        return Ok(());
                    }
                    false
                }
                Step::Barrier(idx) => {
                    if mask != warp.live || warp.live != warp.all {
                        return self.uneven_barrier(warp, mask);
                    }
                    let barrier = code.barriers[idx as usize];
                    warp.pc += 1;
                    warp.state = State::Waiting(barrier);
                    return Ok(());
                }
                step => self.step(step, &it.o, mask, warp)?,
            };
            if next {
                warp.pc += 1;
            }
            if warp.steps >= MAX_STEPS {
                return problem(
                    FaultKind::Endless,
                    warp.mask.trailing_zeros(),
                    format!(
                        "a warp has executed {MAX_STEPS} instructions: probably an endless loop"
                    ),
                );
            }
        }
    }

    fn uneven_barrier(&self, warp: &Warp, mask: u32) -> Outcome<()> {
        let lane = mask.trailing_zeros();
        if warp.live != warp.all {
            let gone = (warp.all & !warp.live).trailing_zeros() + warp.index as u32 * LANES as u32;
            return problem(
                FaultKind::Barrier,
                lane,
                format!("thread {gone} of the block has left the kernel before this barrier"),
            );
        }
        let other = (warp.live & !mask).trailing_zeros() + warp.index as u32 * LANES as u32;
        problem(
            FaultKind::Barrier,
            lane,
            format!(
                "thread {other} of the block, in the same warp, does not reach this barrier now: it is in a branch"
            ),
        )
    }

    /// A warp has arrived at a barrier; if it is the last, all go on.
    fn arrive(&mut self, idx: usize, barrier: Barrier, warps: &mut [Warp]) -> Outcome<()> {
        let lane = warps[idx].live.trailing_zeros();
        let value = |row: u32| warps[idx].registers.words[row as usize][lane as usize];
        let (id, n_all) = (value(barrier.id) as usize, self.n_threads().div_ceil(LANES as u32));
        let expected = match barrier.threads.map(value) {
            Some(n) if n % 32 != 0 || n == 0 || n > n_all * 32 => {
                return problem(
                    FaultKind::Barrier,
                    lane,
                    format!(
                        "a barrier of {n} threads: it must be a multiple of 32, up to the block's threads"
                    ),
                );
            }
            Some(n) => n / 32,
            None => n_all,
        };
        if id >= BARRIERS {
            return problem(
                FaultKind::Barrier,
                lane,
                format!("barrier {id}: there are {BARRIERS}"),
            );
        }
        if self.arrived[id].contains(&idx) {
            return problem(
                FaultKind::Barrier,
                lane,
                format!("warp {idx} arrives at barrier {id} twice before it is complete"),
            );
        }
        self.arrived[id].push(idx);
        if !barrier.waits {
            warps[idx].state = State::Running;
        }
        if self.arrived[id].len() < expected as usize {
            return Ok(());
        }
        let met = std::mem::take(&mut self.arrived[id]);
        if self.order.is_exhausted() {
            return problem(
                FaultKind::Endless,
                lane,
                "more barriers in a block than can be told apart",
            );
        }
        if met.len() == warps.len() {
            self.order.meet_all();
        } else {
            self.order.meet_warps(&met);
        }
        self.counts.barriers += 1;
        reduce(&met, warps);
        for idx in met {
            if matches!(warps[idx].state, State::Waiting(_)) {
                warps[idx].state = State::Running;
            }
        }
        Ok(())
    }

    /// An access of a lane now.
    #[inline(always)]
    pub(crate) fn stamp(&self, warp: &Warp, lane: u32) -> Stamp {
        self.order.stamp(warp.index as u32 * LANES as u32 + lane)
    }

    /// `thread 5 of block 3`, for races.
    pub(crate) fn name(&self, stamp: Stamp) -> String {
        let thread = match stamp.thread() {
            Some(it) => {
                let [x, y, _] = self.dims;
                format!("thread ({}, {}, {})", it % x, it / x % y, it / x / y)
            }
            None => "several threads".to_owned(),
        };
        match stamp.block() {
            Some(it) if it + 1 == self.number => thread,
            Some(it) => {
                let xy = u64::from(self.grid[0]) * u64::from(self.grid[1]);
                let x = u64::from(self.grid[0]);
                format!("{thread} of block ({}, {}, {})", it % x, it % xy / x, it / xy)
            }
            None => "threads of several blocks".to_owned(),
        }
    }

    /// Whether an access was one of this block.
    pub(crate) fn is_own(&self, stamp: Stamp) -> bool {
        stamp.block().is_some_and(|it| it + 1 == self.number)
    }
}

/// The results of `bar.red`.
fn reduce(met: &[usize], warps: &mut [Warp]) {
    let (mut count, mut all, mut any) = (0, true, false);
    for warp in met.iter().map(|it| &warps[*it]) {
        let State::Waiting(Barrier { reduction: Some(reduction), .. }) = warp.state else {
            continue;
        };
        let (Reduction::Count { p, .. } | Reduction::All { p, .. } | Reduction::Any { p, .. }) =
            reduction;
        let bits = warp.registers.bits[p as usize] & warp.live;
        count += bits.count_ones();
        all &= bits == warp.live;
        any |= bits != 0;
    }
    for idx in met {
        let State::Waiting(Barrier { reduction: Some(reduction), .. }) = warps[*idx].state else {
            continue;
        };
        let registers = &mut warps[*idx].registers;
        match reduction {
            Reduction::Count { d, .. } => registers.words[d as usize] = [count; LANES],
            Reduction::All { d, .. } => registers.bits[d as usize] = if all { u32::MAX } else { 0 },
            Reduction::Any { d, .. } => registers.bits[d as usize] = if any { u32::MAX } else { 0 },
        }
    }
}
