//! Memory for tensors: begun where cache lines begin, and kept when it is given back.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, with everything of a page or more begun at a cache line.
///
/// The C library begins blocks 16 bytes after one, so that every wide register that is loaded or
/// stored touches two lines.
pub struct LineAllocator;

/// Bytes of a cache line, and of the widest register.
const LINE: usize = 64;

/// Bytes of a block for which it matters.
const LARGE: usize = 4096;

fn aligned(layout: Layout) -> Layout {
    match layout.size() < LARGE {
        true => layout,
        false => layout.align_to(LINE).unwrap_or(layout),
    }
}

// SAFETY: a block is asked for and given back with the same layout, which is a function of the one
// that the caller must give each time. A block that grows or shrinks is copied to a new one by the
// trait's own way.
unsafe impl GlobalAlloc for LineAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { System.alloc(aligned(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(aligned(layout)) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, aligned(layout)) }
    }
}

/// Asks the C library to keep freed memory instead of returning it to the system.
///
/// glibc maps every block of more than 32 MiB afresh and gives it back when it is freed, so that
/// each large activation pays for its pages again: 1.3 to 3 times the run time of what only moves
/// memory. Call this once, first thing in `main`. Does nothing on other systems.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only stores two numbers, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}
