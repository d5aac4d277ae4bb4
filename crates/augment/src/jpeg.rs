//! A baseline JPEG, or a rectangle of one.
//!
//! T.81: pictures are cut into units of 8x8 to 16x16 pixels, each a few blocks of 8x8 numbers. All must
//! be gone through, since each begins where the one before it ends, but only those that the rectangle
//! touches become pixels, and nothing behind its last row is read. The arithmetic is that of libjpeg:
//! its integer transform, its triangular interpolation of colours, its conversion to RGB.
//!
//! Read is what cameras and programs write: Huffman codes, 8 bits, one scan, grey or YCbCr with halved
//! colours or not. `None` is everything else, damage included: other decoders know what to do then.

mod blocks;
mod colour;
mod header;
mod huffman;
#[cfg(test)]
mod tests;
mod transform;

use std::ops::Range;

use crate::Picture;

pub(crate) use self::header::Header;
use self::{blocks::Blocks, colour::Colours, huffman::Bits};

/// The rectangle of `rows` and `columns`, which are within the picture.
pub(crate) fn decode(header: &Header<'_>, [rows, columns]: [Range<usize>; 2]) -> Option<Picture> {
    ops::vectorised(
        #[inline(always)]
        || part(header, rows, columns),
    )
}

#[inline(always)]
fn part(header: &Header<'_>, rows: Range<usize>, columns: Range<usize>) -> Option<Picture> {
    let [rows_of, columns_of] =
        [(0, &rows), (1, &columns)].map(|(side, it)| header.units(side, it));
    let mut planes: Vec<Blocks> = header
        .components
        .iter()
        .map(|it| Blocks::new(it, [rows_of.clone(), columns_of.clone()]))
        .collect();
    let n_columns = header.n_units(1);
    let scan = header.scan()?;
    let mut segments = scan.segments.iter().cloned();
    let mut bits = Bits::new(&scan.bytes, segments.next()?);
    let mut before = [0; 3];
    let mut left = header.restart_interval;
    for row in 0..rows_of.end {
        for column in 0..n_columns {
            if header.restart_interval > 0 {
                if left == 0 {
                    if !bits.is_sound() {
                        return None;
                    }
                    bits = Bits::new(&scan.bytes, segments.next()?);
                    before = [0; 3];
                    left = header.restart_interval;
                }
                left -= 1;
            }
            let is_seen = row >= rows_of.start && columns_of.contains(&column);
            for ((it, plane), before) in header.components.iter().zip(&mut planes).zip(&mut before)
            {
                for down in 0..it.blocks[0] {
                    for across in 0..it.blocks[1] {
                        if is_seen {
                            let across = (column - columns_of.start) * it.blocks[1] + across;
                            plane.read([down, across], &mut bits, it, before);
                        } else {
                            bits.skip_block(&it.codes, before);
                        }
                    }
                }
            }
        }
        if !bits.is_sound() {
            return None;
        }
        if row >= rows_of.start {
            for plane in &mut planes {
                plane.transform(row - rows_of.start);
            }
        }
    }
    let origin = [rows_of.start, columns_of.start];
    Some(Colours::new(header, &planes, origin).picture(rows, columns))
}
