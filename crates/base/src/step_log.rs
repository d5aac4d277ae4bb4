//! A line-based log file, which a resumed run truncates to the step that it resumes from.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use crate::append_file::AppendFile;

/// A log file whose lines begin with a step: the first digits of the line. Examples are a CSV file, below
/// its header, and a JSON Lines file.
#[derive(Debug)]
pub struct StepLog {
    file: AppendFile,
}

impl StepLog {
    /// Opens the file for a run that resumes after `step` steps: later lines and an incomplete line are
    /// dropped.
    ///
    /// - `header`: the first line, if there is one.
    ///
    /// # Errors
    /// Any I/O error, except that the file does not exist. And a file of another format: with another
    /// header, or with a line that does not begin with a step. The file is then left unchanged.
    pub fn open(path: &Path, header: Option<&str>, step: usize) -> io::Result<StepLog> {
        let old = match fs::read(path) {
            // No line would be kept.
            _ if step == 0 => Vec::new(),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let kept = kept(&old, header, step).map_err(|what| {
            let help = "move it away to start a new one, or repair it";
            io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {help}"))
        })?;
        Ok(StepLog { file: AppendFile::open(path, &kept)? })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// A handle of the file, to sync it to disk.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn file(&self) -> io::Result<File> {
        self.file.file()
    }

    /// Appends a line.
    ///
    /// # Errors
    /// Any I/O error; the line is then retried with the next one.
    pub fn add(&mut self, line: &str) -> io::Result<()> {
        self.file.add(format!("{line}\n").as_bytes())
    }
}

/// The part of a file that a run resumed after `step` steps keeps.
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
            None => return Err(format!("line {} does not begin with a step", idx + 1)),
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

    use super::StepLog;

    /// Writes five lines and a partial one, and resumes after the third.
    fn check(header: Option<&str>, line: impl Fn(usize) -> String, want: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps");
        let mut lines = StepLog::open(&path, header, 0).unwrap();
        for step in 1..=5 {
            lines.add(&line(step)).unwrap();
        }
        // A line truncated by a kill.
        let cut = line(2);
        fs::write(&path, fs::read_to_string(&path).unwrap() + &cut[..cut.len() - 1]).unwrap();
        let mut lines = StepLog::open(&path, header, 3).unwrap();
        lines.add(&line(4)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), want);
    }

    #[test]
    fn a_resumed_table_drops_the_lines_that_are_repeated() {
        let want = "step,loss\n1,0.5\n2,0.5\n3,0.5\n4,0.5\n";
        check(Some("step,loss"), |step| format!("{step},0.5"), want);
    }

    #[test]
    fn resumed_json_lines_drop_the_lines_that_are_repeated() {
        let want = "{\"step\":1,\"x\":7}\n{\"step\":2,\"x\":7}\n{\"step\":3,\"x\":7}\n{\"step\":4,\"x\":7}\n";
        check(None, |step| format!("{{\"step\":{step},\"x\":7}}"), want);
    }

    /// A file that cannot be read is not started over.
    fn check_refused(path: &Path, want: &str) {
        let err = StepLog::open(path, Some("step,loss"), 3).unwrap_err().to_string();
        assert!(err.contains(want), "{err}");
    }

    #[test]
    fn a_table_that_cannot_be_read_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.csv");
        for (text, want) in [
            (&b"step,other\n1,0.5\n"[..], "line 1 is not `step,loss`, but `step,other`"),
            (b"step,loss\n1,0.5\nx\n", "line 3 does not begin with a step"),
            // A block that never reached the disk, as a file system may leave it.
            (b"step,loss\n1,0.5\n\0\0\0\xff\n3,0.5\n", "line 3 does not begin with a step"),
        ] {
            fs::write(&path, text).unwrap();
            check_refused(&path, want);
            assert_eq!(fs::read(&path).unwrap(), text);
        }
        // An error other than a file that does not exist.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        check_refused(&path, "directory");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn bytes_that_are_not_text_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps.csv");
        fs::write(&path, b"step,loss\n1,\xff\n2,0.5\n").unwrap();
        StepLog::open(&path, Some("step,loss"), 1).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"step,loss\n1,\xff\n");
    }
}
