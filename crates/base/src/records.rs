//! The reader of CSV files that users edit: rows with their line numbers.
//!
//! It accepts files as spreadsheets save them: fields may be quoted and span several lines, lines may end
//! in `\r\n`, blank lines are skipped, and fields are separated by the one of comma, tab, semicolon and `|`
//! that divides the first row into the most fields.

use csv::{ReaderBuilder, StringRecord, Trim};

/// A table with a header.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    text: &'a str,
    separator: u8,
    trim: Trim,
}

/// The possible separators; of those that divide the first row into equally many fields, the first.
const SEPARATORS: [u8; 4] = *b",\t;|";

/// A row.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its first line in the file, from 1.
    pub line: usize,
    /// The fields of the row; their number may differ from the header's.
    pub fields: StringRecord,
}

impl<'a> Records<'a> {
    /// The records of a file's text, as returned by [`crate::text::read`]; spaces around fields are
    /// trimmed, and the separator is found.
    pub fn of(text: &'a str) -> Records<'a> {
        let with = |separator| Records { text, separator, trim: Trim::All };
        let n_fields = |it: &u8| with(*it).header().fields.len();
        // `max_by_key` returns the last of several.
        let separator = SEPARATORS.into_iter().rev().max_by_key(n_fields);
        with(separator.unwrap_or(SEPARATORS[0]))
    }

    /// The same records, with the spaces around fields.
    pub fn untrimmed(self) -> Records<'a> {
        Records { trim: Trim::None, ..self }
    }

    /// The records of a text that the program itself has written: spaces are part of the fields, and commas
    /// separate them.
    pub fn exact(text: &'a str) -> Records<'a> {
        Records { text, separator: b',', trim: Trim::None }
    }

    /// The first row; a record without fields if the text is empty.
    pub fn header(self) -> Record {
        let none = || Record { line: 1, fields: StringRecord::new() };
        self.all().next().unwrap_or_else(none)
    }

    /// The rows after the header, in the order of the file.
    pub fn rows(self) -> impl Iterator<Item = Record> + use<'a> {
        self.all().skip(1)
    }

    fn all(self) -> impl Iterator<Item = Record> + use<'a> {
        let bytes = self.text.as_bytes();
        let mut reader = ReaderBuilder::new();
        reader.has_headers(false).flexible(true).delimiter(self.separator).trim(self.trim);
        let reader = reader.from_reader(bytes);
        // The line count of the `csv` reader skips blank lines before a row.
        let (mut line, mut at) = (1, 0);
        reader.into_records().map_while(Result::ok).map(move |fields| {
            let begin = fields.position().map_or(at, |it| it.byte() as usize);
            while at < begin || bytes.get(at).is_some_and(|it| matches!(it, b'\r' | b'\n')) {
                let is_end = match bytes[at] {
                    b'\n' => true,
                    b'\r' => bytes.get(at + 1) != Some(&b'\n'),
                    _ => false,
                };
                line += usize::from(is_end);
                at += 1;
            }
            Record { line, fields }
        })
    }
}

impl Record {
    /// The index of the column with this name in this header.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|it| it == name)
    }

    /// The indices of the columns with these names.
    ///
    /// # Errors
    /// The names that this header does not contain.
    pub fn columns<const N: usize>(&self, names: [&str; N]) -> Result<[usize; N], Vec<String>> {
        let absent: Vec<String> = names
            .iter()
            .filter(|it| self.column(it).is_none())
            .map(|it| (*it).to_owned())
            .collect();
        if !absent.is_empty() {
            return Err(absent);
        }
        Ok(names.map(|it| self.column(it).unwrap_or_default()))
    }

    /// The problem with the number of fields of the row, if any.
    pub fn problem(&self, header: &Record) -> Option<String> {
        let [n, wanted] = [self, header].map(|it| it.fields.len());
        let fields = if n == 1 { "field" } else { "fields" };
        (n != wanted).then(|| format!("has {n} {fields}, the header {wanted}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Records;

    #[track_caller]
    fn check(text: &str, want: &[(usize, &str)]) {
        let records = Records::of(text);
        let all = std::iter::once(records.header()).chain(records.rows());
        let all: Vec<_> =
            all.map(|it| (it.line, it.fields.iter().collect::<Vec<_>>().join("|"))).collect();
        let all: Vec<_> = all.iter().map(|it| (it.0, it.1.as_str())).collect();
        assert_eq!(all, want, "{text:?}");
    }

    #[test]
    fn every_row_has_its_line_in_the_file() {
        check("a,b\n1,2\n3,4", &[(1, "a|b"), (2, "1|2"), (3, "3|4")]);
        check("a\r\n1\r\n\r\n\r\n2\r\n", &[(1, "a"), (2, "1"), (5, "2")]);
        check("\n\n a , b\n\n\n1, 2 \n", &[(3, "a|b"), (6, "1|2")]);
        check("a\n\"1\n2\n\n3\"\n4\n", &[(1, "a"), (2, "1\n2\n\n3"), (6, "4")]);
        check("a\r\n\"1\r\n2\"\r\n\r\n4\r\n", &[(1, "a"), (2, "1\r\n2"), (5, "4")]);
        check("a\n\n\"\n1\"\n4\n", &[(1, "a"), (3, "1"), (5, "4")]);
        // Line ends of the classic Mac OS, and both kinds in one file.
        check("a\r1\r\r2\r", &[(1, "a"), (2, "1"), (4, "2")]);
        check("a\n1\r\n\n\r\n2\n", &[(1, "a"), (2, "1"), (5, "2")]);
        check("", &[(1, "")]);
        check("a\n1,2,3\n4\n", &[(1, "a"), (2, "1|2|3"), (3, "4")]);
    }

    #[test]
    fn the_separator_is_found_in_the_first_row() {
        check("a\tb,c\td\n1\t2,3\t4\n", &[(1, "a|b,c|d"), (2, "1|2,3|4")]);
        check("a;b\r\n\"1;2\";0,5\r\n", &[(1, "a|b"), (2, "1;2|0,5")]);
        check("a|b\n1|2\n", &[(1, "a|b"), (2, "1|2")]);
        check("\"a;b\nc\"\n1;2\n", &[(1, "a;b\nc"), (3, "1;2")]);
        // Equally many fields.
        check("a;b,c\n1;2,3\n", &[(1, "a;b|c"), (2, "1;2|3")]);
        let spaced = Records::of("a; b\n 1;2 \n").untrimmed().rows().next().unwrap();
        assert_eq!((&spaced.fields[0], &spaced.fields[1]), (" 1", "2 "));
        let exact = super::Records::exact("a;b\n 1;2\n");
        assert_eq!(
            (&exact.header().fields[0], &exact.rows().next().unwrap().fields[0]),
            ("a;b", " 1;2")
        );
    }

    #[test]
    fn a_row_of_another_length_is_reported() {
        let records = Records::of("a,b\n1\n2,3,4\n5,6\n");
        let problems: Vec<_> = records.rows().map(|it| it.problem(&records.header())).collect();
        let problems: Vec<_> = problems.iter().map(Option::as_deref).collect();
        assert_eq!(
            problems,
            [Some("has 1 field, the header 2"), Some("has 3 fields, the header 2"), None]
        );
        assert_eq!(records.header().columns(["b", "a"]), Ok([1, 0]));
        assert_eq!(records.header().columns(["c", "a"]), Err(vec!["c".to_owned()]));
    }
}
