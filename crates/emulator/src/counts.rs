//! What launches did: instructions, bytes, transactions.

use std::fmt;
use std::ops::AddAssign;

/// The kinds of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Integers and bits.
    Integer,
    /// f32.
    Float,
    /// f64.
    Double,
    /// f16 and bf16.
    Half,
    /// Exponentials, roots, reciprocals.
    Special,
    /// Between types.
    Convert,
    /// Moves and selections.
    Move,
    /// Comparisons.
    Compare,
    /// Loads, stores, atomics.
    Memory,
    /// Branches.
    Control,
    /// Barriers and exchange between lanes.
    Sync,
    /// `mma` and `ldmatrix`.
    Matrix,
    /// Not an instruction of the text: a step of one that is done in several.
    None,
}

/// How many kinds there are.
const KINDS: usize = Kind::None as usize + 1;

/// Counts of one launch, or of several added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counts {
    /// Launches.
    pub launches: u64,
    /// Blocks.
    pub blocks: u64,
    /// Threads.
    pub threads: u64,
    /// Instructions of warps; one that is executed in several steps counts as these.
    pub warp_instructions: u64,
    /// Instructions by [`Kind`], each counted for every lane that executes it.
    pub lanes: [u64; KINDS],
    /// Bytes that lanes loaded from global memory.
    pub global_read: u64,
    /// Bytes that lanes stored to global memory.
    pub global_written: u64,
    /// Bytes of global memory that launches read, but not what the launch itself had written before; each counted once
    /// a launch, however many lanes read it: what memory must deliver if caches keep everything during a launch, and
    /// nothing longer.
    pub memory_read: u64,
    /// Bytes of global memory that launches wrote, each counted once a launch.
    pub memory_written: u64,
    /// Bytes that lanes loaded from shared memory.
    pub shared_read: u64,
    /// Bytes that lanes stored to shared memory.
    pub shared_written: u64,
    /// Bytes of local memory: spilled or indexed arrays.
    pub local: u64,
    /// Accesses of lanes to global memory by their width: 1, 2, 4, 8 and 16 bytes.
    pub global_by_width: [u64; 5],
    /// Pieces of 32 bytes that warps touched in global memory.
    pub global_sectors: u64,
    /// Pieces of 32 bytes that would be enough, if all bytes of a warp's access lay side by side.
    pub global_sectors_least: u64,
    /// Accesses of warps to shared memory.
    pub shared_accesses: u64,
    /// Further cycles of such accesses, because lanes met in a bank.
    pub bank_conflicts: u64,
    /// Atomic operations of lanes.
    pub atomics: u64,
    /// `mma` instructions of warps.
    pub mma: u64,
    /// Multiplications of those.
    pub mma_products: u64,
    /// Barriers that blocks passed.
    pub barriers: u64,
    /// Branches at which the lanes of a warp parted.
    pub divergent_branches: u64,
}

impl Counts {
    /// Instructions of all lanes.
    pub fn lane_instructions(&self) -> u64 {
        self.lanes[..Kind::None as usize].iter().sum()
    }

    /// Bytes of global memory that launches read and wrote, each counted once a launch.
    pub fn memory(&self) -> u64 {
        self.memory_read + self.memory_written
    }

    /// Instructions of a kind, of all lanes.
    pub fn of(&self, kind: Kind) -> u64 {
        self.lanes[kind as usize]
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        let Counts {
            launches,
            blocks,
            threads,
            warp_instructions,
            lanes,
            global_read,
            global_written,
            memory_read,
            memory_written,
            shared_read,
            shared_written,
            local,
            global_by_width,
            global_sectors,
            global_sectors_least,
            shared_accesses,
            bank_conflicts,
            atomics,
            mma,
            mma_products,
            barriers,
            divergent_branches,
        } = other;
        self.launches += launches;
        self.blocks += blocks;
        self.threads += threads;
        self.warp_instructions += warp_instructions;
        self.lanes.iter_mut().zip(lanes).for_each(|(a, b)| *a += b);
        self.global_read += global_read;
        self.global_written += global_written;
        self.memory_read += memory_read;
        self.memory_written += memory_written;
        self.shared_read += shared_read;
        self.shared_written += shared_written;
        self.local += local;
        self.global_by_width.iter_mut().zip(global_by_width).for_each(|(a, b)| *a += b);
        self.global_sectors += global_sectors;
        self.global_sectors_least += global_sectors_least;
        self.shared_accesses += shared_accesses;
        self.bank_conflicts += bank_conflicts;
        self.atomics += atomics;
        self.mma += mma;
        self.mma_products += mma_products;
        self.barriers += barriers;
        self.divergent_branches += divergent_branches;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} launches, {} blocks, {} lane instructions; global {} read, {} written, each byte once {} and {}, {} \
             sectors (at least {}); shared {} read, {} written, {} bank conflicts in {} accesses; {} mma; {} barriers",
            self.launches,
            self.blocks,
            self.lane_instructions(),
            self.global_read,
            self.global_written,
            self.memory_read,
            self.memory_written,
            self.global_sectors,
            self.global_sectors_least,
            self.shared_read,
            self.shared_written,
            self.bank_conflicts,
            self.shared_accesses,
            self.mma,
            self.barriers
        )
    }
}
