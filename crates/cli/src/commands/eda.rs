//! `maskfit eda`: explores a data set, and writes a report, charts and contact sheets.

mod charts;
mod figures;
mod words;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use ::data::{
    Context, Example, Findings, Manifest, NearDuplicate, Similarity, SourceConfig, Survey, survey,
};
use anyhow::{Context as _, bail};
use augment::Image;
use base::{files::write_atomic, task::Unit};
use image::RgbImage;
use trainer::{Callback as _, Experiment};

use crate::{
    End,
    args::ExperimentArgs,
    drawing::{png, thumbnail},
    layout::recognise,
    output::folder,
    preparation::{check_settings, in_short, in_short_of, use_threads},
    runs,
    terminal::Terminal,
};

/// The results of the exploration.
struct Look {
    /// Display name of the data.
    place: String,
    manifest: Manifest,
    findings: Findings,
    survey: Survey,
    /// The images of each class's contact sheet: position in the manifest, and thumbnail if readable.
    sheets: Vec<Vec<(usize, Option<RgbImage>)>>,
}

/// Maximum number of images on the sheet of a class, and on all sheets together.
const ON_SHEET: usize = 24;
const ON_ALL_SHEETS: usize = 1000;

pub(crate) fn eda(
    data: Option<&Path>,
    set: &[String],
    n_sheets: usize,
    output: &Path,
) -> anyhow::Result<End> {
    let output = folder(output)?;
    let terminal = Terminal::new();
    let (experiment, place) = experiment(data, set)?;
    check_settings(&experiment)?;
    use_threads(experiment.threads)?;
    let (manifest, findings) = list(&experiment, &place, &terminal)?;
    let is_new = open(output)?;
    let look = look(place, manifest, findings, experiment.data.max_pixels, n_sheets, &terminal);
    let written = write(&look, experiment.data.max_pixels, output).inspect_err(|_| {
        if is_new {
            drop(fs::remove_dir_all(output));
        }
    })?;
    say!("{}", look.summary());
    say!("\nwritten to {}:\n{written}", output.display());
    Ok(End::Done)
}

/// Returns the experiment with the data to explore, and the display name of the data.
fn experiment(data: Option<&Path>, set: &[String]) -> anyhow::Result<(Experiment, String)> {
    let mut set = set.to_vec();
    let mut config = data.map(Path::to_owned);
    if let Some(path) = data {
        if !path.exists() && runs::recipe(path).is_none() {
            bail!(
                "{}: no such file or folder: give an experiment file, or a folder of labelled images",
                path.display()
            );
        }
        if path.is_dir() {
            set.insert(0, format!("data.source={}", recognise(path)?.setting()));
            config = None;
        }
    }
    let (experiment, _) = runs::experiment(&ExperimentArgs { config, set })?;
    let place = place(&experiment.data.source);
    Ok((experiment, place))
}

/// Returns the display name of a source.
fn place(source: &SourceConfig) -> String {
    match source {
        SourceConfig::MaskProfiles(it) => it.root.display().to_string(),
        SourceConfig::Folders(it) => it.root.display().to_string(),
        SourceConfig::Table(it) => it.root.join(&it.csv).display().to_string(),
        SourceConfig::Several(it) => {
            it.roots.iter().map(|it| place(&it.source)).collect::<Vec<_>>().join(" + ")
        }
        it => it.kind().to_owned(),
    }
}

/// Lists the images without opening them; data without an image to train on is an error.
///
/// - `place`: the display name of the data.
pub(super) fn list(
    experiment: &Experiment,
    place: &str,
    terminal: &Terminal,
) -> anyhow::Result<(Manifest, Findings)> {
    let listed = experiment.data.source.get().list(&Context {
        cache: None,
        max_pixels: experiment.data.max_pixels,
        progress: &|done, total| terminal.progress("reading the data", done, total),
    });
    terminal.clear();
    let (manifest, findings) = listed.map_err(in_short_of)?;
    if manifest.examples.iter().all(|it| !it.usage.may_train()) {
        match findings.0.is_empty() {
            true => bail!("{place}: no images to train on"),
            false => bail!("{place}: no images to train on; {}", in_short(&findings)),
        }
    }
    Ok((manifest, findings))
}

/// Checks that the output folder can be written, before any long work; returns whether it is new.
fn open(output: &Path) -> anyhow::Result<bool> {
    let help = || format!("{}: choose another folder with `-o`", output.display());
    if !output.exists() {
        fs::create_dir_all(output).with_context(help)?;
        return Ok(true);
    }
    if !output.is_dir() {
        bail!("{}: is a file: choose a new folder with `-o`", output.display());
    }
    if fs::read_dir(output).with_context(help)?.next().is_some() {
        bail!("{}: already exists: choose a new folder with `-o`", output.display());
    }
    Ok(false)
}

/// Reads every image once.
fn look(
    place: String,
    manifest: Manifest,
    findings: Findings,
    max_pixels: u64,
    n_sheets: usize,
    terminal: &Terminal,
) -> Look {
    let mut by_class = vec![Vec::new(); manifest.task.n_classes()];
    for (idx, example) in manifest.examples.iter().enumerate() {
        if example.usage.may_train() {
            by_class[example.class].push(idx);
        }
    }
    for class in without_sheet(&by_class, n_sheets) {
        by_class[class].clear();
    }
    // Spread over the class, so that few groups occur twice.
    let n_with_sheet = by_class.iter().filter(|it| !it.is_empty()).count();
    let n_each = (ON_ALL_SHEETS / n_with_sheet.max(1)).clamp(1, ON_SHEET);
    let spread = |all: &Vec<usize>| -> Vec<usize> {
        let n = n_each.min(all.len());
        (0..n).map(|k| all[k * all.len() / n]).collect()
    };
    let chosen: Vec<Vec<usize>> = by_class.iter().map(spread).collect();
    let is_chosen: HashSet<usize> = chosen.iter().flatten().copied().collect();
    let small: Mutex<HashMap<usize, RgbImage>> = Mutex::default();
    let show = |idx: usize, image: &Image| {
        if is_chosen.contains(&idx) {
            let image = thumbnail(image);
            small.lock().expect("no thread panics while holding it").insert(idx, image);
        }
    };
    let progress = |done, total| terminal.progress("exploring images", done, total);
    let survey = survey(&manifest, max_pixels, &show, &progress);
    terminal.clear();
    let mut small = small.into_inner().expect("no thread panics while holding it");
    let sheet = |idxs: Vec<usize>| idxs.into_iter().map(|it| (it, small.remove(&it))).collect();
    let sheets = chosen.into_iter().map(sheet).collect();
    Look { place, manifest, findings, survey, sheets }
}

/// Returns the classes without a sheet: all but the `n_sheets` with the most images.
fn without_sheet(by_class: &[Vec<usize>], n_sheets: usize) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..by_class.len()).collect();
    classes.sort_by_key(|&it| Reverse(by_class[it].len()));
    classes.split_off(n_sheets.min(classes.len()))
}

/// Writes all files, and returns a line about each kind of file.
fn write(look: &Look, max_pixels: u64, output: &Path) -> anyhow::Result<String> {
    let save = |name: &str, bytes: &[u8]| {
        let path: PathBuf = output.join(name);
        write_atomic(&path, bytes).with_context(|| path.display().to_string())
    };
    let mut kinds = Vec::new();
    let mut kind = |name: &str, what: &str| kinds.push([format!("  {name}"), what.to_owned()]);
    save("classes.png", &png(&look.classes()))?;
    let many = match look.unit() {
        Unit::Image => "images".to_owned(),
        unit => format!("images and {}", unit.many()),
    };
    kind("classes.png", &format!("{many} by class, and by each factor"));
    for (factor, chart) in look.numbers() {
        let name = format!("by_{}.png", file_name(&factor));
        save(&name, &png(&chart))?;
        let many = look.unit().many();
        kind(&name, &format!("{many} by {factor}, with the boundaries of its classes"));
    }
    if let Some(chart) = look.brightness() {
        save("brightness.png", &png(&chart))?;
        kind("brightness.png", "images by mean grey value");
    }
    // As many digits as the last class number has.
    let n_digits = (look.sheets.len().max(1) - 1).to_string().len().max(2);
    for (class, sheet) in look.sheets.iter().enumerate().filter(|it| !it.1.is_empty()) {
        save(&format!("sheet_{class:0n_digits$}.png"), &png(&look.sheet(class, sheet)))?;
    }
    let joint = &look.survey.scopes[0].classes;
    let n_with_images = joint.iter().filter(|it| it.n_images > 0).count();
    let n_sheets = look.sheets.iter().filter(|it| !it.is_empty()).count();
    let rest = format!(
        "contact sheet of class NN: the {n_sheets} of {n_with_images} classes with the most images \
         (`--sheets N` for more)"
    );
    let all = "contact sheet of class NN";
    kind("sheet_NN.png", if n_sheets < n_with_images { &rest } else { all });
    if let Some(sheet) = look.duplicate_sheet(max_pixels) {
        save("duplicates.png", &png(&sheet))?;
        kind("duplicates.png", "pairs of suspicious duplicates");
    }
    save("duplicates.csv", look.duplicates_csv().as_bytes())?;
    kind("duplicates.csv", "all duplicates and near-duplicates");
    save("eda.toml", look.statistics().as_bytes())?;
    kind("eda.toml", "all statistics");
    Ok(crate::wrap::columns(&kinds, &[false; 2]))
}

/// Returns a name as part of a file's name: what is neither a letter nor a digit becomes `_`.
fn file_name(name: &str) -> String {
    name.chars().map(|it| if it.is_alphanumeric() { it } else { '_' }).collect()
}

impl Look {
    /// What a group of the data is.
    fn unit(&self) -> Unit {
        self.manifest.task.unit
    }

    fn examples(&self, pair: &NearDuplicate) -> [&Example; 2] {
        pair.images.map(|it| &self.manifest.examples[it])
    }

    fn is_across_groups(&self, pair: &NearDuplicate) -> bool {
        let [a, b] = self.examples(pair);
        a.group != b.group
    }

    fn labels_differ(&self, pair: &NearDuplicate) -> bool {
        let [a, b] = self.examples(pair);
        a.class != b.class
    }

    /// Returns the pairs to review, those of different groups or with different labels: pairs with different
    /// labels first; per pair of groups, or per group, only the most certain pair, with the number of pairs.
    fn suspects(&self) -> Vec<(&NearDuplicate, usize)> {
        let mut suspects: Vec<(&NearDuplicate, usize)> = Vec::new();
        let mut known = BTreeMap::new();
        let mut near_duplicates: Vec<&NearDuplicate> = self.survey.near_duplicates.iter().collect();
        near_duplicates.retain(|it| self.is_across_groups(it) || self.labels_differ(it));
        // `near_duplicates` is sorted, and the sort is stable.
        near_duplicates.sort_by_key(|it| !self.labels_differ(it));
        for pair in near_duplicates {
            let mut groups = self.examples(pair).map(|it| it.group);
            groups.sort_unstable();
            let idx = *known.entry(groups).or_insert(suspects.len());
            match suspects.get_mut(idx) {
                Some((_, n)) => *n += 1,
                None => suspects.push((pair, 1)),
            }
        }
        suspects
    }
}

/// Describes how similar two images are.
fn likeness(pair: &NearDuplicate) -> String {
    match pair.likeness {
        Similarity::SameBytes => "identical file".to_owned(),
        Similarity::SamePixels => "identical pixels".to_owned(),
        Similarity::Near => format!("near-duplicate (distance {})", pair.distance),
    }
}

/// Formats a count with its noun.
fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::without_sheet;

    #[test]
    fn classes_with_the_most_images_get_sheets() {
        let by_class: Vec<Vec<usize>> = (0..1000).map(|it| vec![0; it % 100]).collect();
        let without = without_sheet(&by_class, 30);
        assert_eq!(without.len(), 970);
        let with: Vec<usize> = (0..1000).filter(|it| !without.contains(it)).collect();
        assert_eq!(with.iter().map(|it| it % 100).min(), Some(97));
        assert!(without_sheet(&by_class[..18], 30).is_empty());
    }
}
