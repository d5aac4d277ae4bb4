//! What stands before the coded data of a JPEG: its frame, its tables, and what its colours are.
//!
//! As libjpeg, what is out of place between segments is passed over; what is not read has its reason.

use std::sync::Arc;

use super::{
    damaged,
    huffman::{Code, Use},
    unsupported,
};
use crate::DecodeError;

/// What is known of an image before its blocks are read.
pub(crate) struct Header<'a> {
    /// `[height, width]`.
    pub(crate) size: [usize; 2],
    /// In the order of the frame: one, three or four.
    pub(super) components: Vec<Component>,
    /// How many blocks a unit has in the component that has the most: down and across.
    pub(super) most: [usize; 2],
    pub(super) is_progressive: bool,
    pub(super) space: Space,
    /// What the camera says: which side is up, for one.
    pub(crate) exif: Option<&'a [u8]>,
    /// At the first scan.
    pub(super) segments: Segments<'a>,
    /// What that scan says of itself.
    pub(super) scan: &'a [u8],
}

/// One of the planes that an image is made of.
pub(super) struct Component {
    id: u8,
    /// How many blocks of it are in a unit, down and across: 1 to 4.
    pub(super) blocks: [usize; 2],
    /// Which table has what its coefficients are multiplied by.
    pub(super) steps: usize,
}

/// What the components are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Space {
    Grey,
    YCbCr,
    Rgb,
    /// What is left of white by four inks, as Adobe writes it and everyone since.
    Cmyk,
    /// The same, the colours of the first three as YCbCr.
    Ycck,
}

/// A Huffman code as the file has it.
#[derive(Clone, Copy)]
struct Table<'a> {
    counts: &'a [u8; 16],
    symbols: &'a [u8],
}

/// Codes that were asked for, and for what.
type Made = (Use, Arc<Code>);

/// A JPEG's segments, and the tables that they have set so far.
#[derive(Clone)]
pub(super) struct Segments<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    /// What each coefficient is multiplied by, in the order of the file.
    pub(super) steps: [Option<[u16; 64]>; 4],
    codes: [[Option<Table<'a>>; 4]; 2],
    /// Those of the codes that have been asked for, and for what.
    made: [[Option<Made>; 4]; 2],
    /// After how many units the codes start anew; 0 for never.
    pub(super) restart_interval: usize,
}

/// The marker of a scan.
pub(super) const SCAN: u8 = 0xda;
/// The marker of the end.
pub(super) const END: u8 = 0xd9;

impl<'a> Segments<'a> {
    /// The next segment that is not a table: its marker, and what is in it.
    pub(super) fn next(&mut self) -> Result<(u8, &'a [u8]), DecodeError> {
        loop {
            let marker = self.marker().ok_or(DecodeError::CutOff)?;
            if matches!(marker, 0x00 | 0x01 | 0xd0..=0xd8) {
                // Without a segment.
                continue;
            }
            if marker == END {
                return Ok((marker, &[]));
            }
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let (length, _) = rest.split_first_chunk().ok_or(DecodeError::CutOff)?;
            let length = usize::from(u16::from_be_bytes(*length));
            let bytes = rest.get(..length).ok_or(DecodeError::CutOff)?;
            let segment = bytes.get(2..).ok_or_else(|| damaged("a segment has no length"))?;
            self.at += length;
            match marker {
                0xdb => self
                    .set_steps(segment)
                    .ok_or_else(|| damaged("a quantization table is wrong"))?,
                0xc4 => {
                    self.set_codes(segment).ok_or_else(|| damaged("a Huffman table is wrong"))?
                }
                0xdd => {
                    let interval =
                        segment.try_into().map_err(|_| damaged("a restart interval is wrong"))?;
                    self.restart_interval = usize::from(u16::from_be_bytes(interval));
                }
                _ => return Ok((marker, segment)),
            }
        }
    }

    /// Goes behind the next marker; what is before it is passed over.
    fn marker(&mut self) -> Option<u8> {
        let mut rest = self.bytes.get(self.at..)?.iter();
        rest.find(|&&it| it == 0xff)?;
        let &marker = rest.find(|&&it| it != 0xff)?;
        self.at = self.bytes.len() - rest.as_slice().len();
        Some(marker)
    }

    fn set_steps(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&head, rest)) = segment.split_first() {
            let table = self.steps.get_mut(usize::from(head & 15))?;
            segment = match head >> 4 {
                0 => {
                    let (values, rest) = rest.split_first_chunk::<64>()?;
                    *table = Some(values.map(u16::from));
                    rest
                }
                _ => {
                    let (values, rest) = rest.split_first_chunk::<128>()?;
                    let pairs = values.as_chunks::<2>().0;
                    *table = Some(std::array::from_fn(|it| u16::from_be_bytes(pairs[it])));
                    rest
                }
            };
        }
        Some(())
    }

    fn set_codes(&mut self, mut segment: &'a [u8]) -> Option<()> {
        while let Some((&head, rest)) = segment.split_first() {
            let [class, place] = [head >> 4, head & 15].map(usize::from);
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let n = counts.iter().map(|&it| usize::from(it)).sum();
            let (symbols, rest) = rest.split_at_checked(n)?;
            *self.codes.get_mut(class)?.get_mut(place)? = Some(Table { counts, symbols });
            self.made[class][place] = None;
            segment = rest;
        }
        Some(())
    }

    /// The code of a class (0 for first coefficients, 1 for others) at a place.
    pub(super) fn code(
        &mut self,
        class: usize,
        place: u8,
        kind: Use,
    ) -> Result<Arc<Code>, DecodeError> {
        let place = usize::from(place);
        let none = || damaged("a scan names a Huffman table that is not there");
        let table = self.codes[class].get(place).copied().flatten().ok_or_else(none)?;
        let made = &mut self.made[class][place];
        if let Some((of, code)) = made
            && *of == kind
        {
            return Ok(Arc::clone(code));
        }
        let code = Code::new(table.counts, table.symbols, kind);
        let code = Arc::new(code.ok_or_else(|| damaged("a Huffman table is wrong"))?);
        *made = Some((kind, Arc::clone(&code)));
        Ok(code)
    }
}

impl<'a> Header<'a> {
    /// Reads up to the first scan.
    ///
    /// # Errors
    /// A header that is cut off or damaged, or a kind of JPEG that is not read.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Header<'a>, DecodeError> {
        let mut segments = Segments {
            bytes,
            at: 2,
            steps: [None; 4],
            codes: [[None; 4]; 2],
            made: Default::default(),
            restart_interval: 0,
        };
        let (mut frame, mut exif, mut is_jfif, mut adobe) = (None, None, false, None);
        loop {
            let (marker, segment) = segments.next()?;
            match marker {
                0xc0..=0xc2 if frame.is_none() => frame = Some((marker == 0xc2, segment)),
                0xc0..=0xc2 => return Err(damaged("it has two frames")),
                0xc3 => return Err(unsupported("lossless coding")),
                0xc9 | 0xca => return Err(unsupported("arithmetic coding")),
                0xcb => return Err(unsupported("lossless arithmetic coding")),
                0xc5..=0xcf if marker != 0xc8 && marker != 0xcc => {
                    return Err(unsupported("hierarchical coding"));
                }
                0xe0 => is_jfif |= segment.len() >= 14 && segment.starts_with(b"JFIF\0"),
                0xe1 if exif.is_none() => exif = segment.strip_prefix(b"Exif\0\0"),
                0xee if segment.starts_with(b"Adobe") => {
                    adobe = segment.get(11).copied().or(adobe);
                }
                SCAN => {
                    let (is_progressive, frame) =
                        frame.ok_or_else(|| damaged("a scan comes before the frame"))?;
                    let (size, components) = read_frame(frame)?;
                    let space = space(&components, is_jfif, adobe);
                    let most = [0, 1]
                        .map(|side| components.iter().map(|it| it.blocks[side]).max().unwrap_or(1));
                    let is_whole =
                        |it: &Component| (0..2).all(|side| most[side] % it.blocks[side] == 0);
                    if !components.iter().all(is_whole) {
                        return Err(unsupported("a component sampled at a fraction of another"));
                    }
                    let scan = segment;
                    return Ok(Header {
                        size,
                        components,
                        most,
                        is_progressive,
                        space,
                        exif,
                        segments,
                        scan,
                    });
                }
                END => return Err(damaged("it ends before its coded data")),
                // What programs write and nobody needs for the pixels.
                _ => {}
            }
        }
    }

    /// What a component's coefficients are multiplied by, as of the segments so far.
    pub(super) fn steps(
        &self,
        component: usize,
        segments: &Segments<'_>,
    ) -> Result<[u16; 64], DecodeError> {
        let steps = segments.steps[self.components[component].steps];
        steps.ok_or_else(|| damaged("a component names a quantization table that is not there"))
    }

    /// The component that a scan calls so.
    pub(super) fn component(&self, id: u8) -> Option<usize> {
        self.components.iter().position(|it| it.id == id)
    }
}

fn read_frame(segment: &[u8]) -> Result<([usize; 2], Vec<Component>), DecodeError> {
    let Some((&[bits, h1, h0, w1, w0, n], list)) = segment.split_first_chunk::<6>() else {
        return Err(damaged("its frame is wrong"));
    };
    if bits != 8 {
        return Err(unsupported(&format!("{bits} bits a sample")));
    }
    let size = [[h1, h0], [w1, w0]].map(|it| usize::from(u16::from_be_bytes(it)));
    if size[0] == 0 {
        return Err(unsupported("a number of rows that is told behind them"));
    }
    if !matches!(n, 1 | 3 | 4) {
        return Err(unsupported(&format!("{n} components")));
    }
    let component = |it: &[u8; 3]| Component {
        id: it[0],
        blocks: [usize::from(it[1] & 15), usize::from(it[1] >> 4)],
        steps: usize::from(it[2]),
    };
    let mut components: Vec<Component> = list.as_chunks().0.iter().map(component).collect();
    let is_sound = |it: &Component| it.blocks.iter().all(|it| (1..=4).contains(it)) && it.steps < 4;
    if list.len() != 3 * usize::from(n) || !components.iter().all(is_sound) {
        return Err(damaged("its frame is wrong"));
    }
    if let [alone] = &mut components[..] {
        // One plane by itself is not cut into units of several blocks, whatever it says.
        alone.blocks = [1, 1];
    }
    Ok((size, components))
}

/// What the components are, by libjpeg's rules.
fn space(components: &[Component], is_jfif: bool, adobe: Option<u8>) -> Space {
    match (components.len(), adobe) {
        (1, _) => Space::Grey,
        (3, _) if is_jfif => Space::YCbCr,
        (3, Some(0)) => Space::Rgb,
        (3, None) if components.iter().map(|it| it.id).eq(*b"RGB") => Space::Rgb,
        (3, _) => Space::YCbCr,
        (_, None | Some(0)) => Space::Cmyk,
        _ => Space::Ycck,
    }
}
