//! Instructions that each lane executes by itself.

use super::{Decoder, Frame, Result};
use crate::counts::Kind;
use crate::exec::convert::{self, Conversion};
use crate::exec::instruction::Step;
use crate::exec::registers::{Operands, binary, lanes, unary};
use crate::exec::rounding::Direction;
use crate::exec::types::Type;
use crate::exec::{float, half, integer, rows};
use crate::ptx::{Class, Operand, Statement};

lanes! {
    PACK_16 = binary(|low: u32, high: u32| (low & 0xffff) | high << 16);
    PACK_32 = binary(|low: u32, high: u32| u64::from(low) | u64::from(high) << 32);
    LOW_16 = unary(|a: u32| a & 0xffff);
    HIGH_16 = unary(|a: u32| a >> 16);
    LOW_32 = unary(|a: u64| a as u32);
    HIGH_32 = unary(|a: u64| (a >> 32) as u32);
}

impl Decoder<'_> {
    /// An instruction whose operands have one width, or two as its name says.
    pub(super) fn arithmetic(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        let has = |modifier: &str| it.modifiers.iter().any(|it| it == modifier);
        let t = last_type(it).ok_or("this instruction is not supported")?;
        let name = it.name.as_str();
        let find = |name: &str| {
            integer::find(name, t, &has)
                .or_else(|| float::find(name, t, &has))
                .or_else(|| half::find(name, t, &has))
        };
        let lanes = find(name).ok_or("this instruction is not supported")?;
        let word = Type::Bits(32);
        let wide = match t {
            Type::Unsigned(n) if has("wide") => Type::Unsigned(n * 2),
            Type::Signed(n) if has("wide") => Type::Signed(n * 2),
            _ => t,
        };
        let (d_type, types): (Type, &[Type]) = match name {
            "popc" | "clz" | "bfind" => (word, &[t]),
            "shl" | "shr" => (t, &[t, word]),
            "bfe" => (t, &[t, word, word]),
            "bfi" => (t, &[t, t, word, word]),
            "selp" => (t, &[t, t, Type::Pred]),
            "mad" => (wide, &[t, t, wide]),
            "sad" => (t, &[t, t, word]),
            "fma" | "prmt" | "shf" => (t, &[t, t, t]),
            "lop3" => (t, &[t, t, t, word]),
            "neg" | "abs" | "not" | "cnot" | "mov" | "brev" | "ex2" | "lg2" | "rcp" | "sqrt"
            | "rsqrt" | "sin" | "cos" | "tanh" => (t, &[t]),
            _ => (wide, &[t, t]),
        };
        let [target, sources @ ..] = it.operands.as_slice() else {
            return Err("operands are missing".to_owned());
        };
        if sources.len() != types.len() {
            return Err(format!("{} sources expected, found {}", types.len(), sources.len()));
        }
        self.kind = kind(name, t);
        let mut rows = [0; 4];
        for ((row, source), t) in rows.iter_mut().zip(sources).zip(types) {
            *row = self.source(source, *t, frame)?;
        }
        let d = self.target(target, d_type, frame)?;
        let flushes = has("ftz") && t == Type::F32;
        if has("ftz") && matches!(t, Type::F16 | Type::F16x2) {
            return Err("`.ftz` of f16 is not supported".to_owned());
        }
        if flushes {
            for row in rows.iter_mut().take(sources.len()) {
                let flushed = self.fresh(Class::Word);
                self.kind = Kind::None;
                self.lanes(float::FLUSH, flushed, *row, 0, 0);
                *row = flushed;
            }
            self.kind = kind(name, t);
        }
        let [a, b, c, e] = rows;
        let e = match (name, sources.last()) {
            ("lop3", Some(Operand::Integer(table))) => {
                rows::LITERAL << rows::FILE_SHIFT | *table as u32
            }
            ("lop3", _) => return Err("the table of `lop3` must be a number".to_owned()),
            _ => e,
        };
        let o = Operands { d, a, b, c, e };
        let run = lanes.choose();
        match name {
            "div" | "rem" if t.is_integer() => self.push(Step::Divide(run, t.bits()), o),
            _ => self.push(Step::Lanes(run), o),
        };
        if flushes {
            self.lanes(float::FLUSH, d, d, 0, 0);
        }
        if has("sat") && !t.is_integer() {
            let saturate = if t == Type::F32 {
                Some(float::SATURATE)
            } else {
                half::find("saturate", t, &has)
            };
            self.lanes(saturate.ok_or("`.sat` is not supported for this type")?, d, d, 0, 0);
        }
        if has("relu") {
            self.lanes(
                half::find("relu", t, &has).ok_or("`.relu` is not supported for this type")?,
                d,
                d,
                0,
                0,
            );
        }
        Ok(())
    }

    /// `setp.lt.and.f32 p|q, a, b, c;`
    pub(super) fn compare(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        let t = last_type(it).ok_or("a comparison without a type")?;
        let operation = it.modifiers.first().map_or("", String::as_str);
        let found = integer::find_compare(operation, t).map(|it| (it, false));
        let found = found
            .or_else(|| float::find_compare(operation, t))
            .or_else(|| half::find_compare(operation, t));
        let (lanes, inverted) = found.ok_or("this comparison is not supported")?;
        let combine = it.modifiers.iter().find_map(|it| match it.as_str() {
            "and" => Some(integer::AND_PRED),
            "or" => Some(integer::OR_PRED),
            "xor" => Some(integer::XOR_PRED),
            _ => None,
        });
        let n_targets = if it.is_pair { 2 } else { 1 };
        if it.operands.len() != n_targets + 2 + usize::from(combine.is_some()) {
            return Err("the number of operands does not fit".to_owned());
        }
        self.kind = Kind::Compare;
        let (targets, sources) = it.operands.split_at(n_targets);
        let mut a = self.source(&sources[0], t, frame)?;
        let mut b = self.source(&sources[1], t, frame)?;
        let c = sources.get(2).map(|it| self.source(it, Type::Pred, frame)).transpose()?;
        let p = self.target(&targets[0], Type::Pred, frame)?;
        let q = targets.get(1).map(|it| self.target(it, Type::Pred, frame)).transpose()?;
        if it.modifiers.iter().any(|it| it == "ftz") && t == Type::F32 {
            self.kind = Kind::None;
            for row in [&mut a, &mut b] {
                let flushed = self.fresh(Class::Word);
                self.lanes(float::FLUSH, flushed, *row, 0, 0);
                *row = flushed;
            }
            self.kind = Kind::Compare;
        }
        if c.is_none() && q.is_none() && !inverted {
            self.lanes(lanes, p, a, b, 0);
            return Ok(());
        }
        let result = self.fresh(Class::Predicate);
        self.lanes(lanes, result, a, b, 0);
        let opposite = self.fresh(Class::Predicate);
        self.lanes(integer::NOT_PRED, opposite, result, result, 0);
        let (result, opposite) = if inverted { (opposite, result) } else { (result, opposite) };
        let second = self.fresh(Class::Predicate);
        match (combine, c) {
            (Some(combine), Some(c)) => {
                self.lanes(combine, second, opposite, c, 0);
                self.lanes(combine, p, result, c, 0);
            }
            _ => {
                self.lanes(integer::MOVE_PRED, second, opposite, opposite, 0);
                self.lanes(integer::MOVE_PRED, p, result, result, 0);
            }
        }
        if let Some(q) = q {
            self.lanes(integer::MOVE_PRED, q, second, second, 0);
        }
        Ok(())
    }

    /// `mov`, with vectors that are packed or unpacked.
    pub(super) fn mov(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        let t = last_type(it).ok_or("a move without a type")?;
        let [target, source] = it.operands.as_slice() else {
            return Err("two operands expected".to_owned());
        };
        self.kind = Kind::Move;
        let half = Type::Bits(16);
        let word = Type::Bits(32);
        match (target, source) {
            (_, Operand::List(parts)) => {
                let d = self.target(target, t, frame)?;
                let types = part_type(t, parts.len())?;
                let rows: Vec<u32> =
                    parts.iter().map(|it| self.source(it, types, frame)).collect::<Result<_>>()?;
                match rows.as_slice() {
                    [a, b] if t.bits() == 32 => self.lanes(PACK_16, d, *a, *b, 0),
                    [a, b] => self.lanes(PACK_32, d, *a, *b, 0),
                    [a, b, c, e] => {
                        let (low, high) = (self.fresh(Class::Word), self.fresh(Class::Word));
                        self.lanes(PACK_16, low, *a, *b, 0);
                        self.lanes(PACK_16, high, *c, *e, 0);
                        self.lanes(PACK_32, d, low, high, 0);
                    }
                    _ => return Err("a vector of this length is not supported".to_owned()),
                }
                Ok(())
            }
            (Operand::List(parts), _) => {
                let a = self.source(source, t, frame)?;
                let types = part_type(t, parts.len())?;
                let rows: Vec<u32> =
                    parts.iter().map(|it| self.target(it, types, frame)).collect::<Result<_>>()?;
                // The source may be one of the targets: all parts are read before any is written.
                let parts: Vec<u32> = rows.iter().map(|_| self.fresh(Class::Word)).collect();
                match parts.as_slice() {
                    [low, high] if t.bits() == 32 => {
                        self.lanes(LOW_16, *low, a, 0, 0);
                        self.lanes(HIGH_16, *high, a, 0, 0);
                    }
                    [low, high] => {
                        self.lanes(LOW_32, *low, a, 0, 0);
                        self.lanes(HIGH_32, *high, a, 0, 0);
                    }
                    [p0, p1, p2, p3] => {
                        let (low, high) = (self.fresh(Class::Word), self.fresh(Class::Word));
                        self.lanes(LOW_32, low, a, 0, 0);
                        self.lanes(HIGH_32, high, a, 0, 0);
                        self.lanes(LOW_16, *p0, low, 0, 0);
                        self.lanes(HIGH_16, *p1, low, 0, 0);
                        self.lanes(LOW_16, *p2, high, 0, 0);
                        self.lanes(HIGH_16, *p3, high, 0, 0);
                    }
                    _ => return Err("a vector of this length is not supported".to_owned()),
                }
                for (row, part) in rows.into_iter().zip(parts) {
                    self.lanes(
                        if types == half { integer::MOVE_16 } else { integer::MOVE_32 },
                        row,
                        part,
                        0,
                        0,
                    );
                }
                Ok(())
            }
            (_, Operand::Integer(_)) if matches!(t, Type::F32 | Type::F64) => {
                Err("an integer to a floating-point register".to_owned())
            }
            _ => {
                let a = self.source(source, t, frame)?;
                let d = self.target(target, t, frame)?;
                let lanes = match t {
                    Type::Pred => integer::MOVE_PRED,
                    _ if t.bits() == 64 => integer::MOVE_64,
                    _ if t.bits() == 16 => integer::MOVE_16,
                    _ if t == word || t.bits() == 32 => integer::MOVE_32,
                    _ => return Err("a move of 8 bits".to_owned()),
                };
                self.lanes(lanes, d, a, a, 0);
                Ok(())
            }
        }
    }

    /// `cvt` with all that modifies it.
    pub(super) fn convert(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        let types: Vec<Type> = it.modifiers.iter().filter_map(|it| Type::parse(it)).collect();
        let has = |modifier: &str| it.modifiers.iter().any(|it| it == modifier);
        self.kind = Kind::Convert;
        if let ([to @ (Type::F16x2 | Type::Bf16x2), Type::F32], [d, a, b]) =
            (types.as_slice(), it.operands.as_slice())
        {
            if has("relu") || has("satfinite") || has("rz") {
                return Err("only `.rn` is supported for pairs".to_owned());
            }
            let (a, b) = (self.source(a, Type::F32, frame)?, self.source(b, Type::F32, frame)?);
            let d = self.target(d, *to, frame)?;
            self.lanes(
                if *to == Type::F16x2 { convert::F32_TO_F16X2 } else { convert::F32_TO_BF16X2 },
                d,
                a,
                b,
                0,
            );
            return Ok(());
        }
        let ([to, from], [d, a]) = (types.as_slice(), it.operands.as_slice()) else {
            return Err("this conversion is not supported".to_owned());
        };
        let unknown = |t: &Type| matches!(t, Type::Pred | Type::F16x2 | Type::Bf16x2 | Type::Tf32);
        if unknown(to) || unknown(from) || has("satfinite") {
            return Err("this conversion is not supported".to_owned());
        }
        let direction = match () {
            () if has("rz") || has("rzi") => Direction::Zero,
            () if has("rm") || has("rmi") => Direction::Down,
            () if has("rp") || has("rpi") => Direction::Up,
            () => Direction::Nearest,
        };
        let is_integral = ["rni", "rzi", "rmi", "rpi"].into_iter().any(has);
        let conversion = Conversion {
            from: *from,
            to: *to,
            direction,
            is_integral: is_integral || (!from.is_integer() && to.is_integer()),
            saturates: has("sat"),
            relu: has("relu"),
            flushes: has("ftz"),
        };
        let (a, d) = (self.source(a, *from, frame)?, self.target(d, *to, frame)?);
        match convert::find(&conversion) {
            Some(lanes) => self.lanes(lanes, d, a, a, 0),
            None => {
                self.code.conversions.push(conversion);
                let idx = self.code.conversions.len() as u32 - 1;
                self.push(Step::Convert(idx), Operands { d, a, ..Operands::default() });
            }
        }
        Ok(())
    }

    /// `cvta`: from addresses of a space to generic ones, or back.
    pub(super) fn convert_address(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        let t = last_type(it).ok_or("an address without a type")?;
        let back = it.modifiers.first().is_some_and(|it| it == "to");
        let space = it.modifiers.get(usize::from(back)).map_or("", String::as_str);
        let window = Self::window(space)?;
        let [target, source] = it.operands.as_slice() else {
            return Err("two operands expected".to_owned());
        };
        if t.bits() != 64 {
            return Err("addresses of 32 bits are not supported".to_owned());
        }
        self.kind = Kind::Integer;
        let (a, d) = (self.source(source, t, frame)?, self.target(target, t, frame)?);
        let b = self.constant(window, t);
        let lanes = match (window, back) {
            (0, _) => integer::MOVE_64,
            (_, true) => integer::SUB_64,
            (_, false) => integer::ADD_64,
        };
        self.lanes(lanes, d, a, b, 0);
        Ok(())
    }
}

/// The last type that an instruction names.
pub(super) fn last_type(it: &Statement) -> Option<Type> {
    it.modifiers.iter().rev().find_map(|it| Type::parse(it))
}

fn part_type(t: Type, n: usize) -> Result<Type> {
    match usize::from(t.bits()) / n {
        bits @ (16 | 32) if bits * n == usize::from(t.bits()) => Ok(Type::Bits(bits as u8)),
        _ => Err("parts of this width are not supported".to_owned()),
    }
}

fn kind(name: &str, t: Type) -> Kind {
    match (name, t) {
        ("mov" | "selp", _) => Kind::Move,
        ("ex2" | "lg2" | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "tanh", _) => Kind::Special,
        ("div", Type::F32 | Type::F64) => Kind::Special,
        (_, Type::F32) => Kind::Float,
        (_, Type::F64) => Kind::Double,
        (_, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2) => Kind::Half,
        _ => Kind::Integer,
    }
}
