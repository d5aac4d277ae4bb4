//! Curves over one axis, in panels under each other: as a picture, and in letters for the terminal.

use std::ops::Range;

use image::RgbImage;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, VPos},
};

use super::{COLOURS, FAINT, FONT, GREY, INK, TEXT, TITLE, draw, style};

/// What is drawn.
pub(crate) struct Curves {
    pub(crate) title: String,
    pub(crate) x: Axis,
    /// At least one.
    pub(crate) panels: Vec<Panel>,
}

/// What lies along the bottom.
pub(crate) struct Axis {
    pub(crate) name: String,
    pub(crate) range: Range<f64>,
    /// Whether tenfold steps are equally far.
    pub(crate) is_log: bool,
}

/// A curve with an axis of its own.
pub(crate) struct Panel {
    pub(crate) name: String,
    /// From left to right.
    pub(crate) points: Vec<[f64; 2]>,
    /// Lies behind the curve, and is cut off where that does not reach.
    pub(crate) behind: Vec<[f64; 2]>,
    /// Whether the axis begins at 0.
    pub(crate) from_zero: bool,
    /// Points of the curve.
    pub(crate) marks: Vec<Mark>,
}

/// A point of a curve with its name.
pub(crate) struct Mark {
    pub(crate) at: [f64; 2],
    pub(crate) label: String,
}

const WIDTH: u32 = 1120;
const MARGIN: i32 = 24;
const HEAD: i32 = 64;
/// Of a panel; one alone is higher.
const HEIGHT: u32 = 280;
const ALONE: u32 = 440;
/// Of a row of the legend.
const ROW: i32 = 26;

impl Axis {
    /// The number that lies where `x` does on an even axis.
    pub(super) fn place(&self, x: f64) -> f64 {
        if self.is_log { x.log10() } else { x }
    }

    /// From left to right, evenly.
    pub(super) fn places(&self) -> Range<f64> {
        self.place(self.range.start)..self.place(self.range.end)
    }

    /// What stands at a place.
    pub(super) fn label(&self, place: f64) -> String {
        match self.is_log {
            true => format!("1e{}", place.round()),
            false => number(place),
        }
    }
}

impl Panel {
    /// From the bottom to the top, with some air.
    pub(super) fn range(&self) -> Range<f64> {
        let ys = || self.points.iter().map(|it| it[1]).filter(|it| it.is_finite());
        let top = ys().fold(f64::NEG_INFINITY, f64::max);
        let bottom = if self.from_zero { 0.0 } else { ys().fold(f64::INFINITY, f64::min) };
        match top - bottom {
            it if it > 0.0 && self.from_zero => 0.0..top + 0.06 * it,
            it if it > 0.0 => bottom - 0.06 * it..top + 0.06 * it,
            _ if bottom.is_finite() => bottom..bottom + bottom.abs().max(1e-9),
            _ => 0.0..1.0,
        }
    }
}

/// A number in few letters.
pub(crate) fn number(x: f64) -> String {
    let text = match x.abs() {
        0.0 => return "0".to_owned(),
        1e-2..1e4 => format!("{x:.3}"),
        _ => return format!("{x:.1e}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Curves {
    pub(crate) fn draw(&self) -> RgbImage {
        let of_each = if self.panels.len() == 1 { ALONE } else { HEIGHT };
        let height = HEAD as u32 + of_each * self.panels.len() as u32 + 2 * MARGIN as u32;
        draw([height, WIDTH], |area| {
            let above = style(TITLE, INK, HPos::Left, VPos::Center);
            area.draw(&Text::new(&*self.title, (MARGIN, HEAD / 2), above))?;
            let parts = area.margin(HEAD, MARGIN, 0, 0).split_evenly((self.panels.len(), 1));
            for (idx, (panel, part)) in self.panels.iter().zip(parts).enumerate() {
                let is_last = idx + 1 == self.panels.len();
                let font = |size: u32| (FONT, size).into_font().color(&INK);
                let (places, range) = (self.x.places(), panel.range());
                let mut chart = ChartBuilder::on(&part)
                    .margin_left(MARGIN)
                    .margin_right(2 * MARGIN)
                    .x_label_area_size(if is_last { 56 } else { 36 })
                    .y_label_area_size(100)
                    .build_cartesian_2d(places.clone(), range.clone())?;
                let mut mesh = chart.configure_mesh();
                mesh.light_line_style(TRANSPARENT).bold_line_style(FAINT).axis_style(GREY);
                mesh.y_desc(&panel.name).y_labels(6).x_labels(10);
                if is_last {
                    mesh.x_desc(&self.x.name);
                }
                mesh.label_style(font(TEXT)).axis_desc_style(font(TEXT));
                mesh.y_label_formatter(&|it| number(*it));
                mesh.x_label_formatter(&|it| self.x.label(*it)).draw()?;
                for (points, colour) in [
                    (&panel.behind, FAINT.stroke_width(2)),
                    (&panel.points, COLOURS[0].stroke_width(3)),
                ] {
                    let at = |it: &[f64; 2]| {
                        (self.x.place(it[0]), it[1].clamp(range.start, range.end))
                    };
                    let line = PathElement::new(points.iter().map(at).collect::<Vec<_>>(), colour);
                    chart.draw_series(std::iter::once(line))?;
                }
                let (left, bottom) = chart.backend_coord(&(places.start, range.start));
                for (idx, mark) in panel.marks.iter().enumerate() {
                    let colour = COLOURS[(idx + 1) % COLOURS.len()].filled();
                    let point = chart.backend_coord(&(self.x.place(mark.at[0]), mark.at[1]));
                    area.draw(&Circle::new(point, 7, colour))?;
                    let (x, y) = (left + 24, bottom - ROW * (panel.marks.len() - idx) as i32);
                    area.draw(&Circle::new((x, y), 7, colour))?;
                    let text = style(TEXT, INK, HPos::Left, VPos::Center);
                    area.draw(&Text::new(&*mark.label, (x + 16, y), text))?;
                }
            }
            Ok(())
        })
    }
}
