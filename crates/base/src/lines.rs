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
    /// What the system says, but that there is no such file. And a text that is no such one: with another
    /// header, or with a line that begins with no step. Nothing is written then.
    pub fn open(path: &Path, header: Option<&str>, step: usize) -> io::Result<Lines> {
        let old = match fs::read(path) {
            // Nothing of it would stay.
            _ if step == 0 => Vec::new(),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let kept = kept(&old, header, step).map_err(|what| {
            let help = "move it away to begin a new one, or repair it";
            io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {help}"))
        })?;
        Ok(Lines { growing: Growing::open(path, &kept)? })
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

/// What of a text stays for a run that goes on after `step` steps.
fn kept(old: &[u8], header: Option<&str>, step: usize) -> Result<Vec<u8>, String> {
    let mut lines =
        old.split_inclusive(|it| *it == b'\n').filter(|it| it.ends_with(b"\n")).enumerate();
    let mut text = Vec::new();
    if let Some(header) = header {
        text = format!("{header}\n").into_bytes();
        match lines.next() {
            Some((_, line)) if line != text => {
                let found = String::from_utf8_lossy(line);
                return Err(format!("line 1 is not `{header}`, but `{}`", found.trim_end()));
            }
            _ => {}
        }
    }
    for (idx, line) in lines {
        match step_of(line) {
            Some(of_line) if of_line <= step => text.extend(line),
            Some(_) => {}
            None => return Err(format!("line {} begins with no step", idx + 1)),
        }
    }
    Ok(text)
}

/// The first digits of a line.
fn step_of(line: &[u8]) -> Option<usize> {
    let begin = line.iter().position(u8::is_ascii_digit)?;
    let digits = line[begin..].iter().take_while(|it| it.is_ascii_digit());
    digits
        .map(|it| usize::from(it - b'0'))
        .try_fold(0_usize, |n, digit| n.checked_mul(10)?.checked_add(digit))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

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

    /// What cannot be read is not begun anew.
    fn refused(path: &Path, want: &str) {
        let err = Lines::open(path, Some("step,loss"), 3).unwrap_err().to_string();
        assert!(err.contains(want), "{err}");
    }

    #[test]
    fn a_table_that_cannot_be_read_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.csv");
        for (text, want) in [
            (&b"step,other\n1,0.5\n"[..], "line 1 is not `step,loss`, but `step,other`"),
            (b"step,loss\n1,0.5\nx\n", "line 3 begins with no step"),
            // As a file system may leave a block that never came to disk.
            (b"step,loss\n1,0.5\n\0\0\0\xff\n3,0.5\n", "line 3 begins with no step"),
        ] {
            fs::write(&path, text).unwrap();
            refused(&path, want);
            assert_eq!(fs::read(&path).unwrap(), text);
        }
        // Any other error than that there is none.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused(&path, "directory");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn bytes_that_are_no_text_stay_in_their_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.csv");
        fs::write(&path, b"step,loss\n1,\xff\n2,0.5\n").unwrap();
        Lines::open(&path, Some("step,loss"), 1).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"step,loss\n1,\xff\n");
    }
}
