//! Loads, stores, atomics, asynchronous copies and matrices.

use super::arithmetic::last_type;
use super::{Decoder, Frame, Result};
use crate::counts::Kind;
use crate::exec::instruction::{Access, AtomicOperation, Element, Matrix, Row, Step};
use crate::exec::registers::Operands;
use crate::exec::types::Type;
use crate::ptx::{Class, Operand, Space, Statement};

impl Decoder<'_> {
    /// An access to `[register + offset]` or `[variable + offset]`.
    fn access(
        &mut self,
        operand: &Operand,
        space: Space,
        bytes: u8,
        frame: &Frame<'_>,
    ) -> Result<Access> {
        let Operand::Address(base, offset) = operand else {
            return Err("an address in brackets expected".to_owned());
        };
        let mut access = Access {
            space,
            bytes,
            is_signed: false,
            is_read_only: false,
            base: None,
            offset: *offset,
            rows: Vec::new(),
            operation: None,
            source: None,
            source_bytes: None,
            is_transposed: false,
        };
        match base.as_ref() {
            Operand::Symbol(name) => {
                let (place, at) = self.place(name, frame)?;
                if space == Space::Generic || (space == Space::Param && place == Space::Local) {
                    access.space = place;
                }
                access.offset = access.offset.wrapping_add(at as i64);
            }
            Operand::Integer(at) => access.offset = access.offset.wrapping_add(*at as i64),
            Operand::Register(it) => {
                access.base = Some(match frame.function.registers[*it] {
                    Class::Double => Row::Double(self.source(base, Type::Bits(64), frame)?),
                    Class::Word => Row::Word(self.source(base, Type::Bits(32), frame)?),
                    _ => return Err("an address in a register of this width".to_owned()),
                });
            }
            _ => return Err("an address of this form is not supported".to_owned()),
        }
        Ok(access)
    }

    fn add(&mut self, access: Access, step: impl Fn(u32) -> Step) {
        self.code.accesses.push(access);
        let idx = self.code.accesses.len() as u32 - 1;
        self.push(step(idx), Operands::default());
    }

    pub(super) fn load_or_store(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        self.kind = Kind::Memory;
        let t = last_type(it).ok_or("an access without a type")?;
        let is_load = it.name != "st";
        let mut operands: Vec<&Operand> = it.operands.iter().collect();
        // A cache policy may follow; it changes no number.
        if it.modifiers.iter().any(|it| it == "L2::cache_hint") {
            operands.truncate(2);
        }
        let [first, second] = operands.as_slice() else {
            return Err("two operands expected".to_owned());
        };
        let (address, values) = if is_load { (*second, *first) } else { (*first, *second) };
        let mut access = self.access(address, space(it)?, t.bits() / 8, frame)?;
        if !is_load && matches!(access.space, Space::Const | Space::Param) {
            return Err("constants and parameters cannot be written".to_owned());
        }
        access.is_signed = t.is_signed();
        access.is_read_only = is_load && it.modifiers.iter().any(|it| it == "nc");
        let values = match values {
            Operand::List(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        if usize::from(access.bytes) * values.len() > 16 || !values.len().is_power_of_two() {
            return Err("vectors of more than 16 bytes are not supported".to_owned());
        }
        for it in values {
            let row = self.any_row(it, t, frame)?;
            access.rows.push(row);
        }
        self.add(access, if is_load { Step::Load } else { Step::Store });
        Ok(())
    }

    pub(super) fn atomic(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        self.kind = Kind::Memory;
        let t = last_type(it).ok_or("an atomic operation without a type")?;
        if !t.is_integer() {
            self.push(
                Step::Forbidden("floating-point atomics are forbidden here: their sums depend on the order of the threads"),
                Operands::default(),
            );
            return Ok(());
        }
        let operation = operation(it, t)
            .filter(|_| matches!(t.bits(), 32 | 64))
            .ok_or("this atomic operation is not supported")?;
        let (target, rest) = match it.operands.as_slice() {
            [target, rest @ ..] if it.name == "atom" => (target.clone(), rest),
            rest => (Operand::Sink, rest),
        };
        let [address, values @ ..] = rest else { return Err("operands are missing".to_owned()) };
        let expected = if operation == AtomicOperation::CompareAndSwap { 2 } else { 1 };
        if values.len() != expected {
            return Err(format!("{expected} values expected"));
        }
        let mut access = self.access(address, space(it)?, t.bits() / 8, frame)?;
        for it in values {
            let row = self.any_row(it, t, frame)?;
            access.rows.push(row);
        }
        let d = self.target(&target, t, frame)?;
        access.rows.push(if t.bits() == 64 { Row::Double(d) } else { Row::Word(d) });
        access.operation = Some(operation);
        self.add(access, Step::Atomic);
        Ok(())
    }

    /// `cp.async.cg.shared.global [to], [from], 16, n;`
    pub(super) fn copy_async(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        self.kind = Kind::Memory;
        let has = |modifier: &str| it.modifiers.iter().any(|it| it == modifier);
        if has("commit_group") {
            self.push(Step::Commit, Operands::default());
            return Ok(());
        }
        if has("wait_all") {
            self.push(Step::Commit, Operands::default());
            self.push(Step::Wait(0), Operands::default());
            return Ok(());
        }
        if has("wait_group") {
            let Some(Operand::Integer(n)) = it.operands.first() else {
                return Err("a number of groups expected".to_owned());
            };
            self.push(Step::Wait(*n as u32), Operands::default());
            return Ok(());
        }
        if has("mbarrier") || !(has("ca") || has("cg")) {
            return Err("this copy is not supported".to_owned());
        }
        let mut operands: Vec<&Operand> = it.operands.iter().collect();
        if has("L2::cache_hint") {
            operands.pop();
        }
        let (to, from, bytes, rest) = match operands.as_slice() {
            [to, from, Operand::Integer(bytes), rest @ ..] => (*to, *from, *bytes, rest),
            _ => return Err("two addresses and a number of bytes expected".to_owned()),
        };
        if !matches!(bytes, 4 | 8 | 16) || (has("cg") && bytes != 16) {
            return Err(format!("copies of {bytes} bytes do not exist here"));
        }
        let mut access = self.access(to, Space::Shared, bytes as u8, frame)?;
        let source = self.access(from, Space::Global, bytes as u8, frame)?;
        let base = source.base.ok_or("the source's address must be a register")?;
        access.source = Some((base, source.offset));
        if let Some(n) = rest.first() {
            access.source_bytes = Some(match n {
                Operand::Not(_) => return Err("this copy is not supported".to_owned()),
                it => self.source(it, Type::Bits(32), frame)?,
            });
        }
        self.add(access, Step::CopyAsync);
        Ok(())
    }

    /// `ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {..}, [at];`
    pub(super) fn load_matrix(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        self.kind = Kind::Matrix;
        let has = |modifier: &str| it.modifiers.iter().any(|it| it == modifier);
        let [targets, address] = it.operands.as_slice() else {
            return Err("two operands expected".to_owned());
        };
        let n = match () {
            () if has("x4") => 4,
            () if has("x2") => 2,
            () => 1,
        };
        if !has("m8n8") || !has("b16") {
            return Err("this matrix is not supported".to_owned());
        }
        let space = if it.modifiers.iter().any(|it| it.starts_with("shared")) {
            Space::Shared
        } else {
            Space::Generic
        };
        let mut access = self.access(address, space, 16, frame)?;
        access.is_transposed = has("trans");
        access.rows = self.vector(targets, n, frame)?.into_iter().map(Row::Word).collect();
        self.add(access, Step::LoadMatrix);
        Ok(())
    }

    /// `mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {d}, {a}, {b}, {c};`
    pub(super) fn multiply(&mut self, it: &Statement, frame: &Frame<'_>) -> Result<()> {
        self.kind = Kind::Matrix;
        let types: Vec<Type> = it.modifiers.iter().filter_map(|it| Type::parse(it)).collect();
        let shape =
            it.modifiers.iter().find(|it| it.starts_with("m16n8k")).map_or("", String::as_str);
        let (inputs, k) = match (types.as_slice(), shape) {
            ([d, Type::Bf16, Type::Bf16, c], "m16n8k8") if (d, c) == (&Type::F32, &Type::F32) => {
                (Element::Bf16, 8)
            }
            ([d, Type::Bf16, Type::Bf16, c], "m16n8k16") if (d, c) == (&Type::F32, &Type::F32) => {
                (Element::Bf16, 16)
            }
            ([d, Type::F16, Type::F16, c], "m16n8k8") if d == c => (Element::F16, 8),
            ([d, Type::F16, Type::F16, c], "m16n8k16") if d == c => (Element::F16, 16),
            ([Type::F32, Type::Tf32, Type::Tf32, Type::F32], "m16n8k4") => (Element::Tf32, 4),
            ([Type::F32, Type::Tf32, Type::Tf32, Type::F32], "m16n8k8") => (Element::Tf32, 8),
            _ => return Err("this matrix product is not supported".to_owned()),
        };
        let has = |modifier: &str| it.modifiers.iter().any(|it| it == modifier);
        let sums_f16 = types[0] == Type::F16;
        if !has("row") || !has("col") || (types[0] != Type::F32 && !sums_f16) {
            return Err("this matrix product is not supported".to_owned());
        }
        let [d, a, b, c] = it.operands.as_slice() else {
            return Err("four operands expected".to_owned());
        };
        let n_sums = if sums_f16 { 2 } else { 4 };
        let n_a = if inputs == Element::Tf32 { k / 2 } else { k / 4 };
        let d = self.vector(d, n_sums, frame)?;
        let a = self.vector(a, n_a, frame)?;
        let b = self.vector(b, n_a / 2, frame)?;
        let c = self.vector(c, n_sums, frame)?;
        let fill = |from: Vec<u32>| std::array::from_fn(|idx| from.get(idx).copied().unwrap_or(0));
        let matrix = Matrix {
            k: k as u8,
            inputs,
            sums_f16,
            d: fill(d),
            a: fill(a),
            b: [b[0], b.get(1).copied().unwrap_or(0)],
            c: fill(c),
        };
        self.code.matrices.push(matrix);
        let idx = self.code.matrices.len() as u32 - 1;
        self.push(Step::Multiply(idx), Operands::default());
        Ok(())
    }

    /// The rows of `{a, b}`, which must be so many.
    fn vector(&mut self, operand: &Operand, n: usize, frame: &Frame<'_>) -> Result<Vec<u32>> {
        let parts = match operand {
            Operand::List(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        if parts.len() != n {
            return Err(format!("a vector of {n} registers expected"));
        }
        parts.iter().map(|it| self.source(it, Type::Bits(32), frame)).collect()
    }
}

fn space(it: &Statement) -> Result<Space> {
    let found = it.modifiers.iter().find_map(|it| match it.as_str() {
        "global" => Some(Ok(Space::Global)),
        "const" => Some(Ok(Space::Const)),
        "shared" | "shared::cta" => Some(Ok(Space::Shared)),
        "local" => Some(Ok(Space::Local)),
        "param" | "param::entry" | "param::func" => Some(Ok(Space::Param)),
        "shared::cluster" => Some(Err("clusters are not supported".to_owned())),
        _ => None,
    });
    found.unwrap_or(Ok(Space::Generic))
}

/// What an atomic operation or a reduction computes.
pub(super) fn operation(it: &Statement, t: Type) -> Option<AtomicOperation> {
    let signed = t.is_signed();
    it.modifiers.iter().find_map(|it| {
        Some(match it.as_str() {
            "add" => AtomicOperation::Add,
            "min" if signed => AtomicOperation::MinSigned,
            "max" if signed => AtomicOperation::MaxSigned,
            "min" => AtomicOperation::MinUnsigned,
            "max" => AtomicOperation::MaxUnsigned,
            "and" => AtomicOperation::And,
            "or" => AtomicOperation::Or,
            "xor" => AtomicOperation::Xor,
            "exch" => AtomicOperation::Exchange,
            "cas" => AtomicOperation::CompareAndSwap,
            "inc" => AtomicOperation::Increment,
            "dec" => AtomicOperation::Decrement,
            _ => return None,
        })
    })
}
