//! A sheet of pictures with a few words under each, to be looked at.
//!
//! Letters are the bitmaps of font8x8; what is not ASCII is shown as `?`.

use augment::Picture;
use image::imageops::{FilterType, replace, resize};

use crate::{Content, LoadError};

/// A picture of a sheet.
#[derive(Clone, Debug)]
pub struct Tile {
    /// What the picture is called.
    pub name: String,
    /// Its bytes.
    pub content: Content,
    /// What stands under it, each line in its colour; at most 20 letters are shown.
    pub lines: Vec<(String, [u8; 3])>,
}

/// `[height, width]` that a picture is fitted into.
const SIZE: [usize; 2] = [214, 160];
/// Pixels between pictures.
const GAP: usize = 12;
/// Pixels of a letter, each way, and of a line.
const LETTER: usize = 8;
const LINE: usize = 12;
const PAPER: [u8; 3] = [24, 24, 28];

/// Draws tiles in rows of `n_columns`.
///
/// # Errors
/// A picture that cannot be read.
pub fn sheet(tiles: &[Tile], n_columns: usize, max_pixels: u64) -> Result<Picture, LoadError> {
    let n_columns = n_columns.clamp(1, tiles.len().max(1));
    let n_lines = tiles.iter().map(|it| it.lines.len()).max().unwrap_or(0);
    let [height, width] = [SIZE[0] + 4 + n_lines * LINE + GAP, SIZE[1] + GAP];
    let n_rows = tiles.len().div_ceil(n_columns).max(1);
    let mut sheet = Picture::from_pixel(
        (n_columns * width + GAP) as u32,
        (n_rows * height + GAP) as u32,
        image::Rgb(PAPER),
    );
    for (idx, tile) in tiles.iter().enumerate() {
        let (x, y) = (idx % n_columns * width + GAP, idx / n_columns * height + GAP);
        let picture = fitted(tile, max_pixels)?;
        let [dx, dy] = [SIZE[1] - picture.width() as usize, SIZE[0] - picture.height() as usize];
        replace(&mut sheet, &picture, (x + dx / 2) as i64, (y + dy) as i64);
        for (idx, (text, colour)) in tile.lines.iter().enumerate() {
            write(&mut sheet, text, [x, y + SIZE[0] + 4 + idx * LINE], *colour);
        }
    }
    Ok(sheet)
}

/// A tile's picture, as large as its place allows.
fn fitted(tile: &Tile, max_pixels: u64) -> Result<Picture, LoadError> {
    let name = || tile.name.clone();
    let bytes = tile.content.bytes().map_err(|source| LoadError::Io { name: name(), source })?;
    let picture = augment::decode(&bytes, max_pixels)
        .map_err(|err| LoadError::Picture { name: name(), source: err.into() })?;
    let [h, w] = [picture.height(), picture.width()].map(f64::from);
    let scale = (SIZE[0] as f64 / h).min(SIZE[1] as f64 / w);
    let size = |side: f64, most: usize| ((side * scale).round() as u32).clamp(1, most as u32);
    Ok(resize(&picture, size(w, SIZE[1]), size(h, SIZE[0]), FilterType::Triangle))
}

/// Writes a line of letters as wide as a picture.
fn write(sheet: &mut Picture, text: &str, [x, y]: [usize; 2], colour: [u8; 3]) {
    for (idx, letter) in text.chars().take(SIZE[1] / LETTER).enumerate() {
        let letter = if letter.is_ascii() { letter } else { '?' };
        let rows = font8x8::legacy::BASIC_LEGACY[letter as usize];
        for (dy, row) in rows.into_iter().enumerate() {
            for dx in (0..LETTER).filter(|it| row >> it & 1 == 1) {
                let at = [x + idx * LETTER + dx, y + dy];
                sheet.put_pixel(at[0] as u32, at[1] as u32, image::Rgb(colour));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PAPER, Tile, sheet};
    use crate::Content;

    fn tile(lines: &[&str]) -> Tile {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let red = image::RgbImage::from_pixel(30, 40, image::Rgb([250, 0, 0]));
        red.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        let lines = lines.iter().map(|&it| (it.to_owned(), [255; 3])).collect();
        let content = Content::Memory(bytes.into_inner().into());
        Tile { name: "red".to_owned(), content, lines }
    }

    #[test]
    fn pictures_and_letters_are_where_they_belong() {
        let tiles = [tile(&["|"]), tile(&["é and more than there is room for"]), tile(&[])];
        let it = sheet(&tiles, 2, 1 << 20).unwrap();
        assert_eq!(it.dimensions(), (2 * 172 + 12, 2 * (214 + 4 + 12 + 12) + 12));
        assert_eq!(it.get_pixel(12, 12 + 213).0, [250, 0, 0]);
        // The stroke of `|` fills columns 3 and 4 of the letter's first row.
        assert_eq!(it.get_pixel(12 + 3, 12 + 214 + 4).0, [255; 3]);
        assert_eq!(it.get_pixel(12 + 1, 12 + 214 + 4).0, PAPER);
        assert_eq!(it.get_pixel(172, 12 + 214 + 4).0, PAPER, "letters stay below their picture");
        assert_eq!(it.get_pixel(172 + 12, 254 + 12).0, PAPER, "three tiles leave one place empty");
    }

    #[test]
    fn a_picture_that_is_none_is_named() {
        let content = Content::Memory(b"nothing".as_slice().into());
        let tile = Tile { content, ..tile(&[]) };
        assert!(sheet(&[tile], 1, 1 << 20).unwrap_err().to_string().contains("red"));
    }
}
