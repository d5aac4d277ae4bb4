//! The thread that writes checkpoints, and removes old ones.
//!
//! Training waits only if a checkpoint is due before the previous one is on disk. Once one is on disk, older ones are
//! removed, and the bundle of the best evaluation that it records replaces the previous one.
//!
//! The settings schedule most checkpoints: after a number of steps, and after each evaluation. All of these are
//! written and the last `keep` are kept, so that which ones there are does not depend on time. A checkpoint that the
//! clock or an interruption asks for is `<steps done>-interim.safetensors`, and is removed once there is a newer one.

use std::{
    fs::{self, File},
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use base::files::write_atomic;
use infer::Bundle;

use crate::{
    checkpoint::{Checkpoint, State, is_scheduled, list, path_of},
    run::{Run, RunError, at},
};

/// The thread that writes checkpoints.
pub(crate) struct Writer {
    /// Closed to end the thread. A checkpoint, and whether the settings schedule it.
    jobs: Option<SyncSender<(Checkpoint, bool)>>,
    /// A message for each checkpoint that is on disk.
    written: Receiver<()>,
    is_busy: bool,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// - `keep`: the number of scheduled checkpoints to keep, at least 1.
    /// - `tables`: files that are synced to disk before a checkpoint is written.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub(crate) fn start(run: &Run, keep: usize, tables: Vec<File>) -> Result<Writer, RunError> {
        let (dir, best) = (run.checkpoints(), run.best());
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        Ok(Writer::with(move |checkpoint, is_scheduled| {
            save(&dir, &best, keep, &tables, checkpoint, is_scheduled)
        }))
    }

    /// Starts a thread that passes each checkpoint to a function.
    fn with(
        mut save: impl FnMut(&Checkpoint, bool) -> Result<(), RunError> + Send + 'static,
    ) -> Writer {
        let (sender, jobs) = sync_channel::<(Checkpoint, bool)>(0);
        // At most one checkpoint is being written, so there is room for its message.
        let (done, written) = sync_channel(1);
        let thread = thread::spawn(move || {
            for (checkpoint, is_scheduled) in jobs {
                save(&checkpoint, is_scheduled)?;
                drop(checkpoint);
                if done.send(()).is_err() {
                    // The run has failed.
                    break;
                }
            }
            Ok(())
        });
        Writer { jobs: Some(sender), written, is_busy: false, thread: Some(thread) }
    }

    /// Returns whether a checkpoint would be accepted without waiting.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.is_busy = self.is_busy && self.written.try_recv().is_err();
        !self.is_busy
    }

    /// Waits until the last checkpoint is on disk, and no longer in memory.
    ///
    /// # Errors
    /// It could not be written.
    pub(crate) fn wait(&mut self) -> Result<(), RunError> {
        if self.is_busy && self.written.recv().is_err() {
            return self.join();
        }
        self.is_busy = false;
        Ok(())
    }

    /// Hands a checkpoint to the thread once the previous one is on disk.
    ///
    /// - `is_scheduled`: whether it is due by the settings, rather than by the clock or an interruption.
    ///
    /// # Errors
    /// An earlier checkpoint could not be written.
    pub(crate) fn write(
        &mut self,
        checkpoint: Checkpoint,
        is_scheduled: bool,
    ) -> Result<(), RunError> {
        self.wait()?;
        if let Some(jobs) = &self.jobs
            && jobs.send((checkpoint, is_scheduled)).is_ok()
        {
            self.is_busy = true;
            return Ok(());
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
    is_scheduled: bool,
) -> Result<(), RunError> {
    let step = checkpoint.state.step;
    let path = path_of(dir, step, is_scheduled);
    let bytes = checkpoint.to_bytes().map_err(std::io::Error::other).map_err(at(&path))?;
    // A run resumed from here finds the rows of its tables.
    tables.iter().try_for_each(File::sync_data).map_err(at(dir))?;
    write_atomic(&path, &bytes).map_err(at(&path))?;
    // Only once the checkpoint that records it is on disk.
    commit_best(best, &checkpoint.state)?;
    // Newer checkpoints are damaged, or this run would have resumed from there.
    let last = path_of(dir, step, true);
    for newer in list(dir)?.iter().filter(|it| **it > last) {
        fs::remove_file(newer).map_err(at(newer))?;
    }
    prune(dir, step, keep)
}

/// Removes old checkpoints: of the scheduled ones up to a step all but the last `keep`, and the others before it.
///
/// - `step`: that of an intact checkpoint.
pub(crate) fn prune(dir: &Path, step: usize, keep: usize) -> Result<(), RunError> {
    let [own, interim] = [true, false].map(|it| path_of(dir, step, it));
    let upto = list(dir)?.into_iter().filter(|it| *it <= own);
    let (mut old, mut others): (Vec<_>, Vec<_>) = upto.partition(|it| is_scheduled(it));
    old.truncate(old.len().saturating_sub(keep.max(1)));
    others.retain(|it| *it < interim);
    old.iter().chain(&others).try_for_each(|path| fs::remove_file(path).map_err(at(path)))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fs,
        sync::{Arc, Mutex},
        thread,
        time::Duration,
    };

    use super::{Checkpoint, State, Writer, list, prune};
    use crate::{
        checkpoint::{newest, scheduled},
        run::Run,
    };

    fn checkpoint(step: usize) -> Checkpoint {
        let state = State { step, ..State::default() };
        let (data, tensors) = (String::new(), BTreeMap::new());
        Checkpoint { state, settings: toml::Table::new(), data, tensors }
    }

    #[test]
    fn a_checkpoint_in_between_is_the_newest_and_displaces_no_scheduled_one() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(&dir.path().join("run"), "").unwrap();
        let names = || {
            let all = list(&run.checkpoints()).unwrap();
            let name = |it: &std::path::PathBuf| it.file_stem().unwrap().display().to_string();
            all.iter().map(name).collect::<Vec<_>>()
        };
        let mut writer = Writer::start(&run, 2, Vec::new()).unwrap();
        let mut after = |step: usize, is_scheduled: bool| {
            writer.write(checkpoint(step), is_scheduled).unwrap();
            writer.wait().unwrap();
            names()
        };
        after(4, true);
        assert_eq!(after(5, false), ["00000004", "00000005-interim"]);
        assert_eq!(after(7, false), ["00000004", "00000007-interim"]);
        after(8, true);
        assert_eq!(after(9, false), ["00000004", "00000008", "00000009-interim"]);
        assert_eq!(newest(&run, &|_| ()).unwrap().unwrap().state.step, 9);
        assert_eq!(scheduled(&run.checkpoints()).unwrap().len(), 2);
        assert_eq!(after(12, true), ["00000008", "00000012"]);
        // A kill before old ones were removed.
        for name in ["00000004", "00000011-interim"] {
            fs::write(run.checkpoints().join(format!("{name}.safetensors")), "").unwrap();
        }
        prune(&run.checkpoints(), 12, 2).unwrap();
        assert_eq!(names(), ["00000008", "00000012"]);
    }

    #[test]
    fn a_slow_writer_is_waited_for_and_drops_nothing() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let steps = Arc::clone(&written);
        let mut writer = Writer::with(move |checkpoint, _| {
            thread::sleep(Duration::from_millis(200));
            steps.lock().unwrap().push(checkpoint.state.step);
            Ok(())
        });
        assert!(writer.is_idle());
        for step in 1..=4 {
            writer.write(checkpoint(step), true).unwrap();
            // A checkpoint that is due by the clock would be left out now.
            assert!(!writer.is_idle());
            assert_eq!(written.lock().unwrap().len(), step - 1);
        }
        writer.wait().unwrap();
        assert!(writer.is_idle());
        writer.finish().unwrap();
        assert_eq!(*written.lock().unwrap(), [1, 2, 3, 4]);
    }

    #[test]
    #[cfg(unix)]
    fn a_write_error_is_reported_at_the_next_call() {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(&dir.path().join("run"), "").unwrap();
        let start = || {
            let writer = Writer::start(&run, 1, Vec::new()).unwrap();
            fs::remove_dir_all(run.checkpoints()).unwrap();
            writer
        };
        let mut writer = start();
        writer.write(checkpoint(1), true).unwrap();
        let err = writer.finish().unwrap_err().to_string();
        assert!(err.contains("00000001.safetensors"), "{err}");

        let mut writer = start();
        writer.write(checkpoint(1), true).unwrap();
        let err = writer.write(checkpoint(2), true).unwrap_err().to_string();
        assert!(err.contains("00000001.safetensors"), "{err}");
    }
}
