//! Claims: which process trains a fold, of several on one folder, perhaps on several machines.
//!
//! A claim is a file `claims/fold-<n>.<token>`, which exactly one process can create (`O_EXCL`, also over NFS). The
//! highest token of a fold is in force: whoever takes over a dead claim creates the next one, so that the old
//! owner finds itself overtaken. The owner counts a heartbeat up in its file; a claim is dead if
//!
//! - its owner has released it, or
//! - its content has not changed for a time that the *taker's* clock measures: clocks of different machines are never
//!   compared, and neither are times of files; or
//! - its owner ran on this machine and no longer holds the lock on the file, which a killed process loses at once.
//!   The same machine is the same start of the same kernel, which sees the folder on the same device; locks of
//!   other machines are not relied on.
//!
//! A live owner that is treated as dead, because it was suspended or cut off, costs time, never results: what it
//! trains is its own folder (`work.rs`), which it can no longer publish.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::run::{RunError, at};

/// Heartbeats within the time after which a claim is dead.
const BEATS: u32 = 6;
/// A claim is not dead before it has missed so many of its own heartbeats.
const MISSED: f64 = 3.0;
/// The content of a claim that its owner has given up.
const RELEASED: &str = "released";

/// Returns the folder of a cross-validation's claims.
pub(super) fn folder(run: &Path) -> PathBuf {
    run.join("claims")
}

/// The claims of a cross-validation, as one process observes them.
pub(super) struct Claims {
    dir: PathBuf,
    timeout: Duration,
    /// The claim of each fold that another process holds: its token and content, and since when.
    seen: HashMap<usize, (u64, String, Instant)>,
}

impl Claims {
    /// Observes the claims of a cross-validation.
    ///
    /// - `timeout`: how long a heartbeat may be missing.
    pub(super) fn new(run: &Path, timeout: Duration) -> Claims {
        Claims { dir: folder(run), timeout, seen: HashMap::new() }
    }

    /// Claims a fold that nobody claims, or whose claim is dead; `None` if another process holds it.
    pub(super) fn take(&mut self, fold: usize) -> Result<Option<Claim>, RunError> {
        match self.try_take(fold) {
            // Meanwhile the folds have been joined, and the claims removed.
            Err(RunError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            other => other,
        }
    }

    fn try_take(&mut self, fold: usize) -> Result<Option<Claim>, RunError> {
        fs::create_dir_all(&self.dir).map_err(at(&self.dir))?;
        let newest = newest(&self.dir, fold)?;
        match newest {
            Some(token) if !self.is_dead(fold, token)? => Ok(None),
            _ => Claim::create(&self.dir, fold, newest.unwrap_or(0) + 1, self.timeout),
        }
    }

    fn is_dead(&mut self, fold: usize, token: u64) -> Result<bool, RunError> {
        let path = path(&self.dir, fold, token);
        let (file, text) = read(&path).map_err(at(&path))?;
        let mark = Mark::parse(&text);
        let is_here = mark.place.is_some() && mark.place == here(&self.dir);
        if text.trim() == RELEASED || is_here && file.try_lock().is_ok() {
            return Ok(true);
        }
        match self.seen.get(&fold) {
            Some((known, content, since)) if (*known, content) == (token, &text) => {
                let timeout = self.timeout.as_secs_f64().max(MISSED * mark.every);
                Ok(since.elapsed().as_secs_f64() >= timeout)
            }
            _ => {
                self.seen.insert(fold, (token, text, Instant::now()));
                Ok(false)
            }
        }
    }
}

/// Returns the highest token of a fold.
fn newest(dir: &Path, fold: usize) -> Result<Option<u64>, RunError> {
    let prefix = format!("fold-{fold}.");
    let mut newest = None;
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let name = entry.map_err(at(dir))?.file_name();
        let token = name.to_str().and_then(|it| it.strip_prefix(&prefix)?.parse().ok());
        newest = newest.max(token);
    }
    Ok(newest)
}

fn path(dir: &Path, fold: usize, token: u64) -> PathBuf {
    dir.join(format!("fold-{fold}.{token}"))
}

fn read(path: &Path) -> io::Result<(File, String)> {
    let file = File::options().read(true).append(true).open(path)?;
    let text = io::read_to_string(&file)?;
    Ok((file, text))
}

/// Identifies this start of this machine's kernel, and the device on which it sees a folder: locks are only
/// compared where these are the same.
fn here(dir: &Path) -> Option<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{}/{}", kernel.trim(), fs::metadata(dir).ok()?.dev()))
}

/// The content of a claim: `beat 0000000017 every 10 on <place>`; always of the same length, since it is
/// overwritten in place.
#[derive(Default)]
struct Mark {
    /// Seconds between two heartbeats.
    every: f64,
    /// Where its owner holds a lock on it; `None` without locks.
    place: Option<String>,
}

impl Mark {
    /// Parses a content. One that is being written has no place, and changes soon.
    fn parse(text: &str) -> Mark {
        match text.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["beat", _, "every", every, rest @ ..] => Mark {
                every: every.parse().ok().filter(|it: &f64| it.is_finite()).unwrap_or(0.0),
                place: rest.strip_prefix(&["on"]).and_then(|it| Some((*it.first()?).to_owned())),
            },
            _ => Mark::default(),
        }
    }

    fn text(&self, beat: u64) -> String {
        let place = self.place.as_ref().map_or(String::new(), |it| format!(" on {it}"));
        format!("beat {beat:010} every {}{place}\n", self.every)
    }
}

/// A fold that this process trains. Released when dropped.
pub(super) struct Claim {
    dir: PathBuf,
    fold: usize,
    token: u64,
    file: Arc<File>,
    is_lost: Arc<AtomicBool>,
    /// Dropped to stop the heartbeat.
    stop: Option<Sender<()>>,
    heart: Option<JoinHandle<()>>,
}

impl Claim {
    /// Creates the claim with this token; `None` if another process has.
    fn create(
        dir: &Path,
        fold: usize,
        token: u64,
        timeout: Duration,
    ) -> Result<Option<Claim>, RunError> {
        let path = path(dir, fold, token);
        let file = match File::options().write(true).create_new(true).open(&path) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            other => other.map_err(at(&path))?,
        };
        // The content names the place only once the lock is held: until then, others go by the heartbeat.
        let place = if file.try_lock().is_ok() { here(dir) } else { None };
        let every = timeout / BEATS;
        let mark = Mark { every: every.as_secs_f64(), place };
        file.write_all_at(mark.text(0).as_bytes(), 0).map_err(at(&path))?;
        let (stop, stopped) = mpsc::channel::<()>();
        let (file, is_lost) = (Arc::new(file), Arc::new(AtomicBool::new(false)));
        let (own, lost, dir_of_heart) = (Arc::clone(&file), Arc::clone(&is_lost), dir.to_owned());
        let heart = thread::spawn(move || {
            for beat in 1.. {
                if !matches!(stopped.recv_timeout(every), Err(RecvTimeoutError::Timeout)) {
                    return;
                }
                // A heartbeat that cannot be written is missed; over NFS, others see it once it is synced.
                let text = mark.text(beat);
                drop(own.write_all_at(text.as_bytes(), 0).and_then(|()| own.sync_data()));
                if is_overtaken(&dir_of_heart, fold, token) {
                    lost.store(true, Ordering::Relaxed);
                    return;
                }
            }
        });
        let (stop, heart) = (Some(stop), Some(heart));
        Ok(Some(Claim { dir: dir.to_owned(), fold, token, file, is_lost, stop, heart }))
    }

    /// Returns the fold.
    pub(super) fn fold(&self) -> usize {
        self.fold
    }

    /// Returns the fencing token: higher than those of all earlier claims of the fold.
    pub(super) fn token(&self) -> u64 {
        self.token
    }

    /// Returns whether the last heartbeat found that another process has taken the fold over.
    pub(super) fn was_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Finds out whether another process has taken the fold over.
    pub(super) fn is_lost(&self) -> bool {
        self.was_lost() || is_overtaken(&self.dir, self.fold, self.token)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.heart.take().into_iter().for_each(|it| drop(it.join()));
        // Nobody but its owner writes into it, so this is right even if it is lost.
        let released = self.file.set_len(0).and_then(|()| {
            self.file.write_all_at(RELEASED.as_bytes(), 0)?;
            self.file.sync_data()
        });
        // If it fails, others wait for a heartbeat in vain.
        drop(released);
    }
}

/// Returns whether there is a later claim, or no claims any more: the folds have been joined.
fn is_overtaken(dir: &Path, fold: usize, token: u64) -> bool {
    let is = |token| path(dir, fold, token).try_exists();
    // What cannot be found out now is found out later.
    is(token + 1).unwrap_or(false) || !is(token).unwrap_or(true)
}

#[cfg(test)]
mod tests;
