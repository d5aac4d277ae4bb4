//! A weights file: its format and its tensors.
//!
//! Reads `.safetensors`, and PyTorch's `.pth` in its legacy and its zip format (see `pickle.rs`).

use std::{collections::BTreeMap, fs, path::Path};

use candle::{DType, Device, Tensor};

use super::error::WeightsError;
use crate::pickle;

/// The content of a weights file.
pub struct WeightsFile {
    /// The file format.
    pub format: Format,
    /// The file's length in bytes.
    pub n_bytes: usize,
    /// The tensors by name, in the file's order; of a training checkpoint, only the network's weights.
    pub tensors: Vec<(String, Tensor)>,
    /// The key of the weights in such a checkpoint, for example `state_dict`; otherwise empty.
    pub place: String,
    /// The checkpoint's other tensors: tensor names, or keys with their number of tensors.
    pub ignored: Vec<String>,
}

/// The format of a weights file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// safetensors: a JSON header, then the values.
    Safetensors,
    /// PyTorch's zip format, since 1.6.
    PthZip,
    /// PyTorch's legacy format, before 1.6.
    PthLegacy,
}

impl WeightsFile {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be opened, is truncated, or has an unknown format.
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
            let pickle::Content { tensors, place, ignored } = content;
            return Ok(WeightsFile { format, n_bytes, tensors, place, ignored });
        }
        if let Some(what) = text_in(&bytes) {
            return Err(unreadable(what));
        }
        let tensors = read_safetensors(&bytes).map_err(|err| unreadable(err.to_string()))?;
        let (format, place, ignored) = (Format::Safetensors, String::new(), Vec::new());
        Ok(WeightsFile { format, n_bytes, tensors, place, ignored })
    }

    /// The floating-point tensors: counters such as `num_batches_tracked` are not weights.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let all = self.tensors.iter().map(|(name, it)| (name.as_str(), it));
        all.filter(|(_, it)| it.dtype().is_float())
    }
}

impl Format {
    /// The name of the format for messages.
    pub fn name(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::PthZip => "pth, zip format",
            Format::PthLegacy => "pth, legacy format",
        }
    }
}

/// Reads all floating-point tensors of a file as `f32`, by name, in PyTorch's layout.
///
/// # Errors
/// A file that cannot be opened, is truncated, or has an unknown format.
pub fn read_weights(path: &Path) -> Result<BTreeMap<String, Tensor>, WeightsError> {
    let file = WeightsFile::read(path)?;
    let float = |(name, it): (&str, &Tensor)| Ok((name.to_owned(), it.to_dtype(DType::F32)?));
    file.weights().map(float).collect()
}

/// Returns an error message if the file is text.
///
/// A safetensors file never begins with eight text characters: read as the header's length, they would be
/// far too large.
fn text_in(bytes: &[u8]) -> Option<String> {
    let is_text = |it: &u8| matches!(it, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    let head = &bytes[..bytes.len().min(8)];
    if head.is_empty() || !head.iter().all(is_text) {
        return None;
    }
    if bytes.starts_with(b"version https://git-lfs") {
        let what = "this is a Git LFS pointer, not the file itself";
        return Some(format!("{what}: run `git lfs pull`, or download the file from its page"));
    }
    let line = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let line: String = line.lines().next().unwrap_or_default().chars().take(40).collect();
    Some(format!(
        "this is a text file (`{}`), not weights: name a `.safetensors` or `.pth` file, or download it \
         again",
        line.trim()
    ))
}

/// Reads the tensors of a safetensors file.
fn read_safetensors(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, Box<dyn std::error::Error>> {
    let file = safetensors::SafeTensors::deserialize(bytes).map_err(|err| {
        format!("this is not a complete `.safetensors` or `.pth` file ({err}): download it again")
    })?;
    let mut tensors = Vec::new();
    let mut views = file.tensors();
    // The header is unordered: sorted by the position of the values in the file.
    views.sort_by_cached_key(|(name, view)| (view.data().as_ptr().addr(), name.clone()));
    for (name, view) in views {
        let dtype = match DType::try_from(view.dtype()) {
            Ok(it) => it,
            // Booleans and integers are not weights, and candle has no dtype for some of them.
            Err(_) if is_integer(view.dtype()) => continue,
            Err(_) => {
                let dtype = view.dtype();
                return Err(format!(
                    "`{name}` has dtype {dtype:?}, which is not supported: save it as F32"
                )
                .into());
            }
        };
        let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?;
        tensors.push((name, tensor));
    }
    Ok(tensors)
}

/// Returns whether a dtype is an integer or boolean type.
fn is_integer(dtype: safetensors::Dtype) -> bool {
    use safetensors::Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, BOOL | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
}
