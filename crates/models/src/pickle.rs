//! Reads PyTorch's `.pth` files without executing code, like `torch.load(weights_only=True)`.
//!
//! A pickle is a program for a stack machine. This machine (`pickle/machine.rs`) supports the instructions
//! that build dictionaries, lists and numbers, and never calls anything. It accepts only the few classes
//! that `torch.save` needs for tensors and that training scripts save together with them; a file that
//! names any other class is refused.
//!
//! - Zip format (since PyTorch 1.6): `<name>/data.pkl`, and a file `<name>/data/<key>` per storage.
//! - Legacy format: five consecutive pickles (magic number, version, system, the object, the list of
//!   storage keys), then for each key the number of elements, as i64, and the elements.
//!
//! Sizes in a file are checked against its content: time and memory are bounded by the file's length.
//!
//! candle's own reader supports only the zip format, and silently skips what it does not support.

mod archive;
mod error;
mod machine;

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet, VecDeque},
};

use candle::{DType, Device, Tensor};

pub(crate) use self::error::PickleError;
use self::{
    archive::Archive,
    error::Result,
    machine::{Dict, Heap, Machine, Object, TensorPlan},
};

/// The content of a `.pth` file.
#[derive(Debug)]
pub(crate) struct Content {
    /// The tensors of the network, by name.
    pub(crate) tensors: Vec<(String, Tensor)>,
    /// The key of the weights in a training checkpoint, for example `state_dict`; empty if the file is the
    /// state dict itself.
    pub(crate) place: String,
    /// The other tensors: a tensor's name, or a key with its number of tensors.
    pub(crate) ignored: Vec<String>,
}

/// The magic number at the start of PyTorch's legacy format.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Returns whether a file begins like one of the two formats.
pub(crate) fn looks_like_pth(bytes: &[u8]) -> bool {
    // A zip archive, or a pickle (`\x80` and a version). A safetensors file may begin with the same bytes,
    // in the length of its header: that has 8 bytes, the highest of which are 0, followed by `{`.
    let is_safetensors = matches!(bytes, [_, _, _, _, _, _, 0, 0, b'{', ..]);
    let begins = bytes.starts_with(b"PK\x03\x04") || matches!(bytes, [0x80, 2..=5, ..]);
    begins && !is_safetensors
}

/// Reads the tensors of a `.pth` file.
pub(crate) fn read(bytes: &[u8]) -> Result<Content> {
    if bytes.starts_with(b"PK") { read_zip(bytes) } else { read_legacy(bytes) }
}

fn read_zip(bytes: &[u8]) -> Result<Content> {
    let archive = Archive::open(bytes)?;
    let Some(dir) = archive.before(b"data.pkl") else {
        return Err(PickleError::Malformed("a zip archive without `data.pkl`".to_owned()));
    };
    let mut machine = Machine::new(archive.get(&[dir, b"data.pkl"].concat())?);
    let object = machine.run()?;
    content(machine.heap(), object, bytes.len(), |key| archive.get(&[dir, b"data/", key].concat()))
}

fn read_legacy(bytes: &[u8]) -> Result<Content> {
    let mut machine = Machine::new(bytes);
    let magic = machine.run()?;
    if !matches!(magic, Object::Bytes(it) if *it == MAGIC) {
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
    for key in machine.heap().list(keys).to_vec() {
        let Object::Text(key) = key else {
            return Err(PickleError::Malformed("a storage without a name".to_owned()));
        };
        let n = i64::from_le_bytes(machine.take(8)?.try_into().expect("eight bytes"));
        let width = machine.element_sizes.get(key).copied().unwrap_or(0);
        let n = usize::try_from(n).ok().and_then(|it| it.checked_mul(width));
        storages.insert(key, machine.take(n.ok_or(PickleError::Truncated)?)?);
    }
    content(machine.heap(), object, bytes.len(), |key| {
        let name = || String::from_utf8_lossy(key).into_owned();
        let storage = storages.get(key).copied();
        storage.ok_or_else(|| PickleError::Malformed(format!("no storage {}", name())))
    })
}

/// The keys of the weights in the checkpoints of training scripts (timm's, torchvision's and others), the
/// preferred first: the weights, then their averages (EMA).
const STATE_KEYS: [&str; 12] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "params_ema",
];

/// The maximum nesting depth of weights in a checkpoint.
const MAX_DEPTH: usize = 4;

/// A dictionary with tensors.
struct Candidate {
    /// Its keys from the outermost one, joined by dots.
    place: String,
    dict: Dict,
    depth: usize,
    n_tensors: usize,
    /// How many of them have a name like a network's parameter: `layer1.0.conv1.weight`.
    n_dotted: usize,
    /// The position of its key in [`STATE_KEYS`].
    rank: Option<usize>,
}

/// Finds the dictionaries with tensors in an unpickled object, except an optimizer's.
fn candidates(heap: &Heap<'_>, root: Dict) -> Vec<Candidate> {
    let (mut found, mut seen) = (Vec::new(), HashSet::from([root]));
    let mut queue = VecDeque::from([(String::new(), None, root, 0)]);
    while let Some((place, rank, dict, depth)) = queue.pop_front() {
        let (mut n_tensors, mut n_dotted) = (0, 0);
        for (key, value) in heap.dict(dict) {
            let Object::Text(key) = key else { continue };
            match *value {
                Object::Tensor(_) => {
                    n_tensors += 1;
                    n_dotted += usize::from(key.contains(&b'.'));
                }
                Object::Dict(inner)
                    if depth < MAX_DEPTH && !key.starts_with(b"opt") && seen.insert(inner) =>
                {
                    let key = String::from_utf8_lossy(key);
                    let rank = STATE_KEYS.iter().position(|it| *it == key);
                    let dot = if place.is_empty() { "" } else { "." };
                    queue.push_back((format!("{place}{dot}{key}"), rank, inner, depth + 1));
                }
                _ => {}
            }
        }
        if n_tensors > 0 {
            found.push(Candidate { place, dict, depth, n_tensors, n_dotted, rank });
        }
    }
    found
}

/// Selects the network's weights among the dictionaries of a checkpoint.
///
/// Other tensors (a score, class weights) are fewer and not named like parameters.
fn choose(candidates: &[Candidate]) -> Result<&Candidate> {
    let most_dotted = candidates.iter().map(|it| it.n_dotted).max().unwrap_or(0);
    // An average (EMA) may have an extra counter, so counts need not be equal.
    let is_similar = |it: &&Candidate| it.n_dotted * 2 >= most_dotted;
    let order = |it: &Candidate| {
        let unknown = STATE_KEYS.len() + usize::from(it.depth > 0);
        let depth = if it.rank.is_some() { it.depth } else { 0 };
        (it.rank.unwrap_or(unknown), depth, Reverse(it.n_tensors))
    };
    let likely: Vec<&Candidate> = candidates.iter().filter(is_similar).collect();
    let best = likely.iter().min_by_key(|it| order(it)).ok_or(PickleError::NoTensors)?;
    let same = likely.iter().filter(|it| order(it) == order(best));
    let places: Vec<String> = same.map(|it| format!("`{}`", it.place)).collect();
    if places.len() > 1 {
        return Err(PickleError::Several(places.join(", ")));
    }
    Ok(best)
}

/// Reads the weights of an unpickled object.
///
/// - `n_bytes`: the file's length.
/// - `storage`: returns the content of a storage by its key.
fn content<'a>(
    heap: &Heap<'a>,
    object: Object<'a>,
    n_bytes: usize,
    storage: impl Fn(&[u8]) -> Result<&'a [u8]>,
) -> Result<Content> {
    let Object::Dict(root) = object else { return Err(PickleError::NoTensors) };
    let candidates = candidates(heap, root);
    let chosen = choose(&candidates)?;
    let mut ignored = Vec::new();
    for it in candidates.iter().filter(|it| it.dict != chosen.dict) {
        match it.place.is_empty() {
            true => ignored.extend(heap.dict(it.dict).iter().filter_map(|entry| match entry {
                (Object::Text(key), Object::Tensor(_)) => {
                    Some(format!("`{}`", String::from_utf8_lossy(key)))
                }
                _ => None,
            })),
            false => ignored.push(format!("`{}` ({} tensors)", it.place, it.n_tensors)),
        }
    }
    // Tensors may share a storage, but a small file must not fill the memory.
    let mut n_left = n_bytes.saturating_mul(4).saturating_add(1 << 20);
    let mut storages: HashMap<&[u8], &[u8]> = HashMap::new();
    let mut made: HashMap<_, Tensor> = HashMap::new();
    let mut tensors = Vec::new();
    for (name, value) in heap.dict(chosen.dict) {
        let (&Object::Text(name), &Object::Tensor(at)) = (name, value) else { continue };
        let plan = heap.plan(at);
        let Some(dtype) = plan.storage.dtype else { continue };
        let key = plan.storage.key;
        let same = (key, dtype.as_str(), plan.offset, &plan.dims, &plan.strides);
        let tensor = match made.get(&same) {
            Some(it) => it.clone(),
            None => {
                let bytes = match storages.get(key) {
                    Some(it) => it,
                    None => *storages.entry(key).insert_entry(storage(key)?).get(),
                };
                let elements = plan.elements(bytes)?;
                let cost = elements.n * plan.storage.element_size;
                n_left = n_left.checked_sub(cost).ok_or(PickleError::TooLarge)?;
                let tensor = elements.tensor(plan, dtype, bytes)?;
                made.insert(same, tensor.clone());
                tensor
            }
        };
        tensors.push((String::from_utf8_lossy(name).into_owned(), tensor));
    }
    match tensors.is_empty() {
        true => Err(PickleError::NoTensors),
        false => Ok(Content { tensors, place: chosen.place.clone(), ignored }),
    }
}

/// The number of elements of a tensor; all of them are in the storage.
struct Elements {
    n: usize,
    /// Whether they are contiguous in row-major order.
    is_contiguous: bool,
}

impl TensorPlan<'_> {
    /// Checks that the tensor's elements are in the storage.
    ///
    /// # Errors
    /// Elements outside the storage, or more elements than are stored.
    fn elements(&self, storage: &[u8]) -> Result<Elements> {
        // The other sizes must be valid even for a tensor without elements.
        let area = self.dims.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim.max(1)));
        let area = area.ok_or(PickleError::Truncated)?;
        if self.dims.contains(&0) {
            return Ok(Elements { n: 0, is_contiguous: true });
        }
        let n = area;
        let last =
            self.dims.iter().zip(&self.strides).try_fold(self.offset, |at, (&dim, &stride)| {
                at.checked_add(dim.checked_sub(1)?.checked_mul(stride)?)
            });
        let n_stored = storage.len() / self.storage.element_size;
        // A tensor with more elements than are stored repeats them (an expanded view): weights never do,
        // and it could fill the memory.
        if n > n_stored || last.is_none_or(|it| it >= n_stored) {
            return Err(PickleError::Truncated);
        }
        let mut want = 1;
        let is_contiguous = self.dims.iter().zip(&self.strides).rev().all(|(&dim, &stride)| {
            let fits = dim == 1 || stride == want;
            want *= dim;
            fits
        });
        Ok(Elements { n, is_contiguous })
    }
}

impl Elements {
    /// Reads the tensor from its storage.
    fn tensor(&self, plan: &TensorPlan<'_>, dtype: DType, storage: &[u8]) -> Result<Tensor> {
        let (n, size) = (self.n, plan.storage.element_size);
        if n == 0 {
            return Ok(Tensor::zeros(&plan.dims[..], dtype, &Device::Cpu)?);
        }
        if self.is_contiguous {
            let content = &storage[plan.offset * size..(plan.offset + n) * size];
            return Ok(Tensor::from_raw_buffer(content, dtype, &plan.dims, &Device::Cpu)?);
        }
        let mut content = Vec::with_capacity(n * size);
        for idx in 0..n {
            let (mut rest, mut at) = (idx, plan.offset);
            for (&dim, &stride) in plan.dims.iter().zip(&plan.strides).rev() {
                at += rest % dim * stride;
                rest /= dim;
            }
            content.extend_from_slice(&storage[at * size..(at + 1) * size]);
        }
        Ok(Tensor::from_raw_buffer(&content, dtype, &plan.dims, &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests;
