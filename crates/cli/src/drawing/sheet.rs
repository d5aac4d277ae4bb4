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

/// Height of a cell without an image.
const EMPTY: u32 = THUMBNAIL[0] / 2;

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

    /// Returns the height that its image needs.
    fn image_height(&self) -> u32 {
        self.image.as_ref().map_or(EMPTY, |it| it.height().min(THUMBNAIL[0]))
    }
}

impl Sheet {
    /// Number of columns that fit on a screen.
    pub(crate) const COLUMNS: usize = 6;

    pub(crate) fn draw(&self) -> RgbImage {
        let columns = self.columns.min(self.cells.len()).max(1);
        let n_lines = self.cells.iter().map(|it| it.lines.len()).max().unwrap_or(0) as u32;
        let w = THUMBNAIL[1] + GAP;
        // Each row is as high as its highest image.
        let mut bottom = HEAD;
        let mut places = Vec::with_capacity(self.cells.len());
        for row in self.cells.chunks(columns) {
            let height = row.iter().map(Cell::image_height).max().unwrap_or(EMPTY);
            let place = |(idx, cell)| (cell, [bottom, GAP + idx as u32 * w], height);
            places.extend((0..).zip(row).map(place));
            bottom += height + 6 + n_lines * LINE + GAP;
        }
        let title = width(&self.title, TITLE);
        let size = [bottom, (GAP + columns as u32 * w).max(title + 2 * GAP)];
        let mut sheet = draw(size, |area| {
            let top = style(TITLE, INK, HPos::Left, VPos::Center);
            write(area, &self.title, (GAP as i32, HEAD as i32 / 2), top)?;
            for (idx, (cell, place, height)) in places.iter().enumerate() {
                let [y, x] = place.map(|it| it as i32);
                let below = y + *height as i32 + 6;
                let middle = x + THUMBNAIL[1] as i32 / 2;
                if self.together > 1 && idx % self.together == 0 {
                    let right = x + (self.together as u32 * w - GAP) as i32 + 5;
                    let frame = [(x - 6, y - 6), (right, below + (n_lines * LINE) as i32 + 2)];
                    area.draw(&Rectangle::new(frame, GREY))?;
                }
                if cell.image.is_none() {
                    let corner = (x + THUMBNAIL[1] as i32, y + *height as i32);
                    area.draw(&Rectangle::new([(x, y), corner], FAINT.filled()))?;
                    let centre = style(TEXT, GREY, HPos::Center, VPos::Center);
                    let at = (middle, y + *height as i32 / 2);
                    write(area, "cannot be read", at, centre)?;
                }
                for (line, (text, colour)) in cell.lines.iter().enumerate() {
                    let caption = style(SMALL, *colour, HPos::Center, VPos::Top);
                    let at = (middle, below + (line as u32 * LINE) as i32);
                    write(area, &fitting(text), at, caption)?;
                }
            }
            Ok(())
        });
        for (cell, [y, x], height) in places {
            let Some(image) = &cell.image else { continue };
            // Above the caption, centred.
            let x = x + (THUMBNAIL[1] - image.width().min(THUMBNAIL[1])) / 2;
            let y = y + height - cell.image_height();
            imageops::replace(&mut sheet, image, i64::from(x), i64::from(y));
        }
        sheet
    }
}

/// Shortens a caption to the width of a thumbnail: a path to its last two parts, and by removing the middle.
fn fitting(text: &str) -> String {
    let last = text.rmatch_indices('/').nth(1).map(|(at, _)| &text[at..]);
    let shorter = last.map(|it| [format!("…{it}"), it[1..].to_owned()]);
    let letters: Vec<char> = last.map_or(text, |it| &it[1..]).chars().collect();
    let cut = |n: usize| {
        let (head, tail) = (&letters[..n.div_ceil(2)], &letters[letters.len() - n / 2..]);
        format!("{}…{}", String::from_iter(head), String::from_iter(tail))
    };
    let whole = std::iter::once(text.to_owned()).chain(shorter.into_iter().flatten());
    let mut candidates = whole.chain((0..letters.len()).rev().map(cut));
    candidates.find(|it| width(it, SMALL) <= THUMBNAIL[1]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::{Cell, GAP, HEAD, LINE, SMALL, Sheet, THUMBNAIL, fitting, width};

    #[test]
    fn rows_are_as_high_as_their_images() {
        let cell = |h: u32, w: u32| {
            let image = RgbImage::from_pixel(w, h, Rgb([200, 0, 0]));
            Cell::named(Some(image), vec!["a".to_owned()])
        };
        let cells = vec![cell(60, 192), cell(100, 50), cell(40, 192)];
        let sheet = Sheet { title: "t".to_owned(), cells, columns: 2, together: 1 }.draw();
        let below = 6 + LINE + GAP;
        assert_eq!(sheet.height(), HEAD + 100 + below + 40 + below);
        let is_red = |x: u32, y: u32| sheet.get_pixel(x, y).0 == [200, 0, 0];
        // The lower edges of the images of a row are even.
        assert!(!is_red(GAP, HEAD + 39) && is_red(GAP, HEAD + 40) && is_red(GAP, HEAD + 99));
        let middle = GAP + THUMBNAIL[1] + GAP + THUMBNAIL[1] / 2;
        assert!(is_red(middle, HEAD) && is_red(middle, HEAD + 99) && !is_red(middle, HEAD + 100));
        assert!(is_red(GAP, HEAD + 100 + below) && is_red(GAP, HEAD + 100 + below + 39));
    }

    #[test]
    fn a_long_path_keeps_its_last_two_parts() {
        assert_eq!(fitting("a/b/c.jpg"), "a/b/c.jpg");
        let long = "some/folder/with/a/long/name/000051/mask1.jpg";
        assert_eq!(fitting(long), "…/000051/mask1.jpg");
        for text in ["x".repeat(100), format!("a/b/{}/c.jpg", "가".repeat(100))] {
            let short = fitting(&text);
            assert!(short.contains('…') && width(&short, SMALL) <= THUMBNAIL[1], "{short}");
        }
    }
}
