//! The files that the names in a table mean: of a `table` source, or of a submission's sample file. Each folder
//! is listed once, and a file is found by its name with or without ending, whatever the Unicode form (NFC or
//! NFD) of either.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use base::names::quoted;

use crate::{
    folder::has_image_ending,
    names::{ComposedNames, composed, text_of},
};

/// The folder of the images, and those of its subfolders that rows have named.
pub struct Files {
    images: PathBuf,
    folders: HashMap<String, Folder>,
}

/// What is wrong with a name, and how to fix it.
type Problem = (String, &'static str);

/// How to fix a name that leads out of the folder of images.
const RELATIVE: &str = "write the path relative to it, with `/`";

impl Files {
    /// Lists the folder of the images.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn of(images: PathBuf) -> io::Result<Files> {
        let images = if images.as_os_str().is_empty() { PathBuf::from(".") } else { images };
        let folder = Folder::list(&images)?;
        Ok(Files { images, folders: HashMap::from([(String::new(), folder)]) })
    }

    /// A folder with these files, for tests.
    ///
    /// - `names`: sorted.
    #[cfg(test)]
    pub(super) fn in_memory(images: PathBuf, names: Vec<String>) -> Files {
        let folder = Folder::new(images.clone(), names, Vec::new());
        Files { images, folders: HashMap::from([(String::new(), folder)]) }
    }

    /// Returns the name of an image, with its ending and without `./`, and its file.
    ///
    /// - `line`: the line that names it.
    ///
    /// # Errors
    /// A name that leads out of the folder, or of no file, several files, or a file that another line has
    /// named.
    pub fn find(&mut self, image: &str, line: usize) -> Result<(String, PathBuf), Problem> {
        let image = image.strip_prefix("./").unwrap_or(image);
        if image.is_empty() {
            return Err(("the image is empty".to_owned(), "name the image, or remove the row"));
        }
        let is_name = |it: &str| !it.is_empty() && it != "." && it != ".." && !it.contains('\\');
        if !image.split('/').all(is_name) || Path::new(image).is_absolute() {
            return Err((format!("`{image}` is not a path within the folder of images"), RELATIVE));
        }
        let (dir, name) = image.rsplit_once('/').unwrap_or(("", image));
        if !self.folders.contains_key(dir) {
            let folder = self.subfolder(dir)?;
            self.folders.insert(dir.to_owned(), folder);
        }
        let folder = self.folders.get_mut(dir).expect("it has been inserted");
        let at = match folder.find(name).as_slice() {
            [at] => *at,
            [] => {
                let mut problem = format!("`{image}` has no file in {}", self.images.display());
                if let Some(first) = folder.not_utf8.first() {
                    let n = folder.not_utf8.len();
                    problem += &format!("; {n} names there are not UTF-8, such as `{first}`");
                }
                return Err((problem, "put the image there, or correct the row"));
            }
            several => {
                let names = quoted(several.iter().map(|&it| &folder.names[it]));
                return Err((
                    format!("`{image}` is {} files: {names}", several.len()),
                    "keep one of them",
                ));
            }
        };
        let first = std::mem::replace(&mut folder.lines[at], line);
        if first > 0 {
            folder.lines[at] = first;
            return Err((
                format!("`{image}` already has a row, in line {first}"),
                "remove one of the two",
            ));
        }
        let file = &folder.names[at];
        // The ending, where the table leaves it out.
        let ending = match file == name || composed(file) == composed(name) {
            true => "",
            false => &file[file.rfind('.').unwrap_or(file.len())..],
        };
        Ok((format!("{image}{ending}"), folder.path.join(file)))
    }

    /// Lists a subfolder; one that does not exist has no files.
    fn subfolder(&self, dir: &str) -> Result<Folder, Problem> {
        let mut path = self.images.clone();
        for part in dir.split('/') {
            let own = path.join(part);
            // Another Unicode form of the name.
            path = match own.is_dir() || part.is_ascii() {
                true => own,
                false => match ComposedNames::of_folder(&path).unwrap_or_default().like(part) {
                    [one] => path.join(one),
                    _ => own,
                },
            };
        }
        match Folder::list(&path) {
            Ok(it) => Ok(it),
            Err(err) => match err.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    Ok(Folder::new(path, Vec::new(), Vec::new()))
                }
                _ => Err((format!("{}: {err}", path.display()), "make the folder readable")),
            },
        }
    }

    /// Describes the images that no row names, if there are any.
    pub fn unused_note(&self) -> Option<String> {
        let mut unused: Vec<String> = Vec::new();
        for (dir, folder) in &self.folders {
            let files = folder.names.iter().zip(&folder.lines);
            let files = files.filter(|it| *it.1 == 0 && has_image_ending(Path::new(it.0)));
            unused.extend(
                files.map(
                    |it| if dir.is_empty() { it.0.clone() } else { format!("{dir}/{}", it.0) },
                ),
            );
        }
        unused.sort_unstable();
        (!unused.is_empty()).then(|| {
            let (dir, n) = (self.images.display(), unused.len());
            format!("images in {dir} without a row, not used: {n}: {}", quoted(&unused))
        })
    }
}

/// The files of one folder.
struct Folder {
    path: PathBuf,
    /// The names, sorted.
    names: Vec<String>,
    /// Names that are not UTF-8, sorted, as [`text_of`] writes them; they cannot be in a table.
    not_utf8: Vec<String>,
    /// The line that has named each, or 0.
    lines: Vec<usize>,
    /// The positions of the names that are not ASCII, by their composed form, with ending and without; made
    /// when it is first needed.
    looks: Option<HashMap<String, Vec<usize>>>,
}

impl Folder {
    fn list(path: &Path) -> io::Result<Folder> {
        let (mut names, mut not_utf8) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // A link is treated as a file: to follow it would be another system call for each.
            if entry.file_type().is_ok_and(|it| it.is_dir()) {
                continue;
            }
            match entry.file_name().into_string() {
                Ok(name) if name.starts_with('.') => {}
                Ok(name) => names.push(name),
                Err(name) => not_utf8.push(text_of(&name)),
            }
        }
        names.sort_unstable();
        not_utf8.sort_unstable();
        Ok(Folder::new(path.to_owned(), names, not_utf8))
    }

    fn new(path: PathBuf, names: Vec<String>, not_utf8: Vec<String>) -> Folder {
        Folder { path, lines: vec![0; names.len()], names, not_utf8, looks: None }
    }

    /// Returns the positions of the files that a name means: the one with exactly this name; or those with
    /// this name and an image's ending; or those that look like it.
    fn find(&mut self, name: &str) -> Vec<usize> {
        if let Ok(at) = self.names.binary_search_by(|it| it.as_str().cmp(name)) {
            return vec![at];
        }
        let with_dot = format!("{name}.");
        let begin = self.names.partition_point(|it| *it < with_dot);
        let after = self.names[begin..].iter().take_while(|it| it.starts_with(&with_dot));
        let meant = after.zip(begin..).filter(|it| stem(it.0) == Some(name));
        let found: Vec<usize> = meant.map(|it| it.1).collect();
        if !found.is_empty() || name.is_ascii() {
            return found;
        }
        let looks = self.looks.get_or_insert_with(|| {
            let mut looks: HashMap<String, Vec<usize>> = HashMap::new();
            for (at, name) in self.names.iter().enumerate().filter(|it| !it.1.is_ascii()) {
                for look in [Some(name.as_str()), stem(name)].into_iter().flatten() {
                    looks.entry(composed(look)).or_default().push(at);
                }
            }
            looks
        });
        looks.get(&composed(name)).cloned().unwrap_or_default()
    }
}

/// Returns the name of an image without its ending; `None` if its ending is not an image's.
fn stem(name: &str) -> Option<&str> {
    has_image_ending(Path::new(name)).then(|| name.rsplit_once('.').map_or(name, |it| it.0))
}
