//! The charts and contact sheets of `maskfit eda`.

use augment::decode;
use base::task::Unit;
use data::{ClassCount, NumberCounts};
use image::RgbImage;

use super::{Look, likeness};
use crate::{
    drawing::{Bar, BarGroup, Bars, Cell, Cut, Histogram, Sheet, thumbnail},
    tables::{Counted, counted},
};

/// Maximum number of pairs on the sheet of duplicates.
const PAIRS: usize = 12;
/// The axis of a histogram of numbers begins and ends at a multiple of this many bins: decades of ages.
const MARGIN: i64 = 10;

/// Returns a bar per class; with many classes only those with the most and the fewest images.
fn bars(classes: &[ClassCount], unit: Unit) -> Vec<Bar> {
    let counts: Vec<usize> = classes.iter().map(|it| it.n_images).collect();
    let bar = |row: Counted| match row {
        Counted::Class(class) => {
            let it = &classes[class];
            let images = Unit::Image.count(it.n_images);
            Bar {
                name: format!("{}   {class}", it.name),
                value: it.n_images,
                label: match it.n_images {
                    0 => "none".to_owned(),
                    _ if unit == Unit::Image => images,
                    _ => format!("{images}, {}", unit.count(it.n_groups)),
                },
            }
        }
        Counted::Between { n, least, most } => Bar {
            name: format!("{n} more classes   …"),
            value: 0,
            label: format!("{least} to {most} images each"),
        },
    };
    counted(&counts).into_iter().map(bar).collect()
}

impl Look {
    /// Draws the numbers of images and groups by class.
    pub(super) fn classes(&self) -> RgbImage {
        let groups = self.survey.scopes.iter().map(|scope| BarGroup {
            name: scope.name.clone(),
            bars: bars(&scope.classes, self.unit()),
        });
        Bars { title: "images by class".to_owned(), groups: groups.collect() }.draw()
    }

    /// Draws the number of groups by the number of each numeric factor, where it is known; with the factor's
    /// name.
    pub(super) fn numbers(&self) -> Vec<(String, RgbImage)> {
        let draw = |it: &NumberCounts| (it.factor.clone(), self.histogram(it).draw());
        self.survey.numbers.iter().map(draw).collect()
    }

    fn histogram(&self, numbers: &NumberCounts) -> Histogram {
        let (unit, name) = (self.unit(), &numbers.factor);
        let factors = &self.manifest.task.factors;
        let factor = factors.iter().find(|it| it.name == *name).expect("a factor of the task");
        let bin = |number: f64| (number / numbers.width).round() as i64;
        let bins = || numbers.bins.iter().map(|it| bin(it.from));
        // The axis covers all cuts, with a margin on either side, but nothing below 0 without need.
        let cuts = || factor.cuts.iter().map(|it| (it / numbers.width).floor() as i64);
        let margins = cuts().flat_map(|it| [it - MARGIN, it + MARGIN - 1]);
        let (least, most) = bins()
            .chain(margins)
            .fold((i64::MAX, i64::MIN), |(least, most), it| (least.min(it), most.max(it)));
        let is_positive = bins().chain(cuts()).all(|it| it >= 0);
        let begin = least.div_euclid(MARGIN) * MARGIN;
        let begin = if is_positive { begin.max(0) } else { begin };
        let end = (most.div_euclid(MARGIN) + 1) * MARGIN;
        let mut counts = vec![0; (end - begin) as usize];
        bins().zip(&numbers.bins).for_each(|(at, it)| counts[(at - begin) as usize] = it.n_groups);
        let levels = self.survey.scopes.iter().find(|it| it.name == *name);
        // A task of one factor has the joint scope only.
        let levels = &levels.unwrap_or(&self.survey.scopes[0]).classes;
        let label = |it: &ClassCount| format!("{}: {}", it.name, unit.count(it.n_groups));
        let cuts = factor.cuts.iter().zip(&levels[1..]);
        Histogram {
            title: format!("{} by {name}", unit.many()),
            axes: [name.clone(), unit.many().to_owned()],
            begin: begin as f64 * numbers.width,
            width: numbers.width,
            counts,
            cuts: cuts.map(|(&at, it)| Cut { at, label: label(it) }).collect(),
            first: label(&levels[0]),
        }
    }

    /// Draws the number of images by brightness, if any image is readable.
    pub(super) fn brightness(&self) -> Option<RgbImage> {
        let it = self.survey.brightness.as_ref()?;
        let histogram = Histogram {
            title: "images by brightness".to_owned(),
            axes: ["mean grey value (0 black, 255 white)".to_owned(), "images".to_owned()],
            begin: 0.0,
            width: 256.0 / it.bins.len() as f64,
            counts: it.bins.clone(),
            cuts: Vec::new(),
            first: format!(
                "darkest {:.0}, median {:.0}, brightest {:.0}",
                it.darkest.mean, it.median, it.brightest.mean
            ),
        };
        Some(histogram.draw())
    }

    /// Draws the contact sheet of a class.
    pub(super) fn sheet(&self, class: usize, images: &[(usize, Option<RgbImage>)]) -> RgbImage {
        let it = &self.survey.scopes[0].classes[class];
        let cell = |(idx, image): &(usize, Option<RgbImage>)| {
            Cell::named(image.clone(), self.name_lines(*idx))
        };
        let shown = match images.len() == it.n_images {
            true => format!("all {}", it.n_images),
            false => format!("{} of {}", images.len(), it.n_images),
        };
        let groups = match self.unit() {
            Unit::Image => String::new(),
            unit => format!(", {} in total", unit.count(it.n_groups)),
        };
        Sheet {
            columns: Sheet::COLUMNS,
            title: format!("{class}  {}: {shown} images{groups}", it.name),
            cells: images.iter().map(cell).collect(),
            together: 1,
        }
        .draw()
    }

    /// Draws the suspicious duplicates in pairs, if there are any; each image is decoded again.
    pub(super) fn duplicate_sheet(&self, max_pixels: u64) -> Option<RgbImage> {
        let suspects = self.suspects();
        let mut cells = Vec::new();
        for (pair, _) in suspects.iter().take(PAIRS) {
            for (side, (idx, it)) in pair.images.iter().zip(self.examples(pair)).enumerate() {
                let bytes = it.content.bytes().ok();
                let image = bytes.and_then(|it| decode(&it, max_pixels).ok());
                let mut lines = self.name_lines(*idx);
                lines.push(self.survey.scopes[0].classes[it.class].name.clone());
                let differ = if self.labels_differ(pair) { "labels differ" } else { "" };
                lines.push([likeness(pair), differ.to_owned()][side].clone());
                cells.push(Cell::named(image.as_ref().map(thumbnail), lines));
            }
        }
        let n = cells.len() / 2;
        let pairs = match n == suspects.len() {
            true => String::new(),
            false => format!(" (first {n} of {})", suspects.len()),
        };
        let title = format!("duplicates and near-duplicates{pairs}");
        (n > 0).then(|| Sheet { title, cells, columns: Sheet::COLUMNS, together: 2 }.draw())
    }

    /// Splits the name of an image into two lines: the group's folder, and the file.
    fn name_lines(&self, idx: usize) -> Vec<String> {
        let name = &self.manifest.examples[idx].name;
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        [folder, file].into_iter().filter(|it| !it.is_empty()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use base::task::Unit;
    use data::ClassCount;

    use super::bars;
    use crate::drawing::{BarGroup, Bars};

    #[test]
    fn chart_of_a_thousand_classes_fits_a_screen() {
        let class = |it: usize| ClassCount {
            name: format!("class {it}"),
            n_images: 3 + it * it / 700,
            n_groups: 1 + it / 10,
        };
        let classes: Vec<ClassCount> = (0..1000).map(class).collect();
        let bars = bars(&classes, Unit::Group);
        assert_eq!(bars.len(), 31);
        assert_eq!((bars[15].name.as_str(), bars[15].value), ("970 more classes   …", 0));
        let group = BarGroup { name: "joint".to_owned(), bars };
        let chart = Bars { title: "images by class".to_owned(), groups: vec![group] }.draw();
        assert!(chart.height() < 1200 && chart.width() < 1600, "{:?}", chart.dimensions());
        if let Some(path) = std::env::var_os("MASKFIT_TEST_CHART") {
            chart.save(path).unwrap();
        }
    }
}
