//! Writes a table of predictions with true labels row by row.

use std::io::{self, Write};

use base::{
    Task,
    table::{Table, number},
    task::Scope,
};
use metrics::Prediction;

use super::row::{COLUMNS, YEARS};

/// Writes a table of predictions with true labels row by row.
pub struct LabelledWriter<W: Write> {
    /// Created with the first row, which determines whether there are columns for the age.
    table: Option<Table<W>>,
    out: Option<W>,
    classes: Vec<String>,
}

impl<W: Write> LabelledWriter<W> {
    /// Creates a writer of a table without rows.
    pub fn new(out: W, task: &Task) -> LabelledWriter<W> {
        LabelledWriter { table: None, out: Some(out), classes: task.class_names(Scope::Joint) }
    }

    /// Returns the table; writes the header first if it is not written yet.
    fn begun(&mut self, has_years: bool) -> io::Result<&mut Table<W>> {
        if let Some(out) = self.out.take() {
            let years = if has_years { &YEARS[..] } else { &[] };
            let columns = COLUMNS.iter().chain(years).copied();
            let header = columns.chain(self.classes.iter().map(String::as_str));
            self.table = Some(Table::begin(out, header)?);
        }
        Ok(self.table.as_mut().expect("the header is written"))
    }

    /// Writes a row.
    ///
    /// # Errors
    /// I/O errors; or a row with a predicted age after rows without, or the reverse.
    pub fn row(&mut self, image: &str, person: &str, it: &Prediction<'_>) -> io::Result<()> {
        let mut fields = vec![image.to_owned(), person.to_owned()];
        fields.extend([it.class, it.predicted].map(|it| it.to_string()));
        if let Some(years) = it.years {
            let age = it.age.map(|it| it.to_string());
            fields.extend([age.unwrap_or_default(), number(years)]);
        }
        fields.extend(it.probabilities.iter().map(|&it| number(it)));
        self.begun(it.years.is_some())?.row(fields)
    }

    /// Flushes the table and returns `out`.
    ///
    /// # Errors
    /// I/O errors.
    pub fn finish(mut self) -> io::Result<W> {
        self.begun(false)?;
        self.table.expect("the header is written").finish()
    }
}
