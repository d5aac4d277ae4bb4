//! A JPEG, or a rectangle of one, at its size or at a half, a quarter or an eighth of it.
//!
//! T.81: images are cut into units of a few blocks of 8x8 numbers. All must be gone through, since each
//! begins where the one before it ends, but only those that the rectangle touches become pixels, and
//! where one scan brings everything, nothing behind its last row is read. The arithmetic is that of
//! libjpeg-turbo: its integer transforms, its triangular interpolation of colours, its conversion to RGB.
//!
//! Read is what Huffman codes and 8 bits can say: baseline and progressive, in one scan or many, with
//! restarts or without, grey, YCbCr, RGB, CMYK and YCCK, components sampled at whole fractions of each
//! other. Everything else is refused with its reason, damage included: no other decoder is asked.

mod blocks;
mod colour;
mod header;
mod huffman;
mod layout;
mod scan;
mod stored;
#[cfg(test)]
mod tests;
mod transform;

use std::ops::Range;

use crate::{DecodeError, Image};

pub(crate) use self::header::Header;
use self::{
    blocks::Blocks,
    colour::Colours,
    layout::Layout,
    scan::{Coded, Scan},
    stored::{Restarts, State},
};

/// What is wrong with a file.
fn damaged(what: &str) -> DecodeError {
    DecodeError::Damaged(what.to_owned())
}

/// What kind of file it is.
fn unsupported(what: &str) -> DecodeError {
    DecodeError::Unsupported { format: "JPEG", what: what.to_owned() }
}

/// The rectangle of `rows` and `columns`, which are within the image made `reduction` times smaller:
/// 1, 2, 4 or 8 times.
///
/// # Errors
/// Damage in what is read, or coded data of a kind that is not.
pub(crate) fn decode(
    header: &Header<'_>,
    reduction: usize,
    [rows, columns]: [Range<usize>; 2],
) -> Result<Image, DecodeError> {
    ops::vectorised(
        #[inline(always)]
        || part(header, reduction, rows, columns),
    )
}

#[inline(always)]
fn part(
    header: &Header<'_>,
    reduction: usize,
    rows: Range<usize>,
    columns: Range<usize>,
) -> Result<Image, DecodeError> {
    let layout = Layout::new(header, reduction);
    let units = [(0, &rows), (1, &columns)].map(|(side, it)| layout.units(side, it));
    let scan = Scan::read(header, header.scan)?;
    let planes = match scan.is_all(header) {
        true => stream(header, &scan, &layout, &units)?,
        false => collect(header, &layout, &units)?,
    };
    let origin = [units[0].start, units[1].start];
    let colours = Colours { layout: &layout, space: header.space, planes: &planes, origin };
    Ok(colours.image(rows, columns))
}

/// The planes of an image in one scan, made as it is read.
#[inline(always)]
fn stream(
    header: &Header<'_>,
    scan: &Scan,
    layout: &Layout,
    [rows, columns]: &[Range<usize>; 2],
) -> Result<Vec<Blocks>, DecodeError> {
    let segments = &mut header.segments.clone();
    let mut planes = Vec::new();
    for (it, plane) in layout.planes.iter().enumerate() {
        let steps = header.steps(it, segments)?;
        planes.push(Blocks::new(plane, steps, [rows.clone(), columns.clone()]));
    }
    let codes = scan.codes(segments)?;
    let interval = segments.restart_interval;
    let coded = Coded::read(segments)?;
    let mut restarts = Restarts::new(&coded, interval)?;
    let n_columns = header.size[1].div_ceil(8 * header.most[1]);
    for row in 0..rows.end {
        for column in 0..n_columns {
            restarts.next()?;
            let State { bits, before, .. } = &mut restarts.state;
            let is_seen = row >= rows.start && columns.contains(&column);
            let components = header.components.iter().zip(&codes);
            for (((it, codes), plane), before) in components.zip(&mut planes).zip(before) {
                for down in 0..it.blocks[0] {
                    for across in 0..it.blocks[1] {
                        if is_seen {
                            let across = (column - columns.start) * it.blocks[1] + across;
                            plane.read([down, across], bits, codes, before);
                        } else {
                            bits.skip_block(codes, before);
                        }
                    }
                }
            }
        }
        restarts.state.check()?;
        if row >= rows.start {
            for plane in &mut planes {
                plane.transform(row - rows.start);
            }
        }
    }
    Ok(planes)
}

/// The planes of an image in several scans, made when all are read.
#[inline(always)]
fn collect(
    header: &Header<'_>,
    layout: &Layout,
    [rows, columns]: &[Range<usize>; 2],
) -> Result<Vec<Blocks>, DecodeError> {
    let mut planes = Vec::new();
    for (plane, stored) in layout.planes.iter().zip(stored::read(header)?) {
        let [of_rows, of_columns] = plane.blocks;
        let mut blocks = Blocks::new(plane, stored.steps, [rows.clone(), columns.clone()]);
        for row in rows.clone() {
            for down in 0..of_rows {
                let seen = columns.start * of_columns..columns.end * of_columns;
                let row = &stored.blocks[(row * of_rows + down) * stored.across..];
                for (across, block) in row[seen].iter().enumerate() {
                    blocks.set([down, across], block);
                }
            }
            blocks.transform(row - rows.start);
        }
        planes.push(blocks);
    }
    Ok(planes)
}
