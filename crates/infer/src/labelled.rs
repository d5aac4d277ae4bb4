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

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read as _, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use base::{
    Task,
    table::{Table, number},
    task::Scope,
};
use metrics::{Prediction, Predictions, argmax};

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The system says so.
    #[error("{}: {source}", path.display())]
    Io {
        /// The table.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no such table, or one of another task.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The table.
        path: PathBuf,
        /// Where, and what is wrong.
        reason: String,
    },
}

/// A row: the prediction for an image beside the truth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The image's name.
    pub image: String,
    /// The person's name.
    pub person: String,
    /// The true joint class.
    pub class: usize,
    /// The joint class that is predicted.
    pub predicted: usize,
    /// The true age, where it is known.
    pub age: Option<f64>,
    /// The years that are predicted, where a head says years.
    pub years: Option<f64>,
    /// The distribution over the joint classes; empty where only the labels were read.
    pub probabilities: Vec<f64>,
}

impl Row {
    /// What metrics see of it, with a number for the person.
    pub fn prediction(&self, person: usize) -> Prediction<'_> {
        Prediction {
            probabilities: &self.probabilities,
            predicted: self.predicted,
            class: self.class,
            person,
            years: self.years,
            age: self.age,
        }
    }
}

const COLUMNS: [&str; 4] = ["image", "person", "truth", "predicted"];
const YEARS: [&str; 2] = ["age", "years"];

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

/// Reads such a table row by row.
pub struct LabelledReader {
    path: PathBuf,
    reader: csv::Reader<File>,
    record: csv::StringRecord,
    n_classes: usize,
    n_columns: usize,
    has_years: bool,
}

/// Bytes that are read at once.
const BUFFER: usize = 1 << 18;

impl LabelledReader {
    /// Opens a table of a task.
    ///
    /// # Errors
    /// A file that is no such table, or one of another task.
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
        if leading == ["image", "predicted"] {
            return Err(damaged(
                "this table has no column `truth`: `predict` knows none, and runs of before wrote \
                 none: name a run's valid.csv, test.csv or oof.csv",
            ));
        }
        let has_years = leading == [&COLUMNS[..], &YEARS[..]].concat();
        if !has_years && leading != COLUMNS {
            let columns = COLUMNS.join(",");
            return Err(damaged(&format!(
                "line {line}: the columns are {columns}, and then the classes"
            )));
        }
        if named != classes {
            return Err(damaged(&format!("line {line}: the classes are others than the task's")));
        }
        Ok(LabelledReader {
            path: path.to_owned(),
            n_classes: classes.len(),
            n_columns,
            has_years,
            record: csv::StringRecord::new(),
            reader,
        })
    }

    /// Whether a head said years.
    pub fn has_years(&self) -> bool {
        self.has_years
    }

    /// Reads the next row; returns whether there was one.
    ///
    /// # Errors
    /// A damaged row; says where.
    pub fn next(&mut self, row: &mut Row) -> Result<bool, TableError> {
        self.advance(row, true)
    }

    /// As [`LabelledReader::next`], without probabilities, which takes a fraction of the time.
    ///
    /// # Errors
    /// The same, but for what is wrong with probabilities.
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
            return Err(wrong(format!("has {n} {fields}, the header {}", self.n_columns)));
        }
        let number = |at: usize| -> Result<f64, TableError> {
            let field = &record[at];
            let number = field.parse::<f64>().ok().filter(|it| it.is_finite());
            number.ok_or_else(|| wrong(format!("`{field}` is no number")))
        };
        let class = |at: usize| -> Result<usize, TableError> {
            let class = record[at].parse().ok().filter(|&it: &usize| it < self.n_classes);
            class.ok_or_else(|| wrong(format!("`{}` is no class", &record[at])))
        };
        for (to, at) in [(&mut row.image, 0), (&mut row.person, 1)] {
            to.clear();
            to.push_str(&record[at]);
        }
        (row.class, row.predicted) = (class(2)?, class(3)?);
        (row.age, row.years) = (None, None);
        if self.has_years {
            row.age = if record[4].is_empty() { None } else { Some(number(4)?) };
            row.years = Some(number(5)?);
        }
        row.probabilities.clear();
        if with_probabilities {
            for at in record.len() - self.n_classes..record.len() {
                row.probabilities.push(number(at)?);
            }
        }
        Ok(true)
    }

    /// An error in the row that was read last.
    pub fn damaged(&self, reason: &str) -> TableError {
        let begin = self.record.position().map_or(0, csv::Position::byte);
        let reason = format!("line {}: {reason}", line_of(&self.path, begin));
        TableError::Damaged { path: self.path.clone(), reason }
    }
}

/// The line, from 1, of the record that begins at a byte of a file or behind line breaks there. Counted
/// where it is asked for, since a reader of CSV leaves blank lines out.
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

/// What one table or several are of, without probabilities: each image once, and who is on it.
pub struct Index {
    /// The images, in the order of their names.
    pub images: Vec<Indexed>,
    /// What the people are called, in the order of their names.
    pub people: Vec<String>,
    numbers: HashMap<String, usize>,
    tables: Vec<Place>,
}

/// An image of an [`Index`].
#[derive(Clone, Debug, PartialEq)]
pub struct Indexed {
    /// Its name.
    pub image: String,
    /// The position of its person among [`Index::people`].
    pub person: usize,
    /// The true joint class.
    pub class: usize,
    /// The true age, where it is known.
    pub age: Option<f64>,
    /// Which table it is in.
    table: usize,
    /// Where its row begins and ends there, in bytes.
    row: Range<u64>,
}

/// A table of an [`Index`].
struct Place {
    path: PathBuf,
    /// Where its header ends.
    header: u64,
    has_years: bool,
}

impl Index {
    /// Of some tables; see [`Index::check`].
    ///
    /// # Errors
    /// A damaged table.
    pub fn of(paths: &[PathBuf], task: &Task) -> Result<Index, TableError> {
        let (mut images, mut row, mut tables) = (Vec::new(), Row::default(), Vec::new());
        let mut numbers: HashMap<String, usize> = HashMap::new();
        for path in paths {
            let mut reader = LabelledReader::open(path, task)?;
            let (header, has_years) = (reader.reader.position().byte(), reader.has_years);
            while reader.next_label(&mut row)? {
                let begin = reader.record.position().map_or(header, csv::Position::byte);
                let next = numbers.len();
                images.push(Indexed {
                    image: row.image.clone(),
                    person: *numbers.entry(row.person.clone()).or_insert(next),
                    class: row.class,
                    age: row.age,
                    table: tables.len(),
                    row: begin..reader.reader.position().byte(),
                });
            }
            tables.push(Place { path: path.clone(), header, has_years });
        }
        images.sort_by(|a, b| a.image.cmp(&b.image));
        let mut people: Vec<String> = numbers.keys().cloned().collect();
        people.sort_unstable();
        let mut ranks = vec![0; people.len()];
        for (rank, name) in people.iter().enumerate() {
            ranks[numbers[name]] = rank;
        }
        numbers.values_mut().for_each(|it| *it = ranks[*it]);
        images.iter_mut().for_each(|it| it.person = ranks[it.person]);
        Ok(Index { images, people, numbers, tables })
    }

    /// Makes sure that each image is there once.
    ///
    /// # Errors
    /// Names one that is there twice.
    pub fn check(&self) -> Result<(), TableError> {
        let twice = self.images.windows(2).find(|it| it[0].image == it[1].image);
        let Some([a, b]) = twice else { return Ok(()) };
        let path = self.tables[b.table].path.clone();
        let other = self.tables[a.table].path.display();
        let reason = format!("`{}` has another row in {other}", b.image);
        Err(TableError::Damaged { path, reason })
    }

    /// The position of a person among [`Index::people`].
    pub fn person(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The position of an image among [`Index::images`].
    pub fn position(&self, image: &str) -> Option<usize> {
        self.images.binary_search_by(|it| it.image.as_str().cmp(image)).ok()
    }

    /// Writes all rows as one table, in the order of the images' names, as they are.
    ///
    /// # Errors
    /// Tables of different columns, and what the system says.
    pub fn copy(&self, out: &mut impl Write) -> Result<(), TableError> {
        let mut files = Vec::new();
        for it in &self.tables {
            if it.has_years != self.tables[0].has_years {
                let other = self.tables[0].path.display();
                let reason = format!("line 1: the columns are others than those of {other}");
                return Err(TableError::Damaged { path: it.path.clone(), reason });
            }
            let file = File::open(&it.path).map_err(|source| it.failed(source))?;
            files.push((BufReader::with_capacity(BUFFER, file), 0));
        }
        let mut bytes = Vec::new();
        let mut line = |table: usize, from: Range<u64>| -> io::Result<()> {
            let (file, at) = &mut files[table];
            // Rows that follow each other in a table do so here, mostly.
            file.seek_relative(from.start as i64 - *at as i64)?;
            bytes.resize((from.end - from.start) as usize, 0);
            file.read_exact(&mut bytes)?;
            *at = from.end;
            let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
            let begin = bytes.iter().take_while(|it| is_break(it)).count();
            let end = bytes.iter().rposition(|it| !is_break(it)).map_or(begin, |it| it + 1);
            out.write_all(&bytes[begin..end])?;
            out.write_all(b"\n")
        };
        if let Some(first) = self.tables.first() {
            line(0, 0..first.header).map_err(|source| first.failed(source))?;
        }
        for it in &self.images {
            let failed = |source| self.tables[it.table].failed(source);
            line(it.table, it.row.clone()).map_err(failed)?;
        }
        Ok(())
    }
}

impl Place {
    fn failed(&self, source: io::Error) -> TableError {
        TableError::Io { path: self.path.clone(), source }
    }
}

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
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use super::{
        Index, LabelledPredictions, LabelledReader, LabelledWriter, Row, TableError, mean,
    };
    use base::{Task, table::number, task::Factor};

    fn task() -> Task {
        Task { factors: vec![Factor::new("age", &["<30", "30, or more"])] }
    }

    fn row(image: &str, person: &str, class: usize, p: [f64; 2]) -> Row {
        let predicted = usize::from(p[1] > p[0]);
        let (image, person) = (image.to_owned(), person.to_owned());
        Row { image, person, class, predicted, probabilities: p.to_vec(), ..Row::default() }
    }

    fn rows() -> Vec<Row> {
        let p = [[1.0 / 3.0, 2.0 / 3.0], [1e-300, 1.0 - f64::EPSILON]];
        vec![row("a, b.jpg", "y", 0, p[0]), row("c.jpg", "x", 1, p[1])]
    }

    fn write(path: &Path, rows: &[Row]) {
        let mut writer = LabelledWriter::new(Vec::new(), &task());
        for it in rows {
            writer.row(&it.image, &it.person, &it.prediction(0)).unwrap();
        }
        fs::write(path, writer.finish().unwrap()).unwrap();
    }

    fn read(path: &Path, task: &Task) -> Result<Vec<Row>, String> {
        let mut reader = LabelledReader::open(path, task).map_err(|err| reason(&err))?;
        let (mut rows, mut row) = (Vec::new(), Row::default());
        while reader.next(&mut row).map_err(|err| reason(&err))? {
            rows.push(row.clone());
        }
        Ok(rows)
    }

    fn reason(err: &TableError) -> String {
        match err {
            TableError::Damaged { reason, .. } => reason.clone(),
            TableError::Io { source, .. } => source.to_string(),
        }
    }

    /// What nine digits say of it.
    fn rounded(mut it: Row) -> Row {
        let round = |x: &mut f64| *x = number(*x).parse().unwrap();
        it.probabilities.iter_mut().for_each(round);
        it.years.iter_mut().for_each(round);
        it
    }

    #[test]
    fn what_is_written_reads_back_to_nine_digits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("valid.csv");
        write(&path, &rows());
        let begin = "image,person,truth,predicted,<30,\"30, or more\"\n\"a, b.jpg\",y,0,1,0.33";
        assert!(fs::read_to_string(&path).unwrap().starts_with(begin));
        let want: Vec<Row> = rows().into_iter().map(rounded).collect();
        assert_eq!(read(&path, &task()).unwrap(), want);

        let [mut a, mut b]: [Row; 2] = rows().try_into().unwrap();
        (a.years, a.age, b.years) = (Some(1.0 / 7.0), Some(29.125), Some(30.5));
        write(&path, &[a.clone(), b.clone()]);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("predicted,age,years,<30"), "{text}");
        assert!(text.contains(",29.125,0.142857143,") && text.contains(",,30.5,"), "{text}");
        assert_eq!(read(&path, &task()).unwrap(), [rounded(a), rounded(b)]);
    }

    #[test]
    fn a_table_without_rows_has_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("valid.csv");
        write(&path, &[]);
        assert_eq!(read(&path, &task()).unwrap(), []);
    }

    #[test]
    fn the_class_that_is_predicted_is_the_one_that_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("valid.csv");
        let mut tie = row("b", "x", 0, [0.5, 0.5]);
        tie.predicted = 1;
        write(&path, &[tie, row("a", "y", 1, [0.75, 0.25])]);
        let it = LabelledPredictions::open(&path, &task()).unwrap();
        assert_eq!(
            (it.images, it.people),
            (vec!["a".into(), "b".into()], vec!["x".into(), "y".into()])
        );
        let it = it.predictions;
        assert_eq!((it.predicted, it.classes, it.people), (vec![0, 1], vec![1, 0], vec![1, 0]));
    }

    #[test]
    fn a_table_without_truth_or_of_other_classes_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        fs::write(&path, "image,predicted,<30,\"30, or more\"\na.jpg,1,0.5,0.5\n").unwrap();
        assert!(read(&path, &task()).unwrap_err().contains("no column `truth`"));
        write(&path, &rows());
        let other = Task { factors: vec![Factor::new("age", &["young", "old"])] };
        assert!(read(&path, &other).unwrap_err().contains("others than the task's"));
        assert!(read(&path, &Task::mask_gender_age()).unwrap_err().starts_with("line 1"));
    }

    #[test]
    fn a_damaged_table_says_where() {
        let task = Task { factors: vec![Factor::new("age", &["a", "b"])] };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let header = "image,person,truth,predicted,a,b\n";
        for (row, what) in [
            ("x,p,0,0,0.5,oops", "line 2: `oops`"),
            ("x,p,2,0,0.5,0.5", "line 2: `2` is no class"),
            ("x,p,0,2,0.5,0.5", "line 2: `2` is no class"),
            ("x,p,0,0,0.5", "line 2: has 5 fields, the header 6"),
            ("\"x\ny\",p,0,0,0.5,0.5\r\n\r\nx,p,0,0,0.5,oops", "line 5: `oops`"),
            ("x,p,0,0,0.5,NaN", "line 2: `NaN`"),
        ] {
            fs::write(&path, format!("{header}{row}\n")).unwrap();
            let err = read(&path, &task).unwrap_err();
            assert!(err.starts_with(what), "{err}");
        }
    }

    #[test]
    fn tables_are_joined_in_the_order_of_names_without_their_numbers_being_read() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["0", "1"].map(|it| dir.path().join(it)).into();
        let [a, c]: [Row; 2] = rows().try_into().unwrap();
        let (b, d) = (row("b.jpg", "w", 1, [0.5, 0.5]), row("d\n1.jpg", "y", 0, [0.25, 0.75]));
        write(&paths[0], &[c.clone(), a.clone()]);
        write(&paths[1], &[d.clone(), b.clone()]);
        let index = Index::of(&paths, &task()).unwrap();
        assert_eq!(index.people, ["w", "x", "y"]);
        let people: Vec<usize> = index.images.iter().map(|it| it.person).collect();
        assert_eq!(people, [2, 0, 1, 2]);
        assert_eq!((index.position("c.jpg"), index.position("e")), (Some(2), None));
        assert_eq!((index.person("y"), index.person("z")), (Some(2), None));
        let mut joined = Vec::new();
        index.copy(&mut joined).unwrap();
        let whole = dir.path().join("whole");
        write(&whole, &[a, b, c, d]);
        assert_eq!(String::from_utf8(joined).unwrap(), fs::read_to_string(whole).unwrap());

        let err = Index::of(&[paths[0].clone(), paths[0].clone()], &task()).unwrap().check();
        let err = err.unwrap_err();
        assert!(reason(&err).contains("`a, b.jpg` has another row"), "{err}");
    }

    #[test]
    fn the_mean_of_tables_is_taken_row_by_row() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["0", "1"].map(|it| dir.path().join(it)).into();
        write(&paths[0], &[row("a", "x", 0, [0.25, 0.75]), row("b", "x", 0, [1.0, 0.0])]);
        write(&paths[1], &[row("a", "x", 0, [0.875, 0.125]), row("b", "x", 0, [0.5, 0.5])]);
        let mut rows = Vec::new();
        let take = |rows: &mut Vec<Row>| {
            rows.clear();
            mean(&paths, &task(), &mut |it| {
                rows.push(it.clone());
                Ok::<_, TableError>(())
            })
        };
        take(&mut rows).unwrap();
        let want = [[0.5625, 0.4375], [0.75, 0.25]];
        assert_eq!(rows.iter().map(|it| it.probabilities.clone()).collect::<Vec<_>>(), want);
        assert_eq!(rows[0].predicted, 0);
        write(&paths[1], &[row("b", "x", 0, [0.5, 0.5])]);
        assert!(reason(&take(&mut rows).unwrap_err()).contains("`b` is not `a`"));
        write(&paths[1], &[row("a", "x", 0, [0.5, 0.5])]);
        assert!(reason(&take(&mut rows).unwrap_err()).contains("another number of images"));
    }
}
