//! Zip archives as PyTorch writes them: entries are stored uncompressed and are read in place.
//!
//! The central directory at the end is authoritative; of a local header only the length is read, which gives
//! the start of the content. PyTorch pads each header with an extra field (`FB`) of any length, also 0, so
//! that contents begin at multiples of 64 bytes.
//!
//! PKWARE, "APPNOTE.TXT - .ZIP File Format Specification", sections 4.3 and 4.5.3 (zip64).

use std::collections::HashMap;

use super::error::{PickleError, Result, malformed};

/// The directory of an archive.
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    entries: HashMap<&'a [u8], Entry>,
}

struct Entry {
    /// The offset of its local header.
    start: u64,
    n_bytes: u64,
    crc32: u32,
    /// Whether the content is neither compressed nor encrypted.
    is_plain: bool,
}

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";

/// Lengths of the headers without the variable fields.
const LOCAL_LEN: usize = 30;
const CENTRAL_LEN: usize = 46;
const END_LEN: usize = 22;
const LOCATOR_LEN: usize = 20;
/// The maximum length of the comment that may follow the end record.
const MAX_COMMENT: usize = 0xffff;

/// The id of the extra field with the 64-bit sizes, used where a 32-bit field is 0xffffffff.
const ZIP_64: u16 = 1;

impl<'a> Archive<'a> {
    /// Reads the directory.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Archive<'a>> {
        let (n_entries, mut at) = directory(bytes)?;
        let mut entries = HashMap::new();
        for _ in 0..n_entries {
            let header = slice(bytes, at, CENTRAL_LEN)?;
            if !header.starts_with(CENTRAL) {
                return Err(malformed("a zip archive with a broken directory"));
            }
            let [n_name, n_extra, n_comment] =
                [28, 30, 32].map(|it| usize::from(u16_at(header, it)));
            let name_at = at + CENTRAL_LEN as u64;
            let name = slice(bytes, name_at, n_name)?;
            let extra = slice(bytes, name_at + n_name as u64, n_extra)?;
            let [n_full, n_stored, start] = wide(extra, [24, 20, 42].map(|it| u32_at(header, it)))?;
            let (flags, method) = (u16_at(header, 8), u16_at(header, 10));
            let is_plain = method == 0 && flags & 1 == 0 && n_full == n_stored;
            let entry = Entry { start, n_bytes: n_stored, crc32: u32_at(header, 16), is_plain };
            entries.insert(name, entry);
            at = name_at + (n_name + n_extra + n_comment) as u64;
        }
        Ok(Archive { bytes, entries })
    }

    /// Returns the archive's folder: the prefix of the first name that ends in `end`.
    pub(super) fn before(&self, end: &[u8]) -> Option<&'a [u8]> {
        let is_dir = |it: &&[u8]| it.is_empty() || it.ends_with(b"/");
        self.entries.keys().filter_map(|it| it.strip_suffix(end)).filter(is_dir).min()
    }

    /// Returns the content of an entry.
    pub(super) fn get(&self, name: &[u8]) -> Result<&'a [u8]> {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let Some(entry) = self.entries.get(name) else {
            return Err(PickleError::Malformed(format!("no entry `{}`", shown())));
        };
        if !entry.is_plain {
            let what = format!("`{}` is compressed or encrypted, unlike in `torch.save`", shown());
            return Err(PickleError::Malformed(what));
        }
        let header = slice(self.bytes, entry.start, LOCAL_LEN)?;
        if !header.starts_with(LOCAL) {
            return Err(PickleError::Malformed(format!(
                "`{}` is not at the offset in the directory",
                shown()
            )));
        }
        let [n_name, n_extra] = [26, 28].map(|it| u64::from(u16_at(header, it)));
        let n_bytes = usize::try_from(entry.n_bytes).map_err(|_| PickleError::Truncated)?;
        let start = entry.start + LOCAL_LEN as u64 + n_name + n_extra;
        let content = slice(self.bytes, start, n_bytes)?;
        match crc32fast::hash(content) == entry.crc32 {
            true => Ok(content),
            false => Err(PickleError::Malformed(format!("the checksum of `{}` is wrong", shown()))),
        }
    }
}

/// Returns the number of entries and the offset of the first in the central directory.
fn directory(bytes: &[u8]) -> Result<(u64, u64)> {
    let first = bytes.len().saturating_sub(END_LEN + MAX_COMMENT);
    let last = bytes.len().checked_sub(END_LEN).ok_or(PickleError::Truncated)?;
    let is_end = |&at: &usize| {
        bytes[at..].starts_with(END)
            && at + END_LEN + usize::from(u16_at(&bytes[at..], 20)) <= bytes.len()
    };
    let at = (first..=last).rev().find(is_end).ok_or(PickleError::Truncated)?;
    let (n_entries, start) = (u16_at(&bytes[at..], 10), u32_at(&bytes[at..], 16));
    if n_entries != u16::MAX && start != u32::MAX {
        return Ok((n_entries.into(), start.into()));
    }
    let locator = at.checked_sub(LOCATOR_LEN).map(|it| &bytes[it..]);
    let Some(locator) = locator.filter(|it| it.starts_with(LOCATOR_64)) else {
        return Ok((n_entries.into(), start.into()));
    };
    let end = slice(bytes, u64_at(locator, 8), 56)?;
    match end.starts_with(END_64) {
        true => Ok((u64_at(end, 32), u64_at(end, 48))),
        false => Err(malformed("a zip archive with a broken end")),
    }
}

/// The sizes and the offset of an entry, from its zip64 extra field where the 32-bit fields are full.
fn wide(mut extra: &[u8], narrow: [u32; 3]) -> Result<[u64; 3]> {
    let is_full = |it: &u32| *it == u32::MAX;
    if !narrow.iter().any(is_full) {
        return Ok(narrow.map(u64::from));
    }
    while extra.len() >= 4 {
        let (id, n) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let field = slice(extra, 4, n)?;
        if id == ZIP_64 {
            let mut wide = narrow.map(u64::from);
            let mut rest = field.chunks_exact(8);
            for (wide, _) in wide.iter_mut().zip(&narrow).filter(|(_, it)| is_full(it)) {
                *wide = u64_at(rest.next().ok_or(PickleError::Truncated)?, 0);
            }
            return Ok(wide);
        }
        extra = &extra[4 + n..];
    }
    Ok(narrow.map(u64::from))
}

/// Returns `n` bytes from offset `at`.
fn slice(bytes: &[u8], at: u64, n: usize) -> Result<&[u8]> {
    let at = usize::try_from(at).map_err(|_| PickleError::Truncated)?;
    let end = at.checked_add(n).ok_or(PickleError::Truncated)?;
    bytes.get(at..end).ok_or(PickleError::Truncated)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|idx| bytes[at + idx]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|idx| bytes[at + idx]))
}
