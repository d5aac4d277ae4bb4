//! Memory for tensors: begun where cache lines begin, and kept when it is given back.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

/// The system's allocator, with everything of a page or more begun at a cache line.
///
/// The C library begins blocks 16 bytes after one, so that every wide register that is loaded or
/// stored touches two lines. Its own aligned blocks are no help: a freed one is a little too small
/// for the next of its size, and the peak of memory rose by two fifths.
///
/// The main heap lies on large pages, where the system has them; other threads have heaps of their own.
/// It counts what it hands out, for [`held`].
pub struct LineAllocator;

/// Bytes of a cache line, and of the widest register.
const LINE: usize = 64;

/// Bytes of a block for which it matters.
const LARGE: usize = 4096;

/// What is asked of the system for a block that is to begin at a line, with room to move it there
/// and to say where it was; none where the system's own is taken.
fn with_room(layout: Layout) -> Option<Layout> {
    let is_ours = layout.size() >= LARGE && layout.align() <= PLACE;
    let size = layout.size().checked_add(LINE).filter(|_| is_ours)?;
    Layout::from_size_align(size, PLACE).ok()
}

/// How the system aligns blocks with room, and more than a pointer needs.
const PLACE: usize = 16;

/// The first line after the beginning of a block with room, behind a note of that beginning.
///
/// # Safety
/// The block is null, or aligned to [`PLACE`] and longer than [`LINE`].
unsafe fn begin(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        return block;
    }
    let shift = LINE - block.addr() % LINE;
    // SAFETY: the shift is from 16 to 64 bytes, so that the note lies within the block.
    unsafe {
        let line = block.add(shift);
        line.cast::<*mut u8>().sub(1).write(block);
        line
    }
}

/// Asks the system to put the part of the heap that a new block is the first to reach on pages of 2 MiB: on
/// pages of 4 KiB, tensors lie on more of them than a processor remembers the places of.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn on_large_pages(block: *mut u8, size: usize) -> *mut u8 {
    const PAGE: usize = 4096;
    /// Where the part ends that has been asked for.
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let asked = ASKED.load(Ordering::Relaxed);
    if block.is_null() || block.addr() + size <= asked {
        return block;
    }
    // SAFETY: nothing is moved. This is where the main heap ends; those of other threads lie behind it.
    let end = unsafe { libc::sbrk(0) }.cast::<u8>();
    if block.addr() + size <= end.addr() {
        let first = asked.max(block.addr()).next_multiple_of(PAGE);
        let len = end.addr().saturating_sub(first);
        // SAFETY: the pages are the heap's. This is a wish, and changes no content.
        unsafe { libc::madvise(end.wrapping_sub(len).cast(), len, libc::MADV_HUGEPAGE) };
        ASKED.store(end.addr(), Ordering::Relaxed);
    }
    block
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn on_large_pages(block: *mut u8, _: usize) -> *mut u8 {
    block
}

/// Bytes that are handed out in large blocks, and the most that ever were since it was last set.
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

/// The most bytes that the program held at a time while `work` ran, beyond what it held before: in blocks
/// of a page or more, on all threads. 0 where [`LineAllocator`] is not the program's allocator.
pub fn held<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = CURRENT.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    (result, PEAK.load(Ordering::Relaxed).saturating_sub(before))
}

// SAFETY: a block is asked for and given back with the same layout, which is a function of the one
// that the caller must give each time; the note before a line is within the block, and nobody
// else's. A block that grows or shrinks is copied to a new one by the trait's own way.
unsafe impl GlobalAlloc for LineAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout);
        // SAFETY: the caller's; the size is not 0.
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
        // SAFETY: what has room was begun with a note.
        unsafe {
            match with_room(layout) {
                Some(it) => System.dealloc(block.cast::<*mut u8>().sub(1).read(), it),
                None => System.dealloc(block, layout),
            }
        }
    }
}

/// Asks the C library to keep freed memory instead of returning it to the system, and to ask for much at a
/// time, so that it can lie on large pages.
///
/// glibc maps every block of more than 32 MiB afresh and gives it back when it is freed, so that
/// each large activation pays for its pages again: 1.3 to 3 times the run time of what only moves
/// memory. Call this once, first thing in `main`. Does nothing on other systems.
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

    use super::{LARGE, LINE, LineAllocator, held};

    #[test]
    fn large_blocks_begin_at_a_line_and_hold_what_was_written() {
        let sizes = (0..200).map(|it| LARGE - 3 + it * 37);
        let blocks: Vec<(*mut u8, Layout)> = sizes
            .map(|size| {
                let layout = Layout::from_size_align(size, 4).unwrap();
                // SAFETY: the size is not 0, and what is written is within it.
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
            // SAFETY: as above, and each is given back once.
            unsafe {
                assert!((0..layout.size()).all(|at| *block.add(at) == layout.size() as u8));
                LineAllocator.dealloc(block, layout);
            }
        }
    }

    #[test]
    fn what_is_held_at_a_time_is_counted() {
        let layout = Layout::from_size_align(1 << 20, 4).unwrap();
        let ((), n_bytes) = held(|| {
            for _ in 0..3 {
                // SAFETY: the size is not 0, and the block is given back once.
                unsafe { LineAllocator.dealloc(LineAllocator.alloc(layout), layout) };
            }
        });
        // Other tests may hold some at the same time.
        assert!((1 << 20..3 << 20).contains(&n_bytes), "{n_bytes}");
    }

    #[test]
    fn other_alignments_are_the_systems() {
        let layout = Layout::from_size_align(2 * LARGE, 4096).unwrap();
        // SAFETY: the size is not 0, and the block is given back once.
        unsafe {
            let block = LineAllocator.alloc(layout);
            assert!(block.addr().is_multiple_of(4096));
            LineAllocator.dealloc(block, layout);
        }
    }
}
