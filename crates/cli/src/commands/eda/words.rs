//! The printed report of `maskfit eda`: first the problems to fix, then the statistics.

use base::task::Unit;
use data::{ClassCount, Findings, NEAR};

use super::{Look, count, likeness};
use crate::{
    tables::{Counted, counted},
    wrap::{WIDTH, columns, in_columns, wrapped},
};

/// Maximum number of rows per problem; the files contain all.
const SHOWN: usize = 12;
/// Maximum number of file errors to print.
const FAULTS: usize = 100;
/// Number of image sizes to print.
const SIZES: usize = 5;

/// A class has few groups if it has less than this fraction of the mean over classes.
const FEW: f64 = 0.25;

impl Look {
    pub(super) fn summary(&self) -> String {
        let it = &self.survey;
        let images = self.unit().images_of(it.n_images, it.n_groups);
        let mut text = format!("{}: {images}\n", self.place);
        let notes = self.manifest.notes.iter().map(|it| wrapped("note: ", it) + "\n");
        text.extend(notes);
        let kept = self.manifest.examples.len() - it.n_images;
        if kept > 0 {
            text += &format!("{kept} more images belong to the test set and were not explored\n");
        }
        let problems = self.problems();
        match problems.is_empty() {
            true => text += "\nno problems found\n",
            false => text += &format!("\nproblems\n{}\n", problems.join("\n")),
        }
        let sections = [self.class_table(), self.statistics_table(), self.duplicate_table()];
        text + &sections.join("\n")
    }

    /// Lists the problems to fix, the most severe first.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut section = |title: String, rows: Vec<[String; 4]>, shown: usize, file: &str| {
            if rows.is_empty() {
                return;
            }
            let more = rows.len().saturating_sub(shown);
            let rows: Vec<[String; 4]> = rows.into_iter().take(shown).collect();
            let table = in_columns(WIDTH - 4, &rows, &[false; 4]).join("\n");
            let table = table.replace('\n', "\n    ");
            let rest =
                if more > 0 { format!("\n    and {more} more, in {file}") } else { String::new() };
            problems.push(format!("  {title}:\n    {table}{rest}"));
        };
        let nothing = String::new;
        let (it, unit) = (&self.survey, self.unit());
        let n = it.unreadable.len();
        let mut unreadable = Findings::default();
        it.unreadable.iter().for_each(|it| unreadable.add(&it.image, &it.reason, ""));
        let faults = unreadable.grouped().into_iter();
        let faults = faults.map(|it| [it.place, it.problem, nothing(), nothing()]);
        let title = format!("{} cannot be read", count(n, "image", "images"));
        section(title, faults.collect(), FAULTS, "eda.toml");

        let faults = self.findings.grouped().into_iter();
        let faults = faults.map(|it| [it.place, it.problem, it.remedy, nothing()]);
        let title = "data errors that prevent training".to_owned();
        section(title, faults.collect(), FAULTS, "eda.toml");

        let suspects = self.suspects();
        let differ = suspects.iter().filter(|it| self.labels_differ(it.0)).count();
        let rows = suspects.iter().map(|&(pair, n)| {
            let [a, b] = self.examples(pair);
            let class = |class: usize| &it.scopes[0].classes[class].name;
            let labels = match self.labels_differ(pair) {
                true => format!("{} / {}", class(a.class), class(b.class)),
                false => String::new(),
            };
            let more = if n > 1 { format!(", and {} more", n - 1) } else { String::new() };
            // An image a line, so that their names stay whole.
            let names = format!("{}\n{}", a.name, b.name);
            [names, format!("{}{more}\n{labels}", likeness(pair)), nothing(), nothing()]
        });
        let title = format!(
            "{} of duplicates or near-duplicates, {differ} with different labels",
            count(suspects.len(), "pair", "pairs"),
        );
        section(title, rows.collect(), SHOWN, "duplicates.csv");

        let joint = &it.scopes[0].classes;
        let numbered = || joint.iter().enumerate();
        let row = |(class, it): (usize, &ClassCount)| {
            let groups = if it.n_groups > 0 { unit.count(it.n_groups) } else { nothing() };
            [format!("{class:>2}  {}", it.name), groups, nothing(), nothing()]
        };
        let none = numbered().filter(|it| it.1.n_images == 0);
        let rows: Vec<_> = none.map(row).collect();
        let title = format!("{} no images, and no contact sheet", has(rows.len()));
        section(title, rows, SHOWN, "eda.toml");

        let mean = joint.iter().map(|it| it.n_groups).sum::<usize>() as f64 / joint.len() as f64;
        let few = numbered().filter(|it| it.1.n_images > 0 && (it.1.n_groups as f64) < FEW * mean);
        let rows: Vec<_> = few.map(row).collect();
        let title = format!(
            "{} few {} (less than {FEW} times the mean of {mean:.0})",
            has(rows.len()),
            unit.many()
        );
        section(title, rows, SHOWN, "eda.toml");
        problems
    }

    /// Formats the numbers of images and groups by class.
    fn class_table(&self) -> String {
        let mut text = String::new();
        // Images that are their own groups are counted once.
        let of_groups = |text: &str| match self.unit() {
            Unit::Image => String::new(),
            _ => text.to_owned(),
        };
        for (idx, scope) in self.survey.scopes.iter().enumerate() {
            let head = if idx == 0 { "class" } else { &scope.name };
            let groups = of_groups(self.unit().many());
            let header = [String::new(), head.to_owned(), "images".to_owned(), groups];
            let counts: Vec<usize> = scope.classes.iter().map(|it| it.n_images).collect();
            let rows = counted(&counts).into_iter().map(|row| match row {
                Counted::Class(class) => {
                    let it = &scope.classes[class];
                    let [images, groups] = [it.n_images, it.n_groups].map(|it| it.to_string());
                    [class.to_string(), it.name.clone(), images, of_groups(&groups)]
                }
                Counted::Between { n, least, most } => {
                    let between = format!("{n} more classes, in eda.toml");
                    ["...".to_owned(), between, format!("{least} to {most}"), String::new()]
                }
            });
            let rows: Vec<[String; 4]> = std::iter::once(header).chain(rows).collect();
            text += &format!("\n{}\n", columns(&rows, &[true, false, true, true]));
        }
        text
    }

    /// Formats numbers, image sizes, brightness and colours.
    fn statistics_table(&self) -> String {
        let it = &self.survey;
        let mut rows: Vec<[String; 2]> = Vec::new();
        let range = |values: Vec<usize>| match (values.iter().min(), values.iter().max()) {
            (Some(a), Some(b)) if a < b => format!("{a} to {b}"),
            (Some(a), _) => a.to_string(),
            _ => "none".to_owned(),
        };
        for it in &it.numbers {
            rows.push([it.factor.clone(), format!("{} to {}", it.min, it.max)]);
        }
        let mut name = "sizes, HxW".to_owned();
        for size in it.sizes.iter().take(SIZES) {
            let n = count(size.n_images, "image", "images");
            rows.push([std::mem::take(&mut name), format!("{}x{}: {n}", size.height, size.width)]);
        }
        if it.sizes.len() > 1 {
            rows.push([
                String::new(),
                format!(
                    "{} distinct sizes, height {}, width {}",
                    it.sizes.len(),
                    range(it.sizes.iter().map(|it| it.height).collect()),
                    range(it.sizes.iter().map(|it| it.width).collect()),
                ),
            ]);
        }
        if let Some(it) = &it.brightness {
            rows.push(["brightness".to_owned(), format!("median {:.0} of 255", it.median)]);
            for (what, end) in [("darkest", &it.darkest), ("brightest", &it.brightest)] {
                rows.push([String::new(), format!("{what} {:.0}: {}", end.mean, end.image)]);
            }
        }
        if let Some(it) = it.statistics {
            let list = |xs: [f64; 3]| xs.map(|x| format!("{x:.4}")).join(", ");
            rows.push(["colours".to_owned(), format!("mean = [{}]", list(it.mean))]);
            rows.push([String::new(), format!("std = [{}], over all pixels", list(it.std))]);
        }
        columns(&rows, &[false; 2]) + "\n"
    }

    /// Formats the numbers of duplicate pairs.
    fn duplicate_table(&self) -> String {
        let it = self.duplicates();
        let unit = self.unit();
        let [same, different] =
            [format!("same {}", unit.one()), format!("different {}", unit.many())];
        let header = ["duplicates", &same, &different, "labels differ"];
        let row = |name: &str, it: super::figures::Kind| {
            [
                name.to_owned(),
                it.within_a_group.to_string(),
                it.across_groups.to_string(),
                it.labels_differ.to_string(),
            ]
        };
        let mut rows = vec![
            header.map(str::to_owned),
            row("identical file", it.same_bytes),
            row("identical pixels", it.same_pixels),
            row(&format!("near-duplicate\n(Hamming distance <= {NEAR})"), it.near),
        ];
        // Images of one group are similar anyway.
        rows[3][1] = "-".to_owned();
        let table = columns(&rows, &[false, true, true, true]);
        match it.n_crowded {
            0 => table,
            n => {
                let text = format!(
                    "{} have so many similar images that not all pairs were compared: some \
                     near-duplicates may be missing",
                    count(n, "image", "images")
                );
                format!("{table}\n{}", wrapped("", &text))
            }
        }
    }
}

/// Formats `1 class has` or `3 classes have`.
fn has(n: usize) -> String {
    format!("{} {}", count(n, "class", "classes"), if n == 1 { "has" } else { "have" })
}
