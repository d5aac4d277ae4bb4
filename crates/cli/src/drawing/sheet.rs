//! Contact sheets: thumbnails in a grid, with captions.

use image::{RgbImage, imageops};
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, VPos},
};

use super::{
    area::{FAINT, GREY, INK, TEXT, TITLE, draw},
    label::{style, width, write},
};

/// A contact sheet with a title.
pub(crate) struct Sheet {
    pub(crate) title: String,
    pub(crate) cells: Vec<Cell>,
    /// Maximum number of columns.
    pub(crate) columns: usize,
    /// Number of neighbours in a row that share a frame; 1 for no frames.
    pub(crate) together: usize,
}

/// A thumbnail and its caption.
pub(crate) struct Cell {
    /// As made by [`thumbnail`]; `None` if the image cannot be read.
    pub(crate) image: Option<RgbImage>,
    pub(crate) lines: Vec<(String, RGBColor)>,
}

/// Maximum height and width of a thumbnail.
const THUMBNAIL: [u32; 2] = [216, 192];
const LINE: u32 = 20;
const GAP: u32 = 20;
const HEAD: u32 = 56;
const SMALL: u32 = TEXT - 2;

/// Scales an image to the size of a sheet's cells.
pub(crate) fn thumbnail(image: &RgbImage) -> RgbImage {
    let ([h, w], [most_h, most_w]) = ([image.height(), image.width()], THUMBNAIL);
    let scale = (f64::from(most_h) / f64::from(h)).min(f64::from(most_w) / f64::from(w));
    let side = |it: u32, most: u32| ((f64::from(it) * scale).round() as u32).clamp(1, most);
    imageops::resize(image, side(w, most_w), side(h, most_h), imageops::FilterType::Triangle)
}

impl Cell {
    /// Returns a cell with the image's name, and further lines in grey.
    pub(crate) fn named(image: Option<RgbImage>, lines: Vec<String>) -> Cell {
        let colours = std::iter::once(INK).chain(std::iter::repeat(GREY));
        Cell { image, lines: lines.into_iter().zip(colours).collect() }
    }
}

impl Sheet {
    /// Number of columns that fit on a screen.
    pub(crate) const COLUMNS: usize = 6;

    pub(crate) fn draw(&self) -> RgbImage {
        let columns = self.columns.min(self.cells.len()).max(1);
        let n_rows = self.cells.len().div_ceil(columns) as u32;
        let n_lines = self.cells.iter().map(|it| it.lines.len()).max().unwrap_or(0) as u32;
        let [h, w] = [THUMBNAIL[0] + 6 + n_lines * LINE + GAP, THUMBNAIL[1] + GAP];
        let place =
            |idx: usize| [HEAD + (idx / columns) as u32 * h, GAP + (idx % columns) as u32 * w];
        let title = width(&self.title, TITLE);
        let size = [HEAD + n_rows * h, (GAP + columns as u32 * w).max(title + 2 * GAP)];
        let mut sheet = draw(size, |area| {
            let top = style(TITLE, INK, HPos::Left, VPos::Center);
            write(area, &self.title, (GAP as i32, HEAD as i32 / 2), top)?;
            for (idx, cell) in self.cells.iter().enumerate() {
                let [y, x] = place(idx).map(|it| it as i32);
                let middle = x + THUMBNAIL[1] as i32 / 2;
                if self.together > 1 && idx % self.together == 0 {
                    let right = x + (self.together as u32 * w - GAP) as i32 + 5;
                    let frame = [(x - 6, y - 6), (right, y + h as i32 - GAP as i32 + 2)];
                    area.draw(&Rectangle::new(frame, GREY))?;
                }
                if cell.image.is_none() {
                    let corner = (x + THUMBNAIL[1] as i32, y + THUMBNAIL[0] as i32);
                    area.draw(&Rectangle::new([(x, y), corner], FAINT.filled()))?;
                    let centre = style(TEXT, GREY, HPos::Center, VPos::Center);
                    let at = (middle, y + THUMBNAIL[0] as i32 / 2);
                    write(area, "cannot be read", at, centre)?;
                }
                for (line, (text, colour)) in cell.lines.iter().enumerate() {
                    let below = style(SMALL, *colour, HPos::Center, VPos::Top);
                    let at = (middle, y + (THUMBNAIL[0] + 6 + line as u32 * LINE) as i32);
                    write(area, &fitting(text), at, below)?;
                }
            }
            Ok(())
        });
        for (idx, image) in self
            .cells
            .iter()
            .enumerate()
            .filter_map(|(idx, it)| it.image.as_ref().map(|image| (idx, image)))
        {
            // At the bottom of the cell, centred.
            let [y, x] = place(idx);
            let x = x + (THUMBNAIL[1] - image.width().min(THUMBNAIL[1])) / 2;
            let y = y + THUMBNAIL[0] - image.height().min(THUMBNAIL[0]);
            imageops::replace(&mut sheet, image, i64::from(x), i64::from(y));
        }
        sheet
    }
}

/// Shortens a caption to the width of a thumbnail, by removing its middle.
fn fitting(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let cut = |n: usize| {
        let (head, tail) = (&letters[..n.div_ceil(2)], &letters[letters.len() - n / 2..]);
        format!("{}…{}", String::from_iter(head), String::from_iter(tail))
    };
    let whole = std::iter::once(text.to_owned());
    let mut candidates = whole.chain((0..letters.len()).rev().map(cut));
    candidates.find(|it| width(it, SMALL) <= THUMBNAIL[1]).unwrap_or_default()
}
