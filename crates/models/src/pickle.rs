//! PyTorch's `.pth` files, read without executing anything.
//!
//! A pickle is a program for a stack machine. This machine knows the instructions that build
//! dictionaries, lists and numbers; it calls nothing, and of the classes that a pickle may name it
//! accepts the handful that `torch.save` needs for tensors, and refuses the file at any other.
//!
//! - Zip form (since PyTorch 1.6): `<name>/data.pkl`, and a file `<name>/data/<key>` a storage.
//! - Old form: five pickles in a row (magic number, version, system, the object, the list of
//!   storage keys), then for each key a count of elements, as i64, and the elements.
//!
//! candle's own reader knows the zip form only, and skips in silence what it does not understand.

use std::{
    cell::RefCell,
    collections::HashMap,
    io::{Cursor, Read as _},
    rc::Rc,
};

use candle::{DType, Device, Tensor};

/// Why a `.pth` file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PickleError {
    #[error("this `.pth` file is cut off: fetch it again")]
    CutOff,
    #[error(
        "this `.pth` file would call `{0}`, which loading weights does not need: it is refused \
         (save the weights alone, as `torch.save(model.state_dict(), ...)` or as `.safetensors`)"
    )]
    Forbidden(String),
    #[error("this `.pth` file is damaged or of a newer format ({0}): save it as `.safetensors`")]
    Malformed(String),
    #[error("this `.pth` file holds no tensors by name: save the model's `state_dict()`")]
    NoTensors,
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

type Result<T> = std::result::Result<T, PickleError>;

/// The number that PyTorch's old form begins with.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Whether a file begins as one of the two forms does.
pub(crate) fn looks_like_pth(bytes: &[u8]) -> bool {
    // A zip archive, or a pickle (`\x80` and a version). No safetensors file begins so: those bytes
    // are the length of its header.
    bytes.starts_with(b"PK\x03\x04") || matches!(bytes, [0x80, 2..=5, ..])
}

/// The tensors of a `.pth` file, by name.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    if bytes.starts_with(b"PK") { read_zip(bytes) } else { read_old(bytes) }
}

fn read_zip(bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let damaged = |err: zip::result::ZipError| PickleError::Malformed(err.to_string());
    // The directory of a zip archive is its end.
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|_| PickleError::CutOff)?;
    let mut pickle = None;
    for idx in 0..archive.len() {
        let file = archive.by_index_raw(idx).map_err(damaged)?;
        let name = file.name().map_err(damaged)?.into_owned();
        if let Some(dir) = name.strip_suffix("data.pkl") {
            pickle = Some((dir.to_owned(), name));
        }
    }
    let Some((dir, name)) = pickle else {
        return Err(PickleError::Malformed("a zip archive without `data.pkl`".to_owned()));
    };
    let mut file = |name: &str| -> Result<Vec<u8>> {
        let mut file = archive.by_name(name).map_err(damaged)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|_| PickleError::CutOff)?;
        Ok(content)
    };
    let object = Machine::new(&file(&name)?).run()?;
    tensors_of(&object, |key| file(&format!("{dir}data/{key}")))
}

fn read_old(bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let mut machine = Machine::new(bytes);
    let magic = machine.run()?;
    if !matches!(&magic, Object::Bytes(it) if **it == MAGIC) {
        return Err(PickleError::Malformed("a pickle without PyTorch's magic number".to_owned()));
    }
    let _version = machine.run()?;
    let _system = machine.run()?;
    let object = machine.run()?;
    let keys = machine.run()?;
    let Object::List(keys) = keys else {
        return Err(PickleError::Malformed("no list of storages".to_owned()));
    };
    let mut storages = HashMap::new();
    for key in keys.borrow().iter() {
        let Object::Text(key) = key else {
            return Err(PickleError::Malformed("a storage without a name".to_owned()));
        };
        let n = i64::from_le_bytes(machine.take(8)?.try_into().expect("eight bytes"));
        let width = machine.element_sizes.get(key).copied().unwrap_or(0);
        let n = usize::try_from(n).ok().and_then(|it| it.checked_mul(width));
        let content = machine.take(n.ok_or(PickleError::CutOff)?)?;
        storages.insert(key.to_string(), content.to_vec());
    }
    tensors_of(&object, |key| {
        storages
            .get(key)
            .cloned()
            .ok_or_else(|| PickleError::Malformed(format!("no storage {key}")))
    })
}

/// What a pickle builds.
#[derive(Clone, Debug)]
enum Object {
    None,
    Int(i64),
    /// A number too long for `i64`, little-endian.
    Bytes(Rc<[u8]>),
    Text(Rc<str>),
    Tuple(Rc<[Object]>),
    List(Rc<RefCell<Vec<Object>>>),
    Dict(Rc<RefCell<Vec<(Object, Object)>>>),
    Class(Class),
    Storage(Storage),
    Tensor(Rc<TensorPlan>),
    /// Something that weights do not need: a float, a hook, a device.
    Other,
}

/// The classes that a pickle of tensors may name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(DType),
    /// Storages of whole numbers that candle has no type for: counters, never weights.
    OtherStorage(usize),
    Inert,
}

#[derive(Clone, Debug)]
struct Storage {
    key: Rc<str>,
    dtype: Option<DType>,
    element_size: usize,
}

#[derive(Debug)]
struct TensorPlan {
    storage: Storage,
    offset: usize,
    dims: Vec<usize>,
    strides: Vec<usize>,
}

impl Class {
    fn named(module: &str, name: &str) -> Result<Class> {
        Ok(match (module, name) {
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
            ("torch", "Size" | "device") => Class::Inert,
            _ => return Err(PickleError::Forbidden(format!("{module}.{name}"))),
        })
    }
}

/// The stack machine.
struct Machine<'a> {
    bytes: &'a [u8],
    stack: Vec<Object>,
    marks: Vec<usize>,
    memo: HashMap<u32, Object>,
    /// The element size of each storage that was named so far.
    element_sizes: HashMap<Rc<str>, usize>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Machine<'a> {
        Machine {
            bytes,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            element_sizes: HashMap::new(),
        }
    }

    /// Runs one pickle to its end, and leaves the bytes behind it.
    fn run(&mut self) -> Result<Object> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            let code = self.byte()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    fn step(&mut self, code: u8) -> Result<()> {
        match code {
            // Versions and frames say nothing that is needed.
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
            b'G' => {
                self.take(8)?;
                self.stack.push(Object::Other);
            }
            b'X' | b'T' | b'B' => {
                let n = u32::from_le_bytes(self.array()?);
                self.text(n as usize)?;
            }
            0x8c | b'U' | b'C' => {
                let n = self.byte()?;
                self.text(n.into())?;
            }
            b')' => self.stack.push(Object::Tuple(Rc::new([]))),
            0x85..=0x87 => {
                let start = self.depth_below(usize::from(code - 0x84))?;
                let tuple = self.stack.split_off(start);
                self.stack.push(Object::Tuple(tuple.into()));
            }
            b't' => {
                let tuple = self.pop_to_mark()?;
                self.stack.push(Object::Tuple(tuple.into()));
            }
            b']' => self.stack.push(Object::List(Rc::default())),
            b'l' => {
                let list = self.pop_to_mark()?;
                self.stack.push(Object::List(Rc::new(RefCell::new(list))));
            }
            b'a' => {
                let it = self.pop()?;
                self.append(vec![it])?;
            }
            b'e' => {
                let list = self.pop_to_mark()?;
                self.append(list)?;
            }
            b'}' => self.stack.push(Object::Dict(Rc::default())),
            b'd' => {
                let entries = self.pop_to_mark()?;
                self.stack.push(Object::Dict(Rc::default()));
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
            b'q' => {
                let at = self.byte()?;
                self.remember(at.into())?;
            }
            b'r' => {
                let at = u32::from_le_bytes(self.array()?);
                self.remember(at)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
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
                self.stack.push(Object::Class(Class::named(&module, &name)?));
            }
            // A class that is called at once: those of tensors never are, but others are to be named.
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                Class::named(&module, &name)?;
                return Err(malformed("a call of the oldest kind"));
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Object::Text(name), Object::Text(module)) => {
                    self.stack.push(Object::Class(Class::named(&module, &name)?));
                }
                _ => return Err(malformed("a class without a name")),
            },
            b'R' | 0x81 => {
                let (args, callable) = (self.pop()?, self.pop()?);
                let object = build(&callable, &args)?;
                self.stack.push(object);
            }
            // The state of an object: for a dictionary of tensors its version numbers.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                let storage = persistent(&id)?;
                self.element_sizes.insert(storage.key.clone(), storage.element_size);
                self.stack.push(Object::Storage(storage));
            }
            _ => return Err(PickleError::Malformed(format!("instruction {code:#04x}"))),
        }
        Ok(())
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or(PickleError::CutOff)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many as were taken"))
    }

    fn line(&mut self) -> Result<String> {
        let n = self.bytes.iter().position(|&it| it == b'\n').ok_or(PickleError::CutOff)?;
        let line = String::from_utf8_lossy(&self.take(n + 1)?[..n]).trim_end().to_owned();
        Ok(line)
    }

    fn text(&mut self, n: usize) -> Result<()> {
        let text = String::from_utf8_lossy(self.take(n)?);
        self.stack.push(Object::Text(text.into()));
        Ok(())
    }

    fn pop(&mut self) -> Result<Object> {
        self.stack.pop().ok_or_else(|| malformed("an empty stack"))
    }

    fn depth_below(&self, n: usize) -> Result<usize> {
        self.stack.len().checked_sub(n).ok_or_else(|| malformed("an empty stack"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Object>> {
        let mark = self.marks.pop().ok_or_else(|| malformed("no mark"))?;
        match mark <= self.stack.len() {
            true => Ok(self.stack.split_off(mark)),
            false => Err(malformed("a mark above the stack")),
        }
    }

    fn append(&mut self, more: Vec<Object>) -> Result<()> {
        match self.stack.last() {
            Some(Object::List(list)) => list.borrow_mut().extend(more),
            _ => return Err(malformed("appending to no list")),
        }
        Ok(())
    }

    fn insert(&mut self, entries: Vec<Object>) -> Result<()> {
        let Some(Object::Dict(dict)) = self.stack.last() else {
            return Err(malformed("inserting into no dictionary"));
        };
        let mut entries = entries.into_iter();
        while let Some(key) = entries.next() {
            let value = entries.next().ok_or_else(|| malformed("a key without a value"))?;
            dict.borrow_mut().push((key, value));
        }
        Ok(())
    }

    fn remember(&mut self, at: u32) -> Result<()> {
        let top = self.stack.last().ok_or_else(|| malformed("an empty stack"))?.clone();
        self.memo.insert(at, top);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Result<()> {
        let object = self.memo.get(&at).ok_or_else(|| malformed("an empty memory"))?.clone();
        self.stack.push(object);
        Ok(())
    }
}

fn malformed(what: &str) -> PickleError {
    PickleError::Malformed(what.to_owned())
}

/// A whole number of any length, little-endian, two's complement.
fn long(bytes: &[u8]) -> Object {
    if bytes.len() > 8 {
        return Object::Bytes(bytes.into());
    }
    let sign = if bytes.last().is_some_and(|it| it & 0x80 != 0) { 0xff } else { 0 };
    let mut padded = [sign; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    Object::Int(i64::from_le_bytes(padded))
}

/// What calling a class of the list gives; nothing is called.
fn build(callable: &Object, args: &Object) -> Result<Object> {
    let Object::Class(class) = callable else { return Err(malformed("a call of no class")) };
    let Object::Tuple(args) = args else { return Err(malformed("a call without arguments")) };
    match (class, &args[..]) {
        (Class::OrderedDict, []) => Ok(Object::Dict(Rc::default())),
        (Class::OrderedDict, [Object::List(entries), ..]) => {
            let entry = |it: &Object| match it {
                Object::Tuple(it) if it.len() == 2 => Ok((it[0].clone(), it[1].clone())),
                _ => Err(malformed("a dictionary of no pairs")),
            };
            let entries = entries.borrow().iter().map(entry).collect::<Result<Vec<_>>>()?;
            Ok(Object::Dict(Rc::new(RefCell::new(entries))))
        }
        (Class::RebuildParameter, [tensor @ Object::Tensor(_), ..]) => Ok(tensor.clone()),
        (
            Class::RebuildTensor,
            [
                Object::Storage(storage),
                Object::Int(offset),
                Object::Tuple(dims),
                Object::Tuple(strides),
                ..,
            ],
        ) => {
            let plan = TensorPlan {
                storage: storage.clone(),
                offset: count(&Object::Int(*offset))?,
                dims: dims.iter().map(count).collect::<Result<_>>()?,
                strides: strides.iter().map(count).collect::<Result<_>>()?,
            };
            if plan.dims.len() != plan.strides.len() {
                return Err(malformed("a tensor with other strides than sizes"));
            }
            Ok(Object::Tensor(Rc::new(plan)))
        }
        (Class::Inert, _) => Ok(Object::Other),
        _ => Err(PickleError::Malformed(format!("{class:?} with unknown arguments"))),
    }
}

fn count(object: &Object) -> Result<usize> {
    match object {
        Object::Int(it) => usize::try_from(*it).map_err(|_| malformed("a negative size")),
        _ => Err(malformed("a size that is no number")),
    }
}

/// The storage that a persistent id names: `("storage", class, key, place, n, …)`.
fn persistent(id: &Object) -> Result<Storage> {
    let Object::Tuple(id) = id else { return Err(malformed("an unknown reference")) };
    let [Object::Text(_), Object::Class(class), Object::Text(key), ..] = &id[..] else {
        return Err(malformed("an unknown reference"));
    };
    let (dtype, element_size) = match class {
        Class::Storage(dtype) => (Some(*dtype), dtype.size_in_bytes()),
        Class::OtherStorage(size) => (None, *size),
        _ => return Err(malformed("a storage of no type")),
    };
    Ok(Storage { key: key.clone(), dtype, element_size })
}

/// What training scripts call the weights in a checkpoint of more than them.
const STATE_KEYS: [&str; 5] = ["state_dict", "model_state_dict", "model", "net", "weights"];

/// The tensors of a dictionary by name, or of the one that a checkpoint keeps its weights in.
fn tensors_of(
    object: &Object,
    mut storage: impl FnMut(&str) -> Result<Vec<u8>>,
) -> Result<Vec<(String, Tensor)>> {
    let Object::Dict(outer) = object else { return Err(PickleError::NoTensors) };
    let outer = outer.borrow();
    let under = |want: &str| {
        let is_it = |key: &Object| matches!(key, Object::Text(it) if **it == *want);
        outer.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
    };
    let is_tensor = |(_, value): &(Object, Object)| matches!(value, Object::Tensor(_));
    let inner = match outer.iter().any(is_tensor) {
        true => object,
        false => STATE_KEYS.iter().find_map(|it| under(it)).ok_or(PickleError::NoTensors)?,
    };
    let Object::Dict(entries) = inner else { return Err(PickleError::NoTensors) };
    let mut cache: HashMap<Rc<str>, Vec<u8>> = HashMap::new();
    let mut tensors = Vec::new();
    for (name, value) in entries.borrow().iter() {
        let (Object::Text(name), Object::Tensor(plan)) = (name, value) else { continue };
        let Some(dtype) = plan.storage.dtype else { continue };
        let key = &plan.storage.key;
        if !cache.contains_key(key) {
            cache.insert(key.clone(), storage(key)?);
        }
        tensors.push((name.to_string(), plan.tensor(dtype, &cache[key])?));
    }
    if tensors.is_empty() { Err(PickleError::NoTensors) } else { Ok(tensors) }
}

impl TensorPlan {
    fn tensor(&self, dtype: DType, storage: &[u8]) -> Result<Tensor> {
        let size = self.storage.element_size;
        let n = self.dims.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim));
        let n = n.ok_or(PickleError::CutOff)?;
        let last =
            self.dims.iter().zip(&self.strides).try_fold(self.offset, |at, (&dim, &stride)| {
                at.checked_add(dim.checked_sub(1)?.checked_mul(stride)?)
            });
        let n_stored = storage.len() / size;
        // A tensor without elements has no last one. One with more elements than are stored
        // repeats them, which no weight does, and which could fill the memory.
        if n > n_stored || (n > 0 && last.is_none_or(|it| it >= n_stored)) {
            return Err(PickleError::CutOff);
        }
        let mut content = Vec::new();
        for idx in 0..n {
            let (mut rest, mut at) = (idx, self.offset);
            for (&dim, &stride) in self.dims.iter().zip(&self.strides).rev() {
                at += rest % dim * stride;
                rest /= dim;
            }
            content.extend_from_slice(&storage[at * size..(at + 1) * size]);
        }
        Ok(Tensor::from_raw_buffer(&content, dtype, &self.dims, &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests;
