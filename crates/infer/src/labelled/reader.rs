//! Reads a table of predictions with true labels row by row.

use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    ops::Range,
    path::{Path, PathBuf},
};

use base::{Task, task::Scope};

use super::row::{COLUMNS, NUMBERS, Row};

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The table.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not such a table, or is one of another task.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The table.
        path: PathBuf,
        /// The line, and what is wrong.
        reason: String,
    },
}

/// How far the sum of a row's probabilities may be from 1: they are written with nine digits.
const TOLERANCE: f64 = 1e-3;
/// The number of rows that an error lists.
const SHOWN: usize = 5;

/// Returns why numbers are not the probabilities of the joint classes, if they are not. Those of each factor are
/// their sums, so they need no check of their own.
fn improbable(numbers: &[f64]) -> Option<String> {
    if let Some(it) = numbers.iter().find(|it| !(0.0..=1.0).contains(*it)) {
        return Some(format!("`{it}` is not a probability from 0 to 1"));
    }
    let sum: f64 = numbers.iter().sum();
    let is_other = !numbers.is_empty() && (sum - 1.0).abs() > TOLERANCE;
    is_other.then(|| format!("the probabilities sum to {}, not 1", (sum * 1e4).round() / 1e4))
}

/// Reads a table of predictions with true labels row by row.
pub struct LabelledReader {
    path: PathBuf,
    reader: csv::Reader<File>,
    record: csv::StringRecord,
    n_classes: usize,
    n_columns: usize,
    has_numbers: bool,
}

/// The size of the read buffer, in bytes.
pub(super) const BUFFER: usize = 1 << 18;

impl LabelledReader {
    /// Opens a table of a task.
    ///
    /// # Errors
    /// A file that is not such a table, or one of another task.
    pub fn open(path: &Path, task: &Task) -> Result<LabelledReader, TableError> {
        let io = |source| TableError::Io { path: path.to_owned(), source };
        let damaged =
            |reason: &str| TableError::Damaged { path: path.to_owned(), reason: reason.to_owned() };
        let file = File::open(path).map_err(io)?;
        let mut reader =
            csv::ReaderBuilder::new().buffer_capacity(BUFFER).flexible(true).from_reader(file);
        let header = reader.headers().map_err(|err| damaged(&err.to_string()))?;
        let (n_columns, line) = (header.len(), line_of(path, 0));
        let header: Vec<&str> = header.iter().collect();
        let classes = task.class_names(Scope::Joint);
        let n_leading = header.len().saturating_sub(classes.len());
        let (leading, named) = header.split_at(n_leading);
        if leading.starts_with(&["image", "predicted"]) {
            return Err(damaged(
                "this table has no column `truth` (those of `predict` and of earlier versions have \
                 none): name a run's valid.csv, test.csv or oof.csv",
            ));
        }
        let has_numbers = leading == [&COLUMNS[..], &NUMBERS[..]].concat();
        if !has_numbers && leading != COLUMNS {
            let columns = COLUMNS.join(",");
            return Err(damaged(&format!(
                "line {line}: the columns must be {columns}, followed by the classes"
            )));
        }
        if named != classes {
            return Err(damaged(&format!("line {line}: the classes differ from the task's")));
        }
        Ok(LabelledReader {
            path: path.to_owned(),
            n_classes: classes.len(),
            n_columns,
            has_numbers,
            record: csv::StringRecord::new(),
            reader,
        })
    }

    /// Returns whether the table has predicted numbers.
    pub fn has_numbers(&self) -> bool {
        self.has_numbers
    }

    /// Reads the next row; returns whether there was one.
    ///
    /// # Errors
    /// A damaged row; the error names the line. One whose numbers are not probabilities is an error that counts
    /// the other such rows of the table too.
    pub fn next(&mut self, row: &mut Row) -> Result<bool, TableError> {
        let is_row = self.advance(row, true)?;
        match improbable(&row.probabilities).filter(|_| is_row) {
            None => Ok(is_row),
            Some(what) => Err(self.all_improbable(row, what)),
        }
    }

    /// Returns the error of a table in which rows are not probabilities, after reading the rest of it.
    ///
    /// - `row`, `what`: the first such row, which was read last, and what is wrong with it.
    fn all_improbable(&mut self, row: &mut Row, what: String) -> TableError {
        let (mut shown, mut n) = (Vec::new(), 0_usize);
        let mut next = Some(what);
        loop {
            if let Some(what) = next.take() {
                n += 1;
                if shown.len() < SHOWN {
                    let begin = self.record.position().map_or(0, csv::Position::byte);
                    shown.push(format!("line {}: {what}", line_of(&self.path, begin)));
                }
            }
            // Other damage is reported once these rows are mended.
            match self.advance(row, true) {
                Ok(true) => next = improbable(&row.probabilities),
                _ => break,
            }
        }
        let more = match n - shown.len() {
            0 => String::new(),
            more => format!("; and {more} more, {n} rows in all"),
        };
        let reason = format!(
            "{}{more}: the table was changed or is damaged: make it anew, that of a cross-validation with \
             `maskfit kfold join`, of an ensemble with `maskfit ensemble`, and of a run or a fold with \
             `maskfit evaluate`",
            shown.join("; ")
        );
        TableError::Damaged { path: self.path.clone(), reason }
    }

    /// Like [`LabelledReader::next`] without the probabilities, in a fraction of the time.
    ///
    /// # Errors
    /// As [`LabelledReader::next`]; invalid probabilities are not detected.
    pub fn next_label(&mut self, row: &mut Row) -> Result<bool, TableError> {
        self.advance(row, false)
    }

    fn advance(&mut self, row: &mut Row, with_probabilities: bool) -> Result<bool, TableError> {
        let read = self.reader.read_record(&mut self.record);
        let wrong = |reason: String| self.damaged(&reason);
        if !read.map_err(|err| wrong(err.to_string()))? {
            return Ok(false);
        }
        let record = &self.record;
        if record.len() != self.n_columns {
            let n = record.len();
            let fields = if n == 1 { "field" } else { "fields" };
            return Err(wrong(format!("has {n} {fields}, but the header has {}", self.n_columns)));
        }
        let parsed = |at: usize| -> Result<f64, TableError> {
            let field = &record[at];
            field.parse().map_err(|_| wrong(format!("`{field}` is not a finite number")))
        };
        let number = |at: usize| -> Result<f64, TableError> {
            let not_finite = || wrong(format!("`{}` is not a finite number", &record[at]));
            Some(parsed(at)?).filter(|it| it.is_finite()).ok_or_else(not_finite)
        };
        let class = |at: usize| -> Result<usize, TableError> {
            let class = record[at].parse().ok().filter(|&it: &usize| it < self.n_classes);
            class.ok_or_else(|| wrong(format!("`{}` is not a class", &record[at])))
        };
        for (to, at) in [(&mut row.image, 0), (&mut row.group, 1)] {
            to.clear();
            to.push_str(&record[at]);
        }
        (row.class, row.predicted) = (class(2)?, class(3)?);
        (row.true_number, row.number) = (None, None);
        if self.has_numbers {
            row.true_number = if record[4].is_empty() { None } else { Some(number(4)?) };
            row.number = Some(number(5)?);
        }
        row.probabilities.clear();
        if with_probabilities {
            for at in record.len() - self.n_classes..record.len() {
                // Whether it is a probability is checked for the whole row.
                row.probabilities.push(parsed(at)?);
            }
        }
        Ok(true)
    }

    /// Returns the byte range in the file of the row that was read last.
    pub(super) fn place(&self) -> Range<u64> {
        let end = self.reader.position().byte();
        self.record.position().map_or(end, csv::Position::byte)..end
    }

    /// Returns an error that names the line of the row that was read last.
    pub fn damaged(&self, reason: &str) -> TableError {
        let begin = self.record.position().map_or(0, csv::Position::byte);
        let reason = format!("line {}: {reason}", line_of(&self.path, begin));
        TableError::Damaged { path: self.path.clone(), reason }
    }
}

/// Returns the line, from 1, of the record that begins at a byte of a file, after any line breaks there.
/// Counted from the file, because the CSV reader does not count blank lines.
fn line_of(path: &Path, begin: u64) -> usize {
    let Ok(file) = File::open(path) else { return 1 };
    let is_break = |byte: u8| matches!(byte, b'\r' | b'\n');
    let (mut n_ended, mut last) = (0, b' ');
    for (at, byte) in
        BufReader::with_capacity(BUFFER, file).bytes().map_while(Result::ok).enumerate()
    {
        if at as u64 >= begin && !is_break(byte) {
            break;
        }
        n_ended += usize::from(byte == b'\r' || byte == b'\n' && last != b'\r');
        last = byte;
    }
    n_ended + 1
}
