//! What all charts share: the area that they are drawn on, colours and font sizes.

use std::{io::Cursor, sync::Once};

use image::{ImageFormat, RgbImage};
use plotters::{coord::Shift, prelude::*, style::register_font};

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

/// Encodes an image as PNG.
pub(crate) fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).expect("encoding into memory cannot fail");
    bytes.into_inner()
}
