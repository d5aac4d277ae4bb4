//! A submission: a row for each test image, with the rows and columns of a competition's sample file. One file
//! per kind.
//!
//! Ids and columns are checked before an image is predicted, and each row before it is written, so that a
//! file that the competition would refuse is never written. Class names are those of the bundle.

mod classes;
mod columns;
mod factors;
mod probabilities;
mod sample;

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::Task;
use data::{Content, Finding, Findings};

pub use self::sample::SubmissionError;
use self::{
    columns::{Column, Header},
    sample::TestImages,
};
use crate::predictor::Prediction;

base::choice! {
    /// `[submit]`
    pub enum SubmitConfig: dyn Submit {
        /// The class of each image: its index, or its name.
        "classes" => Classes(classes::Classes),
        /// The probabilities of each image: a column for each class, by name.
        "probabilities" => Probabilities(probabilities::Probabilities),
        /// The level of each factor: a column for each factor, and one for the number of a numeric factor.
        "factors" => Factors(factors::Factors),
    }
}

/// What a submission contains of each image.
pub trait Submit {
    /// Returns the columns, without that of the ids, in the order of [`Submit::fields`].
    ///
    /// - `number`: the factor whose number is predicted.
    fn columns(&self, task: &Task, number: Option<usize>) -> Vec<Column>;

    /// Returns the fields of an image, whose prediction is finite.
    ///
    /// # Errors
    /// Why the prediction cannot be submitted.
    fn fields(
        &self,
        task: &Task,
        number: Option<usize>,
        prediction: &Prediction,
    ) -> Result<Vec<String>, String>;

    /// Returns the problem with the settings, if any.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Returns a remark for the user on what the settings mean for this task, if there is one.
    fn note(&self, _: &Task) -> Option<String> {
        None
    }
}

/// A checked submission, whose rows are yet to be predicted.
pub struct Submission {
    /// The id of each image, in the order of the rows, and its content.
    pub images: Arc<[(String, Content)]>,
    /// The sample file, or the folder of the images where there is none.
    pub place: PathBuf,
    /// Remarks for the user.
    pub notes: Vec<String>,
    config: SubmitConfig,
    task: Task,
    number: Option<usize>,
    header: Vec<String>,
    /// The field in each column; `None` for the id.
    order: Vec<Option<usize>>,
}

impl Submission {
    /// Reads and checks the ids and columns of a submission.
    ///
    /// - `number`: the factor whose number is predicted.
    /// - `root`: the folder of the images.
    /// - `sample`: the sample file; `None` to look for one (`maskfit submit --help` documents where).
    ///
    /// # Errors
    /// Everything that is wrong with the sample file or the folder.
    pub fn new(
        config: &SubmitConfig,
        task: &Task,
        number: Option<usize>,
        root: &Path,
        sample: Option<&Path>,
    ) -> Result<Submission, SubmissionError> {
        let TestImages { images, header, place, findings: rows, mut notes } =
            TestImages::find(root, sample)?;
        let mut findings = Findings::default();
        let columns = config.get().columns(task, number);
        let order: Vec<Option<usize>> = match header.names.len() {
            // Only ids: the other columns are as usual.
            1 => std::iter::once(None).chain((0..columns.len()).map(Some)).collect(),
            _ => order(config, task, number, &header).unwrap_or_else(|them| {
                findings.0 = them;
                Vec::new()
            }),
        };
        findings.0.extend(rows.0);
        if !findings.0.is_empty() {
            return Err(SubmissionError::Findings { root: place, findings });
        }
        let mut names = header.names;
        if names.len() == 1 {
            names.extend(columns.into_iter().map(|it| it.name));
        }
        notes.extend(config.get().note(task));
        let (config, task) = (config.clone(), task.clone());
        let (images, header) = (images.into(), names);
        Ok(Submission { images, place, notes, config, task, number, header, order })
    }

    /// Returns the names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Whether a file is a submission for the same images: it has these columns, and these ids in this order. The
    /// sample file is one as well.
    pub fn is_own(&self, file: impl Read) -> bool {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
        let has_columns =
            reader.headers().is_ok_and(|it| it.iter().eq(self.header.iter().map(String::as_str)));
        let Some(id) = self.order.iter().position(Option::is_none) else { return false };
        let mut ids = self.images.iter().map(|it| it.0.as_str());
        let is_next = |row: Result<csv::StringRecord, csv::Error>| {
            row.is_ok_and(|it| it.get(id).is_some_and(|it| ids.next() == Some(it)))
        };
        let has_ids = has_columns && reader.records().all(is_next);
        has_ids && ids.next().is_none()
    }

    /// Returns the row of an image.
    ///
    /// # Errors
    /// A prediction that cannot be submitted.
    pub fn row(
        &self,
        image: &str,
        prediction: &Prediction,
    ) -> Result<Vec<String>, SubmissionError> {
        let mut numbers = prediction.probabilities.iter().chain(&prediction.number);
        let fields = match numbers.all(|it| it.is_finite()) {
            true => self.config.get().fields(&self.task, self.number, prediction),
            false => Err("its prediction is not finite (NaN or infinite)".to_owned()),
        };
        let fields =
            fields.map_err(|reason| SubmissionError::Row { image: image.to_owned(), reason })?;
        let field = |at: &Option<usize>| at.map_or(image, |it| fields[it].as_str()).to_owned();
        Ok(self.order.iter().map(field).collect())
    }
}

/// Returns the field in each column of a sample file; `None` for that of the ids.
///
/// # Errors
/// Everything that is wrong with the columns; where they are those of another kind, that.
fn order(
    config: &SubmitConfig,
    task: &Task,
    number: Option<usize>,
    header: &Header,
) -> Result<Vec<Option<usize>>, Vec<Finding>> {
    let order = |it: &SubmitConfig| header.order(&it.get().columns(task, number), it.kind());
    order(config).map_err(|findings| {
        let other = SubmitConfig::zoo().into_iter().find(|it| order(&it.1).is_ok());
        other.map_or(findings, |(kind, _)| {
            let own = config.kind();
            vec![Finding {
                place: "header".to_owned(),
                problem: format!("the columns are those of the kind `{kind}`, not of `{own}`"),
                remedy: format!("set `submit.kind=\"{kind}\"`, or name another sample file"),
            }]
        })
    })
}

#[cfg(test)]
mod tests;
