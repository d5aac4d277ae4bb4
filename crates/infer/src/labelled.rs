//! Predictions beside the truth, as a table: what a run predicts for people whose labels are known.
//!
//! ```text
//! image,person,truth,predicted,<class names>
//! image,person,truth,predicted,age,years,<class names>    where a head says years
//! ```
//!
//! `truth` and `predicted` are joint classes by the task's own cuts; `age` is empty where it is not
//! known. The column `truth` tells such a table from one of `predict`, which knows none.
//! Probabilities and years have at most 9 significant digits, so that what is scored from a table may
//! differ from what a run has reported in the ninth; `predicted` is what the run has submitted.
//!
//! Tables are written and read row by row: with 1,000,000 images and 1,000 classes a table is larger than
//! memory. What a table is of (names, people, labels) is read without its probabilities, by [`Index`].

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

/// A whole table in memory, in the order of the images' names.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledPredictions {
    /// The name of each image.
    pub images: Vec<String>,
    /// What the people are called that [`Predictions::people`] numbers, in order.
    pub people: Vec<String>,
    /// The predictions and the truth.
    pub predictions: Predictions,
}

impl LabelledPredictions {
    /// Reads a table.
    ///
    /// # Errors
    /// A file that is no such table, or one of another task; says where.
    pub fn open(path: &Path, task: &Task) -> Result<LabelledPredictions, TableError> {
        let index = Index::of(&[path.to_owned()], task)?;
        index.check()?;
        let Index { images, people, .. } = index;
        let mut reader = LabelledReader::open(path, task)?;
        let (mut rows, mut row) = (Vec::with_capacity(images.len()), Row::default());
        while reader.next(&mut row)? {
            rows.push(std::mem::take(&mut row));
        }
        rows.sort_unstable_by(|a, b| a.image.cmp(&b.image));
        let years = rows.iter().map(|it| it.years).collect();
        let predicted = rows.iter().map(|it| it.predicted).collect();
        let probabilities = rows.into_iter().map(|it| it.probabilities).collect();
        let classes = images.iter().map(|it| it.class).collect();
        let persons = images.iter().map(|it| it.person).collect();
        let ages = images.iter().map(|it| it.age).collect();
        let predictions = Predictions::new(task.clone(), probabilities, classes, persons);
        let predictions = Predictions { predicted, ..predictions.with_years(years, ages) };
        let images = images.into_iter().map(|it| it.image).collect();
        Ok(LabelledPredictions { images, people, predictions })
    }
}

/// The mean of several tables of the same images in the same order, row by row.
///
/// # Errors
/// A damaged table, one of other images, or what `each` says.
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
                    .damaged("it has another number of images than those before")
                    .into());
            }
            if is_over {
                continue;
            }
            if table == 0 {
                mean = Row { probabilities: vec![0.0; row.probabilities.len()], ..row.clone() };
                mean.years = Some(0.0);
            } else if mean.image != row.image {
                let what = format!("`{}` is not `{}`, as before", row.image, mean.image);
                return Err(reader.damaged(&what).into());
            }
            mean.probabilities.iter_mut().zip(&row.probabilities).for_each(|(it, p)| *it += p / n);
            mean.years = mean.years.zip(row.years).map(|(sum, own)| sum + own / n);
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
