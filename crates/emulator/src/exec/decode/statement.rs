//! Which instruction is decoded how; branches, calls and what concerns several lanes.

use super::arithmetic::last_type;
use super::{Decoder, Frame, MAX_DEPTH, Result};
use crate::counts::Kind;
use crate::exec::instruction::{Barrier, Reduction, Shuffle, Step, Vote};
use crate::exec::registers::Operands;
use crate::exec::types::Type;
use crate::ptx::{Class, Operand, Space, Statement};

impl<'a> Decoder<'a> {
    pub(super) fn statement(&mut self, it: &'a Statement, frame: &mut Frame<'a>) -> Result<()> {
        let has = |modifier: &str| it.modifiers.iter().any(|it| it == modifier);
        let none = Operands::default();
        self.kind = Kind::Control;
        match it.name.as_str() {
            "ld" | "ldu" | "st" => self.load_or_store(it, frame),
            "mov" => self.mov(it, frame),
            "cvt" => self.convert(it, frame),
            "cvta" => self.convert_address(it, frame),
            "setp" => self.compare(it, frame),
            "bra" => {
                let Some(Operand::Label(label)) = it.operands.first() else {
                    return Err("a label expected".to_owned());
                };
                let at = self.push(Step::Branch(0), none);
                frame.open.push((at, *label));
                Ok(())
            }
            "brx" => self.branch_table(it, frame),
            "call" => self.call(it, frame),
            "ret" if self.depth > 0 => {
                let at = self.push(Step::Branch(0), none);
                frame.returns.push(at);
                Ok(())
            }
            "ret" | "exit" => {
                self.push(Step::Exit, none);
                Ok(())
            }
            "trap" | "brkpt" => {
                self.push(Step::Forbidden("the kernel stopped itself (`trap`)"), none);
                Ok(())
            }
            "nop" | "nanosleep" | "prefetch" | "prefetchu" | "applypriority" | "discard" => {
                self.push(Step::Nothing, none);
                Ok(())
            }
            "membar" | "fence" => {
                self.kind = Kind::Sync;
                self.push(Step::Nothing, none);
                Ok(())
            }
            "bar" | "barrier" if has("warp") => {
                self.kind = Kind::Sync;
                let [mask] = it.operands.as_slice() else {
                    return Err("one mask expected".to_owned());
                };
                let a = self.source(mask, Type::Bits(32), frame)?;
                self.push(Step::WarpSync, Operands { a, ..none });
                Ok(())
            }
            "bar" | "barrier" => self.barrier(it, frame),
            "shfl" if has("sync") => self.shuffle(it, frame),
            "vote" if has("sync") => self.vote(it, frame),
            "match" | "redux" if has("sync") => self.reduce(it, frame),
            "activemask" => {
                self.kind = Kind::Sync;
                let d = self.target(
                    it.operands.first().ok_or("a target expected")?,
                    Type::Bits(32),
                    frame,
                )?;
                self.push(Step::ActiveMask, Operands { d, ..none });
                Ok(())
            }
            "atom" | "red" => self.atomic(it, frame),
            "cp" if has("async") && !has("bulk") => self.copy_async(it, frame),
            "ldmatrix" => self.load_matrix(it, frame),
            "mma" => self.multiply(it, frame),
            _ => self.arithmetic(it, frame),
        }
    }

    fn branch_table(&mut self, it: &Statement, frame: &mut Frame<'a>) -> Result<()> {
        let [index, Operand::Symbol(name)] = it.operands.as_slice() else {
            return Err("an index and a table expected".to_owned());
        };
        let a = self.source(index, Type::Bits(32), frame)?;
        let found = frame.function.tables.iter().find(|it| it.0 == *name);
        let labels = found.ok_or_else(|| format!("the table `{name}` is not declared"))?.1.clone();
        let table = self.code.tables.len();
        self.code.tables.push(Vec::new());
        frame.open_tables.push((table, labels));
        self.push(Step::BranchTable(table as u32), Operands { a, ..Operands::default() });
        Ok(())
    }

    /// A call is replaced by the function's body; its parameters lie in local memory.
    fn call(&mut self, it: &'a Statement, frame: &mut Frame<'a>) -> Result<()> {
        let name = it.operands.iter().find_map(|it| match it {
            Operand::Symbol(name) => Some(name),
            _ => None,
        });
        let name = name.ok_or("calls through pointers are not supported")?;
        let module = self.module;
        let callee = module.functions.iter().find(|it| it.name == *name && !it.is_kernel);
        let callee =
            callee.ok_or_else(|| format!("the function `{name}` has no body in this module"))?;
        if self.depth >= MAX_DEPTH {
            return Err("calls are nested too deeply".to_owned());
        }
        if it.guard.is_some() {
            return Err("a call under a predicate is not supported".to_owned());
        }
        let position =
            it.operands.iter().position(|it| matches!(it, Operand::Symbol(_))).unwrap_or(0);
        let list = |operand: Option<&Operand>| match operand {
            Some(Operand::List(list)) => list.clone(),
            _ => Vec::new(),
        };
        let results = if position > 0 { list(it.operands.first()) } else { Vec::new() };
        let arguments = list(it.operands.get(position + 1));
        if results.len() != callee.returns.len() || arguments.len() != callee.parameters.len() {
            return Err(format!("`{name}` has other parameters"));
        }
        let mut places = std::collections::HashMap::new();
        let formal = callee.returns.iter().chain(&callee.parameters);
        for (formal, actual) in formal.zip(results.iter().chain(&arguments)) {
            let place = match actual {
                Operand::Symbol(actual) => self.place(actual, frame)?,
                _ => return Err("arguments must be parameters".to_owned()),
            };
            places.insert(formal.name.clone(), (Space::Local, place.1));
        }
        self.depth += 1;
        let (line, guard) = (self.line, self.guard);
        self.push(Step::Nothing, Operands::default());
        let done = self.function(callee, places);
        self.depth -= 1;
        done?;
        (self.line, self.guard) = (line, guard);
        Ok(())
    }

    /// `bar.sync`, `bar.arrive`, `bar.red` and their longer names.
    fn barrier(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        let has = |modifier: &str| it.modifiers.iter().any(|it| it == modifier);
        self.kind = Kind::Sync;
        let word = Type::Bits(32);
        let mut operands = it.operands.as_slice();
        let mut reduction = None;
        if has("red") {
            let ([d, rest @ ..], true) = (operands, operands.len() >= 3) else {
                return Err("operands are missing".to_owned());
            };
            let [rest @ .., p] = rest else { return Err("operands are missing".to_owned()) };
            let p = self.source(p, Type::Pred, frame)?;
            reduction = Some(match () {
                () if has("popc") => Reduction::Count { d: self.target(d, word, frame)?, p },
                () if has("and") => Reduction::All { d: self.target(d, Type::Pred, frame)?, p },
                () if has("or") => Reduction::Any { d: self.target(d, Type::Pred, frame)?, p },
                () => return Err("this barrier is not supported".to_owned()),
            });
            operands = rest;
        } else if !has("sync") && !has("arrive") {
            return Err("this barrier is not supported".to_owned());
        }
        let (id, threads) = match operands {
            [id] => (self.source(id, word, frame)?, None),
            [id, threads] => {
                (self.source(id, word, frame)?, Some(self.source(threads, word, frame)?))
            }
            _ => return Err("one or two operands expected".to_owned()),
        };
        self.code.barriers.push(Barrier { id, threads, waits: !has("arrive"), reduction });
        let idx = self.code.barriers.len() as u32 - 1;
        self.push(Step::Barrier(idx), Operands::default());
        Ok(())
    }

    /// `shfl.sync.bfly.b32 d|p, a, b, c, mask;`
    fn shuffle(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        let has = |modifier: &str| it.modifiers.iter().any(|it| it == modifier);
        self.kind = Kind::Sync;
        let word = Type::Bits(32);
        let (targets, sources) = it.operands.split_at(if it.is_pair { 2 } else { 1 });
        let [a, b, c, mask] = sources else { return Err("four sources expected".to_owned()) };
        let mode = match () {
            () if has("up") => Shuffle::Up,
            () if has("down") => Shuffle::Down,
            () if has("bfly") => Shuffle::Butterfly,
            () if has("idx") => Shuffle::Index,
            () => return Err("this shuffle is not supported".to_owned()),
        };
        let [a, b, c, mask] = [
            self.source(a, word, frame)?,
            self.source(b, word, frame)?,
            self.source(c, word, frame)?,
            self.source(mask, word, frame)?,
        ];
        let d = self.target(&targets[0], word, frame)?;
        // The result of lanes that read themselves is told by a predicate, behind the mask's row.
        let p = match targets.get(1) {
            Some(it) => self.target(it, Type::Pred, frame)?,
            None => self.fresh(Class::Predicate),
        };
        self.push(Step::Shuffle(mode), Operands { d, a, b, c, e: mask });
        self.kind = Kind::None;
        // The shuffle leaves its predicate in row 0, which is no register's.
        let row = crate::exec::rows::SHUFFLED;
        self.lanes(crate::exec::integer::MOVE_PRED, p, row, row, 0);
        Ok(())
    }

    /// `vote.sync.ballot.b32 d, p, mask;`
    fn vote(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        let has = |modifier: &str| it.modifiers.iter().any(|it| it == modifier);
        self.kind = Kind::Sync;
        let [d, a, mask] = it.operands.as_slice() else {
            return Err("three operands expected".to_owned());
        };
        let (mode, t) = match () {
            () if has("ballot") => (Vote::Ballot, Type::Bits(32)),
            () if has("all") => (Vote::All, Type::Pred),
            () if has("any") => (Vote::Any, Type::Pred),
            () if has("uni") => (Vote::Uniform, Type::Pred),
            () => return Err("this vote is not supported".to_owned()),
        };
        let (a, b) =
            (self.source(a, Type::Pred, frame)?, self.source(mask, Type::Bits(32), frame)?);
        let d = self.target(d, t, frame)?;
        self.push(Step::Vote(mode), Operands { d, a, b, ..Operands::default() });
        Ok(())
    }

    /// `redux.sync.add.s32 d, a, mask;` and `match.any.sync.b32 d, a, mask;`
    fn reduce(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        let t = last_type(it).filter(|it| it.bits() == 32 && it.is_integer());
        let t = t.ok_or("only 32 bits are supported")?;
        self.kind = Kind::Sync;
        let [d, a, mask] = it.operands.as_slice() else {
            return Err("three operands expected".to_owned());
        };
        let (a, b) = (self.source(a, t, frame)?, self.source(mask, Type::Bits(32), frame)?);
        let d = self.target(d, t, frame)?;
        let step = if it.name == "redux" {
            let operation =
                super::memory::operation(it, t).ok_or("this reduction is not supported")?;
            Step::Reduce(operation)
        } else if it.modifiers.iter().any(|it| it == "any") {
            Step::Match
        } else {
            return Err("only `match.any` is supported".to_owned());
        };
        self.push(step, Operands { d, a, b, ..Operands::default() });
        Ok(())
    }
}
