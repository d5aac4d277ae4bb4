//! The stack machine that runs a pickle.
//!
//! All objects are in one [`Heap`] and refer to each other by index: for any nesting depth, and even for
//! cycles, nothing is copied, and dropping them does not recurse. The number of instructions is bounded,
//! which bounds the memory.

use std::collections::HashMap;

use candle::DType;

use super::error::{PickleError, Result, malformed};

/// The maximum number of instructions in a file: a tensor takes about 40, and a large checkpoint with its
/// optimizer has less than a million.
const MAX_INSTRUCTIONS: usize = 10_000_000;

/// An object that a pickle builds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Object<'a> {
    None,
    Int(i64),
    /// An integer too long for `i64`, little-endian.
    Bytes(&'a [u8]),
    Text(&'a [u8]),
    Tuple(List),
    List(List),
    Dict(Dict),
    Class(Class),
    Storage(Storage<'a>),
    Tensor(Plan),
    /// An object that weights do not require: a float, a hook, a device.
    Other,
}

/// The index of a list or tuple in the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct List(usize);

/// The index of a dictionary in the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Dict(usize);

/// The index of a tensor in the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Plan(usize);

/// The content of all objects.
#[derive(Default)]
pub(super) struct Heap<'a> {
    lists: Vec<Vec<Object<'a>>>,
    dicts: Vec<Vec<(Object<'a>, Object<'a>)>>,
    plans: Vec<TensorPlan<'a>>,
}

impl<'a> Heap<'a> {
    pub(super) fn list(&self, at: List) -> &[Object<'a>] {
        &self.lists[at.0]
    }

    pub(super) fn dict(&self, at: Dict) -> &[(Object<'a>, Object<'a>)] {
        &self.dicts[at.0]
    }

    pub(super) fn plan(&self, at: Plan) -> &TensorPlan<'a> {
        &self.plans[at.0]
    }

    fn new_list(&mut self, items: Vec<Object<'a>>) -> List {
        self.lists.push(items);
        List(self.lists.len() - 1)
    }

    fn new_dict(&mut self, entries: Vec<(Object<'a>, Object<'a>)>) -> Object<'a> {
        self.dicts.push(entries);
        Object::Dict(Dict(self.dicts.len() - 1))
    }
}

/// The classes that are allowed in a pickle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Class {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(DType),
    /// Integer and boolean storages that candle has no dtype for, by element size: counters, never weights.
    OtherStorage(usize),
    /// Objects that training scripts save with the weights: ignored.
    Inert,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    pub(super) key: &'a [u8],
    pub(super) dtype: Option<DType>,
    pub(super) element_size: usize,
}

/// A tensor as a view of a storage.
#[derive(Clone, Debug)]
pub(super) struct TensorPlan<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) offset: usize,
    pub(super) dims: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

impl Class {
    fn named(module: &[u8], name: &[u8]) -> Result<Class> {
        let (module, name) = (String::from_utf8_lossy(module), String::from_utf8_lossy(name));
        Ok(match (&*module, &*name) {
            ("collections", "OrderedDict") => Class::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Class::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Class::RebuildParameter,
            ("torch", "FloatStorage") => Class::Storage(DType::F32),
            ("torch", "DoubleStorage") => Class::Storage(DType::F64),
            ("torch", "HalfStorage") => Class::Storage(DType::F16),
            ("torch", "BFloat16Storage") => Class::Storage(DType::BF16),
            ("torch", "LongStorage") => Class::Storage(DType::I64),
            ("torch", "ByteStorage") => Class::Storage(DType::U8),
            ("torch", "IntStorage") => Class::OtherStorage(4),
            ("torch", "ShortStorage") => Class::OtherStorage(2),
            ("torch", "CharStorage" | "BoolStorage") => Class::OtherStorage(1),
            ("torch", "Size" | "device")
            // The settings that timm's and torchvision's scripts save with the weights.
            | ("argparse", "Namespace")
            // A score as a NumPy scalar.
            | ("numpy", "dtype")
            | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar")
            | ("_codecs", "encode") => Class::Inert,
            _ => return Err(PickleError::Forbidden(format!("{module}.{name}"))),
        })
    }
}

/// The machine.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    heap: Heap<'a>,
    stack: Vec<Object<'a>>,
    marks: Vec<usize>,
    memo: HashMap<u32, Object<'a>>,
    /// The element size of each storage referenced so far.
    pub(super) element_sizes: HashMap<&'a [u8], usize>,
    /// The number of instructions left.
    n_left: usize,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Machine<'a> {
        Machine {
            bytes,
            heap: Heap::default(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            element_sizes: HashMap::new(),
            n_left: MAX_INSTRUCTIONS,
        }
    }

    /// Runs one pickle to its end; the bytes after it remain.
    pub(super) fn run(&mut self) -> Result<Object<'a>> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            let code = self.byte()?;
            if code == b'.' {
                return self.pop();
            }
            self.spend(1)?;
            self.step(code)?;
        }
    }

    pub(super) fn heap(&self) -> &Heap<'a> {
        &self.heap
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or(PickleError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn spend(&mut self, n: usize) -> Result<()> {
        self.n_left = self.n_left.checked_sub(n).ok_or(PickleError::TooLarge)?;
        Ok(())
    }

    fn step(&mut self, code: u8) -> Result<()> {
        match code {
            // Protocol versions and frames are ignored.
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'N' => self.stack.push(Object::None),
            0x88 => self.stack.push(Object::Int(1)),
            0x89 => self.stack.push(Object::Int(0)),
            b'K' => {
                let it = self.byte()?;
                self.stack.push(Object::Int(it.into()));
            }
            b'M' => {
                let it = u16::from_le_bytes(self.array()?);
                self.stack.push(Object::Int(it.into()));
            }
            b'J' => {
                let it = i32::from_le_bytes(self.array()?);
                self.stack.push(Object::Int(it.into()));
            }
            0x8a => {
                let n = self.byte()?;
                let long = long(self.take(n.into())?);
                self.stack.push(long);
            }
            0x8b => {
                let long = u32::from_le_bytes(self.array()?);
                let long = self::long(self.take(long as usize)?);
                self.stack.push(long);
            }
            b'G' => {
                self.take(8)?;
                self.stack.push(Object::Other);
            }
            b'X' | b'T' | b'B' => {
                let n = u32::from_le_bytes(self.array()?);
                self.text(n.into())?;
            }
            // With 64-bit lengths.
            0x8d | 0x8e | 0x96 => {
                let n = u64::from_le_bytes(self.array()?);
                self.text(n)?;
            }
            0x8c | b'U' | b'C' => {
                let n = self.byte()?;
                self.text(n.into())?;
            }
            b')' => self.push_tuple(Vec::new()),
            0x85..=0x87 => {
                let start = self.depth_below(usize::from(code - 0x84))?;
                let tuple = self.stack.split_off(start);
                self.push_tuple(tuple);
            }
            b't' | 0x91 => {
                let tuple = self.pop_to_mark()?;
                self.push_tuple(tuple);
            }
            // A set is read as a list.
            b']' | 0x8f => self.push_list(Vec::new()),
            b'l' => {
                let list = self.pop_to_mark()?;
                self.push_list(list);
            }
            b'a' => {
                let it = self.pop()?;
                self.append(vec![it])?;
            }
            b'e' | 0x90 => {
                let list = self.pop_to_mark()?;
                self.append(list)?;
            }
            b'}' => {
                let dict = self.heap.new_dict(Vec::new());
                self.stack.push(dict);
            }
            b'd' => {
                let entries = self.pop_to_mark()?;
                let dict = self.heap.new_dict(Vec::new());
                self.stack.push(dict);
                self.insert(entries)?;
            }
            b's' => {
                let start = self.depth_below(2)?;
                let entry = self.stack.split_off(start);
                self.insert(entry)?;
            }
            b'u' => {
                let entries = self.pop_to_mark()?;
                self.insert(entries)?;
            }
            b'2' => {
                let top = *self.stack.last().ok_or_else(|| malformed("an empty stack"))?;
                self.stack.push(top);
            }
            b'q' => {
                let at = self.byte()?;
                self.memoize(at.into())?;
            }
            b'r' => {
                let at = u32::from_le_bytes(self.array()?);
                self.memoize(at)?;
            }
            0x94 => self.memoize(self.memo.len() as u32)?,
            b'h' => {
                let at = self.byte()?;
                self.recall(at.into())?;
            }
            b'j' => {
                let at = u32::from_le_bytes(self.array()?);
                self.recall(at)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Object::Class(Class::named(module, name)?));
            }
            // `INST` names a class and calls it: never used for tensors, but a forbidden class is reported by
            // name.
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                Class::named(module, name)?;
                return Err(malformed("the instruction `INST`"));
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Object::Text(name), Object::Text(module)) => {
                    self.stack.push(Object::Class(Class::named(module, name)?));
                }
                _ => return Err(malformed("a class without a name")),
            },
            b'R' | 0x81 => {
                let (args, callable) = (self.pop()?, self.pop()?);
                let object = self.build(callable, args)?;
                self.stack.push(object);
            }
            // The state of an object, ignored: for a dictionary of tensors, its version numbers.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                let storage = self.persistent(id)?;
                self.element_sizes.insert(storage.key, storage.element_size);
                self.stack.push(Object::Storage(storage));
            }
            _ => return Err(PickleError::Malformed(format!("instruction {code:#04x}"))),
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("`take` returns N bytes"))
    }

    fn line(&mut self) -> Result<&'a [u8]> {
        let n = self.bytes.iter().position(|&it| it == b'\n').ok_or(PickleError::Truncated)?;
        Ok(self.take(n + 1)?[..n].trim_ascii_end())
    }

    fn text(&mut self, n: u64) -> Result<()> {
        let text = self.take(usize::try_from(n).map_err(|_| PickleError::Truncated)?)?;
        self.stack.push(Object::Text(text));
        Ok(())
    }

    fn push_list(&mut self, items: Vec<Object<'a>>) {
        let list = self.heap.new_list(items);
        self.stack.push(Object::List(list));
    }

    fn push_tuple(&mut self, items: Vec<Object<'a>>) {
        let list = self.heap.new_list(items);
        self.stack.push(Object::Tuple(list));
    }

    fn pop(&mut self) -> Result<Object<'a>> {
        self.stack.pop().ok_or_else(|| malformed("an empty stack"))
    }

    fn depth_below(&self, n: usize) -> Result<usize> {
        self.stack.len().checked_sub(n).ok_or_else(|| malformed("an empty stack"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Object<'a>>> {
        let mark = self.marks.pop().ok_or_else(|| malformed("no mark"))?;
        match mark <= self.stack.len() {
            true => Ok(self.stack.split_off(mark)),
            false => Err(malformed("a mark above the stack")),
        }
    }

    fn append(&mut self, more: Vec<Object<'a>>) -> Result<()> {
        match self.stack.last() {
            Some(&Object::List(list)) => self.heap.lists[list.0].extend(more),
            _ => return Err(malformed("appending to an object that is not a list")),
        }
        Ok(())
    }

    fn insert(&mut self, entries: Vec<Object<'a>>) -> Result<()> {
        let Some(&Object::Dict(dict)) = self.stack.last() else {
            return Err(malformed("inserting into an object that is not a dictionary"));
        };
        let (pairs, rest) = entries.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(malformed("a key without a value"));
        }
        self.heap.dicts[dict.0].extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn memoize(&mut self, at: u32) -> Result<()> {
        let top = *self.stack.last().ok_or_else(|| malformed("an empty stack"))?;
        self.memo.insert(at, top);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Result<()> {
        let object = *self.memo.get(&at).ok_or_else(|| malformed("a missing memo entry"))?;
        self.stack.push(object);
        Ok(())
    }

    /// Returns the result of calling an allowed class; nothing is executed.
    fn build(&mut self, callable: Object<'a>, args: Object<'a>) -> Result<Object<'a>> {
        let Object::Class(class) = callable else {
            return Err(malformed("a call of an object that is not a class"));
        };
        let Object::Tuple(args) = args else { return Err(malformed("a call without arguments")) };
        match (class, self.heap.list(args)) {
            (Class::OrderedDict, []) => Ok(self.heap.new_dict(Vec::new())),
            (Class::OrderedDict, &[Object::List(entries), ..]) => {
                // The only copy: many dictionaries may be built from one list.
                self.spend(self.heap.list(entries).len())?;
                let pair = |it: &Object<'a>| match it {
                    Object::Tuple(it) => match self.heap.list(*it) {
                        &[key, value] => Ok((key, value)),
                        _ => Err(malformed("a dictionary entry that is not a pair")),
                    },
                    _ => Err(malformed("a dictionary entry that is not a pair")),
                };
                let entries = self.heap.list(entries).iter().map(pair);
                let entries = entries.collect::<Result<Vec<_>>>()?;
                Ok(self.heap.new_dict(entries))
            }
            (Class::RebuildParameter, &[tensor @ Object::Tensor(_), ..]) => Ok(tensor),
            (
                Class::RebuildTensor,
                &[
                    Object::Storage(storage),
                    offset @ Object::Int(_),
                    Object::Tuple(dims),
                    Object::Tuple(strides),
                    ..,
                ],
            ) => {
                let (dims, strides) = (self.heap.list(dims), self.heap.list(strides));
                if dims.len() != strides.len() {
                    return Err(malformed("a tensor with different numbers of strides and sizes"));
                }
                if dims.len() > MAX_DIMS {
                    return Err(malformed("a tensor with too many dimensions"));
                }
                let counts = |of: &[Object<'a>]| of.iter().map(count).collect::<Result<_>>();
                let (dims, strides) = (counts(dims)?, counts(strides)?);
                let plan = TensorPlan { storage, offset: count(&offset)?, dims, strides };
                self.heap.plans.push(plan);
                Ok(Object::Tensor(Plan(self.heap.plans.len() - 1)))
            }
            (Class::Inert, _) => Ok(Object::Other),
            _ => Err(PickleError::Malformed(format!("{class:?} with unknown arguments"))),
        }
    }

    /// Returns the storage of a persistent id: `("storage", class, key, location, n, ...)`.
    fn persistent(&self, id: Object<'a>) -> Result<Storage<'a>> {
        let Object::Tuple(id) = id else { return Err(malformed("an unknown reference")) };
        let &[Object::Text(_), Object::Class(class), Object::Text(key), ..] = self.heap.list(id)
        else {
            return Err(malformed("an unknown reference"));
        };
        let (dtype, element_size) = match class {
            Class::Storage(dtype) => (Some(dtype), dtype.size_in_bytes()),
            Class::OtherStorage(size) => (None, size),
            _ => return Err(malformed("a storage without a dtype")),
        };
        Ok(Storage { key, dtype, element_size })
    }
}

/// PyTorch's own limit.
const MAX_DIMS: usize = 64;

/// Reads an integer of any length: little-endian, two's complement.
fn long(bytes: &[u8]) -> Object<'_> {
    if bytes.len() > 8 {
        return Object::Bytes(bytes);
    }
    let sign = if bytes.last().is_some_and(|it| it & 0x80 != 0) { 0xff } else { 0 };
    let mut padded = [sign; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    Object::Int(i64::from_le_bytes(padded))
}

fn count(object: &Object<'_>) -> Result<usize> {
    match object {
        Object::Int(it) => usize::try_from(*it).map_err(|_| malformed("a negative size")),
        _ => Err(malformed("a size that is not an integer")),
    }
}
