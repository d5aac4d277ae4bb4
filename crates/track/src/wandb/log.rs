//! The log format of LevelDB: blocks of 32 KiB that contain fragments of records.

use crate::checksum::CRC32;

const BLOCK: u64 = 32_768;
/// The header of a fragment: checksum, length and type.
const HEAD: u64 = 7;

/// The types of fragments.
const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// The header of a log: an identifier, a magic number and a version.
pub(super) fn begin_log() -> [u8; 7] {
    *b":W&B\xe1\xbe\x00"
}

/// Encodes a record for appending to a log of `offset` bytes: as one fragment, or as a first one, any number
/// of middle ones, and a last one.
pub(super) fn pieces(offset: u64, record: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest, mut is_first) = (Vec::new(), record, true);
    loop {
        let mut room = BLOCK - (offset + bytes.len() as u64) % BLOCK;
        if room < HEAD {
            bytes.resize(bytes.len() + room as usize, 0);
            room = BLOCK;
        }
        let n = rest.len().min((room - HEAD) as usize);
        let (piece, after) = rest.split_at(n);
        let kind = match (is_first, after.is_empty()) {
            (true, true) => WHOLE,
            (true, false) => FIRST,
            (false, false) => MIDDLE,
            (false, true) => LAST,
        };
        bytes.extend(CRC32.of(&[&[kind], piece]).to_le_bytes());
        bytes.extend((n as u16).to_le_bytes());
        bytes.push(kind);
        bytes.extend(piece);
        if after.is_empty() {
            return bytes;
        }
        (rest, is_first) = (after, false);
    }
}

/// Returns the complete records of a log up to its end or to damage, each with the offset of its end; and
/// whether the log is damaged there, not just truncated.
pub(super) fn records(log: &[u8]) -> (Vec<(Vec<u8>, usize)>, bool) {
    let (mut records, mut record) = (Vec::new(), Vec::new());
    let mut at = begin_log().len();
    if !log.starts_with(&begin_log()) {
        return (records, !begin_log().starts_with(log));
    }
    loop {
        let room = BLOCK as usize - at % BLOCK as usize;
        if room < HEAD as usize {
            at += room;
        }
        let Some(&[a, b, c, d, low, high, kind]) = log.get(at..at + HEAD as usize) else { break };
        at += HEAD as usize;
        let n = usize::from(u16::from_le_bytes([low, high]));
        let Some(piece) = log.get(at..at + n) else { break };
        if CRC32.of(&[&[kind], piece]) != u32::from_le_bytes([a, b, c, d]) {
            return (records, true);
        }
        at += n;
        record.extend_from_slice(piece);
        if [WHOLE, LAST].contains(&kind) {
            records.push((std::mem::take(&mut record), at));
        }
    }
    (records, false)
}
