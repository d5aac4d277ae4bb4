//! The images of a folder, recognised by the files' content; of a large one to train on, by their extensions
//! where they have an image's.
//!
//! A folder is read once, however many links lead to it, and a link to a parent folder is not followed, so
//! cycles of links end. A link to a file, and another hard link, are images with names of their own.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use augment::{SNIFFED, Sniffed, sniff};
use rayon::prelude::*;

use crate::{
    findings::{Finding, Findings},
    manifest::Content,
    names::{lookalikes, text_of},
    source::SourceError,
    verified::{problem_of, remedy},
};

/// The content of a folder.
#[derive(Debug, Default)]
pub struct Folder {
    /// The images, with their paths relative to the folder as names.
    pub images: Vec<(String, Content)>,
    /// Images that cannot be read.
    pub unreadable: Findings,
    /// Entries that were skipped, and why, sorted by name.
    pub skipped: Vec<(String, Skipped)>,
    /// Remarks for the user that are not errors.
    pub notes: Vec<String>,
}

/// Why an entry of a folder was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skipped {
    /// The name begins with a dot.
    Hidden,
    /// The first bytes are not those of an image.
    NoImage,
    /// A broken link, or a cycle of links.
    DeadLink,
    /// A link to a folder that has been read, or to a parent folder.
    LinkBack,
    /// Neither a file nor a folder.
    NoFile,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Skipped::Hidden => "hidden (the name begins with a dot)",
            Skipped::NoImage => "not an image (by the first bytes)",
            Skipped::DeadLink => "broken link",
            Skipped::LinkBack => "link to a folder that has been read already, or to a parent",
            Skipped::NoFile => "neither a file nor a folder",
        })
    }
}

impl Folder {
    /// Describes the skipped entries: their count and names, one line per reason; `None` if there are none.
    pub fn skipped_text(&self) -> Option<String> {
        /// The maximum number of names listed per reason.
        const SHOWN: usize = 20;
        let mut by_reason: BTreeMap<Skipped, Vec<&str>> = BTreeMap::new();
        for (name, why) in &self.skipped {
            by_reason.entry(*why).or_default().push(name);
        }
        let line = |(why, names): (Skipped, Vec<&str>)| {
            let shown = names[..names.len().min(SHOWN)].join(", ");
            let more = match names.len().saturating_sub(SHOWN) {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            format!("\n  {} {why}: {shown}{more}", names.len())
        };
        let n = self.skipped.len();
        let lines: String = by_reason.into_iter().map(line).collect();
        (n > 0).then(|| format!("{n} skipped:{lines}"))
    }
}

/// How files are recognised as images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognise {
    /// By their first bytes.
    ByContent,
    /// By their extension, and files without an image's by their first bytes: for images that will be
    /// verified, so that not every file is opened twice.
    ByExtension,
}

/// Lists the images of a folder and its subfolders; or a single file, whatever its content.
///
/// # Errors
/// A path or a folder that cannot be read, a folder without images, or two files that would get the same
/// name.
pub fn list_images(path: &Path, recognise: Recognise) -> Result<Folder, SourceError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        let remedy = "name an image, or a folder of images";
        move |source| SourceError::Io { path, source, remedy }
    };
    if fs::metadata(path).map_err(io(path))?.is_file() {
        let name = text_of(path.file_name().unwrap_or_default());
        let images = vec![(name, Content::File(path.to_owned()))];
        return Ok(Folder { images, ..Folder::default() });
    }
    let mut walk = Walk { root: path, files: Vec::new(), skipped: Vec::new() };
    walk.all().map_err(|(path, source)| io(&path)(source))?;
    let Walk { mut files, mut skipped, .. } = walk;
    files.sort_unstable();
    let sniffed = |it: &(String, PathBuf)| match recognise {
        Recognise::ByExtension if ends_with(&it.1, &IMAGE) => Ok(Sniffed::Image),
        _ => sniff_file(&it.1),
    };
    let sniffed: Vec<io::Result<Sniffed>> = files.par_iter().map(sniffed).collect();

    let (mut images, mut unreadable) = (Vec::new(), Findings::default());
    for ((name, file), sniffed) in files.into_iter().zip(sniffed) {
        match sniffed {
            // By its first bytes, a camera's raw file is an ordinary TIFF file.
            Ok(Sniffed::Image) if !ends_with(&file, &RAW) => {
                images.push((name, Content::File(file)));
            }
            Ok(Sniffed::Image) => unreadable.0.push(foreign(name, "a camera's raw format")),
            Ok(Sniffed::Foreign(format)) => unreadable.0.push(foreign(name, format)),
            // The extension is an image's: report it as a damaged image instead of skipping it.
            Ok(Sniffed::Other) if ends_with(&file, &IMAGE) => {
                images.push((name, Content::File(file)));
            }
            Ok(Sniffed::Other) => skipped.push((name, Skipped::NoImage)),
            Err(err) => {
                let problem = problem_of(&err);
                let remedy = remedy(&problem, "make it readable");
                unreadable.add(name, problem, remedy);
            }
        }
    }
    skipped.sort_unstable();
    let mut findings = Findings::default();
    for names in images.windows(2).filter(|it| it[0].0 == it[1].0) {
        let problem = "two files get this name, because bytes that are not UTF-8 are escaped";
        findings.add(names[0].0.clone(), problem, "rename one of them");
    }
    if images.is_empty() && unreadable.0.is_empty() {
        return Err(SourceError::Empty(path.to_owned()));
    }
    if !findings.0.is_empty() {
        findings.0.dedup();
        return Err(SourceError::Findings { root: path.to_owned(), findings });
    }
    let notes = notes(&images);
    Ok(Folder { images, unreadable, skipped, notes })
}

/// Extensions of image files, whatever their content.
const IMAGE: [&str; 16] = [
    "jpg", "jpeg", "jpe", "jfif", "jif", "mpo", "png", "webp", "gif", "bmp", "dib", "tif", "tiff",
    "heic", "heif", "avif",
];

/// Extensions of cameras' raw files that begin like any TIFF file.
const RAW: [&str; 9] = ["nef", "nrw", "arw", "sr2", "dng", "pef", "3fr", "erf", "kdc"];

/// Whether a file's ending is that of an image.
pub fn has_image_ending(path: &Path) -> bool {
    ends_with(path, &IMAGE)
}

fn ends_with(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    endings.contains(&ending.as_str())
}

fn foreign(name: String, format: &str) -> Finding {
    let remedy = "save it as JPEG or PNG".to_owned();
    Finding { place: name, problem: format!("{format} is not supported"), remedy }
}

fn sniff_file(path: &Path) -> io::Result<Sniffed> {
    let mut head = Vec::with_capacity(SNIFFED);
    File::open(path)?.take(SNIFFED as u64).read_to_end(&mut head)?;
    Ok(sniff(&head))
}

/// Returns remarks on the names.
fn notes(images: &[(String, Content)]) -> Vec<String> {
    let mut notes = Vec::new();
    let is_text = |content: &Content| match content {
        Content::File(path) => path.to_str().is_some(),
        Content::Memory(_) => true,
    };
    let escaped: Vec<&str> =
        images.iter().filter(|it| !is_text(&it.1)).map(|it| it.0.as_str()).collect();
    if let Some(first) = escaped.first() {
        notes.push(format!(
            "names that are not UTF-8: {}, such as `{first}`; their invalid bytes are written as \\xNN",
            escaped.len()
        ));
    }
    let similar = lookalikes(images.iter().map(|it| it.0.as_str()));
    if let Some(first) = similar.first() {
        notes.push(format!(
            "names that exist in two Unicode forms (NFC and NFD) and look the same: {}, such as \
             `{first}`; they belong to different files, and each has a row",
            similar.len()
        ));
    }
    notes
}

/// A recursive walk through folders.
struct Walk<'a> {
    root: &'a Path,
    /// The name and path of each file.
    files: Vec<(String, PathBuf)>,
    skipped: Vec<(String, Skipped)>,
}

impl Walk<'_> {
    /// Returns the name of a path: relative to the root.
    fn name(&self, path: &Path) -> String {
        text_of(path.strip_prefix(self.root).unwrap_or(path).as_os_str())
    }

    /// Walks all folders. Links are followed last, so that a folder is listed under its own path.
    fn all(&mut self) -> Result<(), (PathBuf, io::Error)> {
        let canonical = |path: &Path| fs::canonicalize(path).map_err(|err| (path.to_owned(), err));
        let root = canonical(self.root)?;
        let (mut todo, mut links) = (vec![(self.root.to_owned(), root.clone())], BTreeSet::new());
        let mut read = HashSet::new();
        loop {
            while let Some((dir, place)) = todo.pop() {
                if !read.insert(place.clone()) {
                    self.skipped.push((self.name(&dir), Skipped::LinkBack));
                    continue;
                }
                self.one(&dir, &place, &mut todo, &mut links).map_err(|err| (dir, err))?;
            }
            let Some(link) = links.pop_first() else { return Ok(()) };
            let place = canonical(&link)?;
            match root.starts_with(&place) || read.contains(&place) {
                true => self.skipped.push((self.name(&link), Skipped::LinkBack)),
                false => todo.push((link, place)),
            }
        }
    }

    /// Reads one folder.
    ///
    /// - `place`: its canonical path, without links.
    fn one(
        &mut self,
        dir: &Path,
        place: &Path,
        todo: &mut Vec<(PathBuf, PathBuf)>,
        links: &mut BTreeSet<PathBuf>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (path, own) = (entry.path(), entry.file_name());
            if own.as_encoded_bytes().starts_with(b".") {
                self.skipped.push((self.name(&path), Skipped::Hidden));
                continue;
            }
            let kind = entry.file_type()?;
            let is_link = kind.is_symlink();
            let kind = match is_link {
                false => kind,
                true => match fs::metadata(&path) {
                    Ok(it) => it.file_type(),
                    Err(_) => {
                        self.skipped.push((self.name(&path), Skipped::DeadLink));
                        continue;
                    }
                },
            };
            if kind.is_file() {
                self.files.push((self.name(&path), path));
            } else if !kind.is_dir() {
                self.skipped.push((self.name(&path), Skipped::NoFile));
            } else if is_link {
                links.insert(path);
            } else {
                todo.push((path, place.join(own)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{Folder, Recognise, list_images};

    const JPEG: &[u8] = b"\xFF\xD8\xFF\xE0\0\x10JFIF\0";

    fn write(dir: &Path, files: &[(&str, &[u8])]) {
        for (name, bytes) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    fn names(folder: &Folder) -> Vec<&str> {
        folder.images.iter().map(|it| it.0.as_str()).collect()
    }

    #[test]
    fn images_are_found_by_content_and_other_files_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let err = list_images(dir.path(), Recognise::ByContent).unwrap_err().to_string();
        let own = dir.path().display();
        assert_eq!(err, format!("{own}: contains no images: name another folder"));
        write(
            dir.path(),
            &[
                ("a.jpg", JPEG),
                ("b.JPG", JPEG),
                ("c.jfif", JPEG),
                ("in/d.jpe", JPEG),
                ("in/e", JPEG),
                ("f.heic", JPEG),
                ("g.txt", JPEG),
                ("notes.txt", b"BMW and other cars"),
                ("empty", b""),
                ("cut.jpg", b""),
                ("._a.jpg", b"\0\x05\x16\x07"),
                (".git/x.jpg", JPEG),
                ("real.heic", b"\0\0\0\x18ftypheic\0\0\0\0"),
                ("raw.NEF", b"II*\0\x08\0\0\0"),
            ],
        );
        let it = list_images(dir.path(), Recognise::ByContent).unwrap();
        let want = ["a.jpg", "b.JPG", "c.jfif", "cut.jpg", "f.heic", "g.txt", "in/d.jpe", "in/e"];
        assert_eq!(names(&it), want);
        assert_eq!(
            it.skipped_text().unwrap(),
            "4 skipped:\n  \
             2 hidden (the name begins with a dot): ._a.jpg, .git\n  \
             2 not an image (by the first bytes): empty, notes.txt"
        );
        let unreadable: Vec<String> =
            it.unreadable.0.iter().map(|it| format!("{}: {}", it.place, it.problem)).collect();
        let want =
            ["raw.NEF: a camera's raw format is not supported", "real.heic: HEIC is not supported"];
        assert_eq!(unreadable, want);
        // A file that is named explicitly is listed, whatever its content.
        assert_eq!(
            names(&list_images(&dir.path().join("notes.txt"), Recognise::ByContent).unwrap()),
            ["notes.txt"]
        );
        assert!(list_images(&dir.path().join("absent"), Recognise::ByContent).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn cycles_of_links_end_and_list_each_image_once() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        write(
            dir.path(),
            &[
                ("root/a/1.jpg", JPEG),
                ("root/b/2.jpg", JPEG),
                ("root/z/3.jpg", JPEG),
                ("outside/deep/4.jpg", JPEG),
                ("beside.jpg", JPEG),
            ],
        );
        let link = |to: &str, from: &str| symlink(to, root.join(from)).unwrap();
        link(".", "a/self");
        link("..", "a/up");
        link("../..", "a/out");
        link("/", "everything");
        link("../b", "a/b");
        link("../a", "b/a");
        // By name it comes before `z`, which is still listed as `z`.
        link("z", "link");
        link("../outside", "outside");
        link("../outside/deep", "deep");
        link("circle", "circle");
        link("nowhere", "dead.jpg");
        link("b/2.jpg", "two.jpg");
        let it = list_images(&root, Recognise::ByContent).unwrap();
        // A folder outside is listed under the first link to it.
        let want = ["a/1.jpg", "b/2.jpg", "deep/4.jpg", "two.jpg", "z/3.jpg"];
        assert_eq!(names(&it), want);
        assert_eq!(
            it.skipped_text().unwrap(),
            "10 skipped:\n  \
             2 broken link: circle, dead.jpg\n  \
             8 link to a folder that has been read already, or to a parent: a/b, a/out, a/self, \
             a/up, b/a, everything, link, outside/deep"
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn names_in_another_encoding_or_form_are_distinguished() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &[u8]| fs::write(dir.path().join(OsStr::from_bytes(name)), JPEG).unwrap();
        write(b"caf\xE8.jpg");
        write(b"caf\xE9.jpg");
        write("ni\u{f1}o.jpg".as_bytes());
        write("nin\u{303}o.jpg".as_bytes());
        let it = list_images(dir.path(), Recognise::ByContent).unwrap();
        let want = [r"caf\xE8.jpg", r"caf\xE9.jpg", "nin\u{303}o.jpg", "ni\u{f1}o.jpg"];
        assert_eq!(names(&it), want);
        let notes = it.notes.join("\n");
        assert!(notes.contains("not UTF-8: 2,") && notes.contains(r"`caf\xE8.jpg`"));
        assert!(notes.contains("look the same: 1, such as"), "{notes}");
        // A name equal to the escaped form of another.
        write(br"caf\xE8.jpg");
        let err = list_images(dir.path(), Recognise::ByContent).unwrap_err().to_string();
        assert!(err.contains(r"caf\xE8.jpg: two files get this name"), "{err}");
    }
}
