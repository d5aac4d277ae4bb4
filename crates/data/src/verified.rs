//! Which files have been found whole before, so that a second start is quick.
//!
//! A file is remembered by path, size and time of change; a file that was found damaged is not
//! remembered. The memory is one file for each data set in the cache folder, and may be deleted at
//! any time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::UNIX_EPOCH,
};

use augment::{DecodeError, verify};
use base::{
    files::{remove_leftovers_of, write_whole},
    rng::fnv1a,
};
use rayon::prelude::*;

use crate::{Content, Context};

/// Checks that pictures are whole, and says what is wrong with those that are not, by name.
///
/// - `root`: the folder that they belong to; what is remembered is kept apart by it.
pub fn check_pictures(
    root: &Path,
    pictures: &[(String, Content)],
    context: &Context<'_>,
) -> Vec<(String, String)> {
    let path = |(_, content): &(String, Content)| match content {
        Content::File(path) => path.clone(),
        Content::Memory(_) => unreachable!("pictures in memory come from this program"),
    };
    let files: Vec<PathBuf> = pictures.iter().map(path).collect();
    let names: BTreeMap<&PathBuf, &String> =
        files.iter().zip(pictures.iter().map(|it| &it.0)).collect();
    let problems = check_files(root, &files, context);
    problems.into_iter().map(|(path, problem)| (names[&path].clone(), problem)).collect()
}

/// Checks that each file is a whole picture, and says what is wrong with those that are not.
pub(crate) fn check_files(
    root: &Path,
    files: &[PathBuf],
    context: &Context<'_>,
) -> Vec<(PathBuf, String)> {
    let memory = context.cache.map(|dir| Memory::of(dir, root, context.max_pixels));
    let known = memory.as_ref().map(Memory::load).unwrap_or_default();
    let n_done = AtomicUsize::new(0);
    let check = |path: &PathBuf| {
        let key = key(path);
        let problem = match key.as_ref().is_some_and(|it| known.contains(it)) {
            true => None,
            false => problem(path, context.max_pixels),
        };
        (context.progress)(n_done.fetch_add(1, Ordering::Relaxed) + 1, files.len());
        (problem, key)
    };
    let checked: Vec<(Option<String>, Option<String>)> = files.par_iter().map(check).collect();
    if let Some(memory) = memory {
        let whole = checked.iter().filter(|(problem, _)| problem.is_none());
        memory.save(whole.filter_map(|(_, key)| key.clone()).collect(), &known);
    }
    let problems = files.iter().zip(checked);
    problems.filter_map(|(path, (problem, _))| Some((path.clone(), problem?))).collect()
}

fn problem(path: &Path, max_pixels: u64) -> Option<String> {
    let bytes = match fs::read(path) {
        Ok(it) => it,
        Err(err) => return Some(err.to_string()),
    };
    verify(&bytes, max_pixels).err().map(|err: DecodeError| err.to_string())
}

/// What a file is remembered by.
fn key(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    let changed = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    Some(format!("{}\t{changed}\t{}", meta.len(), path.display()))
}

/// The file that remembers.
struct Memory(PathBuf);

impl Memory {
    fn of(dir: &Path, root: &Path, max_pixels: u64) -> Memory {
        let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        // The number is that of the decoders: what others found whole is looked at anew.
        let what = format!("{}\t{max_pixels}\t2", root.display());
        Memory(dir.join(format!("verified-{:016x}.tsv", fnv1a(what.as_bytes()))))
    }

    fn load(&self) -> BTreeSet<String> {
        // Without a memory every file is checked again, and nothing else happens.
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn save(&self, whole: BTreeSet<String>, known: &BTreeSet<String>) {
        if whole == *known {
            // Of a program that was killed while it saved.
            remove_leftovers_of(&self.0);
            return;
        }
        let text: String = whole.into_iter().map(|it| it + "\n").collect();
        if let Some(dir) = self.0.parent() {
            // A cache that cannot be written costs time, not a run.
            drop(fs::create_dir_all(dir).and_then(|()| write_whole(&self.0, text.as_bytes())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::check_files;
    use crate::Context;

    #[test]
    fn a_whole_file_is_remembered_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, path) = (dir.path().join("cache"), dir.path().join("a.png"));
        image::RgbImage::new(4, 4).save(&path).unwrap();
        let files = [path.clone()];
        let problems = || {
            let context = Context { cache: Some(&cache), max_pixels: 100, progress: &|_, _| {} };
            check_files(dir.path(), &files, &context)
        };
        assert_eq!(problems(), []);
        let memory: Vec<PathBuf> =
            fs::read_dir(&cache).unwrap().map(|it| it.unwrap().path()).collect();
        assert!(fs::read_to_string(&memory[0]).unwrap().contains("a.png"));

        fs::write(&path, b"no picture any more").unwrap();
        assert_eq!(problems().len(), 1);
        assert!(!fs::read_to_string(&memory[0]).unwrap().contains("a.png"));
    }

    #[test]
    fn what_is_remembered_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, path) = (dir.path().join("cache"), dir.path().join("a.png"));
        image::RgbImage::new(4, 4).save(&path).unwrap();
        let files = [path.clone()];
        let context = Context { cache: Some(&cache), max_pixels: 100, progress: &|_, _| {} };
        assert_eq!(check_files(dir.path(), &files, &context), []);
        // Same size and time, other bytes: only a memory can take this for a picture.
        let (bytes, time) =
            (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
        fs::write(&path, vec![0; bytes.len()]).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(check_files(dir.path(), &files, &context), []);
    }
}
