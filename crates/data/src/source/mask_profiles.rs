//! The data source of the mask competition's layout.
//!
//! `train.csv` with the columns `id,gender,race,age,path`, and for each row a folder `images/<path>/`
//! of seven images: `mask1` to `mask5`, `incorrect_mask`, `normal`, each with any image extension.
//! A person is identified by the folder, as ids are not unique. Names that start with `.` are ignored.
//! The Unicode form (NFC or NFD) of a folder may differ from that of its row, which names the person.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use base::{
    Task,
    records::Records,
    text::{self, NotText},
};
use serde::{Deserialize, Serialize};

use super::{
    Context, Source, SourceError,
    samples::{Label, Sample, Samples, verified},
};
use crate::{
    findings::Findings,
    fixes::{Fixes, MaskName},
    manifest::{Content, Manifest},
    names::composed,
    synthetic::Gender,
};

/// `source = { kind = "mask_profiles", root = "..." }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskProfiles {
    /// The folder of `train.csv` and `images/`.
    pub root: PathBuf,
    /// Files of label fixes, for example `configs/label_fixes.toml`.
    pub label_fixes: Vec<PathBuf>,
}

/// The file names in each person's folder.
pub type Listing = BTreeMap<String, Vec<String>>;

const COLUMNS: [&str; 5] = ["id", "gender", "race", "age", "path"];
const STEMS: [&str; 7] = ["incorrect_mask", "mask1", "mask2", "mask3", "mask4", "mask5", "normal"];

impl Source for MaskProfiles {
    fn list(&self, _: &Context<'_>) -> Result<(Manifest, Findings), SourceError> {
        if self.root.as_os_str().is_empty() {
            let what = "`data.source.root` is empty: name the folder of `train.csv` and `images/`";
            return Err(SourceError::Settings(what.to_owned()));
        }
        let csv_path = self.root.join("train.csv");
        let missing = |path: PathBuf| {
            let remedy = "`data.source.root` must be the folder of `train.csv` and `images/`";
            move |source| SourceError::Io { path, source, remedy }
        };
        let csv = fs::read(&csv_path).map_err(missing(csv_path.clone()))?;
        let mut findings = Findings::default();
        let images = self.root.join("images");
        let listing = list(&images, &mut findings).map_err(missing(images.clone()))?;
        let fixes =
            self.label_fixes.iter().map(|it| Fixes::read(it)).collect::<Result<Vec<_>, _>>();
        let fixes = fixes.map_err(SourceError::Settings)?;
        let (manifest, more) = from_names(&csv, &listing, &images, &fixes);
        findings.0.extend(more.0);
        Ok((manifest, findings))
    }

    fn read(&self, context: &Context<'_>) -> Result<Manifest, SourceError> {
        let remedy = "replace the file, or leave its person out by a label fix";
        verified(&self.root, self.list(context)?, remedy, context)
    }
}

/// Lists the file names in each folder of `images/`.
fn list(images: &Path, findings: &mut Findings) -> io::Result<Listing> {
    let mut listing = Listing::new();
    for entry in fs::read_dir(images)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if !is_folder(&entry) {
            let remedy = "move it out of `images/`, which contains one folder per person";
            findings.add(format!("images/{name}"), "is not a folder", remedy);
            continue;
        }
        let mut files = Vec::new();
        for file in fs::read_dir(entry.path())? {
            let file = file?;
            let file_name = file.file_name().to_string_lossy().into_owned();
            if file_name.starts_with('.') {
                continue;
            }
            if is_folder(&file) {
                let remedy = "move it away: a person's folder contains seven images";
                findings.add(format!("images/{name}/{file_name}"), "is a folder", remedy);
            } else {
                files.push(file_name);
            }
        }
        files.sort();
        listing.insert(name, files);
    }
    Ok(listing)
}

/// Returns whether an entry is a folder. Links are followed, at the cost of another system call.
fn is_folder(entry: &fs::DirEntry) -> bool {
    match entry.file_type() {
        Ok(it) if !it.is_symlink() => it.is_dir(),
        _ => entry.path().is_dir(),
    }
}

/// A row of `train.csv`, with the label fixes applied.
struct Row {
    id: String,
    gender: Gender,
    race: String,
    age: f64,
    /// The gender and the age before label fixes.
    before: (Gender, f64),
    path: String,
    ignored: bool,
    weight: f32,
    /// The label of each file name that a fix changes.
    relabelled: BTreeMap<String, MaskName>,
}

/// Builds the manifest from rows and file names, and returns everything that is wrong; opens no file.
///
/// - `csv`: the text of `train.csv`.
/// - `listing`: the file names in each folder of `images`.
pub fn from_names(
    csv: &[u8],
    listing: &Listing,
    images: &Path,
    fixes: &[Fixes],
) -> (Manifest, Findings) {
    let mut samples = Samples::new(Task::mask_gender_age(), &["race"]);
    let Samples { findings, notes, .. } = &mut samples;
    let (mut rows, named) = read_rows(csv, findings);
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    let folders = Folders::of(&named, listing, findings, notes);
    let mut fixes = fixes.iter().flat_map(|it| &it.fix).peekable();
    if fixes.peek().is_some() {
        let index = RowIndex::of(&rows);
        fixes.for_each(|fix| apply_fix(fix, &index, &mut rows, findings, notes));
    }
    // If the table cannot be read at all, folders without a row are not reported.
    let meant: HashSet<&str> = named.iter().map(|it| folders.of_path(it)).collect();
    let unnamed = listing.keys().filter(|it| !meant.is_empty() && !meant.contains(it.as_str()));
    for folder in unnamed {
        let remedy = "add a row, or move the folder out of `images/`";
        findings.add(format!("images/{folder}"), "has no row in train.csv", remedy);
    }
    for row in &rows {
        add_person(row, &folders, images, &mut samples);
    }
    samples.build()
}

/// Adds the seven images of a person.
fn add_person(row: &Row, folders: &Folders<'_>, images: &Path, samples: &mut Samples) {
    let Some(files) = folders.files(&row.path) else {
        if !row.ignored {
            let remedy = "put the folder there, or remove the row";
            samples.findings.add(format!("images/{}", row.path), "is missing", remedy);
        }
        return;
    };
    // What is wrong with the files of a person who is left out does not matter.
    let mut unused = Findings::default();
    let findings = if row.ignored { &mut unused } else { &mut samples.findings };
    let files = seven_files(&row.path, files, findings);
    let folder = images.join(folders.of_path(&row.path));
    let group = samples.group(&row.path);
    let race = samples.attribute(0, &row.race);
    for (stem, file) in files {
        let own = MaskName::of_file(stem).expect("one of the seven names");
        let mask = row.relabelled.get(stem).copied().unwrap_or(own);
        let labels = |mask: MaskName, (gender, age): (Gender, f64)| {
            vec![Label::Level(mask.level()), Label::Level(gender as usize), Label::Number(age)]
        };
        let content = Content::File(folder.join(file));
        samples.add(Sample {
            group: Some(group),
            before: Some(labels(own, row.before)),
            is_dropped: row.ignored,
            attributes: vec![race],
            weight: row.weight,
            ..Sample::new(
                format!("{}/{file}", row.path),
                content,
                labels(mask, (row.gender, row.age)),
            )
        });
    }
}

/// The folder of each path.
struct Folders<'a> {
    listing: &'a Listing,
    /// The folder of each path whose Unicode form differs from that of its folder.
    like: BTreeMap<&'a str, &'a str>,
}

impl<'a> Folders<'a> {
    /// Matches paths with folders.
    ///
    /// - `named`: the paths of all rows.
    fn of(
        named: &'a HashSet<String>,
        listing: &'a Listing,
        findings: &mut Findings,
        notes: &mut Vec<String>,
    ) -> Folders<'a> {
        let mut like = BTreeMap::new();
        let absent = named.iter().filter(|it| !listing.contains_key(*it));
        let absent: BTreeSet<&str> = absent.map(String::as_str).collect();
        if absent.is_empty() {
            return Folders { listing, like };
        }
        let mut by_form: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        listing.keys().for_each(|it| by_form.entry(composed(it)).or_default().push(it));
        let mut taken: HashSet<&str> = HashSet::new();
        for path in absent {
            let found = by_form.get(&composed(path)).map_or(&[][..], Vec::as_slice);
            let Some(&first) = found.first() else { continue };
            like.insert(path, first);
            if found.len() > 1 {
                let n = found.len();
                let problem = format!("looks like {n} folders in other Unicode forms (NFC or NFD)");
                findings.add(format!("images/{path}"), problem, "keep one of them");
            } else if named.contains(first) || !taken.insert(first) {
                let problem = format!("`{path}` occurs twice, in two Unicode forms (NFC and NFD)");
                findings.add("train.csv", problem, "remove one of the two rows");
            }
        }
        if let Some((first, _)) = like.first_key_value() {
            notes.push(format!(
                "paths in train.csv whose Unicode form (NFC or NFD) differs from their folder's: {}, such as \
                 `{first}`; they were matched regardless of the form, and people have the names in train.csv",
                like.len()
            ));
        }
        Folders { listing, like }
    }

    /// Returns the folder of a path, or the path if there is none.
    fn of_path<'b>(&self, path: &'b str) -> &'b str
    where
        'a: 'b,
    {
        self.like.get(path).copied().unwrap_or(path)
    }

    /// Returns the names of the files in the folder of a path.
    fn files(&self, path: &str) -> Option<&'a Vec<String>> {
        self.listing.get(self.of_path(path))
    }
}

/// Returns a file name without its extension.
fn stem(file: &str) -> &str {
    Path::new(file).file_stem().and_then(OsStr::to_str).unwrap_or_default()
}

/// Reads the valid rows, and the folders that any row names.
fn read_rows(csv: &[u8], findings: &mut Findings) -> (Vec<Row>, HashSet<String>) {
    let place = "train.csv";
    let nothing = || (Vec::new(), HashSet::new());
    let text = match text::decode(csv.to_vec()) {
        Ok(it) => it,
        Err(NotText { problem, remedy }) => {
            findings.add(place, problem, remedy);
            return nothing();
        }
    };
    let records = Records::of(&text);
    let header = records.header();
    let headers: Vec<&str> = header.fields.iter().collect();
    if headers.iter().all(|it| it.is_empty()) {
        findings.add(
            place,
            "is empty",
            "put the header `id,gender,race,age,path` and the rows there",
        );
        return nothing();
    }
    let column = |name: &str| header.column(name);
    let absent: Vec<&str> = COLUMNS.into_iter().filter(|it| column(it).is_none()).collect();
    for name in &absent {
        let problem = format!("has no column `{name}` (it has {})", headers.join(", "));
        findings.add(place, problem, "the header is `id,gender,race,age,path`");
    }
    let [Some(id), Some(gender), race, Some(age), Some(path)] = COLUMNS.map(column) else {
        return nothing();
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut seen = HashSet::new();
    for record in records.rows() {
        let place = format!("train.csv line {}", record.line);
        if let Some(problem) = record.problem(&header) {
            findings.add(place, problem, "correct the row");
            continue;
        }
        let record = record.fields;
        let gender = match &record[gender] {
            "male" => Some(Gender::Male),
            "female" => Some(Gender::Female),
            other => {
                let problem = format!("the gender `{other}` is unknown");
                findings.add(place.clone(), problem, "write `male` or `female`");
                None
            }
        };
        let years = record[age].parse::<f64>().ok().filter(|it| (0.0..=130.0).contains(it));
        if years.is_none() {
            let problem = format!("the age `{}` is not a number of years", &record[age]);
            findings.add(place.clone(), problem, "write the age in years");
        }
        let path = record[path].to_owned();
        let is_name = !path.is_empty() && !path.starts_with('.') && !path.contains(['/', '\\']);
        if !is_name {
            let problem = format!("the path `{path}` is not a folder name");
            findings.add(place.clone(), problem, "write the name of a folder in `images/`");
        } else if !seen.insert(path.clone()) {
            findings.add(
                place.clone(),
                format!("`{path}` already has a row"),
                "remove one of the two",
            );
            continue;
        }
        if let (Some(gender), Some(age), true) = (gender, years, is_name) {
            rows.push(Row {
                id: record[id].to_owned(),
                gender,
                race: race.map_or("", |it| &record[it]).to_owned(),
                age,
                before: (gender, age),
                path,
                ignored: false,
                weight: 1.0,
                relabelled: BTreeMap::new(),
            });
        }
    }
    if seen.is_empty() && findings.0.is_empty() {
        findings.add(place, "has no rows", "add a row for each person");
    }
    (rows, seen)
}

/// An index of the rows that a label fix may refer to.
struct RowIndex {
    /// By id, which several people may share.
    by_id: HashMap<String, Vec<usize>>,
    /// By folder, which has one row.
    by_path: HashMap<String, usize>,
    /// By the composed form of a path, which two Unicode forms share.
    by_form: HashMap<String, Vec<usize>>,
}

impl RowIndex {
    fn of(rows: &[Row]) -> RowIndex {
        let mut by_id: HashMap<String, Vec<usize>> = HashMap::with_capacity(rows.len());
        let mut by_path = HashMap::with_capacity(rows.len());
        let mut by_form: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            by_id.entry(row.id.clone()).or_default().push(at);
            by_path.insert(row.path.clone(), at);
            if !row.path.is_ascii() {
                by_form.entry(composed(&row.path)).or_default().push(at);
            }
        }
        RowIndex { by_id, by_path, by_form }
    }

    /// Returns the rows with this id or folder; more than one is an error.
    fn find(&self, name: &str) -> Vec<usize> {
        let by_id = self.by_id.get(name).into_iter().flatten();
        let mut found: Vec<usize> = by_id.copied().take(2).collect();
        let by_path = match self.by_path.get(name) {
            Some(at) => std::slice::from_ref(at),
            None => self.by_form.get(&composed(name)).map_or(&[][..], Vec::as_slice),
        };
        for at in by_path {
            if !found.contains(at) {
                found.push(*at);
            }
        }
        found
    }
}

fn apply_fix(
    fix: &crate::fixes::Fix,
    index: &RowIndex,
    rows: &mut [Row],
    findings: &mut Findings,
    notes: &mut Vec<String>,
) {
    let mut unknown = Vec::new();
    for id in &fix.ids {
        let found = index.find(id);
        let row = match found.as_slice() {
            [] => {
                unknown.push(id.as_str());
                continue;
            }
            [one] => &mut rows[*one],
            _ => {
                let remedy = "name the folder instead of the id";
                findings.add(format!("label fix of {id}"), "several people have this id", remedy);
                continue;
            }
        };
        if let Some(gender) = fix.gender {
            if row.gender == gender.from {
                row.gender = gender.to;
            } else {
                let is = gender.to.name();
                notes.push(format!("the label fix of {id} has no effect: already {is}"));
            }
        }
        row.age = fix.age.unwrap_or(row.age);
        row.ignored |= fix.ignore;
        row.weight = fix.weight.unwrap_or(row.weight);
        row.relabelled.extend(fix.relabel.iter().map(|(name, mask)| (name.clone(), *mask)));
        if let Some([a, b]) = &fix.swap {
            let of = |name: &str| MaskName::of_file(name).expect("names are checked when read");
            row.relabelled.extend([(a.clone(), of(b)), (b.clone(), of(a))]);
        }
    }
    if !unknown.is_empty() {
        notes.push(format!("label fixes name unknown people: {}", unknown.join(", ")));
    }
}

/// Returns the file of each of the seven names that has exactly one.
fn seven_files<'a>(
    folder: &str,
    files: &'a [String],
    findings: &mut Findings,
) -> Vec<(&'static str, &'a str)> {
    let place = |name: &str| format!("images/{folder}/{name}");
    let mut matching = [const { Vec::new() }; STEMS.len()];
    let mut others = Vec::new();
    for file in files {
        match STEMS.iter().position(|&it| it == stem(file)) {
            Some(at) => matching[at].push(file.as_str()),
            None => others.push(file),
        }
    }
    let mut found = Vec::with_capacity(STEMS.len());
    for (name, matching) in STEMS.into_iter().zip(matching) {
        match matching.as_slice() {
            [one] => found.push((name, *one)),
            [] => {
                let remedy = "put the image there, or leave the person out by a label fix";
                findings.add(place(name), "is missing", remedy);
            }
            several => {
                let problem = format!("exists {} times ({})", several.len(), several.join(", "));
                findings.add(place(name), problem, "keep one of them");
            }
        }
    }
    for file in others {
        let remedy = "move it away: the names are `mask1` to `mask5`, `incorrect_mask`, `normal`";
        findings.add(place(file), "is not one of the seven images", remedy);
    }
    found
}

#[cfg(test)]
mod tests;
