//! What a bundle was trained on, as far as its folder or that of its run tells: the groups by name, and the files by
//! their hashes, since a folder may have been renamed.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use base::{names::quoted, records::Records, table, task::Unit, text};
use trainer::{PRETRAINED, kfold::is_kfold};

use crate::runs::is_trained_on_valid;

/// What a bundle was made with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TrainedOn {
    /// What its models were trained on.
    pub(crate) trained: Known,
    /// What an ensemble's weights, calibration, thresholds or prediction sets were fitted on.
    pub(crate) fitted: Known,
    /// What its epochs were selected on: a score there is slightly too good.
    pub(crate) selected: Known,
    /// The names of the images that a run holds out, with their hashes.
    pub(crate) held_out: HashMap<String, u64>,
}

/// Groups, and the files of their images.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Known {
    /// Their names.
    pub(crate) groups: BTreeSet<String>,
    /// The hashes of the files' bytes, as far as tables have them.
    pub(crate) files: HashSet<u64>,
}

impl Known {
    fn extend(&mut self, other: Known) {
        self.groups.extend(other.groups);
        self.files.extend(other.files);
    }

    fn has_file(&self, hash: Option<u64>) -> bool {
        hash.is_some_and(|it| self.files.contains(&it))
    }
}

/// An image that is looked for in what a bundle was made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image<'a> {
    pub(crate) name: &'a str,
    pub(crate) group: &'a str,
    /// The hash of its file's bytes, where it is known.
    pub(crate) hash: Option<u64>,
}

/// The side of what an ensemble was fitted on.
const FITTED: &str = "fitted";
/// The side of what was trained on.
const TRAINED: &str = "train";
/// The side of what the epochs were selected on.
const SELECTED: &str = "valid";

/// The table of the groups and their sides, in the folder of a run or of an ensemble.
const GROUPS: &str = "split.csv";
/// The table of the files' hashes and their sides, in the folder of an ensemble: a run has [`DATA`].
const FILES: &str = "files.csv";
/// The table of a run's images, with the hash and the side of each.
const DATA: &str = "data.csv";

/// What to print where nothing is known of a bundle.
pub(crate) fn unknown(bundle: &Path) -> String {
    let bundle = bundle.display();
    format!("{bundle}: what it was trained on is unknown: these images may be among it")
}

impl TrainedOn {
    /// Reads it for the bundle in a folder, with what the bundle that its run continued from was trained on; `None` if
    /// nothing is known.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub(crate) fn of(bundle: &Path) -> anyhow::Result<Option<TrainedOn>> {
        let of_run = bundle.parent().filter(|_| bundle.ends_with("best"));
        let dirs = [Some(bundle), of_run];
        let Some(dir) = dirs.into_iter().flatten().find(|it| it.join(GROUPS).is_file()) else {
            return Ok(None);
        };
        let mut own = TrainedOn::of_dir(dir)?;
        if let Some(earlier) = TrainedOn::earlier(dir)? {
            own.add(earlier);
        }
        Ok(Some(own))
    }

    /// Reads what the bundle that a run, a fold or a cross-validation continued from was trained on; `None` if it
    /// continued from none, or nothing is known.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub(crate) fn earlier(run: &Path) -> anyhow::Result<Option<TrainedOn>> {
        earlier_of(run).map(|it| TrainedOn::of_dir(&it)).transpose()
    }

    /// Reads the tables in a folder.
    fn of_dir(dir: &Path) -> anyhow::Result<TrainedOn> {
        let has_valid = is_trained_on_valid(dir);
        let mut found = TrainedOn::default();
        each(&dir.join(GROUPS), ["group", "side"], |[group, side]| {
            if let Some(it) = found.side(side, has_valid) {
                it.groups.insert(group.to_owned());
            }
        })?;
        each(&dir.join(FILES), ["hash", "side"], |[hash, side]| found.file(hash, side, has_valid))?;
        each(&dir.join(DATA), ["image", "hash", "side"], |[image, hash, side]| {
            found.file(hash, side, has_valid);
            if side != TRAINED && !(side == SELECTED && has_valid) {
                found.held_out.extend(number(hash).map(|it| (image.to_owned(), it)));
            }
        })?;
        Ok(found)
    }

    /// Adds a file of a table.
    fn file(&mut self, hash: &str, side: &str, has_valid: bool) {
        if let (Some(it), Some(hash)) = (self.side(side, has_valid), number(hash)) {
            it.files.insert(hash);
        }
    }

    /// Returns what a side of a table is part of, if any.
    ///
    /// - `has_valid`: whether the validation set was trained on.
    fn side(&mut self, side: &str, has_valid: bool) -> Option<&mut Known> {
        match side {
            TRAINED => Some(&mut self.trained),
            SELECTED if has_valid => Some(&mut self.trained),
            SELECTED => Some(&mut self.selected),
            FITTED => Some(&mut self.fitted),
            _ => None,
        }
    }

    /// Returns those of some groups that the bundle was trained or fitted on.
    pub(crate) fn among<'a>(&self, groups: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
        groups.into_iter().filter(|it| self.contains(it)).collect()
    }

    /// Returns whether a group is among those that the bundle was trained or fitted on.
    pub(crate) fn contains(&self, group: &str) -> bool {
        [&self.trained, &self.fitted].into_iter().any(|it| it.groups.contains(group))
    }

    /// Returns whether any file that the bundle was trained or fitted on is known.
    pub(crate) fn has_files(&self) -> bool {
        [&self.trained, &self.fitted].into_iter().any(|it| !it.files.is_empty())
    }

    /// Returns whether the bundle was trained or fitted on a file.
    ///
    /// - `hash`: that of the file's bytes, where it is known.
    pub(crate) fn has_file(&self, hash: Option<u64>) -> bool {
        [&self.trained, &self.fitted].into_iter().any(|it| it.has_file(hash))
    }

    /// Returns which of the groups of some images the bundle was trained or fitted on, as a problem, if any.
    pub(crate) fn problem(
        &self,
        bundle: &Path,
        images: &[Image<'_>],
        unit: Unit,
    ) -> Option<String> {
        let groups: BTreeSet<&str> = images.iter().map(|it| it.group).collect();
        let of = unit.count(groups.len());
        self.each_part(bundle, |how, known| {
            let seen: Vec<&str> =
                groups.iter().copied().filter(|it| known.groups.contains(*it)).collect();
            let n_seen = seen.len();
            (n_seen > 0).then(|| format!("was {how} on {n_seen} of these {of}: {}", quoted(seen)))
        })
    }

    /// Returns which files of some images the bundle was trained or fitted on, as a problem, if any. Those that its run
    /// holds out under the same names are none: see [`TrainedOn::copies`].
    pub(crate) fn problem_of_files(&self, bundle: &Path, images: &[Image<'_>]) -> Option<String> {
        self.of_files(bundle, images, false)
    }

    /// Returns which images that its run holds out are copies of images that it was trained on, if any: the run's own
    /// scores count them too.
    pub(crate) fn copies(&self, bundle: &Path, images: &[Image<'_>]) -> Option<String> {
        self.of_files(bundle, images, true)
    }

    fn of_files(&self, bundle: &Path, images: &[Image<'_>], held_out: bool) -> Option<String> {
        let of = Unit::Image.count(images.len());
        let images: Vec<_> = images.iter().filter(|it| self.is_held_out(it) == held_out).collect();
        self.each_part(bundle, |how, known| {
            let seen = images.iter().filter(|it| known.has_file(it.hash)).map(|it| it.name);
            let seen: Vec<&str> = seen.collect();
            let n_seen = seen.len();
            (n_seen > 0).then(|| {
                format!("was {how} on the files of {n_seen} of these {of}: {}", quoted(seen))
            })
        })
    }

    /// Returns whether its run holds out an image under this name.
    fn is_held_out(&self, image: &Image<'_>) -> bool {
        image.hash.is_some() && self.held_out.get(image.name).copied() == image.hash
    }

    /// Joins what is found of what was trained and fitted on.
    fn each_part(
        &self,
        bundle: &Path,
        part: impl Fn(&str, &Known) -> Option<String>,
    ) -> Option<String> {
        let parts = [part("trained", &self.trained), part("fitted", &self.fitted)];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("{}: {}", bundle.display(), parts.join("; ")))
    }

    /// Adds what another bundle was trained on.
    pub(crate) fn add(&mut self, other: TrainedOn) {
        self.trained.extend(other.trained);
        self.fitted.extend(other.fitted);
        self.selected.extend(other.selected);
    }

    /// Returns the names and the texts of its tables.
    pub(crate) fn tables(&self) -> [(&'static str, String); 2] {
        let sides = [(&self.trained, TRAINED), (&self.fitted, FITTED), (&self.selected, SELECTED)];
        let groups =
            sides.iter().flat_map(|(it, side)| it.groups.iter().map(|it| [it.as_str(), *side]));
        let mut files: Vec<(u64, &str)> =
            sides.iter().flat_map(|(it, side)| it.files.iter().map(|it| (*it, *side))).collect();
        // A set has no order.
        files.sort_unstable();
        let files = files.into_iter().map(|(hash, side)| [format!("{hash:016x}"), side.to_owned()]);
        [
            (GROUPS, table::text(["group", "side"], groups)),
            (FILES, table::text(["hash", "side"], files)),
        ]
    }
}

/// Returns the hash of each image's file, as far as the table of the data of a run or a cross-validation has it.
///
/// # Errors
/// A table that cannot be read.
pub(crate) fn hashes(run: &Path) -> anyhow::Result<HashMap<String, u64>> {
    let path = run.join(DATA);
    let mut found = HashMap::new();
    each(&path, ["image", "hash"], |[image, hash]| {
        found.extend(number(hash).map(|it| (image.to_owned(), it)));
    })?;
    Ok(found)
}

/// Passes some columns of each row of a table; nothing if there is no table, or it lacks one, as earlier versions'
/// tables do.
fn each<const N: usize>(
    path: &Path,
    columns: [&str; N],
    mut row: impl FnMut([&str; N]),
) -> anyhow::Result<()> {
    if !path.is_file() {
        return Ok(());
    }
    let text = text::read(path).with_context(|| path.display().to_string())?;
    let table = Records::exact(&text);
    if let Ok(columns) = table.header().columns(columns) {
        table
            .rows()
            .for_each(|it| row(columns.map(|column| it.fields.get(column).unwrap_or_default())));
    }
    Ok(())
}

/// Parses a hash; `None` where a table has none.
fn number(hash: &str) -> Option<u64> {
    u64::from_str_radix(hash, 16).ok()
}

/// Returns the table of a run's data, of a bundle that is in its folder.
pub(crate) fn data_of(bundle: &Path) -> Option<PathBuf> {
    // An ensemble may be named `best` too.
    let is_of_run = |it: &&Path| bundle.ends_with("best") && it.join("config.toml").is_file();
    let path = bundle.parent().filter(is_of_run).map(|it| it.join(DATA));
    path.filter(|it| it.is_file())
}

/// Returns the copy of the bundle that a run continued from, if its table of groups is known: in the run's folder, or
/// for a fold in that of the cross-validation.
fn earlier_of(run: &Path) -> Option<PathBuf> {
    let kfold = run.parent().filter(|it| is_kfold(it));
    let mut dirs = [Some(run), kfold].into_iter().flatten().map(|it| it.join(PRETRAINED));
    dirs.find(|it| it.join(GROUPS).is_file())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use base::task::Unit;

    use super::{Image, Known, TrainedOn};

    fn groups(names: &[&str]) -> Known {
        Known { groups: names.iter().map(|&it| it.to_owned()).collect(), ..Known::default() }
    }

    fn image<'a>(name: &'a str, group: &'a str) -> Image<'a> {
        Image { name, group, hash: None }
    }

    #[test]
    fn groups_of_the_training_set_are_read_from_the_runs_folder() {
        let dir = tempfile::tempdir().unwrap();
        let best = dir.path().join("best");
        fs::create_dir(&best).unwrap();
        assert_eq!(TrainedOn::of(&best).unwrap(), None);
        let table = "group,side\n\"Kim, A\",train\nb,valid\nc,test\n";
        fs::write(dir.path().join("split.csv"), table).unwrap();
        let read = || TrainedOn::of(&best).unwrap().unwrap();
        assert_eq!(read().trained, groups(&["Kim, A"]));
        assert_eq!(read().selected, groups(&["b"]));
        fs::write(dir.path().join("report.toml"), "trained_on_valid = true\n").unwrap();
        assert_eq!(read().trained, groups(&["Kim, A", "b"]));

        let seen = read();
        let problem = |groups: &[&str]| {
            let images: Vec<Image<'_>> = groups.iter().map(|it| image("x", it)).collect();
            seen.problem(Path::new("best"), &images, Unit::Person)
        };
        assert_eq!(problem(&["c", "d"]), None);
        let text = "best: was trained on 2 of these 3 people: `Kim, A`, `b`";
        assert_eq!(problem(&["b", "c", "Kim, A", "b"]).as_deref(), Some(text));
        assert_eq!(seen.among(["d", "b"]), ["b"].into());

        // What the bundle that the run continued from was trained on counts too.
        let earlier = dir.path().join("pretrained");
        fs::create_dir(&earlier).unwrap();
        fs::write(earlier.join("split.csv"), "group,side\ne,train\n").unwrap();
        assert_eq!(read().trained, groups(&["Kim, A", "b", "e"]));
        fs::remove_dir_all(&earlier).unwrap();

        // An ensemble has its own.
        let mut all = read();
        let (trained, fitted, selected) = (groups(&["d"]), groups(&["e"]), groups(&["f"]));
        all.add(TrainedOn { trained, fitted, selected, ..TrainedOn::default() });
        for (name, text) in all.tables() {
            fs::write(best.join(name), text).unwrap();
        }
        assert_eq!(read(), all);
        assert_eq!(all.trained, groups(&["Kim, A", "b", "d"]));
        assert_eq!(all.problem(Path::new("best"), &[image("x", "f")], Unit::Person), None);
        let images = [image("x", "d"), image("y", "e")];
        let of = all.problem(Path::new("best"), &images, Unit::Person);
        let text =
            "best: was trained on 1 of these 2 people: `d`; was fitted on 1 of these 2 people: `e`";
        assert_eq!(of.as_deref(), Some(text));
    }

    #[test]
    fn files_are_known_by_their_hashes_under_whatever_name() {
        let dir = tempfile::tempdir().unwrap();
        let best = dir.path().join("best");
        fs::create_dir(&best).unwrap();
        fs::write(dir.path().join("split.csv"), "group,side\na,train\n").unwrap();
        let table = "image,hash,side\nx,00000000000000ff,train\ny,0a,valid\nz,0b,test\nw,,train\n";
        fs::write(dir.path().join("data.csv"), table).unwrap();
        let seen = TrainedOn::of(&best).unwrap().unwrap();
        assert_eq!((seen.trained.files.len(), seen.selected.files.len()), (1, 1));
        let of = |hash| Image { name: "renamed", group: "other", hash };
        let problem = |hashes: &[Option<u64>], all: &TrainedOn| {
            let images: Vec<Image<'_>> = hashes.iter().map(|it| of(*it)).collect();
            assert_eq!(all.problem(Path::new("best"), &images, Unit::Person), None);
            all.problem_of_files(Path::new("best"), &images)
        };
        assert_eq!(problem(&[None, Some(0x0a), Some(0x0b)], &seen), None);
        let text = "best: was trained on the files of 1 of these 2 images: `renamed`";
        assert_eq!(problem(&[Some(0xff), Some(0x0b)], &seen).as_deref(), Some(text));

        // An ensemble keeps them in a table of its own.
        let ensemble = dir.path().join("ensemble");
        fs::create_dir(&ensemble).unwrap();
        let fitted = Known { files: [0x0b].into(), ..Known::default() };
        let mut all = seen;
        all.add(TrainedOn { fitted, ..TrainedOn::default() });
        for (name, text) in all.tables() {
            fs::write(ensemble.join(name), text).unwrap();
        }
        let read = TrainedOn::of(&ensemble).unwrap().unwrap();
        assert_eq!(TrainedOn { held_out: all.held_out.clone(), ..read.clone() }, all);
        assert!(read.has_file(Some(0xff)) && read.has_file(Some(0x0b)));
        assert!(!read.has_file(Some(0x0a)) && !read.has_file(None));
        let text = "best: was trained on the files of 1 of these 2 images: `renamed`; was fitted on the files of 1 of \
                    these 2 images: `renamed`";
        assert_eq!(problem(&[Some(0xff), Some(0x0b)], &read).as_deref(), Some(text));
    }

    #[test]
    fn copies_among_what_a_run_holds_out_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let best = dir.path().join("best");
        fs::create_dir(&best).unwrap();
        fs::write(dir.path().join("split.csv"), "group,side\na,train\n").unwrap();
        let table = "image,hash,side\nx,0a,train\ny,0a,test\nz,0b,test\n";
        fs::write(dir.path().join("data.csv"), table).unwrap();
        let seen = TrainedOn::of(&best).unwrap().unwrap();
        let of = |name, hash| Image { name, group: "b", hash: Some(hash) };
        let images = [of("y", 0x0a), of("z", 0x0b)];
        let text = "best: was trained on the files of 1 of these 2 images: `y`";
        assert_eq!(seen.problem_of_files(Path::new("best"), &images), None);
        assert_eq!(seen.copies(Path::new("best"), &images).as_deref(), Some(text));
        // Not under another name, nor where the file of this name is another one.
        let images = [of("other", 0x0a), of("z", 0x0a)];
        let problem = seen.problem_of_files(Path::new("best"), &images).unwrap();
        assert!(problem.ends_with("was trained on the files of 2 of these 2 images: `other`, `z`"));
        assert_eq!(seen.copies(Path::new("best"), &images), None);
    }
}
