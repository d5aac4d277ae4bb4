//! Histograms, with vertical lines at cuts.

use image::RgbImage;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, VPos},
};

use super::{
    area::{COLOURS, FAINT, FONT, GREY, INK, TEXT, TITLE, draw},
    label::{style, write},
};

/// A histogram with bins of equal width.
pub(crate) struct Histogram {
    pub(crate) title: String,
    /// Titles of the x and the y axis.
    pub(crate) axes: [String; 2],
    /// Left edge of the first bin.
    pub(crate) begin: f64,
    /// Width of each bin.
    pub(crate) width: f64,
    pub(crate) counts: Vec<usize>,
    /// In increasing order; the bins between two cuts have one colour.
    pub(crate) cuts: Vec<Cut>,
    /// Label above the bins before the first cut.
    pub(crate) first: String,
}

/// A vertical line between bins.
pub(crate) struct Cut {
    pub(crate) at: f64,
    /// Label above the bins after the cut.
    pub(crate) label: String,
}

const SIZE: [u32; 2] = [580, 1120];
const MARGIN: i32 = 24;
const HEAD: i32 = 64;

impl Histogram {
    pub(crate) fn draw(&self) -> RgbImage {
        let end = self.begin + self.width * self.counts.len() as f64;
        let most = self.counts.iter().copied().max().unwrap_or(0).max(1);
        // Room for the labels above the bins.
        let top = most + most.div_ceil(6);
        draw(SIZE, |area| {
            let font = |size: u32| (FONT, size).into_font().color(&INK);
            let mut chart = ChartBuilder::on(area)
                .margin(MARGIN)
                .margin_top(HEAD)
                .x_label_area_size(56)
                .y_label_area_size(84)
                .build_cartesian_2d(self.begin..end, 0..top)?;
            let above = style(TITLE, INK, HPos::Left, VPos::Center);
            write(area, &self.title, (MARGIN, HEAD / 2), above)?;
            let [x, y] = &self.axes;
            let mut mesh = chart.configure_mesh();
            mesh.disable_x_mesh().light_line_style(TRANSPARENT).bold_line_style(FAINT);
            mesh.axis_style(GREY).x_desc(x).y_desc(y).y_labels(8).x_labels(16);
            mesh.label_style(font(TEXT)).axis_desc_style(font(TEXT));
            mesh.x_label_formatter(&|it| format!("{it}")).draw()?;
            let bars = self.counts.iter().enumerate().map(|(idx, &n)| {
                let from = self.begin + self.width * idx as f64;
                let range = self.cuts.iter().filter(|it| it.at <= from).count();
                let colour = COLOURS[range % COLOURS.len()].filled();
                let gap = self.width * 0.08;
                Rectangle::new([(from + gap, 0), (from + self.width - gap, n)], colour)
            });
            chart.draw_series(bars)?;
            let lines = self
                .cuts
                .iter()
                .map(|it| PathElement::new(vec![(it.at, 0), (it.at, top)], GREY.stroke_width(1)));
            chart.draw_series(lines)?;
            let at = |it: f64| chart.backend_coord(&(it, top));
            let begin = std::iter::once((self.begin, &self.first));
            let labels: Vec<(f64, &String)> =
                begin.chain(self.cuts.iter().map(|it| (it.at, &it.label))).collect();
            for (idx, (from, label)) in labels.iter().enumerate() {
                // Centred over its range, clamped to the chart.
                let to = labels.get(idx + 1).map_or(end, |it| it.0).clamp(self.begin, end);
                let (left, y) = at(from.clamp(self.begin, end));
                let middle = (left + at(to).0) / 2;
                let style = style(TEXT, INK, HPos::Center, VPos::Top);
                write(area, label, (middle, y + 8), style)?;
            }
            Ok(())
        })
    }
}
