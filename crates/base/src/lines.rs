//! A text that grows by a line at a time, and that a resumed run cuts back to where it goes on.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use crate::growing::Growing;

/// A text whose lines begin with a step: its first digits. A CSV file is one, below its header, and so is
/// a file of JSON objects.
#[derive(Debug)]
pub struct Lines {
    growing: Growing,
}

impl Lines {
    /// Opens the text for a run that goes on after `step` steps: later lines, and a line that was not
    /// finished, are dropped.
    ///
    /// - `header`: the first line, where there is one.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, header: Option<&str>, step: usize) -> io::Result<Lines> {
        let old = fs::read_to_string(path).unwrap_or_default();
        let lines = old.split_inclusive('\n').skip(usize::from(header.is_some()));
        let mut text: String = header.map(|it| format!("{it}\n")).unwrap_or_default();
        for line in lines.filter(|it| it.ends_with('\n')) {
            if step_of(line).is_some_and(|it| it <= step) {
                text += line;
            }
        }
        Ok(Lines { growing: Growing::open(path, text.as_bytes())? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.growing.path()
    }

    /// The file, to be brought to disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn file(&self) -> io::Result<File> {
        self.growing.file()
    }

    /// Adds a line.
    ///
    /// # Errors
    /// What the system says; the line is tried again with the next one.
    pub fn add(&mut self, line: &str) -> io::Result<()> {
        self.growing.add(format!("{line}\n").as_bytes())
    }
}

/// The first digits of a line.
fn step_of(line: &str) -> Option<usize> {
    let digits = line.trim_start_matches(|it: char| !it.is_ascii_digit());
    let end = digits.find(|it: char| !it.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Lines;

    /// Five lines and a part of one; then it goes on after the third.
    fn check(header: Option<&str>, line: impl Fn(usize) -> String, want: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps");
        let mut lines = Lines::open(&path, header, 0).unwrap();
        for step in 1..=5 {
            lines.add(&line(step)).unwrap();
        }
        // A line that a kill has cut off.
        let cut = line(2);
        fs::write(&path, fs::read_to_string(&path).unwrap() + &cut[..cut.len() - 1]).unwrap();
        let mut lines = Lines::open(&path, header, 3).unwrap();
        lines.add(&line(4)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), want);
    }

    #[test]
    fn a_resumed_table_forgets_what_comes_again() {
        let want = "step,loss\n1,0.5\n2,0.5\n3,0.5\n4,0.5\n";
        check(Some("step,loss"), |step| format!("{step},0.5"), want);
    }

    #[test]
    fn resumed_objects_forget_what_comes_again() {
        let want = "{\"step\":1,\"x\":7}\n{\"step\":2,\"x\":7}\n{\"step\":3,\"x\":7}\n{\"step\":4,\"x\":7}\n";
        check(None, |step| format!("{{\"step\":{step},\"x\":7}}"), want);
    }
}
