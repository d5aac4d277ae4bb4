//! A weight file as it is: which format, and which tensors.
//!
//! `.safetensors` files, and PyTorch's `.pth` in its old and its zip form (see `pickle.rs`).

use std::{collections::BTreeMap, fs, path::Path};

use candle::{DType, Device, Tensor};

use super::error::WeightsError;
use crate::pickle;

/// A weight file as it is.
pub struct WeightsFile {
    /// How it is written.
    pub format: Format,
    /// How long it is.
    pub n_bytes: usize,
    /// Its tensors by name, in its own order; of a checkpoint of more than weights, these.
    pub tensors: Vec<(String, Tensor)>,
    /// Where in such a checkpoint they are, `state_dict` for example; else empty.
    pub place: String,
    /// What else it has of tensors: names, or places with their number.
    pub beside: Vec<String>,
}

/// How a weight file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A header in JSON, and the numbers.
    Safetensors,
    /// PyTorch's since 1.6.
    PthZip,
    /// PyTorch's before.
    PthLegacy,
}

impl WeightsFile {
    /// Reads a whole file.
    ///
    /// # Errors
    /// A file that cannot be opened, that is cut off, or that is of no known format.
    pub fn read(path: &Path) -> Result<WeightsFile, WeightsError> {
        let bytes =
            fs::read(path).map_err(|source| WeightsError::Io { path: path.to_owned(), source })?;
        let unreadable =
            |reason: String| WeightsError::Unreadable { path: path.to_owned(), reason };
        let n_bytes = bytes.len();
        if pickle::looks_like_pth(&bytes) {
            let is_zip = bytes.starts_with(b"PK");
            let format = if is_zip { Format::PthZip } else { Format::PthLegacy };
            let content = pickle::read(&bytes).map_err(|err| unreadable(err.to_string()))?;
            let pickle::Content { tensors, place, beside } = content;
            return Ok(WeightsFile { format, n_bytes, tensors, place, beside });
        }
        if let Some(what) = text_in(&bytes) {
            return Err(unreadable(what));
        }
        let tensors = read_safetensors(&bytes).map_err(|err| unreadable(err.to_string()))?;
        let (format, place, beside) = (Format::Safetensors, String::new(), Vec::new());
        Ok(WeightsFile { format, n_bytes, tensors, place, beside })
    }

    /// The tensors of floating-point numbers: counters such as `num_batches_tracked` are no weights.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let all = self.tensors.iter().map(|(name, it)| (name.as_str(), it));
        all.filter(|(_, it)| it.dtype().is_float())
    }
}

impl Format {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::PthZip => "pth, zip form",
            Format::PthLegacy => "pth, old form",
        }
    }
}

/// Reads all floating-point tensors of a file, as `f32`, by name, in the files' usual layout.
///
/// # Errors
/// A file that cannot be opened, that is cut off, or that is of no known format.
pub fn read_weights(path: &Path) -> Result<BTreeMap<String, Tensor>, WeightsError> {
    let file = WeightsFile::read(path)?;
    let float = |(name, it): (&str, &Tensor)| Ok((name.to_owned(), it.to_dtype(DType::F32)?));
    file.weights().map(float).collect()
}

/// What is wrong with a file of text, if it is one.
///
/// No safetensors file begins with eight letters: as the length of its header they would be without
/// measure.
fn text_in(bytes: &[u8]) -> Option<String> {
    let is_text = |it: &u8| matches!(it, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    let head = &bytes[..bytes.len().min(8)];
    if head.is_empty() || !head.iter().all(is_text) {
        return None;
    }
    if bytes.starts_with(b"version https://git-lfs") {
        let what = "this is a pointer of Git LFS, not the file that it stands for";
        return Some(format!("{what}: get that by `git lfs pull`, or fetch it from its page"));
    }
    let line = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let line: String = line.lines().next().unwrap_or_default().chars().take(40).collect();
    Some(format!(
        "this is text (`{}`), no weights: name a `.safetensors` or `.pth` file, or fetch it again",
        line.trim()
    ))
}

/// The tensors of a safetensors file.
fn read_safetensors(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, Box<dyn std::error::Error>> {
    let file = safetensors::SafeTensors::deserialize(bytes).map_err(|err| {
        format!("this is no whole `.safetensors` or `.pth` file ({err}): fetch it again")
    })?;
    let mut tensors = Vec::new();
    let mut views = file.tensors();
    // The header is a table without order; the numbers have one.
    views.sort_by_cached_key(|(name, view)| (view.data().as_ptr().addr(), name.clone()));
    for (name, view) in views {
        let dtype = match DType::try_from(view.dtype()) {
            Ok(it) => it,
            // Truth values and the like are no weights, and candle has no type for them.
            Err(_) if is_whole(view.dtype()) => continue,
            Err(_) => {
                let dtype = view.dtype();
                return Err(
                    format!("`{name}` is of {dtype:?}, which is not read: save it as F32").into()
                );
            }
        };
        let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?;
        tensors.push((name, tensor));
    }
    Ok(tensors)
}

/// Whether numbers of a type are whole, or truth values.
fn is_whole(dtype: safetensors::Dtype) -> bool {
    use safetensors::Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, BOOL | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
}
