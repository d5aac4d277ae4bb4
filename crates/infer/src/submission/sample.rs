//! The test images and the order of a submission's rows: those of a sample file, or all images of a folder.
//!
//! Kaggle's `sample_submission.csv` is beside the folder of the images or in it; the mask competition's
//! `info.csv` is in the folder of `images/`. Ids are names of files, with or without ending. Images that no
//! id names have no row: some competitions have the training images in the same folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base::{
    records::{Record, Records},
    text,
};
use data::{Content, Files, Findings, Recognise, SourceError, list_images};

use super::columns::Header;

/// Why a submission cannot be written.
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
    /// The sample file or the folder has problems.
    #[error("{}: {findings}", root.display())]
    Findings {
        /// The sample file or the folder.
        root: PathBuf,
        /// All problems.
        findings: Findings,
    },
    /// The folder of images cannot be listed.
    #[error(transparent)]
    Folder(#[from] SourceError),
    /// A prediction cannot be submitted.
    #[error("{image}: {reason}: the bundle may be damaged")]
    Row {
        /// The image's id.
        image: String,
        /// Why.
        reason: String,
    },
}

/// The images of a submission.
#[derive(Debug)]
pub(super) struct TestImages {
    /// The id of each image, in the order of the rows, and its content.
    pub(super) images: Vec<(String, Content)>,
    /// The columns.
    pub(super) header: Header,
    /// The file or folder that lists the images, for errors.
    pub(super) place: PathBuf,
    /// Everything that is wrong with the images, except with their content.
    pub(super) findings: Findings,
    /// Remarks for the user that are not errors.
    pub(super) notes: Vec<String>,
}

impl TestImages {
    /// Lists the images of a folder: those of its sample file, where there is one.
    ///
    /// - `sample`: the sample file; `None` to look for one.
    ///
    /// # Errors
    /// A file or folder that cannot be read.
    pub(super) fn find(root: &Path, sample: Option<&Path>) -> Result<TestImages, SubmissionError> {
        match sample.map(Path::to_owned).or_else(|| sample_of(root)) {
            Some(path) => TestImages::of_sample(root, path),
            None => TestImages::of_folder(root),
        }
    }

    fn of_folder(root: &Path) -> Result<TestImages, SubmissionError> {
        let folder = list_images(root, Recognise::ByContent)?;
        let skipped = folder.skipped_text();
        let note = format!(
            "no sample file: a row for each image of {}, in the order of their names",
            root.display()
        );
        Ok(TestImages {
            images: folder.images,
            header: Header::ids(),
            place: root.to_owned(),
            findings: folder.unreadable,
            notes: [note].into_iter().chain(folder.notes).chain(skipped).collect(),
        })
    }

    fn of_sample(root: &Path, path: PathBuf) -> Result<TestImages, SubmissionError> {
        let io = |path: &Path, remedy| {
            let path = path.to_owned();
            move |source| SubmissionError::Io { path, source, remedy }
        };
        let bytes = fs::read(&path).map_err(io(&path, "`--sample` must be a CSV file"))?;
        let images = root.join("images");
        let images = if images.is_dir() { images } else { root.to_owned() };
        let mut files = Files::of(images.clone())
            .map_err(io(&images, "`--images` must be the folder of the images"))?;
        let mut it = TestImages {
            images: Vec::new(),
            header: Header::ids(),
            place: path,
            findings: Findings::default(),
            notes: Vec::new(),
        };
        match text::decode(bytes) {
            Ok(text) => it.read(&text, &images, &mut files),
            Err(err) => it.findings.add("encoding", err.problem, err.remedy),
        }
        it.notes.extend(files.unused_note());
        Ok(it)
    }

    /// Reads a sample file.
    fn read(&mut self, text: &str, dir: &Path, files: &mut Files) {
        let records = Records::of(text);
        let header = records.header();
        if header.fields.iter().all(str::is_empty) {
            let remedy = "put a header and a row for each image there";
            return self.findings.add("header", "is empty", remedy);
        }
        self.header = Header::of(header.fields.iter().map(str::to_owned).collect());
        let (mut n_rows, mut first) = (0, None);
        for record in records.untrimmed().rows() {
            n_rows += 1;
            let place = || format!("line {}", record.line);
            if let Some(problem) = record.problem(&header) {
                self.findings.add(place(), problem, "correct the row");
                continue;
            }
            match self.image(&record, files) {
                Ok(image) => self.images.push(image),
                Err((problem, remedy)) => {
                    first.get_or_insert_with(|| problem.clone());
                    self.findings.add(place(), problem, remedy);
                }
            }
        }
        if n_rows == 0 {
            self.findings.add("rows", "there are none", "add a row for each image");
        } else if let (true, Some(first)) = (n_rows > 1 && self.images.is_empty(), first) {
            self.findings = Findings::default();
            let problem = format!("none of the {n_rows} ids has an image in {}", dir.display());
            let problem = format!("{problem}; the first: {first}");
            self.findings.add("ids", problem, "name the folder of the images with `--images`");
        }
    }

    /// Returns the image of a row.
    ///
    /// # Errors
    /// What is wrong with the id, and how to fix it.
    fn image(
        &self,
        record: &Record,
        files: &mut Files,
    ) -> Result<(String, Content), (String, &'static str)> {
        let id = &record.fields[self.header.id];
        // Spaces belong to an id only where there is a file of that name.
        let found = match files.find(id, record.line) {
            Err(_) if id != id.trim() => {
                let id = id.trim();
                files.find(id, record.line).map(|it| (id, it))
            }
            found => found.map(|it| (id, it)),
        };
        found.map(|(id, (_, file))| (id.to_owned(), Content::File(file)))
    }
}

/// Returns the sample file that belongs to a folder of images, if there is one.
fn sample_of(root: &Path) -> Option<PathBuf> {
    const NAME: &str = "sample_submission.csv";
    // `..` and `.` have no name, and `with_file_name` would not lead out of them.
    let beside = match root.file_name() {
        Some(_) => root.with_file_name(NAME),
        None => root.join("..").join(NAME),
    };
    [root.join("info.csv"), root.join(NAME), beside].into_iter().find(|it| it.is_file())
}
