//! Writes a table of predictions with true labels row by row.

use std::io::{self, Write};

use base::{
    Task,
    table::{Table, number},
    task::Scope,
};
use metrics::Prediction;

use super::row::{COLUMNS, NUMBERS};

/// Writes a table of predictions with true labels row by row.
pub struct LabelledWriter<W: Write> {
    /// Created with the first row, which determines whether there are columns for a number.
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
    fn begun(&mut self, has_numbers: bool) -> io::Result<&mut Table<W>> {
        if let Some(out) = self.out.take() {
            let numbers = if has_numbers { &NUMBERS[..] } else { &[] };
            let columns = COLUMNS.iter().chain(numbers).copied();
            let header = columns.chain(self.classes.iter().map(String::as_str));
            self.table = Some(Table::begin(out, header)?);
        }
        Ok(self.table.as_mut().expect("the header is written"))
    }

    /// Writes a row.
    ///
    /// # Errors
    /// I/O errors; or a row with a predicted number after rows without, or the reverse.
    pub fn row(&mut self, image: &str, group: &str, it: &Prediction<'_>) -> io::Result<()> {
        let mut fields = vec![image.to_owned(), group.to_owned()];
        fields.extend([it.class, it.predicted].map(|it| it.to_string()));
        if let Some(predicted) = it.number {
            let truth = it.true_number.map(|it| it.to_string());
            fields.extend([truth.unwrap_or_default(), number(predicted)]);
        }
        fields.extend(it.probabilities.iter().map(|&it| number(it)));
        self.begun(it.number.is_some())?.row(fields)
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
