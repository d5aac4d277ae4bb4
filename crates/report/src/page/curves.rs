//! Learning curves as SVG, by plotters: a chart for each quantity, with a line for each series.
//!
//! A chart is half as wide as the page, so that its text is readable on a phone, where it fills the width. Colours
//! are those of [`COLOURS`] in the file; the page's style sheet replaces them by ones for light and dark, and gives
//! each its own dashes, so that lines differ without colour as well.

use std::{ops::Range, sync::Once};

use plotters::{prelude::*, style::register_font};
use serde::Serialize;

use crate::contents::{Curve, CurvePoint};

/// A chart: its caption, and the inside of its `<svg>`.
#[derive(Serialize)]
pub(super) struct Chart {
    name: String,
    width: u32,
    height: u32,
    /// What an image description says: the first and last value of each line, and that of the best evaluation.
    described: String,
    svg: String,
    lines: Vec<Line>,
}

/// A line of a chart.
#[derive(Serialize)]
struct Line {
    name: String,
    colour: String,
    #[serde(skip)]
    points: Vec<[f64; 2]>,
    /// The best evaluation.
    #[serde(skip)]
    best: Option<[f64; 2]>,
}

/// A summary of a curve, for the table under the charts.
#[derive(Serialize)]
pub(super) struct Summary<'a> {
    name: &'a str,
    metric: &'a str,
    n_evaluations: usize,
    last: Option<&'a CurvePoint>,
    best: Option<&'a CurvePoint>,
}

/// In units of the SVG: about twice the pixels that it is shown with.
const WIDTH: u32 = 960;
const HEIGHT: u32 = 560;
const TEXT: u32 = 30;
const STROKE: u32 = 5;
const RADIUS: i32 = 11;
const FONT: &str = "report";
/// More points than this are not visible.
const MOST_POINTS: usize = 480;
/// The style sheet knows these colours; okabe and ito's, distinguishable with each colour blindness.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// A quantity of an evaluation.
#[derive(Clone, Copy)]
struct Quantity<'a> {
    name: &'a str,
    of: fn(&CurvePoint) -> Option<f64>,
}

const TRAIN: Quantity<'_> = Quantity { name: "Training loss", of: |it| it.train_loss };
const VALID: Quantity<'_> = Quantity { name: "Validation log loss", of: |it| it.valid_loss };
const MACRO_F1: Quantity<'_> = Quantity { name: "Validation macro F1", of: |it| it.macro_f1 };
const ACCURACY: Quantity<'_> = Quantity { name: "Validation accuracy", of: |it| it.accuracy };
/// The metrics that have a line without being selected by.
const SHOWN: [&str; 3] = ["macro F1", "accuracy", "log loss"];

/// Returns the charts of the curves: of one run its losses together and its scores together, of several folds
/// each quantity by itself; and the metric that selects the best model, if it is none of them.
pub(super) fn charts(curves: &[Curve]) -> Vec<Chart> {
    let together: Vec<(&str, Vec<Line>)> = match curves {
        [] => Vec::new(),
        [curve] => vec![
            ("Loss", lines_of(curve, &[VALID, TRAIN])),
            ("Score on the validation set", lines_of(curve, &[MACRO_F1, ACCURACY])),
        ],
        _ => [TRAIN, VALID, MACRO_F1, ACCURACY].map(|it| (it.name, folds_of(curves, it))).into(),
    };
    let metric = curves.first().map(|it| it.metric.as_str()).filter(|it| !SHOWN.contains(it));
    let selected = metric.map(|name| {
        let quantity = Quantity { name, of: |it| it.score };
        let lines = match curves {
            [curve] => lines_of(curve, &[quantity]),
            _ => folds_of(curves, quantity),
        };
        (name, lines)
    });
    let drawn = together.into_iter().chain(selected).map(|(name, mut lines)| {
        lines.retain(|it| !it.points.is_empty());
        (!lines.is_empty()).then(|| Chart::new(name, lines))
    });
    drawn.flatten().collect()
}

/// Returns a summary of each curve.
pub(super) fn summaries(curves: &[Curve]) -> Vec<Summary<'_>> {
    curves.iter().map(Summary::of).collect()
}

impl Summary<'_> {
    fn of(Curve { name, metric, points }: &Curve) -> Summary<'_> {
        let best = points.iter().rfind(|it| it.is_best);
        Summary { name, metric, n_evaluations: points.len(), last: points.last(), best }
    }
}

/// Returns a line for each quantity of a curve.
fn lines_of(curve: &Curve, quantities: &[Quantity<'_>]) -> Vec<Line> {
    let line = |(at, it): (usize, &Quantity<'_>)| Line::of(it.name, at, curve, *it);
    quantities.iter().enumerate().map(line).collect()
}

/// Returns a line for each curve.
fn folds_of(curves: &[Curve], quantity: Quantity<'_>) -> Vec<Line> {
    let line = |(at, it): (usize, &Curve)| Line::of(&it.name, at, it, quantity);
    curves.iter().enumerate().map(line).collect()
}

impl Line {
    /// - `at`: the line's position in the chart, which gives its colour.
    fn of(name: &str, at: usize, curve: &Curve, quantity: Quantity<'_>) -> Line {
        let point = |it: &CurvePoint| {
            let y = (quantity.of)(it).filter(|it| it.is_finite())?;
            Some([it.epoch, y]).filter(|it| it[0].is_finite())
        };
        let all: Vec<[f64; 2]> = curve.points.iter().filter_map(point).collect();
        let stride = all.len().div_ceil(MOST_POINTS).max(1);
        let is_shown = |at: usize| at.is_multiple_of(stride) || at + 1 == all.len();
        let shown = all.iter().enumerate().filter(|&(at, _)| is_shown(at));
        let RGBColor(r, g, b) = COLOURS[at % COLOURS.len()];
        Line {
            name: name.to_owned(),
            colour: format!("#{r:02X}{g:02X}{b:02X}"),
            points: shown.map(|(_, it)| *it).collect(),
            best: curve.points.iter().rfind(|it| it.is_best).and_then(point),
        }
    }

    fn ys(&self) -> impl Iterator<Item = f64> {
        self.points.iter().chain(&self.best).map(|it| it[1])
    }

    /// Describes the line in words.
    fn described(&self) -> String {
        let [Some(first), Some(last)] = [self.points.first(), self.points.last()] else {
            return String::new();
        };
        let best = self.best.map_or(String::new(), |it| format!(", {:.3} at the best", it[1]));
        format!("{} from {:.3} to {:.3}{best}", self.name, first[1], last[1])
    }
}

impl Chart {
    /// - `lines`: each has points.
    fn new(name: &str, lines: Vec<Line>) -> Chart {
        register();
        let mut svg = String::new();
        draw(&mut svg, &lines).expect("drawing into memory cannot fail");
        // The page writes an opening tag of its own, with a title.
        let inside = svg.split_once('>').map_or("", |it| it.1).trim_end();
        let svg = inside.strip_suffix("</svg>").unwrap_or(inside).to_owned();
        let described = lines.iter().map(Line::described).collect::<Vec<_>>().join("; ");
        Chart { name: name.to_owned(), width: WIDTH, height: HEIGHT, described, svg, lines }
    }
}

type DrawError = DrawingAreaErrorKind<std::io::Error>;

fn draw(svg: &mut String, lines: &[Line]) -> Result<(), DrawError> {
    let xs = || lines.iter().flat_map(|it| &it.points).map(|it| it[0]);
    let [x, y] = [padded(xs(), 0.0), padded(lines.iter().flat_map(Line::ys), 0.06)];
    let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin_top(16)
        .margin_right(28)
        .x_label_area_size(84)
        .y_label_area_size(104)
        .build_cartesian_2d(x, y.clone())?;
    let font = (FONT, TEXT).into_font().color(&INK);
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).bold_line_style(GRID.stroke_width(2)).axis_style(INK);
    mesh.label_style(font.clone()).axis_desc_style(font).x_desc("epoch").x_labels(7).y_labels(6);
    let precise = precision(&y);
    let number = |it: &f64| match it.abs() {
        1e5.. => format!("{it:.0e}"),
        _ => format!("{it:.precise$}"),
    };
    let epoch = |it: &f64| format!("{it:.1}").trim_end_matches(".0").to_owned();
    mesh.y_label_formatter(&number).x_label_formatter(&epoch).draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let points = line.points.iter().map(|&it| it.into()).collect::<Vec<(f64, f64)>>();
        let single = points.first().filter(|_| points.len() == 1).copied();
        chart.draw_series([PathElement::new(points, colour.stroke_width(STROKE))])?;
        chart.draw_series(single.map(|it| Circle::new(it, STROKE, colour.filled())))?;
        let mark = colour.stroke_width(STROKE);
        chart.draw_series(line.best.map(|it| Circle::new(it.into(), RADIUS, mark)))?;
    }
    area.present()
}

/// Returns a range that contains the numbers, of which there is one at least, and is wide enough for ticks.
fn padded(numbers: impl Iterator<Item = f64>, share: f64) -> Range<f64> {
    let (low, high) = numbers
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| (low.min(it), high.max(it)));
    let size = low.abs().max(high.abs()).max(1e-3);
    let padding = if high - low > 1e-6 * size { share * (high - low) } else { 0.5 * size };
    low - padding..high + padding
}

/// Returns the number of decimals that distinguishes the ticks of a range.
fn precision(range: &Range<f64>) -> usize {
    match range.end - range.start {
        0.0..0.05 => 3,
        0.05..5.0 => 2,
        5.0..500.0 => 1,
        _ => 0,
    }
}

/// Registers the font with plotters, which measures labels by it; the page shows them in its own font.
fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        let font = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
        assert!(font.is_ok(), "the embedded font is valid");
    });
}

#[cfg(test)]
mod tests {
    use super::{Curve, CurvePoint, charts, padded, precision};

    /// A curve whose losses are the numbers, and whose accuracy is 1 minus them.
    fn curve(name: &str, losses: &[Option<f64>]) -> Curve {
        let point = |(at, &loss): (usize, &Option<f64>)| CurvePoint {
            epoch: at as f64,
            train_loss: loss,
            valid_loss: loss,
            accuracy: loss.map(|it| 1.0 - it),
            is_best: at == 1,
            ..CurvePoint::default()
        };
        let points = losses.iter().enumerate().map(point).collect();
        Curve { name: name.to_owned(), metric: "accuracy".to_owned(), points }
    }

    #[test]
    fn a_run_has_a_chart_of_losses_and_one_of_scores() {
        let drawn = charts(&[curve("", &[Some(0.9), Some(0.25), Some(0.5)])]);
        assert_eq!(drawn.len(), 2);
        assert_eq!(drawn[0].lines.len(), 2);
        let described = "Validation log loss from 0.900 to 0.500, 0.250 at the best";
        assert!(drawn[0].described.starts_with(described), "{}", drawn[0].described);
        // No macro F1: its line is left out.
        assert_eq!(drawn[1].lines.len(), 1);
        assert_eq!(
            drawn[1].described,
            "Validation accuracy from 0.100 to 0.500, 0.750 at the best"
        );
        for it in &drawn {
            assert!(it.svg.contains("<polyline") && it.svg.contains("<circle"), "{}", it.svg);
            assert!(!it.svg.contains("<svg") && !it.svg.contains("</svg>"), "{}", it.svg);
        }
    }

    #[test]
    fn folds_have_a_line_each_in_the_chart_of_each_quantity() {
        let curves = ["fold 0", "fold 1"].map(|it| curve(it, &[Some(0.5), Some(0.25)]));
        let drawn = charts(&curves);
        assert_eq!(drawn.iter().map(|it| it.lines.len()).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(drawn[0].lines[1].name, "fold 1");
        assert_ne!(drawn[0].lines[0].colour, drawn[0].lines[1].colour);
    }

    #[test]
    fn the_metric_that_selects_has_a_chart_if_it_is_none_of_the_others() {
        let mut one = curve("", &[Some(0.5), Some(0.25)]);
        one.metric = "age MAE".to_owned();
        one.points.iter_mut().for_each(|it| it.score = Some(4.0));
        let drawn = charts(std::slice::from_ref(&one));
        assert_eq!(drawn.iter().map(|it| it.name.as_str()).next_back(), Some("age MAE"));
        let drawn = charts(&[one.clone(), one]);
        assert_eq!((drawn.len(), drawn[3].lines.len()), (4, 2));
    }

    #[test]
    fn undefined_numbers_one_evaluation_and_none_are_drawn_or_left_out() {
        assert!(charts(&[]).is_empty());
        assert!(charts(&[curve("", &[])]).is_empty());
        assert!(charts(&[curve("", &[None, Some(f64::NAN)])]).is_empty());
        assert_eq!(charts(&[curve("", &[Some(0.5)])]).len(), 2);
    }

    #[test]
    fn long_curves_are_thinned_but_keep_their_last_point() {
        let losses: Vec<Option<f64>> = (0..100_001).map(|it| Some(f64::from(it))).collect();
        let drawn = charts(&[curve("", &losses)]);
        let points = &drawn[0].lines[0].points;
        assert!(points.len() <= 481, "{}", points.len());
        assert_eq!(points.last(), Some(&[100_000.0, 100_000.0]));
    }

    #[test]
    fn ranges_are_never_empty() {
        assert_eq!(padded([1.0, 3.0].into_iter(), 0.5), 0.0..4.0);
        assert_eq!(padded([2.0].into_iter(), 0.06), 1.0..3.0);
        // Ticks between numbers that hardly differ would have no end.
        for all in [[1.0, 1.0 + f64::EPSILON], [1e38; 2], [-1e38, 1e38], [0.0; 2], [1e-300; 2]] {
            let losses = all.map(Some);
            assert_eq!(charts(&[curve("", &losses)]).len(), 2, "{all:?}");
        }
        assert_eq!([0.01, 1.0, 30.0].map(|it| precision(&(0.0..it))), [3, 2, 1]);
    }
}
