//! The table of pseudo-labels.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, BufReader, Read},
    path::Path,
};

use base::{
    Task,
    names::{choices, quoted},
    records::{Record, Records},
    table::number,
    task::Scope,
};

use crate::Findings;

/// The columns besides those of the labels, in their order.
const IMAGE: &str = "image";
const GROUP: &str = "group";
const CONFIDENCE: &str = "confidence";
const WEIGHT: &str = "weight";

/// The columns of a table of pseudo-labels.
pub struct PseudoTable {
    task: Task,
    /// The names of the joint classes.
    classes: Vec<String>,
}

/// A row that has been read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Its line in the file.
    pub(super) line: usize,
    pub(super) image: String,
    /// Empty where it is unknown.
    pub(super) group: String,
    /// The joint class; of a soft label the most probable one.
    pub(super) class: usize,
    /// The distribution over the joint classes; empty where the label is hard.
    pub(super) soft: Vec<f32>,
    pub(super) weight: f64,
}

/// The positions of the columns in a file.
struct Columns {
    image: usize,
    group: Option<usize>,
    confidence: Option<usize>,
    weight: Option<usize>,
    labels: Vec<usize>,
    is_soft: bool,
}

/// The largest header: of 100,000 classes with names of 160 characters.
const HEADER: u64 = 1 << 24;
/// A sum of probabilities that deviates from 1 by more is not rounding.
const TOLERANCE: f64 = 1e-3;

impl PseudoTable {
    /// Returns the columns for a task.
    ///
    /// # Errors
    /// A factor or a class that is called like one of the other columns.
    pub fn new(task: &Task) -> Result<PseudoTable, String> {
        let classes = task.class_names(Scope::Joint);
        let factors = task.factors.iter().map(|it| &it.name);
        let taken = [IMAGE, GROUP, CONFIDENCE, WEIGHT];
        match factors.chain(&classes).find(|it| taken.contains(&it.as_str())) {
            None => Ok(PseudoTable { task: task.clone(), classes }),
            Some(name) => Err(format!(
                "a table of pseudo-labels has a column `{name}` of its own: rename the factor or class"
            )),
        }
    }

    /// Whether a file is such a table, of any task, by its first and its last columns.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn is_own<R: Read>(file: R) -> io::Result<bool> {
        let mut line = Vec::new();
        BufReader::new(file).take(HEADER).read_until(b'\n', &mut line)?;
        let header = line.trim_ascii_end();
        let [begin, end] = [format!("{IMAGE},{GROUP},"), format!(",{CONFIDENCE},{WEIGHT}")];
        Ok(header.starts_with(begin.as_bytes()) && header.ends_with(end.as_bytes()))
    }

    /// Returns the names of the columns.
    pub fn header(&self, is_soft: bool) -> Vec<String> {
        let labels = self.labels(is_soft);
        let names = [IMAGE, GROUP].into_iter().chain(labels.iter().map(String::as_str));
        names.chain([CONFIDENCE, WEIGHT]).map(str::to_owned).collect()
    }

    /// Returns the row of an image, with weight 1.
    ///
    /// - `group`: the group of the data that it belongs to; empty for none.
    /// - `class`: the predicted class, with its probability.
    /// - `probabilities`: of all classes, where labels are soft.
    pub fn row(
        &self,
        is_soft: bool,
        image: &str,
        group: &str,
        class: usize,
        confidence: f64,
        probabilities: &[f64],
    ) -> Vec<String> {
        let mut row = vec![image.to_owned(), group.to_owned()];
        match is_soft {
            true => row.extend(probabilities.iter().map(|&it| number(it))),
            false => {
                let levels = self.task.levels_of(class).into_iter().zip(&self.task.factors);
                row.extend(levels.map(|(level, factor)| factor.levels[level].clone()));
            }
        }
        row.extend([number(confidence), "1".to_owned()]);
        row
    }

    fn labels(&self, is_soft: bool) -> Vec<String> {
        match is_soft {
            true => self.classes.clone(),
            false => self.task.factors.iter().map(|it| it.name.clone()).collect(),
        }
    }

    /// Reads the rows that have no problem; adds the others to `findings`.
    pub(super) fn read(&self, text: &str, findings: &mut Findings) -> Vec<Row> {
        // Spaces may be part of a file's name.
        let records = Records::of(text).untrimmed();
        let header = records.header();
        let Some(columns) = self.columns(&header, findings) else { return Vec::new() };
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut rows = Vec::new();
        for record in records.rows() {
            let place = || format!("line {}", record.line);
            if let Some(problem) = record.problem(&header) {
                findings.add(place(), problem, "correct the row, or remove it");
                continue;
            }
            let mut problems = Vec::new();
            let row = self.row_of(&record, &columns, &mut problems);
            if let Some(earlier) = lines.insert(row.image.clone(), row.line) {
                problems.push(format!("`{}` is in line {earlier} already", row.image));
            }
            for problem in &problems {
                findings.add(place(), problem, "correct the row, or remove it");
            }
            if problems.is_empty() {
                rows.push(row);
            }
        }
        if lines.is_empty() && findings.0.is_empty() {
            findings.add(
                "the table",
                "has no rows",
                "take more images, with a lower `--threshold`",
            );
        }
        rows
    }

    /// Finds the columns of a table.
    fn columns(&self, header: &Record, findings: &mut Findings) -> Option<Columns> {
        let positions = |is_soft| -> Option<Vec<usize>> {
            self.labels(is_soft).iter().map(|it| header.column(it)).collect()
        };
        let hard = positions(false);
        let labels = hard.clone().or_else(|| positions(true));
        let (Some(image), Some(labels)) = (header.column(IMAGE), labels) else {
            let [factors, classes] = [false, true].map(|it| quoted(self.labels(it)));
            let problem = format!(
                "this is not a table of pseudo-labels for this data: it has no column `{IMAGE}`, or not all of \
                 the factors {factors} (hard labels) or of the classes {classes} (soft labels)"
            );
            findings.add("line 1", problem, "write it with `maskfit pseudo`");
            return None;
        };
        Some(Columns {
            image,
            group: header.column(GROUP),
            confidence: header.column(CONFIDENCE),
            weight: header.column(WEIGHT),
            labels,
            is_soft: hard.is_none(),
        })
    }

    /// Reads a row.
    fn row_of(&self, record: &Record, columns: &Columns, problems: &mut Vec<String>) -> Row {
        let field = |at: usize| &record.fields[at];
        let image = field(columns.image).to_owned();
        if image.is_empty() {
            problems.push("`image` is empty".to_owned());
        } else if Path::new(&image).is_absolute() {
            problems.push(format!("`{image}` is not relative to the folder of the images"));
        }
        let mut share = |name: &str, text: &str| {
            let share = text.trim().parse().ok().filter(|it: &f64| (0.0..=1.0).contains(it));
            if share.is_none() {
                problems.push(format!("`{name}` is `{text}`, which is not a number from 0 to 1"));
            }
            share
        };
        if let Some(at) = columns.confidence {
            share(CONFIDENCE, field(at));
        }
        let weight = columns.weight.and_then(|at| share(WEIGHT, field(at))).unwrap_or(1.0);
        let (class, soft) = match columns.is_soft {
            true => {
                let named = columns.labels.iter().zip(&self.classes);
                let read: Vec<Option<f64>> =
                    named.map(|(&at, name)| share(name, field(at))).collect();
                let p: Vec<f64> = read.iter().copied().flatten().collect();
                let sum: f64 = p.iter().sum();
                if p.len() == read.len() && (sum - 1.0).abs() > TOLERANCE {
                    problems.push(format!("the probabilities sum to {}, not to 1", number(sum)));
                }
                let best = (0..p.len()).rev().max_by(|&a, &b| p[a].total_cmp(&p[b]));
                (best.unwrap_or(0), p.iter().map(|it| (it / sum) as f32).collect())
            }
            false => {
                let mut levels = Vec::new();
                for (&at, factor) in columns.labels.iter().zip(&self.task.factors) {
                    let text = field(at);
                    match factor.levels.iter().position(|it| it == text) {
                        Some(level) => levels.push(level),
                        None => problems.push(format!(
                            "`{}` is `{text}`, which is not one of {}",
                            factor.name,
                            choices(&factor.levels)
                        )),
                    }
                }
                let is_whole = levels.len() == self.task.factors.len();
                (if is_whole { self.task.class_of(&levels) } else { 0 }, Vec::new())
            }
        };
        let group = columns.group.map_or("", field).to_owned();
        Row { line: record.line, image, group, class, soft, weight }
    }
}
