//! `metrics.jsonl`: one JSON object per step, with the metrics logged at that step.
//!
//! JSON has neither infinities nor NaN: both are written as `null`.

use std::fs::File;

use base::StepLog;
use serde::{Deserialize, Serialize};

use crate::{About, Track, TrackError, Tracker, at};

/// `{ kind = "jsonl" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jsonl {}

struct Objects(StepLog);

impl Track for Jsonl {
    fn open(&self, about: &About<'_>) -> Result<Box<dyn Tracker>, TrackError> {
        let path = about.dir.join("metrics.jsonl");
        Ok(Box::new(Objects(StepLog::open(&path, None, about.step).map_err(at(&path))?)))
    }
}

impl Tracker for Objects {
    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), TrackError> {
        let mut line = format!("{{\"step\":{step}");
        for (name, value) in values {
            line += &format!(",{}:{}", serde_json::json!(name), serde_json::json!(value));
        }
        self.0.add(&(line + "}")).map_err(at(self.0.path()))
    }

    fn table(&self) -> Option<File> {
        self.0.file().ok()
    }
}
