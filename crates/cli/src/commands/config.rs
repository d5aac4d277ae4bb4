//! `maskfit config show`, `config diff` and `config schema`

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use base::config::{Layer, load, origin};
use toml::Value;
use trainer::{DEFAULT, Experiment};

use crate::{
    End,
    args::ExperimentArgs,
    continued,
    output::Output,
    pretrained, recipes, runs,
    settings::{elements, settings, table},
    style::{ASIDE, HEADING, headed, paint},
    terminal::Terminal,
    wrap::in_columns,
};

/// Comments are aligned within a section, up to this column.
const ALIGNED: usize = 48;

/// The JSON Schema of a config; `cli/src/reference/schema.rs` makes it.
const SCHEMA: &str = include_str!("../../../../configs/schema.json");

/// Prints the resolved settings, each with the layer that it comes from.
pub(crate) fn show(config: Option<PathBuf>, set: Vec<String>) -> anyhow::Result<End> {
    let args = ExperimentArgs { config: config.as_deref().map(file).transpose()?, set };
    let layers = runs::layers(&args)?.0;
    let default = Layer::from_toml("configs/default.toml", DEFAULT)?;
    // A bundle may make layers valid that are not without it: all that they leave out is the bundle's then.
    let without_weights = load::<Experiment>(&default, &layers).ok();
    let before: BTreeMap<Vec<String>, Value> = without_weights
        .map_or_else(Vec::new, |it| settings(&table(&it)))
        .into_iter()
        .map(|it| (it.path, it.value))
        .collect();
    let (mut section, mut lines) = (Vec::new(), Vec::new());
    for it in settings(&table(&resolved(&args)?)) {
        let (key, within) = it.path.split_last().expect("a setting has a name");
        if section != within {
            print(&mut lines);
            section = within.to_vec();
            say!("\n{}", paint(HEADING, format!("[{}]", joined(within))));
        }
        let from = match origin(&layers, &it.path) {
            Some(layer) if layer.name.starts_with("--set ") => "--set",
            Some(layer) => &layer.name,
            None if before.get(&it.path) != Some(&it.value) => "weights",
            None => "default",
        };
        lines.push((format!("{} = {}", quoted(key), it.value), from.to_owned()));
    }
    print(&mut lines);
    Ok(End::Done)
}

/// Prints the lines of a section, and removes them.
fn print(lines: &mut Vec<(String, String)>) {
    let width = lines.iter().map(|it| it.0.chars().count()).filter(|it| *it <= ALIGNED).max();
    let width = width.unwrap_or(0);
    for (line, from) in lines.drain(..) {
        say!("{line:width$}  {}", paint(ASIDE, format!("# {}", from.replace('\n', " "))));
    }
}

/// Prints the settings that differ.
pub(crate) fn diff(a: PathBuf, b: PathBuf) -> anyhow::Result<End> {
    let mut found: BTreeMap<String, [String; 2]> = BTreeMap::new();
    for (side, path) in [&a, &b].into_iter().enumerate() {
        let args = ExperimentArgs { config: Some(file(path)?), set: Vec::new() };
        for it in elements(&table(&resolved(&args)?)) {
            let none = || ["-".to_owned(), "-".to_owned()];
            found.entry(it.name()).or_insert_with(none)[side] = it.value.to_string();
        }
    }
    found.retain(|_, [a, b]| a != b);
    if found.is_empty() {
        say!("no settings differ");
        return Ok(End::Done);
    }
    let header = ["setting".to_owned(), a.display().to_string(), b.display().to_string()];
    let rows = found.into_iter().map(|(name, [a, b])| [name, a, b]);
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    // Values are to be pasted, so that nothing is wrapped.
    say!("{}", headed(&in_columns(usize::MAX, &rows, &[false; 3]).join("\n")));
    Ok(End::Done)
}

/// Prints the JSON Schema of a config.
pub(crate) fn schema() -> anyhow::Result<End> {
    Output::at(Path::new("-"))?.write_new(SCHEMA.as_bytes())?;
    Ok(End::Done)
}

/// Loads an experiment, with the settings that its weights determine if they are on this machine.
fn resolved(args: &ExperimentArgs) -> anyhow::Result<Experiment> {
    let terminal = Terminal::new();
    let mut experiment = continued::experiment(args, &terminal)?.0;
    pretrained::settle_if_here(&mut experiment, args, &terminal)?;
    Ok(experiment)
}

/// Finds the config file of an argument: a config, the name of a recipe, or a run.
fn file(named: &Path) -> anyhow::Result<PathBuf> {
    if named.is_file() || (!named.exists() && runs::recipe(named).is_some()) {
        return Ok(named.to_owned());
    }
    let dir = runs::find(named)?;
    let path = dir.join("config.toml");
    if !path.is_file() {
        let shown = named.display().to_string();
        let hint = recipes::meant(&shown).unwrap_or_else(|| "name one".to_owned());
        bail!("{shown}: this is neither a config, a recipe nor a run: {hint}");
    }
    let text = base::text::read(&path).with_context(|| path.display().to_string())?;
    Experiment::layer_of_run(&path.display().to_string(), &text)?;
    Ok(path)
}

/// Formats keys as a path in TOML.
fn joined(keys: &[String]) -> String {
    keys.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(".")
}

fn quoted(key: &str) -> String {
    let is_bare = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '-';
    match !key.is_empty() && key.chars().all(is_bare) {
        true => key.to_owned(),
        false => Value::from(key).to_string(),
    }
}
