//! Reads the predictions that a report is about, row by row.

use std::collections::HashMap;

use infer::{LabelledReader, Row};
use metrics::Predictions;
use report::{Collected, Collector};

use super::found::Found;

/// The predictions of a table.
pub(super) struct Read {
    pub(super) collected: Collected,
    /// The names of the images, in the order of the table.
    pub(super) images: Vec<String>,
    /// The names of the groups, by their numbers.
    pub(super) groups: Vec<String>,
    /// Every probability, for label errors; `None` if there are too many.
    pub(super) predictions: Option<Predictions>,
}

/// The largest number of probabilities that are kept: those of 20,000 images and 1,000 classes.
const MOST: usize = 20_000_000;

pub(super) fn read(found: &Found) -> anyhow::Result<Read> {
    let mut reader = LabelledReader::open(&found.table, &found.task)?;
    let mut collector = Collector::new(&found.task);
    let (mut images, mut groups) = (Vec::new(), Vec::new());
    let mut number_of: HashMap<String, usize> = HashMap::new();
    let (mut kept, mut classes, mut of_groups, mut predicted) =
        (Some(Vec::new()), Vec::new(), Vec::new(), Vec::new());
    let mut row = Row::default();
    while reader.next(&mut row)? {
        let group = match number_of.get(&row.group) {
            Some(&it) => it,
            None => {
                number_of.insert(row.group.clone(), groups.len());
                groups.push(row.group.clone());
                groups.len() - 1
            }
        };
        collector.add(&row.prediction(group));
        images.push(row.image.clone());
        if images.len().saturating_mul(found.task.n_classes()) > MOST {
            kept = None;
        }
        if let Some(all) = &mut kept {
            all.push(row.probabilities.clone());
            classes.push(row.class);
            of_groups.push(group);
            predicted.push(row.predicted);
        }
    }
    let predictions = kept.map(|probabilities| {
        let it = Predictions::new(found.task.clone(), probabilities, classes, of_groups);
        Predictions { predicted, ..it }
    });
    Ok(Read { collected: collector.finish(), images, groups, predictions })
}
