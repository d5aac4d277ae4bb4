//! Images whose coefficients are in several scans: all are stored until the last scan.
//!
//! T.81, F and G: a scan contains some components, in baseline with all of their coefficients; in a
//! progressive JPEG with the DC coefficients or a band of AC coefficients, without their low bits or with one
//! more of them.

use std::sync::Arc;

use super::{
    error::damaged,
    header::{END, Header, SCAN, Segments},
    huffman::{Bits, Code},
    scan::{Coded, Scan},
};
use crate::DecodeError;

/// The coefficients of a component.
pub(super) struct Stored {
    /// The blocks row by row, their coefficients in the order of the file.
    pub(super) blocks: Vec<[i16; 64]>,
    /// The number of blocks in a row, including the padding of the last MCU.
    pub(super) across: usize,
    pub(super) steps: [u16; 64],
    /// The number of missing low bits of each coefficient; `NONE` if all are missing.
    missing: [u32; 64],
    /// The number of blocks without padding, down and across.
    size: [usize; 2],
}

const NONE: u32 = u32::MAX;

/// The most scans: a scan of a few bytes visits all blocks, and files of ten thousands of them are made to keep a
/// decoder busy. Encoders write about ten; the fuzzers of libjpeg-turbo have the same limit.
const MOST_SCANS: usize = 500;

/// The coefficients that libjpeg estimates while bits are missing: the first in the order of the file.
const SMOOTHED: usize = 10;

/// Reads all scans.
pub(super) fn read(header: &Header<'_>) -> Result<Vec<Stored>, DecodeError> {
    let n_units = [0, 1].map(|it| header.size[it].div_ceil(8 * header.max_blocks[it]));
    let mut planes: Vec<Stored> = header
        .components
        .iter()
        .map(|it| {
            let [down, across] = [0, 1].map(|side| n_units[side] * it.blocks[side]);
            let size = [0, 1].map(|side| {
                (header.size[side] * it.blocks[side]).div_ceil(8 * header.max_blocks[side])
            });
            let blocks = vec![[0; 64]; down * across];
            Stored { blocks, across, steps: [0; 64], missing: [NONE; 64], size }
        })
        .collect();
    let mut segments = header.segments.clone();
    let mut segment = header.scan;
    for _ in 0..MOST_SCANS {
        let scan = Scan::read(header, segment)?;
        for it in &scan.parts {
            let plane = &mut planes[it.component];
            // The quantization table is that at the first scan of a component.
            if plane.missing[0] == NONE {
                plane.steps = header.steps(it.component, &segments)?;
            }
            plane.missing[scan.from..=scan.to].fill(scan.low);
        }
        read_scan(header, &scan, &mut segments, n_units, &mut planes)?;
        segment = loop {
            match segments.next()? {
                (SCAN, it) => break it,
                (END, _) => {
                    // libjpeg would estimate missing bits; there is no correct value, so this is an error.
                    let is_complete =
                        |it: &Stored| it.missing[..SMOOTHED].iter().all(|&it| it == 0);
                    return match planes.iter().all(is_complete) {
                        true => Ok(planes),
                        false => Err(damaged("scans are missing")),
                    };
                }
                (0xc0..=0xcf, _) => return Err(damaged("it has two frames")),
                _ => {}
            }
        };
    }
    Err(damaged(&format!("it has more than {MOST_SCANS} scans")))
}

/// The coding of the blocks of a scan.
enum Coding {
    Baseline(Vec<super::huffman::Codes>),
    Progressive(Vec<Option<Arc<Code>>>),
}

fn read_scan(
    header: &Header<'_>,
    scan: &Scan,
    segments: &mut Segments<'_>,
    n_units: [usize; 2],
    planes: &mut [Stored],
) -> Result<(), DecodeError> {
    let coding = match header.is_progressive {
        false => Coding::Baseline(scan.codes(segments)?),
        true => Coding::Progressive(scan.symbols(segments)?),
    };
    let interval = segments.restart_interval;
    let coded = Coded::read(segments)?;
    // A single component is not interleaved: block by block, without padding.
    let alone = match &scan.parts[..] {
        [alone] => Some(planes[alone.component].size),
        _ => None,
    };
    let [n_down, n_across] = alone.unwrap_or(n_units);
    let mut restarts = Restarts::new(&coded, interval)?;
    for down in 0..n_down {
        for across in 0..n_across {
            restarts.next()?;
            let State { bits, predictor, eob_run } = &mut restarts.state;
            for (at, part) in scan.parts.iter().enumerate() {
                let plane = &mut planes[part.component];
                let of_unit = header.components[part.component].blocks;
                let [rows, columns] = if alone.is_some() { [1, 1] } else { of_unit };
                for row in down * rows..(down + 1) * rows {
                    for column in across * columns..(across + 1) * columns {
                        let block = &mut plane.blocks[row * plane.across + column];
                        match &coding {
                            Coding::Baseline(codes) => {
                                *block = [0; 64];
                                bits.block(&codes[at], &mut predictor[at], |place, number| {
                                    block[place & 63] = number as i16;
                                });
                            }
                            Coding::Progressive(codes) => {
                                let code = codes[at].as_deref();
                                progress(scan, code, bits, &mut predictor[at], eob_run, block);
                            }
                        }
                    }
                }
            }
        }
        restarts.state.check()?;
    }
    Ok(())
}

/// The decoder state, reset at each restart.
pub(super) struct State<'a> {
    pub(super) bits: Bits<'a>,
    /// The DC predictors: the DC coefficients of the preceding blocks.
    pub(super) predictor: [i32; 4],
    /// The end-of-band run: the number of following blocks without further coefficients in the band.
    eob_run: u32,
}

/// Coded data with its restart intervals.
pub(super) struct Restarts<'a> {
    coded: &'a Coded,
    interval: usize,
    n_segments: usize,
    left: usize,
    pub(super) state: State<'a>,
}

impl<'a> State<'a> {
    fn new(coded: &'a Coded, segment: usize) -> Result<State<'a>, DecodeError> {
        let segment =
            coded.segments.get(segment).ok_or_else(|| damaged("a restart marker is missing"))?;
        Ok(State { bits: Bits::new(&coded.bytes, segment.clone()), predictor: [0; 4], eob_run: 0 })
    }

    /// Checks that all codes so far were valid and inside the data.
    #[inline(always)]
    pub(super) fn check(&self) -> Result<(), DecodeError> {
        match self.bits.is_valid() {
            true => Ok(()),
            false => Err(damaged("its coded data is invalid or ends too early")),
        }
    }
}

impl<'a> Restarts<'a> {
    pub(super) fn new(coded: &'a Coded, interval: usize) -> Result<Restarts<'a>, DecodeError> {
        let state = State::new(coded, 0)?;
        Ok(Restarts { coded, interval, n_segments: 1, left: interval, state })
    }

    /// Called before each MCU: resets the state where a restart is due.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<(), DecodeError> {
        if self.interval > 0 {
            if self.left == 0 {
                self.state.check()?;
                self.state = State::new(self.coded, self.n_segments)?;
                self.n_segments += 1;
                self.left = self.interval;
            }
            self.left -= 1;
        }
        Ok(())
    }
}

/// Reads the part of a block that a progressive scan contains.
fn progress(
    scan: &Scan,
    code: Option<&Code>,
    bits: &mut Bits<'_>,
    predictor: &mut i32,
    eob_run: &mut u32,
    block: &mut [i16; 64],
) {
    let low = scan.low;
    match (scan.from, scan.high, code) {
        (0, 0, Some(code)) => {
            let size = u32::from(bits.symbol(code));
            if size > 11 {
                return bits.damage();
            }
            *predictor = predictor.wrapping_add(bits.number(size));
            block[0] = (*predictor << low) as i16;
        }
        (0, _, _) => block[0] |= (bits.take(1) << low) as i16,
        (_, 0, Some(code)) => band(scan, code, bits, eob_run, block),
        (_, _, Some(code)) => refine(scan, code, bits, eob_run, block),
        (_, _, None) => bits.damage(),
    }
}

/// Reads an end-of-band run, including the current block: 2 to the power of `r`, plus `r` more bits.
fn read_eob_run(bits: &mut Bits<'_>, r: u32) -> u32 {
    (1 << r) + bits.take(r)
}

/// Reads the first bits of a band of coefficients.
fn band(scan: &Scan, code: &Code, bits: &mut Bits<'_>, eob_run: &mut u32, block: &mut [i16; 64]) {
    if *eob_run > 0 {
        *eob_run -= 1;
        return;
    }
    let mut at = scan.from;
    while at <= scan.to {
        let symbol = bits.symbol(code);
        match (symbol >> 4, symbol & 15) {
            (15, 0) => at += 16,
            (r, 0) => {
                *eob_run = read_eob_run(bits, r.into()) - 1;
                return;
            }
            (zeros, size) => {
                at += usize::from(zeros);
                let number = bits.number(size.into());
                if at > scan.to {
                    return bits.damage();
                }
                block[at] = (number << scan.low) as i16;
                at += 1;
            }
        }
    }
}

/// Refines a band by one bit: of each nonzero coefficient, and of those that become 1 or -1.
fn refine(scan: &Scan, code: &Code, bits: &mut Bits<'_>, eob_run: &mut u32, block: &mut [i16; 64]) {
    let one = 1_i16 << scan.low;
    let correct = |it: &mut i16, bits: &mut Bits<'_>| {
        if bits.take(1) == 1 && *it & one == 0 {
            *it = it.wrapping_add(if *it >= 0 { one } else { -one });
        }
    };
    let mut at = scan.from;
    while at <= scan.to && *eob_run == 0 {
        let symbol = bits.symbol(code);
        let (mut zeros, size) = (symbol >> 4, symbol & 15);
        let new = match (zeros, size) {
            (15, 0) => 0,
            (r, 0) => {
                *eob_run = read_eob_run(bits, r.into());
                break;
            }
            _ => {
                if bits.take(1) == 1 {
                    one
                } else {
                    -one
                }
            }
        };
        // Skips `zeros` zero coefficients, refining nonzero ones in between.
        while at <= scan.to {
            if block[at] != 0 {
                correct(&mut block[at], bits);
            } else if zeros == 0 {
                break;
            } else {
                zeros -= 1;
            }
            at += 1;
        }
        if new != 0 {
            match at <= scan.to {
                true => block[at] = new,
                false => return bits.damage(),
            }
        }
        at += 1;
    }
    if *eob_run > 0 {
        for it in block[at..=scan.to].iter_mut().filter(|it| **it != 0) {
            correct(it, bits);
        }
        *eob_run -= 1;
    }
}
