//! Operands as rows of registers.

use super::{Decoder, Frame, LOCAL_WINDOW, PARAM_WINDOW, Result, SHARED_WINDOW};
use crate::exec::instruction::{Row, Special};
use crate::exec::integer;
use crate::exec::types::Type;
use crate::ptx::{Class, Operand, Space};

impl Decoder<'_> {
    /// The row of a source of the type's width.
    pub(super) fn source(&mut self, operand: &Operand, t: Type, frame: &Frame<'_>) -> Result<u32> {
        match operand {
            Operand::Register(it) => {
                let class = frame.function.registers[*it];
                let fits = match t {
                    Type::Pred => class == Class::Predicate,
                    _ if t.bits() == 64 => class == Class::Double,
                    _ => matches!(class, Class::Half | Class::Word),
                };
                if fits {
                    Ok(frame.rows[*it])
                } else {
                    Err(format!("a {class:?} register where {t:?} is expected"))
                }
            }
            Operand::Not(it) if t == Type::Pred => {
                let (a, d) = (frame.rows[*it], self.fresh(Class::Predicate));
                let (guard, kind) = (self.guard, self.kind);
                (self.guard, self.kind) = (super::ALWAYS, crate::counts::Kind::None);
                self.lanes(integer::NOT_PRED, d, a, a, 0);
                (self.guard, self.kind) = (guard, kind);
                Ok(d)
            }
            Operand::Special(name) => {
                let special = Special::parse(name)
                    .ok_or_else(|| format!("the special register `{name}` is not supported"))?;
                if t.bits() == 64 {
                    return Err(format!("the special register `{name}` has 32 bits"));
                }
                Ok(self.special(special))
            }
            Operand::Integer(it) => match t {
                Type::Pred => Ok(self.bit_constant(*it != 0)),
                Type::F32 | Type::F64 => {
                    Err("an integer where a floating-point number is expected".to_owned())
                }
                _ => Ok(self.constant(*it, t)),
            },
            Operand::Single(bits) => match t {
                Type::F64 => Ok(self.double_constant(f64::from(f32::from_bits(*bits)).to_bits())),
                _ => Ok(self.word_constant(*bits)),
            },
            Operand::Double(bits) => match t {
                Type::F32 => Ok(self.word_constant((f64::from_bits(*bits) as f32).to_bits())),
                _ => Ok(self.double_constant(*bits)),
            },
            Operand::Symbol(name) => {
                let (_, at) = self.place(name, frame)?;
                Ok(self.constant(at, t))
            }
            other => Err(format!("{other:?} cannot be read")),
        }
    }

    /// The row of a result; one that nobody reads for `_`.
    pub(super) fn target(&mut self, operand: &Operand, t: Type, frame: &Frame<'_>) -> Result<u32> {
        match operand {
            Operand::Register(_) => self.source(operand, t, frame),
            Operand::Sink => Ok(self.fresh(match t {
                Type::Pred => Class::Predicate,
                _ if t.bits() == 64 => Class::Double,
                _ => Class::Word,
            })),
            other => Err(format!("{other:?} cannot be written")),
        }
    }

    /// The row of a register of whatever width, or of a constant: what loads and stores allow.
    pub(super) fn any_row(&mut self, operand: &Operand, t: Type, frame: &Frame<'_>) -> Result<Row> {
        match operand {
            Operand::Register(it) => match frame.function.registers[*it] {
                Class::Double => Ok(Row::Double(frame.rows[*it])),
                Class::Predicate => Err("a predicate in memory".to_owned()),
                _ => Ok(Row::Word(frame.rows[*it])),
            },
            Operand::Sink => Ok(Row::Word(self.fresh(Class::Word))),
            _ if t.bits() == 64 => self.source(operand, t, frame).map(Row::Double),
            _ => self.source(operand, t, frame).map(Row::Word),
        }
    }

    /// Where a variable, a parameter or a piece of shared memory lies.
    pub(super) fn place(&self, name: &str, frame: &Frame<'_>) -> Result<(Space, u64)> {
        if let Some(it) = frame.places.get(name) {
            return Ok(*it);
        }
        if let Some(it) = self.shared.get(name) {
            return Ok((Space::Shared, *it));
        }
        match self.addresses.get(name) {
            Some(it) => Ok((Space::Global, *it)),
            None => Err(format!("`{name}` is not declared")),
        }
    }

    /// The difference between generic addresses and those of a space.
    pub(super) fn window(space: &str) -> Result<u64> {
        match space {
            "global" | "const" => Ok(0),
            "shared" | "shared::cta" => Ok(SHARED_WINDOW),
            "local" => Ok(LOCAL_WINDOW),
            "param" => Ok(PARAM_WINDOW),
            other => Err(format!("the space `{other}` is not supported")),
        }
    }

    pub(super) fn constant(&mut self, value: u64, t: Type) -> u32 {
        match t.bits() {
            64 => self.double_constant(value),
            16 => self.word_constant(value as u32 & 0xffff),
            _ => self.word_constant(value as u32),
        }
    }

    pub(super) fn word_constant(&mut self, value: u32) -> u32 {
        if let Some(row) = self.words.get(&value) {
            return *row;
        }
        let row = self.fresh(Class::Word);
        self.words.insert(value, row);
        self.code.word_constants.push((row, value));
        row
    }

    fn double_constant(&mut self, value: u64) -> u32 {
        if let Some(row) = self.doubles.get(&value) {
            return *row;
        }
        let row = self.fresh(Class::Double);
        self.doubles.insert(value, row);
        self.code.double_constants.push((row, value));
        row
    }

    fn bit_constant(&mut self, value: bool) -> u32 {
        let bits = if value { u32::MAX } else { 0 };
        if let Some((row, _)) = self.code.bit_constants.iter().find(|it| it.1 == bits) {
            return *row;
        }
        let row = self.fresh(Class::Predicate);
        self.code.bit_constants.push((row, bits));
        row
    }

    fn special(&mut self, special: Special) -> u32 {
        if let Some(row) = self.specials.get(&special) {
            return *row;
        }
        let row = self.fresh(Class::Word);
        self.specials.insert(special, row);
        self.code.specials.push((row, special));
        row
    }
}
