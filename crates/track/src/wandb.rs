//! `wandb/`: an offline Weights & Biases run, uploaded by `wandb sync`.
//!
//! `offline-run-<time>-<id>/run-<id>.wandb` is a log in LevelDB's format: blocks of 32 KiB that contain
//! fragments of records, each with a checksum (of type and bytes, 4 bytes), a length (2), and a type (1:
//! full, first, middle or last). The records are `Record`s of `wandb_internal.proto`.
//! Source: the `wandb` package, `sdk/internal/datastore.py` up to 0.19 and `core` since, and
//! `proto/wandb_internal.proto`.
//!
//! Unlike with the package, a resumed run keeps its folder and its id: the log is truncated to the step that
//! the run resumes from, so that no step is logged twice.

mod kept;
mod log;
mod record;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use base::{AppendFile, date::utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use self::{
    kept::Kept,
    log::pieces,
    record::{EXIT, FILES, HEADER, HISTORY, RUN, RUNTIME, SUMMARY, item, number, numbered},
};
use crate::{About, End, Histogram, Png, Track, TrackError, Tracker, at, now, protobuf::Message};

/// `{ kind = "wandb", project = "maskfit", entity = "", tags = [] }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wandb {
    /// The project of the run.
    pub project: String,
    /// The entity (user or team) of the project; empty for the user who syncs.
    pub entity: String,
    /// The tags of the run, before those of its settings: the network, the loss, the sampler and the
    /// augmentations.
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
                    let help = "move its folder away to log the rest of the run to a new one";
                    let source =
                        io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {help}"));
                    TrackError::Io { path: path.clone(), source }
                })?;
                (path, kept)
            }
            None => (new_log(&root, about)?, Kept::empty()),
        };
        let dir = path.parent().unwrap_or(&root).to_owned();
        let mut run = OfflineRun {
            // Replaced atomically: the file is either the old log or the truncated one.
            log: AppendFile::open(&path, &kept.bytes).map_err(at(&path))?,
            n_records: kept.n_records,
            media: dir.join("files"),
            began: now().saturating_sub(kept.runtime),
            media_values: Vec::new(),
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
    /// Builds the `RunRecord`.
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
        let further = about.tags.iter().filter(|it| !self.tags.contains(it));
        let tags = self.tags.iter().chain(further);
        tags.fold(run, |run, it| run.text(10, it)).message(17, &start)
    }
}

struct OfflineRun {
    log: AppendFile,
    n_records: u64,
    /// The folder of the run's files: images are logged by their paths in it.
    media: PathBuf,
    began: Duration,
    /// Images and histograms of the current step, logged in the same row as its scalars.
    media_values: Vec<(String, serde_json::Value)>,
}

impl OfflineRun {
    /// Appends a `Record` with one field and the next number.
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
        items.extend(self.media_values.drain(..).map(|(name, it)| item(&name, &it.to_string())));
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
        self.media_values.push((name.to_owned(), image));
        let item = Message::new().text(1, &file);
        self.add(FILES, &Message::new().message(1, &item))
    }

    fn histogram(&mut self, _: usize, name: &str, it: &Histogram) -> Result<(), TrackError> {
        let histogram = json!({ "_type": "histogram", "bins": it.edges, "values": it.counts });
        self.media_values.push((name.to_owned(), histogram));
        Ok(())
    }

    fn finish(&mut self, end: End) -> Result<(), TrackError> {
        // A stopped run can be resumed with the same id, so it has no exit record.
        if end == End::Finished {
            self.add(EXIT, &Message::new().whole(1, 0))?;
        }
        self.log.file().and_then(|it| it.sync_data()).map_err(at(self.log.path()))
    }

    fn logs_images(&self) -> bool {
        true
    }

    fn table(&self) -> Option<fs::File> {
        self.log.file().ok()
    }
}

/// Returns the log of an existing run, the newest if there are several; `None` if there is none.
///
/// An empty folder, left by a process that was killed before it created the log, is removed.
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
            // Fails unless the folder is empty.
            drop(fs::remove_dir(&dir));
        }
    }
    Ok(logs.into_iter().max())
}

/// Creates the folder of a new run, and returns the path of its log.
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

/// A unique id of eight letters and digits.
fn id(seed: &str) -> String {
    let letters = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let digest = Sha256::digest(seed);
    digest[..8].iter().map(|&it| char::from(letters[usize::from(it) % letters.len()])).collect()
}

#[cfg(test)]
mod tests;
