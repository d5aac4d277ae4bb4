//! Images for people: charts and sheets of photographs.
//!
//! plotters draws into memory, with fonts that are part of the program, so that every machine draws the
//! same and none needs fonts of its own.

mod bars;
mod curves;
mod histogram;
mod label;
mod sheet;
mod sketch;

use std::{io::Cursor, sync::Once};

use image::{ImageFormat, RgbImage};
use plotters::{
    coord::Shift,
    prelude::*,
    style::{
        register_font,
        text_anchor::{HPos, VPos},
    },
};

pub(crate) use bars::{Bar, BarGroup, Bars};
pub(crate) use curves::{Axis, Curves, Mark, Panel, number};
pub(crate) use histogram::{Cut, Histogram};
use label::{Style, width, write};
pub(crate) use label::{choose_font, missing_letters};
pub(crate) use sheet::{Cell, Sheet, thumbnail};

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

const FONT: &str = "sans-serif";
pub(crate) const INK: RGBColor = RGBColor(40, 40, 40);
const FAINT: RGBColor = RGBColor(225, 225, 225);
pub(crate) const GREY: RGBColor = RGBColor(110, 110, 110);
/// What is doubted, and what stands for it; told apart by those who see no red or green.
pub(crate) const DOUBTED: RGBColor = RGBColor(213, 94, 0);
pub(crate) const PROPOSED: RGBColor = RGBColor(0, 114, 178);
/// One for each range of an age; told apart by those who see no red or green (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// Letters of a title, of a caption and of what stands beside bars and axes, in pixels.
const TITLE: u32 = 24;
const TEXT: u32 = 16;

/// Draws on white.
fn draw([height, width]: [u32; 2], paint: impl FnOnce(&Area<'_>) -> Drawn<'static>) -> RgbImage {
    register();
    let mut pixels = vec![255; height as usize * width as usize * 3];
    let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
    paint(&area).and_then(|()| area.present()).expect("memory takes every line");
    drop(area);
    RgbImage::from_raw(width, height, pixels).expect("three bytes a pixel")
}

/// Makes the font known to plotters.
fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        let font = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
        assert!(font.is_ok(), "the font is one");
    });
}

/// How letters look; `across` and `down` say which point of the text is given.
fn style(size: u32, colour: RGBColor, across: HPos, down: VPos) -> Style {
    Style { size, colour, across, down }
}

/// An image as a file.
pub(crate) fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).expect("memory takes every image");
    bytes.into_inner()
}
