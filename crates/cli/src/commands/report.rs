//! `maskfit report`: collects what is on the page of a report, which the crate `report` writes.
//!
//! A run with a test set is reported on it, any other on its validation set, a cross-validation and an ensemble on
//! their out-of-fold predictions. What cannot be shown, such as images that are gone, is a note on the page and none of
//! it an error: the scores follow from the run's folder alone.

mod beside;
mod curves;
mod facts;
mod found;
mod images;
mod maps;
mod one;
mod predictions;
mod setup;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use base::date::utc;
use data::Manifest;
use report::{Contents, Limits};
use trainer::Experiment;

use self::found::Found;
use crate::{End, output::Output, phrases::seconds, terminal::Terminal};

/// The page's file in a run's folder.
pub(crate) const FILE: &str = "report.html";
/// How long maps are made for a page that is asked for, and for one at the end of a run.
const PATIENCE: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(4)];

/// Writes a page on one run, or on several side by side.
pub(crate) fn report(named: &[PathBuf], output: Option<&Path>) -> anyhow::Result<End> {
    let begun = Instant::now();
    let terminal = Terminal::new();
    let found = found::all(named)?;
    let path = match output {
        Some(it) => it.to_owned(),
        None => found[0].dir.join(FILE),
    };
    let output = Output::at(&path)?;
    let page = page(&found, None, PATIENCE[0], &terminal)?;
    output.write(page.as_bytes())?;
    say!("report: {output}");
    status!("{} in {}", size(page.len()), seconds(begun.elapsed().as_secs_f64()));
    Ok(End::Done)
}

/// Writes the page of a run that has just finished, if its settings ask for it. One that fails is a note.
pub(super) fn at_end(
    dir: &Path,
    experiment: &Experiment,
    manifest: &Manifest,
    terminal: &Terminal,
) {
    if !experiment.run.report {
        return;
    }
    let begun = Instant::now();
    let write = || {
        let found = found::one(dir)?;
        let page = page(&[found], Some(manifest), PATIENCE[1], terminal)?;
        let path = dir.join(FILE);
        let written = base::files::write_atomic(&path, page.as_bytes());
        written.with_context(|| path.display().to_string())?;
        anyhow::Ok((path, page.len()))
    };
    let written = write();
    terminal.clear();
    match written {
        Ok((path, n_bytes)) => {
            say!("report: {}", path.display());
            status!("{} in {}", size(n_bytes), seconds(begun.elapsed().as_secs_f64()));
        }
        Err(err) => status!(
            "note: the report was not made, which changes nothing else: {err:#}: try `maskfit report {}`",
            crate::phrases::argument(dir)
        ),
    }
}

/// Makes the page.
///
/// - `manifest`: the data of a single run, if it is read already.
/// - `patience`: how long maps are made.
fn page(
    found: &[Found],
    manifest: Option<&Manifest>,
    patience: Duration,
    terminal: &Terminal,
) -> anyhow::Result<String> {
    let limits = Limits::of(found.len());
    let patience = patience / found.len().max(1) as u32;
    let mut contents = Contents {
        title: found.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", "),
        made: now(),
        ..Contents::default()
    };
    for it in found {
        terminal.status(&format!("reporting on {}", it.dir.display()));
        contents.runs.push(one::report(it, manifest, limits, patience, terminal)?);
    }
    contents.comparison = (found.len() > 1).then(|| beside::compare(found)).transpose()?;
    Ok(report::html(&contents)?)
}

fn size(n_bytes: usize) -> String {
    match n_bytes {
        ..1_000_000 => format!("{} KB", n_bytes.div_ceil(1000)),
        _ => format!("{:.1} MB", n_bytes as f64 / 1e6),
    }
}

/// Returns the current time as `2026-11-29 22:04 UTC`.
fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let [year, month, day, hour, minute, _] = utc(seconds);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}
