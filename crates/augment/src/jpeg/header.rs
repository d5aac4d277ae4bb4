//! What stands before the coded data of a JPEG, and where that is.

use std::{ops::Range, sync::Arc};

use super::huffman::{Code, Codes};

/// What is known of a picture before its blocks are read.
pub(crate) struct Header<'a> {
    /// `[height, width]`.
    pub(crate) size: [usize; 2],
    /// One (grey) or three (luma and two of colour).
    pub(super) components: Vec<Component>,
    /// After how many units the codes start anew; 0 for never.
    pub(super) restart_interval: usize,
    /// What the camera says: which side is up, for one.
    pub(crate) exif: Option<&'a [u8]>,
    coded: &'a [u8],
}

/// One of the planes that a picture is made of.
pub(super) struct Component {
    /// How many blocks of it are in a unit, down and across.
    pub(super) blocks: [usize; 2],
    /// What each coefficient is multiplied by, in the order of the file.
    pub(super) steps: [u16; 64],
    pub(super) codes: Codes,
}

/// A plane as the frame names it.
struct Plane {
    id: u8,
    blocks: [usize; 2],
    steps: usize,
}

/// Coded data without what keeps it apart from markers.
pub(super) struct Scan {
    pub(super) bytes: Vec<u8>,
    /// What lies between restarts.
    pub(super) segments: Vec<Range<usize>>,
}

impl<'a> Header<'a> {
    /// `None` for what is not read here.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Header<'a>> {
        let mut steps: [Option<[u16; 64]>; 4] = [None; 4];
        let mut codes: [[Option<Arc<Code>>; 4]; 2] = Default::default();
        let mut frame: Option<([usize; 2], Vec<Plane>)> = None;
        let (mut restart_interval, mut exif) = (0, None);
        let mut at = 2;
        if bytes.get(..2)? != [0xff, 0xd8] {
            return None;
        }
        loop {
            let &[0xff, marker] = bytes.get(at..at + 2)? else { return None };
            let length = usize::from(u16::from_be_bytes(*bytes.get(at + 2..)?.first_chunk()?));
            let mut segment = bytes.get(at + 4..at + 2 + length.max(2))?;
            at += 2 + length.max(2);
            match marker {
                // Tables of steps.
                0xdb => {
                    while let Some((&head, rest)) = segment.split_first() {
                        // Two bytes a step are not for 8-bit pictures.
                        let table = steps.get_mut(usize::from(head))?;
                        let (values, rest) = rest.split_first_chunk::<64>()?;
                        *table = Some(values.map(u16::from));
                        segment = rest;
                    }
                }
                // Huffman codes.
                0xc4 => {
                    while let Some((&head, rest)) = segment.split_first() {
                        let code = codes
                            .get_mut(usize::from(head >> 4))?
                            .get_mut(usize::from(head & 15))?;
                        let (counts, rest) = rest.split_first_chunk::<16>()?;
                        let n = counts.iter().map(|&it| usize::from(it)).sum();
                        let (symbols, rest) = rest.split_at_checked(n)?;
                        *code = Some(Arc::new(Code::new(counts, symbols, head >> 4 == 1)?));
                        segment = rest;
                    }
                }
                // The frame: baseline, or extended with as few bits.
                0xc0 | 0xc1 if frame.is_none() => frame = Some(read_frame(segment)?),
                // Other frames; arithmetic coding.
                0xc0..=0xcf => return None,
                0xdd => {
                    restart_interval = usize::from(u16::from_be_bytes(segment.try_into().ok()?))
                }
                // Adobe's note: how colours are stored. 1 is YCbCr.
                0xee if segment.starts_with(b"Adobe") && segment.get(11) != Some(&1) => {
                    return None;
                }
                0xe1 if exif.is_none() => exif = segment.strip_prefix(b"Exif\0\0"),
                // What programs write and nobody needs for the pixels.
                0xe0..=0xef | 0xfe => {}
                0xda => {
                    let (size, planes) = frame?;
                    let (&n, list) = segment.split_first()?;
                    let (list, how) = list.split_at_checked(2 * planes.len())?;
                    // All coefficients, with all bits.
                    if usize::from(n) != planes.len() || how != [0, 63, 0] {
                        return None;
                    }
                    let component = |(plane, entry): (&Plane, &[u8])| {
                        let code = |class: usize, it: u8| {
                            (plane.id == entry[0])
                                .then(|| codes[class].get(usize::from(it)))??
                                .clone()
                        };
                        let codes =
                            Codes { dc: code(0, entry[1] >> 4)?, ac: code(1, entry[1] & 15)? };
                        Some(Component {
                            blocks: plane.blocks,
                            steps: (*steps.get(plane.steps)?)?,
                            codes,
                        })
                    };
                    let components = planes.iter().zip(list.chunks_exact(2)).map(component);
                    let components = components.collect::<Option<Vec<_>>>()?;
                    return Some(Header {
                        size,
                        components,
                        restart_interval,
                        exif,
                        coded: &bytes[at..],
                    });
                }
                _ => return None,
            }
        }
    }

    /// How many blocks a unit has in the plane that has the most: down and across.
    pub(super) fn most(&self) -> [usize; 2] {
        self.components[0].blocks
    }

    /// How many units there are down (`side` 0) or across (1).
    pub(super) fn n_units(&self, side: usize) -> usize {
        self.size[side].div_ceil(8 * self.most()[side])
    }

    /// Those units that are needed for some of the rows (`side` 0) or columns (1).
    pub(super) fn units(&self, side: usize, pixels: &Range<usize>) -> Range<usize> {
        let unit = 8 * self.most()[side];
        // Halved colours are interpolated between their neighbours.
        let margin = if self.most()[side] > 1 { 2 } else { 0 };
        let end = (pixels.end + margin).min(self.size[side]);
        pixels.start.saturating_sub(margin) / unit..end.div_ceil(unit)
    }

    /// The coded data.
    pub(super) fn scan(&self) -> Option<Scan> {
        let mut bytes = Vec::with_capacity(self.coded.len() + 16);
        let mut segments = Vec::new();
        let (mut start, mut at) = (0, 0);
        loop {
            // Eight bytes at a time, as long as none of them is 0xff.
            while let Some(eight) = self.coded.get(at..).and_then(|it| it.first_chunk::<8>()) {
                let word = u64::from_ne_bytes(*eight);
                const LOW: u64 = u64::MAX / 255;
                if word & (word & (LOW * 0x7f)).wrapping_add(LOW) & (LOW * 0x80) != 0 {
                    break;
                }
                bytes.extend_from_slice(eight);
                at += 8;
            }
            match *self.coded.get(at)? {
                0xff => match *self.coded.get(at + 1)? {
                    0x00 => {
                        bytes.push(0xff);
                        at += 2;
                    }
                    // Fill.
                    0xff => at += 1,
                    it @ 0xd0..=0xd7 => {
                        if self.restart_interval == 0 || usize::from(it & 7) != segments.len() % 8 {
                            return None;
                        }
                        segments.push(start..bytes.len());
                        start = bytes.len();
                        at += 2;
                    }
                    0xd9 => break,
                    // More than one scan, or a late number of rows.
                    _ => return None,
                },
                byte => {
                    bytes.push(byte);
                    at += 1;
                }
            }
        }
        segments.push(start..bytes.len());
        Some(Scan { bytes, segments })
    }
}

fn read_frame(segment: &[u8]) -> Option<([usize; 2], Vec<Plane>)> {
    let (&[8, h1, h0, w1, w0, n], list) = segment.split_first_chunk::<6>()? else { return None };
    let size = [[h1, h0], [w1, w0]].map(|it| usize::from(u16::from_be_bytes(it)));
    if !matches!(n, 1 | 3) || list.len() != 3 * usize::from(n) || size.contains(&0) {
        return None;
    }
    let plane = |it: &[u8]| Plane {
        id: it[0],
        blocks: [usize::from(it[1] & 15), usize::from(it[1] >> 4)],
        steps: usize::from(it[2]),
    };
    let mut planes: Vec<Plane> = list.chunks_exact(3).map(plane).collect();
    let (first, others) = planes.split_first_mut()?;
    if others.is_empty() {
        // One plane by itself is not cut into units of several blocks, whatever it says.
        first.blocks = [1, 1];
    }
    let is_read = first.blocks.iter().all(|it| matches!(it, 1 | 2))
        && others.iter().all(|it| it.blocks == [1, 1])
        // Too narrow to interpolate.
        && (first.blocks[1] == 1 || size[1] > 4)
        && !(others.len() == 2 && [first.id, others[0].id, others[1].id] == *b"RGB");
    is_read.then_some((size, planes))
}
