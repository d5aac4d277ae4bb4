//! Who touched which bytes: finds races from the accesses alone, in whatever order the emulator ran them.
//!
//! For each piece of memory the last writer and up to two readers are kept, as in FastTrack (Flanagan and
//! Freund, 2009), with the barriers of CUDA as the only order: two accesses of a block are ordered by a
//! barrier of both threads in between, two of different blocks of one launch never. We differ: two readers
//! are kept and not all, so a race of a third reader may be missed; and fences order nothing, because our
//! kernels do not exchange numbers between blocks.

const THREAD_BITS: u32 = 11;
const TICK_BITS: u32 = 25;
const ATOMIC: u64 = 1 << THREAD_BITS;
const TICK_SHIFT: u32 = THREAD_BITS + 1;
const BLOCK_SHIFT: u32 = TICK_SHIFT + TICK_BITS;
const THREAD_MASK: u64 = (1 << THREAD_BITS) - 1;
/// A thread's number that stands for several.
const SEVERAL: u64 = 1 << (THREAD_BITS - 1);
const SEVERAL_BLOCKS: u64 = u64::MAX << BLOCK_SHIFT;
/// The most barriers of a block that can be told apart.
pub(crate) const MAX_TICK: u32 = (1 << TICK_BITS) - 1;
/// The most blocks of a launch.
pub(crate) const MAX_BLOCKS: u64 = (1 << (64 - BLOCK_SHIFT)) - 2;

const PAGE_BITS: usize = 12;
/// Cells are for 16 bytes until a smaller access to their page.
const LARGEST: u8 = 4;

/// Block, time and thread of an access; 0 is none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// The same of a thread that comes `n` later.
    #[inline(always)]
    pub(crate) fn later(self, n: u32) -> Self {
        Self(self.0 + u64::from(n))
    }

    /// The block's number within its launch, if it is one.
    pub(crate) fn block(self) -> Option<u64> {
        (self.0 < SEVERAL_BLOCKS).then(|| (self.0 >> BLOCK_SHIFT) - 1)
    }

    /// The thread's number within its block, if it is one.
    pub(crate) fn thread(self) -> Option<u32> {
        (self.0 & SEVERAL == 0).then_some((self.0 & THREAD_MASK) as u32)
    }

    fn tick(self) -> u32 {
        (self.0 >> TICK_SHIFT) as u32 & MAX_TICK
    }

    fn is_atomic(self) -> bool {
        self.0 & ATOMIC != 0
    }
}

/// How bytes are touched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch {
    Read,
    /// Through a cache that does not see what the launch writes: `ld.global.nc`.
    ReadOnly,
    Write,
    Atomic,
}

impl Touch {
    /// Whether it leaves the bytes as they are.
    #[inline(always)]
    pub(crate) fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::ReadOnly)
    }
}

/// The barriers that a block has passed.
pub(crate) struct Order {
    block: u64,
    tick: u32,
    /// When all threads last met.
    all: u32,
    /// Whether some threads have met without the others.
    has_parts: bool,
    /// When the lanes of each warp last met.
    warps: Vec<u32>,
    /// When two warps last met at a barrier of some; empty until there is one.
    pairs: Vec<u32>,
    /// When two lanes of a warp last met at a synchronisation of some; empty until there is one.
    lanes: Vec<u32>,
}

impl Order {
    pub(crate) fn new(block: u64, n_warps: usize) -> Self {
        Self {
            block: (block + 1) << BLOCK_SHIFT,
            tick: 1,
            all: 1,
            has_parts: false,
            warps: vec![1; n_warps],
            pairs: Vec::new(),
            lanes: Vec::new(),
        }
    }

    /// Whether time has run out.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.tick + 1 >= MAX_TICK
    }

    /// A barrier of all threads.
    pub(crate) fn meet_all(&mut self) {
        self.tick += 1;
        self.all = self.tick;
    }

    /// A barrier of some warps.
    pub(crate) fn meet_warps(&mut self, warps: &[usize]) {
        self.tick += 1;
        self.has_parts = true;
        let n = self.warps.len();
        self.pairs.resize(n * n, 0);
        for a in warps {
            self.warps[*a] = self.tick;
            for b in warps {
                self.pairs[a * n + b] = self.tick;
            }
        }
    }

    /// A synchronisation of lanes of a warp: of all that have not left the kernel, or of `mask`.
    pub(crate) fn meet_lanes(&mut self, warp: usize, mask: u32, whole: bool) {
        self.tick += 1;
        self.has_parts = true;
        if whole {
            self.warps[warp] = self.tick;
            return;
        }
        self.lanes.resize(self.warps.len() * 1024, 0);
        for a in (0..32).filter(|it| mask >> it & 1 != 0) {
            for b in (0..32).filter(|it| mask >> it & 1 != 0) {
                self.lanes[warp * 1024 + a * 32 + b] = self.tick;
            }
        }
    }

    /// The stamp of an access now.
    #[inline(always)]
    pub(crate) fn stamp(&self, thread: u32) -> Stamp {
        Stamp(self.block | u64::from(self.tick) << TICK_SHIFT | u64::from(thread))
    }

    /// Whether an access happened before one of `thread` now.
    #[inline(always)]
    fn is_before(&self, earlier: Stamp, now: Stamp) -> bool {
        self.plainly().is_before(earlier, now)
            || (self.has_parts && self.is_before_by_parts(earlier, now))
    }

    /// The order that barriers of all threads give.
    #[inline(always)]
    fn plainly(&self) -> Plainly {
        Plainly { block: self.block, since: u64::from(self.all) << TICK_SHIFT }
    }

    #[inline(never)]
    fn is_before_by_parts(&self, earlier: Stamp, now: Stamp) -> bool {
        if earlier.0 >> BLOCK_SHIFT != self.block >> BLOCK_SHIFT {
            return false;
        }
        let (Some(a), Some(b)) = (earlier.thread(), now.thread()) else { return false };
        let (a, b) = (a as usize, b as usize);
        let tick = earlier.tick();
        let (wa, wb) = (a / 32, b / 32);
        if wa != wb {
            return self.pairs.get(wa * self.warps.len() + wb).is_some_and(|it| *it > tick);
        }
        tick < self.warps[wa]
            || self.lanes.get(wa * 1024 + a % 32 * 32 + b % 32).is_some_and(|it| *it > tick)
    }
}

/// What barriers of all threads order, and the order of a thread's own accesses.
#[derive(Clone, Copy)]
struct Plainly {
    block: u64,
    /// When all threads last met.
    since: u64,
}

impl Plainly {
    /// Whether an access happened before one of `thread` now.
    #[inline(always)]
    fn is_before(self, earlier: Stamp, now: Stamp) -> bool {
        (earlier.0 == 0)
            | (earlier.0.wrapping_sub(self.block) < self.since)
            | (((earlier.0 ^ now.0) & (!0 << BLOCK_SHIFT | THREAD_MASK)) == 0)
    }
}

/// Who touched a piece of memory last.
#[derive(Clone, Copy)]
struct Cell {
    write: Stamp,
    reads: [Stamp; 2],
}

#[derive(Default)]
struct Page {
    epoch: u64,
    /// The binary logarithm of a cell's bytes.
    shift: u8,
    /// The last writes of all cells.
    writes: Vec<Stamp>,
    /// Their reads since.
    reads: [Vec<Stamp>; 2],
    /// Bytes of cells that were read before they were written.
    read_first: u64,
}

/// The record of a region.
pub(crate) struct Races {
    pages: Vec<Page>,
    bytes: usize,
}

impl Races {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { pages: Vec::new(), bytes }
    }

    /// Records an access of `1 << log2` bytes, aligned to them, and returns one that it is in a race with.
    /// What happened in another `epoch` is forgotten.
    #[inline(always)]
    pub(crate) fn touch(
        &mut self,
        epoch: u64,
        at: usize,
        log2: u8,
        touch: Touch,
        now: Stamp,
        order: &Order,
    ) -> Option<Stamp> {
        if let Some(page) = self.pages.get_mut(at >> PAGE_BITS)
            && page.epoch == epoch
            && page.shift == log2
        {
            return page.touch((at & ((1 << PAGE_BITS) - 1)) >> log2, touch, now, order);
        }
        self.touch_row(epoch, at, log2, 1, touch, now, order).map(|it| it.1)
    }

    /// The same for threads side by side, `first` and those after it, whose bytes lie side by side; of a race also the
    /// thread, counted from the first.
    #[inline(always)]
    pub(crate) fn touch_row(
        &mut self,
        epoch: u64,
        at: usize,
        log2: u8,
        n_threads: usize,
        touch: Touch,
        first: Stamp,
        order: &Order,
    ) -> Option<(u32, Stamp)> {
        let within = at & ((1 << PAGE_BITS) - 1);
        if let Some(page) = self.pages.get_mut(at >> PAGE_BITS)
            && page.epoch == epoch
            && page.shift <= log2
            && within + (n_threads << log2) <= 1 << PAGE_BITS
        {
            return page.touch_row(within, log2, n_threads, touch, first, order);
        }
        self.touch_pages(epoch, at, log2, n_threads, touch, first, order)
    }

    /// The same for pages that may not be prepared.
    #[inline(never)]
    fn touch_pages(
        &mut self,
        epoch: u64,
        at: usize,
        log2: u8,
        n_threads: usize,
        touch: Touch,
        first: Stamp,
        order: &Order,
    ) -> Option<(u32, Stamp)> {
        if self.pages.is_empty() {
            self.pages.resize_with((self.bytes >> PAGE_BITS) + 1, Page::default);
        }
        let mut done = 0;
        while done < n_threads {
            let at = at + (done << log2);
            let page = &mut self.pages[at >> PAGE_BITS];
            if page.epoch != epoch || log2 < page.shift {
                page.prepare(epoch, log2);
            }
            let within = at & ((1 << PAGE_BITS) - 1);
            let n = (((1 << PAGE_BITS) - within) >> log2).min(n_threads - done);
            let race = page.touch_row(within, log2, n, touch, first.later(done as u32), order);
            if let Some((thread, other)) = race {
                return Some((done as u32 + thread, other));
            }
            done += n;
        }
        None
    }

    /// Bytes that were read in an epoch, but not what was written before in it, and bytes that were written.
    pub(crate) fn moved(&self, epoch: u64) -> (u64, u64) {
        let (mut read, mut written) = (0, 0);
        for page in self.pages.iter().filter(|it| it.epoch == epoch) {
            let (mut n_read, mut n_written) = (0, 0);
            for (write, first) in page.writes.iter().zip(&page.reads[0]) {
                n_read += u64::from((write.0 == 0) & (first.0 != 0));
                n_written += u64::from(write.0 != 0);
            }
            read += page.read_first + (n_read << page.shift);
            written += n_written << page.shift;
        }
        (read, written)
    }
}

impl Page {
    #[inline(never)]
    fn prepare(&mut self, epoch: u64, log2: u8) {
        let files = [0, 1, 2];
        if self.epoch != epoch {
            // Launches and blocks resemble each other: the cells stay as fine as they had to be.
            self.shift = if self.epoch == 0 { log2.min(LARGEST) } else { log2.min(self.shift) };
            self.epoch = epoch;
            self.read_first = 0;
            let n = (1 << PAGE_BITS) >> self.shift;
            for file in files {
                let cells = self.file(file);
                cells.clear();
                cells.resize(n, Stamp(0));
            }
        } else if log2 < self.shift {
            let times = 1 << (self.shift - log2);
            for file in files {
                let cells = self.file(file);
                *cells = cells.iter().flat_map(|it| std::iter::repeat_n(*it, times)).collect();
            }
            self.shift = log2;
        }
    }

    /// The writes, the first reads or the second ones.
    fn file(&mut self, idx: usize) -> &mut Vec<Stamp> {
        match idx {
            0 => &mut self.writes,
            _ => &mut self.reads[idx - 1],
        }
    }

    /// An access of a cell.
    #[inline(always)]
    fn touch(&mut self, idx: usize, touch: Touch, now: Stamp, order: &Order) -> Option<Stamp> {
        let mut cell =
            Cell { write: self.writes[idx], reads: [self.reads[0][idx], self.reads[1][idx]] };
        self.read_first += u64::from(cell.is_read_first(touch)) << self.shift;
        let race = cell.touch(touch, now, order);
        self.writes[idx] = cell.write;
        [self.reads[0][idx], self.reads[1][idx]] = cell.reads;
        race
    }

    /// An access of threads side by side, which lies within the page.
    ///
    /// First all cells at once, by the order that barriers of all threads give. Where that does not allow the access,
    /// cell after cell.
    #[inline(always)]
    fn touch_row(
        &mut self,
        within: usize,
        log2: u8,
        n_threads: usize,
        touch: Touch,
        first: Stamp,
        order: &Order,
    ) -> Option<(u32, Stamp)> {
        let per_thread = log2 - self.shift;
        let begin = within >> self.shift;
        let n = n_threads << per_thread;
        if n == 1 {
            return self.touch(begin, touch, first, order).map(|other| (0, other));
        }
        let now = |idx: usize| Stamp(first.0 + (idx >> per_thread) as u64);
        let cells = begin..begin + n;
        let writes = &mut self.writes[cells.clone()];
        let [reads, seconds] = &mut self.reads;
        let (reads, seconds) = (&mut reads[cells.clone()], &mut seconds[cells]);
        let order_of_all = order.plainly();
        let is_allowed = match touch {
            Touch::Read if order.has_parts => false,
            Touch::Read => {
                let cells = writes.iter().enumerate();
                cells.fold(true, |all, (idx, it)| all & order_of_all.is_before(*it, now(idx)))
            }
            Touch::ReadOnly if order.has_parts => false,
            Touch::ReadOnly => writes.iter().fold(0, |all, it| all | it.0) == 0,
            Touch::Write => {
                let mut allowed = true;
                for idx in 0..n {
                    allowed &= order_of_all.is_before(writes[idx], now(idx))
                        & order_of_all.is_before(reads[idx], now(idx))
                        & order_of_all.is_before(seconds[idx], now(idx));
                }
                allowed
            }
            Touch::Atomic => false,
        };
        if !is_allowed {
            return self.touch_each(begin, n, per_thread, touch, first, order);
        }
        if touch.is_read() {
            for idx in 0..n {
                let (now, first, second) = (now(idx), reads[idx], seconds[idx]);
                let at_first = order_of_all.is_before(first, now);
                let at_second = order_of_all.is_before(second, now)
                    | (is_near(first, second) & !is_near(first, now));
                reads[idx] = if at_first { now } else { first };
                seconds[idx] = if !at_first & at_second { now } else { second };
            }
            return None;
        }
        let mut n_read_first = 0;
        for idx in 0..n {
            n_read_first += u64::from((writes[idx].0 == 0) & (reads[idx].0 != 0));
            writes[idx] = now(idx);
        }
        reads.fill(Stamp(0));
        seconds.fill(Stamp(0));
        self.read_first += n_read_first << self.shift;
        None
    }

    /// The same, cell after cell.
    #[inline(never)]
    fn touch_each(
        &mut self,
        begin: usize,
        n: usize,
        per_thread: u8,
        touch: Touch,
        first: Stamp,
        order: &Order,
    ) -> Option<(u32, Stamp)> {
        (0..n).find_map(|idx| {
            let thread = (idx >> per_thread) as u32;
            let race = self.touch(begin + idx, touch, first.later(thread), order);
            race.map(|other| (thread, other))
        })
    }
}

impl Cell {
    /// Whether an access is the first write of what was only read until then.
    #[inline(always)]
    fn is_read_first(&self, touch: Touch) -> bool {
        // An atomic operation reads as well.
        !touch.is_read() && self.write.0 == 0 && (self.reads[0].0 != 0 || touch == Touch::Atomic)
    }

    #[inline(always)]
    fn touch(&mut self, touch: Touch, now: Stamp, order: &Order) -> Option<Stamp> {
        if !touch.is_read() {
            return self.change(touch, now, order);
        }
        if !order.is_before(self.write, now) || (touch == Touch::ReadOnly && self.write.0 != 0) {
            return Some(self.write);
        }
        let [first, second] = self.reads;
        if order.is_before(first, now) {
            self.reads[0] = now;
        } else if order.is_before(second, now) || is_near(first, second) && !is_near(first, now) {
            // A third reader replaces one that is of the same warp as the other, if it is of another itself.
            self.reads[1] = now;
        }
        None
    }

    #[inline]
    fn change(&mut self, touch: Touch, now: Stamp, order: &Order) -> Option<Stamp> {
        let both_atomic = touch == Touch::Atomic && self.write.is_atomic();
        let ordered = order.is_before(self.write, now);
        if !both_atomic && !ordered {
            return Some(self.write);
        }
        let [first, second] = self.reads;
        if !order.is_before(first, now) {
            return Some(first);
        }
        if !order.is_before(second, now) {
            return Some(second);
        }
        let mut stamp = now.0;
        if touch == Touch::Atomic {
            stamp |= ATOMIC;
            if !ordered {
                // Several threads, of this block or of several.
                let same = (self.write.0 ^ now.0) >> BLOCK_SHIFT == 0;
                stamp = if same {
                    (stamp & !THREAD_MASK) | SEVERAL
                } else {
                    SEVERAL_BLOCKS | ATOMIC | SEVERAL
                };
            }
        }
        *self = Self { write: Stamp(stamp), reads: [Stamp(0); 2] };
        None
    }
}

/// Whether two accesses are of one warp.
#[inline(always)]
fn is_near(a: Stamp, b: Stamp) -> bool {
    (a.0 ^ b.0) & (!0 << BLOCK_SHIFT | (THREAD_MASK & !31)) == 0
}
