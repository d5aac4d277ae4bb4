//! Memory that is given back is kept for the next tensor.

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
