//! A scan: its components, and its coded data.

use std::{ops::Range, sync::Arc};

use super::{
    error::{damaged, unsupported},
    header::{Header, Segments},
    huffman::{Code, Codes, Use},
};
use crate::DecodeError;

/// The maximum number of blocks in an MCU.
const MAX_BLOCKS: usize = 10;

/// The header of a scan.
pub(super) struct Scan {
    /// Components, by their indices in the frame, and the tables they use.
    pub(super) parts: Vec<Entry>,
    /// The first and the last coefficient (spectral selection).
    pub(super) from: usize,
    pub(super) to: usize,
    /// The number of low bits that were missing before and are missing after it (successive approximation).
    pub(super) high: u32,
    pub(super) low: u32,
}

/// A component in a scan.
pub(super) struct Entry {
    pub(super) component: usize,
    codes: [u8; 2],
}

impl Scan {
    /// Reads the header of a scan.
    pub(super) fn read(header: &Header<'_>, segment: &[u8]) -> Result<Scan, DecodeError> {
        let wrong = || damaged("invalid scan header");
        let (&n, rest) = segment.split_first().ok_or_else(wrong)?;
        let (list, how) = rest.split_at_checked(2 * usize::from(n)).ok_or_else(wrong)?;
        let &[from, to, bits] = how else { return Err(wrong()) };
        let part = |it: &[u8; 2]| {
            let component = header.component(it[0]).ok_or_else(wrong)?;
            Ok::<_, DecodeError>(Entry { component, codes: [it[1] >> 4, it[1] & 15] })
        };
        let parts: Vec<Entry> = list.as_chunks().0.iter().map(part).collect::<Result<_, _>>()?;
        let is_twice = |it: usize| parts[..it].iter().any(|a| a.component == parts[it].component);
        if !(1..=4).contains(&parts.len()) || (0..parts.len()).any(is_twice) {
            return Err(wrong());
        }
        let n_blocks =
            |it: &Entry| header.components[it.component].blocks.iter().product::<usize>();
        if parts.len() > 1 && parts.iter().map(n_blocks).sum::<usize>() > MAX_BLOCKS {
            return Err(unsupported("MCUs of more than ten blocks"));
        }
        let scan = Scan {
            parts,
            from: from.into(),
            to: to.into(),
            high: (bits >> 4).into(),
            low: (bits & 15).into(),
        };
        if !header.is_progressive {
            // All coefficients, with all bits, whatever the header contains: some programs leave it empty.
            return Ok(Scan { from: 0, to: 63, high: 0, low: 0, ..scan });
        }
        let is_valid = match scan.from {
            0 => scan.to == 0,
            from => (from..64).contains(&scan.to) && scan.parts.len() == 1,
        };
        let is_next = scan.high == 0 || scan.low + 1 == scan.high;
        if is_valid && is_next && scan.low <= 13 { Ok(scan) } else { Err(wrong()) }
    }

    /// Whether it contains all components, in the order of the frame.
    pub(super) fn is_all(&self, header: &Header<'_>) -> bool {
        !header.is_progressive
            && self.parts.iter().map(|it| it.component).eq(0..header.components.len())
    }

    /// The codes of each component, in baseline.
    pub(super) fn codes(&self, segments: &mut Segments<'_>) -> Result<Vec<Codes>, DecodeError> {
        let codes = |it: &Entry| {
            let dc = segments.code(0, it.codes[0], Use::Dc)?;
            Ok(Codes { dc, ac: segments.code(1, it.codes[1], Use::Ac)? })
        };
        self.parts.iter().map(codes).collect()
    }

    /// The code of each component, in a progressive scan; refining DC coefficients needs none.
    pub(super) fn symbols(
        &self,
        segments: &mut Segments<'_>,
    ) -> Result<Vec<Option<Arc<Code>>>, DecodeError> {
        let class = usize::from(self.from > 0);
        let code = |it: &Entry| match (self.from, self.high) {
            (0, 1..) => Ok(None),
            _ => segments.code(class, it.codes[class], Use::Symbols).map(Some),
        };
        self.parts.iter().map(code).collect()
    }
}

/// Coded data without byte stuffing.
pub(super) struct Coded {
    pub(super) bytes: Vec<u8>,
    /// The ranges between restart markers.
    pub(super) segments: Vec<Range<usize>>,
}

impl Coded {
    /// Reads the coded data from the current position of the segments, and advances them past it.
    pub(super) fn read(from: &mut Segments<'_>) -> Result<Coded, DecodeError> {
        let coded = &from.bytes[from.at..];
        let mut bytes = Vec::with_capacity(coded.len() + 16);
        let mut segments = Vec::new();
        let (mut start, mut at) = (0, 0);
        loop {
            // Eight bytes at a time, as long as none of them is 0xff.
            while let Some(eight) = coded.get(at..).and_then(|it| it.first_chunk::<8>()) {
                let word = u64::from_ne_bytes(*eight);
                const LOW: u64 = u64::MAX / 255;
                if word & (word & (LOW * 0x7f)).wrapping_add(LOW) & (LOW * 0x80) != 0 {
                    break;
                }
                bytes.extend_from_slice(eight);
                at += 8;
            }
            match *coded.get(at).ok_or(DecodeError::Truncated)? {
                0xff => match *coded.get(at + 1).ok_or(DecodeError::Truncated)? {
                    0x00 => {
                        bytes.push(0xff);
                        at += 2;
                    }
                    // Fill bytes.
                    0xff => at += 1,
                    it @ 0xd0..=0xd7 => {
                        if from.restart_interval == 0 || usize::from(it & 7) != segments.len() % 8 {
                            return Err(damaged("unexpected restart marker"));
                        }
                        segments.push(start..bytes.len());
                        start = bytes.len();
                        at += 2;
                    }
                    // The end of the image, or another segment.
                    _ => break,
                },
                byte => {
                    bytes.push(byte);
                    at += 1;
                }
            }
        }
        segments.push(start..bytes.len());
        from.at += at;
        Ok(Coded { bytes, segments })
    }
}
