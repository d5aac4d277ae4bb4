//! Paths in the settings of a cross-validation, which several machines read.
//!
//! They are relative to the folder that it was started in, which every machine derives from where it finds the
//! cross-validation: `a` for `a/runs/b`. No absolute path of a machine is stored: where the runs are in another
//! folder (`run.dir = "/shared/runs"`), the folder above takes the place of the current one.

use std::{
    env, fs, io,
    path::{Component, Path, PathBuf, absolute},
};

use anyhow::{Context as _, bail};
use base::{config::Layer, text};
use trainer::{Earlier, Experiment, PRETRAINED, Run};

use crate::runs;

/// The settings of a cross-validation.
pub(crate) struct Settings {
    /// As stored, the same for every process.
    pub(super) stored: Experiment,
    /// With the paths of this process.
    pub(crate) own: Experiment,
}

/// Returns the settings of a new cross-validation, without absolute paths of the data.
pub(super) fn portable(experiment: &Experiment) -> anyhow::Result<Settings> {
    let here = env::current_dir().context("cannot find the current folder")?;
    let mut stored = experiment.clone();
    let start = match (is_below(&experiment.run.dir), experiment.run.dir.file_name()) {
        (false, Some(name)) => {
            stored.run.dir = PathBuf::from(name);
            absolute(&experiment.run.dir)?.parent().map_or_else(|| here.clone(), Path::to_owned)
        }
        _ => here.clone(),
    };
    for (at, path) in stored.places_mut() {
        if path.is_absolute() || start != here {
            *path = relative(&start, path).with_context(|| format!("at `{at}`"))?;
        }
    }
    Ok(Settings { stored, own: experiment.clone() })
}

/// Puts published weights beside the folds if their path is absolute, as that of the hub's cache is, and a bundle to
/// continue from in any case, since it may change.
pub(super) fn keep_weights(settings: &mut Settings, run: &Run) -> anyhow::Result<()> {
    let path = settings.own.model.pretrained.clone();
    let name = runs::name_of(run.dir());
    let stored = |file: &str| settings.stored.run.dir.join(&name).join(file);
    if path.is_dir() {
        let copy = run.dir().join(PRETRAINED);
        Earlier::open(&path)?.copy_to(&copy)?;
        settings.own.model.pretrained = copy;
        settings.stored.model.pretrained = stored(PRETRAINED);
        return Ok(run.write("config.toml", &settings.stored.to_toml())?);
    }
    if path.is_relative() {
        return Ok(());
    }
    let ending = path.extension().map_or(String::new(), |it| format!(".{}", it.to_string_lossy()));
    let file = format!("pretrained{ending}");
    let to = run.dir().join(&file);
    let whole = path.canonicalize().with_context(|| path.display().to_string())?;
    // A second name costs no space, on the same disk.
    fs::hard_link(&whole, &to)
        .or_else(|_| fs::copy(&whole, &to).map(drop))
        .with_context(|| to.display().to_string())?;
    settings.stored.model.pretrained = stored(&file);
    Ok(run.write("config.toml", &settings.stored.to_toml())?)
}

/// Loads the settings of a cross-validation, and finds its data from here.
///
/// - `set`: where this process finds the data, and settings that do not change results.
pub(crate) fn located(dir: &Path, set: &[String]) -> anyhow::Result<Settings> {
    let path = dir.join("config.toml");
    let text = match text::read(&path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            return Err(trainer::RunError::Absent(dir.to_owned()).into());
        }
        other => other.with_context(|| path.display().to_string())?,
    };
    let mut layers = vec![Experiment::layer_of_run(&path.display().to_string(), &text)?];
    let stored = Experiment::load(&layers)?;
    layers.extend(Layer::from_sets(set)?);
    let mut own = Experiment::load(&layers)?;
    check_sets(&stored, &own)?;
    if let Some(start) = runs::start_of(dir, &stored.run.dir) {
        let before = stored.places();
        let pretrained = ("model.pretrained".to_owned(), stored.model.pretrained.clone());
        let mut weights = std::mem::take(&mut own.model.pretrained);
        let own_places = own.places_mut().into_iter().map(|it| it.1).chain([&mut weights]);
        for ((_, before), path) in before.into_iter().chain([pretrained]).zip(own_places) {
            let there = start.join(&before);
            let is_moved = *path == before && there.canonicalize().ok() != path.canonicalize().ok();
            if is_moved && !before.as_os_str().is_empty() && there.exists() {
                *path = there;
            }
        }
        own.model.pretrained = weights;
    }
    runs::check_places(dir, &own, ["`kfold run` with ", ""])?;
    Ok(Settings { stored, own })
}

/// Checks that the settings of this process differ only in where the data is, and in settings that do not change
/// results.
fn check_sets(stored: &Experiment, own: &Experiment) -> anyhow::Result<()> {
    if own.with_places_of(stored).result_settings() != stored.result_settings() {
        let places: Vec<String> = stored.places().into_iter().map(|it| it.0).collect();
        let places = match places.is_empty() {
            true => String::new(),
            false => format!("`{}`, and ", places.join("`, `")),
        };
        bail!(
            "--set: a cross-validation keeps its settings: set only {places}settings that do not change results, \
             such as `threads`"
        );
    }
    Ok(())
}

/// Returns whether a path is below the current folder, and names it without detours.
fn is_below(path: &Path) -> bool {
    let mut parts = path.components();
    parts.all(|it| matches!(it, Component::Normal(_) | Component::CurDir))
}

/// Returns a path relative to a folder.
fn relative(from: &Path, path: &Path) -> io::Result<PathBuf> {
    let path = absolute(path)?;
    if let Ok(below) = path.strip_prefix(from) {
        return Ok(below.to_owned());
    }
    // Links are resolved, since `..` would leave the folder that a link leads to.
    let path = path.canonicalize().unwrap_or(path);
    let from = from.canonicalize().unwrap_or_else(|_| from.to_owned());
    let n_shared = from.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(n_shared).map(|_| Component::ParentDir);
    Ok(up.chain(path.components().skip(n_shared)).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{is_below, relative};

    #[test]
    fn a_path_is_relative_to_the_folder_that_a_run_is_started_in() {
        for (from, path, want) in [
            ("/absent/a", "/absent/a/people", "people"),
            ("/absent/a/b", "/absent/people/train", "../../people/train"),
            ("/absent/a", "/other/people", "../../other/people"),
            ("/absent/a", "/absent/a", ""),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(path)).unwrap(), Path::new(want));
        }
        assert!(is_below(Path::new("runs")) && is_below(Path::new("./a/runs")));
        assert!(!is_below(Path::new("/shared/runs")) && !is_below(Path::new("../runs")));
    }
}
