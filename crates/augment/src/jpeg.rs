//! A JPEG decoder for a rectangle of an image, at full size or reduced by 2, 4 or 8.
//!
//! T.81: images are divided into minimum coded units (MCUs) of a few blocks of 8x8 coefficients. All must be
//! parsed, since each begins where its predecessor ends, but only those that the rectangle touches are
//! transformed to pixels; and if there is a single scan, nothing after the rectangle's last row is read. The
//! arithmetic is that of libjpeg-turbo: its integer transforms, its triangular chroma interpolation, its
//! conversion to RGB.
//!
//! Supported is Huffman coding with 8 bits: baseline and progressive, in one scan or many, with or without
//! restarts, greyscale, YCbCr, RGB, CMYK and YCCK, components sampled at integer ratios. Everything else is
//! rejected with its reason, as is damage: no other decoder is tried.

mod blocks;
mod colour;
mod error;
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

/// Decodes the rectangle of `rows` and `columns`, which are inside the image reduced by `reduction`: 1, 2, 4
/// or 8.
///
/// # Errors
/// If the data that is read is damaged, or coded in an unsupported way.
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

/// The planes of an image in a single scan, transformed as it is read.
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
    let n_columns = header.size[1].div_ceil(8 * header.max_blocks[1]);
    for row in 0..rows.end {
        for column in 0..n_columns {
            restarts.next()?;
            let State { bits, predictor, .. } = &mut restarts.state;
            let is_needed = row >= rows.start && columns.contains(&column);
            let components = header.components.iter().zip(&codes);
            for (((it, codes), plane), predictor) in components.zip(&mut planes).zip(predictor) {
                for down in 0..it.blocks[0] {
                    for across in 0..it.blocks[1] {
                        if is_needed {
                            let across = (column - columns.start) * it.blocks[1] + across;
                            plane.read([down, across], bits, codes, predictor);
                        } else {
                            bits.skip_block(codes, predictor);
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

/// The planes of an image in several scans, transformed when all have been read.
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
                let needed = columns.start * of_columns..columns.end * of_columns;
                let row = &stored.blocks[(row * of_rows + down) * stored.across..];
                for (across, block) in row[needed].iter().enumerate() {
                    blocks.set([down, across], block);
                }
            }
            blocks.transform(row - rows.start);
        }
        planes.push(blocks);
    }
    Ok(planes)
}
