//! The charts and contact sheets of `maskfit eda`.

use augment::decode;
use base::task::Factor;
use data::ClassCount;
use image::RgbImage;

use super::{Look, count, likeness};
use crate::{
    drawing::{Bar, BarGroup, Bars, Cell, Cut, Histogram, Sheet, thumbnail},
    tables::{Counted, counted},
};

/// Maximum number of pairs on the sheet of duplicates.
const PAIRS: usize = 12;
/// The age axis begins and ends at a multiple of this many years.
const DECADE: u32 = 10;

/// Returns a bar per class; with many classes only those with the most and the fewest images.
fn bars(classes: &[ClassCount]) -> Vec<Bar> {
    let counts: Vec<usize> = classes.iter().map(|it| it.n_images).collect();
    let bar = |row: Counted| match row {
        Counted::Class(class) => {
            let it = &classes[class];
            let images = count(it.n_images, "image", "images");
            let people = count(it.n_people, "person", "people");
            Bar {
                name: format!("{}   {class}", it.name),
                value: it.n_images,
                label: match it.n_images {
                    0 => "none".to_owned(),
                    _ => format!("{images}, {people}"),
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
    /// Draws the numbers of images and people by class.
    pub(super) fn classes(&self) -> RgbImage {
        let groups = self
            .survey
            .scopes
            .iter()
            .map(|scope| BarGroup { name: scope.name.clone(), bars: bars(&scope.classes) });
        Bars { title: "images by class".to_owned(), groups: groups.collect() }.draw()
    }

    /// Draws the number of people by age, if ages are known.
    pub(super) fn ages(&self) -> Option<RgbImage> {
        let ages = &self.survey.ages;
        let (youngest, oldest) = (ages.first()?.years, ages.last()?.years);
        let task = &self.manifest.task;
        let no_ranges = Factor::new("", &[""]);
        let factor = task.ranged().map_or(&no_ranges, |idx| &task.factors[idx]);
        // The axis covers all cuts, with a margin on either side.
        let first = factor.cuts.first().map_or(youngest, |&it| (it as u32).saturating_sub(DECADE));
        let last = factor.cuts.last().map_or(oldest, |&it| it as u32 + DECADE - 1);
        let begin = youngest.min(first) / DECADE * DECADE;
        let end = (oldest.max(last) / DECADE + 1) * DECADE;
        let mut counts = vec![0; (end - begin) as usize];
        let mut of_range = vec![0; factor.levels.len()];
        for it in ages {
            counts[(it.years - begin) as usize] = it.n_people;
            of_range[Factor::level_of(f64::from(it.years), &factor.cuts)] += it.n_people;
        }
        let label = |level: usize| match factor.levels[level].as_str() {
            "" => String::new(),
            name => format!("{name}: {}", count(of_range[level], "person", "people")),
        };
        let cuts = factor.cuts.iter().enumerate();
        let histogram = Histogram {
            title: "people by age".to_owned(),
            axes: ["age in years".to_owned(), "people".to_owned()],
            begin: f64::from(begin),
            width: 1.0,
            counts,
            cuts: cuts.map(|(idx, &at)| Cut { at, label: label(idx + 1) }).collect(),
            first: label(0),
        };
        Some(histogram.draw())
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
        let people = count(it.n_people, "person", "people");
        let shown = match images.len() == it.n_images {
            true => format!("all {}", it.n_images),
            false => format!("{} of {}", images.len(), it.n_images),
        };
        Sheet {
            columns: Sheet::COLUMNS,
            title: format!("{class}  {}: {shown} images, {people} in total", it.name),
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

    /// Splits the name of an image into two lines: the person's folder, and the file.
    fn name_lines(&self, idx: usize) -> Vec<String> {
        let name = &self.manifest.examples[idx].name;
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        [folder, file].into_iter().filter(|it| !it.is_empty()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use data::ClassCount;

    use super::bars;
    use crate::drawing::{BarGroup, Bars};

    #[test]
    fn chart_of_a_thousand_classes_fits_a_screen() {
        let class = |it: usize| ClassCount {
            name: format!("class {it}"),
            n_images: 3 + it * it / 700,
            n_people: 1 + it / 10,
        };
        let classes: Vec<ClassCount> = (0..1000).map(class).collect();
        let bars = bars(&classes);
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
