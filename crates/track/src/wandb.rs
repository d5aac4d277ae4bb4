//! `wandb/`: an offline run of Weights & Biases, in a folder that `wandb sync` takes.
//!
//! `offline-run-<time>-<id>/run-<id>.wandb` is a log as LevelDB's: blocks of 32 KiB, and in them pieces
//! of records, each with a checksum (of kind and bytes, 4 bytes), a length (2), and a kind (1: whole,
//! first, middle or last). The records are `Record`s of `wandb_internal.proto`.
//! Source: the `wandb` package, `sdk/internal/datastore.py` up to 0.19 and `core` since, and
//! `proto/wandb_internal.proto`.
//!
//! Unlike the package's, a run that goes on stays in its one folder, under the same id: the log is cut
//! back to where the run goes on, so that no step is there twice.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use base::{Growing, date::utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    About, End, Histogram, Png, Track, TrackError, Tracker, at,
    checksum::CRC32,
    now,
    protobuf::{Field, Message, fields, find},
};

/// `{ kind = "wandb", project = "maskfit", entity = "", tags = [] }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wandb {
    /// The project that the run belongs to.
    pub project: String,
    /// Whose project it is; empty for whoever syncs.
    pub entity: String,
    /// What runs are found by.
    pub tags: Vec<String>,
}

impl Default for Wandb {
    fn default() -> Wandb {
        Wandb { project: "maskfit".to_owned(), entity: String::new(), tags: Vec::new() }
    }
}

impl Track for Wandb {
    fn open(&self, about: &About<'_>) -> Result<Box<dyn Tracker>, TrackError> {
        let root = about.dir.join("wandb");
        let (path, kept) = match find_log(&root)? {
            Some(path) => {
                let log = fs::read(&path).map_err(at(&path))?;
                let kept = Kept::of(&log, about.step).map_err(|what| {
                    let help = "move its folder away to log the rest of the run in a new one";
                    let source =
                        io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {help}"));
                    TrackError::Io { path: path.clone(), source }
                })?;
                (path, kept)
            }
            None => (new_log(&root, about)?, Kept::nothing()),
        };
        let dir = path.parent().unwrap_or(&root).to_owned();
        let mut run = OfflineRun {
            // All of it at once: it is the old log until it is the new one.
            log: Growing::open(&path, &kept.bytes).map_err(at(&path))?,
            n_records: kept.n_records,
            media: dir.join("files"),
            began: now().saturating_sub(kept.runtime),
            beside: Vec::new(),
        };
        if run.n_records == 0 {
            let id = path.file_stem().unwrap_or_default().to_string_lossy();
            let id = id.trim_start_matches("run-");
            let version = concat!("maskfit ", env!("CARGO_PKG_VERSION"));
            run.add(HEADER, &Message::new().message(1, &Message::new().text(1, version)))?;
            run.add(RUN, &self.describe(id, about, run.began))?;
        }
        Ok(Box::new(run))
    }
}

impl Wandb {
    /// A `RunRecord`.
    fn describe(&self, id: &str, about: &About<'_>, began: Duration) -> Message {
        let settings = about.settings.iter().fold(Message::new(), |all, (key, value)| {
            let item = Message::new().text(1, key).text(16, &json!(value).to_string());
            all.message(1, &item)
        });
        let start = Message::new().whole(1, began.as_secs());
        let start = start.whole(2, u64::from(began.subsec_nanos()));
        let run = Message::new()
            .text(1, id)
            .text(2, &self.entity)
            .text(3, &self.project)
            .message(4, &settings)
            .text(6, about.group.unwrap_or_default())
            .text(8, about.name);
        self.tags.iter().fold(run, |run, it| run.text(10, it)).message(17, &start)
    }
}

/// The fields of a `Record`.
const HISTORY: u32 = 2;
const SUMMARY: u32 = 3;
const FILES: u32 = 6;
const RUN: u32 = 17;
const EXIT: u32 = 18;
const HEADER: u32 = 21;

struct OfflineRun {
    log: Growing,
    n_records: u64,
    /// Where images lie, each by its path in here.
    media: PathBuf,
    began: Duration,
    /// What goes beside the numbers of a step: it has one row.
    beside: Vec<(String, serde_json::Value)>,
}

impl OfflineRun {
    /// Adds a `Record` with one field, under the next number.
    fn add(&mut self, field: u32, content: &Message) -> Result<(), TrackError> {
        self.n_records += 1;
        let record = numbered(self.n_records, Message::new().message(field, content).as_bytes());
        let pieces = pieces(self.log.n_bytes(), &record);
        self.log.add(&pieces).map_err(at(self.log.path()))
    }
}

impl Tracker for OfflineRun {
    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), TrackError> {
        let now = now();
        let runtime = now.saturating_sub(self.began).as_secs_f64();
        let known = [("_timestamp", now.as_secs_f64()), (RUNTIME, runtime)];
        let mut items: Vec<_> = values.iter().map(|&(name, it)| item(name, &number(it))).collect();
        items.extend(known.map(|(name, it)| item(name, &number(it))));
        items.push(item("_step", &step.to_string()));
        items.extend(self.beside.drain(..).map(|(name, it)| item(&name, &it.to_string())));
        let all = items.iter().fold(Message::new(), |all, it| all.message(1, it));
        let step = Message::new().whole(1, step as u64);
        self.add(HISTORY, &all.clone().message(2, &step))?;
        self.add(SUMMARY, &all)
    }

    fn image(&mut self, step: usize, name: &str, it: &Png) -> Result<(), TrackError> {
        let digest: String =
            Sha256::digest(&it.bytes).iter().map(|it| format!("{it:02x}")).collect();
        let file = format!("media/images/{name}_{step}_{}.png", &digest[..20]);
        let path = self.media.join(&file);
        let dir = path.parent().unwrap_or(&path);
        fs::create_dir_all(dir).map_err(at(dir))?;
        base::files::write_atomic(&path, &it.bytes).map_err(at(&path))?;
        let [width, height] = it.size;
        let image = json!({
            "_type": "image-file", "format": "png", "path": file, "sha256": digest,
            "size": it.bytes.len(), "width": width, "height": height,
        });
        self.beside.push((name.to_owned(), image));
        let item = Message::new().text(1, &file);
        self.add(FILES, &Message::new().message(1, &item))
    }

    fn histogram(&mut self, _: usize, name: &str, it: &Histogram) -> Result<(), TrackError> {
        let histogram = json!({ "_type": "histogram", "bins": it.edges, "values": it.counts });
        self.beside.push((name.to_owned(), histogram));
        Ok(())
    }

    fn finish(&mut self, end: End) -> Result<(), TrackError> {
        // What was stopped can be taken up again, under the same id.
        if end == End::Finished {
            self.add(EXIT, &Message::new().whole(1, 0))?;
        }
        self.log.file().and_then(|it| it.sync_data()).map_err(at(self.log.path()))
    }

    fn sees(&self) -> bool {
        true
    }

    fn table(&self) -> Option<fs::File> {
        self.log.file().ok()
    }
}

/// A `Record` under its number.
fn numbered(n: u64, record: &[u8]) -> Vec<u8> {
    [Message::new().whole(1, n).as_bytes(), record].concat()
}

/// A `HistoryItem` or `SummaryItem`: its name whole, for one with dots is no path.
fn item(name: &str, json: &str) -> Message {
    Message::new().text(2, name).text(16, json)
}

/// A number as Python's JSON has it, which knows infinity and what is no number.
fn number(x: f64) -> String {
    match x {
        _ if x.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => json!(x).to_string(),
    }
}

/// The log of a run that was begun: where there are several, the newest. None where there is none yet.
///
/// A folder without a log is what a kill leaves between the two, and goes.
fn find_log(root: &Path) -> Result<Option<PathBuf>, TrackError> {
    let entries = |dir: &Path| match fs::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(|it| {
                it.map(|it| it.map(|it| it.path())).collect::<io::Result<Vec<PathBuf>>>()
            })
            .map_err(at(dir)),
    };
    let mut logs = Vec::new();
    for dir in entries(root)?.into_iter().filter(|it| it.is_dir()) {
        let n_before = logs.len();
        logs.extend(
            entries(&dir)?.into_iter().filter(|it| it.extension().is_some_and(|it| it == "wandb")),
        );
        if logs.len() == n_before {
            // Only where it is empty.
            drop(fs::remove_dir(&dir));
        }
    }
    Ok(logs.into_iter().max())
}

/// Where a new run's log will be, in a folder that is there.
fn new_log(root: &Path, about: &About<'_>) -> Result<PathBuf, TrackError> {
    let now = now();
    let [year, month, day, hour, minute, second] = utc(now.as_secs());
    let id = id(&format!("{} {} {}", about.name, now.as_nanos(), std::process::id()));
    let dir = root.join(format!(
        "offline-run-{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}-{id}"
    ));
    fs::create_dir_all(&dir).map_err(at(&dir))?;
    Ok(dir.join(format!("run-{id}.wandb")))
}

/// Eight letters or digits that no other run has.
fn id(seed: &str) -> String {
    let letters = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let digest = Sha256::digest(seed);
    digest[..8].iter().map(|&it| char::from(letters[usize::from(it) % letters.len()])).collect()
}

const BLOCK: u64 = 32_768;
/// Checksum, length and kind.
const HEAD: u64 = 7;

/// What a piece is of its record.
const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// A log's first bytes: a name, a number and a version.
fn begin_log() -> [u8; 7] {
    *b":W&B\xe1\xbe\x00"
}

/// A record as it lies in a log that is `offset` bytes long: in one piece, or in a first one, perhaps
/// others, and a last one.
fn pieces(offset: u64, record: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest, mut is_first) = (Vec::new(), record, true);
    loop {
        let mut room = BLOCK - (offset + bytes.len() as u64) % BLOCK;
        if room < HEAD {
            bytes.resize(bytes.len() + room as usize, 0);
            room = BLOCK;
        }
        let n = rest.len().min((room - HEAD) as usize);
        let (piece, after) = rest.split_at(n);
        let kind = match (is_first, after.is_empty()) {
            (true, true) => WHOLE,
            (true, false) => FIRST,
            (false, false) => MIDDLE,
            (false, true) => LAST,
        };
        bytes.extend(CRC32.of(&[&[kind], piece]).to_le_bytes());
        bytes.extend((n as u16).to_le_bytes());
        bytes.push(kind);
        bytes.extend(piece);
        if after.is_empty() {
            return bytes;
        }
        (rest, is_first) = (after, false);
    }
}

/// The records of a log as far as it is whole, each with where it ends; and whether it is damaged there,
/// and not just cut off.
fn records(log: &[u8]) -> (Vec<(Vec<u8>, usize)>, bool) {
    let (mut records, mut record) = (Vec::new(), Vec::new());
    let mut at = begin_log().len();
    if !log.starts_with(&begin_log()) {
        return (records, !begin_log().starts_with(log));
    }
    loop {
        let room = BLOCK as usize - at % BLOCK as usize;
        if room < HEAD as usize {
            at += room;
        }
        let Some(&[a, b, c, d, low, high, kind]) = log.get(at..at + HEAD as usize) else { break };
        at += HEAD as usize;
        let n = usize::from(u16::from_le_bytes([low, high]));
        let Some(piece) = log.get(at..at + n) else { break };
        if CRC32.of(&[&[kind], piece]) != u32::from_le_bytes([a, b, c, d]) {
            return (records, true);
        }
        at += n;
        record.extend_from_slice(piece);
        if [WHOLE, LAST].contains(&kind) {
            records.push((std::mem::take(&mut record), at));
        }
    }
    (records, false)
}

/// What of a log stays for a run that goes on.
struct Kept {
    bytes: Vec<u8>,
    n_records: u64,
    /// How long the run took up to there.
    runtime: Duration,
}

impl Kept {
    /// A log without records.
    fn nothing() -> Kept {
        Kept { bytes: begin_log().to_vec(), n_records: 0, runtime: Duration::ZERO }
    }

    /// What stays for a run that goes on after `step` steps: the description of the run, and all up to the
    /// summary of that step. What a later step has beside its numbers comes before them, and goes with them.
    ///
    /// # Errors
    /// A log that is damaged before that step: what comes after the damage would be lost.
    fn of(log: &[u8], step: usize) -> Result<Kept, String> {
        let (records, is_damaged) = records(log);
        let (mut kept, mut last_step, mut has_run) = (Kept::nothing(), 0, false);
        let mut end = 0;
        for (idx, (record, record_end)) in records.iter().enumerate() {
            if let Some(Field::Bytes(history)) = find(record, HISTORY) {
                let of_step = step_of(history).unwrap_or(last_step);
                if of_step > step as u64 {
                    break;
                }
                last_step = of_step;
                kept.runtime = runtime_of(history).unwrap_or(kept.runtime);
            } else if find(record, RUN).is_some() {
                has_run = true;
            } else if find(record, SUMMARY).is_none() {
                continue;
            }
            (end, kept.n_records) = (*record_end, idx as u64 + 1);
        }
        if is_damaged && last_step < step as u64 {
            return Err(format!(
                "the log is damaged after step {last_step}, and the run goes on after step {step}"
            ));
        }
        Ok(match has_run {
            true => Kept { bytes: log[..end].to_vec(), ..kept },
            false => Kept::nothing(),
        })
    }
}

/// The step of a `HistoryRecord`.
fn step_of(history: &[u8]) -> Option<u64> {
    let Some(Field::Bytes(of_step)) = find(history, 2) else { return None };
    let Some(Field::Whole(step)) = find(of_step, 1) else { return None };
    Some(step)
}

/// How long a run took up to a `HistoryRecord`.
fn runtime_of(history: &[u8]) -> Option<Duration> {
    let is_it = |item: &&[u8]| find(item, 2) == Some(Field::Bytes(RUNTIME.as_bytes()));
    let items = fields(history).filter_map(|it| match it {
        (1, Field::Bytes(item)) => Some(item),
        _ => None,
    });
    let item = { items }.find(is_it)?;
    let Some(Field::Bytes(json)) = find(item, 16) else { return None };
    Duration::try_from_secs_f64(std::str::from_utf8(json).ok()?.parse().ok()?).ok()
}

/// What the time since a run's beginning is called.
const RUNTIME: &str = "_runtime";

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, fs, path::Path, time::Duration};

    use super::{
        FILES, HEADER, HISTORY, Kept, RUN, RUNTIME, SUMMARY, begin_log, find, item, numbered,
        pieces, records, runtime_of, step_of,
    };
    use crate::{
        About, End, Png, TrackConfig, Trackers,
        checksum::CRC32,
        golden,
        protobuf::{Field, Message},
    };

    fn history(n: u64, step: u64) -> Vec<u8> {
        let step = Message::new().whole(1, step);
        let history = Message::new().message(1, &item("val_mask_acc", "0.5")).message(2, &step);
        numbered(n, Message::new().message(HISTORY, &history).as_bytes())
    }

    fn log(records: &[&[u8]]) -> Vec<u8> {
        let add = |log: Vec<u8>, it: &&[u8]| [&log[..], &pieces(log.len() as u64, it)].concat();
        records.iter().fold(begin_log().to_vec(), add)
    }

    #[test]
    fn a_log_is_that_of_wandbs_own_writer() {
        let golden = golden();
        let hex = |it: &[u8]| it.iter().map(|it| format!("{it:02x}")).collect::<String>();
        assert_eq!(hex(&history(7, 300)), golden["history"]);
        assert_eq!(hex(&log(&[b"one", &history(7, 300)])), golden["log"]);
        // A block has 32768 bytes: this ends 3 before the first one's end, and the next fills two.
        let (first, second) = (vec![b'a'; 32_768 - 7 - 7 - 3], vec![b'b'; 70_000]);
        let long = log(&[&first, &second, b"c"]);
        assert_eq!(CRC32.of(&[&long]), golden["long_log_crc"]);
        let (found, is_damaged) = records(&long);
        let found: Vec<_> = found.into_iter().map(|it| it.0).collect();
        assert_eq!((found, is_damaged), (vec![first, second, b"c".to_vec()], false));
    }

    /// A run with its steps: for each its image, its numbers and their summary.
    fn of_steps(n_steps: u64) -> Vec<Vec<u8>> {
        let text = |field, text: &str| Message::new().message(field, &Message::new().text(1, text));
        let mut all =
            vec![text(HEADER, "1.0").as_bytes().to_vec(), text(RUN, "the run").as_bytes().to_vec()];
        for step in 1..=n_steps {
            all.push(text(FILES, "a.png").as_bytes().to_vec());
            let items = Message::new().message(1, &item("loss", "0.5"));
            let items = items.message(1, &item(RUNTIME, &format!("{step}.5")));
            let of_step = Message::new().whole(1, step);
            let of_step = Message::new().message(HISTORY, &items.clone().message(2, &of_step));
            all.push(of_step.as_bytes().to_vec());
            all.push(Message::new().message(SUMMARY, &items).as_bytes().to_vec());
        }
        (1..).zip(&all).map(|(n, it)| numbered(n, it)).collect()
    }

    fn joined(records: &[Vec<u8>]) -> Vec<u8> {
        log(&records.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn a_log_is_cut_back_to_the_step_that_a_run_goes_on_from() {
        let all = of_steps(5);
        let whole = joined(&all);
        let kept = |log: &[u8], step| Kept::of(log, step).map(|it| (it.bytes, it.n_records));
        let want = |n: usize| Ok((joined(&all[..n]), n as u64));
        // Two for the run, three a step; the image of the fourth step comes before its numbers.
        assert_eq!(kept(&whole, 3), want(2 + 3 * 3));
        assert_eq!(kept(&whole, 0), want(2));
        assert_eq!(kept(&whole, 9), want(2 + 3 * 5));
        assert_eq!(Kept::of(&whole, 3).unwrap().runtime, Duration::from_millis(3500));
        // Cut off by a kill: in the last summary, in the numbers before it, in the description of the run.
        let end = |n: usize| joined(&all[..n]).len();
        assert_eq!(kept(&whole[..whole.len() - 1], 9), want(2 + 3 * 5 - 1));
        assert_eq!(kept(&whole[..end(16) - 1], 9), want(2 + 3 * 4));
        assert_eq!(kept(&whole[..end(2) - 1], 0), Ok((begin_log().to_vec(), 0)));
        assert_eq!(kept(b"", 0), Ok((begin_log().to_vec(), 0)));
        // Damaged in the second step: it goes on from the first, and not from a later one.
        let mut damaged = whole;
        damaged[end(7) - 3] ^= 1;
        assert_eq!(kept(&damaged, 1), want(2 + 3));
        let err = kept(&damaged, 4).unwrap_err();
        assert_eq!(err, "the log is damaged after step 1, and the run goes on after step 4");
        assert!(kept(b"something else", 1).is_err());
    }

    /// The steps after `from` up to `to`, and what was noted.
    fn track(dir: &Path, from: usize, to: usize) -> Vec<String> {
        let (_, wandb) = TrackConfig::zoo().into_iter().find(|it| it.0 == "wandb").unwrap();
        let columns = ["loss".to_owned()];
        let settings = toml::Table::new();
        let about = About {
            dir,
            name: "a",
            group: None,
            step: from,
            columns: &columns,
            settings: &settings,
        };
        let notes = RefCell::new(Vec::new());
        let note = |it: &str| notes.borrow_mut().push(it.to_owned());
        let mut trackers = Trackers::open(&[wandb], &about, &note);
        for step in from + 1..=to {
            trackers.image(step, "sheet", &Png { bytes: vec![1, 2, 3], size: [1, 1] });
            trackers.scalars(step, &[("loss", 1.0)]);
        }
        trackers.finish(End::Stopped);
        drop(trackers);
        notes.into_inner()
    }

    fn log_of(dir: &Path) -> std::path::PathBuf {
        super::find_log(&dir.join("wandb")).unwrap().unwrap()
    }

    #[test]
    fn a_resumed_log_has_each_step_once_and_its_time_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        assert!(track(dir.path(), 0, 6).is_empty());
        std::thread::sleep(Duration::from_millis(20));
        let path = log_of(dir.path());
        assert!(track(dir.path(), 4, 8).is_empty());
        assert_eq!(log_of(dir.path()), path);
        let (found, is_damaged) = records(&fs::read(&path).unwrap());
        assert!(!is_damaged);
        let numbers: Vec<_> = found.iter().map(|it| find(&it.0, 1)).collect();
        let want: Vec<_> = (1..=2 + 3 * 8).map(|it| Some(Field::Whole(it))).collect();
        assert_eq!(numbers, want, "records are numbered as they come");
        let histories = found.iter().filter_map(|it| match find(&it.0, HISTORY)? {
            Field::Bytes(history) => {
                Some((step_of(history).unwrap(), runtime_of(history).unwrap()))
            }
            Field::Whole(_) => None,
        });
        let (steps, times): (Vec<u64>, Vec<Duration>) = histories.unzip();
        assert_eq!(steps, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(times.is_sorted(), "{times:?}");
    }

    #[test]
    fn a_log_that_cannot_be_gone_on_with_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        track(dir.path(), 0, 6);
        let path = log_of(dir.path());
        let mut damaged = fs::read(&path).unwrap();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let notes = track(dir.path(), 6, 8);
        assert!(
            notes.len() == 1 && notes[0].contains("the log is damaged after step"),
            "{notes:?}"
        );
        assert!(notes[0].contains("move its folder away"), "{notes:?}");
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }

    #[test]
    fn what_a_kill_left_before_there_was_a_log_is_no_run() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("wandb/offline-run-20261129_080000-aaaaaaaa");
        fs::create_dir_all(&empty).unwrap();
        assert!(track(dir.path(), 0, 2).is_empty());
        assert!(!empty.exists());
        let path = log_of(dir.path());
        assert!(track(dir.path(), 2, 4).is_empty());
        assert_eq!(log_of(dir.path()), path);
    }
}
