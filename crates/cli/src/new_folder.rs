//! A folder of results that appears whole: its files are written to a hidden folder beside it, which is renamed
//! when all of them are there.
//!
//! An empty folder that exists keeps its permissions, and may be a mount point or a link, which cannot be renamed
//! over: the hidden folder is inside it, and its files are moved up, last those that say that it is complete. The
//! `lost+found` of a mounted disk does not count.
//!
//! A killed process leaves the hidden folder, `.<name>.<process>.partial`. It held a lock on it, which the system has
//! released; the next folder that is written beside it, or in its place, removes it.

use std::{
    cell::OnceCell,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, bail};
use base::files::{replace, write_atomic};

use crate::output::folder;

/// The ending of a hidden folder.
const PARTIAL: &str = ".partial";

/// Files that say that a folder is complete, in the order in which they are moved, after all others.
const LAST: [&str; 3] = ["explain.csv", "bundle.toml", "report.toml"];

/// A folder that does not exist yet, or is empty.
pub(crate) struct NewFolder {
    path: PathBuf,
    /// Whether it exists, and is filled.
    is_there: bool,
    /// Where it is written; removed if it is not finished.
    partial: PathBuf,
    /// The hidden folder, locked from when it is created.
    lock: OnceCell<File>,
}

impl NewFolder {
    /// Checks that a folder can be written, before any long work.
    ///
    /// # Errors
    /// A file or a folder with files is there, or no folder to put it in.
    pub(crate) fn at(path: &Path) -> anyhow::Result<NewFolder> {
        let path = folder(path)?;
        let Some(name) = path.file_name() else {
            bail!("--output {}: name a new folder", path.display());
        };
        let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let is_there = path.is_dir();
        if path.exists() && !is_there {
            bail!("{}: is a file: choose a new folder with `-o`", path.display());
        }
        if path.is_symlink() && !is_there {
            bail!("{}: is a link to nothing: choose a new folder with `-o`", path.display());
        }
        if is_there {
            remove_leftovers(path);
            if !is_empty(path, None).with_context(|| path.display().to_string())? {
                bail!("{}: already exists: choose a new folder with `-o`", path.display());
            }
        }
        if !parent.is_dir() {
            let parent = parent.display();
            bail!("--output {}: folder {parent} does not exist: create it", path.display());
        }
        remove_leftovers(parent);
        // Processes do not disturb each other: each has its own.
        let hidden = format!(".{}.{}{PARTIAL}", name.to_string_lossy(), process::id());
        // Inside a mount point it is on the same file system.
        let partial = if is_there { path.join(hidden) } else { parent.join(hidden) };
        Ok(NewFolder { path: path.to_owned(), is_there, partial, lock: OnceCell::new() })
    }

    /// Returns the folder as it is named.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder to write to; creates it first.
    pub(crate) fn begun(&self) -> anyhow::Result<&Path> {
        if self.lock.get().is_none() {
            let locked = create_locked(&self.partial);
            let locked = locked.with_context(|| self.path.display().to_string())?;
            self.lock.get_or_init(|| locked);
        }
        Ok(&self.partial)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let written = write_atomic(&self.begun()?.join(name), bytes);
        written.with_context(|| self.path.join(name).display().to_string())
    }

    /// Makes the folder appear.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let partial = self.begun()?;
        let finished = match self.is_there {
            true => move_up(partial, &self.path, replace),
            false => replace(partial, &self.path),
        };
        finished.with_context(|| self.path.display().to_string())
    }
}

/// Whether a folder has no files, except those of the system.
///
/// - `but`: the name of a file that does not count either.
fn is_empty(dir: &Path, but: Option<&OsStr>) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name != "lost+found" && Some(name.as_os_str()) != but {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Moves the files of a hidden folder into the folder that it is in, all or none.
///
/// - `replace`: how a file is moved; it may fail after it has moved it, as where the folder cannot be synced to disk.
fn move_up(
    partial: &Path,
    dir: &Path,
    replace: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    if !is_empty(dir, partial.file_name())? {
        return Err(io::Error::other("the folder is no longer empty: choose another with `-o`"));
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(partial)? {
        names.push(entry?.file_name());
    }
    let rank = |name: &OsString| LAST.iter().position(|it| name == it).map_or(0, |it| it + 1);
    names.sort_by_key(rank);
    for (idx, name) in names.iter().enumerate() {
        if let Err(err) = replace(&partial.join(name), &dir.join(name)) {
            // They are removed with the hidden folder. What is still in it was not moved.
            for it in names.iter().take(idx + 1).filter(|it| !partial.join(it).exists()) {
                drop(fs::rename(dir.join(it), partial.join(it)));
            }
            return Err(err);
        }
    }
    Ok(())
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // Nothing, or an empty folder, is there if it was finished or never begun.
        drop(fs::remove_dir_all(&self.partial));
    }
}

/// Creates a hidden folder, and locks it.
fn create_locked(partial: &Path) -> io::Result<File> {
    loop {
        fs::create_dir_all(partial)?;
        let file = File::open(partial)?;
        // Some file systems have no locks.
        drop(file.lock());
        // Another process could take it for a leftover before it was locked.
        if partial.is_dir() {
            return Ok(file);
        }
    }
}

/// Removes the hidden folders of processes on this machine that have ended before they were finished. One that is
/// locked, or where there are no locks, may be that of a process on another machine: it stays.
fn remove_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .filter(|it| it.starts_with('.'))
            .and_then(|it| it.strip_suffix(PARTIAL)?.rsplit_once('.')?.1.parse::<u32>().ok());
        let is_folder = entry.file_type().is_ok_and(|it| it.is_dir());
        if owner.is_none_or(is_another_running) || !is_folder {
            continue;
        }
        // The lock is held until it is removed.
        if let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Returns whether another process of this number runs on this machine, where that can be known.
fn is_another_running(process: u32) -> bool {
    process != process::id() && Path::new("/proc").join(process.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        fs::{self, File},
        io,
        os::unix::fs::{PermissionsExt as _, symlink},
        path::Path,
        process::{self, Command},
    };

    use super::{NewFolder, move_up};

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let names = || fs::read_dir(dir.path()).unwrap().count();
        let path = dir.path().join("out");
        let folder = NewFolder::at(&path).unwrap();
        folder.write("a", b"1").unwrap();
        assert!(!path.exists());
        drop(folder);
        assert_eq!(names(), 0);

        fs::create_dir(&path).unwrap();
        let folder = NewFolder::at(&path).unwrap();
        folder.write("a", b"1").unwrap();
        folder.finish().unwrap();
        assert_eq!((names(), fs::read(path.join("a")).unwrap()), (1, b"1".to_vec()));
        for taken in [path.clone(), path.join("a"), dir.path().join("absent/b")] {
            assert!(NewFolder::at(&taken).is_err());
        }
    }

    #[test]
    fn an_empty_folder_or_a_link_to_one_is_filled() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("out"), dir.path().join("link"));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        symlink(&path, &link).unwrap();
        let names = || {
            let names = fs::read_dir(&path).unwrap().map(|it| it.unwrap().file_name());
            let mut names: Vec<_> = names.map(|it| it.into_string().unwrap()).collect();
            names.sort();
            names
        };

        // Not finished, and finished after another file has appeared.
        let folder = NewFolder::at(&link).unwrap();
        folder.write("a", b"1").unwrap();
        drop(folder);
        assert!(names().is_empty());
        let folder = NewFolder::at(&link).unwrap();
        folder.write("a", b"1").unwrap();
        fs::write(path.join("other"), b"2").unwrap();
        assert!(format!("{:#}", folder.finish().unwrap_err()).contains("no longer empty"));
        assert_eq!(names(), ["other"]);
        fs::remove_file(path.join("other")).unwrap();

        let folder = NewFolder::at(&link).unwrap();
        ["report.toml", "a"].iter().for_each(|it| folder.write(it, b"1").unwrap());
        folder.finish().unwrap();
        assert_eq!(names(), ["a", "report.toml"]);
        assert!(link.is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o750);

        let nothing = dir.path().join("nothing");
        symlink(dir.path().join("absent"), &nothing).unwrap();
        assert!(NewFolder::at(&nothing).is_err());
    }

    #[test]
    fn a_mount_point_is_filled_with_all_files_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::create_dir_all(path.join("lost+found")).unwrap();
        let folder = NewFolder::at(&path).unwrap();
        ["a", "b", "c"].iter().for_each(|it| folder.write(it, b"1").unwrap());
        let names = |dir: &Path| {
            let names = fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name());
            let mut names: Vec<_> = names.map(|it| it.into_string().unwrap()).collect();
            names.sort();
            names
        };
        // Before and after the second file is moved.
        for moves in [false, true] {
            let n = Cell::new(0);
            let fails = |from: &Path, to: &Path| -> io::Result<()> {
                n.set(n.get() + 1);
                if n.get() < 2 || moves {
                    fs::rename(from, to)?;
                }
                if n.get() < 2 { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
            };
            assert!(move_up(&folder.partial, &path, fails).is_err());
            assert_eq!(names(&folder.partial), ["a", "b", "c"]);
            assert_eq!(names(&path).len(), 2);
        }
        folder.finish().unwrap();
        assert_eq!(names(&path), ["a", "b", "c", "lost+found"]);
        assert!(NewFolder::at(&path).is_err());
    }

    #[test]
    fn leftovers_of_dead_processes_are_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        let names = || {
            let names = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name());
            let mut names: Vec<_> = names.map(|it| it.into_string().unwrap()).collect();
            names.sort();
            names
        };
        // An earlier process of the same number, as in a container, is dead too.
        let own = process::id();
        for name in [format!(".a.{dead}.partial"), format!(".b.c.{own}.partial")] {
            fs::create_dir(dir.path().join(&name)).unwrap();
            fs::write(dir.path().join(name).join("bundle.toml"), b"1").unwrap();
        }
        // Not of a process, not hidden, not a folder, and in use by a process on another machine.
        let kept = [".a.partial", ".a.x.partial", "a.1.partial"].map(|it| dir.path().join(it));
        kept.iter().for_each(|it| fs::create_dir(it).unwrap());
        fs::write(dir.path().join(format!(".f.{dead}.partial")), b"").unwrap();
        let busy = dir.path().join(format!(".g.{dead}.partial"));
        fs::create_dir(&busy).unwrap();
        let lock = File::open(&busy).unwrap();
        lock.lock().unwrap();

        let folder = NewFolder::at(&dir.path().join("b.c")).unwrap();
        folder.write("a", b"1").unwrap();
        // Its own is locked from when it is created.
        drop(NewFolder::at(&dir.path().join("other")).unwrap());
        let mut want = [".a.partial", ".a.x.partial", "a.1.partial"].map(str::to_owned).to_vec();
        want.extend([format!(".f.{dead}.partial"), format!(".g.{dead}.partial")]);
        want.push(format!(".b.c.{own}.partial"));
        want.sort();
        assert_eq!(names(), want);
        folder.finish().unwrap();
        let written = fs::read_dir(dir.path().join("b.c")).unwrap().count();
        assert_eq!(written, 1, "files of the leftover are in the folder");
    }
}
