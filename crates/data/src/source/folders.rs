//! A folder for each class, as torchvision's `ImageFolder` reads it.
//!
//! ```text
//! root/<class>/**                                      one tree, which the split divides
//! root/train/<class>/**, root/val/<class>/**           divided by the folders
//! root/test/<class>/**                                 in addition: the test set
//! ```
//!
//! `val` may also be called `valid` or `validation`. The classes are the folders' names, sorted by code point,
//! as in `ImageFolder`; an image's name is its path relative to the root, with `/`. Names that begin with `.`
//! are ignored. Unlike there, subfolders that links lead to twice are read once, images are recognised by
//! content where the extension is not an image's, and a class without images is an error that names all of
//! them. Images in `test/` without class folders have no labels and are not read: `submit` predicts them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use base::{Task, names::quoted, task::Factor};
use serde::{Deserialize, Serialize};

use super::{
    Context, Source, SourceError,
    grouping::{Grouping, NamePattern},
    samples::{Label, Sample, Samples, unit, verified},
};
use crate::{
    findings::Findings,
    folder::{Recognise, Skipped, list_images},
    manifest::{Content, Manifest, Use},
    names::text_of,
};

/// `source = { kind = "folders", root = "..." }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Folders {
    /// The folder of the classes' folders; or of `train`, `val` and `test`.
    pub root: PathBuf,
    /// The name of what is classified, for example `breed`.
    pub label: String,
    /// `{ regex = "..." }` on an image's name (`beagle/dog7-1.jpg`): its first capture group, or the whole
    /// match, names the group that the image belongs to, which no split divides; empty if images do not
    /// belong together.
    pub group: NamePattern,
    /// Whether `val/` is the validation set; if not, its images are split together with those of `train/`, as
    /// folds need it.
    pub keep_sets: bool,
}

impl Default for Folders {
    fn default() -> Folders {
        Folders {
            root: PathBuf::new(),
            label: "class".to_owned(),
            group: NamePattern::default(),
            keep_sets: true,
        }
    }
}

/// The names of the folder of the validation set.
const VALID: [&str; 3] = ["val", "valid", "validation"];

/// An image: its name, its class folder, its content, and what it is used for.
type Found = (String, String, Content, Use);

impl Source for Folders {
    fn list(&self, _: &Context<'_>) -> Result<(Manifest, Findings), SourceError> {
        let settings = |what: String| SourceError::Settings(what);
        if self.root.as_os_str().is_empty() {
            let what = "`data.source.root` is empty: name the folder of the classes' folders";
            return Err(settings(what.to_owned()));
        }
        if self.label.is_empty() {
            return Err(settings(
                "`data.source.label` is empty: name what is classified".to_owned(),
            ));
        }
        let grouping = match self.group.regex.as_str() {
            "" => None,
            regex => Some(Grouping::new(regex, "data.source.group.regex").map_err(settings)?),
        };
        let mut tree = Tree::default();
        for (part, usage) in parts(&self.root, self.keep_sets)? {
            tree.read(&self.root, &part, usage)?;
        }
        Ok(tree.samples(&self.root, &self.label, grouping.as_ref()).build())
    }

    fn read(&self, context: &Context<'_>) -> Result<Manifest, SourceError> {
        verified(&self.root, self.list(context)?, "replace or remove the file", context)
    }
}

/// Returns the names of a folder's subfolders, without hidden ones.
fn subfolders(dir: &Path) -> Result<BTreeSet<String>, SourceError> {
    let io = |source| SourceError::Io {
        path: dir.to_owned(),
        source,
        remedy: "`data.source.root` must be a folder with a folder for each class",
    };
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && entry.path().is_dir() {
            names.insert(text_of(&name));
        }
    }
    Ok(names)
}

/// Returns the trees of class folders, relative to the root, and what each is used for.
fn parts(root: &Path, keep_sets: bool) -> Result<Vec<(PathBuf, Use)>, SourceError> {
    let names = subfolders(root)?;
    if !names.contains("train") {
        return Ok(vec![(PathBuf::new(), Use::Pool)]);
    }
    let valid: Vec<&str> = VALID.into_iter().filter(|it| names.contains(*it)).collect();
    if valid.len() > 1 {
        let what =
            format!("{}: has the folders {}: keep one of them", root.display(), quoted(&valid));
        return Err(SourceError::Settings(what));
    }
    let known = |it: &String| it == "train" || it == "test" || VALID.contains(&it.as_str());
    if let Some(other) = names.iter().find(|it| !known(it)) {
        let what = format!(
            "{}: has both `train` and `{other}`: with `train`, the other folders are `val` and `test`; \
             if these are classes, there is no layout with a class `train`",
            root.display()
        );
        return Err(SourceError::Settings(what));
    }
    let of_valid = if keep_sets { Use::Valid } else { Use::Pool };
    let mut parts = vec![("train".into(), Use::Pool)];
    parts.extend(valid.first().map(|it| (PathBuf::from(it), of_valid)));
    if names.contains("test") && !subfolders(&root.join("test"))?.is_empty() {
        parts.push(("test".into(), Use::Test));
    }
    Ok(parts)
}

/// What the trees of class folders contain.
#[derive(Default)]
struct Tree {
    images: Vec<Found>,
    /// For each class, the trees that have a folder of it, and their numbers of images.
    classes: BTreeMap<String, BTreeMap<PathBuf, usize>>,
    skipped: BTreeMap<Skipped, Vec<String>>,
    /// Images outside of class folders.
    outside: Vec<String>,
    findings: Findings,
    notes: Vec<String>,
    /// The trees that are trained on, in part or whole.
    trained: BTreeSet<PathBuf>,
    parts: BTreeSet<PathBuf>,
}

impl Tree {
    /// Reads the class folders of one tree.
    fn read(&mut self, root: &Path, part: &Path, usage: Use) -> Result<(), SourceError> {
        let dir = root.join(part);
        for class in subfolders(&dir)? {
            self.classes.entry(class).or_default().insert(part.to_owned(), 0);
        }
        self.parts.insert(part.to_owned());
        if usage.may_train() {
            self.trained.insert(part.to_owned());
        }
        let named = |name: String| match part.as_os_str().is_empty() {
            true => name,
            false => format!("{}/{name}", part.display()),
        };
        let folder = match list_images(&dir, Recognise::ByExtension) {
            Ok(it) => it,
            // Each class says so.
            Err(SourceError::Empty(_)) => return Ok(()),
            // Names that collide.
            Err(SourceError::Findings { findings, .. }) => {
                for it in findings.0 {
                    self.findings.add(named(it.place), it.problem, &it.remedy);
                }
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        for it in folder.unreadable.0 {
            self.findings.add(named(it.place), it.problem, &it.remedy);
        }
        for (name, why) in folder.skipped {
            self.skipped.entry(why).or_default().push(named(name));
        }
        self.notes.extend(folder.notes);
        for (name, content) in folder.images {
            let Some((class, _)) = name.split_once('/') else {
                self.outside.push(named(name));
                continue;
            };
            let class = class.to_owned();
            let n = self.classes.entry(class.clone()).or_default();
            *n.entry(part.to_owned()).or_default() += 1;
            self.images.push((named(name), class, content, usage));
        }
        Ok(())
    }

    /// Reports what is wrong with the classes.
    fn check(&mut self, root: &Path) {
        let place = |part: &Path, class: &str| part.join(class).display().to_string();
        if self.classes.is_empty() && self.findings.0.is_empty() {
            let remedy =
                "`data.source.root` must be a folder with a folder of images for each class";
            self.findings.add(root.display().to_string(), "has no folders", remedy);
        }
        let mut only_trained = Vec::new();
        for (class, n_images) in &self.classes {
            for (part, _) in n_images.iter().filter(|it| *it.1 == 0) {
                let remedy = "put images there, or remove the folder";
                self.findings.add(place(part, class), "has no images", remedy);
            }
            let is_trained = n_images.keys().any(|it| self.trained.contains(it));
            if let Some(part) = n_images.keys().next().filter(|_| !is_trained) {
                let trained: Vec<String> =
                    self.trained.iter().map(|it| it.display().to_string()).collect();
                let problem = format!("is a class without a folder in `{}`", trained.join("`, `"));
                let remedy = "add images to train on, or remove the folder";
                self.findings.add(place(part, class), problem, remedy);
            }
            if n_images.len() < self.parts.len() && is_trained {
                only_trained.push(class.clone());
            }
        }
        if !only_trained.is_empty() {
            let n = only_trained.len();
            let text =
                format!("classes without a folder in each set: {n}: {}", quoted(&only_trained));
            self.notes.push(text);
        }
        if !self.outside.is_empty() {
            let (n, names) = (self.outside.len(), quoted(&self.outside));
            self.notes
                .push(format!("images outside of the classes' folders, not read: {n}: {names}"));
        }
        for (why, names) in std::mem::take(&mut self.skipped) {
            self.notes.push(format!("skipped, {why}: {}: {}", names.len(), quoted(&names)));
        }
    }

    /// Returns the table of samples.
    fn samples(mut self, root: &Path, label: &str, grouping: Option<&Grouping>) -> Samples {
        self.check(root);
        let classes: Vec<&str> = self.classes.keys().map(String::as_str).collect();
        let mut task = Task::new(vec![Factor::new(label, &classes)]);
        task.unit = unit(grouping.is_some());
        let mut samples = Samples::new(task, &[]);
        let levels: BTreeMap<&str, usize> =
            classes.iter().enumerate().map(|(level, &class)| (class, level)).collect();
        let mut groupless = Vec::new();
        for (name, class, content, usage) in self.images {
            let label = Label::Level(levels[class.as_str()]);
            let group = grouping.map(|it| it.of(&name));
            if group == Some(None) {
                groupless.push(name);
                continue;
            }
            let group = group.flatten().map(|it| samples.group(it));
            samples.add(Sample { group, usage, ..Sample::new(name, content, vec![label]) });
        }
        if !groupless.is_empty() {
            let problem =
                format!("does not match {} names: {}", groupless.len(), quoted(&groupless));
            self.findings.add("`group`", problem, "change `data.source.group.regex`");
        }
        samples.findings = self.findings;
        samples.notes = self.notes;
        samples
    }
}

#[cfg(test)]
mod tests;
