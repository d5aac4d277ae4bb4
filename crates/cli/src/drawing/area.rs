//! What all charts share: the area that they are drawn on, colours and font sizes.

use std::{
    fs::File,
    io::{self, Read as _},
    sync::Once,
};

use image::RgbImage;
use plotters::{coord::Shift, prelude::*, style::register_font};

use crate::output::Own;

pub(super) type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
pub(super) type Drawn<'a> =
    Result<(), DrawingAreaErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

pub(super) const FONT: &str = "sans-serif";
pub(crate) const INK: RGBColor = RGBColor(40, 40, 40);
pub(super) const FAINT: RGBColor = RGBColor(225, 225, 225);
pub(crate) const GREY: RGBColor = RGBColor(110, 110, 110);
/// Colours of a doubted label and of the prediction; distinguishable with red-green colour blindness.
pub(crate) const INCORRECT: RGBColor = RGBColor(213, 94, 0);
pub(crate) const CORRECT: RGBColor = RGBColor(0, 114, 178);
/// Colours of ranges of a number; distinguishable with red-green colour blindness (Okabe and Ito, 2008).
pub(super) const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// Font sizes of titles, and of captions and labels of bars and axes, in pixels.
pub(super) const TITLE: u32 = 24;
pub(super) const TEXT: u32 = 16;

/// Draws on a white background.
pub(super) fn draw(
    [height, width]: [u32; 2],
    paint: impl FnOnce(&Area<'_>) -> Drawn<'static>,
) -> RgbImage {
    register();
    let mut pixels = vec![255; height as usize * width as usize * 3];
    let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
    paint(&area).and_then(|()| area.present()).expect("drawing into memory cannot fail");
    drop(area);
    RgbImage::from_raw(width, height, pixels).expect("three bytes per pixel")
}

/// Registers the font with plotters.
pub(super) fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        let font = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
        assert!(font.is_ok(), "the embedded font is valid");
    });
}

/// The program that wrote a PNG: a keyword of the format, and its text.
const WRITER: [&str; 2] = ["Software", "maskfit"];

/// The images that this program has written, by [`WRITER`].
pub(crate) const OWN_PNG: Own<'static> =
    Own { what: "an image that maskfit has drawn", is_own: &is_own_png };

/// Encodes an image as PNG.
pub(crate) fn png(image: &RgbImage) -> Vec<u8> {
    encoded(image).expect("encoding into memory cannot fail")
}

/// Encodes an image with the settings of `image`, which does not write [`WRITER`].
fn encoded(image: &RgbImage) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(png::Filter::Adaptive);
    let [keyword, text] = WRITER.map(str::to_owned);
    encoder.add_text_chunk(keyword, text)?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// Whether a file is a PNG with [`WRITER`], which follows the signature and the header.
fn is_own_png(file: File) -> io::Result<bool> {
    const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
    let mut head = Vec::new();
    file.take(100).read_to_end(&mut head)?;
    let mark = format!("tEXt{}", WRITER.join("\0"));
    let has_mark = head.windows(mark.len()).any(|it| it == mark.as_bytes());
    Ok(head.starts_with(SIGNATURE) && has_mark)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use image::{Rgb, RgbImage};

    use super::{is_own_png, png};

    #[test]
    fn a_png_that_this_program_wrote_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let mut image = RgbImage::from_pixel(300, 2, Rgb([1, 2, 3]));
        image.put_pixel(299, 1, Rgb([255, 0, 7]));
        let is_own = || is_own_png(File::open(&path).unwrap()).unwrap();
        fs::write(&path, png(&image)).unwrap();
        assert!(is_own());
        assert_eq!(image::open(&path).unwrap().into_rgb8(), image);
        image.save(&path).unwrap();
        assert!(!is_own());
        fs::write(&path, b"").unwrap();
        assert!(!is_own());
    }
}
