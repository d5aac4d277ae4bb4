//! `maskfit weights`

use std::path::Path;

use anyhow::Context as _;
use models::{
    BackboneConfig, Convention, Given, NetworkMatch, Normalisation, WeightsFile, first_few,
    published,
};

use crate::{
    End,
    args::WeightsCommand,
    pretrained::{self, sha256},
    terminal::Terminal,
    wrap::{columns, fold, wrapped, wrapped_message},
};

/// Number of tensors to print at the beginning and at the end, unless all are printed.
const SHOWN: usize = 4;

/// A file with a smaller share of a network's tensors than this does not resemble it.
const LIKENESS: f64 = 0.25;

pub(crate) fn weights(command: &WeightsCommand) -> anyhow::Result<End> {
    match command {
        WeightsCommand::Inspect { file, all } => inspect(file, *all),
    }
}

fn inspect(requested: &str, all: bool) -> anyhow::Result<End> {
    let terminal = Terminal::new();
    let found = pretrained::find(requested, None, &terminal);
    terminal.clear();
    let found = found?;
    let file = WeightsFile::read(&found.path)?;
    let is_statistic = |name: &str| name.ends_with("running_mean") || name.ends_with("running_var");
    let (mut n_parameters, mut n_statistics, mut n_weights) = (0, 0, 0);
    for (name, it) in file.weights() {
        n_weights += 1;
        *(if is_statistic(name) { &mut n_statistics } else { &mut n_parameters }) +=
            it.elem_count();
    }
    let n_others = file.tensors.len() - n_weights;
    say!("{}", found.path.display());
    if let Some(origin) = &found.origin {
        say!("{}", wrapped("  origin      ", origin));
    }
    say!("  format      {}", file.format.name());
    match file.n_bytes {
        n @ ..1_000_000 => say!("  size        {:.1} kB", n as f64 / 1e3),
        n => say!("  size        {:.1} MB", n as f64 / 1e6),
    }
    match n_statistics {
        0 => say!("  parameters  {n_parameters}"),
        n => say!("  parameters  {n_parameters}, and {n} running statistics of batch norms"),
    }
    match n_others {
        0 => say!("  tensors     {n_weights}"),
        _ => say!("  tensors     {n_weights}, and {n_others} of integers (counters)"),
    }
    if !file.place.is_empty() {
        say!("  within      `{}`", file.place);
    }
    if !file.ignored.is_empty() {
        say!("{}", fold("  ignored     ", &file.ignored.join(", ")));
    }
    let row = |(name, it): &(String, candle::Tensor)| {
        let dims = it.dims().iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
        let dims = if dims.is_empty() { "scalar".to_owned() } else { dims };
        [format!("    {name}"), it.dtype().as_str().to_owned(), dims]
    };
    let (n, mut rows) = (file.tensors.len(), Vec::new());
    let is_cut = !all && n > 2 * SHOWN + 1;
    for (idx, tensor) in file.tensors.iter().enumerate() {
        if !is_cut || idx < SHOWN || idx >= n - SHOWN {
            rows.push(row(tensor));
        } else if idx == SHOWN {
            let rest = format!("    ... {} more: --all prints them", n - 2 * SHOWN);
            rows.push([rest, String::new(), String::new()]);
        }
    }
    say!("{}\n", columns(&rows, &[false; 3]));
    for line in
        verdict(&file, requested, &found.path).with_context(|| found.path.display().to_string())?
    {
        say!("{}", wrapped_message(&line));
    }
    Ok(End::Done)
}

/// Describes which published networks a file fits.
fn verdict(file: &WeightsFile, requested: &str, path: &Path) -> anyhow::Result<Vec<String>> {
    let mut fits = file.closest()?;
    let best = fits.remove(0);
    let names = |it: &NetworkMatch| it.names.join(" and ");
    let n_differ = best.differences.len();
    if n_differ as f64 > (1.0 - LIKENESS) * best.n_tensors as f64 {
        return Ok(vec![
            "fits no published network, and resembles none: see `list models`".to_owned(),
        ]);
    }
    let mut lines = Vec::new();
    let classes = match best.n_classes {
        Some(n) => format!("{n} classes"),
        None => "no classifier".to_owned(),
    };
    if n_differ == 0 {
        let n = file.weights().count();
        let unexpected = match best.unexpected.as_slice() {
            [] => format!("all {n} tensors used"),
            some => format!("{} of {n} tensors unused:{}", some.len(), first_few(some)),
        };
        lines.push(format!("fits {} ({}): {classes}; {unexpected}", names(&best), names_of(&best)));
        lines.extend(convention(file, best.names[0], requested, path)?);
    } else {
        lines.push(format!(
            "fits no published network; the closest is {} ({}): {n_differ} of its {} tensors differ:{}",
            names(&best),
            names_of(&best),
            best.n_tensors,
            first_few(&best.differences),
        ));
        if !best.unexpected.is_empty() {
            let n = best.unexpected.len();
            lines.push(format!(
                "{n} of the file's tensors are unused:{}",
                first_few(&best.unexpected)
            ));
        }
    }
    Ok(lines)
}

/// Describes the padding, the norms and the preprocessing of the weights, and what remains unknown.
fn convention(
    file: &WeightsFile,
    network: &str,
    requested: &str,
    path: &Path,
) -> anyhow::Result<Vec<String>> {
    let Some(mut network) = published().into_iter().find(|it| it.name == network) else {
        return Ok(Vec::new());
    };
    if let BackboneConfig::EfficientNet(it) = &mut network.backbone {
        // These are determined by the file.
        (it.padding, it.norm_eps) = (None, None);
    }
    let given = Given { backbone: &network.backbone, normalisation: Normalisation::Unset };
    let called = [requested, &path.to_string_lossy()];
    let Some(it) = Convention::of(file, given, &called, &sha256(path)?)? else {
        return Ok(Vec::new());
    };
    let mut lines = vec![format!("by {} the weights are {}:", it.identified_by, it.name())];
    if !it.network().is_empty() {
        lines.push(fold("  network     ", &it.network()));
    }
    lines.push(fold("  images      ", &it.origin.input.to_string()));
    lines.extend(it.ambiguities(given).iter().map(|it| format!("  note: {it}")));
    Ok(lines)
}

/// Describes which library's tensor names a file uses, and their common prefix.
fn names_of(fit: &NetworkMatch) -> String {
    match fit.prefix.as_str() {
        "" => format!("{}'s names", fit.library),
        prefix => format!("{}'s names under `{prefix}`", fit.library),
    }
}
