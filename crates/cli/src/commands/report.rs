//! `maskfit report`: collects what is on the page of a report, which the crate `report` writes.
//!
//! A run with a test set is reported on it, any other on its validation set, a cross-validation and an ensemble on
//! their out-of-fold predictions; beside those of a cross-validation are its scores on the test set. What cannot be
//! shown, such as images that are gone, is a note on the page and none of it an error: the scores follow from the run's
//! folder alone.

mod beside;
mod curves;
mod facts;
mod found;
mod images;
mod maps;
mod one;
mod predictions;
mod setup;
mod test_set;

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::bail;
use base::date::utc;
use data::Manifest;
use report::{Contents, Limits, RunReport};
use trainer::Experiment;

use self::found::Found;
use crate::{
    End,
    output::{Output, Own},
    phrases::seconds,
    terminal::Terminal,
};

/// The page's file in a run's folder.
pub(crate) const FILE: &str = "report.html";
/// The pages that are replaced.
const OWN: Own<'static> = Own { what: "a report", is_own: &is_page };
/// The most notes that are printed.
const MOST_NOTES: usize = 5;
/// How long maps are made for a page that is asked for, and for one at the end of a run.
const PATIENCE: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(4)];

/// Writes a page on one run, or on several side by side.
pub(crate) fn report(named: &[PathBuf], output: Option<&Path>) -> anyhow::Result<End> {
    let begun = Instant::now();
    let terminal = Terminal::new();
    let found = found::all(named)?;
    let path = match (output, found.as_slice()) {
        (Some(it), _) => it.to_owned(),
        (None, [one]) => one.dir.join(FILE),
        (None, _) => bail!(
            "{} runs are named: name the page with `-o FILE`, so that it does not replace the page of the first run",
            found.len()
        ),
    };
    let output = Output::at(&path)?;
    output.check(&OWN)?;
    let contents = contents(&found, None, PATIENCE[0], &terminal)?;
    let page = report::html(&contents)?;
    output.write(&OWN, page.as_bytes())?;
    terminal.clear();
    say!("report: {output}");
    notes(&contents).iter().for_each(|it| status!("note: {it}"));
    status!("{} in {}", size(page.len()), seconds(begun.elapsed().as_secs_f64()));
    Ok(End::Done)
}

/// Whether a file is a page of a report.
fn is_page(file: File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(report::HEAD as u64).read_to_end(&mut head)?;
    Ok(report::is_page(&head))
}

/// Returns the notes on a page, at most [`MOST_NOTES`] of them and the number of the others.
fn notes(contents: &Contents) -> Vec<String> {
    let is_single = contents.runs.len() == 1;
    let of_run = |run: &RunReport| {
        let name = if is_single { String::new() } else { format!("`{}`: ", run.name) };
        run.notes.iter().map(|it| format!("{name}{it}")).collect::<Vec<String>>()
    };
    let compared = contents.comparison.iter().flat_map(|it| it.notes.clone());
    let mut all: Vec<String> = contents.runs.iter().flat_map(of_run).chain(compared).collect();
    let n_more = all.len().saturating_sub(MOST_NOTES);
    all.truncate(MOST_NOTES);
    if n_more > 0 {
        let notes = if n_more == 1 { "note" } else { "notes" };
        all.push(format!("{n_more} more {notes} on the page"));
    }
    all
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
        let page = report::html(&contents(&[found], Some(manifest), PATIENCE[1], terminal)?)?;
        let path = dir.join(FILE);
        Output::at(&path)?.write(&OWN, page.as_bytes())?;
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

/// Collects what is on the page.
///
/// - `manifest`: the data of a single run, if it is read already.
/// - `patience`: how long maps are made.
fn contents(
    found: &[Found],
    manifest: Option<&Manifest>,
    patience: Duration,
    terminal: &Terminal,
) -> anyhow::Result<Contents> {
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
    Ok(contents)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use report::{Compared, Contents, RunReport};

    use super::{OWN, notes};
    use crate::output::Output;

    #[test]
    fn a_few_notes_are_printed_and_the_others_counted() {
        let run = |name: &str, n: usize| RunReport {
            name: name.to_owned(),
            notes: (0..n).map(|it| format!("No {it}.")).collect(),
            ..RunReport::default()
        };
        let one = Contents { runs: vec![run("a", 1)], ..Contents::default() };
        assert_eq!(notes(&one), ["No 0."]);
        let compared = Compared { notes: vec!["Others.".to_owned()], ..Compared::default() };
        let runs = vec![run("a", 2), run("b", 2)];
        let mut two = Contents { runs, comparison: Some(compared), ..Contents::default() };
        assert_eq!(
            notes(&two),
            ["`a`: No 0.", "`a`: No 1.", "`b`: No 0.", "`b`: No 1.", "Others."]
        );
        two.runs[0] = run("a", 3);
        assert_eq!(notes(&two)[4..], ["`b`: No 1.", "1 more note on the page"]);
        two.runs[0] = run("a", 9);
        assert_eq!(notes(&two)[4..], ["`a`: No 4.", "7 more notes on the page"]);
    }

    #[test]
    fn only_a_page_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.html");
        let output = Output::at(&path).unwrap();
        assert!(output.check(&OWN).is_ok());
        fs::write(&path, report::html(&Contents::default()).unwrap()).unwrap();
        assert!(output.check(&OWN).is_ok());
        let mine = "<!DOCTYPE html><title>My page</title>";
        fs::write(&path, mine).unwrap();
        let want = format!(
            "{}: already exists, and is not a report: name another file with `-o`, or remove it",
            path.display()
        );
        assert_eq!(output.check(&OWN).unwrap_err().to_string(), want);
        // Nor one that has appeared since.
        assert_eq!(output.write(&OWN, b"page").unwrap_err().to_string(), want);
        assert_eq!(fs::read_to_string(&path).unwrap(), mine);
    }
}
