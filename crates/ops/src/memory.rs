//! Memory for tensors: aligned to cache lines, and kept by the process when it is freed.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

/// The system's allocator, with every allocation of a page or more aligned to a cache line.
///
/// The C library places blocks 16 bytes after a cache line, so that every load or store of a wide register
/// touches two lines. Its own aligned allocation does not help: a freed block is a little too small for
/// the next of the same size, and the peak memory rose by two fifths.
///
/// The main heap is on huge pages, if the system has them; other threads have heaps of their own.
/// It counts the allocated bytes, for [`peak_allocated`].
pub struct LineAllocator;

/// The bytes of a cache line, and of the widest register.
const LINE: usize = 64;

/// The minimum size of a block to align.
const LARGE: usize = 4096;

/// The layout to request from the system for a block to align, with room to shift it and to store its
/// original address; `None` if the block is left to the system.
fn with_room(layout: Layout) -> Option<Layout> {
    let is_ours = layout.size() >= LARGE && layout.align() <= PLACE;
    let size = layout.size().checked_add(LINE).filter(|_| is_ours)?;
    Layout::from_size_align(size, PLACE).ok()
}

/// The system's alignment of blocks with room, which is more than a pointer needs.
const PLACE: usize = 16;

/// Returns the first cache line after the start of a block with room, and stores the start just before it.
///
/// # Safety
/// The block is null, or aligned to [`PLACE`] and longer than [`LINE`].
unsafe fn begin(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        return block;
    }
    let shift = LINE - block.addr() % LINE;
    // SAFETY: the shift is from 16 to 64 bytes, so that the stored address is within the block.
    unsafe {
        let line = block.add(shift);
        line.cast::<*mut u8>().sub(1).write(block);
        line
    }
}

/// Asks the system to use pages of 2 MiB for the part of the heap that a new block is the first to reach:
/// with pages of 4 KiB, tensors span more pages than the TLB holds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn on_large_pages(block: *mut u8, size: usize) -> *mut u8 {
    const PAGE: usize = 4096;
    /// The end of the part already requested.
    static REQUESTED: AtomicUsize = AtomicUsize::new(0);
    let requested = REQUESTED.load(Ordering::Relaxed);
    if block.is_null() || block.addr() + size <= requested {
        return block;
    }
    // SAFETY: this only reads the end of the main heap; the heaps of other threads are above it.
    let end = unsafe { libc::sbrk(0) }.cast::<u8>();
    if block.addr() + size <= end.addr() {
        let first = requested.max(block.addr()).next_multiple_of(PAGE);
        let len = end.addr().saturating_sub(first);
        // SAFETY: the pages belong to the heap. This is advice, and changes no content.
        unsafe { libc::madvise(end.wrapping_sub(len).cast(), len, libc::MADV_HUGEPAGE) };
        REQUESTED.store(end.addr(), Ordering::Relaxed);
    }
    block
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn on_large_pages(block: *mut u8, _: usize) -> *mut u8 {
    block
}

/// The bytes allocated in large blocks, and their peak since it was last reset.
static CURRENT: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(layout: Layout) {
    let n = layout.size();
    if n >= LARGE {
        let current = CURRENT.fetch_add(n, Ordering::Relaxed) + n;
        PEAK.fetch_max(current, Ordering::Relaxed);
    }
}

fn uncount(layout: Layout) {
    if layout.size() >= LARGE {
        CURRENT.fetch_sub(layout.size(), Ordering::Relaxed);
    }
}

/// Runs `work` and returns its result and the peak of allocated bytes while it ran, beyond those allocated
/// before: in blocks of a page or more, on all threads. 0 if [`LineAllocator`] is not the global allocator.
pub fn peak_allocated<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = CURRENT.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    (result, PEAK.load(Ordering::Relaxed).saturating_sub(before))
}

// SAFETY: a block is allocated and freed with the same layout, which is a function of the one that the
// caller must pass each time; the address stored before a line is within the block and used by nothing
// else. A block that grows or shrinks is copied to a new one by the trait's default method.
unsafe impl GlobalAlloc for LineAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout);
        // SAFETY: guaranteed by the caller; the size is not 0.
        unsafe {
            match with_room(layout) {
                Some(it) => on_large_pages(begin(System.alloc(it)), layout.size()),
                None => System.alloc(layout),
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout);
        // SAFETY: as above.
        unsafe {
            match with_room(layout) {
                Some(it) => on_large_pages(begin(System.alloc_zeroed(it)), layout.size()),
                None => System.alloc_zeroed(layout),
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        uncount(layout);
        // SAFETY: the start of a block with room is stored before it.
        unsafe {
            match with_room(layout) {
                Some(it) => System.dealloc(block.cast::<*mut u8>().sub(1).read(), it),
                None => System.dealloc(block, layout),
            }
        }
    }
}

/// Configures the C library to keep freed memory instead of returning it to the system, and to extend the
/// heap in large steps, so that it can use huge pages.
///
/// glibc maps every block of more than 32 MiB anew and unmaps it when it is freed, so that each large
/// activation pays for its page faults again: 1.3 to 3 times the run time of memory-bound operations.
/// Call this once, at the start of `main`. Does nothing on other systems.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only stores numbers, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc as _, Layout};

    use super::{LARGE, LINE, LineAllocator, peak_allocated};

    #[test]
    fn large_blocks_are_aligned_to_a_line_and_keep_their_content() {
        let sizes = (0..200).map(|it| LARGE - 3 + it * 37);
        let blocks: Vec<(*mut u8, Layout)> = sizes
            .map(|size| {
                let layout = Layout::from_size_align(size, 4).unwrap();
                // SAFETY: the size is not 0, and the writes are within it.
                unsafe {
                    let block = LineAllocator.alloc_zeroed(layout);
                    assert!(size < LARGE || block.addr().is_multiple_of(LINE));
                    assert!((0..size).all(|at| *block.add(at) == 0));
                    block.write_bytes(size as u8, size);
                    (block, layout)
                }
            })
            .collect();
        for (block, layout) in blocks {
            // SAFETY: as above, and each is freed once.
            unsafe {
                assert!((0..layout.size()).all(|at| *block.add(at) == layout.size() as u8));
                LineAllocator.dealloc(block, layout);
            }
        }
    }

    #[test]
    fn the_peak_of_allocated_bytes_is_counted() {
        let layout = Layout::from_size_align(1 << 20, 4).unwrap();
        let ((), n_bytes) = peak_allocated(|| {
            for _ in 0..3 {
                // SAFETY: the size is not 0, and the block is freed once.
                unsafe { LineAllocator.dealloc(LineAllocator.alloc(layout), layout) };
            }
        });
        // Other tests may allocate at the same time.
        assert!((1 << 20..3 << 20).contains(&n_bytes), "{n_bytes}");
    }

    #[test]
    fn other_alignments_are_left_to_the_system() {
        let layout = Layout::from_size_align(2 * LARGE, 4096).unwrap();
        // SAFETY: the size is not 0, and the block is given back once.
        unsafe {
            let block = LineAllocator.alloc(layout);
            assert!(block.addr().is_multiple_of(4096));
            LineAllocator.dealloc(block, layout);
        }
    }
}
