//! The images, groups and labels of tables, without the probabilities; and joining tables.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read as _, Write},
    ops::Range,
    path::PathBuf,
};

use base::Task;

use super::{
    reader::{BUFFER, LabelledReader, TableError},
    row::Row,
};

/// The images of one or more tables, with their groups and labels, without probabilities.
pub struct Index {
    /// The images, sorted by name.
    pub images: Vec<Indexed>,
    /// The names of the groups, sorted.
    pub groups: Vec<String>,
    numbers: HashMap<String, usize>,
    tables: Vec<Place>,
}

/// An image of an [`Index`].
#[derive(Clone, Debug, PartialEq)]
pub struct Indexed {
    /// Its name.
    pub image: String,
    /// The position of its group among [`Index::groups`].
    pub group: usize,
    /// The true joint class.
    pub class: usize,
    /// The true number, such as an age, if known.
    pub true_number: Option<f64>,
    /// The position of its table.
    table: usize,
    /// The byte range of its row in the table.
    row: Range<u64>,
}

/// A table of an [`Index`].
struct Place {
    path: PathBuf,
    /// The end of its header, in bytes.
    header: u64,
    has_numbers: bool,
}

impl Index {
    /// Indexes tables; [`Index::check`] checks that their images are distinct.
    ///
    /// # Errors
    /// A damaged table.
    pub fn of(paths: &[PathBuf], task: &Task) -> Result<Index, TableError> {
        let (mut images, mut row, mut tables) = (Vec::new(), Row::default(), Vec::new());
        let mut numbers: HashMap<String, usize> = HashMap::new();
        for path in paths {
            let mut reader = LabelledReader::open(path, task)?;
            let (header, has_numbers) = (reader.place().end, reader.has_numbers());
            while reader.next_label(&mut row)? {
                let next = numbers.len();
                images.push(Indexed {
                    image: row.image.clone(),
                    group: *numbers.entry(row.group.clone()).or_insert(next),
                    class: row.class,
                    true_number: row.true_number,
                    table: tables.len(),
                    row: reader.place(),
                });
            }
            tables.push(Place { path: path.clone(), header, has_numbers });
        }
        images.sort_by(|a, b| a.image.cmp(&b.image));
        let mut groups: Vec<String> = numbers.keys().cloned().collect();
        groups.sort_unstable();
        let mut ranks = vec![0; groups.len()];
        for (rank, name) in groups.iter().enumerate() {
            ranks[numbers[name]] = rank;
        }
        numbers.values_mut().for_each(|it| *it = ranks[*it]);
        images.iter_mut().for_each(|it| it.group = ranks[it.group]);
        Ok(Index { images, groups, numbers, tables })
    }

    /// Checks that each image has one row.
    ///
    /// # Errors
    /// Names an image with two rows.
    pub fn check(&self) -> Result<(), TableError> {
        let twice = self.images.windows(2).find(|it| it[0].image == it[1].image);
        let Some([a, b]) = twice else { return Ok(()) };
        let path = self.tables[b.table].path.clone();
        let other = self.tables[a.table].path.display();
        let reason = format!("`{}` has another row in {other}", b.image);
        Err(TableError::Damaged { path, reason })
    }

    /// Returns the position of a group among [`Index::groups`].
    pub fn group(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// Returns the position of an image among [`Index::images`].
    pub fn position(&self, image: &str) -> Option<usize> {
        self.images.binary_search_by(|it| it.image.as_str().cmp(image)).ok()
    }

    /// Writes all rows unchanged as one table, sorted by image name.
    ///
    /// # Errors
    /// Tables with different columns, and I/O errors.
    pub fn copy(&self, out: &mut impl Write) -> Result<(), TableError> {
        let mut files = Vec::new();
        for it in &self.tables {
            if it.has_numbers != self.tables[0].has_numbers {
                let other = self.tables[0].path.display();
                let reason = format!("line 1: the columns differ from those of {other}");
                return Err(TableError::Damaged { path: it.path.clone(), reason });
            }
            let file = File::open(&it.path).map_err(|source| it.failed(source))?;
            files.push((BufReader::with_capacity(BUFFER, file), 0));
        }
        let mut bytes = Vec::new();
        let mut line = |table: usize, from: Range<u64>| -> io::Result<()> {
            let (file, at) = &mut files[table];
            // Consecutive rows of a table are mostly consecutive here too, so the buffer is kept.
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
