//! Writes such a table row by row.

use std::io::{self, Write};

use base::{
    Task,
    table::{Table, number},
    task::Scope,
};
use metrics::Prediction;

use super::row::{COLUMNS, YEARS};

/// Writes such a table row by row.
pub struct LabelledWriter<W: Write> {
    /// Begins with the first row, which tells whether there are years.
    table: Option<Table<W>>,
    out: Option<W>,
    classes: Vec<String>,
}

impl<W: Write> LabelledWriter<W> {
    /// A table without rows so far.
    pub fn new(out: W, task: &Task) -> LabelledWriter<W> {
        LabelledWriter { table: None, out: Some(out), classes: task.class_names(Scope::Joint) }
    }

    fn begun(&mut self, has_years: bool) -> io::Result<&mut Table<W>> {
        if let Some(out) = self.out.take() {
            let years = if has_years { &YEARS[..] } else { &[] };
            let columns = COLUMNS.iter().chain(years).copied();
            let header = columns.chain(self.classes.iter().map(String::as_str));
            self.table = Some(Table::begin(out, header)?);
        }
        Ok(self.table.as_mut().expect("it has begun"))
    }

    /// Adds a row.
    ///
    /// # Errors
    /// What `out` says; or a row with years among rows without.
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

    /// Hands everything on, and gives `out` back.
    ///
    /// # Errors
    /// What `out` says.
    pub fn finish(mut self) -> io::Result<W> {
        self.begun(false)?;
        self.table.expect("it has begun").finish()
    }
}
