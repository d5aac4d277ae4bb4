//! Instructions in the form that is executed.

use super::convert::Conversion;
use super::registers::{Operands, Run};
use crate::counts::Kind;
use crate::ptx::Space;

/// A kernel, decoded.
pub(crate) struct Code {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) accesses: Vec<Access>,
    pub(crate) conversions: Vec<Conversion>,
    pub(crate) matrices: Vec<Matrix>,
    pub(crate) barriers: Vec<Barrier>,
    pub(crate) tables: Vec<Vec<u32>>,
    pub(crate) n_words: usize,
    pub(crate) n_doubles: usize,
    pub(crate) n_bits: usize,
    /// Rows that hold constants.
    pub(crate) word_constants: Vec<(u32, u32)>,
    pub(crate) double_constants: Vec<(u32, u64)>,
    pub(crate) bit_constants: Vec<(u32, u32)>,
    /// Rows that hold special registers.
    pub(crate) specials: Vec<(u32, Special)>,
    pub(crate) shared_bytes: u32,
    pub(crate) local_bytes: u32,
}

/// One instruction.
#[derive(Clone, Copy)]
pub(crate) struct Instruction {
    pub(crate) step: Step,
    pub(crate) o: Operands,
    /// The row of a predicate and whether it is negated, as `2 row + negated`; [`ALWAYS`] without one.
    pub(crate) guard: u32,
    pub(crate) line: u32,
    pub(crate) kind: Kind,
}

/// No predicate.
pub(crate) const ALWAYS: u32 = u32::MAX;

/// What an instruction does. Numbers are rows of the tables in [`Code`].
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// A computation of each lane by itself.
    Lanes(Run),
    /// An integer division, of this many bits.
    Divide(Run, u8),
    Convert(u32),
    Branch(u32),
    BranchTable(u32),
    Exit,
    Load(u32),
    Store(u32),
    Atomic(u32),
    CopyAsync(u32),
    Commit,
    /// Waits until at most so many groups are under way.
    Wait(u32),
    LoadMatrix(u32),
    Multiply(u32),
    Shuffle(Shuffle),
    Vote(Vote),
    Reduce(AtomicOperation),
    Match,
    ActiveMask,
    WarpSync,
    Barrier(u32),
    /// Fences: the order that they give is checked by barriers alone.
    Nothing,
    /// Known, but not allowed here.
    Forbidden(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomicOperation {
    Add,
    MinUnsigned,
    MaxUnsigned,
    MinSigned,
    MaxSigned,
    And,
    Or,
    Xor,
    Exchange,
    CompareAndSwap,
    Increment,
    Decrement,
}

/// A register of either width.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Row {
    Word(u32),
    Double(u32),
}

/// An access to memory.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) space: Space,
    /// Bytes of an element.
    pub(crate) bytes: u8,
    pub(crate) is_signed: bool,
    /// `.nc`
    pub(crate) is_read_only: bool,
    /// The register of the address, if there is one.
    pub(crate) base: Option<Row>,
    pub(crate) offset: i64,
    /// The registers loaded or stored; two operands and the result of atomics.
    pub(crate) rows: Vec<Row>,
    pub(crate) operation: Option<AtomicOperation>,
    /// The source of an asynchronous copy, and the register of how many bytes are copied and not zeros.
    pub(crate) source: Option<(Row, i64)>,
    pub(crate) source_bytes: Option<u32>,
    /// `.trans` of `ldmatrix`.
    pub(crate) is_transposed: bool,
}

/// A product of matrices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix {
    pub(crate) k: u8,
    pub(crate) inputs: Element,
    pub(crate) sums_f16: bool,
    pub(crate) d: [u32; 4],
    pub(crate) a: [u32; 4],
    pub(crate) b: [u32; 2],
    pub(crate) c: [u32; 4],
}

/// What a matrix consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    Tf32,
}

/// A barrier: rows of its number and, if given, of its threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Barrier {
    pub(crate) id: u32,
    pub(crate) threads: Option<u32>,
    pub(crate) waits: bool,
    pub(crate) reduction: Option<Reduction>,
}

/// What a barrier computes of a predicate of all threads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reduction {
    /// Into a word's row.
    Count { d: u32, p: u32 },
    /// Into a predicate's row.
    All { d: u32, p: u32 },
    /// Into a predicate's row.
    Any { d: u32, p: u32 },
}

/// Special registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Thread(u8),
    Threads(u8),
    Block(u8),
    Blocks(u8),
    Lane,
    Warp,
    Warps,
    LanesEqual,
    LanesBelow,
    LanesUpTo,
    LanesAbove,
    LanesFrom,
    DynamicShared,
    TotalShared,
}

impl Special {
    /// From its name, with `%`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let axis =
            |rest: &str| ["x", "y", "z"].iter().position(|it| *it == rest).map(|it| it as u8);
        if let Some((register, rest)) = name.split_once('.') {
            let axis = axis(rest)?;
            return Some(match register {
                "%tid" => Self::Thread(axis),
                "%ntid" => Self::Threads(axis),
                "%ctaid" => Self::Block(axis),
                "%nctaid" => Self::Blocks(axis),
                _ => return None,
            });
        }
        Some(match name {
            "%laneid" => Self::Lane,
            "%warpid" => Self::Warp,
            "%nwarpid" => Self::Warps,
            "%lanemask_eq" => Self::LanesEqual,
            "%lanemask_lt" => Self::LanesBelow,
            "%lanemask_le" => Self::LanesUpTo,
            "%lanemask_gt" => Self::LanesAbove,
            "%lanemask_ge" => Self::LanesFrom,
            "%dynamic_smem_size" => Self::DynamicShared,
            "%total_smem_size" => Self::TotalShared,
            _ => return None,
        })
    }
}
