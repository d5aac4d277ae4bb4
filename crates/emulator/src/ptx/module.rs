//! What a module consists of.

use std::fmt;

/// A text that is no PTX, or PTX that the emulator does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// What is wrong.
    pub message: String,
    /// The line, counted from 1; 0 where it is the whole text.
    pub line: u32,
    /// The line's text.
    pub text: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PTX line {}: {}", self.line, self.message)?;
        if !self.text.is_empty() {
            write!(f, ": `{}`", self.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// A module.
#[derive(Clone, Debug)]
pub struct Module {
    /// The lines of the text, for messages.
    pub lines: Vec<String>,
    /// Variables outside of functions.
    pub variables: Vec<Variable>,
    /// Kernels and functions.
    pub functions: Vec<Function>,
}

/// Where a variable lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Any: the address says which.
    Generic,
    /// Device memory.
    Global,
    /// Device memory that kernels only read.
    Const,
    /// Memory of a block.
    Shared,
    /// Memory of a thread.
    Local,
    /// Parameters of a kernel or a function.
    Param,
}

/// A variable or a parameter.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub space: Space,
    /// Its alignment in bytes.
    pub align: usize,
    /// Its size in bytes; 0 for shared memory whose size the launch gives.
    pub bytes: usize,
    /// Its first bytes; the others are 0.
    pub init: Vec<u8>,
}

/// A kernel or a function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Whether it can be launched.
    pub is_kernel: bool,
    /// What it is called with.
    pub parameters: Vec<Variable>,
    /// What it returns.
    pub returns: Vec<Variable>,
    /// The most threads of a block: the product of `.maxntid`.
    pub max_threads: Option<u32>,
    /// The threads that a block must have: `.reqntid`.
    pub exact_threads: Option<[u32; 3]>,
    /// The class of each register.
    pub registers: Vec<Class>,
    /// Shared and local variables, and the parameters of calls.
    pub variables: Vec<Variable>,
    /// The position in `body` of each label.
    pub labels: Vec<Option<usize>>,
    /// Tables of labels, for `brx.idx`.
    pub tables: Vec<(String, Vec<usize>)>,
    /// The instructions.
    pub body: Vec<Statement>,
    /// The line of its name.
    pub line: u32,
}

/// The width of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// True or false.
    Predicate,
    /// 8 or 16 bits.
    Half,
    /// 32 bits.
    Word,
    /// 64 bits.
    Double,
}

/// An instruction as written.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The line, counted from 1.
    pub line: u32,
    /// Only where this predicate holds (or, with `true`, does not).
    pub guard: Option<(usize, bool)>,
    /// The name up to the first dot.
    pub name: String,
    /// What follows it, between the dots.
    pub modifiers: Vec<String>,
    /// Whether the first two operands are written `d|p`.
    pub is_pair: bool,
    /// The operands.
    pub operands: Vec<Operand>,
}

/// An operand as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register of the function.
    Register(usize),
    /// `!%p1`
    Not(usize),
    /// `%tid.x` and its like.
    Special(String),
    /// An integer; negative ones as two's complement.
    Integer(u64),
    /// `0f3F800000`: the bits.
    Single(u32),
    /// `0d3FF0000000000000`: the bits.
    Double(u64),
    /// A variable, parameter or function.
    Symbol(String),
    /// A label, by its number.
    Label(usize),
    /// `[base+offset]`
    Address(Box<Operand>, i64),
    /// `{a, b}` or `(a, b)`
    List(Vec<Operand>),
    /// `_`
    Sink,
}
