//! A table of images: a CSV or TSV file with a row for each image, and a folder of images.
//!
//! ```toml
//! # Kaggle's dog breeds: `id,breed`, and `train/<id>.jpg`.
//! source = { kind = "table", csv = "labels.csv", images = "train", image = "id", label = "breed" }
//!
//! [data.source]
//! kind   = "table"
//! root   = "people"
//! csv    = "images.csv"
//! images = "images"
//! image  = "file"
//! labels = [
//!     { column = "mask", levels = ["worn", "incorrect", "not worn"] },
//!     { column = "gender" },
//!     { column = "years", name = "age", cuts = [30, 60] },
//! ]
//! group  = "person"
//! ```
//!
//! The separator is found (comma, tab, semicolon or `|`), fields may be quoted, and the text is UTF-8 with or
//! without a byte order mark. Rows may be in any order: images are sorted by group and then by name, so that
//! a table gives the same manifest as another layout of the same images.
//! Each folder is listed once, and no file is opened or asked for one by one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base::{
    Task,
    names::quoted,
    records::{Record, Records},
    task::Factor,
    text,
};
use serde::{Deserialize, Serialize};

use super::{
    Context, Source, SourceError,
    grouping::{Grouping, NamePattern},
    samples::{Label, Sample, Samples, unit, verified},
};
use crate::{
    files::Files,
    findings::Findings,
    manifest::{Content, Manifest, Use},
};

/// `source = { kind = "table", csv = "...", images = "...", image = "id", label = "breed" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Table {
    /// The folder that `csv` and `images` start from; empty for the working directory.
    pub root: PathBuf,
    /// The table, with a header and a row for each image.
    pub csv: PathBuf,
    /// The folder of the images; empty for `root`.
    pub images: PathBuf,
    /// The column of the images' names: paths relative to `images`, with `/`, with or without ending.
    pub image: String,
    /// The column of the label, where there is one; its classes are sorted, as numbers where all are whole
    /// numbers.
    pub label: String,
    /// The label columns, where there are several, or the only one has settings: a factor each, the slowest
    /// first in the numbers of the joint classes.
    pub labels: Vec<LabelColumn>,
    /// What images of a group have in common, so that no split divides them: a column, or
    /// `{ regex = "..." }` on an image's name, whose first capture group, or else whole match, names the
    /// group; empty if images do not belong together.
    pub group: GroupBy,
    /// The column that states what an image is used for: `train`, `val` (or `valid`, `validation`) or `test`;
    /// empty if `data.split` decides. Without `val` in any row it decides among the `train` rows.
    pub split: String,
    /// The column of the sample weight in training, 0 or more; empty if all are 1.
    pub weight: String,
    /// Columns kept for reports, which have the scores of the images with each value; the column of a label may
    /// be one too.
    pub attributes: Vec<String>,
}

/// A label column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table such as { column = \"age\" }")]
pub struct LabelColumn {
    /// The column.
    pub column: String,
    /// The factor's name; empty if it is that of the column.
    pub name: String,
    /// For a column of numbers: the lowest number of each class after the first.
    pub cuts: Vec<f64>,
    /// The classes, in this order; empty if they are those found in the column, sorted, or the ranges between
    /// cuts.
    pub levels: Vec<String>,
}

/// How images are grouped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a column or { regex = \"...\" }")]
pub enum GroupBy {
    /// By a column.
    Column(String),
    /// By their names.
    Name(NamePattern),
}

impl Default for GroupBy {
    /// No groups.
    fn default() -> GroupBy {
        GroupBy::Column(String::new())
    }
}

impl Source for Table {
    fn list(&self, _: &Context<'_>) -> Result<(Manifest, Findings), SourceError> {
        let grouping = self.check().map_err(|it| SourceError::Settings(it.join("\n")))?;
        let path = self.root.join(&self.csv);
        let bytes = fs::read(&path).map_err(|source| SourceError::Io {
            path: path.clone(),
            source,
            remedy: "`data.source.csv` must be a table, CSV or TSV",
        })?;
        let images = self.root.join(&self.images);
        let files = Files::of(images.clone()).map_err(|source| SourceError::Io {
            path: images,
            source,
            remedy: "`data.source.images` must be the folder of the images",
        })?;
        let mut reading = Reading { table: self, files, samples: self.samples(grouping.is_some()) };
        reading.read(bytes, grouping.as_ref());
        let Reading { files, mut samples, .. } = reading;
        if samples.is_empty() {
            let findings = samples.findings;
            return Err(SourceError::Findings { root: self.folder().to_owned(), findings });
        }
        samples.notes.extend(files.unused_note());
        Ok(samples.build())
    }

    fn read(&self, context: &Context<'_>) -> Result<Manifest, SourceError> {
        let remedy = "replace the file, or remove its row";
        verified(self.folder(), self.list(context)?, remedy, context)
    }
}

impl Table {
    /// The folder that paths start from.
    fn folder(&self) -> &Path {
        if self.root.as_os_str().is_empty() { Path::new(".") } else { &self.root }
    }

    /// The label columns.
    fn columns(&self) -> Vec<LabelColumn> {
        match self.label.is_empty() {
            true => self.labels.clone(),
            false => vec![LabelColumn { column: self.label.clone(), ..LabelColumn::default() }],
        }
    }

    /// Checks the settings; returns the compiled expression of groups by name.
    ///
    /// # Errors
    /// Everything that is wrong with the settings.
    fn check(&self) -> Result<Option<Grouping>, Vec<String>> {
        let mut problems = Vec::new();
        let mut wrong =
            |it: &str, what: String| problems.push(format!("`data.source.{it}` {what}"));
        if self.csv.as_os_str().is_empty() {
            wrong("csv", "is empty: name the table, CSV or TSV".to_owned());
        }
        if self.image.is_empty() {
            wrong("image", "is empty: name the column of the images' names".to_owned());
        }
        match (self.label.is_empty(), self.labels.is_empty()) {
            (true, true) => wrong("label", "is empty: name the column of the label".to_owned()),
            (false, false) => {
                let what = "excludes `labels`: set `label` for one column, or `labels` for several";
                wrong("label", what.to_owned());
            }
            _ => {}
        }
        for (idx, it) in self.labels.iter().enumerate() {
            let at = format!("labels[{idx}]");
            let is_taken = self.labels[..idx].iter().any(|other| other.name() == it.name());
            if it.column.is_empty() {
                wrong(&at, "has no `column`: name the column of the label".to_owned());
            } else if is_taken {
                wrong(&at, format!("is another factor `{}`: set another `name`", it.name()));
            }
            it.problem().into_iter().for_each(|what| wrong(&at, what));
        }
        for (idx, it) in self.attributes.iter().enumerate() {
            if self.attributes[..idx].contains(it) {
                wrong("attributes", format!("has `{it}` twice: leave one out"));
            }
        }
        let grouping = match &self.group {
            GroupBy::Column(_) => None,
            GroupBy::Name(NamePattern { regex }) => {
                match Grouping::new(regex, "data.source.group.regex") {
                    Ok(it) => Some(it),
                    Err(problem) => {
                        problems.push(problem);
                        None
                    }
                }
            }
        };
        if problems.is_empty() { Ok(grouping) } else { Err(problems) }
    }

    /// Begins the table of samples.
    fn samples(&self, has_expression: bool) -> Samples {
        let factors = self.columns().iter().map(LabelColumn::factor).collect();
        let has_groups = has_expression || self.group != GroupBy::default();
        let attributes: Vec<&str> = self.attributes.iter().map(String::as_str).collect();
        Samples::new(Task { factors, unit: unit(has_groups) }, &attributes)
    }
}

impl LabelColumn {
    fn name(&self) -> &str {
        if self.name.is_empty() { &self.column } else { &self.name }
    }

    /// Returns what is wrong with the cuts and levels, if anything.
    fn problem(&self) -> Option<String> {
        let LabelColumn { cuts, levels, .. } = self;
        let is_cut = cuts.iter().all(|it| it.is_finite()) && cuts.is_sorted_by(|a, b| a < b);
        let taken = levels.iter().enumerate().find(|it| levels[..it.0].contains(it.1));
        match (is_cut, taken) {
            (false, _) => Some(format!("has the cuts {cuts:?}: they must increase")),
            (_, Some((_, level))) => Some(format!("has the level `{level}` twice")),
            _ if levels.iter().any(String::is_empty) => {
                Some("has a level without a name".to_owned())
            }
            _ if !cuts.is_empty() && !levels.is_empty() && levels.len() != cuts.len() + 1 => {
                let (n, wanted) = (levels.len(), cuts.len() + 1);
                Some(format!("needs {wanted} levels for its cuts, not {n}"))
            }
            _ => None,
        }
    }

    fn factor(&self) -> Factor {
        let levels = match (self.cuts.is_empty(), self.levels.is_empty()) {
            (false, true) => ranges(&self.cuts),
            _ => self.levels.clone(),
        };
        Factor { name: self.name().to_owned(), levels, cuts: self.cuts.clone() }
    }
}

/// Names the ranges between cuts: `<30`, `30-59`, `>=60` for whole numbers, otherwise `<0.5`, `0.5 to <1.5`,
/// `>=1.5`.
fn ranges(cuts: &[f64]) -> Vec<String> {
    let are_whole = cuts.iter().all(|it| it.fract() == 0.0);
    let between = |it: &[f64]| match (are_whole, it[1] - 1.0) {
        (true, last) if last == it[0] => last.to_string(),
        (true, last) => format!("{}-{last}", it[0]),
        (false, _) => format!("{} to <{}", it[0], it[1]),
    };
    let (first, last) = (cuts[0], cuts[cuts.len() - 1]);
    let ends = (format!("<{first}"), format!(">={last}"));
    [ends.0].into_iter().chain(cuts.windows(2).map(between)).chain([ends.1]).collect()
}

/// The columns of the table, by position.
struct Columns {
    image: usize,
    labels: Vec<usize>,
    group: Option<usize>,
    split: Option<usize>,
    weight: Option<usize>,
    attributes: Vec<usize>,
}

/// A table while its rows are read.
struct Reading<'a> {
    table: &'a Table,
    files: Files,
    samples: Samples,
}

impl Reading<'_> {
    /// Adds a sample for each row without problems.
    fn read(&mut self, bytes: Vec<u8>, grouping: Option<&Grouping>) {
        let csv = self.table.csv.display().to_string();
        let text = match text::decode(bytes) {
            Ok(it) => it,
            Err(it) => return self.samples.findings.add(csv, it.problem, it.remedy),
        };
        let records = Records::of(&text);
        let header = records.header();
        let Some(columns) = self.columns(&csv, &header) else { return };
        let mut n_rows = 0;
        for record in records.rows() {
            n_rows += 1;
            let place = || format!("{csv} line {}", record.line);
            if let Some(problem) = record.problem(&header) {
                self.samples.findings.add(place(), problem, "correct the row");
            } else if let Some(sample) = self.sample(&record, &columns, grouping, &place) {
                self.samples.add(sample);
            }
        }
        if n_rows == 0 {
            self.samples.findings.add(csv, "has no rows", "add a row for each image");
        }
    }

    /// Finds the columns in the header.
    fn columns(&mut self, csv: &str, header: &Record) -> Option<Columns> {
        let names: Vec<String> = header.fields.iter().map(str::to_owned).collect();
        let findings = &mut self.samples.findings;
        if names.iter().all(String::is_empty) {
            findings.add(csv, "is empty", "put a header and a row for each image there");
            return None;
        }
        if let [name] = names.as_slice() {
            let remedy = "separate columns by commas, tabs, semicolons or `|`";
            findings.add(csv, format!("has one column, `{name}`"), remedy);
            return None;
        }
        let mut is_whole = true;
        let mut column = |setting: &str, name: &str| {
            let n = names.iter().filter(|it| *it == name).count();
            let problem = match n {
                1 => return header.column(name).unwrap_or_default(),
                0 => format!("has no column `{name}`: its columns are {}", quoted(&names)),
                n => format!("has {n} columns `{name}`"),
            };
            is_whole = false;
            findings.add(
                csv,
                problem,
                &format!("name one of its columns in `data.source.{setting}`"),
            );
            0
        };
        let table = self.table;
        let image = column("image", &table.image);
        let setting = if table.label.is_empty() { "labels" } else { "label" };
        let labels = table.columns().iter().map(|it| column(setting, &it.column)).collect();
        let attributes = table.attributes.iter().map(|it| column("attributes", it)).collect();
        let mut optional =
            |setting: &str, name: &str| (!name.is_empty()).then(|| column(setting, name));
        let group = match &table.group {
            GroupBy::Column(it) => optional("group", it),
            GroupBy::Name(_) => None,
        };
        let (split, weight) = (optional("split", &table.split), optional("weight", &table.weight));
        is_whole.then_some(Columns { image, labels, group, split, weight, attributes })
    }

    /// Reads a row; adds everything that is wrong with it to the findings.
    fn sample(
        &mut self,
        record: &Record,
        columns: &Columns,
        grouping: Option<&Grouping>,
        place: &impl Fn() -> String,
    ) -> Option<Sample> {
        let Reading { files, samples, .. } = self;
        let fields = &record.fields;
        let image = files.find(&fields[columns.image], record.line);
        let image =
            image.map_err(|(problem, remedy)| samples.findings.add(place(), problem, remedy));
        let labels: Vec<Option<Label>> = columns
            .labels
            .iter()
            .enumerate()
            .map(|(factor, &column)| samples.label(factor, &fields[column], place))
            .collect();
        let weight = columns.weight.map_or(Some(1.0), |it| {
            let weight = fields[it].parse().ok().filter(|it: &f32| it.is_finite() && *it >= 0.0);
            if weight.is_none() {
                let problem = format!("the weight is `{}`", &fields[it]);
                samples.findings.add(place(), problem, "write a number that is 0 or more");
            }
            weight
        });
        let usage = columns.split.map_or(Some(Use::Pool), |it| {
            let usage = usage_of(&fields[it]);
            if usage.is_none() {
                let problem = format!("the split is `{}`", &fields[it]);
                samples.findings.add(place(), problem, "write `train`, `val` or `test`");
            }
            usage
        });
        let group = match (columns.group, grouping, &image) {
            (Some(it), ..) if fields[it].is_empty() => {
                samples.findings.add(place(), "the group is empty", "name the image's group");
                return None;
            }
            (Some(it), ..) => Some(samples.group(&fields[it])),
            (None, Some(grouping), Ok((name, _))) => match grouping.of(name) {
                Some(group) => Some(samples.group(group)),
                None => {
                    let problem = format!("`{name}` is not matched by `data.source.group.regex`");
                    samples.findings.add(place(), problem, "change the expression");
                    return None;
                }
            },
            _ => None,
        };
        let labels: Option<Vec<Label>> = labels.into_iter().collect();
        let ((name, path), labels) = (image.ok()?, labels?);
        let values = columns.attributes.iter().enumerate();
        let attributes = values.map(|(idx, &it)| samples.attribute(idx, &fields[it])).collect();
        let (usage, weight) = (usage?, weight?);
        let sample = Sample::new(name, Content::File(path), labels);
        Some(Sample { group, attributes, usage, weight, ..sample })
    }
}

/// Returns the use of a name in the split column.
fn usage_of(name: &str) -> Option<Use> {
    match name.to_ascii_lowercase().as_str() {
        "train" => Some(Use::Pool),
        "val" | "valid" | "validation" => Some(Use::Valid),
        "test" => Some(Use::Test),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
