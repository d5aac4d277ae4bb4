//! `metrics.csv`: a row for each step, a column for each number, empty where a step has none.

use std::fs::File;

use base::Lines;
use serde::{Deserialize, Serialize};

use crate::{About, Track, TrackError, Tracker, at};

/// `{ kind = "csv" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Csv {}

struct Table {
    lines: Lines,
    columns: Vec<String>,
}

impl Track for Csv {
    fn open(&self, about: &About<'_>) -> Result<Box<dyn Tracker>, TrackError> {
        let path = about.dir.join("metrics.csv");
        let header = format!("step,{}", about.columns.join(","));
        let lines = Lines::open(&path, Some(&header), about.step).map_err(at(&path))?;
        Ok(Box::new(Table { lines, columns: about.columns.to_vec() }))
    }
}

impl Tracker for Table {
    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), TrackError> {
        let mut row = step.to_string();
        for column in &self.columns {
            let value = values.iter().find(|(name, _)| name == column);
            row += &value.map_or(",".to_owned(), |(_, it)| format!(",{it}"));
        }
        self.lines.add(&row).map_err(at(self.lines.path()))
    }

    fn table(&self) -> Option<File> {
        self.lines.file().ok()
    }
}
