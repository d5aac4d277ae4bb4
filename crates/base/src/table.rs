//! Tables as text: the writer of all CSV files of the program, and of the numbers in them.
//!
//! Fields with a comma, a quote or a line break are quoted according to RFC 4180; rows end with `\n`.

use std::io::{self, Write};

/// A table that is written row by row.
pub struct Table<W: Write> {
    writer: csv::Writer<W>,
}

impl<W: Write> Table<W> {
    /// Starts a table with its header.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn begin(
        out: W,
        header: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> io::Result<Table<W>> {
        let mut table = Table { writer: csv::Writer::from_writer(out) };
        table.row(header)?;
        Ok(table)
    }

    /// Writes a row with as many fields as the header.
    ///
    /// # Errors
    /// Those of `out`; another number of fields.
    pub fn row(&mut self, fields: impl IntoIterator<Item = impl AsRef<str>>) -> io::Result<()> {
        for field in fields {
            self.writer.write_field(field.as_ref()).map_err(io_error)?;
        }
        self.writer.write_record(None::<&[u8]>).map_err(io_error)
    }

    /// Writes the remaining rows to `out`, and returns it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(self) -> io::Result<W> {
        self.writer.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

/// Returns the I/O error itself, whose kind the conversion of the library hides.
fn io_error(err: csv::Error) -> io::Error {
    let text = err.to_string();
    match err.into_kind() {
        csv::ErrorKind::Io(it) => it,
        _ => io::Error::other(text),
    }
}

/// Returns a complete table as text.
///
/// # Panics
/// If a row has another length than the header.
pub fn text<F: AsRef<str>>(
    header: impl IntoIterator<Item = impl AsRef<str>>,
    rows: impl IntoIterator<Item = impl IntoIterator<Item = F>>,
) -> String {
    let written = Table::begin(Vec::new(), header).and_then(|mut table| {
        rows.into_iter().try_for_each(|it| table.row(it))?;
        table.finish()
    });
    let bytes = written.expect("every row is as long as the header");
    String::from_utf8(bytes).expect("fields are UTF-8")
}

/// Returns one row, without its line break.
pub fn line(fields: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut text = text(fields, None::<[&str; 0]>);
    text.pop();
    text
}

/// Returns names as one field: separated by `;`, and one that contains a `;`, a quote or a line break quoted as fields
/// are. A CSV reader with the delimiter `;` reads the names back.
pub fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut names = names.into_iter().peekable();
    if names.peek().is_none() {
        return String::new();
    }
    let mut writer = csv::WriterBuilder::new().delimiter(b';').from_writer(Vec::new());
    for name in names {
        writer.write_field(name.as_ref()).expect("memory is written to");
    }
    writer.write_record(None::<&[u8]>).expect("memory is written to");
    let mut bytes = writer.into_inner().expect("memory is written to");
    bytes.pop();
    String::from_utf8(bytes).expect("names are UTF-8")
}

/// Formats a number that was computed in `f32` with at most 9 significant digits, which distinguish all `f32`
/// values. It is parsed back with a relative error of at most 5.1e-9.
pub fn number(x: f64) -> String {
    // Tables of many classes consist mostly of small fractions, for which this path is fast.
    if let Some(text) = small_fraction(x) {
        return text;
    }
    let rounded: f64 = format!("{x:.8e}").parse().unwrap_or(x);
    match rounded.abs() {
        1e-4..1e16 | 0.0 => rounded.to_string(),
        _ => format!("{rounded:e}"),
    }
}

/// Formats a number from 1e-12 to below 1 as nine digits and a power of ten, with integer arithmetic.
fn small_fraction(x: f64) -> Option<String> {
    if !(1e-12..1.0).contains(&x) {
        return None;
    }
    // x = n * 10^-(8 + zeros), with n of nine digits.
    let mut zeros = (1..13).find(|&it| x * POWERS[it] >= 1.0)?;
    let mut n = (x * POWERS[8 + zeros]).round_ties_even() as u64;
    if n == 1_000_000_000 {
        (n, zeros) = (100_000_000, zeros - 1);
    }
    if zeros == 0 {
        return Some("1".to_owned());
    }
    let mut digits = [b'0'; 9];
    for digit in digits.iter_mut().rev() {
        (*digit, n) = (b'0' + (n % 10) as u8, n / 10);
    }
    let n_digits = digits.iter().rposition(|it| *it != b'0').map_or(1, |it| it + 1);
    let digits = str::from_utf8(&digits[..n_digits]).ok()?;
    let mut text = String::with_capacity(16);
    if zeros <= 4 {
        text.push_str(&"0.000"[..zeros + 1]);
        text.push_str(digits);
    } else {
        text.push_str(&digits[..1]);
        if n_digits > 1 {
            text.push('.');
            text.push_str(&digits[1..]);
        }
        text.push_str("e-");
        text.push_str(&zeros.to_string());
    }
    Some(text)
}

/// Powers of ten, all exact.
const POWERS: [f64; 21] = {
    let (mut powers, mut at) = ([1.0; 21], 1);
    while at < 21 {
        powers[at] = powers[at - 1] * 10.0;
        at += 1;
    }
    powers
};

#[cfg(test)]
mod tests {
    use std::io::{self, BufWriter, Write};

    use super::{Table, line, list, number, text};

    #[test]
    fn fields_are_quoted_if_necessary() {
        let rows = [["Kim, Min-su.jpg", "4"], ["say \"hi\".jpg", "5"], ["a\nb", " c "], ["", "#"]];
        let want = "\"a,b\",c\n\"Kim, Min-su.jpg\",4\n\"say \"\"hi\"\".jpg\",5\n\"a\nb\", c \n,#\n";
        assert_eq!(text(["a,b", "c"], rows), want);
        assert_eq!(line(["a", "b, c", "d"]), "a,\"b, c\",d");
    }

    #[test]
    fn names_in_a_field_are_told_apart() {
        assert_eq!(list(["a", "b c"]), "a;b c");
        assert_eq!(
            list(["dog; big", "cat, small", "a \"b\""]),
            "\"dog; big\";cat, small;\"a \"\"b\"\"\""
        );
        assert_eq!(list(None::<&str>), "");
        let names = ["a;b", "a", "\"", "c\nd", ";", ""];
        let written = list(names);
        let mut reader = csv::ReaderBuilder::new();
        let mut reader = reader.delimiter(b';').has_headers(false).from_reader(written.as_bytes());
        let read = reader.records().next().unwrap().unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), names);
    }

    #[test]
    fn written_tables_are_read_back() {
        let names = ["a", "b,c", "d\"e", "\"", "f\r\ng", " h", "사진 1.jpg", "", "'", "=1+1"];
        let written = text(["name", "n"], names.map(|it| [it, "1"]));
        let mut reader = csv::Reader::from_reader(written.as_bytes());
        let read: Vec<String> = reader.records().map(|it| it.unwrap()[0].to_owned()).collect();
        assert_eq!(read, names);
    }

    #[test]
    fn row_of_another_length_is_an_error() {
        let mut table = Table::begin(Vec::new(), ["a", "b"]).unwrap();
        assert!(table.row(["1"]).is_err());
    }

    #[test]
    fn errors_of_the_output_keep_their_kind() {
        /// A pipe whose reader is gone.
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut table = Table::begin(BufWriter::with_capacity(1, Closed), ["a"]).unwrap();
        let row = "x".repeat(100_000);
        let err = (0..2).find_map(|_| table.row([&row]).err()).unwrap();
        assert_eq!(err.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn numbers_have_at_most_nine_digits() {
        for (x, want) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.5, "0.5"),
            (1.0 / 3.0, "0.333333333"),
            (2.0 / 3.0, "0.666666667"),
            (0.999_999_999_9, "1"),
            (1.0 / 3000.0, "0.000333333333"),
            (1.0 / 30000.0, "3.33333333e-5"),
            (1e-4, "0.0001"),
            (9.999_999_999e-5, "0.0001"),
            (2e-5, "2e-5"),
            (1.234_567_891e-12, "1.23456789e-12"),
            (0.1, "0.1"),
            (0.100_000_000_4, "0.1"),
            (1e-300, "1e-300"),
            (-30.5, "-30.5"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(x), want);
        }
    }

    #[test]
    fn small_fractions_are_formatted_like_all_numbers() {
        let bits = (0..200_000_u32).map(|it| it.wrapping_mul(2_654_435_761));
        for x in bits.map(f32::from_bits).filter(|it| (1e-12..1.0).contains(it)).map(f64::from) {
            let rounded: f64 = format!("{x:.8e}").parse().unwrap();
            let want = if rounded < 1e-4 { format!("{rounded:e}") } else { rounded.to_string() };
            assert_eq!(number(x), want);
        }
    }

    #[test]
    fn every_f32_is_read_back_exactly() {
        let bits = (0..100_000_u32).map(|it| it.wrapping_mul(2_654_435_761));
        for x in bits.map(f32::from_bits).filter(|it| it.is_finite()) {
            assert_eq!(number(f64::from(x)).parse::<f32>().unwrap(), x);
        }
    }
}
