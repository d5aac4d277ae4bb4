//! The run's folder: its results and the state to resume from.
//!
//! ```text
//! config.toml     the resolved settings: training with this file repeats the run
//! split.csv       which group is on which side
//! data.csv        every image with its labels, a hash of its file, its weight and its side
//! steps.csv       loss and learning rate of every step
//! epochs.csv      scores of every evaluation
//! timing.csv      times and speeds, kept apart because they are not reproducible
//! best/           the bundle of the best evaluation
//! checkpoints/    the state that a run is resumed from
//! pretrained/     a copy of the bundle that it continues from, if there is one (`keep.rs`)
//! valid.csv       the best bundle's probabilities for the validation set
//! test.csv      the same for the test set, where the source has one
//! *_classes.csv   for each of these tables the scores of every class, and
//! *_confusions.csv    the confusions, most frequent first
//! estimate.toml   the out-of-fold score that estimates a run on all the data (`all_data.rs`)
//! report.toml     the final scores; its presence marks the run as finished
//! report.html     the page on the run, which the program adds at its end; it differs between repeated runs
//! lock            locked while a program works on the run
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use base::files::{remove_leftovers, write_atomic, write_atomic_with};
use infer::TableError;

/// How often to try to lock a folder, 50 ms apart, before it is reported as busy.
const PATIENCE: usize = 60;

/// A run's folder, locked by this program where the file system has locks.
pub struct Run {
    dir: PathBuf,
    /// The folder that it will be in.
    home: PathBuf,
    /// Released when dropped.
    _lock: File,
}

/// How a folder is locked.
#[derive(Clone, Copy)]
enum Access {
    /// By this program alone.
    Alone,
    /// By programs that work on it together.
    Together,
}

/// Why a run's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A run of this name exists.
    #[error("{}: a run of this name exists: choose another name with `--set run.name=NAME`, or resume it with `--resume {}`", .0.display(), .0.display())]
    Exists(PathBuf),
    /// No run of this name exists.
    #[error("{}: there is no run here: name a folder of `runs/`, or `latest`", .0.display())]
    Absent(PathBuf),
    /// Another program is working on it.
    #[error("{}: another program is working on this run: wait for it, or stop it first", .0.display())]
    Busy(PathBuf),
    /// A file is damaged, or was not written by this program.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<TableError> for RunError {
    fn from(err: TableError) -> RunError {
        match err {
            TableError::Io { path, source } => RunError::Io { path, source },
            TableError::Damaged { path, reason } => RunError::Damaged { path, reason },
        }
    }
}

/// Adds the path to an I/O error.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.to_owned();
    move |source| RunError::Io { path, source }
}

impl Run {
    /// Creates the folder of a new run, with its settings.
    ///
    /// # Errors
    /// The run exists, or an I/O error.
    pub fn create(dir: &Path, config: &str) -> Result<Run, RunError> {
        if dir.join("config.toml").exists() {
            return Err(RunError::Exists(dir.to_owned()));
        }
        fs::create_dir_all(dir).map_err(at(dir))?;
        let run = Run::lock(dir, Access::Alone)?;
        // Another program may have created it at the same moment.
        if dir.join("config.toml").exists() {
            return Err(RunError::Exists(dir.to_owned()));
        }
        run.write("config.toml", config)?;
        Ok(run)
    }

    /// Creates the folder of a run without a name: the first of `dir`, `dir-2`, `dir-3` and so on that does
    /// not exist, even if other programs create theirs at the same moment.
    ///
    /// # Errors
    /// An I/O error.
    pub fn create_unnamed(dir: &Path, config: &str) -> Result<Run, RunError> {
        let above = dir.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(above).map_err(at(above))?;
        let name = dir.file_name().unwrap_or_default();
        for nth in 1.. {
            let mut name = name.to_owned();
            if nth > 1 {
                name.push(format!("-{nth}"));
            }
            let dir = dir.with_file_name(name);
            // The program that creates the folder owns it.
            match fs::create_dir(&dir) {
                Ok(()) => return Run::create(&dir, config),
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                Err(err) => return Err(at(&dir)(err)),
            }
        }
        unreachable!("the numbers do not run out")
    }

    /// Opens an existing run.
    ///
    /// # Errors
    /// The folder is not a run, or another program is working on it.
    pub fn open(dir: &Path) -> Result<Run, RunError> {
        if !dir.join("config.toml").is_file() {
            return Err(RunError::Absent(dir.to_owned()));
        }
        let run = Run::lock(dir, Access::Alone)?;
        remove_leftovers(&run.dir);
        Ok(run)
    }

    /// Opens a cross-validation's folder, which other programs may work on at the same time.
    ///
    /// # Errors
    /// The folder is not a run, or a program works on it alone.
    pub fn open_together(dir: &Path) -> Result<Run, RunError> {
        match dir.join("config.toml").is_file() {
            true => Run::lock(dir, Access::Together),
            false => Err(RunError::Absent(dir.to_owned())),
        }
    }

    /// Sets the folder that the run will be moved to when it is finished, which is how trackers name it.
    pub(crate) fn with_home(self, home: PathBuf) -> Run {
        Run { home, ..self }
    }

    fn lock(dir: &Path, access: Access) -> Result<Run, RunError> {
        let path = dir.join("lock");
        let lock = File::options().create(true).append(true).open(&path).map_err(at(&path))?;
        // A killed program keeps its lock until the system has reclaimed its memory.
        for _ in 0..PATIENCE {
            let locked = match access {
                Access::Alone => lock.try_lock(),
                Access::Together => lock.try_lock_shared(),
            };
            match locked {
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(50)),
                // Some shared file systems have no locks.
                Ok(()) | Err(TryLockError::Error(_)) => {
                    return Ok(Run { dir: dir.to_owned(), home: dir.to_owned(), _lock: lock });
                }
            }
        }
        Err(RunError::Busy(dir.to_owned()))
    }

    /// Returns whether a program is working on the run in a folder at this moment.
    pub fn is_busy(dir: &Path) -> bool {
        // Others wait for a lock longer than it is held here.
        let lock = File::options().append(true).open(dir.join("lock")).map(|it| it.try_lock());
        matches!(lock, Ok(Err(TryLockError::WouldBlock)))
    }

    /// Removes the run and its files. A run that is removed in part is still one, and can be removed again.
    ///
    /// # Errors
    /// An I/O error.
    pub fn remove(self) -> Result<(), RunError> {
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let path = entry.map_err(at(&self.dir))?.path();
            if ["config.toml", "lock"].iter().any(|it| path.ends_with(it)) {
                continue;
            }
            match path.is_dir() && !path.is_symlink() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            }
            .map_err(at(&path))?;
        }
        fs::remove_dir_all(&self.dir).map_err(at(&self.dir))
    }

    /// Returns the folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the folder that it is in, or will be in when it is finished.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Returns the folder of the best bundle.
    pub fn best(&self) -> PathBuf {
        self.dir.join("best")
    }

    /// Returns the folder of its checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// Returns whether the run is finished.
    pub fn is_finished(&self) -> bool {
        self.dir.join("report.toml").is_file()
    }

    /// Reads a file of the run.
    pub fn read(&self, name: &str) -> Result<String, RunError> {
        let path = self.dir.join(name);
        base::text::read(&path).map_err(at(&path))
    }

    /// Writes a file of the run row by row, atomically.
    ///
    /// # Errors
    /// Those of `write`, or an I/O error.
    pub fn write_with<E: From<RunError>>(
        &self,
        name: &str,
        write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.dir.join(name);
        let mut failed = None;
        let written = write_atomic_with(&path, |file| {
            let mut out = BufWriter::new(file);
            match write(&mut out) {
                Ok(()) => out.flush(),
                Err(err) => {
                    failed = Some(err);
                    Err(io::Error::other("the writer failed"))
                }
            }
        });
        match failed {
            Some(err) => Err(err),
            None => Ok(written.map_err(at(&path))?),
        }
    }

    /// Writes a file of the run, atomically.
    pub fn write(&self, name: &str, text: &str) -> Result<(), RunError> {
        let path = self.dir.join(name);
        write_atomic(&path, text.as_bytes()).map_err(at(&path))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread};

    use super::{Run, RunError};

    #[test]
    fn unnamed_runs_created_at_once_have_separate_folders() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs/small-20261129-080000");
        let create = || Run::create_unnamed(&path, "seed = 0").unwrap();
        let runs: Vec<Run> = thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
            all.into_iter().map(|it| it.join().unwrap()).collect()
        });
        let names: BTreeSet<_> = runs.iter().map(|it| it.dir().file_name().unwrap()).collect();
        assert_eq!(names.len(), 8, "{names:?}");
        assert!(path.is_dir() && path.with_file_name("small-20261129-080000-8").is_dir());
    }

    #[test]
    fn a_run_is_created_once_and_locked_by_one_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        assert!(matches!(Run::open(&path), Err(RunError::Absent(_))));
        let run = Run::create(&path, "seed = 0").unwrap();
        assert!(matches!(Run::create(&path, ""), Err(RunError::Exists(_))));
        assert!(matches!(Run::open(&path), Err(RunError::Busy(_))));
        assert!(Run::is_busy(&path));
        assert!(matches!(Run::open_together(&path), Err(RunError::Busy(_))));
        drop(run);
        assert!(!Run::is_busy(&path));
        let together = [Run::open_together(&path).unwrap(), Run::open_together(&path).unwrap()];
        assert!(Run::is_busy(&path));
        assert!(matches!(Run::open(&path), Err(RunError::Busy(_))));
        drop(together);
        assert_eq!(Run::open(&path).unwrap().read("config.toml").unwrap(), "seed = 0");
    }
}
