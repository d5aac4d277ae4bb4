//! What a kernel may do wrong, and where it did it.

use std::fmt;

/// The kinds of faults, so that a test can ask for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An access that is not within one allocation, or beyond shared, local or parameter memory.
    OutOfBounds,
    /// An address that is no multiple of the size of the access.
    Misaligned,
    /// A read of bytes that nothing has written.
    NeverWritten,
    /// Two threads of a block touch the same bytes, one of them writes, and no barrier lies between.
    Race,
    /// Two blocks of a launch touch the same bytes, and one of them writes.
    BlockRace,
    /// A barrier that not all threads reach, or that threads have left the kernel before.
    Barrier,
    /// An instruction of a warp (`.sync`) that lanes of its mask do not execute.
    WarpSync,
    /// An instruction that the emulator does not know, or that this project forbids.
    Unsupported,
    /// More instructions than the limit: probably an infinite loop.
    Endless,
    /// A launch that a GPU would refuse: its grid, block, shared memory or parameters.
    Launch,
    /// An instruction that only makes sense for other numbers, such as a division of integers by zero.
    Value,
}

/// The first fault of a launch. Its text names the kernel, block, thread, and the line of PTX.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What kind of fault.
    pub kind: FaultKind,
    /// What happened, with addresses and sizes.
    pub message: String,
    /// The kernel's name.
    pub kernel: String,
    /// The block's index, `[x, y, z]`.
    pub block: [u32; 3],
    /// The thread's index within its block, `[x, y, z]`.
    pub thread: [u32; 3],
    /// The line of the PTX text, counted from 1; 0 where no instruction is at fault.
    pub line: u32,
    /// The instruction's text.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, message, kernel, block: [bx, by, bz], thread: [tx, ty, tz], line, text } =
            self;
        write!(f, "kernel `{kernel}`: {kind:?}: {message}")?;
        if *line > 0 {
            write!(
                f,
                "; block ({bx}, {by}, {bz}), thread ({tx}, {ty}, {tz}), PTX line {line}: `{text}`"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
