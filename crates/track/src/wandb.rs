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
    fs,
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
    protobuf::{Field, Message, find},
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
        let (path, kept) = match find_log(&root) {
            Some(path) => {
                let log = fs::read(&path).map_err(at(&path))?;
                let kept = kept(&log, about.step);
                (path, kept)
            }
            None => (new_log(&root, about)?, Vec::new()),
        };
        let dir = path.parent().unwrap_or(&root).to_owned();
        let start = begin_log();
        let mut run = OfflineRun {
            log: Growing::open(&path, &start).map_err(at(&path))?,
            n_records: 0,
            media: dir.join("files"),
            began: now(),
            beside: Vec::new(),
        };
        match kept.is_empty() {
            true => {
                let id = path.file_stem().unwrap_or_default().to_string_lossy();
                let id = id.trim_start_matches("run-");
                let version = concat!("maskfit ", env!("CARGO_PKG_VERSION"));
                run.add(HEADER, &Message::new().message(1, &Message::new().text(1, version)))?;
                run.add(RUN, &self.describe(id, about, run.began))?;
            }
            false => kept.iter().try_for_each(|it| run.write(it))?,
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
    /// Where pictures lie, each by its path in here.
    media: PathBuf,
    began: Duration,
    /// What goes beside the numbers of a step: it has one row.
    beside: Vec<(String, serde_json::Value)>,
}

impl OfflineRun {
    /// Adds a `Record` with one field.
    fn add(&mut self, field: u32, content: &Message) -> Result<(), TrackError> {
        self.write(Message::new().message(field, content).as_bytes())
    }

    /// Adds a record, under the next number where it has none.
    fn write(&mut self, record: &[u8]) -> Result<(), TrackError> {
        self.n_records += 1;
        let numbered = match find(record, 1) {
            Some(_) => record.to_vec(),
            None => numbered(self.n_records, record),
        };
        let pieces = pieces(self.log.n_bytes(), &numbered);
        self.log.add(&pieces).map_err(at(self.log.path()))
    }
}

impl Tracker for OfflineRun {
    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> Result<(), TrackError> {
        let now = now();
        let runtime = now.saturating_sub(self.began).as_secs_f64();
        let known = [("_timestamp", now.as_secs_f64()), ("_runtime", runtime)];
        let mut items: Vec<_> = values.iter().map(|&(name, it)| item(name, &number(it))).collect();
        items.extend(known.map(|(name, it)| item(name, &number(it))));
        items.push(item("_step", &step.to_string()));
        items.extend(self.beside.drain(..).map(|(name, it)| item(&name, &it.to_string())));
        let all = items.iter().fold(Message::new(), |all, it| all.message(1, it));
        let step = Message::new().whole(1, step as u64);
        self.add(HISTORY, &all.clone().message(2, &step))?;
        self.add(SUMMARY, &all)
    }

    fn picture(&mut self, step: usize, name: &str, it: &Png) -> Result<(), TrackError> {
        let digest: String =
            Sha256::digest(&it.bytes).iter().map(|it| format!("{it:02x}")).collect();
        let file = format!("media/images/{name}_{step}_{}.png", &digest[..20]);
        let path = self.media.join(&file);
        let dir = path.parent().unwrap_or(&path);
        fs::create_dir_all(dir).map_err(at(dir))?;
        base::files::write_whole(&path, &it.bytes).map_err(at(&path))?;
        let [width, height] = it.size;
        let picture = json!({
            "_type": "image-file", "format": "png", "path": file, "sha256": digest,
            "size": it.bytes.len(), "width": width, "height": height,
        });
        self.beside.push((name.to_owned(), picture));
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

/// The log of a run that was begun: where there are several, the newest.
fn find_log(root: &Path) -> Option<PathBuf> {
    let dirs = fs::read_dir(root).ok()?.flatten().map(|it| it.path());
    let newest = dirs.filter(|it| it.is_dir()).max()?;
    let files = fs::read_dir(newest).ok()?.flatten().map(|it| it.path());
    files.filter(|it| it.extension().is_some_and(|it| it == "wandb")).max()
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

/// The records of a log, as far as it is whole.
fn records(log: &[u8]) -> Vec<Vec<u8>> {
    let (mut records, mut record) = (Vec::new(), Vec::new());
    let mut at = begin_log().len();
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
            break;
        }
        at += n;
        record.extend_from_slice(piece);
        if [WHOLE, LAST].contains(&kind) {
            records.push(std::mem::take(&mut record));
        }
    }
    records
}

/// The records of a log that a run keeps which goes on after `step` steps: all before the first of a
/// later step.
fn kept(log: &[u8], step: usize) -> Vec<Vec<u8>> {
    let is_later = |record: &Vec<u8>| {
        let history = find(record, HISTORY);
        let Some(Field::Bytes(history)) = history else { return find(record, EXIT).is_some() };
        let Some(Field::Bytes(of_step)) = find(history, 2) else { return false };
        matches!(find(of_step, 1), Some(Field::Whole(it)) if it > step as u64)
    };
    let mut records = records(log);
    records.truncate(records.iter().position(is_later).unwrap_or(records.len()));
    records
}

#[cfg(test)]
mod tests {
    use super::{HISTORY, begin_log, item, kept, numbered, pieces, records};
    use crate::{checksum::CRC32, golden, protobuf::Message};

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
        assert_eq!(records(&long), [first, second, b"c".to_vec()]);
    }

    #[test]
    fn a_log_is_cut_back_to_the_step_that_a_run_goes_on_from() {
        let begin = numbered(1, Message::new().text(17, "the run").as_bytes());
        let all: Vec<Vec<u8>> =
            std::iter::once(begin).chain((1..=5).map(|step| history(step + 1, step))).collect();
        let bytes = log(&all.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert_eq!(kept(&bytes, 3), all[..4]);
        assert_eq!(kept(&bytes, 0), all[..1]);
        // The last record is cut off by a kill.
        assert_eq!(kept(&bytes[..bytes.len() - 1], 9), all[..5]);
    }
}
