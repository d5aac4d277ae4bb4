//! Files are written whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Writes a file under a temporary name beside it, makes sure that it is on disk, and renames it.
///
/// Whoever opens `path` finds the old content or the new one, never a part, whenever the process
/// ends. The temporary file is removed when anything fails.
///
/// A link is followed. What is no file on a disk, such as a pipe, is just written to; a file that a
/// program has open, such as `/dev/stdout`, is added to.
///
/// # Errors
/// What the system says: no space, no right, no folder.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole_with(path, |file| file.write_all(bytes))
}

/// As [`write_whole`], of what `write` writes.
///
/// # Errors
/// Those of `write`, and what the system says.
pub fn write_whole_with<E: From<io::Error>>(
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
            return write_whole_with(&fs::canonicalize(path)?, write);
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

/// Gives a file another's name, and makes sure that this is on disk.
///
/// # Errors
/// What the system says; then nothing has changed.
pub fn replace(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    // The new name itself is on disk only with its folder.
    let dir = to.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

/// The number of the open file that a path is another name of: of `/dev/stdout` 1, whatever that is
/// connected with; of `/dev/fd/7` 7.
///
/// What such a path leads to must not be replaced by another file: whoever opened it would still have
/// the old one.
pub fn descriptor(path: &Path) -> Option<u32> {
    /// A link to a link to a link: no more than the system follows.
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

/// What a file is called while it is written: `.<name>.<n>.tmp`.
///
/// Whoever writes it holds a lock on it, which the system releases when the process ends, however it
/// does. So one that is not locked was left behind, and is written over by the next who writes the same file.
struct Temporary(PathBuf);

impl Temporary {
    /// The first that nobody writes to, empty and locked.
    fn create(path: &Path) -> io::Result<(Temporary, File)> {
        for n in 0.. {
            let temporary = Temporary::nth(path, n);
            if let Some(file) = temporary.take()? {
                return Ok((temporary, file));
            }
        }
        unreachable!("there are numbers enough")
    }

    fn nth(path: &Path, n: usize) -> Temporary {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{n}.tmp"));
        Temporary(path.with_file_name(name))
    }

    /// Makes it, or takes one over that was left behind; none where somebody writes to it.
    fn take(&self) -> io::Result<Option<File>> {
        let mut options = File::options();
        options.write(true);
        let file = match options.clone().create_new(true).open(&self.0) {
            Ok(file) => match file.try_lock() {
                // A file system without locks.
                Err(TryLockError::Error(_)) => return Ok(Some(file)),
                Ok(()) => file,
                // Taken for one that was left behind.
                Err(TryLockError::WouldBlock) => return Ok(None),
            },
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => match self.left_behind() {
                Some(file) => file,
                None => return Ok(None),
            },
            Err(err) => return Err(err),
        };
        // Until it was locked, it could be renamed or removed.
        if !is_same(&file, &self.0) {
            return Ok(None);
        }
        file.set_len(0)?;
        Ok(Some(file))
    }

    /// The file, locked, if it is there and nobody writes to it.
    fn left_behind(&self) -> Option<File> {
        let file = File::options().write(true).open(&self.0).ok()?;
        (file.try_lock().is_ok() && is_same(&file, &self.0)).then_some(file)
    }

    /// Removes it if it was left behind.
    fn remove(&self) {
        // The lock is held until it is gone.
        if let Some(_file) = self.left_behind() {
            drop(fs::remove_file(&self.0));
        }
    }
}

/// Whether an open file is still the one of that name.
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let of = |it: fs::Metadata| (it.dev(), it.ino());
    let found = fs::symlink_metadata(path).map(of);
    found.is_ok_and(|it| file.metadata().map(of).is_ok_and(|ours| ours == it))
}

/// Opens a file to read and to append to, made where there is none, and waits until nobody else has it
/// open like this.
///
/// It may be replaced by [`write_whole`] while it is open: those who wait then open the new one.
///
/// # Errors
/// What the system says: no right, no folder.
pub fn open_alone(path: &Path) -> io::Result<File> {
    loop {
        let file = File::options().read(true).append(true).create(true).open(path)?;
        // A file system without locks is written to without.
        drop(file.lock());
        if is_same(&file, &fs::canonicalize(path)?) {
            return Ok(file);
        }
    }
}

/// Removes what killed programs left behind in a folder and those below it: temporary files that became
/// nothing. Those that a program is writing stay, and so does what cannot be removed.
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

/// Removes what a killed program left of one file that it was writing, without looking at the others of its
/// folder.
pub fn remove_leftovers_of(path: &Path) {
    let all = (0..).map(|n| Temporary::nth(path, n));
    all.take_while(|it| it.0.exists()).for_each(|it| it.remove());
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        path::Path,
        thread,
    };

    use super::{descriptor, remove_leftovers, remove_leftovers_of, write_whole};

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
        // Another program is writing this one.
        let busy = File::create(dir.path().join("below/.d.0.tmp")).unwrap();
        busy.lock().unwrap();
        remove_leftovers(dir.path());
        assert_eq!(names(dir.path()), [".hidden", "a.txt", "b.tmp", "below"]);
        assert_eq!(names(&dir.path().join("below")), [".d.0.tmp"]);
    }

    #[test]
    fn leftovers_of_one_file_are_removed_whoever_else_writes_it() {
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
    fn what_was_left_of_a_file_is_written_over_and_what_is_being_written_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        // Longer than what comes.
        fs::write(dir.path().join(".a.txt.0.tmp"), vec![b'x'; 100]).unwrap();
        write_whole(&path, b"one").unwrap();
        assert_eq!(names(dir.path()), ["a.txt"]);
        let busy = File::create(dir.path().join(".a.txt.0.tmp")).unwrap();
        busy.lock().unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(dir.path()), [".a.txt.0.tmp", "a.txt"]);
        drop(busy);
        write_whole(&path, b"three").unwrap();
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn many_who_write_the_same_file_at_once_leave_one_of_theirs_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        thread::scope(|scope| {
            for who in 0..8_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        write_whole(path, &vec![who; 5000 + usize::from(who)]).unwrap();
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
    fn the_old_content_is_replaced_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_followed_and_a_device_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("a.txt"), dir.path().join("link"));
        fs::write(&path, b"one").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_whole(&link, b"two").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        write_whole("/dev/null".as_ref(), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_open_file_is_added_to_and_not_replaced() {
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
        write_whole(&link, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one,two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_failure_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"kept").unwrap();
        // A folder cannot be replaced by a file.
        assert!(write_whole(&path, b"new").is_err());
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_whole(&dir.path().join("absent/a.txt"), b"new").is_err());
    }
}
