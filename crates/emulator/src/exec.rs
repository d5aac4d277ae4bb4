//! Runs kernels: warps of 32 lanes, block after block, with checks of every access.
//!
//! Blocks run in their order and warps within a block likewise, on one thread, so that results, counts and faults are
//! the same at each run. What an order of a GPU could change is a race, and races are faults.

mod access;
mod atomic;
mod block;
mod checks;
mod convert;
mod copy;
mod decode;
mod float;
mod half;
mod instruction;
mod integer;
mod matrix;
mod private;
pub(crate) mod registers;
mod rounding;
mod rows;
mod traffic;
mod transfer;
mod types;
mod warp;
mod warp_wide;

use crate::counts::Counts;
use crate::faults::{Fault, FaultKind};
use crate::memory::races::MAX_BLOCKS;
use crate::memory::{Memory, MemoryError};
use crate::ptx::{self, LoadError, Space};
use block::Block;
use instruction::{Code, Step};
use registers::Operands;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use warp::{Outcome, Warp};

/// The most shared memory of a block: 163 KiB, as on sm_80.
pub const MAX_SHARED: u32 = 163 * 1024;
/// The most threads of a block.
pub const MAX_THREADS: u32 = 1024;

/// A module whose variables lie in a device's memory.
pub struct Program {
    loaded: Arc<Loaded>,
    variables: HashMap<String, (u64, u64)>,
}

/// What does not depend on the device.
struct Loaded {
    lines: Vec<String>,
    functions: Vec<Function>,
    codes: Vec<Code>,
}

/// Modules without variables by their text: each device of a test loads the same ones.
static LOADED: Mutex<BTreeMap<String, Arc<Loaded>>> = Mutex::new(BTreeMap::new());

/// A kernel.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its parameters, in their order.
    pub parameters: Vec<Parameter>,
    /// Bytes of all parameters.
    pub parameter_bytes: usize,
    /// Static shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// Local memory of a thread, in bytes.
    pub local_bytes: u32,
    /// The most threads of a block, by `.maxntid`.
    pub max_threads: Option<u32>,
    /// The threads that a block must have, by `.reqntid`.
    pub exact_threads: Option<[u32; 3]>,
}

/// A parameter of a kernel.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Where it begins.
    pub offset: usize,
    /// Its size.
    pub bytes: usize,
    /// Its alignment.
    pub align: usize,
}

/// The shape of a launch.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub dynamic_shared: u32,
    /// The most that was allowed.
    pub dynamic_shared_limit: u32,
}

/// Why a module cannot be loaded.
#[derive(Clone, Debug)]
pub enum ProgramError {
    /// Its text.
    Text(LoadError),
    /// Its variables.
    Memory(MemoryError),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(it) => it.fmt(f),
            Self::Memory(it) => it.fmt(f),
        }
    }
}

impl std::error::Error for ProgramError {}

impl Program {
    /// Parses and decodes PTX, and places its variables.
    ///
    /// # Errors
    /// If it is no PTX, has instructions that the emulator does not know, or too large variables.
    pub fn load(text: &str, memory: &mut Memory) -> Result<Self, ProgramError> {
        if let Some(loaded) = LOADED.lock().unwrap_or_else(PoisonError::into_inner).get(text) {
            return Ok(Self { loaded: Arc::clone(loaded), variables: HashMap::new() });
        }
        let module = ptx::parse(text).map_err(ProgramError::Text)?;
        let mut variables = HashMap::new();
        for it in
            module.variables.iter().filter(|it| matches!(it.space, Space::Global | Space::Const))
        {
            let at = memory.allocate(it.bytes as u64).map_err(ProgramError::Memory)?;
            let mut init = it.init.clone();
            init.resize(it.bytes, 0);
            memory.write(at, &init).map_err(ProgramError::Memory)?;
            variables.insert(it.name.clone(), (at, it.bytes as u64));
        }
        let addresses = variables.iter().map(|(name, (at, _))| (name.clone(), *at)).collect();
        let kernels = module.functions.iter().filter(|it| it.is_kernel);
        let mut functions = Vec::new();
        let mut codes = Vec::new();
        for kernel in kernels {
            let code = decode::decode(&module, kernel, &addresses).map_err(ProgramError::Text)?;
            functions.push(Function::new(kernel, &code));
            codes.push(code);
        }
        let loaded = Arc::new(Loaded { lines: module.lines, functions, codes });
        if variables.is_empty() {
            let mut all = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(text.to_owned(), Arc::clone(&loaded));
        }
        Ok(Self { loaded, variables })
    }

    /// Frees the variables.
    pub fn unload(self, memory: &mut Memory) {
        for (at, _) in self.variables.values() {
            // They are live: nobody else can free them but a caller with their address.
            let _ = memory.free(*at);
        }
    }

    /// The number of a kernel.
    pub fn function(&self, name: &str) -> Option<usize> {
        self.loaded.functions.iter().position(|it| it.name == name)
    }

    /// All kernels.
    pub fn functions(&self) -> &[Function] {
        &self.loaded.functions
    }

    /// Address and bytes of a variable.
    pub fn variable(&self, name: &str) -> Option<(u64, u64)> {
        self.variables.get(name).copied()
    }
}

impl Function {
    fn new(kernel: &ptx::Function, code: &Code) -> Self {
        let mut parameters = Vec::new();
        let mut offset = 0usize;
        for it in &kernel.parameters {
            let align = it.align.max(1);
            offset = offset.next_multiple_of(align);
            parameters.push(Parameter { name: it.name.clone(), offset, bytes: it.bytes, align });
            offset += it.bytes;
        }
        Self {
            name: kernel.name.clone(),
            parameters,
            parameter_bytes: offset,
            shared_bytes: code.shared_bytes,
            local_bytes: code.local_bytes,
            max_threads: kernel.max_threads,
            exact_threads: kernel.exact_threads,
        }
    }

    /// Why a GPU would refuse a launch.
    fn refuses(&self, shape: &Shape, parameters: &[u8]) -> Option<String> {
        let Shape { grid, block, dynamic_shared, dynamic_shared_limit } = *shape;
        let n = block.iter().map(|it| u64::from(*it)).product::<u64>();
        if grid.contains(&0) || block.contains(&0) {
            return Some(format!("grid {grid:?} and block {block:?} must not be empty"));
        }
        if grid[0] > i32::MAX as u32 || grid[1] > 65_535 || grid[2] > 65_535 {
            return Some(format!("grid {grid:?}: y and z are at most 65535"));
        }
        if block[2] > 64 || n > u64::from(MAX_THREADS) {
            return Some(format!("block {block:?}: at most {MAX_THREADS} threads, 64 in z"));
        }
        if let Some(most) = self.max_threads.filter(|it| n > u64::from(*it)) {
            return Some(format!(
                "block {block:?}: the kernel was compiled for at most {most} threads"
            ));
        }
        if let Some(exact) = self.exact_threads.filter(|it| *it != block) {
            return Some(format!("block {block:?}: the kernel was compiled for {exact:?}"));
        }
        if dynamic_shared > dynamic_shared_limit {
            return Some(format!(
                "{dynamic_shared} bytes of dynamic shared memory: {dynamic_shared_limit} are allowed"
            ));
        }
        if self.shared_bytes + dynamic_shared > MAX_SHARED {
            return Some(format!(
                "{} bytes of shared memory: {MAX_SHARED} exist",
                self.shared_bytes + dynamic_shared
            ));
        }
        if parameters.len() < self.parameter_bytes {
            return Some(format!(
                "{} bytes of parameters: {} expected",
                parameters.len(),
                self.parameter_bytes
            ));
        }
        let blocks = grid.iter().map(|it| u64::from(*it)).product::<u64>();
        if blocks > MAX_BLOCKS {
            return Some(format!("{blocks} blocks are more than the emulator can tell apart"));
        }
        None
    }
}

/// Runs a kernel.
///
/// `parameters` has each parameter at its offset.
///
/// # Errors
/// The first fault; what was written until then stays written.
pub fn launch(
    program: &Program,
    function: usize,
    shape: &Shape,
    parameters: &[u8],
    memory: &mut Memory,
) -> Result<Counts, Box<Fault>> {
    let kernel = &program.loaded.functions[function];
    let fault = |kind, message, block, thread, line: u32| {
        let text = program
            .loaded
            .lines
            .get(line.saturating_sub(1) as usize)
            .filter(|_| line > 0)
            .cloned()
            .unwrap_or_default();
        Box::new(Fault { kind, message, kernel: kernel.name.clone(), block, thread, line, text })
    };
    if let Some(message) = kernel.refuses(shape, parameters) {
        return Err(fault(FaultKind::Launch, message, [0; 3], [0; 3], 0));
    }
    let [gx, gy, gz] = shape.grid.map(u64::from);
    let mut counts = Counts { launches: 1, blocks: gx * gy * gz, ..Counts::default() };
    counts.threads = counts.blocks * shape.block.iter().map(|it| u64::from(*it)).product::<u64>();
    if !memory.runs_kernels() {
        return Ok(counts);
    }
    let launch = memory.next_launch();
    let code = &program.loaded.codes[function];
    let parameters = &parameters[..kernel.parameter_bytes];
    let mut block = Block::new(
        code,
        memory,
        parameters,
        &mut counts,
        launch,
        shape.grid,
        shape.block,
        shape.dynamic_shared,
    );
    let mut warps = block.warps();
    for number in 0..gx * gy * gz {
        block.run(number, &mut warps).map_err(|it| {
            let thread = it.warp as u32 * 32 + it.problem.lane;
            let [x, y, _] = shape.block;
            let thread = [thread % x, thread / x % y, thread / x / y];
            let block = [number % gx, number / gx % gy, number / gx / gy].map(|it| it as u32);
            fault(it.problem.kind, it.problem.message, block, thread, it.line)
        })?;
    }
    (counts.memory_read, counts.memory_written) = memory.moved(launch);
    Ok(counts)
}

impl Block<'_> {
    /// An instruction that is more than a computation; whether the next one follows.
    fn step(&mut self, step: Step, o: &Operands, mask: u32, warp: &mut Warp) -> Outcome<bool> {
        let code = self.code;
        match step {
            Step::Load(idx) => self.load(&code.accesses[idx as usize], mask, warp)?,
            Step::Store(idx) => self.store(&code.accesses[idx as usize], mask, warp)?,
            Step::Atomic(idx) => self.atomic(&code.accesses[idx as usize], mask, warp)?,
            Step::CopyAsync(idx) => self.copy_async(&code.accesses[idx as usize], mask, warp)?,
            Step::Commit => self.commit(warp),
            Step::Wait(n) => self.wait(n, warp)?,
            Step::LoadMatrix(idx) => self.load_matrix(&code.accesses[idx as usize], mask, warp)?,
            Step::Multiply(idx) => self.multiply(&code.matrices[idx as usize], mask, warp)?,
            Step::Convert(idx) => {
                convert::run(&mut warp.registers, o, mask, &code.conversions[idx as usize])
            }
            Step::Divide(run, bits) => self.divide(run, bits, o, mask, warp)?,
            Step::Shuffle(mode) => return self.shuffle(mode, o, mask, warp),
            Step::Vote(mode) => return self.vote(mode, o, mask, warp),
            Step::Reduce(_) | Step::Match => return self.reduce(step, o, mask, warp),
            Step::WarpSync => return self.sync_warp(o, mask, warp),
            Step::ActiveMask => {
                for lane in warp::lanes(mask) {
                    warp.registers.words[o.d as usize][lane as usize] = mask;
                }
            }
            Step::BranchTable(idx) => {
                self.branch_table(&code.tables[idx as usize], o, mask, warp)?;
                return Ok(false);
            }
            Step::Forbidden(why) => {
                return warp::problem(FaultKind::Unsupported, mask.trailing_zeros(), why);
            }
            Step::Nothing | Step::Lanes(_) | Step::Branch(_) | Step::Exit | Step::Barrier(_) => {}
        }
        Ok(true)
    }

    fn divide(
        &mut self,
        run: registers::Run,
        bits: u8,
        o: &Operands,
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        for lane in warp::lanes(mask) {
            let divisor = match bits {
                64 => warp.registers.doubles[o.b as usize][lane as usize],
                32 => warp.registers.words[o.b as usize][lane as usize].into(),
                _ => u64::from(warp.registers.words[o.b as usize][lane as usize] as u16),
            };
            if divisor == 0 {
                return warp::problem(FaultKind::Value, lane, "divides an integer by zero");
            }
        }
        // SAFETY: `Lanes::choose` has found the instructions that it was compiled for.
        #[expect(unsafe_code, reason = "functions compiled for the machine's instructions")]
        unsafe {
            run(&mut warp.registers, o, mask);
        }
        Ok(())
    }

    /// A branch to the label of an index: lane groups part one after the other.
    fn branch_table(
        &mut self,
        table: &[u32],
        o: &Operands,
        mask: u32,
        warp: &mut Warp,
    ) -> Outcome<()> {
        let row = warp.registers.words[o.a as usize];
        if let Some(lane) = warp::lanes(mask).find(|it| row[*it as usize] as usize >= table.len()) {
            return warp::problem(
                FaultKind::OutOfBounds,
                lane,
                format!("branches to entry {} of {}", row[lane as usize], table.len()),
            );
        }
        warp.branch_each(mask, |lane| table[row[lane as usize] as usize]);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
