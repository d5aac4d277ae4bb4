//! Recognises how a folder of labelled images is laid out, for `maskfit init`.
//!
//! Nothing is decided by a folder's name: a table is one whose values name files, a tree of classes is one
//! whose subfolders contain images. Only to choose among several columns, names count.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use base::{
    records::{Record, Records},
    text,
};
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

/// Recognises the layout of a folder.
///
/// # Errors
/// A folder that cannot be read, or in which nothing is recognised: what was looked for.
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
    let tables: Vec<Labelled> = entries
        .tables
        .iter()
        .filter(|it| !is_sample(it))
        .filter_map(|it| Labelled::of(dir, it, &entries.folders))
        .collect();
    if let Some(it) = tables.into_iter().max_by(|a, b| a.share.total_cmp(&b.share)) {
        return Ok(it.layout(dir, sample));
    }
    let classes = |dir: &Path| {
        let folders = Entries::of(dir).map(|it| it.folders).unwrap_or_default();
        folders.into_iter().filter(|it| has_image(&dir.join(it), 3)).collect::<Vec<_>>()
    };
    let with_images = |dir: &Path| classes(dir).len() >= 2;
    let folders = |remark: &str| {
        let source = vec![("kind", "folders".into()), ("root", text_of(dir))];
        Layout { source, remarks: vec![remark.to_owned()], sample: sample.clone() }
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
    bail!(
        "{}: recognised no layout: expected `train.csv` with the columns {} and `images/`; or a CSV or TSV \
         file with a column that names images in this folder or a subfolder, and one of labels; or a folder \
         of images for each class, here or in `train/`",
        dir.display(),
        PROFILES.join(", ")
    )
}

/// The names in a folder, without hidden ones.
#[derive(Default)]
struct Entries {
    folders: BTreeSet<String>,
    /// CSV and TSV files.
    tables: BTreeSet<String>,
}

impl Entries {
    fn of(dir: &Path) -> anyhow::Result<Entries> {
        let mut entries = Entries::default();
        for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
            let entry = entry.with_context(|| dir.display().to_string())?;
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
            }
        }
        Ok(entries)
    }
}

fn is_sample(name: &str) -> bool {
    name.to_lowercase().contains("submission") || name == "info.csv"
}

fn has_profiles(root: &Path) -> bool {
    let has_columns = |text: &String| {
        let header = Records::of(text).header();
        PROFILES.iter().all(|it| header.column(it).is_some())
    };
    root.join("images").is_dir()
        && text::read(&root.join("train.csv")).is_ok_and(|it| has_columns(&it))
}

/// Returns whether a folder contains an image, at most `depth` folders deep; by the ending.
fn has_image(dir: &Path, depth: usize) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    let mut folders = Vec::new();
    for path in entries.take(LOOKED_AT).filter_map(Result::ok).map(|it| it.path()) {
        let name = path.to_string_lossy();
        if ENDINGS[1..].iter().any(|it| name.ends_with(it)) && path.is_file() {
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
    /// Finds the column and the folder of the images; `None` if not even half of the rows have one.
    fn of(dir: &Path, csv: &str, folders: &BTreeSet<String>) -> Option<Labelled> {
        let text = text::read(&dir.join(csv)).ok()?;
        let records = Records::of(&text);
        let header: Vec<String> = records.header().fields.iter().map(str::to_owned).collect();
        let rows: Vec<Record> = records.rows().take(LOOKED_AT).collect();
        let mut best: Option<(f64, String, usize)> = None;
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
                let share = n as f64 / rows.len().max(1) as f64;
                if share >= 0.5 && best.as_ref().is_none_or(|it| share > it.0) {
                    best = Some((share, folder.to_owned(), image));
                }
            }
        }
        let (share, images, image) = best?;
        Some(Labelled { csv: csv.to_owned(), images, header, image, share, rows })
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

    fn layout(&self, dir: &Path, sample: Option<PathBuf>) -> Layout {
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
        let place = if self.images.is_empty() { "this folder" } else { &self.images };
        let mut remarks = vec![format!(
            "a table, `{}`, whose column `{}` names the images in `{place}`",
            self.csv, self.header[self.image]
        )];
        let others: Vec<String> = candidates
            .iter()
            .filter(|it| Some(**it) != label)
            .map(|&it| format!("`{}`", self.header[it]))
            .collect();
        match label {
            None => remarks.push(format!(
                "no column of labels was recognised: set `data.source.label` to one of {}",
                self.header.join(", ")
            )),
            Some(_) if !others.is_empty() => remarks.push(format!(
                "these columns may be labels too: {}; list several as `labels`, or keep them for reports as \
                 `attributes`",
                others.join(", ")
            )),
            Some(_) => {}
        }
        if group.is_none() {
            remarks.push(
                "no column says which images belong together (one person's, one object's): if some do, set \
                 `data.source.group`, or scores on the validation set will be too high"
                    .to_owned(),
            );
        }
        Layout { source, remarks, sample }
    }
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
        for names in [&[][..], &["1.jpg", "2.jpg"], &["train/1.jpg"]] {
            files(dir.path(), names);
            assert!(err(dir.path()).contains("recognised no layout"), "{names:?}");
        }
        fs::write(dir.path().join("other.csv"), "a,b\n8,9\n").unwrap();
        assert!(err(dir.path()).contains("recognised no layout"));
        for name in ["one/1.jpg", "train/one/1.jpg"] {
            let dir = tempfile::tempdir().unwrap();
            files(dir.path(), &[name]);
            let text = err(dir.path());
            assert!(text.contains("only one folder of images, `one`: at least two"), "{text}");
        }
    }
}
