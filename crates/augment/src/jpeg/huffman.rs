//! Huffman codes, and the blocks coded in them.
//!
//! A block is 64 coefficients in the order of `ORDER` (zigzag): the first (DC) as the difference from the
//! preceding block, the others (AC) as pairs of a number of zeros and a value, up to an end-of-block code.
//! The next ten bits are looked up at once: usually a whole pair.

use std::{ops::Range, sync::Arc};

/// The number of bits looked up at once.
const BITS: u32 = 10;

/// A code with its look-up tables.
pub(super) struct Code {
    /// Indexed by the next ten bits: a pair, or a bare symbol and the length of its code.
    entries: Box<[Entry; 1 << BITS]>,
    /// The same for skipping: as many pairs as fit.
    skips: Box<[Skip; 1 << BITS]>,
    /// For each length, left-aligned to 16 bits: the first longer code.
    ends: [u32; 17],
    /// For each length, the offset from a code to the index of its symbol.
    offsets: [i32; 17],
    symbols: Vec<u8>,
    has_zeros: bool,
}

/// How the symbols of a code are used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Use {
    /// The size of a block's DC difference, in baseline.
    Dc,
    /// The number of zeros and the size of the AC coefficient after them, in baseline.
    Ac,
    /// Bare symbols, interpreted by a progressive scan.
    Symbols,
}

/// A pair of zeros and a value, within the bits that were looked up.
#[derive(Clone, Copy, Default)]
struct Entry {
    value: i16,
    /// The number of zeros before the value; `END` at the end of the block.
    zeros: u8,
    /// The length in bits; 0 if it exceeds the bits looked up, and then `value` has the symbol, and `zeros`
    /// the length of its code, if these are known.
    length: u8,
}

/// Whole pairs within the bits that were looked up.
#[derive(Clone, Copy, Default)]
struct Skip {
    /// The number of coefficients that they advance, at least [`END`] if the last of them is the end of
    /// block.
    places: u8,
    /// The number of coefficients that must be left for all of them.
    least: u8,
    /// The length in bits.
    length: u8,
}

/// More zeros than there are coefficients.
const END: u8 = 128;
/// The same, for invalid bits.
const DAMAGED: u8 = 64;

/// The codes of a component: DC and AC.
pub(super) struct Codes {
    pub(super) dc: Arc<Code>,
    pub(super) ac: Arc<Code>,
}

/// The zigzag order: the row-major index of each coefficient of the file.
pub(super) const ORDER: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

impl Code {
    /// Builds a code from the number of codes of each length and their symbols. Returns `None` if there are
    /// more codes than fit.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8], kind: Use) -> Option<Code> {
        let has_zeros = kind == Use::Ac;
        let mut code = Code {
            entries: Box::new([Entry::default(); 1 << BITS]),
            skips: Box::new([Skip::default(); 1 << BITS]),
            ends: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
            has_zeros,
        };
        let (mut next, mut place) = (0_u32, 0_usize);
        for length in 1..=16 {
            code.offsets[length as usize] = place as i32 - next as i32;
            for _ in 0..counts[length as usize - 1] {
                if next >= 1 << length {
                    return None;
                }
                let symbol = symbols[place];
                if kind == Use::Dc && symbol > 11 {
                    return None;
                }
                if length <= BITS {
                    let free = BITS - length;
                    let entries =
                        &mut code.entries[(next << free) as usize..((next + 1) << free) as usize];
                    for (rest, entry) in entries.iter_mut().enumerate() {
                        *entry = match kind {
                            Use::Symbols => {
                                Entry { value: symbol.into(), zeros: 0, length: length as u8 }
                            }
                            _ => Entry::of(symbol, length, has_zeros, rest as u32, free),
                        };
                    }
                }
                next += 1;
                place += 1;
            }
            code.ends[length as usize] = next << (16 - length);
            next <<= 1;
        }
        if has_zeros {
            code.skips = Box::new(std::array::from_fn(|bits| Skip::of(bits, &code.entries)));
        }
        Some(code)
    }
}

impl Code {
    /// A pair of zeros and a value that is longer than the bits looked up at once, and its length: an invalid
    /// code is the end, of length 0.
    #[inline(never)]
    fn long_pair(&self, next: u32, entry: Entry) -> (u8, i32, u32) {
        let (symbol, length) = if entry.zeros > 0 {
            (entry.value as u8, u32::from(entry.zeros))
        } else {
            match self.long_symbol(next >> 16) {
                Some(it) => it,
                None => return (DAMAGED, 0, 0),
            }
        };
        let size = u32::from(symbol & 15);
        match (symbol >> 4, size) {
            (0..15, 0) if self.has_zeros => (END, 0, length),
            (zeros, 0) => (zeros, 0, length),
            (zeros, _) => (zeros, number((next << length) >> (32 - size), size), length + size),
        }
    }

    /// The symbol whose code the next sixteen bits begin with, and the length of the code: longer than the
    /// bits looked up at once.
    fn long_symbol(&self, sixteen: u32) -> Option<(u8, u32)> {
        let length = (BITS + 1..=16).find(|&it| sixteen < self.ends[it as usize])?;
        let place = (sixteen >> (16 - length)) as i32 + self.offsets[length as usize];
        Some((*self.symbols.get(usize::try_from(place).ok()?)?, length))
    }
}

impl Entry {
    /// The entry of a symbol whose code is followed by `free` bits with the value `rest`.
    fn of(symbol: u8, length: u32, has_zeros: bool, rest: u32, free: u32) -> Entry {
        let (zeros, size) = (symbol >> 4, u32::from(symbol & 15));
        match (size, zeros) {
            (0, 0..15) if has_zeros => Entry { value: 0, zeros: END, length: length as u8 },
            _ if size <= free => Entry {
                value: number(rest >> (free - size), size) as i16,
                zeros,
                length: (length + size) as u8,
            },
            _ => Entry { value: i16::from(symbol), zeros: length as u8, length: 0 },
        }
    }
}

impl Skip {
    /// As many pairs as `bits` begin with.
    fn of(bits: usize, entries: &[Entry; 1 << BITS]) -> Skip {
        let mut skip = Skip::default();
        loop {
            let entry = entries[(bits << skip.length) & ((1 << BITS) - 1)];
            let is_whole = entry.length > 0 && u32::from(skip.length + entry.length) <= BITS;
            if !is_whole || skip.places >= 64 {
                return skip;
            }
            skip.length += entry.length;
            if entry.zeros == END {
                // At least one coefficient must be left, or there would be no end of block.
                return Skip { places: END + skip.places, least: skip.places + 1, ..skip };
            }
            skip.places += entry.zeros + 1;
            skip.least = skip.places;
        }
    }
}

/// The value that `size` bits represent: those that begin with 0 are negative.
#[inline(always)]
fn number(bits: u32, size: u32) -> i32 {
    let is_negative = bits < (1 << size) >> 1;
    bits as i32 - if is_negative { (1 << size) - 1 } else { 0 }
}

/// A reader of coded data.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    /// The next bits, most significant first.
    next: u64,
    n: u32,
    is_damaged: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], segment: Range<usize>) -> Bits<'a> {
        Bits { bytes, at: segment.start, end: segment.end, next: 0, n: 0, is_damaged: false }
    }

    /// Whether all codes so far were valid and inside the data.
    pub(super) fn is_valid(&self) -> bool {
        !self.is_damaged && self.at * 8 <= self.end * 8 + self.n as usize
    }

    /// Fills the buffer to at least 56 bits.
    #[inline(always)]
    fn fill(&mut self) {
        let eight = self.bytes.get(self.at..).and_then(|it| it.first_chunk::<8>());
        let word = match eight {
            Some(eight) => u64::from_be_bytes(*eight),
            None => self.last_word(),
        };
        self.next |= word >> self.n;
        self.at += ((63 - self.n) >> 3) as usize;
        self.n |= 56;
    }

    /// The last bytes, padded with zeros.
    #[cold]
    fn last_word(&self) -> u64 {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        rest.iter().enumerate().map(|(it, &byte)| u64::from(byte) << (56 - 8 * it)).sum()
    }

    /// Reads the next pair of a number of zeros and a value: at most 31 bits.
    #[inline(always)]
    fn pair(&mut self, code: &Code) -> (usize, i32) {
        let entry = code.entries[(self.next >> (64 - BITS)) as usize];
        let (zeros, number, length) = if entry.length > 0 {
            (entry.zeros, i32::from(entry.value), u32::from(entry.length))
        } else {
            code.long_pair((self.next >> 32) as u32, entry)
        };
        self.next <<= length;
        self.n -= length;
        (usize::from(zeros), number)
    }

    /// Reads the next symbol of a code of [`Use::Symbols`]: 0 if the bits are invalid.
    pub(super) fn symbol(&mut self, code: &Code) -> u8 {
        self.fill();
        let entry = code.entries[(self.next >> (64 - BITS)) as usize];
        let found = match entry.length {
            0 => code.long_symbol((self.next >> 48) as u32),
            length => Some((entry.value as u8, length.into())),
        };
        let Some((symbol, length)) = found else {
            self.is_damaged = true;
            return 0;
        };
        self.next <<= length;
        self.n -= length;
        symbol
    }

    /// Reads the next `n` bits, at most 16.
    pub(super) fn take(&mut self, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        self.fill();
        let bits = (self.next >> (64 - n)) as u32;
        self.next <<= n;
        self.n -= n;
        bits
    }

    /// Reads the value that the next `size` bits represent.
    pub(super) fn number(&mut self, size: u32) -> i32 {
        number(self.take(size), size)
    }

    /// Marks the data as invalid.
    pub(super) fn damage(&mut self) {
        self.is_damaged = true;
    }

    /// Reads a block: calls `keep` with the index in the file and the value of each nonzero coefficient.
    /// Returns the last of these indices.
    #[inline(always)]
    pub(super) fn block(
        &mut self,
        codes: &Codes,
        predictor: &mut i32,
        mut keep: impl FnMut(usize, i32),
    ) -> usize {
        let (dc, ac) = (&*codes.dc, &*codes.ac);
        self.fill();
        let (zeros, difference) = self.pair(dc);
        self.is_damaged |= zeros > 0;
        *predictor = predictor.wrapping_add(difference);
        keep(0, *predictor);
        let (mut at, mut last) = (1, 0);
        while at < 64 {
            // Two pairs have at most 54 bits.
            self.fill();
            let (zeros, number) = self.pair(ac);
            at += zeros;
            if at > 63 {
                break;
            }
            keep(at, number);
            last = at;
            at += 1;
            if at > 63 {
                break;
            }
            let (zeros, number) = self.pair(ac);
            at += zeros;
            if at > 63 {
                break;
            }
            keep(at, number);
            last = at;
            at += 1;
        }
        self.is_damaged |= at > 64 && at < usize::from(END);
        last
    }

    /// Skips a block.
    #[inline(always)]
    pub(super) fn skip_block(&mut self, codes: &Codes, predictor: &mut i32) {
        let ac = &*codes.ac;
        self.fill();
        let (zeros, difference) = self.pair(&codes.dc);
        self.is_damaged |= zeros > 0;
        *predictor = predictor.wrapping_add(difference);
        let mut at = 1;
        while at < 64 {
            self.fill();
            let skip = ac.skips[(self.next >> (64 - BITS)) as usize];
            // Beyond the last coefficient, the bits belong to the next block.
            if skip.length > 0 && at + usize::from(skip.least) <= 64 {
                self.next <<= skip.length;
                self.n -= u32::from(skip.length);
                at += usize::from(skip.places);
            } else {
                let (zeros, _) = self.pair(ac);
                at += zeros + 1;
            }
        }
        self.is_damaged |= at > 64 && at < usize::from(END);
    }
}
