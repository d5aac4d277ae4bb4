//! Checkpoints: everything that the next step depends on, one file each.
//!
//! `checkpoints/<steps done>.safetensors` contains the tensors of the model, the optimizer, the average and
//! those that a later phase restores, and in its header the state of the run, its settings and the fingerprint of its data (`record.rs`). A
//! separate thread writes checkpoints atomically, so that training does not wait. Once one is on disk, older
//! ones are removed, and the bundle of the best evaluation that it records replaces the previous one. A run
//! resumes from the newest readable checkpoint.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use base::files::write_atomic;
use candle::{Device, Tensor};
use infer::Bundle;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::run::{Run, RunError, at};

/// The state of a run, apart from its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Steps done.
    pub(crate) step: usize,
    /// The phase that has begun.
    pub(crate) phase: usize,
    /// The sum of the losses since the last evaluation, and their number.
    pub(crate) loss_sum: f64,
    pub(crate) n_losses: usize,
    /// Evaluations since the best.
    pub(crate) n_since_best: usize,
    /// The score of each evaluation of the phase so far.
    pub(crate) scores: Vec<f64>,
    /// The best evaluation of the phase so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) best: Option<Best>,
}

/// The best evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Best {
    pub(crate) score: f64,
    /// Steps done then.
    pub(crate) step: usize,
}

/// A checkpoint in memory. It shares no memory with the model and the optimizer.
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    /// The settings that results depend on, at the time of the checkpoint.
    pub(crate) settings: toml::Table,
    /// The fingerprint of the data, at the time of the checkpoint.
    pub(crate) data: String,
    /// The tensors by part (`model`, `optim`, `average` or `kept`) and name.
    pub(crate) tensors: BTreeMap<String, Vec<(String, Tensor)>>,
}

/// The contents of the header.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    data: String,
    settings: toml::Table,
    state: State,
}

/// The only entry of the header: several would be written in arbitrary order.
const ENTRY: &str = "maskfit";

impl Checkpoint {
    /// Returns the tensors of a part, or `None` if the checkpoint lacks it.
    pub(crate) fn part(&self, name: &str) -> Option<BTreeMap<String, Tensor>> {
        Some(self.tensors.get(name)?.iter().cloned().collect())
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(crate) fn open(path: &Path) -> Result<Checkpoint, RunError> {
        let bytes = fs::read(path).map_err(at(path))?;
        Checkpoint::from_bytes(&bytes).map_err(|reason| {
            let reason = format!("the checkpoint cannot be read ({reason})");
            RunError::Damaged { path: path.to_owned(), reason }
        })
    }

    fn to_bytes(&self) -> Result<Vec<u8>, candle::Error> {
        let tensors = self.tensors.iter().flat_map(|(part, tensors)| {
            tensors.iter().map(move |(name, it)| (format!("{part}.{name}"), it))
        });
        let header = Header {
            data: self.data.clone(),
            settings: self.settings.clone(),
            state: self.state.clone(),
        };
        let header = toml::to_string(&header).expect("a header is TOML");
        let entries = [(ENTRY.to_owned(), header)].into_iter().collect();
        safetensors::serialize(tensors, Some(entries)).map_err(candle::Error::wrap)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, String> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|err| err.to_string())?;
        let header = metadata.metadata().as_ref().and_then(|it| it.get(ENTRY));
        let header = header.ok_or("it has no header of this program")?;
        let Header { data, settings, state } =
            toml::from_str(header).map_err(|err| err.message().to_owned())?;
        let all = candle::safetensors::load_buffer(bytes, &Device::Cpu);
        let mut tensors: BTreeMap<String, Vec<(String, Tensor)>> = BTreeMap::new();
        for (name, tensor) in all.map_err(|err| err.to_string())? {
            let (part, name) = name.split_once('.').ok_or("a tensor belongs to no part")?;
            tensors.entry(part.to_owned()).or_default().push((name.to_owned(), tensor));
        }
        Ok(Checkpoint { state, settings, data, tensors })
    }
}

impl Run {
    /// Returns whether the run has a checkpoint to resume from.
    pub fn has_checkpoint(&self) -> bool {
        list(&self.checkpoints()).is_ok_and(|it| !it.is_empty())
    }
}

/// Returns the checkpoints in a folder, oldest first.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>, RunError> {
    let entries = match fs::read_dir(dir) {
        Ok(it) => it,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(at(dir)(err)),
    };
    let paths = entries.flatten().map(|it| it.path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|it| !it.file_name().is_some_and(|it| it.to_string_lossy().starts_with('.')))
        .filter(|it| it.extension().is_some_and(|it| it == "safetensors"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Returns the newest readable checkpoint, or `None` if the run has no checkpoint.
///
/// - `note`: called with a message for each unreadable checkpoint.
///
/// # Errors
/// The run has checkpoints, but none is readable.
pub(crate) fn newest(run: &Run, note: &dyn Fn(&str)) -> Result<Option<Checkpoint>, RunError> {
    let mut problem = None;
    for path in list(&run.checkpoints())?.into_iter().rev() {
        match Checkpoint::open(&path) {
            Ok(it) => return Ok(Some(it)),
            Err(err @ RunError::Damaged { .. }) => {
                note(&format!("{err}: trying the previous one"));
                problem.get_or_insert(err);
            }
            Err(err) => return Err(err),
        }
    }
    problem.map_or(Ok(None), Err)
}

/// The thread that writes checkpoints.
pub(crate) struct Writer {
    /// Closed to end the thread.
    jobs: Option<SyncSender<Checkpoint>>,
    thread: Option<JoinHandle<Result<(), RunError>>>,
    is_busy: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// - `keep`: the number of checkpoints to keep, at least 1.
    /// - `tables`: files that are synced to disk before a checkpoint is written.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub(crate) fn start(run: &Run, keep: usize, tables: Vec<File>) -> Result<Writer, RunError> {
        let (dir, best) = (run.checkpoints(), run.best());
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        // The sender blocks until the thread receives: at most one checkpoint is in memory.
        let (sender, receiver) = sync_channel(0);
        let is_busy = Arc::new(AtomicBool::new(false));
        let busy = Arc::clone(&is_busy);
        let thread = thread::spawn(move || work(&dir, &best, keep, &tables, &receiver, &busy));
        Ok(Writer { jobs: Some(sender), thread: Some(thread), is_busy })
    }

    /// Returns whether a checkpoint would be accepted without waiting.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_busy.load(Ordering::Acquire)
    }

    /// Hands a checkpoint to the thread once the previous one is on disk.
    ///
    /// # Errors
    /// An earlier checkpoint could not be written.
    pub(crate) fn write(&mut self, checkpoint: Checkpoint) -> Result<(), RunError> {
        if let Some(jobs) = &self.jobs {
            self.is_busy.store(true, Ordering::Release);
            if jobs.send(checkpoint).is_ok() {
                return Ok(());
            }
        }
        self.join()
    }

    /// Waits until all checkpoints are on disk.
    ///
    /// # Errors
    /// A checkpoint could not be written.
    pub(crate) fn finish(mut self) -> Result<(), RunError> {
        self.join()
    }

    /// Checks that the thread has not failed.
    ///
    /// # Errors
    /// The error that ended the thread.
    pub(crate) fn check(&mut self) -> Result<(), RunError> {
        match self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            true => self.join(),
            false => Ok(()),
        }
    }

    fn join(&mut self) -> Result<(), RunError> {
        drop(self.jobs.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(it)) => it,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A writer is dropped without `finish` only when another error is returned.
            drop(thread.join());
        }
    }
}

fn work(
    dir: &Path,
    best: &Path,
    keep: usize,
    tables: &[File],
    jobs: &Receiver<Checkpoint>,
    is_busy: &AtomicBool,
) -> Result<(), RunError> {
    for checkpoint in jobs {
        save(dir, best, keep, tables, &checkpoint)?;
        is_busy.store(false, Ordering::Release);
    }
    Ok(())
}

/// Commits the staged bundle of a state's best evaluation as the run's best.
pub(crate) fn commit_best(best: &Path, state: &State) -> Result<(), RunError> {
    let Some(it) = state.best else { return Ok(()) };
    let committed = Bundle::commit(best, &it.step.to_string());
    committed.map_err(std::io::Error::other).map_err(at(best))
}

fn save(
    dir: &Path,
    best: &Path,
    keep: usize,
    tables: &[File],
    checkpoint: &Checkpoint,
) -> Result<(), RunError> {
    let path = dir.join(format!("{:08}.safetensors", checkpoint.state.step));
    let bytes = checkpoint.to_bytes().map_err(std::io::Error::other).map_err(at(&path))?;
    // A run resumed from here finds the rows of its tables.
    tables.iter().try_for_each(File::sync_data).map_err(at(dir))?;
    write_atomic(&path, &bytes).map_err(at(&path))?;
    // Only once the checkpoint that records it is on disk.
    commit_best(best, &checkpoint.state)?;
    let all = list(dir)?;
    let (newer, older): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| *it > path);
    // Newer checkpoints are unreadable, or this run would have resumed from there.
    let n_old = older.len().saturating_sub(keep.max(1));
    for path in newer.iter().chain(&older[..n_old]) {
        fs::remove_file(path).map_err(at(path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use candle::{Device, Tensor};

    use super::{Checkpoint, State, Writer, list, newest};
    use crate::run::{Run, RunError};

    fn checkpoint(step: usize) -> Checkpoint {
        let tensor = Tensor::new(&[step as f32, 0.5], &Device::Cpu).unwrap();
        let tensors = BTreeMap::from([("model".to_owned(), vec![("a.b".to_owned(), tensor)])]);
        let state = State { step, scores: vec![0.1, f64::NEG_INFINITY], ..State::default() };
        let data = "of this data".to_owned();
        Checkpoint { state, settings: "seed = 0".parse().unwrap(), data, tensors }
    }

    fn names(run: &Run) -> Vec<String> {
        let name = |it: &std::path::PathBuf| it.file_stem().unwrap().to_string_lossy().into_owned();
        list(&run.checkpoints()).unwrap().iter().map(name).collect()
    }

    #[test]
    fn the_last_checkpoints_are_kept_and_the_newest_readable_one_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(&dir.path().join("run"), "").unwrap();
        assert!(newest(&run, &|_| ()).unwrap().is_none());
        let mut writer = Writer::start(&run, 2, Vec::new()).unwrap();
        for step in [5, 10, 15] {
            writer.write(checkpoint(step)).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(names(&run), ["00000010", "00000015"]);
        let found = newest(&run, &|_| ()).unwrap().unwrap();
        let Checkpoint { state, settings, data, .. } = checkpoint(15);
        assert_eq!((found.state, found.settings, found.data), (state, settings, data));
        assert_eq!(found.tensors["model"][0].0, "a.b");

        // The newest one is truncated.
        let path = run.checkpoints().join("00000015.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let notes = std::cell::RefCell::new(String::new());
        let found = newest(&run, &|it| notes.borrow_mut().push_str(it)).unwrap().unwrap();
        assert_eq!(found.state.step, 10);
        assert!(notes.borrow().contains("00000015.safetensors"), "{notes:?}");
        // The run resumes from 10, and the unreadable checkpoint is removed.
        let mut writer = Writer::start(&run, 1, Vec::new()).unwrap();
        writer.write(checkpoint(12)).unwrap();
        writer.finish().unwrap();
        assert_eq!(names(&run), ["00000012"]);

        fs::write(run.checkpoints().join("00000012.safetensors"), b"no").unwrap();
        assert!(matches!(newest(&run, &|_| ()), Err(RunError::Damaged { .. })));
    }

    #[test]
    fn checkpoint_bytes_are_deterministic() {
        assert!(checkpoint(3).to_bytes().unwrap() == checkpoint(3).to_bytes().unwrap());
    }

    #[test]
    #[cfg(unix)]
    fn a_write_error_is_reported_at_the_next_call() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(&dir.path().join("run"), "").unwrap();
        let mut writer = Writer::start(&run, 1, Vec::new()).unwrap();
        fs::remove_dir_all(run.checkpoints()).unwrap();
        writer.write(checkpoint(1)).unwrap();
        let err = writer.finish().unwrap_err().to_string();
        assert!(err.contains("00000001.safetensors"), "{err}");
    }
}
