//! Text in images: each character is drawn with the first of three fonts that has a glyph for it.
//!
//! The fonts are DejaVu Sans, embedded in the program, for Latin, Greek, Cyrillic and some more; then the
//! font set by `MASKFIT_FONT`, if any; then GNU Unifont, also embedded: 16-pixel bitmaps of Hangul, kana,
//! Chinese and nearly all of Unicode's first plane. A character without a glyph is drawn as a box, and
//! reported once. Characters are laid out from left to right, without the shaping that Arabic or Devanagari
//! need.

use std::{
    collections::BTreeSet,
    env, fs,
    sync::{Mutex, OnceLock, PoisonError},
};

use ab_glyph::{Font as _, FontRef, FontVec, ScaleFont as _};
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use unicode_normalization::UnicodeNormalization as _;

use super::area::{Area, Drawn, FONT, register};

/// The environment variable with the path of a font.
const SETTING: &str = "MASKFIT_FONT";
/// Rows of Unifont's bitmaps, and how many of them are above the baseline.
const ROWS: usize = 16;
const ABOVE: f64 = 14.0;
/// Maximum number of missing characters to print.
const SHOWN: usize = 8;

/// The font set by the user.
static OWN: OnceLock<FontVec> = OnceLock::new();
/// Characters without a glyph in any font.
static MISSING: Mutex<BTreeSet<char>> = Mutex::new(BTreeSet::new());

/// Text style and anchor.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub(super) size: u32,
    pub(super) colour: RGBColor,
    pub(super) across: HPos,
    pub(super) down: VPos,
}

/// Returns a text style; `across` and `down` set the anchor.
pub(super) fn style(size: u32, colour: RGBColor, across: HPos, down: VPos) -> Style {
    Style { size, colour, across, down }
}

/// A run of characters drawn with one font.
enum Run {
    DejaVu(String),
    Own(char),
    Unifont(&'static unifont::Glyph),
}

/// Loads the font set in the environment, if any.
pub(crate) fn choose_font() -> Result<(), String> {
    let Some(path) = env::var_os(SETTING).filter(|it| !it.is_empty()) else { return Ok(()) };
    let shown = path.display();
    let bytes = fs::read(&path).map_err(|err| format!("{SETTING}: {shown}: {err}"))?;
    let font = FontVec::try_from_vec_and_index(bytes, 0).map_err(|_| {
        format!("{SETTING}: {shown}: not a readable font: give a .ttf, .otf or .ttc file")
    })?;
    // This function is called only once.
    drop(OWN.set(font));
    Ok(())
}

/// Returns a note on characters that were drawn as boxes, if any.
pub(crate) fn missing_letters() -> Option<String> {
    let missing = MISSING.lock().unwrap_or_else(PoisonError::into_inner);
    let first = missing.iter().take(SHOWN);
    let first: Vec<String> = first.map(|&it| format!("{it} (U+{:04X})", u32::from(it))).collect();
    let more = match missing.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    (!first.is_empty()).then(|| {
        format!(
            "note: no font has {}{more}, drawn as boxes: set {SETTING} to a font that has them",
            first.join(", ")
        )
    })
}

fn dejavu() -> &'static FontRef<'static> {
    static DEJAVU: OnceLock<FontRef<'static>> = OnceLock::new();
    DEJAVU.get_or_init(|| {
        FontRef::try_from_slice(dejavu::sans::regular()).expect("the embedded font is valid")
    })
}

/// Splits text into runs by font. Characters are composed (NFC) first, such as Hangul in file names from
/// macOS.
fn runs(text: &str) -> Vec<Run> {
    let mut runs = Vec::new();
    for letter in text.nfc().map(|it| if it.is_control() { ' ' } else { it }) {
        let is_in = |font: &dyn Fn(char) -> u16| font(letter) != 0;
        let has_dejavu = is_in(&|it| dejavu().glyph_id(it).0);
        let has_own = || OWN.get().is_some_and(|own| is_in(&|it| own.glyph_id(it).0));
        let run = match (has_dejavu, unifont::get_glyph(letter)) {
            (false, _) if has_own() => Run::Own(letter),
            (false, Some(glyph)) => Run::Unifont(glyph),
            (is_there, _) => {
                if !is_there {
                    MISSING.lock().unwrap_or_else(PoisonError::into_inner).insert(letter);
                }
                match runs.last_mut() {
                    Some(Run::DejaVu(text)) => {
                        text.push(letter);
                        continue;
                    }
                    _ => Run::DejaVu(letter.to_string()),
                }
            }
        };
        runs.push(run);
    }
    runs
}

impl Run {
    /// Returns the width in pixels.
    fn width(&self, size: u32) -> u32 {
        match self {
            Run::DejaVu(text) => (FONT, size).into_font().box_size(text).map_or(0, |it| it.0),
            Run::Own(letter) => OWN.get().map_or(0, |font| {
                let font = font.as_scaled(size as f32);
                font.h_advance(font.glyph_id(*letter)).ceil() as u32
            }),
            Run::Unifont(glyph) => {
                let height = height(size);
                (glyph.get_width() as u32 * height).div_ceil(ROWS as u32)
            }
        }
    }
}

/// Returns the height of Unifont's glyphs; smaller ones would be illegible.
fn height(size: u32) -> u32 {
    size.max(ROWS as u32)
}

/// Returns the width of a text, in pixels.
pub(super) fn width(text: &str, size: u32) -> u32 {
    register();
    runs(text).iter().map(|it| it.width(size)).sum()
}

/// Writes a line of text at a point.
pub(super) fn write(
    area: &Area<'_>,
    text: &str,
    (mut x, y): (i32, i32),
    Style { size, colour, across, down }: Style,
) -> Drawn<'static> {
    let runs = runs(text);
    let font = |across: HPos| (FONT, size).into_font().color(&colour).pos(Pos::new(across, down));
    if let [Run::DejaVu(text)] = runs.as_slice() {
        return area.draw(&Text::new(text.as_str(), (x, y), font(across)));
    }
    let total: u32 = runs.iter().map(|it| it.width(size)).sum();
    x -= match across {
        HPos::Left => 0,
        HPos::Center => total as i32 / 2,
        HPos::Right => total as i32,
    };
    // The baseline, as plotters places it.
    let tall = (f64::from(size) / 1.24) as i32;
    let line = y + size as i32 / 2
        - match down {
            VPos::Top => 0,
            VPos::Center => tall / 2,
            VPos::Bottom => tall,
        };
    let (w, h) = area.dim_in_pixel();
    let dot = |x: i32, y: i32, share: f64| match x >= 0 && y >= 0 && x < w as i32 && y < h as i32 {
        true => area.draw_pixel((x, y), &colour.mix(share.min(1.0))),
        false => Ok(()),
    };
    for run in &runs {
        match run {
            Run::DejaVu(text) => {
                area.draw(&Text::new(text.as_str(), (x, y), font(HPos::Left)))?;
            }
            Run::Own(letter) => outline(*letter, size)
                .into_iter()
                .try_for_each(|(at, share)| dot(x + at.0, line + at.1, share))?,
            Run::Unifont(glyph) => {
                let top = line - (f64::from(height(size)) * ABOVE / ROWS as f64).round() as i32;
                for (at, share) in enlarged(glyph, height(size)) {
                    dot(x + at.0, top + at.1, share)?;
                }
            }
        }
        x += run.width(size) as i32;
    }
    Ok(())
}

/// Returns the pixels of a glyph of the user's font, relative to its origin, with the coverage of each.
fn outline(letter: char, size: u32) -> Vec<((i32, i32), f64)> {
    let mut pixels = Vec::new();
    let Some(font) = OWN.get() else { return pixels };
    let font = font.as_scaled(size as f32);
    if let Some(outline) = font.outline_glyph(font.scaled_glyph(letter)) {
        let corner = outline.px_bounds().min;
        outline.draw(|x, y, share| {
            let at = (x as i32 + corner.x as i32, y as i32 + corner.y as i32);
            pixels.push((at, f64::from(share)));
        });
    }
    pixels
}

/// Returns the pixels of a bitmap scaled up to a height, with the coverage of each.
fn enlarged(glyph: &unifont::Glyph, height: u32) -> Vec<((i32, i32), f64)> {
    let scale = ROWS as f64 / f64::from(height);
    let width = (glyph.get_width() as u32 * height).div_ceil(ROWS as u32);
    // The rows or columns of the bitmap that a pixel overlaps, with the overlap.
    let parts = |at: u32| {
        let [from, to] = [f64::from(at) * scale, f64::from(at + 1) * scale];
        let overlap = move |it: usize| (to.min(it as f64 + 1.0) - from.max(it as f64)) / scale;
        (from as usize..to.ceil() as usize).map(move |it| (it, overlap(it)))
    };
    let mut pixels = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let covered = parts(y).flat_map(|(row, tall)| {
            parts(x).filter(move |it| glyph.get_pixel(it.0, row)).map(move |it| it.1 * tall)
        });
        let share: f64 = covered.sum();
        if share > 0.0 {
            pixels.push(((x as i32, y as i32), share));
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::{MISSING, Run, enlarged, missing_letters, runs, width};

    /// Returns the font and the characters of each run.
    fn fonts(text: &str) -> Vec<String> {
        let name = |it: &Run| match it {
            Run::DejaVu(text) => text.clone(),
            Run::Own(letter) => format!("own {letter}"),
            Run::Unifont(glyph) => format!("{} wide", glyph.get_width()),
        };
        runs(text).iter().map(name).collect()
    }

    #[test]
    fn characters_use_the_first_font_that_has_them() {
        assert_eq!(fonts("Größe <30, ≥60…"), ["Größe <30, ≥60…"]);
        assert_eq!(fonts("a 김b"), ["a ", "16 wide", "b"]);
        assert_eq!(fonts("マ口罩"), ["16 wide"; 3]);
        assert_eq!(fonts(""), [""; 0]);
        // Decomposed (NFD), as in file names from macOS: one character all the same.
        assert_eq!(fonts("\u{1100}\u{1175}\u{11b7}"), ["16 wide"]);
        assert_eq!(fonts("a\tb\n"), ["a b "]);
        assert_eq!([width("김", 16), width("김", 24), width("", 16)], [16, 24, 0]);
        assert_eq!(width("a김b", 16), width("a", 16) + 16 + width("b", 16));
        // A character of the supplementary planes, which no embedded font has.
        assert_eq!(fonts("a\u{10ffff}"), ["a\u{10ffff}"]);
        assert!(MISSING.lock().unwrap().contains(&'\u{10ffff}'));
        let note = missing_letters().unwrap();
        assert!(note.contains("(U+10FFFF)") && note.contains("MASKFIT_FONT"), "{note}");
    }

    #[test]
    fn scaled_glyph_keeps_its_coverage() {
        let glyph = unifont::get_glyph('김').unwrap();
        let of = |height| enlarged(glyph, height).iter().map(|it| it.1).sum::<f64>();
        assert_eq!(of(16).fract(), 0.0);
        assert!((of(24) - of(16) * 2.25).abs() < 1e-9, "{} {}", of(24), of(16));
        assert!(enlarged(glyph, 24).iter().all(|it| it.0.0 < 24 && it.0.1 < 24));
    }
}
