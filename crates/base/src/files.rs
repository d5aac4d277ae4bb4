//! Atomic file writes: a file is written completely or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Writes a temporary file in the same folder, syncs it to disk, and renames it to `path`.
///
/// A reader of `path` gets the old content or the new content, never a part, even if the process is
/// killed. The temporary file is removed on failure.
///
/// Symbolic links are followed. A path that is not a regular file, such as a pipe, is written to directly;
/// an open file descriptor, such as `/dev/stdout`, is appended to.
///
/// # Errors
/// Any I/O error: no space, no permission, no such folder.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// Like [`write_atomic`], with the content written by `write`.
///
/// # Errors
/// Those of `write`, and any I/O error.
pub fn write_atomic_with<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    if descriptor(path).is_some() {
        return write(&mut File::options().append(true).open(path)?);
    }
    if let Ok(there) = fs::metadata(path) {
        if !there.is_file() && !there.is_dir() {
            return write(&mut File::options().write(true).open(path)?);
        }
        if path.is_symlink() {
            return write_atomic_with(&fs::canonicalize(path)?, write);
        }
    }
    let (temporary, mut file) = Temporary::create(path)?;
    let replace = || -> Result<(), E> {
        write(&mut file)?;
        file.sync_all()?;
        Ok(self::replace(&temporary.0, path)?)
    };
    replace().inspect_err(|_| drop(fs::remove_file(&temporary.0)))
}

/// Like [`write_atomic`], but a file that is there is never replaced, even if it appears while this one is written.
///
/// The temporary file is renamed with `RENAME_NOREPLACE`; where the file system does not have that, such as NFS, it gets
/// its name by a hard link; where there are no links either, an empty file takes the name first. Each of the three
/// fails if the name is taken, so of several programs that write the same file one succeeds. Only with the last does a
/// reader find an empty file for a moment, which stays if the process is killed in that moment.
///
/// A pipe, a device or an open file descriptor is written to.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists), and any other I/O error.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let is_special = fs::metadata(path).is_ok_and(|it| !it.is_file() && !it.is_dir());
    if is_special || descriptor(path).is_some() {
        return write_atomic(path, bytes);
    }
    write_new_by(path, bytes, &[rename_new, link_new, rename_claimed])
}

/// A way to give a file its name unless the name is taken.
type Publish = fn(&Path, &Path) -> io::Result<()>;

/// - `ways`: those to try, in this order.
fn write_new_by(path: &Path, bytes: &[u8], ways: &[Publish]) -> io::Result<()> {
    let (temporary, mut file) = Temporary::create(path)?;
    let mut publish = || -> io::Result<()> {
        file.write_all(bytes)?;
        file.sync_all()?;
        let mut failed = io::Error::from(io::ErrorKind::Unsupported);
        for way in ways {
            match way(&temporary.0, path) {
                Ok(()) => return sync_folder_of(path),
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => return Err(err),
                // The file system may not have this way.
                Err(err) => failed = err,
            }
        }
        Err(failed)
    };
    publish().inspect_err(|_| drop(fs::remove_file(&temporary.0)))
}

fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    // A temporary name that is left is not written to: the file has two.
    drop(fs::remove_file(from));
    Ok(())
}

fn rename_claimed(from: &Path, to: &Path) -> io::Result<()> {
    File::create_new(to)?;
    fs::rename(from, to).inspect_err(|_| drop(fs::remove_file(to)))
}

/// Renames a file, replacing `to`, and syncs the rename to disk.
///
/// # Errors
/// Any I/O error.
pub fn replace(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder_of(to)
}

/// Syncs the folder of a file: only then is a new name on disk.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

/// Returns the file descriptor that a path refers to: 1 for `/dev/stdout`, whatever that is connected to;
/// 7 for `/dev/fd/7`.
///
/// The target of such a path must not be replaced by another file: the process that opened it would still
/// hold the old one.
pub fn descriptor(path: &Path) -> Option<u32> {
    /// The maximum length of a chain of links, as the system follows it.
    const LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let dir = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let place = fs::canonicalize(dir).ok()?;
        let is_open_files =
            place == Path::new("/dev/fd") || place.starts_with("/proc") && place.ends_with("fd");
        if is_open_files {
            return path.file_name()?.to_str()?.parse().ok();
        }
        path = dir.join(fs::read_link(&path).ok()?);
    }
    None
}

/// The temporary file of a write in progress: `.<name>.<n>.tmp`.
///
/// The writer holds a lock on it, which the system releases when the process ends for any reason. A
/// temporary file that is not locked is therefore stale, and the next write of the same file reuses it.
struct Temporary(PathBuf);

impl Temporary {
    /// Creates the first temporary file that is not in use, empty and locked.
    fn create(path: &Path) -> io::Result<(Temporary, File)> {
        for n in 0.. {
            let temporary = Temporary::nth(path, n);
            if let Some(file) = temporary.take()? {
                return Ok((temporary, file));
            }
        }
        unreachable!("the range is unbounded")
    }

    fn nth(path: &Path, n: usize) -> Temporary {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{n}.tmp"));
        Temporary(path.with_file_name(name))
    }

    /// Creates it, or takes over a stale one; `None` if it is in use.
    fn take(&self) -> io::Result<Option<File>> {
        let mut options = File::options();
        options.write(true);
        let file = match options.clone().create_new(true).open(&self.0) {
            Ok(file) => match file.try_lock() {
                // The file system has no locks.
                Err(TryLockError::Error(_)) => return Ok(Some(file)),
                Ok(()) => file,
                // Another process has taken it over as stale.
                Err(TryLockError::WouldBlock) => return Ok(None),
            },
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => match self.open_stale() {
                Some(file) => file,
                None => return Ok(None),
            },
            Err(err) => return Err(err),
        };
        // It could be renamed or removed before it was locked.
        if !is_same(&file, &self.0) {
            return Ok(None);
        }
        if has_two_names(&file) {
            // A process was killed while it published it: the other name is the finished file.
            drop(fs::remove_file(&self.0));
            return Ok(None);
        }
        file.set_len(0)?;
        Ok(Some(file))
    }

    /// The file, locked, if it exists and is not in use.
    fn open_stale(&self) -> Option<File> {
        let file = File::options().write(true).open(&self.0).ok()?;
        (file.try_lock().is_ok() && is_same(&file, &self.0)).then_some(file)
    }

    /// Removes it if it is stale.
    fn remove(&self) {
        // The lock is held until the file is removed.
        if let Some(_file) = self.open_stale() {
            drop(fs::remove_file(&self.0));
        }
    }
}

/// Whether an open file is still the one at `path`.
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let of = |it: fs::Metadata| (it.dev(), it.ino());
    let found = fs::symlink_metadata(path).map(of);
    found.is_ok_and(|it| file.metadata().map(of).is_ok_and(|ours| ours == it))
}

fn has_two_names(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata().is_ok_and(|it| it.nlink() > 1)
}

/// Opens a file for reading and appending, creating it if it does not exist, with an exclusive lock: waits
/// until no other caller holds it.
///
/// It may be replaced by [`write_atomic`] while it is open: waiting callers then open the new one.
///
/// # Errors
/// Any I/O error: no permission, no such folder.
pub fn open_exclusive(path: &Path) -> io::Result<File> {
    loop {
        let file = File::options().read(true).append(true).create(true).open(path)?;
        // If the file system has no locks, continue without one.
        drop(file.lock());
        if is_same(&file, &fs::canonicalize(path)?) {
            return Ok(file);
        }
    }
}

/// Removes stale temporary files of killed processes in a folder, recursively. Temporary files in use, and
/// those that cannot be removed, stay.
pub fn remove_leftovers(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            remove_leftovers(&entry.path());
        } else if kind.is_file() && name.starts_with('.') && name.ends_with(".tmp") {
            Temporary(entry.path()).remove();
        }
    }
}

/// Removes the stale temporary files of one path, without listing its folder.
pub fn remove_leftovers_of(path: &Path) {
    let all = (0..).map(|n| Temporary::nth(path, n));
    all.take_while(|it| it.0.exists()).for_each(|it| it.remove());
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io,
        path::Path,
        thread,
    };

    use super::{
        Publish, descriptor, link_new, remove_leftovers, remove_leftovers_of, rename_claimed,
        rename_new, write_atomic, write_new, write_new_by,
    };

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name());
        let mut names: Vec<_> = names.map(|it| it.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        for name in [".a.txt.17.0.tmp", "a.txt", ".hidden", "b.tmp", "below/.c.0.tmp"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        // In use by another process.
        let busy = File::create(dir.path().join("below/.d.0.tmp")).unwrap();
        busy.lock().unwrap();
        remove_leftovers(dir.path());
        assert_eq!(names(dir.path()), [".hidden", "a.txt", "b.tmp", "below"]);
        assert_eq!(names(&dir.path().join("below")), [".d.0.tmp"]);
    }

    #[test]
    fn leftovers_of_one_file_are_removed_except_those_in_use() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".a.0.tmp", ".a.1.tmp", ".a.2.tmp", ".b.0.tmp"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        let busy = File::options().write(true).open(dir.path().join(".a.1.tmp")).unwrap();
        busy.lock().unwrap();
        remove_leftovers_of(&dir.path().join("a"));
        assert_eq!(names(dir.path()), [".a.1.tmp", ".b.0.tmp"]);
    }

    #[test]
    fn a_stale_temporary_file_is_reused_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        // Longer than the new content.
        fs::write(dir.path().join(".a.txt.0.tmp"), vec![b'x'; 100]).unwrap();
        write_atomic(&path, b"one").unwrap();
        assert_eq!(names(dir.path()), ["a.txt"]);
        let busy = File::create(dir.path().join(".a.txt.0.tmp")).unwrap();
        busy.lock().unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(dir.path()), [".a.txt.0.tmp", "a.txt"]);
        drop(busy);
        write_atomic(&path, b"three").unwrap();
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn concurrent_writers_leave_one_complete_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        thread::scope(|scope| {
            for writer in 0..8_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        write_atomic(path, &vec![writer; 5000 + usize::from(writer)]).unwrap();
                    }
                });
            }
        });
        let found = fs::read(&path).unwrap();
        assert_eq!(found.len(), 5000 + usize::from(found[0]));
        assert!(found.iter().all(|it| *it == found[0]));
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn the_old_content_is_replaced_and_no_temporary_file_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_followed_and_a_device_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("a.txt"), dir.path().join("link"));
        fs::write(&path, b"one").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_atomic(&link, b"two").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        write_atomic("/dev/null".as_ref(), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_open_file_is_appended_to_and_not_replaced() {
        use std::os::fd::AsRawFd as _;
        assert_eq!(descriptor("/dev/stdout".as_ref()), Some(1));
        assert_eq!(descriptor("/dev/fd/7".as_ref()), Some(7));
        assert_eq!(descriptor("/dev/null".as_ref()), None);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        fs::write(&path, b"one,").unwrap();
        assert_eq!(descriptor(&path), None);
        let open = fs::File::options().append(true).open(&path).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(format!("/proc/self/fd/{}", open.as_raw_fd()), &link).unwrap();
        assert!(descriptor(&link).is_some());
        write_atomic(&link, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one,two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_is_there_or_appears_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_new(&path, b"one").unwrap();
        assert_eq!(write_new(&path, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write_new("/dev/null".as_ref(), b"gone").unwrap();

        // Whichever of the ways the file system has.
        let none: Publish = |_, _| Err(io::ErrorKind::Unsupported.into());
        for (idx, way) in [rename_new, link_new, rename_claimed].into_iter().enumerate() {
            let name = format!("{idx}.txt");
            write_new_by(&dir.path().join(&name), b"one", &[none, way]).unwrap();
            let err = write_new_by(&path, b"two", &[none, way]).unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::AlreadyExists, "{name}");
            assert_eq!(fs::read(dir.path().join(&name)).unwrap(), b"one");
        }
        assert_eq!(fs::read(&path).unwrap(), b"one");
        let other = dir.path().join("b.txt");
        let err = write_new_by(&other, b"one", &[none]).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::Unsupported);
        assert_eq!(names(dir.path()), ["0.txt", "1.txt", "2.txt", "a.txt"]);
    }

    #[test]
    fn of_several_writers_of_a_new_file_one_succeeds() {
        for way in [rename_new, link_new, rename_claimed] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.txt");
            let written: Vec<bool> = thread::scope(|scope| {
                let write = |it: u8| {
                    let path = &path;
                    scope.spawn(move || write_new_by(path, &[it; 5000], &[way]).is_ok())
                };
                let writers: Vec<_> = (0..8).map(write).collect();
                writers.into_iter().map(|it| it.join().unwrap()).collect()
            });
            let successful: Vec<usize> = (0..8).filter(|it| written[*it]).collect();
            let [one] = successful[..] else { panic!("{successful:?}") };
            assert_eq!(fs::read(&path).unwrap(), [one as u8; 5000]);
            assert_eq!(names(dir.path()), ["a.txt"]);
        }
    }

    #[test]
    fn a_finished_file_whose_temporary_name_is_left_is_not_reused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        fs::write(&path, b"one").unwrap();
        let reader = dir.path().join("reader");
        fs::hard_link(&path, dir.path().join(".a.txt.0.tmp")).unwrap();
        fs::hard_link(&path, &reader).unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read(&reader).unwrap(), b"one");
        assert_eq!(names(dir.path()), ["a.txt", "reader"]);
    }

    #[test]
    fn a_failure_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"kept").unwrap();
        // A folder cannot be replaced by a file.
        assert!(write_atomic(&path, b"new").is_err());
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_atomic(&dir.path().join("absent/a.txt"), b"new").is_err());
    }
}
