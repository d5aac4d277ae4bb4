//! The competition's evaluation folder and its submission: reads `info.csv`, writes `ImageID,ans`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use base::{
    records::Records,
    table,
    text::{self, NotText},
};
use data::{Content, Findings, names::ComposedNames};

/// Why the images of a folder cannot be predicted.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// A required file or folder cannot be opened.
    #[error("{}: {source}: {remedy}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The content of the folder has problems.
    #[error("{}: {findings}", root.display())]
    Findings {
        /// The folder.
        root: PathBuf,
        /// All problems.
        findings: Findings,
    },
}

/// The images that `info.csv` lists.
#[derive(Debug)]
pub struct TestImages {
    /// The name of each in `info.csv`, in its order, and its content.
    pub images: Vec<(String, Content)>,
    /// Remarks for the user that are not errors.
    pub notes: Vec<String>,
}

/// Reads the list of images of an evaluation folder, in the order of its `info.csv`.
///
/// `info.csv` has a column `ImageID`; the images are in `images/`. A name in another Unicode form than
/// its file's is found too, and a note reports it.
///
/// # Errors
/// A table that cannot be read, or missing images: all of them.
pub fn read_info(root: &Path) -> Result<TestImages, SubmissionError> {
    let path = root.join("info.csv");
    let remedy = "name the folder of `info.csv` and `images/`";
    let bytes = fs::read(&path).map_err(|source| SubmissionError::Io { path, source, remedy })?;
    let mut findings = Findings::default();
    let text = text::decode(bytes).unwrap_or_else(|NotText { problem, remedy }| {
        findings.add("info.csv", problem, remedy);
        String::new()
    });
    let mut files = Files { dir: root.join("images"), by_form: None };
    let (mut images, mut others) = (Vec::new(), Vec::new());
    let (mut seen, mut taken) = (BTreeSet::new(), BTreeSet::new());
    match Records::of(&text).header().column("ImageID") {
        None if !findings.0.is_empty() => {}
        None => findings.add("info.csv", "has no column `ImageID`", "add it"),
        Some(column) => {
            for record in Records::exact(&text).rows() {
                let place = format!("info.csv line {}", record.line);
                let field = record.fields.get(column).unwrap_or_default();
                // Spaces belong to a name only where there is a file of that name.
                let is_there = files.dir.join(field).is_file();
                let name = if is_there { field } else { field.trim() };
                if name.is_empty() || name.contains(['/', '\\']) {
                    findings.add(place, format!("`{name}` is not a file name"), "correct the row");
                    continue;
                }
                let file = match files.find(name) {
                    Ok(it) => it,
                    Err((problem, remedy)) => {
                        findings.add(format!("images/{name}"), problem, &remedy);
                        continue;
                    }
                };
                if !seen.insert(name.to_owned()) || !taken.insert(file.clone()) {
                    findings.add(place, format!("`{name}` is listed twice"), "remove the row");
                    continue;
                }
                if file != name {
                    others.push(name.to_owned());
                }
                images.push((name.to_owned(), Content::File(files.dir.join(file))));
            }
        }
    }
    if images.is_empty() && findings.0.is_empty() {
        findings.add("info.csv", "has no rows", "add a row for each image");
    }
    if !findings.0.is_empty() {
        findings.0.sort();
        return Err(SubmissionError::Findings { root: root.to_owned(), findings });
    }
    let note = others.first().map(|first| {
        format!(
            "names of info.csv in another Unicode form (NFC or NFD) than their files': {}, such as \
             `{first}`; they were matched by appearance, and are written as in info.csv",
            others.len()
        )
    });
    Ok(TestImages { images, notes: note.into_iter().collect() })
}

/// The files of `images/`.
struct Files {
    dir: PathBuf,
    /// Loaded when a name is not found exactly as written.
    by_form: Option<ComposedNames>,
}

impl Files {
    /// Returns the file's name on disk, or the problem and its remedy.
    fn find(&mut self, name: &str) -> Result<String, (String, String)> {
        if self.dir.join(name).is_file() {
            return Ok(name.to_owned());
        }
        let by_form = self
            .by_form
            .get_or_insert_with(|| ComposedNames::of_folder(&self.dir).unwrap_or_default());
        match by_form.like(name) {
            [one] if self.dir.join(one).is_file() => Ok(one.clone()),
            [] | [_] => {
                let remedy = match by_form.not_utf8.as_slice() {
                    [] => "put the image there".to_owned(),
                    [first, ..] => format!(
                        "put the image there; {} names in images/ are not UTF-8, such as `{first}`: \
                         rename these files if they are the missing ones",
                        by_form.not_utf8.len()
                    ),
                };
                Err(("is missing".to_owned(), remedy))
            }
            several => {
                let problem = format!("looks like {} files in other Unicode forms", several.len());
                Err((problem, "keep one of them".to_owned()))
            }
        }
    }
}

/// Returns the competition's submission file: `ImageID,ans`, in the order of `names`.
pub fn submission_csv<'a>(names: impl Iterator<Item = &'a str>, classes: &[usize]) -> String {
    let rows = names.zip(classes).map(|(name, class)| [name.to_owned(), class.to_string()]);
    table::text(["ImageID", "ans"], rows)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base::records::Records;
    use expect_test::expect;

    use super::{read_info, submission_csv};

    #[test]
    fn rows_keep_the_order_of_the_table() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        for name in ["a.jpg", "b.jpg", "c.jpg"] {
            fs::write(dir.path().join("images").join(name), b"").unwrap();
        }
        fs::write(dir.path().join("info.csv"), "ImageID,ans\nc.jpg,0\na.jpg,0\n").unwrap();
        let images = read_info(dir.path()).unwrap().images;
        let names = images.iter().map(|it| it.0.as_str());
        assert_eq!(submission_csv(names, &[4, 17]), "ImageID,ans\nc.jpg,4\na.jpg,17\n");
    }

    #[test]
    fn a_submission_reads_back_with_the_same_names() {
        let names = ["Kim, Min-su.jpg", "say \"hi\".jpg", "000123", "사진 1.jpg"];
        let text = submission_csv(names.into_iter(), &[4, 5, 6, 7]);
        assert!(
            text.starts_with("ImageID,ans\n\"Kim, Min-su.jpg\",4\n\"say \"\"hi\"\".jpg\",5\n"),
            "{text}"
        );
        let read: Vec<String> =
            Records::exact(&text).rows().map(|it| it.fields[0].to_owned()).collect();
        assert_eq!(read, names);
    }

    #[test]
    fn everything_missing_is_reported() {
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
            ROOT: 1 problem in the data:
              info.csv: has no column `ImageID`: add it"#]]
        .assert_eq(&err());
        fs::write(dir.path().join("info.csv"), "ImageID,ans\nc.jpg,0\na.jpg,0\n../x,0\n").unwrap();
        expect![[r#"
            ROOT: 3 problems in the data:
              images/a.jpg: is missing: put the image there
              images/c.jpg: is missing: put the image there
              info.csv line 4: `../x` is not a file name: correct the row"#]]
        .assert_eq(&err());
        fs::write(dir.path().join("info.csv"), "ImageID,ans\n").unwrap();
        expect![[r#"
            ROOT: 1 problem in the data:
              info.csv: has no rows: add a row for each image"#]]
        .assert_eq(&err());
    }

    #[test]
    fn line_numbers_and_encodings_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        fs::write(dir.path().join("images/a.jpg"), b"").unwrap();
        let problem = |csv: &[u8]| {
            fs::write(dir.path().join("info.csv"), csv).unwrap();
            let error = read_info(dir.path()).unwrap_err().to_string();
            error.lines().last().unwrap().trim().to_owned()
        };
        expect!["info.csv line 5: `a.jpg` is listed twice: remove the row"].assert_eq(&problem(
            "\u{feff}ImageID,ans\r\na.jpg,0\r\n\r\n\r\na.jpg,0\r\n".as_bytes(),
        ));
        expect!["info.csv line 7: `` is not a file name: correct the row"]
            .assert_eq(&problem(b"ans,ImageID\n\"1\n\n2\",a.jpg\n\n\n\"\n\",\"\"\n"));
        expect!["info.csv: this looks like CP949 (EUC-KR), not UTF-8 (line 2): save it as UTF-8"]
            .assert_eq(&problem(b"ImageID\n\xb8\xb6\xbd\xba\xc5\xa9\xbb\xe7\xc1\xf8.jpg\n"));
        let utf16: Vec<u8> =
            "\u{feff}ImageID\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        expect!["info.csv: this looks like UTF-16, not UTF-8: save it as UTF-8"]
            .assert_eq(&problem(&utf16));
    }

    #[test]
    fn a_name_in_another_unicode_form_finds_its_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        let write = |name: &str| fs::write(dir.path().join("images").join(name), b"").unwrap();
        let info = |rows: &str| {
            fs::write(dir.path().join("info.csv"), format!("ImageID,ans\n{rows}")).unwrap();
            read_info(dir.path())
        };
        let (nfc, nfd) = ("ni\u{f1}o.jpg", "nin\u{303}o.jpg");
        write(nfd);
        write(" b.jpg");
        let found = info(&format!("{nfc},0\n b.jpg,0\n")).unwrap();
        let names: Vec<&str> = found.images.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(names, [nfc, " b.jpg"]);
        assert!(found.images[0].1.bytes().is_ok() && found.images[1].1.bytes().is_ok());
        assert!(found.notes[0].contains("than their files': 1, such as `ni\u{f1}o.jpg`"));
        // Two rows cannot name the same file.
        let err = info(&format!("{nfc},0\n{nfd},0\n")).unwrap_err().to_string();
        assert!(err.contains("info.csv line 3: `nin\u{303}o.jpg` is listed twice"), "{err}");
        write(nfc);
        assert!(info(&format!("{nfc},0\n{nfd},0\n")).unwrap().notes.is_empty());
    }
}
