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
        earlier.0 == 0
            || earlier.0.wrapping_sub(self.block) < u64::from(self.all) << TICK_SHIFT
            || ((earlier.0 ^ now.0) & (!0 << BLOCK_SHIFT | THREAD_MASK)) == 0
            || (self.has_parts && self.is_before_by_parts(earlier, now))
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

#[derive(Clone, Copy, Default)]
struct Cell {
    write: Stamp,
    reads: [Stamp; 2],
}

#[derive(Default)]
struct Page {
    epoch: u64,
    /// The binary logarithm of a cell's bytes.
    shift: u8,
    cells: Vec<Cell>,
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
            let cell = &mut page.cells[(at & ((1 << PAGE_BITS) - 1)) >> log2];
            page.read_first += u64::from(cell.is_read_first(touch)) << log2;
            return cell.touch(touch, now, order);
        }
        self.touch_row(epoch, at, log2, 1, touch, now, order).map(|it| it.1)
    }

    /// The same for threads side by side, `first` and those after it, whose bytes lie side by side; of a race also the
    /// thread, counted from the first.
    #[inline(never)]
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
            let per_thread = log2 - page.shift;
            let begin = within >> page.shift;
            for (idx, cell) in page.cells[begin..begin + (n << per_thread)].iter_mut().enumerate() {
                let thread = done + (idx >> per_thread);
                let now = Stamp(first.0 + thread as u64);
                page.read_first += u64::from(cell.is_read_first(touch)) << page.shift;
                if let Some(other) = cell.touch(touch, now, order) {
                    return Some((thread as u32, other));
                }
            }
            done += n;
        }
        None
    }

    /// Bytes that were read in an epoch, but not what was written before in it, and bytes that were written.
    pub(crate) fn moved(&self, epoch: u64) -> (u64, u64) {
        let (mut read, mut written) = (0, 0);
        for page in self.pages.iter().filter(|it| it.epoch == epoch) {
            let count =
                |is: fn(&Cell) -> bool| page.cells.iter().filter(|it| is(it)).count() as u64;
            read += page.read_first + (count(Cell::is_only_read) << page.shift);
            written += count(Cell::is_written) << page.shift;
        }
        (read, written)
    }
}

impl Page {
    #[inline(never)]
    fn prepare(&mut self, epoch: u64, log2: u8) {
        if self.epoch != epoch {
            // Launches and blocks resemble each other: the cells stay as fine as they had to be.
            self.shift = if self.epoch == 0 { log2.min(LARGEST) } else { log2.min(self.shift) };
            self.epoch = epoch;
            self.read_first = 0;
            let n = (1 << PAGE_BITS) >> self.shift;
            if self.cells.len() == n {
                self.cells.fill(Cell::default());
            } else {
                self.cells = vec![Cell::default(); n];
            }
        } else if log2 < self.shift {
            let times = 1 << (self.shift - log2);
            self.cells = self.cells.iter().flat_map(|it| std::iter::repeat_n(*it, times)).collect();
            self.shift = log2;
        }
    }
}

impl Cell {
    /// Whether an access is the first write of what was only read until then.
    #[inline(always)]
    fn is_read_first(&self, touch: Touch) -> bool {
        // An atomic operation reads as well.
        !touch.is_read() && self.write.0 == 0 && (self.reads[0].0 != 0 || touch == Touch::Atomic)
    }

    fn is_only_read(&self) -> bool {
        self.write.0 == 0 && self.reads[0].0 != 0
    }

    fn is_written(&self) -> bool {
        self.write.0 != 0
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
