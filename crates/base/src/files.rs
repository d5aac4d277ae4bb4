//! Files are written whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Writes a file under a temporary name beside it, makes sure that it is on disk, and renames it.
///
/// Whoever opens `path` finds the old content or the new one, never a part, whenever the process
/// ends. The temporary file is removed when anything fails.
///
/// A link is followed. What is no file on a disk, such as `/dev/stdout`, is just written to.
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
pub fn write_whole_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    if let Ok(there) = fs::metadata(path) {
        if !there.is_file() && !there.is_dir() {
            return write(&mut File::options().write(true).open(path)?);
        }
        if path.is_symlink() {
            return write_whole_with(&fs::canonicalize(path)?, write);
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Two threads may write the same file at once.
    static N_WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let nth = N_WRITTEN.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_file_name(format!(".{name}.{}.{nth}.tmp", std::process::id()));
    let replace = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The new name itself is on disk only with its folder.
        let dir = path.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
    };
    replace().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Removes what a killed program left behind in a folder: temporary files that became nothing.
///
/// Only for a folder that nobody else writes to. What cannot be removed stays.
pub fn remove_leftovers(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") {
            drop(fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{remove_leftovers, write_whole};

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".a.txt.17.0.tmp", "a.txt", ".hidden", "b.tmp"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        remove_leftovers(dir.path());
        let left = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, [".hidden", "a.txt", "b.tmp"]);
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
