//! Horizontal bar charts, in groups, with a name and a label per bar.

use image::RgbImage;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, VPos},
};

use super::{
    area::{COLOURS, FAINT, GREY, INK, TEXT, TITLE, draw},
    label::{style, width, write},
};

/// A chart of bar groups, stacked vertically.
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) groups: Vec<BarGroup>,
}

/// Bars with a common scale.
pub(crate) struct BarGroup {
    pub(crate) name: String,
    pub(crate) bars: Vec<Bar>,
}

/// One bar.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: usize,
    /// Text to the right of the bar.
    pub(crate) label: String,
}

const MARGIN: i32 = 24;
const HEAD: i32 = 64;
const GROUP: i32 = 44;
const ROW: i32 = 28;
/// Length of the longest bar, in pixels.
const LONGEST: i32 = 560;

impl Bars {
    pub(crate) fn draw(&self) -> RgbImage {
        let bars = || self.groups.iter().flat_map(|it| &it.bars);
        let n_rows = bars().count() as i32;
        let height = HEAD + self.groups.len() as i32 * GROUP + n_rows * ROW + MARGIN;
        let title = width(&self.title, TITLE) as i32;
        let names = bars().map(|it| width(&it.name, TEXT)).max().unwrap_or(0) as i32;
        let labels = bars().map(|it| width(&it.label, TEXT)).max().unwrap_or(0) as i32;
        let begin = MARGIN + names + 12;
        let total = (begin + LONGEST + 12 + labels).max(MARGIN + title) + MARGIN;
        draw([height as u32, total as u32], |area| {
            let left = |size, colour| style(size, colour, HPos::Left, VPos::Center);
            let right = style(TEXT, INK, HPos::Right, VPos::Center);
            write(area, &self.title, (MARGIN, HEAD / 2), left(TITLE, INK))?;
            let mut y = HEAD;
            for (idx, group) in self.groups.iter().enumerate() {
                write(area, &group.name, (MARGIN, y + GROUP - 16), left(TEXT + 2, GREY))?;
                y += GROUP;
                let most = group.bars.iter().map(|it| it.value).max().unwrap_or(0).max(1);
                for bar in &group.bars {
                    let (middle, end) =
                        (y + ROW / 2, begin + LONGEST * bar.value as i32 / most as i32);
                    let (top, bottom) = (y + 4, y + ROW - 4);
                    let lane = [(begin, top), (begin + LONGEST, bottom)];
                    area.draw(&Rectangle::new(lane, FAINT.mix(0.5).filled()))?;
                    let colour = COLOURS[idx.min(1) * 2].filled();
                    area.draw(&Rectangle::new([(begin, top), (end, bottom)], colour))?;
                    write(area, &bar.name, (begin - 12, middle), right)?;
                    let at = (begin + LONGEST + 12, middle);
                    write(area, &bar.label, at, left(TEXT, INK))?;
                    y += ROW;
                }
            }
            Ok(())
        })
    }
}
