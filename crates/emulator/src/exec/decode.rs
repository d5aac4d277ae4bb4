//! From instructions as written to those that are executed: registers become rows, constants and special
//! registers rows that are filled beforehand, labels positions. Calls of functions are replaced by their bodies.

use super::instruction::{ALWAYS, Code, Instruction, Special, Step};
use super::registers::{Lanes, Operands};
use super::rows;
use crate::counts::Kind;
use crate::ptx::{Class, Function, LoadError, Module, Operand, Space, Variable};

use std::collections::HashMap;

/// Generic addresses of local, shared and parameter memory begin here, one unit of 4 GiB each.
pub(crate) const LOCAL_WINDOW: u64 = 1 << 32;
pub(crate) const SHARED_WINDOW: u64 = 2 << 32;
pub(crate) const PARAM_WINDOW: u64 = 3 << 32;

mod arithmetic;
mod memory;
mod operands;
mod statement;

const MAX_DEPTH: usize = 16;

pub(super) type Result<T> = std::result::Result<T, String>;

/// Decodes kernels of a module whose variables lie at known addresses.
pub(super) struct Decoder<'a> {
    module: &'a Module,
    addresses: &'a HashMap<String, u64>,
    pub(super) code: Code,
    words: HashMap<u32, u32>,
    doubles: HashMap<u64, u32>,
    specials: HashMap<Special, u32>,
    shared: HashMap<String, u64>,
    /// The guard and line of what is decoded.
    guard: u32,
    line: u32,
    kind: Kind,
    depth: usize,
}

/// One function, or one of its copies.
pub(super) struct Frame<'a> {
    pub(super) function: &'a Function,
    rows: Vec<u32>,
    places: HashMap<String, (Space, u64)>,
    /// Branches whose labels are not placed yet.
    open: Vec<(usize, usize)>,
    open_tables: Vec<(usize, Vec<usize>)>,
    /// Returns of a copy.
    returns: Vec<usize>,
}

/// The code of a kernel.
pub(super) fn decode(
    module: &Module,
    kernel: &Function,
    addresses: &HashMap<String, u64>,
) -> std::result::Result<Code, LoadError> {
    let mut decoder = Decoder {
        module,
        addresses,
        code: Code {
            instructions: Vec::new(),
            accesses: Vec::new(),
            conversions: Vec::new(),
            matrices: Vec::new(),
            barriers: Vec::new(),
            tables: Vec::new(),
            n_words: 1,
            n_doubles: 0,
            // The first rows are nobody's, and what a shuffle says of its lanes.
            n_bits: 1,
            word_constants: Vec::new(),
            double_constants: Vec::new(),
            bit_constants: Vec::new(),
            specials: Vec::new(),
            shared_bytes: 0,
            local_bytes: 0,
        },
        words: HashMap::new(),
        doubles: HashMap::new(),
        specials: HashMap::new(),
        shared: HashMap::new(),
        guard: ALWAYS,
        line: kernel.line,
        kind: Kind::None,
        depth: 0,
    };
    let mut places = HashMap::new();
    let mut offset = 0;
    for it in &kernel.parameters {
        offset = usize::next_multiple_of(offset, it.align.max(1));
        places.insert(it.name.clone(), (Space::Param, offset as u64));
        offset += it.bytes;
    }
    let done = decoder.place_shared(kernel).and_then(|()| decoder.function(kernel, places));
    done.map_err(|message| LoadError {
        message: format!("kernel `{}`: {message}", kernel.name),
        line: decoder.line,
        text: module
            .lines
            .get(decoder.line.saturating_sub(1) as usize)
            .cloned()
            .unwrap_or_default(),
    })?;
    decoder.line = 0;
    decoder.push(Step::Exit, Operands::default());
    if let Some(line) = rows::share(&mut decoder.code) {
        return Err(LoadError {
            message: format!(
                "kernel `{}`: a register may be read before it is written: initialise the variable on every path",
                kernel.name
            ),
            line,
            text: module.lines.get(line.saturating_sub(1) as usize).cloned().unwrap_or_default(),
        });
    }
    Ok(decoder.code)
}

impl<'a> Decoder<'a> {
    fn function(
        &mut self,
        function: &'a Function,
        places: HashMap<String, (Space, u64)>,
    ) -> Result<()> {
        let rows = function.registers.iter().map(|class| self.fresh(*class)).collect();
        let mut frame = Frame {
            function,
            rows,
            places,
            open: Vec::new(),
            open_tables: Vec::new(),
            returns: Vec::new(),
        };
        for it in
            function.variables.iter().filter(|it| matches!(it.space, Space::Local | Space::Param))
        {
            let at = self.local(it.bytes, it.align);
            frame.places.insert(it.name.clone(), (Space::Local, at));
        }
        let mut starts = Vec::with_capacity(function.body.len() + 1);
        for statement in &function.body {
            starts.push(self.code.instructions.len());
            self.line = statement.line;
            self.guard = match statement.guard {
                None => ALWAYS,
                Some((register, negated)) => {
                    rows::index(frame.rows[register]) * 2 + u32::from(negated)
                }
            };
            self.statement(statement, &mut frame)?;
        }
        self.guard = ALWAYS;
        let end = self.code.instructions.len();
        starts.push(end);
        let position =
            |label: usize| starts[function.labels[label].expect("the parser saw the label")] as u32;
        for (at, label) in frame.open {
            self.code.instructions[at].step = Step::Branch(position(label));
        }
        for (table, labels) in frame.open_tables {
            self.code.tables[table] = labels.into_iter().map(position).collect();
        }
        for at in frame.returns {
            self.code.instructions[at].step = Step::Branch(end as u32);
        }
        Ok(())
    }

    fn local(&mut self, bytes: usize, align: usize) -> u64 {
        let at = (self.code.local_bytes as usize).next_multiple_of(align.max(1));
        self.code.local_bytes = (at + bytes) as u32;
        at as u64
    }

    fn shared_variable(&mut self, name: &str, bytes: usize, align: usize) -> u64 {
        if let Some(at) = self.shared.get(name) {
            return *at;
        }
        let at = (self.code.shared_bytes as usize).next_multiple_of(align.max(1));
        self.code.shared_bytes = (at + bytes) as u32;
        self.shared.insert(name.to_owned(), at as u64);
        at as u64
    }

    /// Places the shared variables that a kernel and what it calls name: those of the launch's size last.
    fn place_shared(&mut self, kernel: &Function) -> Result<()> {
        let mut names = Vec::new();
        self.symbols(kernel, &mut names, 0)?;
        let is_named = |it: &&Variable| it.space == Space::Shared && names.contains(&it.name);
        let mut dynamic = 1;
        for it in self.module.variables.iter().filter(is_named) {
            if it.bytes == 0 {
                dynamic = dynamic.max(it.align);
            } else {
                self.shared_variable(&it.name, it.bytes, it.align);
            }
        }
        for it in self.module.variables.iter().filter(is_named).filter(|it| it.bytes == 0) {
            self.code.shared_bytes = self.code.shared_bytes.next_multiple_of(dynamic as u32);
            self.shared.insert(it.name.clone(), self.code.shared_bytes.into());
        }
        Ok(())
    }

    /// The symbols in a function and in what it calls.
    fn symbols(
        &mut self,
        function: &Function,
        names: &mut Vec<String>,
        depth: usize,
    ) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(format!(
                "calls of functions are nested deeper than {MAX_DEPTH}, or recursive"
            ));
        }
        for it in function.variables.iter().filter(|it| it.space == Space::Shared) {
            self.shared_variable(&it.name, it.bytes, it.align);
        }
        let mut found = Vec::new();
        for statement in &function.body {
            statement.operands.iter().for_each(|it| collect(it, &mut found));
        }
        for name in found {
            let callee =
                self.module.functions.iter().find(|it| it.name == name && it.name != function.name);
            if let Some(callee) = callee {
                self.symbols(callee, names, depth + 1)?;
            }
            names.push(name);
        }
        Ok(())
    }

    pub(super) fn fresh(&mut self, class: Class) -> u32 {
        let (file, n) = match class {
            Class::Predicate => (rows::BIT, &mut self.code.n_bits),
            Class::Half | Class::Word => (rows::WORD, &mut self.code.n_words),
            Class::Double => (rows::DOUBLE, &mut self.code.n_doubles),
        };
        *n += 1;
        file << rows::FILE_SHIFT | (*n as u32 - 1)
    }

    /// Adds an instruction with the guard and line of the statement, and returns its position.
    pub(super) fn push(&mut self, step: Step, o: Operands) -> usize {
        let Self { guard, line, kind, .. } = *self;
        self.code.instructions.push(Instruction { step, o, guard, line, kind });
        // Of the steps of one statement only the first counts.
        self.kind = Kind::None;
        self.code.instructions.len() - 1
    }

    pub(super) fn lanes(&mut self, lanes: Lanes, d: u32, a: u32, b: u32, c: u32) {
        self.push(Step::Lanes(lanes.choose()), Operands { d, a, b, c, e: 0 });
    }
}

fn collect(operand: &Operand, names: &mut Vec<String>) {
    match operand {
        Operand::Symbol(name) => names.push(name.clone()),
        Operand::Address(base, _) => collect(base, names),
        Operand::List(list) => list.iter().for_each(|it| collect(it, names)),
        _ => {}
    }
}
