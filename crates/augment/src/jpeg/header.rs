//! The header of a JPEG, before the coded data: its frame, its tables, and its colour space.
//!
//! As in libjpeg, garbage between segments is skipped; unsupported files are reported with the reason.

use std::sync::Arc;

use super::{
    error::{damaged, unsupported},
    huffman::{Code, Use},
};
use crate::DecodeError;

/// The header of an image, read before its blocks.
pub(crate) struct Header<'a> {
    /// `[height, width]`.
    pub(crate) size: [usize; 2],
    /// The components in the order of the frame: one, three or four.
    pub(super) components: Vec<Component>,
    /// The largest sampling factors: the blocks per MCU of the component with the most, down and
    /// across.
    pub(super) max_blocks: [usize; 2],
    pub(super) is_progressive: bool,
    pub(super) space: Space,
    /// The EXIF block, which contains the orientation among others.
    pub(crate) exif: Option<&'a [u8]>,
    /// The state of the segments at the first scan.
    pub(super) segments: Segments<'a>,
    /// The header of that scan.
    pub(super) scan: &'a [u8],
}

/// A component (plane) of the image.
pub(super) struct Component {
    id: u8,
    /// The sampling factors: the number of its blocks in an MCU, down and across, 1 to 4.
    pub(super) blocks: [usize; 2],
    /// The index of its quantization table.
    pub(super) steps: usize,
}

/// The colour space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Space {
    Grey,
    YCbCr,
    Rgb,
    /// Inverted CMYK, as Adobe writes it and other programs since.
    Cmyk,
    /// Inverted CMYK with the first three components as YCbCr.
    Ycck,
}

/// A Huffman table as stored in the file.
#[derive(Clone, Copy)]
struct Table<'a> {
    counts: &'a [u8; 16],
    symbols: &'a [u8],
}

/// A code that has been built, and its use.
type CachedCode = (Use, Arc<Code>);

/// A JPEG's segments, and the tables that they have defined so far.
#[derive(Clone)]
pub(super) struct Segments<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    /// The quantization tables, in the order of the file.
    pub(super) steps: [Option<[u16; 64]>; 4],
    codes: [[Option<Table<'a>>; 4]; 2],
    /// The codes that have been built so far, with their use.
    cached: [[Option<CachedCode>; 4]; 2],
    /// The restart interval in MCUs; 0 for none.
    pub(super) restart_interval: usize,
}

/// The marker of a scan.
pub(super) const SCAN: u8 = 0xda;
/// The marker of the end.
pub(super) const END: u8 = 0xd9;

impl<'a> Segments<'a> {
    /// Returns the next segment that is not a table: its marker and its content.
    pub(super) fn next(&mut self) -> Result<(u8, &'a [u8]), DecodeError> {
        loop {
            let marker = self.marker().ok_or(DecodeError::Truncated)?;
            if matches!(marker, 0x00 | 0x01 | 0xd0..=0xd8) {
                // Markers without a segment.
                continue;
            }
            if marker == END {
                return Ok((marker, &[]));
            }
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let (length, _) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
            let length = usize::from(u16::from_be_bytes(*length));
            let bytes = rest.get(..length).ok_or(DecodeError::Truncated)?;
            let segment = bytes.get(2..).ok_or_else(|| damaged("invalid segment length"))?;
            self.at += length;
            match marker {
                0xdb => {
                    self.set_steps(segment).ok_or_else(|| damaged("invalid quantization table"))?
                }
                0xc4 => self.set_codes(segment).ok_or_else(|| damaged("invalid Huffman table"))?,
                0xdd => {
                    let interval =
                        segment.try_into().map_err(|_| damaged("invalid restart interval"))?;
                    self.restart_interval = usize::from(u16::from_be_bytes(interval));
                }
                _ => return Ok((marker, segment)),
            }
        }
    }

    /// Advances past the next marker; bytes before it are skipped.
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
            self.cached[class][place] = None;
            segment = rest;
        }
        Some(())
    }

    /// Returns the code of a class (0 for DC, 1 for AC) and a table index.
    pub(super) fn code(
        &mut self,
        class: usize,
        place: u8,
        kind: Use,
    ) -> Result<Arc<Code>, DecodeError> {
        let place = usize::from(place);
        let none = || damaged("a scan refers to a missing Huffman table");
        let table = self.codes[class].get(place).copied().flatten().ok_or_else(none)?;
        let cached = &mut self.cached[class][place];
        if let Some((of, code)) = cached
            && *of == kind
        {
            return Ok(Arc::clone(code));
        }
        let code = Code::new(table.counts, table.symbols, kind);
        let code = Arc::new(code.ok_or_else(|| damaged("invalid Huffman table"))?);
        *cached = Some((kind, Arc::clone(&code)));
        Ok(code)
    }
}

impl<'a> Header<'a> {
    /// Reads a JPEG up to the first scan.
    ///
    /// # Errors
    /// If the header is truncated or damaged, or the kind of JPEG is not supported.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Header<'a>, DecodeError> {
        let mut segments = Segments {
            bytes,
            at: 2,
            steps: [None; 4],
            codes: [[None; 4]; 2],
            cached: Default::default(),
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
                    let max_blocks = [0, 1]
                        .map(|side| components.iter().map(|it| it.blocks[side]).max().unwrap_or(1));
                    let is_whole =
                        |it: &Component| (0..2).all(|side| max_blocks[side] % it.blocks[side] == 0);
                    if !components.iter().all(is_whole) {
                        return Err(unsupported("fractional sampling ratios"));
                    }
                    let scan = segment;
                    return Ok(Header {
                        size,
                        components,
                        max_blocks,
                        is_progressive,
                        space,
                        exif,
                        segments,
                        scan,
                    });
                }
                END => return Err(damaged("it ends before its coded data")),
                // Application data and comments are not needed for the pixels.
                _ => {}
            }
        }
    }

    /// Returns a component's quantization table, as of the segments so far.
    pub(super) fn steps(
        &self,
        component: usize,
        segments: &Segments<'_>,
    ) -> Result<[u16; 64], DecodeError> {
        let steps = segments.steps[self.components[component].steps];
        steps.ok_or_else(|| damaged("a component refers to a missing quantization table"))
    }

    /// Returns the index of the component with an id.
    pub(super) fn component(&self, id: u8) -> Option<usize> {
        self.components.iter().position(|it| it.id == id)
    }
}

fn read_frame(segment: &[u8]) -> Result<([usize; 2], Vec<Component>), DecodeError> {
    let Some((&[bits, h1, h0, w1, w0, n], list)) = segment.split_first_chunk::<6>() else {
        return Err(damaged("invalid frame header"));
    };
    if bits != 8 {
        return Err(unsupported(&format!("{bits} bits per sample")));
    }
    let size = [[h1, h0], [w1, w0]].map(|it| usize::from(u16::from_be_bytes(it)));
    if size[0] == 0 {
        return Err(unsupported("the number of rows after the first scan (DNL)"));
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
    let is_valid = |it: &Component| it.blocks.iter().all(|it| (1..=4).contains(it)) && it.steps < 4;
    if list.len() != 3 * usize::from(n) || !components.iter().all(is_valid) {
        return Err(damaged("invalid frame header"));
    }
    if let [alone] = &mut components[..] {
        // A single component is not interleaved: its MCUs are single blocks, whatever the sampling factors.
        alone.blocks = [1, 1];
    }
    Ok((size, components))
}

/// The colour space, by libjpeg's rules.
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
