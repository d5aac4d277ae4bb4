//! Where a fold is trained: a folder for each claim, which becomes `fold-<n>/` by one rename.
//!
//! ```text
//! claims/fold-<n>.<token>.run/     what the owner of the claim trains
//! claims/fold-<n>.<token>.old/     what it has trained, after another process has taken it over
//! claims/fold-<n>.<token>.part/    a copy of that, until it is complete
//! fold-<n>/                        the finished run
//! ```
//!
//! Taking a fold over renames the folder of the old owner first. From then on whatever the old owner writes is lost,
//! whenever it wakes: its paths do not exist, files that it still has open are not those of the copy that is trained
//! on, and its folder cannot be renamed to `fold-<n>` any more. So either it published before, and there is nothing
//! left to train, or it never does.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base::files::replace;

use super::claim::{Claim, folder};
use crate::{
    fold_folders::{home, is_finished},
    run::{RunError, at},
};

fn work(run: &Path, fold: usize, token: u64, kind: &str) -> PathBuf {
    folder(run).join(format!("fold-{fold}.{token}.{kind}"))
}

/// Returns the folder to train a claimed fold in, with what the owners of earlier claims have trained; `None` if one of
/// them has finished it.
pub(super) fn take_over(run: &Path, claim: &Claim) -> Result<Option<PathBuf>, RunError> {
    let (fold, token) = (claim.fold(), claim.token());
    if is_finished(run, fold) {
        return Ok(None);
    }
    for earlier in tokens(run, fold, "run")? {
        fence(&work(run, fold, earlier, "run"), &work(run, fold, earlier, "old"))?;
    }
    // Earlier versions trained a fold where it stays.
    let home = home(run, fold);
    if home.is_dir() && !is_finished(run, fold) {
        fence(&home, &work(run, fold, 0, "old"))?;
    }
    if is_finished(run, fold) {
        return Ok(None);
    }
    let own = work(run, fold, token, "run");
    let all = tokens(run, fold, "old")?;
    if let Some(&newest) = all.iter().max() {
        let part = work(run, fold, token, "part");
        copy(&work(run, fold, newest, "old"), &part)?;
        replace(&part, &own).map_err(at(&own))?;
    }
    for earlier in all {
        drop(fs::remove_dir_all(work(run, fold, earlier, "old")));
    }
    for unfinished in tokens(run, fold, "part")? {
        drop(fs::remove_dir_all(work(run, fold, unfinished, "part")));
    }
    Ok(Some(own))
}

/// Renames a folder that another process may still write to.
fn fence(from: &Path, to: &Path) -> Result<(), RunError> {
    match fs::rename(from, to) {
        Ok(()) => Ok(()),
        // Its owner has just published it.
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        // It was renamed before, and an owner that did not know has created a new one.
        Err(_) if to.is_dir() => fs::remove_dir_all(from).map_err(at(from)),
        Err(err) => Err(at(from)(err)),
    }
}

/// Returns the tokens with a folder of a kind.
fn tokens(run: &Path, fold: usize, kind: &str) -> Result<Vec<u64>, RunError> {
    let (dir, prefix, suffix) = (folder(run), format!("fold-{fold}."), format!(".{kind}"));
    let mut tokens = Vec::new();
    for entry in fs::read_dir(&dir).map_err(at(&dir))? {
        let name = entry.map_err(at(&dir))?.file_name();
        let name = name.to_str().and_then(|it| it.strip_prefix(&prefix)?.strip_suffix(&suffix));
        tokens.extend(name.and_then(|it| it.parse::<u64>().ok()));
    }
    Ok(tokens)
}

/// Copies a folder, to disk.
fn copy(from: &Path, to: &Path) -> Result<(), RunError> {
    fs::create_dir_all(to).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let path = entry.map_err(at(from))?.path();
        let to = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &to)?;
            continue;
        }
        let copied = fs::copy(&path, &to).and_then(|_| fs::File::open(&to)?.sync_all());
        match copied {
            // A temporary file that its owner has removed.
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(at(&path))?,
        }
    }
    Ok(())
}

/// Publishes a finished fold; returns false, and publishes nothing, if another process has taken it over.
pub(super) fn publish(run: &Path, claim: &Claim, own: &Path) -> Result<bool, RunError> {
    // A folder that was taken over and created anew lacks files that are written first.
    let is_whole = ["config.toml", "report.toml"].iter().all(|it| own.join(it).is_file());
    if claim.is_lost() || !is_whole {
        return Ok(false);
    }
    let home = home(run, claim.fold());
    match replace(own, &home) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(_) if is_finished(run, claim.fold()) => Ok(false),
        Err(err) => Err(at(&home)(err)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, path::Path, time::Duration};

    use super::{
        super::claim::{Claim, Claims, folder},
        is_finished, publish, take_over,
    };

    const FOLD: usize = 2;

    fn claim(run: &Path) -> Claim {
        let mut claims = Claims::new(run, Duration::from_secs(600));
        claims.take(FOLD).unwrap().unwrap()
    }

    /// Takes a fold over from an owner that is still there.
    fn overtake(run: &Path, stale: &Claim) -> Claim {
        let path = folder(run).join(format!("fold-{FOLD}.{}", stale.token()));
        let text = fs::read(&path).unwrap();
        fs::write(&path, "released").unwrap();
        let next = claim(run);
        fs::write(&path, text).unwrap();
        next
    }

    fn finish(own: &Path, text: &str) {
        fs::create_dir_all(own).unwrap();
        fs::write(own.join("config.toml"), "").unwrap();
        fs::write(own.join("report.toml"), text).unwrap();
    }

    fn published(run: &Path) -> String {
        fs::read_to_string(run.join("fold-2/report.toml")).unwrap()
    }

    #[test]
    fn a_finished_fold_is_published_once() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        let own = claim(run);
        let at = take_over(run, &own).unwrap().unwrap();
        assert!(!publish(run, &own, &at).unwrap(), "nothing was trained");
        finish(&at, "one");
        assert!(!is_finished(run, FOLD));
        assert!(publish(run, &own, &at).unwrap() && is_finished(run, FOLD));
        assert!(!at.exists());
        drop(own);
        assert!(take_over(run, &claim(run)).unwrap().is_none());
        assert_eq!(published(run), "one");
    }

    #[test]
    fn a_stale_owner_publishes_nothing_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        let stale = claim(run);
        let at = take_over(run, &stale).unwrap().unwrap();
        fs::create_dir_all(at.join("checkpoints")).unwrap();
        fs::write(at.join("checkpoints/1"), "state").unwrap();
        let mut open = fs::File::create(at.join("steps.csv")).unwrap();
        open.write_all(b"1\n").unwrap();

        let own = overtake(run, &stale);
        let to = take_over(run, &own).unwrap().unwrap();
        assert_eq!(fs::read(to.join("checkpoints/1")).unwrap(), b"state");
        // It wakes: with an open file, in a folder that it creates anew, and with a finished run in there.
        open.write_all(b"2\n").unwrap();
        assert_eq!(fs::read(to.join("steps.csv")).unwrap(), b"1\n");
        assert!(!at.exists() && fs::write(at.join("epochs.csv"), "").is_err());
        assert!(!publish(run, &stale, &at).unwrap());
        finish(&at, "stale");
        assert!(!publish(run, &stale, &at).unwrap() && !is_finished(run, FOLD));
        finish(&to, "own");
        assert!(publish(run, &own, &to).unwrap());
        assert!(!publish(run, &stale, &at).unwrap());
        assert_eq!(published(run), "own");
    }

    #[test]
    fn a_copy_that_was_interrupted_is_repeated_from_the_last_state() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        let first = claim(run);
        let at = take_over(run, &first).unwrap().unwrap();
        finish(&at, "first");
        drop(first);
        let second = claim(run);
        // It is killed while it copies.
        let name = |name: &str| folder(run).join(name);
        fs::rename(&at, name("fold-2.1.old")).unwrap();
        fs::create_dir(name("fold-2.2.part")).unwrap();
        drop(second);
        // Meanwhile the first owner has created its folder anew.
        fs::create_dir(name("fold-2.1.run")).unwrap();
        let third = claim(run);
        let own = take_over(run, &third).unwrap().unwrap();
        assert_eq!(own, name("fold-2.3.run"));
        assert_eq!(fs::read(own.join("report.toml")).unwrap(), b"first");
        let left = ["fold-2.1.old", "fold-2.1.run", "fold-2.2.part", "fold-2.3.part"];
        assert!(left.iter().all(|it| !name(it).exists()));
    }

    #[test]
    fn a_fold_of_an_earlier_version_is_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        fs::create_dir(run.join("fold-2")).unwrap();
        fs::write(run.join("fold-2/steps.csv"), "1\n").unwrap();
        let own = claim(run);
        let at = take_over(run, &own).unwrap().unwrap();
        assert_eq!(fs::read(at.join("steps.csv")).unwrap(), b"1\n");
        assert!(!run.join("fold-2").exists());
        finish(&at, "new");
        assert!(publish(run, &own, &at).unwrap());
        assert!(run.join("fold-2/steps.csv").is_file());
    }
}
