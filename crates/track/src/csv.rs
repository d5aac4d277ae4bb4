//! `metrics.csv`: one row per step, one column per metric, empty where a step has no value.

use std::fs::{self, File};

use base::{StepLog, table};
use serde::{Deserialize, Serialize};

use crate::{About, Track, TrackError, Tracker, at};

/// `{ kind = "csv" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Csv {}

struct Table {
    lines: StepLog,
    columns: Vec<String>,
}

const NAME: &str = "metrics.csv";

fn header(columns: &[String]) -> String {
    table::line(std::iter::once("step").chain(columns.iter().map(String::as_str)))
}

/// Reads the metrics logged up to `about.step`, by name; empty if there is no table with these columns.
pub(crate) fn before(about: &About<'_>) -> Vec<(usize, Vec<(String, f64)>)> {
    let text = fs::read_to_string(about.dir.join(NAME)).unwrap_or_default();
    let Some((first, rows)) = text.split_once('\n') else { return Vec::new() };
    if first != header(about.columns) {
        return Vec::new();
    }
    let row = |row: &str| {
        let (step, cells) = row.split_once(',')?;
        let named = about.columns.iter().zip(cells.split(','));
        let values = named.filter_map(|(name, it)| Some((name.clone(), it.parse().ok()?)));
        Some((step.parse().ok()?, values.collect()))
    };
    rows.lines().filter_map(row).filter(|(step, _)| *step <= about.step).collect()
}

impl Track for Csv {
    fn open(&self, about: &About<'_>) -> Result<Box<dyn Tracker>, TrackError> {
        let path = about.dir.join(NAME);
        let header = header(about.columns);
        let lines = StepLog::open(&path, Some(&header), about.step).map_err(at(&path))?;
        Ok(Box::new(Table { lines, columns: about.columns.to_vec() }))
    }
}

impl Tracker for Table {
    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), TrackError> {
        let cell = |column: &String| {
            let value = values.iter().find(|(name, _)| name == column);
            value.map_or(String::new(), |(_, it)| it.to_string())
        };
        let row = std::iter::once(step.to_string()).chain(self.columns.iter().map(cell));
        self.lines.add(&table::line(row)).map_err(at(self.lines.path()))
    }

    fn table(&self) -> Option<File> {
        self.lines.file().ok()
    }
}
