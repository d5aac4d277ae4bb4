//! The models of a soup: the best of a run, or one of its checkpoints.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt, fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use base::{Seed, names::listed, task::Scope};
use candle::{Device, Tensor};
use data::{Manifest, Sides};
use infer::Bundle;
use models::Model;
use sha2::{Digest as _, Sha256};
use toml::{Table, Value};

use super::error::SoupError;
use crate::{
    average::{AverageConfig, averaged},
    checkpoint::{self, Checkpoint},
    experiment::{Experiment, differing},
    record::{self, Record},
    run::{RunError, at},
};

/// A model of a soup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingredient {
    /// The folder of its run.
    run: PathBuf,
    /// Its checkpoint; `None` for the best bundle.
    checkpoint: Option<PathBuf>,
}

impl fmt::Display for Ingredient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.run.display().fmt(f)?;
        let step = self.checkpoint.as_ref().and_then(|it| it.file_stem()?.to_str()?.parse().ok());
        step.map_or(Ok(()), |it: usize| write!(f, ", step {it}"))
    }
}

impl Ingredient {
    /// Returns the best model of a run.
    pub fn best(run: &Path) -> Ingredient {
        Ingredient { run: run.to_owned(), checkpoint: None }
    }

    /// Returns the models of a run's last `n` checkpoints, oldest first. Those that the clock or an interruption asked
    /// for are not among them, so that they are a function of the settings.
    ///
    /// # Errors
    /// The run has fewer.
    pub fn last(run: &Path, n: usize) -> Result<Vec<Ingredient>, SoupError> {
        let mut all = checkpoint::scheduled(&run.join("checkpoints"))?;
        if all.len() < n {
            let reason = format!(
                "it has only {} of the last {n} checkpoints: train with `--set checkpoint.keep={n}`, and \
                 `checkpoint.every` as often as they are wanted",
                all.len()
            );
            return Err(SoupError::NoModel { run: run.display().to_string(), reason });
        }
        let last = all.split_off(all.len() - n).into_iter();
        Ok(last.map(|it| Ingredient { run: run.to_owned(), checkpoint: Some(it) }).collect())
    }

    /// Returns the folder of its run.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Opens it as a bundle of one model.
    ///
    /// # Errors
    /// A run without a bundle, or damaged files.
    pub fn open(&self, device: &Device) -> Result<Bundle, SoupError> {
        let mut bundle = Bundle::open(&self.run.join("best"), device)?;
        let (Some(mut member), true) = (bundle.members.pop(), bundle.members.is_empty()) else {
            let reason = "its bundle has several models".to_owned();
            return Err(SoupError::NoModel { run: self.to_string(), reason });
        };
        if let Some(path) = &self.checkpoint {
            let model = Model::fresh(member.model.spec(), &member.task, Seed(0), device)?;
            model.params().load(&weights(path)?).map_err(|source| {
                let path = path.display().to_string();
                SoupError::Weights { path, source }
            })?;
            member.model = Rc::new(model);
        }
        Ok(Bundle::new(bundle.task, vec![member]))
    }
}

/// Returns the weights of a checkpoint that would be evaluated: those of its average, if that has begun. An
/// average whose norms are measured at each evaluation (`swa`) is left out, since a checkpoint may lie between two:
/// then they are the trained weights.
fn weights(path: &Path) -> Result<BTreeMap<String, Tensor>, SoupError> {
    let checkpoint = Checkpoint::open(path).map_err(|err| match err {
        RunError::Damaged { path, reason } => {
            let reason = format!("{reason}: restore it from a copy, or remove it");
            RunError::Damaged { path, reason }
        }
        other => other,
    })?;
    let average = checkpoint.settings.get("average").cloned();
    let average = average.and_then(|it| it.try_into::<AverageConfig>().ok());
    let is_measured = average.is_none_or(|it| it.get().measures());
    if let Some(state) = checkpoint.part("average").filter(|_| !is_measured)
        && let Some(it) = averaged(state)?
    {
        return Ok(it);
    }
    let damaged =
        || RunError::Damaged { path: path.to_owned(), reason: "it has no model".to_owned() };
    Ok(checkpoint.part("model").ok_or_else(damaged)?)
}

/// Checks that the models have the same classes, architecture and pipeline, and returns the first.
///
/// # Errors
/// Everything that differs from the first.
pub(super) fn check(ingredients: &[Ingredient], device: &Device) -> Result<Bundle, SoupError> {
    let Some((first, others)) = ingredients.split_first() else {
        return Err(SoupError::Differ(vec!["there are none".to_owned()]));
    };
    let bundle = first.open(device)?;
    let table = description(&bundle);
    let mut lines = Vec::new();
    // The checkpoints of a run are alike.
    for it in others.iter().filter(|it| it.run != first.run) {
        let own = description(&it.open(device)?);
        let line = |(name, a, b)| format!("{it}: `{name}` is {b}, in {first} {a}");
        lines.extend(differing(&table, &own).into_iter().map(line));
    }
    match lines.is_empty() {
        true => Ok(bundle),
        false => Err(SoupError::Differ(lines)),
    }
}

/// Returns what the models of a soup have in common.
fn description(bundle: &Bundle) -> Table {
    let member = &bundle.members[0];
    let value = |it: Result<Value, _>| it.expect("parts of a bundle are TOML");
    Table::from_iter([
        ("task".to_owned(), value(Value::try_from(&bundle.task))),
        ("model".to_owned(), value(Value::try_from(member.model.spec()))),
        ("pipeline".to_owned(), value(Value::try_from(&member.pipeline))),
    ])
}

/// Returns what the runs of the models began from, if that differs: weights that are far apart have no mean of use.
///
/// # Errors
/// A run's settings, or the weights that they name, cannot be read.
pub(super) fn different_starts(ingredients: &[Ingredient]) -> Result<Option<String>, RunError> {
    let mut starts: Vec<(&Path, String, String)> = Vec::new();
    for run in ingredients.iter().map(|it| it.run.as_path()) {
        if starts.iter().any(|it| it.0 == run) {
            continue;
        }
        let path = run.join("config.toml");
        let text = base::text::read(&path).map_err(at(&path))?;
        let config = Experiment::of_run(&text)
            .map_err(|err| RunError::Damaged { path, reason: err.to_string() })?;
        let pretrained = &config.model.pretrained;
        let shown = match pretrained.as_os_str().is_empty() {
            true => format!("random ones of seed {}", config.seed.0),
            false => format!("`{}`", pretrained.display()),
        };
        let content = content(pretrained)?.unwrap_or_else(|| shown.clone());
        starts.push((run, shown, content));
    }
    let is_one = starts.windows(2).all(|it| it[0].2 == it[1].2);
    let lines = starts.iter().map(|(run, shown, _)| format!("{}: {shown}", run.display()));
    Ok((!is_one).then(|| listed(lines)))
}

/// Returns what tells pretrained weights apart wherever they were copied to: the checksum of a file, or the description
/// of a bundle, which has the checksums of its weights; `None` if they are not there.
fn content(pretrained: &Path) -> Result<Option<String>, RunError> {
    let description = pretrained.join("bundle.toml");
    if description.is_file() {
        return Ok(Some(base::text::read(&description).map_err(at(&description))?));
    }
    if !pretrained.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(pretrained).map_err(at(pretrained))?;
    Ok(Some(format!("{:?}", Sha256::digest(&bytes))))
}

/// Returns the images that at least one model was trained on, and those that all held out; and the number of
/// training images that the data lacks.
///
/// # Errors
/// A run without a table of its data; runs or data in which images of the same name have other labels or groups.
pub(super) fn sides(
    ingredients: &[Ingredient],
    manifest: &Manifest,
) -> Result<(Sides, usize), SoupError> {
    let (mut trained, mut validated, mut groups) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut known: HashMap<String, (String, &Path)> = HashMap::new();
    let mut differ: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let runs: BTreeSet<&Path> = ingredients.iter().map(|it| it.run.as_path()).collect();
    for run in runs {
        let read = |name: &str| {
            let path = run.join(name);
            base::text::read(&path).map_err(at(&path))
        };
        let damaged =
            |name: &str, reason: String| RunError::Damaged { path: run.join(name), reason };
        let config = Experiment::of_run(&read("config.toml")?);
        let config = config.map_err(|err| damaged("config.toml", err.to_string()))?;
        let trains_on_valid = config.trains_on_all();
        let table = Record::from(read(record::FILE)?);
        let read = table.each_row(&mut |row| {
            match row.side {
                "valid" if !trains_on_valid => {
                    validated.insert(row.image.to_owned());
                }
                "train" | "valid" => {
                    trained.insert(row.image.to_owned());
                    groups.insert(row.group.to_owned());
                }
                _ => {}
            }
            // Models may well differ in what they predict for an image without a label.
            if !row.is_pseudo() {
                let own = labelled(row.label, &row.numbers, row.group);
                let first = known.entry(row.image.to_owned()).or_insert_with(|| (own.clone(), run));
                if first.0 != own {
                    let places = (run.display().to_string(), first.1.display().to_string());
                    let line = format!("`{}` ({own}, not {})", row.image, first.0);
                    differ.entry(places).or_default().push(line);
                }
            }
        });
        read.map_err(|err| damaged(record::FILE, err))?;
    }
    let labels = manifest.task.class_names(Scope::Joint);
    for (idx, it) in manifest.examples.iter().enumerate() {
        let Some((first, run)) = known.get(&it.name).filter(|_| !manifest.pseudo.contains(idx))
        else {
            continue;
        };
        let numbers = record::numbers(&manifest.task, &it.numbers);
        let own = labelled(&labels[it.class], &numbers, &manifest.groups[it.group]);
        if *first != own {
            let places = ("the data".to_owned(), run.display().to_string());
            differ.entry(places).or_default().push(format!("`{}` ({own}, not {first})", it.name));
        }
    }
    check_same(differ)?;
    let mut sides = Sides { train: Vec::new(), valid: Vec::new() };
    let mut n_found = 0;
    for (idx, it) in manifest.examples.iter().enumerate() {
        if trained.contains(&it.name) {
            n_found += 1;
            if it.weight > 0.0 {
                sides.train.push(idx);
            }
        } else if validated.contains(&it.name) && !groups.contains(&manifest.groups[it.group]) {
            sides.valid.push(idx);
        }
    }
    Ok((sides, trained.len() - n_found))
}

/// Formats what is known of an image besides its name; different texts are of different images.
fn labelled(label: &str, numbers: &[Option<f64>], group: &str) -> String {
    let numbers: String = numbers.iter().flatten().map(|it| format!(", {it}")).collect();
    format!("{label}{numbers} of {group}")
}

/// Returns an error if images of the same name differ.
///
/// - `differ`: the images that differ between two places.
fn check_same(differ: BTreeMap<(String, String), Vec<String>>) -> Result<(), SoupError> {
    if differ.is_empty() {
        return Ok(());
    }
    let line = |((place, first), images): ((String, String), Vec<String>)| {
        let (n, images) = (images.len(), listed(images));
        let have = if n == 1 { "image has" } else { "images have" };
        format!("{n} {have} another label or group in {place} than in {first}: {images}")
    };
    let lines: Vec<String> = differ.into_iter().map(line).collect();
    Err(SoupError::OtherLabels(lines))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{check_same, labelled};

    #[test]
    fn images_that_differ_are_named() {
        assert!(check_same(BTreeMap::new()).is_ok());
        let [a, b] = [30.0, 31.0].map(|age| labelled("old", &[None, Some(age)], "p1"));
        let images = vec![format!("`x` ({b}, not {a})"); 6];
        let differ = BTreeMap::from([(("runs/b".to_owned(), "runs/a".to_owned()), images)]);
        let err = check_same(differ).unwrap_err().to_string();
        let want = "6 images have another label or group in runs/b than in runs/a: \
                    `x` (old, 31 of p1, not old, 30 of p1), ";
        assert!(err.contains(want) && err.contains(" and 1 more"), "{err}");
    }
}
