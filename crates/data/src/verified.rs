//! A cache of the files that have been verified as intact, so that the next start is fast.
//!
//! A file is recorded by path, size and modification time, with a hash of its content, so that identical images
//! are found without reading them again; damaged files are not recorded. There is one
//! cache file per data set in the cache folder, with one line per verified file; it may be deleted at any
//! time. It is appended to every second while files are checked, so that a stopped or killed process
//! resumes from there. Several processes may check the same files at once, or different files of one
//! folder: each removes only lines of files that it has checked itself.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use augment::{DecodeError, verify};
use base::{
    files::{open_exclusive, remove_leftovers_of, write_atomic},
    rng::fnv1a,
};
use rayon::prelude::*;

use crate::{Content, Context};

/// How often verified files are saved to the cache.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Checks that images are intact; returns the name and the problem of each that is not.
///
/// - `root`: the folder that the images belong to, which has its own cache file.
pub fn check_images(
    root: &Path,
    images: &[(String, Content)],
    context: &Context<'_>,
) -> Vec<(String, String)> {
    let path = |(name, content): &(String, Content)| match content {
        Content::File(path) => Some((name.clone(), path.clone())),
        // Made by the program.
        Content::Memory(_) => None,
    };
    let (names, files): (Vec<String>, Vec<PathBuf>) = images.iter().filter_map(path).unzip();
    let checked = check_files(root, &files, context);
    names.into_iter().zip(checked).filter_map(|(name, it)| Some((name, it.err()?))).collect()
}

/// Checks that each file is an intact image; returns a hash of its content, or its problem.
pub(crate) fn check_files(
    root: &Path,
    files: &[PathBuf],
    context: &Context<'_>,
) -> Vec<Result<u64, String>> {
    let cache = context.cache.map(|dir| Cache::open(dir, root, context.max_pixels));
    let n_done = AtomicUsize::new(0);
    let check = |path: &PathBuf| {
        let checked = match &cache {
            Some(cache) => cache.check(path, || check_file(path, context.max_pixels)),
            None => check_file(path, context.max_pixels),
        };
        (context.progress)(n_done.fetch_add(1, Ordering::Relaxed) + 1, files.len());
        checked
    };
    let checked = files.par_iter().map(check).collect();
    if let Some(cache) = cache {
        cache.finish();
    }
    checked
}

/// The problem of a file that may not be read.
const DENIED: &str = "permission denied";

/// Returns the problem of a file that cannot be read.
pub(crate) fn problem_of(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::PermissionDenied => DENIED.to_owned(),
        _ => err.to_string(),
    }
}

/// Returns the remedy of a problem of [`check_images`].
///
/// - `usual`: that of an image that is damaged.
pub fn remedy<'a>(problem: &str, usual: &'a str) -> &'a str {
    if problem == DENIED { "check its permissions" } else { usual }
}

fn check_file(path: &Path, max_pixels: u64) -> Result<u64, String> {
    let bytes = fs::read(path).map_err(|err| problem_of(&err))?;
    verify(&bytes, max_pixels).map_err(|err: DecodeError| err.to_string())?;
    Ok(fnv1a(&bytes))
}

/// Returns a file's version: its size and modification time.
fn version(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    let changed = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    Some(format!("{}\t{changed}", meta.len()))
}

/// The cache file. A line is `<size>\t<nanoseconds>\t<hash>\t<path>`.
struct Cache {
    path: PathBuf,
    /// Its content when it was opened: the version and the hash of each path.
    known: HashMap<String, (String, u64)>,
    unsaved: Mutex<Unsaved>,
    /// Outdated lines, to be removed.
    outdated: Mutex<HashSet<String>>,
}

/// Lines that have not been written to the file yet.
struct Unsaved {
    lines: String,
    since: Instant,
}

impl Cache {
    fn open(dir: &Path, root: &Path, max_pixels: u64) -> Cache {
        let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        // The last number is the version of the decoders: files verified by other versions are checked
        // again.
        let what = format!("{}\t{max_pixels}\t3", root.display());
        let path = dir.join(format!("verified-{:016x}.tsv", fnv1a(what.as_bytes())));
        // If the cache cannot be read, all files are checked again.
        let text = fs::read(&path).unwrap_or_default();
        let parts = |line: &str| {
            let (size, rest) = line.split_once('\t')?;
            let (changed, rest) = rest.split_once('\t')?;
            let (hash, path) = rest.split_once('\t')?;
            let hash = u64::from_str_radix(hash, 16).ok()?;
            Some((path.to_owned(), (format!("{size}\t{changed}"), hash)))
        };
        let known = lines(&text).filter_map(parts).collect();
        let unsaved = Mutex::new(Unsaved { lines: String::new(), since: Instant::now() });
        Cache { path, known, unsaved, outdated: Mutex::default() }
    }

    /// Checks a file, unless its current version is recorded as intact.
    fn check(
        &self,
        path: &Path,
        check: impl FnOnce() -> Result<u64, String>,
    ) -> Result<u64, String> {
        // Before reading: a file that changes while it is read is checked again next time.
        let version = version(path);
        // Escaped, so that each name fits on one line and names that are not UTF-8 stay distinct.
        let path = format!("{path:?}");
        if let Some((known, hash)) = self.known.get(&path) {
            if Some(known) == version.as_ref() {
                return Ok(*hash);
            }
            let mut outdated = self.outdated.lock().unwrap_or_else(PoisonError::into_inner);
            outdated.insert(format!("{known}\t{hash:016x}\t{path}"));
        }
        let checked = check();
        if let (Ok(hash), Some(version)) = (&checked, version) {
            self.keep(&format!("{version}\t{hash:016x}\t{path}\n"));
        }
        checked
    }

    /// Records a line.
    fn keep(&self, line: &str) {
        let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        unsaved.lines.push_str(line);
        if unsaved.since.elapsed() >= SAVE_EVERY {
            unsaved.save(&self.path);
        }
    }

    /// Saves the remaining lines, and removes outdated ones.
    fn finish(self) {
        self.unsaved.into_inner().unwrap_or_else(PoisonError::into_inner).save(&self.path);
        let outdated = self.outdated.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !outdated.is_empty() {
            let remove = || -> io::Result<()> {
                let mut file = open_exclusive(&self.path)?;
                let mut text = Vec::new();
                file.read_to_end(&mut text)?;
                let left = lines(&text).filter(|it| !outdated.contains(*it));
                let left: String = left.flat_map(|it| [it, "\n"]).collect();
                write_atomic(&self.path, left.as_bytes())
            };
            // On failure, they are removed another time.
            drop(remove());
        }
        // Temporary files of a process that was killed while rewriting the cache.
        remove_leftovers_of(&self.path);
    }
}

impl Unsaved {
    /// Appends the lines. Errors are ignored: a cache that cannot be written only costs time.
    fn save(&mut self, path: &Path) {
        let lines = std::mem::take(&mut self.lines);
        self.since = Instant::now();
        if !lines.is_empty() {
            drop(append(path, lines.as_bytes()));
        }
    }
}

/// Appends complete lines to a file. Its last line may be incomplete, from a killed process or a full disk,
/// and is removed.
fn append(path: &Path, added: &[u8]) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mut file = open_exclusive(path)?;
    if !ends_with_a_line(&mut file)? {
        let mut text = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut text)?;
        file.set_len(whole_lines(&text).len() as u64)?;
    }
    file.write_all(added)
}

fn ends_with_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Returns a text without an incomplete last line.
fn whole_lines(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
    &text[..end]
}

/// Iterates over the complete lines of a text.
fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    whole_lines(text)
        .split(|it| *it == b'\n')
        .filter_map(|it| str::from_utf8(it).ok())
        .filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        fs, io,
        panic::{AssertUnwindSafe, catch_unwind},
        path::{Path, PathBuf},
        sync::atomic::{AtomicUsize, Ordering},
        thread,
        time::Duration,
    };

    use super::{append, problem_of, remedy};
    use crate::Context;

    /// The files that are not intact.
    fn check_files(root: &Path, files: &[PathBuf], context: &Context<'_>) -> Vec<PathBuf> {
        let checked = super::check_files(root, files, context);
        let damaged = files.iter().zip(checked).filter(|it| it.1.is_err());
        damaged.map(|it| it.0.clone()).collect()
    }

    #[test]
    fn a_file_that_may_not_be_read_is_not_to_be_replaced() {
        let denied = problem_of(&io::ErrorKind::PermissionDenied.into());
        assert_eq!(remedy(&denied, "replace the file"), "check its permissions");
        let other = problem_of(&io::ErrorKind::NotFound.into());
        assert_eq!(remedy(&other, "replace the file"), "replace the file");
    }

    #[test]
    fn an_intact_file_is_cached_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, path) = (dir.path().join("cache"), dir.path().join("a.png"));
        image::RgbImage::new(4, 4).save(&path).unwrap();
        let files = [path.clone()];
        let problems = || {
            let context = Context { cache: Some(&cache), max_pixels: 100, progress: &|_, _| {} };
            check_files(dir.path(), &files, &context)
        };
        assert_eq!(problems().len(), 0);
        let cached: Vec<PathBuf> =
            fs::read_dir(&cache).unwrap().map(|it| it.unwrap().path()).collect();
        assert!(fs::read_to_string(&cached[0]).unwrap().contains("a.png"));

        fs::write(&path, b"not an image any more").unwrap();
        assert_eq!(problems().len(), 1);
        assert!(!fs::read_to_string(&cached[0]).unwrap().contains("a.png"));
    }

    #[test]
    fn identical_content_has_the_same_hash_with_and_without_a_cache() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let files = images(dir.path(), 2);
        image::RgbImage::from_pixel(4, 4, image::Rgb([1, 2, 3])).save(&files[1]).unwrap();
        let copy = dir.path().join("copy.png");
        fs::copy(&files[0], &copy).unwrap();
        let files = [files[0].clone(), files[1].clone(), copy];
        let hashes = |cache| {
            let context = Context { cache, max_pixels: 100, progress: &|_, _| {} };
            super::check_files(dir.path(), &files, &context)
        };
        let first = hashes(None);
        assert!(first[0] == first[2] && first[0] != first[1] && first[0].is_ok());
        assert_eq!(hashes(Some(&cache)), first);
        assert_eq!(hashes(Some(&cache)), first, "of the cache");
    }

    #[test]
    fn cached_files_are_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, path) = (dir.path().join("cache"), dir.path().join("a.png"));
        image::RgbImage::new(4, 4).save(&path).unwrap();
        let files = [path.clone()];
        let context = Context { cache: Some(&cache), max_pixels: 100, progress: &|_, _| {} };
        assert_eq!(check_files(dir.path(), &files, &context).len(), 0);
        // Same size and time, other bytes: accepted only because of the cache.
        let (bytes, time) =
            (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
        fs::write(&path, vec![0; bytes.len()]).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(check_files(dir.path(), &files, &context).len(), 0);
    }

    /// Small images, all with the same bytes.
    fn images(dir: &Path, n: usize) -> Vec<PathBuf> {
        let files: Vec<PathBuf> = (0..n).map(|it| dir.join(format!("{it}.png"))).collect();
        files.iter().for_each(|it| image::RgbImage::new(4, 4).save(it).unwrap());
        files
    }

    /// Replaces a file's bytes, but not its size and time: accepted only because of the cache.
    fn damage(path: &Path) {
        let meta = fs::metadata(path).unwrap();
        fs::write(path, vec![0; meta.len() as usize]).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(meta.modified().unwrap()).unwrap();
    }

    #[test]
    fn a_killed_check_is_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let files = images(dir.path(), 10);
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let check = |progress: &(dyn Fn(usize, usize) + Sync)| {
            let context = Context { cache: Some(&cache), max_pixels: 100, progress };
            one_thread.install(|| check_files(dir.path(), &files, &context))
        };
        let die = |done: usize, _: usize| {
            if done == 5 {
                thread::sleep(Duration::from_millis(1100));
            }
            assert!(done < 8, "killed");
        };
        assert!(catch_unwind(AssertUnwindSafe(|| check(&die))).is_err());
        let entries: Vec<_> = fs::read_dir(&cache).into_iter().flatten().collect();
        assert_eq!(entries.len(), 1, "nothing has been saved");
        let file = entries[0].as_ref().unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let saved = |it: &&PathBuf| text.contains(&format!("{it:?}\n"));
        let (known, unknown): (Vec<_>, Vec<_>) = files.iter().partition(saved);
        assert_eq!(known.len(), 6, "{text}");
        // Saved files are not read again, all others are.
        [known[0], known[5], unknown[0]].iter().for_each(|it| damage(it));
        let problems = check(&|_, _| {});
        assert_eq!(problems, [unknown[0].clone()]);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!((text.lines().count(), text.ends_with('\n')), (9, true), "{text}");
    }

    #[test]
    fn an_incomplete_line_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, files) = (dir.path().join("cache"), images(dir.path(), 3));
        let context = Context { cache: Some(&cache), max_pixels: 100, progress: &|_, _| {} };
        assert_eq!(check_files(dir.path(), &files, &context).len(), 0);
        let file = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        // Only the newline is missing, but the line may be the beginning of a longer name.
        let (kept, torn) = text.trim_end().rsplit_once('\n').unwrap();
        fs::write(&file, format!("{kept}\n{torn}")).unwrap();
        let lost = files.iter().find(|it| torn.contains(&format!("{it:?}"))).unwrap();
        damage(lost);
        assert_eq!(check_files(dir.path(), &files, &context).len(), 1);
        append(&file, b"another\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{kept}\nanother\n"));
    }

    #[test]
    fn files_that_are_not_checked_stay_cached() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, files) = (dir.path().join("cache"), images(dir.path(), 3));
        let context = Context { cache: Some(&cache), max_pixels: 100, progress: &|_, _| {} };
        assert_eq!(check_files(dir.path(), &files, &context).len(), 0);
        // A part of the data set, in which one file has changed.
        image::RgbImage::new(5, 5).save(&files[0]).unwrap();
        assert_eq!(check_files(dir.path(), &files[..2], &context).len(), 0);
        damage(&files[2]);
        assert_eq!(check_files(dir.path(), &files, &context).len(), 0, "the third is read again");
    }

    #[test]
    fn concurrent_checks_of_the_same_files_agree() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        fs::create_dir(&cache).unwrap();
        let files = images(dir.path(), 200);
        let n_read = AtomicUsize::new(0);
        thread::scope(|scope| {
            // Each shares 25 files with the next.
            for part in 0..4 {
                let files = (0..75).map(|it| files[(50 * part + it) % 200].clone());
                let files: Vec<PathBuf> = files.collect();
                let (cache, root, n_read) = (&cache, dir.path(), &n_read);
                scope.spawn(move || {
                    let progress = |_, _| {
                        n_read.fetch_add(1, Ordering::Relaxed);
                    };
                    let context =
                        Context { cache: Some(cache), max_pixels: 100, progress: &progress };
                    assert_eq!(check_files(root, &files, &context).len(), 0);
                });
            }
        });
        assert_eq!(n_read.into_inner(), 300);
        let file = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        assert!(files.iter().all(|it| text.contains(&format!("{it:?}\n"))));
        let lines: HashSet<&str> = text.lines().collect();
        assert_eq!(lines.len(), 200, "complete lines, and nothing else");
    }
}
