//! CSV tables of predictions with the true labels, for example a run's `valid.csv` and `test.csv`.
//!
//! ```text
//! image,group,truth,predicted,<class names>
//! image,group,truth,predicted,number,predicted_number,<class names>    if a head predicts a number
//! ```
//!
//! `truth` and `predicted` are joint classes, by the task's own cuts; `number` is the true number, such as
//! an age, empty if unknown, and `predicted_number` the predicted one. The column `truth` distinguishes
//! these tables from those of `predict`, which have none.
//! Probabilities and predicted numbers have at most 9 significant digits, so metrics computed from a table may differ
//! from those that a run reports in the ninth digit; `predicted` is the class that the run submitted.
//!
//! Tables are written and read row by row: with 1,000,000 images and 1,000 classes a table is larger than
//! memory. [`Index`] reads the images, groups and labels of a table without the probabilities.

mod index;
mod reader;
mod row;
mod writer;

use std::path::{Path, PathBuf};

use base::Task;
use metrics::{Predictions, argmax};

pub use self::{
    index::{Index, Indexed},
    reader::{LabelledReader, TableError},
    row::Row,
    writer::LabelledWriter,
};

/// A whole table in memory, sorted by image name.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledPredictions {
    /// The name of each image.
    pub images: Vec<String>,
    /// The names of the groups: [`Predictions::groups`] contains positions in this list.
    pub groups: Vec<String>,
    /// The predictions with the true labels.
    pub predictions: Predictions,
}

impl LabelledPredictions {
    /// Reads a table.
    ///
    /// # Errors
    /// A file that is not such a table, or one of another task; the error names the line.
    pub fn open(path: &Path, task: &Task) -> Result<LabelledPredictions, TableError> {
        let index = Index::of(&[path.to_owned()], task)?;
        index.check()?;
        let Index { images, groups, .. } = index;
        let mut reader = LabelledReader::open(path, task)?;
        let (mut rows, mut row) = (Vec::with_capacity(images.len()), Row::default());
        while reader.next(&mut row)? {
            rows.push(std::mem::take(&mut row));
        }
        rows.sort_unstable_by(|a, b| a.image.cmp(&b.image));
        let numbers = rows.iter().map(|it| it.number).collect();
        let predicted = rows.iter().map(|it| it.predicted).collect();
        let probabilities = rows.into_iter().map(|it| it.probabilities).collect();
        let classes = images.iter().map(|it| it.class).collect();
        let persons = images.iter().map(|it| it.group).collect();
        let true_numbers = images.iter().map(|it| it.true_number).collect();
        let predictions = Predictions::new(task.clone(), probabilities, classes, persons);
        let predictions = predictions.with_numbers(numbers, true_numbers);
        let predictions = Predictions { predicted, ..predictions };
        let images = images.into_iter().map(|it| it.image).collect();
        Ok(LabelledPredictions { images, groups, predictions })
    }
}

/// Averages several tables of the same images in the same order, and calls `each` with every mean row.
///
/// # Errors
/// A damaged table, one with different images, or an error of `each`.
pub fn mean<E: From<TableError>>(
    tables: &[PathBuf],
    task: &Task,
    each: &mut dyn FnMut(&Row) -> Result<(), E>,
) -> Result<(), E> {
    let readers = tables.iter().map(|it| LabelledReader::open(it, task));
    let mut readers = readers.collect::<Result<Vec<_>, _>>()?;
    let n = readers.len() as f64;
    let (mut mean, mut row) = (Row::default(), Row::default());
    loop {
        let mut ended = None;
        for (table, reader) in readers.iter_mut().enumerate() {
            let is_over = !reader.next(&mut row)?;
            if *ended.get_or_insert(is_over) != is_over {
                return Err(reader
                    .damaged("it has a different number of images than the previous tables")
                    .into());
            }
            if is_over {
                continue;
            }
            if table == 0 {
                mean = Row { probabilities: vec![0.0; row.probabilities.len()], ..row.clone() };
                mean.number = Some(0.0);
            } else if mean.image != row.image {
                let what =
                    format!("`{}` is not `{}`, as in the previous tables", row.image, mean.image);
                return Err(reader.damaged(&what).into());
            }
            mean.probabilities.iter_mut().zip(&row.probabilities).for_each(|(it, p)| *it += p / n);
            mean.number = mean.number.zip(row.number).map(|(sum, own)| sum + own / n);
        }
        if ended != Some(false) {
            return Ok(());
        }
        mean.predicted = argmax(&mean.probabilities);
        each(&mean)?;
    }
}

#[cfg(test)]
mod tests;
