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
        let dead = match newest.map(|token| self.state(fold, token)).transpose()? {
            Some(Earlier::Held) => return Ok(None),
            Some(Earlier::Dead(why)) => Some(why),
            Some(Earlier::Released) | None => None,
        };
        Claim::create(&self.dir, fold, newest.unwrap_or(0) + 1, self.timeout, dead)
    }

    /// Returns the state of the claim in force.
    fn state(&mut self, fold: usize, token: u64) -> Result<Earlier, RunError> {
        let path = path(&self.dir, fold, token);
        let (file, text) = read(&path).map_err(at(&path))?;
        let mark = Mark::parse(&text);
        let is_here = mark.place.is_some() && mark.place == here(&self.dir);
        let owner = mark.owner.as_deref().unwrap_or("another process");
        if text.trim() == RELEASED {
            return Ok(Earlier::Released);
        }
        if is_here && file.try_lock().is_ok() {
            return Ok(Earlier::Dead(format!("{owner}, which has ended")));
        }
        match self.seen.get(&fold) {
            Some((known, content, since)) if (*known, content) == (token, &text) => {
                let timeout = self.timeout.as_secs_f64().max(MISSED * mark.every);
                let silent = since.elapsed().as_secs_f64();
                Ok(match silent >= timeout {
                    true => Earlier::Dead(format!(
                        "{owner}, whose heartbeat has been missing for {silent:.1} s"
                    )),
                    false => Earlier::Held,
                })
            }
            _ => {
                self.seen.insert(fold, (token, text, Instant::now()));
                Ok(Earlier::Held)
            }
        }
    }
}

/// The state of another process's claim.
enum Earlier {
    /// Its owner trains the fold.
    Held,
    /// Its owner has given it up.
    Released,
    /// Its owner has died: who that was, and how it is known, in words.
    Dead(String),
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

/// Names this process to those who take its fold over: `process 17 on host`.
fn me() -> String {
    let process = format!("process {}", std::process::id());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.split_whitespace().next() {
        Some(host) => format!("{process} on {host}"),
        None => process,
    }
}

/// The content of a claim: `beat 0000000017 every 10 on <place> by <owner>`; always of the same length, since it is
/// overwritten in place.
#[derive(Default)]
struct Mark {
    /// Seconds between two heartbeats.
    every: f64,
    /// Where its owner holds a lock on it; `None` without locks.
    place: Option<String>,
    /// The owner, in words; earlier versions do not write it.
    owner: Option<String>,
}

impl Mark {
    /// Parses a content. One that is being written has no place, and changes soon.
    fn parse(text: &str) -> Mark {
        let (text, owner) = match text.trim().split_once(" by ") {
            Some((text, owner)) => (text, Some(owner.to_owned())),
            None => (text, None),
        };
        match text.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["beat", _, "every", every, rest @ ..] => Mark {
                every: every.parse().ok().filter(|it: &f64| it.is_finite()).unwrap_or(0.0),
                place: rest.strip_prefix(&["on"]).and_then(|it| Some((*it.first()?).to_owned())),
                owner,
            },
            _ => Mark::default(),
        }
    }

    fn text(&self, beat: u64) -> String {
        let part = |word: &str, it: &Option<String>| {
            it.as_ref().map_or(String::new(), |it| format!(" {word} {it}"))
        };
        let (place, owner) = (part("on", &self.place), part("by", &self.owner));
        format!("beat {beat:010} every {}{place}{owner}\n", self.every)
    }
}

/// A fold that this process trains. Released when dropped.
pub(super) struct Claim {
    dir: PathBuf,
    fold: usize,
    token: u64,
    file: Arc<File>,
    is_lost: Arc<AtomicBool>,
    /// The owner that it was taken over from, if that had died.
    dead: Option<String>,
    /// Dropped to stop the heartbeat.
    stop: Option<Sender<()>>,
    heart: Option<JoinHandle<()>>,
}

impl Claim {
    /// Creates the claim with this token; `None` if another process has.
    ///
    /// - `dead`: the owner that it is taken over from, if that has died.
    fn create(
        dir: &Path,
        fold: usize,
        token: u64,
        timeout: Duration,
        dead: Option<String>,
    ) -> Result<Option<Claim>, RunError> {
        let path = path(dir, fold, token);
        let file = match File::options().write(true).create_new(true).open(&path) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            other => other.map_err(at(&path))?,
        };
        // The content names the place only once the lock is held: until then, others go by the heartbeat.
        let place = if file.try_lock().is_ok() { here(dir) } else { None };
        let every = timeout / BEATS;
        let mark = Mark { every: every.as_secs_f64(), place, owner: Some(me()) };
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
        let dir = dir.to_owned();
        Ok(Some(Claim { dir, fold, token, file, is_lost, dead, stop, heart }))
    }

    /// Returns the fold.
    pub(super) fn fold(&self) -> usize {
        self.fold
    }

    /// Returns the owner that it was taken over from, and how it is known that it had died, in words; `None` if it was
    /// free.
    pub(super) fn dead(&self) -> Option<&str> {
        self.dead.as_deref()
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
