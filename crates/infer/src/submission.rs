//! The competition's evaluation folder and its answer: `info.csv` in, `ImageID,ans` out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base::{
    records::Records,
    text::{self, NotText},
};
use data::{Content, Findings};

/// Why a folder of pictures cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// A file or folder that must be there cannot be opened.
    #[error("{}: {source}: {remedy}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// There are faults in the folder.
    #[error("{}: {findings}", root.display())]
    Findings {
        /// The folder.
        root: PathBuf,
        /// All faults.
        findings: Findings,
    },
}

/// The pictures of an evaluation folder, in the order of its `info.csv`.
///
/// `info.csv` has a column `ImageID`; the pictures are in `images/`.
///
/// # Errors
/// A table that cannot be read, or pictures that are not there: all of them.
pub fn read_info(root: &Path) -> Result<Vec<(String, Content)>, SubmissionError> {
    let path = root.join("info.csv");
    let remedy = "name the folder of `info.csv` and `images/`";
    let bytes = fs::read(&path).map_err(|source| SubmissionError::Io { path, source, remedy })?;
    let mut findings = Findings::default();
    let text = match text::decode(bytes) {
        Ok(it) => it,
        Err(NotText { problem, remedy }) => {
            findings.add("info.csv", problem, remedy);
            return finish(root, findings, Vec::new());
        }
    };
    let records = Records::of(&text);
    let header = records.header();
    let mut pictures = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    match header.column("ImageID") {
        None => findings.add("info.csv", "has no column `ImageID`", "add it"),
        Some(column) => {
            for record in records.rows() {
                let place = format!("info.csv line {}", record.line);
                let name = record.fields.get(column).unwrap_or_default().to_owned();
                let file = root.join("images").join(&name);
                if name.is_empty() || name.contains(['/', '\\']) {
                    findings.add(place, format!("`{name}` is no file name"), "correct the row");
                } else if !file.is_file() {
                    findings.add(format!("images/{name}"), "is missing", "put the picture there");
                } else if !seen.insert(name.clone()) {
                    findings.add(place, format!("`{name}` is there already"), "remove the row");
                } else {
                    pictures.push((name, Content::File(file)));
                }
            }
        }
    }
    if pictures.is_empty() && findings.0.is_empty() {
        findings.add("info.csv", "has no rows", "add a row for each picture");
    }
    finish(root, findings, pictures)
}

/// The pictures of a folder, and of the folders in it, by name; or one file.
///
/// # Errors
/// A path that is not there, or a folder without pictures.
pub fn list_pictures(path: &Path) -> Result<Vec<(String, Content)>, SubmissionError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        let remedy = "name a picture, or a folder of pictures";
        move |source| SubmissionError::Io { path, source, remedy }
    };
    if fs::metadata(path).map_err(io(path))?.is_file() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![(name, Content::File(path.to_owned()))]);
    }
    let mut pictures = Vec::new();
    let mut todo = vec![path.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).map_err(io(&dir))? {
            let file = entry.map_err(io(&dir))?.path();
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            } else if file.is_dir() {
                todo.push(file);
            } else if is_picture(&file) {
                let name = file.strip_prefix(path).unwrap_or(&file).display().to_string();
                pictures.push((name, Content::File(file)));
            }
        }
    }
    pictures.sort_by(|a, b| a.0.cmp(&b.0));
    let mut findings = Findings::default();
    if pictures.is_empty() {
        findings.add(".", "no pictures are here", "name another folder");
    }
    finish(path, findings, pictures)
}

fn finish(
    root: &Path,
    mut findings: Findings,
    pictures: Vec<(String, Content)>,
) -> Result<Vec<(String, Content)>, SubmissionError> {
    if findings.0.is_empty() {
        return Ok(pictures);
    }
    findings.0.sort();
    Err(SubmissionError::Findings { root: root.to_owned(), findings })
}

/// Whether a file's ending is that of a picture.
fn is_picture(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"].contains(&ending.as_str())
}

/// The competition's answer: `ImageID,ans`, in the order of `names`.
pub fn submission_csv<'a>(names: impl Iterator<Item = &'a str>, classes: &[usize]) -> String {
    let rows = names.zip(classes).map(|(name, class)| format!("{name},{class}\n"));
    std::iter::once("ImageID,ans\n".to_owned()).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use expect_test::expect;

    use super::{list_pictures, read_info, submission_csv};

    #[test]
    fn rows_keep_the_order_of_the_table() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        for name in ["a.jpg", "b.jpg", "c.jpg"] {
            fs::write(dir.path().join("images").join(name), b"").unwrap();
        }
        fs::write(dir.path().join("info.csv"), "ImageID,ans\nc.jpg,0\na.jpg,0\n").unwrap();
        let pictures = read_info(dir.path()).unwrap();
        let names = pictures.iter().map(|it| it.0.as_str());
        assert_eq!(submission_csv(names, &[4, 17]), "ImageID,ans\nc.jpg,4\na.jpg,17\n");
    }

    #[test]
    fn everything_that_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let err = || {
            read_info(dir.path())
                .unwrap_err()
                .to_string()
                .replace(&dir.path().display().to_string(), "ROOT")
        };
        expect![[r#"ROOT/info.csv: No such file or directory (os error 2): name the folder of `info.csv` and `images/`"#]].assert_eq(&err());
        fs::write(dir.path().join("info.csv"), "id\n1\n").unwrap();
        expect![[r#"
            ROOT: 1 thing is wrong with the data:
              info.csv: has no column `ImageID`: add it"#]]
        .assert_eq(&err());
        fs::write(dir.path().join("info.csv"), "ImageID,ans\nc.jpg,0\na.jpg,0\n../x,0\n").unwrap();
        expect![[r#"
            ROOT: 3 things are wrong with the data:
              images/a.jpg: is missing: put the picture there
              images/c.jpg: is missing: put the picture there
              info.csv line 4: `../x` is no file name: correct the row"#]]
        .assert_eq(&err());
        fs::write(dir.path().join("info.csv"), "ImageID,ans\n").unwrap();
        expect![[r#"
            ROOT: 1 thing is wrong with the data:
              info.csv: has no rows: add a row for each picture"#]]
        .assert_eq(&err());
    }

    #[test]
    fn lines_are_those_of_the_file_and_its_encoding_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        fs::write(dir.path().join("images/a.jpg"), b"").unwrap();
        let said = |csv: &[u8]| {
            fs::write(dir.path().join("info.csv"), csv).unwrap();
            let said = read_info(dir.path()).unwrap_err().to_string();
            said.lines().last().unwrap().trim().to_owned()
        };
        expect!["info.csv line 5: `a.jpg` is there already: remove the row"]
            .assert_eq(&said("\u{feff}ImageID,ans\r\na.jpg,0\r\n\r\n\r\na.jpg,0\r\n".as_bytes()));
        expect!["info.csv line 7: `` is no file name: correct the row"]
            .assert_eq(&said(b"ans,ImageID\n\"1\n\n2\",a.jpg\n\n\n\"\n\",\"\"\n"));
        expect!["info.csv: this looks like CP949 (EUC-KR), not UTF-8 (line 2): save it as UTF-8"]
            .assert_eq(&said(b"ImageID\n\xb8\xb6\xbd\xba\xc5\xa9\xbb\xe7\xc1\xf8.jpg\n"));
        let utf16: Vec<u8> =
            "\u{feff}ImageID\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        expect!["info.csv: this looks like UTF-16, not UTF-8: save it as UTF-8"]
            .assert_eq(&said(&utf16));
    }

    #[test]
    fn a_folder_is_listed_by_name_and_without_what_is_no_picture() {
        let dir = tempfile::tempdir().unwrap();
        assert!(list_pictures(dir.path()).is_err());
        fs::create_dir(dir.path().join("in")).unwrap();
        for name in ["b.png", "in/a.JPG", "notes.txt", "._b.png"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        let names = |path: &std::path::Path| -> Vec<String> {
            list_pictures(path).unwrap().into_iter().map(|it| it.0).collect()
        };
        assert_eq!(names(dir.path()), ["b.png", "in/a.JPG"]);
        assert_eq!(names(&dir.path().join("b.png")), ["b.png"]);
        assert!(list_pictures(&dir.path().join("absent")).is_err());
    }
}
