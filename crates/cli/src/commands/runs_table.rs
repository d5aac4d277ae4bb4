//! `maskfit runs`: a table of the runs in a folder.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow, bail};
use base::{date::utc, text};
use serde::Serialize;
use serde_json::json;
use toml::{Table, Value};
use trainer::{
    Experiment, Run,
    kfold::{finished_folds, is_kfold},
};

use crate::{
    End,
    json::emit,
    phrases::seconds,
    settings::settings,
    style::{ERROR, headed, paint},
    wrap::{WIDTH, fold, in_columns, wrapped},
};

/// Bytes at the end of a table that contain its last line.
const TAIL: u64 = 4096;

/// Prints the runs, the newest last.
pub(crate) fn runs(dir: Option<&Path>) -> anyhow::Result<End> {
    let standard = Experiment::load(&[])?;
    let dir = dir.unwrap_or(&standard.run.dir);
    let shown = dir.display();
    let entries = match fs::read_dir(dir) {
        Ok(it) => it.collect::<Result<Vec<_>, _>>().with_context(|| shown.to_string())?,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            bail!("{shown}: there is no such folder: train first, or name a folder by `--dir`")
        }
        Err(err) => return Err(anyhow!("{shown}: {err}")),
    };
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    paths.retain(|it| it.is_dir());
    if paths.is_empty() {
        say!("{shown}: there are no runs yet");
        return Ok(End::Done);
    }
    let result_settings = standard.result_settings();
    let mut rows = Vec::new();
    let mut unreadable = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match row(&path, &name, &result_settings) {
            Ok((started, row)) => rows.push((started, row)),
            Err(err) => unreadable.push((name, format!("{err:#}").replace('\n', " "))),
        }
    }
    rows.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
    unreadable.sort();
    let rows: Vec<Row> = rows.into_iter().map(|it| it.1).collect();
    rows.iter().for_each(|it| emit("run", it));
    if !rows.is_empty() {
        let shared = shared(rows.iter().map(|it| &it.differences));
        let header = ["run", "state", "done", "score", "metric", "started"].map(str::to_owned);
        let cells = rows.iter().map(Row::cells);
        let cells: Vec<_> = std::iter::once(header).chain(cells).collect();
        let mut lines = in_columns(WIDTH, &cells, &[false, false, false, true, false, false]);
        // The row of the header is the first.
        for (line, it) in lines[1..].iter_mut().zip(&rows) {
            *line += &format!("\n{}", it.below(&shared));
        }
        say!("{}", headed(&lines.join("\n")));
        if !shared.is_empty() {
            say!("{}", fold("all of them: ", &shared.join(", ")));
        }
    }
    for (name, reason) in unreadable {
        emit("unreadable", json!({ "name": name, "problem": reason }));
        let text = wrapped("  ", &format!("unreadable: {reason}"));
        say!("{name}\n{}", text.replacen("unreadable:", &paint(ERROR, "unreadable:"), 1));
    }
    Ok(End::Done)
}

/// A run, as it is printed.
#[derive(Serialize)]
struct Row {
    name: String,
    state: &'static str,
    /// Of a run its progress, of a cross-validation the finished folds.
    done: String,
    /// The best score by the metric, if there is one.
    score: Option<f64>,
    metric: String,
    /// The 95 % confidence interval of the score, if it is known.
    interval: Option<[f64; 2]>,
    /// When it started, in UTC.
    started: String,
    /// The time of training and evaluation.
    seconds: f64,
    /// The settings that differ from the defaults.
    differences: Vec<String>,
}

impl Row {
    /// Formats the cells of the table.
    fn cells(&self) -> [String; 6] {
        [
            self.name.clone(),
            self.state.to_owned(),
            self.done.clone(),
            self.score.map_or("-".to_owned(), |it| format!("{it:.4}")),
            self.metric.clone(),
            self.started.clone(),
        ]
    }

    /// Formats what does not fit into the row; settings that all runs share are left out.
    fn below(&self, shared: &[String]) -> String {
        let interval =
            self.interval.iter().map(|[low, high]| format!("95 % CI {low:.3} to {high:.3}"));
        let own = self.differences.iter().filter(|it| !shared.contains(it)).cloned();
        let parts: Vec<String> =
            std::iter::once(seconds(self.seconds)).chain(interval).chain(own).collect();
        fold("    ", &parts.join(", "))
    }
}

/// Returns the differences that all of several runs have.
fn shared<'a>(mut runs: impl ExactSizeIterator<Item = &'a Vec<String>>) -> Vec<String> {
    if runs.len() < 2 {
        return Vec::new();
    }
    let mut shared = runs.next().cloned().unwrap_or_default();
    runs.for_each(|run| shared.retain(|it| run.contains(it)));
    shared
}

/// Returns when a run started, and its row.
fn row(dir: &Path, name: &str, standard: &Table) -> anyhow::Result<(SystemTime, Row)> {
    let config = dir.join("config.toml");
    if !config.is_file() {
        bail!("it has no config.toml: this is not a run");
    }
    let read = |name: &str| text::read(&dir.join(name)).with_context(|| name.to_owned());
    let layer = Experiment::layer_of_run("config.toml", &read("config.toml")?)?;
    let experiment = Experiment::load(&[layer])?;
    let started = fs::metadata(&config).and_then(|it| it.modified())?;
    let is_finished = dir.join("report.toml").is_file();
    let report: Table = match is_finished {
        true => read("report.toml")?.parse::<Table>().context("report.toml")?,
        false => Table::new(),
    };
    let folds = finished_folds(dir);
    let is_kfold = is_kfold(dir);
    // Neither the scores of images that were trained on, nor those before layers were restored.
    let is_meaningless = experiment.trains_on_all();
    let is_restored = experiment.phase.last().is_some_and(|it| it.total.is_none());
    let best = match is_kfold || is_meaningless || is_restored {
        true => None,
        false => best(dir)?,
    };
    let metric = if is_kfold { "macro_f1" } else { experiment.eval.best_by.kind() };
    // The report's section has the interval of the macro F1, which the metric may be.
    let section = report.get(if is_kfold { "joined" } else { "valid" });
    let number = |it: &Value| it.as_float().or_else(|| it.as_integer().map(|it| it as f64));
    let reported = section.and_then(|it| number(it.get("macro_f1")?));
    let is_reported = is_kfold || is_restored && !is_meaningless && metric == "macro_f1";
    let score = if is_reported { reported } else { best };
    let is_same =
        metric == "macro_f1" && score.zip(reported).is_some_and(|(a, b)| (a - b).abs() < 1e-9);
    let interval = section.filter(|_| is_same).and_then(|it| {
        let ends = it.get("macro_f1_interval")?.as_array()?;
        Some([number(ends.first()?)?, number(ends.get(1)?)?])
    });
    let state = match is_finished {
        _ if Run::is_busy(dir) => "running",
        true => "finished",
        false => "stopped",
    };
    let done = match is_kfold {
        // The plan has a row for each; one of an earlier version may have none.
        true => match rows(&dir.join("folds.csv"))?.len() {
            0 => format!("{} folds", folds.len()),
            n => format!("{} of {n} folds", folds.len()),
        },
        false => progress(dir, &experiment)?,
    };
    let places = if is_kfold { folds } else { vec![dir.to_owned()] };
    let spent = places.iter().try_fold(0.0, |sum, it| anyhow::Ok(sum + spent(it)?))?;
    let secs = started.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let [year, month, day, hour, minute, _] = utc(secs);
    let row = Row {
        name: name.to_owned(),
        state,
        done,
        score,
        metric: metric.to_owned(),
        interval,
        started: format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}"),
        seconds: spent,
        differences: differences(&experiment.result_settings(), standard),
    };
    Ok((started, row))
}

/// Formats how much of a run is done, in the unit of its length.
fn progress(dir: &Path, experiment: &Experiment) -> anyhow::Result<String> {
    let phases = experiment.phase.iter().map(|it| it.total.to_string());
    let total = match experiment.phase.is_empty() {
        true => experiment.train.total.to_string(),
        false => phases.collect::<Vec<_>>().join(" + "),
    };
    let last = last_line(&dir.join("steps.csv"))?;
    let mut cells = last.as_deref().unwrap_or("0,0").split(',');
    let mut cell = || -> anyhow::Result<f64> {
        let cell = cells.next().unwrap_or_default();
        cell.parse().map_err(|_| anyhow!("steps.csv: its last line has `{cell}`, not a number"))
    };
    let (step, epoch) = (cell()?, cell()?);
    let done = if total.ends_with("steps") { step } else { (epoch * 100.0).round() / 100.0 };
    Ok(format!("{done} of {total}"))
}

/// Returns the score of the best evaluation of a run, by its own metric.
fn best(dir: &Path) -> anyhow::Result<Option<f64>> {
    let rows = rows(&dir.join("epochs.csv"))?;
    let best = rows.iter().rev().find(|it| it.get(4).is_some_and(|it| it == "true"));
    best.map(|it| it[3].parse().map_err(|_| anyhow!("epochs.csv: `{}` is not a number", it[3])))
        .transpose()
}

/// Returns the seconds of training and evaluation of a run.
pub(super) fn spent(dir: &Path) -> anyhow::Result<f64> {
    let number = |cell: Option<&String>| -> anyhow::Result<f64> {
        let cell = cell.map_or("", String::as_str);
        cell.parse().map_err(|_| anyhow!("timing.csv: `{cell}` is not a number"))
    };
    let rows = rows(&dir.join("timing.csv"))?;
    rows.iter().map(|it| Ok(number(it.get(1))? + number(it.get(4))?)).sum()
}

/// Reads the rows of a table of a run, without the header; its first columns have no commas. A missing table
/// has no rows, nor has a line that is still being written.
fn rows(path: &Path) -> anyhow::Result<Vec<Vec<String>>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = text::read(path).context(name)?;
    let whole = text.rsplit_once('\n').map_or("", |it| it.0);
    Ok(whole.lines().skip(1).map(|it| it.split(',').map(str::to_owned).collect()).collect())
}

/// Reads the last complete line of a table that may be long; `None` if it has none below its header.
fn last_line(path: &Path) -> anyhow::Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let tail = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        file.take(TAIL).read_to_end(&mut tail)?;
        Ok(tail)
    };
    let tail = String::from_utf8_lossy(&tail().context(name)?).into_owned();
    let last = tail.rsplit_once('\n').and_then(|it| it.0.lines().last());
    Ok(last.filter(|it| !it.starts_with("step,")).map(str::to_owned))
}

/// Lists the settings that differ from the defaults, in short: of a table with another `kind` only the kind,
/// of a list only its name.
fn differences(own: &Table, standard: &Table) -> Vec<String> {
    let at = |table: &Table, path: &[String]| {
        let (last, above) = path.split_last()?;
        let table = above.iter().try_fold(table, |it, key| it.get(key)?.as_table());
        table?.get(last).cloned()
    };
    let kind = |table: &Table, path: &[String], depth: usize| {
        let path: Vec<String> = path[..depth].iter().cloned().chain(["kind".to_owned()]).collect();
        at(table, &path)
    };
    let mut found: Vec<String> = Vec::new();
    for it in settings(own) {
        if at(standard, &it.path).as_ref() == Some(&it.value) {
            continue;
        }
        let other = (1..it.path.len())
            .find(|&depth| kind(own, &it.path, depth) != kind(standard, &it.path, depth));
        let text = match (other, &it.value) {
            (Some(depth), _) => {
                let kind = kind(own, &it.path, depth).map(|it| plain(&it)).unwrap_or_default();
                format!("{}={kind}", it.path[..depth].join("."))
            }
            (None, Value::Array(_)) => it.name(),
            (None, value) => format!("{}={}", it.name(), plain(value)),
        };
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

/// Formats a value without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
