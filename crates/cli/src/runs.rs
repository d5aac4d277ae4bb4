//! Finding runs, and loading experiments.

use std::{
    env, fs, io,
    path::{Component, Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow, bail};
use base::{config::Layer, date::utc, text};
use infer::SubmitConfig;
use toml::Table;
use trainer::{Experiment, Run, RunError};

use crate::{
    args::ExperimentArgs,
    recipes::{self, Recipe},
};

/// How to fix a config file that cannot be read.
const NAME_ONE: &str = "name an experiment's config file, or a recipe of `maskfit list recipes`";

/// The name of the newest run.
const LATEST: &str = "latest";

/// Loads the experiment of a config file and `--set` arguments, and returns it with its name.
pub(crate) fn experiment(args: &ExperimentArgs) -> anyhow::Result<(Experiment, String)> {
    let (layers, name) = layers(args)?;
    Ok((Experiment::load(&layers)?, name))
}

/// Returns the layers of an experiment, and its name.
pub(crate) fn layers(args: &ExperimentArgs) -> anyhow::Result<(Vec<Layer>, String)> {
    let mut layers = Vec::new();
    let mut name = "quickstart".to_owned();
    if let Some(path) = &args.config {
        layers.push(layer_of(path)?);
        name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    }
    layers.extend(Layer::from_sets(&args.set)?);
    detail!("settings: {}", named(&layers));
    Ok((layers, name))
}

/// Reads a config file, or a recipe.
fn layer_of(config: &Path) -> anyhow::Result<Layer> {
    let shown = config.display().to_string();
    let text = match recipe(config) {
        Some(it) => it.text.to_owned(),
        None => text::read(config).map_err(|err| match err.kind() {
            io::ErrorKind::InvalidData => anyhow!("{shown}: {err}"),
            io::ErrorKind::NotFound => match recipes::meant(&shown) {
                Some(hint) => anyhow!("{shown}: there is no such file: {hint}"),
                None => anyhow!("{shown}: there is no such file: {NAME_ONE}"),
            },
            _ => anyhow::Error::new(err).context(format!("{shown}: {NAME_ONE}")),
        })?,
    };
    Ok(Layer::from_toml(&shown, &text)?)
}

/// Returns the recipe that an argument names, unless there is a file of that name.
pub(crate) fn recipe(config: &Path) -> Option<&'static Recipe> {
    recipes::find(config.to_str()?).filter(|_| !config.is_file())
}

/// Names the layers of settings, from the bottom up.
fn named(layers: &[Layer]) -> String {
    let names = layers.iter().map(|it| it.name.as_str());
    std::iter::once("configs/default.toml").chain(names).collect::<Vec<_>>().join(", then ")
}

/// Loads the experiment that a run was started with, with `--set` arguments on top.
pub(crate) fn experiment_of(dir: &Path, set: &[String]) -> anyhow::Result<Experiment> {
    let path = dir.join("config.toml");
    let text = text::read(&path).with_context(|| path.display().to_string())?;
    let mut layers = vec![Experiment::layer_of_run(&path.display().to_string(), &text)?];
    let begun = Experiment::load(&layers)?;
    layers.extend(Layer::from_sets(set)?);
    let experiment = Experiment::load(&layers)?;
    for (path, is_other) in [
        ("run.name", experiment.run.name != begun.run.name),
        ("run.dir", experiment.run.dir != begun.run.dir),
    ] {
        if is_other {
            bail!("at `{path}`: a resumed run stays in its folder: leave it out of `--set`");
        }
    }
    check_places(dir, &experiment, RESUME)?;
    Ok(experiment)
}

/// Loads the settings of a new run like one in a folder, with `--set` arguments on top.
pub(crate) fn experiment_like(dir: &Path, set: &[String]) -> anyhow::Result<Experiment> {
    let path = dir.join("config.toml");
    let text = text::read(&path).with_context(|| path.display().to_string())?;
    // Its own name is taken.
    let mut layers = vec![
        Experiment::layer_of_run(&path.display().to_string(), &text)?,
        Layer::from_set("run.name=\"\"")?,
    ];
    layers.extend(Layer::from_sets(set)?);
    let experiment = Experiment::load(&layers)?;
    check_places(dir, &experiment, ["", ""])?;
    Ok(experiment)
}

/// Returns the name of a folder.
pub(crate) fn name_of(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// How a run is resumed whose data has moved.
const RESUME: [&str; 2] = ["`train --resume` with ", " --allow-changes"];

/// Checks that the relative paths of a run's settings exist. They are relative to the folder that the run
/// was started in, which may not be the current one: the error names the fix.
///
/// - `moved`: what precedes and follows the `--set` that names another place.
pub(crate) fn check_places(
    dir: &Path,
    experiment: &Experiment,
    moved: [&str; 2],
) -> anyhow::Result<()> {
    let mut lost = experiment.places();
    lost.retain(|(_, path)| path.is_relative() && !path.as_os_str().is_empty() && !path.exists());
    if lost.is_empty() {
        return Ok(());
    }
    let here = env::current_dir().context("cannot find the current folder")?;
    let settings: Vec<String> =
        lost.iter().map(|(at, it)| format!("`{at}` is `{}`", it.display())).collect();
    let all_exist = |it: &PathBuf| lost.iter().all(|(_, path)| it.join(path).exists());
    let go = match start_of(dir, &experiment.run.dir).filter(all_exist) {
        Some(it) => format!("this run was started in {0}: `cd {0}` first", it.display()),
        None => "`cd` to where this run was started, or put the data back there".to_owned(),
    };
    // A setting within a list cannot be set by itself.
    let set = lost.iter().find(|(at, _)| !at.contains('[')).map(|(at, _)| {
        let [before, after] = moved;
        format!("; or {before}`--set {at}=DIR{after}` if it has moved")
    });
    bail!(
        "{}: {}, which does not exist relative to {}: paths are relative to the folder that a run is \
         started in: {go}{}",
        dir.join("config.toml").display(),
        settings.join(", "),
        here.display(),
        set.unwrap_or_default()
    )
}

/// Returns the folder that a run was started in, derived from its path: `a` for a run `a/runs/b` with the
/// setting `dir = "runs"`. It is not stored, so that a run can be moved, with its data, to another machine.
pub(crate) fn start_of(dir: &Path, runs: &Path) -> Option<PathBuf> {
    let all = dir.canonicalize().ok()?.parent()?.to_owned();
    let runs: PathBuf = runs.components().filter(|it| *it != Component::CurDir).collect();
    let is_below = runs.components().all(|it| matches!(it, Component::Normal(_)));
    let n = runs.components().count();
    let start = all.ancestors().nth(n)?.to_owned();
    (is_below && all.ends_with(&runs)).then_some(start)
}

/// Checks that the name of a new run is free, before its data is read; [`begin`] checks it again.
pub(crate) fn check_is_new(experiment: &Experiment) -> Result<(), RunError> {
    let section = &experiment.run;
    let dir = section.dir.join(&section.name);
    match !section.name.is_empty() && dir.join("config.toml").exists() {
        true => Err(RunError::Exists(dir)),
        false => Ok(()),
    }
}

/// Creates the run of an experiment, in its own folder.
///
/// - `name`: the name of the run if the settings set none; the time is appended.
pub(crate) fn begin(experiment: &Experiment, name: &str) -> Result<Run, RunError> {
    begin_with(experiment, &experiment.to_toml(), name)
}

/// As [`begin`], with another text of the settings.
pub(crate) fn begin_with(
    experiment: &Experiment,
    config: &str,
    name: &str,
) -> Result<Run, RunError> {
    let section = &experiment.run;
    match section.name.is_empty() {
        false => Run::create(&section.dir.join(&section.name), config),
        true => Run::create_unnamed(&section.dir.join(format!("{name}-{}", now())), config),
    }
}

/// Returns the current time as `20261121-220433`, UTC.
fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let [year, month, day, hour, minute, second] = utc(seconds);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// Finds a run's folder: `named` is a path, the name of a folder in `runs/`, or `latest`.
pub(crate) fn find(named: &Path) -> anyhow::Result<PathBuf> {
    find_with(named, None, &[])
}

/// As [`find`], in the folder of runs that a config or `--set` arguments of the command set.
pub(crate) fn find_with(
    named: &Path,
    config: Option<&Path>,
    set: &[String],
) -> anyhow::Result<PathBuf> {
    if named.exists() {
        return Ok(named.to_owned());
    }
    let runs = folder_of_runs(config, set)?;
    if named.as_os_str() != LATEST {
        let within = runs.join(named);
        return Ok(if within.is_dir() { within } else { named.to_owned() });
    }
    let begun =
        |path: &PathBuf| fs::metadata(path.join("config.toml")).and_then(|it| it.modified()).ok();
    let all = fs::read_dir(&runs).into_iter().flatten().flatten().map(|it| it.path());
    let newest = all.filter_map(|it| Some((begun(&it)?, it))).max();
    newest.map(|it| it.1).with_context(|| {
        format!(
            "{LATEST}: there are no runs in `{}`, the folder that `run.dir` sets: train first, or name the folder \
             of a run",
            runs.display()
        )
    })
}

/// As [`find_with`], for all models of a command.
pub(crate) fn find_all(
    named: &mut [PathBuf],
    config: Option<&Path>,
    set: &[String],
) -> anyhow::Result<()> {
    for it in named {
        *it = find_with(it, config, set)?;
    }
    Ok(())
}

/// Returns the folder that runs are written to.
fn folder_of_runs(config: Option<&Path>, set: &[String]) -> anyhow::Result<PathBuf> {
    let mut layers: Vec<Layer> = config.map(layer_of).transpose()?.into_iter().collect();
    // Others may be for the settings of the run that is looked for.
    layers.extend(Layer::from_sets(set)?.into_iter().filter(|it| it.gives("run")));
    Ok(Experiment::load(&layers)?.run.dir)
}

/// Returns the settings of a submission: `[submit]` of the first run, or the default for a bundle, with `--set`
/// arguments on top.
pub(crate) fn submit_settings(named: &[PathBuf], set: &[String]) -> anyhow::Result<SubmitConfig> {
    const SECTION: &str = "submit";
    let mut layers = Vec::new();
    let config = named.first().map(|it| find(it)).transpose()?.map(|it| it.join("config.toml"));
    if let Some(path) = config.filter(|it| it.is_file()) {
        let text = text::read(&path).with_context(|| path.display().to_string())?;
        let mut table: Table = text.parse().with_context(|| path.display().to_string())?;
        // A bundle can be used whatever the other settings of its run are.
        table.retain(|section, _| section == SECTION);
        layers.push(Layer::new(path.display().to_string(), table));
    }
    for layer in Layer::from_sets(set)? {
        if !layer.gives(SECTION) {
            let name = &layer.name;
            bail!("{name}: not a setting of `[submit]`, such as `submit.kind=probabilities`");
        }
        layers.push(layer);
    }
    let config = Experiment::load(&layers)?.submit;
    match config.get().problem() {
        Some(problem) => bail!("at `submit`: {problem}"),
        None => Ok(config),
    }
}

/// Whether a finished run was trained on its validation set, by its report.
pub(crate) fn is_trained_on_valid(dir: &Path) -> bool {
    let report = fs::read_to_string(dir.join("report.toml")).unwrap_or_default();
    let report: toml::Table = report.parse().unwrap_or_default();
    report.get("trained_on_valid").and_then(toml::Value::as_bool).unwrap_or(false)
}

/// Returns the cache folder.
pub(crate) fn cache_dir() -> Option<PathBuf> {
    let var = |name: &str| env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    var("MASKFIT_CACHE")
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("maskfit")))
        .or_else(|| Some(var("HOME")?.join(".cache/maskfit")))
}
