//! Recognises how a folder of labelled images is laid out, for `maskfit init` and `eda`.
//!
//! Nothing is decided by a folder's name: a table is one whose values name files, a tree of classes is one
//! whose subfolders contain images. Only to choose among several columns, names count.

use std::{
    collections::{BTreeSet, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use base::{
    names::quoted,
    records::{Record, Records},
    text,
};
use data::has_image_ending;
use toml::Value;

/// A recognised layout.
#[derive(Debug, PartialEq)]
pub(crate) struct Layout {
    /// The setting `data.source`, the kind first.
    pub(crate) source: Vec<(&'static str, Value)>,
    /// What was recognised, and what was left for the user to decide: a sentence each.
    pub(crate) remarks: Vec<String>,
    /// The sample file of a submission.
    pub(crate) sample: Option<PathBuf>,
}

impl Layout {
    /// Returns the source as an inline table.
    pub(crate) fn setting(&self) -> String {
        inline(&self.source)
    }
}

fn inline(source: &[(&str, Value)]) -> String {
    let settings = source.iter().map(|(name, value)| format!("{name} = {value}"));
    format!("{{ {} }}", settings.collect::<Vec<_>>().join(", "))
}

/// The columns of the mask competition's table.
const PROFILES: [&str; 5] = ["id", "gender", "race", "age", "path"];

/// The number of rows and files that are looked at.
const LOOKED_AT: usize = 2000;

/// Names of columns that are labels, the most certain first.
const LABELS: [&str; 8] =
    ["label", "labels", "class", "category", "target", "breed", "species", "ans"];
/// Names of columns of what images belong together by.
const GROUPS: [&str; 8] =
    ["group", "person", "person_id", "patient", "patient_id", "subject", "subject_id", "identity"];

/// Endings of images, in the order in which they are tried.
const ENDINGS: [&str; 8] = ["", ".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".webp", ".bmp"];

/// What is recognised.
const LAYOUTS: &str = "recognised are:\n  \
    - a folder of images for each class, here or in `train/`\n  \
    - a CSV or TSV file with a column that names images in this folder or a subfolder, and one of labels\n  \
    - `train.csv` with the columns `id`, `gender`, `race`, `age` and `path`, and `images/`";

/// Recognises the layout of a folder.
///
/// # Errors
/// A folder that cannot be read, or in which nothing is recognised: what is there, and what was looked for.
pub(crate) fn recognise(dir: &Path) -> anyhow::Result<Layout> {
    let entries = Entries::of(dir)?;
    for root in [dir.to_owned(), dir.join("train")] {
        if has_profiles(&root) {
            let remark = "the mask competition's layout: `train.csv`, and `images/` with seven images a person";
            let source = vec![("kind", "mask_profiles".into()), ("root", text_of(&root))];
            return Ok(Layout { source, remarks: vec![remark.to_owned()], sample: None });
        }
    }
    let sample = entries.tables.iter().find(|it| is_sample(it)).map(|it| dir.join(it));
    let (mut tables, mut found): (Vec<Labelled>, Vec<String>) = Default::default();
    for csv in entries.tables.iter().filter(|it| !is_sample(it)) {
        match Labelled::of(dir, csv, &entries.folders) {
            Ok(it) => tables.push(it),
            Err(why) => found.push(format!("`{csv}` {why}")),
        }
    }
    if let Some(it) = tables.into_iter().max_by(|a, b| a.share.total_cmp(&b.share)) {
        return it.layout(dir, sample);
    }
    let classes = |dir: &Path| {
        let folders = Entries::of(dir).map(|it| it.folders).unwrap_or_default();
        folders.into_iter().filter(|it| has_image(&dir.join(it), 3)).collect::<Vec<_>>()
    };
    let with_images = |dir: &Path| classes(dir).len() >= 2;
    let folders = |remark: &str| {
        let source = vec![("kind", "folders".into()), ("root", text_of(dir))];
        let groups = "nothing says which images belong together (one person's, one object's), so each is its \
                      own group: if some do, set `data.source.group`, as in \
                      `group = { regex = \"([^/]+)_[0-9]+[.]\" }` for `rex_1.jpg` and `rex_2.jpg`, or scores \
                      on the validation set will be too high";
        let remarks = vec![remark.to_owned(), groups.to_owned()];
        Layout { source, remarks, sample: sample.clone() }
    };
    if entries.folders.contains("train") && with_images(&dir.join("train")) {
        return Ok(folders(
            "a folder for each class in `train/`, and in `val/` and `test/` where they exist",
        ));
    }
    if with_images(dir) {
        return Ok(folders("a folder for each class"));
    }
    // `train` alone has the classes below it.
    let train = dir.join("train");
    for root in [train.as_path(), dir] {
        if let [only] = classes(root).as_slice()
            && root.join(only) != train
            && entries.tables.is_empty()
        {
            bail!(
                "{}: only one folder of images, `{only}`: at least two are needed, one for each class",
                root.display()
            );
        }
    }
    found.extend(entries.description(&classes(dir)));
    bail!("{}: recognised no layout: {}; {LAYOUTS}", dir.display(), found.join("; "))
}

/// The names in a folder, without hidden ones.
#[derive(Default)]
struct Entries {
    folders: BTreeSet<String>,
    /// CSV and TSV files.
    tables: BTreeSet<String>,
    /// The number of images, by the ending.
    n_images: usize,
}

impl Entries {
    fn of(dir: &Path) -> anyhow::Result<Entries> {
        let mut entries = Entries::default();
        let place = || dir.display().to_string();
        let read = fs::read_dir(dir).map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => {
                anyhow!("{}: there is no such folder: name the folder of the images", place())
            }
            io::ErrorKind::NotADirectory => {
                anyhow!("{}: is a file: name the folder of the images", place())
            }
            _ => anyhow!("{}: {err}", place()),
        });
        for entry in read? {
            let entry = entry.with_context(place)?;
            // The settings name these files, and settings are text.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            let path = entry.path();
            let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
            if path.is_dir() {
                entries.folders.insert(name);
            } else if ["csv", "tsv"].contains(&ending.as_str()) {
                entries.tables.insert(name);
            } else {
                entries.n_images += usize::from(has_image_ending(&path));
            }
        }
        Ok(entries)
    }

    /// Describes the images of a folder in which nothing was recognised, and what may be meant.
    ///
    /// - `with_images`: its subfolders with images.
    fn description(&self, with_images: &[String]) -> Option<String> {
        let folders: Vec<String> = self.folders.iter().cloned().collect();
        Some(match (self.n_images, with_images, folders.as_slice()) {
            (0, [], []) if !self.tables.is_empty() => return None,
            (0, [], []) => "there are no images, folders or tables".to_owned(),
            (0, [], _) => format!("there are no images in its folders ({})", quoted(&folders)),
            (0, some, _) => format!("images are in {}", quoted(some)),
            (n, _, []) => format!(
                "there are {n} images and no folders: if they are one class, name the folder above; if they \
                 are of several, put those of each class into a folder, or add a table of their labels"
            ),
            (n, ..) => format!(
                "there are {n} images here, and folders ({}): put the images of each class into a folder, or \
                 add a table of their labels",
                quoted(&folders)
            ),
        })
    }
}

fn is_sample(name: &str) -> bool {
    name.to_lowercase().contains("submission") || name == "info.csv"
}

fn has_profiles(root: &Path) -> bool {
    root.join("images").is_dir()
        && text::read(&root.join("train.csv"))
            .is_ok_and(|it| has_profile_columns(&Records::of(&it).header()))
}

fn has_profile_columns(header: &Record) -> bool {
    PROFILES.iter().all(|it| header.column(it).is_some())
}

/// Returns whether a folder contains an image, at most `depth` folders deep; by the ending.
fn has_image(dir: &Path, depth: usize) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    let mut folders = Vec::new();
    for path in entries.take(LOOKED_AT).filter_map(Result::ok).map(|it| it.path()) {
        if has_image_ending(&path) && path.is_file() {
            return true;
        }
        if path.is_dir() {
            folders.push(path);
        }
    }
    depth > 1 && folders.iter().any(|it| has_image(it, depth - 1))
}

/// A table of which one column names images.
struct Labelled {
    csv: String,
    /// The folder of the images, relative; empty for that of the table.
    images: String,
    header: Vec<String>,
    image: usize,
    /// The share of rows looked at whose image was found.
    share: f64,
    rows: Vec<Record>,
}

impl Labelled {
    /// Finds the column and the folder of the images.
    ///
    /// # Errors
    /// Not even half of the rows have an image, or there are none: what is in the table.
    fn of(dir: &Path, csv: &str, folders: &BTreeSet<String>) -> Result<Labelled, String> {
        let text = text::read(&dir.join(csv)).map_err(|err| format!("cannot be read: {err}"))?;
        let records = Records::of(&text);
        let header: Vec<String> = records.header().fields.iter().map(str::to_owned).collect();
        let rows: Vec<Record> = records.rows().take(LOOKED_AT).collect();
        if rows.is_empty() {
            return Err("has no rows".to_owned());
        }
        let mut best: Option<(usize, String, usize)> = None;
        for folder in std::iter::once("").chain(folders.iter().map(String::as_str)) {
            for image in 0..header.len() {
                let is_there = |row: &&Record| {
                    let name = row.fields.get(image).unwrap_or_default();
                    let place = dir.join(folder);
                    !name.is_empty()
                        && ENDINGS.iter().any(|it| place.join(format!("{name}{it}")).is_file())
                };
                // A column that names no image in its first rows names none at all.
                if rows.len() > 20 && !rows[..20].iter().any(|it| is_there(&it)) {
                    continue;
                }
                let n = rows.iter().filter(is_there).count();
                if n > 0 && best.as_ref().is_none_or(|it| n > it.0) {
                    best = Some((n, folder.to_owned(), image));
                }
            }
        }
        let Some((n, images, image)) = best else {
            if has_profile_columns(&records.header()) {
                return Err("has the columns of the mask competition, but there is no `images/` \
                            beside it"
                    .to_owned());
            }
            return Err(format!(
                "has the columns {}, none of which names files in this folder or a subfolder",
                quoted(&header)
            ));
        };
        if 2 * n < rows.len() {
            let (column, n_rows) = (&header[image], rows.len());
            let place = place(&images);
            return Err(format!(
                "names files in {place} in only {n} of {n_rows} rows, in its column `{column}`"
            ));
        }
        let share = n as f64 / rows.len() as f64;
        Ok(Labelled { csv: csv.to_owned(), images, header, image, share, rows })
    }

    fn values(&self, column: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().map(move |it| it.fields.get(column).unwrap_or_default())
    }

    fn column(&self, names: &[&str]) -> Option<usize> {
        let of = |name: &&str| self.header.iter().position(|it| it.to_lowercase() == *name);
        names.iter().find_map(of).filter(|it| *it != self.image)
    }

    /// Returns the column that divides the rows into sets.
    fn split(&self) -> Option<usize> {
        let sets = ["train", "val", "valid", "validation", "test"];
        let is_set = |it: &str| sets.contains(&it.to_lowercase().as_str());
        (0..self.header.len()).find(|&it| !self.rows.is_empty() && self.values(it).all(is_set))
    }

    /// Returns the columns whose values repeat, so that they may be labels.
    fn candidates(&self, without: &[Option<usize>]) -> Vec<usize> {
        let repeats = |&it: &usize| {
            let n = self.values(it).collect::<HashSet<_>>().len();
            n >= 2 && n <= 2.max(self.rows.len() / 2)
        };
        let is_free = |it: &usize| *it != self.image && !without.contains(&Some(*it));
        (0..self.header.len()).filter(is_free).filter(repeats).collect()
    }

    /// Returns the layout.
    ///
    /// # Errors
    /// No column of labels is recognised.
    fn layout(&self, dir: &Path, sample: Option<PathBuf>) -> anyhow::Result<Layout> {
        let (split, group) = (self.split(), self.column(&GROUPS));
        let weight = self.column(&["weight"]);
        let candidates = self.candidates(&[split, group, weight]);
        let named = self.column(&LABELS);
        let label = named.or_else(|| candidates.first().copied());
        let name = |column: usize| Value::from(self.header[column].clone());
        let mut source = vec![
            ("kind", "table".into()),
            ("root", text_of(dir)),
            ("csv", self.csv.clone().into()),
            ("images", self.images.clone().into()),
            ("image", name(self.image)),
        ];
        source.extend(label.map(|it| ("label", name(it))));
        source.extend(group.map(|it| ("group", name(it))));
        source.extend(split.map(|it| ("split", name(it))));
        source.extend(weight.map(|it| ("weight", name(it))));
        let place = place(&self.images);
        let mut remarks = vec![format!(
            "a table, `{}`, whose column `{}` names the images in {place}",
            self.csv, self.header[self.image]
        )];
        let others: Vec<String> = candidates
            .iter()
            .filter(|it| Some(**it) != label)
            .map(|&it| format!("`{}`", self.header[it]))
            .collect();
        if label.is_none() {
            let columns: Vec<String> = (self.header.iter().enumerate())
                .filter(|it| it.0 != self.image)
                .map(|it| it.1.clone())
                .collect();
            source.push(("label", "COLUMN".into()));
            bail!(
                "{}: `{}` names images in its column `{}`, but none of its other columns ({}) has labels, \
                 which repeat: add such a column, or write a config with the `[data]` setting \
                 `source = {}`",
                dir.display(),
                self.csv,
                self.header[self.image],
                quoted(&columns),
                inline(&source)
            );
        }
        if !others.is_empty() {
            remarks.push(format!(
                "these columns may be labels too: {}; list several as `labels`, or keep them for reports as \
                 `attributes`",
                others.join(", ")
            ));
        }
        if group.is_none() {
            remarks.push(
                "no column says which images belong together (one person's, one object's): if some do, set \
                 `data.source.group`, or scores on the validation set will be too high"
                    .to_owned(),
            );
        }
        Ok(Layout { source, remarks, sample })
    }
}

/// Names the folder of images in a text.
///
/// - `images`: relative; empty for the folder itself.
fn place(images: &str) -> String {
    if images.is_empty() { "this folder".to_owned() } else { format!("`{images}`") }
}

fn text_of(path: &Path) -> Value {
    path.display().to_string().into()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{Layout, recognise};

    fn files(dir: &Path, names: &[&str]) {
        for name in names {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    /// The recognised settings without the root, and the remarks.
    fn of(dir: &Path) -> (String, String) {
        let Layout { source, remarks, .. } = recognise(dir).unwrap();
        let settings = source.iter().filter(|it| it.0 != "root");
        let settings: Vec<String> = settings.map(|(name, it)| format!("{name} = {it}")).collect();
        (settings.join(", "), remarks.join("\n"))
    }

    #[test]
    fn a_table_is_recognised_by_its_files() {
        let dir = tempfile::tempdir().unwrap();
        files(
            dir.path(),
            &["train/0a.jpg", "train/0b.jpg", "train/0c.png", "train/0d.jpg", "test/0e.jpg"],
        );
        fs::write(
            dir.path().join("labels.csv"),
            "id,breed\n0a,개\n0b,\"a, b\"\n0c,개\n0d,\"a, b\"\n",
        )
        .unwrap();
        fs::write(dir.path().join("sample_submission.csv"), "id,x\n0e,1\n").unwrap();
        let (source, remarks) = of(dir.path());
        assert_eq!(
            source,
            "kind = \"table\", csv = \"labels.csv\", images = \"train\", image = \"id\", label = \"breed\""
        );
        assert!(remarks.contains("no column says which images belong together"), "{remarks}");
        let sample = recognise(dir.path()).unwrap().sample.unwrap();
        assert!(sample.ends_with("sample_submission.csv"));
    }

    #[test]
    fn columns_of_sets_groups_and_weights_are_recognised() {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &["a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg"]);
        let text = "file\tPerson\tsplit\tweight\tshape\tcolour\na/1.jpg\tx\ttrain\t1\tround\tred\n\
                    a/2.jpg\tx\ttrain\t1\tround\tblue\na/3.jpg\ty\tval\t2\tflat\tred\na/4.jpg\ty\tval\t2\tflat\tblue\n";
        fs::write(dir.path().join("all.tsv"), text).unwrap();
        let (source, remarks) = of(dir.path());
        for want in [
            "image = \"file\"",
            "group = \"Person\"",
            "split = \"split\"",
            "weight = \"weight\"",
            "label = \"shape\"",
            "images = \"\"",
        ] {
            assert!(source.contains(want), "{want}: {source}");
        }
        assert!(remarks.contains("may be labels too: `colour`"), "{remarks}");
    }

    #[test]
    fn folders_and_the_competition_are_recognised() {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &["cat/1.jpg", "dog/sub/2.JPG"]);
        assert_eq!(of(dir.path()).0, "kind = \"folders\"");
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &["train/cat/1.jpg", "train/dog/2.png", "val/cat/3.jpg"]);
        assert_eq!(of(dir.path()).0, "kind = \"folders\"");
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &["train/images/p/mask1.jpg"]);
        fs::write(dir.path().join("train/train.csv"), "id,gender,race,age,path\n").unwrap();
        let layout = recognise(dir.path()).unwrap();
        assert_eq!(layout.source[0].1.as_str(), Some("mask_profiles"));
        assert!(layout.source[1].1.as_str().unwrap().ends_with("train"));
    }

    #[test]
    fn an_unknown_layout_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let err = |dir: &Path| recognise(dir).unwrap_err().to_string();
        assert!(err(&dir.path().join("absent")).contains("absent"));
        let (none, flat) = ("there are no images, folders or tables;", "2 images and no folders:");
        let mixed = "there are 2 images here, and folders (`train`):";
        let names = [(&[][..], none), (&["1.jpg", "2.tif"], flat), (&["train/1.jpg"], mixed)];
        for (names, found) in names {
            files(dir.path(), names);
            let text = err(dir.path());
            assert!(text.contains("recognised no layout") && text.contains(found), "{text}");
        }
        fs::write(dir.path().join("other.csv"), "a,b\n8,9\n").unwrap();
        assert!(err(dir.path()).contains("`other.csv` has the columns `a`, `b`, none of which"));
        for name in ["one/1.jpg", "train/one/1.jpg"] {
            let dir = tempfile::tempdir().unwrap();
            files(dir.path(), &[name]);
            let text = err(dir.path());
            assert!(text.contains("only one folder of images, `one`: at least two"), "{text}");
        }
    }
}
