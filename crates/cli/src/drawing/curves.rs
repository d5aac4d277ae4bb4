//! Line charts over a common x axis, in panels stacked vertically: as an image, and as text for the terminal.

use std::ops::Range;

use image::RgbImage;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, VPos},
};

use super::{
    area::{COLOURS, FAINT, FONT, GREY, INK, TEXT, TITLE, draw},
    label::{style, width, write},
};

/// A line chart.
pub(crate) struct Curves {
    pub(crate) title: String,
    pub(crate) x: Axis,
    /// At least one.
    pub(crate) panels: Vec<Panel>,
}

/// The x axis.
pub(crate) struct Axis {
    pub(crate) name: String,
    pub(crate) range: Range<f64>,
    /// Whether the axis is logarithmic.
    pub(crate) is_log: bool,
}

/// A curve with its own y axis.
pub(crate) struct Panel {
    pub(crate) name: String,
    /// Points (x, y) by increasing x.
    pub(crate) points: Vec<[f64; 2]>,
    /// A curve behind the main one, in the image only; clipped to the y range of the main one.
    pub(crate) behind: Vec<[f64; 2]>,
    /// Whether the y axis begins at 0.
    pub(crate) from_zero: bool,
    /// Marked points of the curve.
    pub(crate) marks: Vec<Mark>,
}

/// A labelled point of a curve.
pub(crate) struct Mark {
    pub(crate) at: [f64; 2],
    pub(crate) label: String,
}

const WIDTH: u32 = 1120;
const MARGIN: i32 = 24;
const HEAD: i32 = 64;
/// Heights of a panel among several, and of a single panel.
const HEIGHT: u32 = 280;
const ALONE: u32 = 440;
/// Height of the row of mark labels above a panel.
const ROW: i32 = 20;
/// Radius of a mark.
const RADIUS: i32 = 7;
const CURVE: RGBColor = COLOURS[0];
const MARKS: [RGBColor; 4] = [COLOURS[1], COLOURS[2], COLOURS[3], INK];

impl Axis {
    /// Maps `x` to a position on a linear axis.
    pub(super) fn place(&self, x: f64) -> f64 {
        if self.is_log { x.log10() } else { x }
    }

    /// Returns the range of positions.
    pub(super) fn places(&self) -> Range<f64> {
        self.place(self.range.start)..self.place(self.range.end)
    }

    /// Returns the tick label at a position.
    pub(super) fn label(&self, place: f64) -> String {
        match self.is_log {
            true => format!("1e{}", place.round()),
            false => number(place),
        }
    }
}

impl Panel {
    /// Returns the y range of the points.
    pub(super) fn range(&self) -> Range<f64> {
        let ys = || self.points.iter().map(|it| it[1]).filter(|it| it.is_finite());
        let top = ys().fold(f64::NEG_INFINITY, f64::max);
        let bottom = if self.from_zero { 0.0 } else { ys().fold(f64::INFINITY, f64::min) };
        match bottom < top {
            true => bottom..top,
            false if bottom.is_finite() => bottom..bottom + bottom.abs().max(1e-9),
            false => 0.0..1.0,
        }
    }

    /// Returns the y range with padding.
    fn padded_range(&self) -> Range<f64> {
        let Range { start, end } = self.range();
        let padding = 0.06 * (end - start);
        (if self.from_zero { start } else { start - padding })..end + padding
    }
}

/// Clips a line segment to a y range.
fn clip([a, b]: [[f64; 2]; 2], range: &Range<f64>) -> Option<[[f64; 2]; 2]> {
    let inside = |from: [f64; 2], to: [f64; 2]| {
        let y = from[1].clamp(range.start, range.end);
        let share = if y == from[1] { 0.0 } else { (y - from[1]) / (to[1] - from[1]) };
        [from[0] + share * (to[0] - from[0]), y]
    };
    let misses = a[1].min(b[1]) > range.end || a[1].max(b[1]) < range.start;
    (!misses).then(|| [inside(a, b), inside(b, a)])
}

/// Formats a number in few characters.
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
            write(area, &self.title, (MARGIN, HEAD / 2), above)?;
            let parts = area.margin(HEAD, MARGIN, 0, 0).split_evenly((self.panels.len(), 1));
            for (idx, (panel, part)) in self.panels.iter().zip(parts).enumerate() {
                let is_last = idx + 1 == self.panels.len();
                let font = |size: u32| (FONT, size).into_font().color(&INK);
                let (places, range) = (self.x.places(), panel.padded_range());
                let mut chart = ChartBuilder::on(&part)
                    .margin_top(if panel.marks.is_empty() { 0 } else { 2 * ROW })
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
                let placed = |it: &[f64; 2]| [self.x.place(it[0]), it[1]];
                let line = |[a, b]: [[f64; 2]; 2]| {
                    PathElement::new(vec![a.into(), b.into()], FAINT.stroke_width(2))
                };
                let behind: Vec<[f64; 2]> = panel.behind.iter().map(placed).collect();
                let pairs = behind.windows(2).filter_map(|it| clip([it[0], it[1]], &range));
                chart.draw_series(pairs.map(line))?;
                let points: Vec<(f64, f64)> =
                    panel.points.iter().map(|it| placed(it).into()).collect();
                let curve = PathElement::new(points, CURVE.stroke_width(3));
                chart.draw_series(std::iter::once(curve))?;
                let (mut x, y) = chart.backend_coord(&(places.start, range.end));
                for (mark, colour) in panel.marks.iter().zip(MARKS.iter().cycle()) {
                    let [across, up] = placed(&mark.at);
                    let point = chart.backend_coord(&(across, up));
                    let above = (x + RADIUS, y - ROW);
                    for at in [point, above] {
                        area.draw(&Circle::new(at, RADIUS, colour.filled()))?;
                    }
                    let text = style(TEXT, INK, HPos::Left, VPos::Center);
                    write(area, &mark.label, (x + 3 * RADIUS, above.1), text)?;
                    x += 7 * RADIUS + width(&mark.label, TEXT) as i32;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{clip, number};

    #[test]
    fn segments_are_clipped_to_the_y_range() {
        let clip = |a, b| clip([a, b], &(0.0..1.0));
        assert_eq!(clip([0.0, 0.5], [1.0, 0.7]), Some([[0.0, 0.5], [1.0, 0.7]]));
        assert_eq!(clip([0.0, 0.5], [1.0, 1.5]), Some([[0.0, 0.5], [0.5, 1.0]]));
        assert_eq!(clip([0.0, -1.0], [3.0, 2.0]), Some([[1.0, 0.0], [2.0, 1.0]]));
        assert_eq!(clip([0.0, 2.0], [1.0, 3.0]), None);
        assert_eq!(clip([0.0, -2.0], [1.0, -3.0]), None);
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 2e-3, 0.95, 3.0, 12.3456, 1e-12, 23_456.0].map(number);
        assert_eq!(texts, ["0", "2.0e-3", "0.95", "3", "12.346", "1.0e-12", "2.3e4"]);
    }
}
