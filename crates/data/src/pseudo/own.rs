//! Which images of a folder are among a data set: copies of its images, and other images of its groups.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use base::{rng::fnv1a, task::Unit};
use rayon::prelude::*;

use crate::{Content, Manifest};

/// Returns the groups of a data set that images belong to, as positions in the manifest.
///
/// An image belongs to the groups of the images with the same content; and, where the images of the data in its
/// folder are all of one group, to that one.
///
/// - `copies`: those of [`copies`].
pub fn groups_in(
    images: &[(String, Content)],
    manifest: &Manifest,
    copies: &[(usize, usize)],
) -> Vec<Vec<usize>> {
    let mut groups = vec![Vec::new(); images.len()];
    for &(image, of_data) in copies {
        groups[image].push(manifest.examples[of_data].group);
    }
    if manifest.task.unit != Unit::Image {
        let mut canonical = Canonical::default();
        let mut of_folder: HashMap<PathBuf, Option<usize>> = HashMap::new();
        for example in &manifest.examples {
            if let Some(folder) = canonical.folder(&example.content) {
                let group = of_folder.entry(folder).or_insert(Some(example.group));
                *group = group.filter(|it| *it == example.group);
            }
        }
        for ((_, content), groups) in images.iter().zip(&mut groups) {
            let folder = canonical.folder(content);
            groups.extend(folder.and_then(|it| of_folder.get(&it).copied().flatten()));
        }
    }
    for groups in &mut groups {
        groups.sort_unstable();
        groups.dedup();
    }
    groups
}

/// The folders of files as canonical paths, each resolved once.
#[derive(Default)]
struct Canonical(HashMap<PathBuf, Option<PathBuf>>);

impl Canonical {
    fn folder(&mut self, content: &Content) -> Option<PathBuf> {
        let Content::File(path) = content else { return None };
        let folder = path.parent()?;
        if !self.0.contains_key(folder) {
            let named = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            self.0.insert(folder.to_owned(), fs::canonicalize(named).ok());
        }
        self.0.get(folder).cloned().flatten()
    }
}

/// Returns the hash of the bytes of each image, as [`crate::Example::hash`]; `None` for one that cannot be read.
pub fn file_hashes(images: &[(String, Content)]) -> Vec<Option<u64>> {
    images.par_iter().map(|it| hash(&it.1)).collect()
}

fn hash(content: &Content) -> Option<u64> {
    content.bytes().map(|it| fnv1a(&it)).ok()
}

/// Returns which images have the same content as an image of a manifest: the positions of both.
pub fn copies(images: &[(String, Content)], manifest: &Manifest) -> Vec<(usize, usize)> {
    let size = |content: &Content| match content {
        Content::File(path) => fs::metadata(path).map(|it| it.len()).ok(),
        Content::Memory(bytes) => Some(bytes.len() as u64),
    };
    // Only images of equal size are read.
    let sizes: Vec<Option<u64>> = images.par_iter().map(|it| size(&it.1)).collect();
    let wanted: HashSet<u64> = sizes.iter().copied().flatten().collect();
    let of_data = manifest.examples.par_iter().enumerate().filter_map(|(idx, it)| {
        let size = size(&it.content).filter(|it| wanted.contains(it))?;
        Some(((size, hash(&it.content)?), idx))
    });
    let of_data: Vec<((u64, u64), usize)> = of_data.collect();
    let sizes_of_data: HashSet<u64> = of_data.iter().map(|it| it.0.0).collect();
    let mut by_content: HashMap<(u64, u64), Vec<usize>> = HashMap::new();
    of_data.into_iter().for_each(|(key, idx)| by_content.entry(key).or_default().push(idx));
    let key = |(idx, size): (usize, &Option<u64>)| {
        let size = size.filter(|it| sizes_of_data.contains(it))?;
        Some((idx, (size, hash(&images[idx].1)?)))
    };
    let keys: Vec<(usize, (u64, u64))> = sizes.par_iter().enumerate().filter_map(key).collect();
    let all = keys.into_iter().flat_map(|(idx, key)| {
        let same = by_content.get(&key).map_or(&[][..], Vec::as_slice);
        same.iter().map(move |it| (idx, *it))
    });
    all.collect()
}

/// Returns what is wrong if images with pseudo-labels have the content of images that are held out: all of
/// them.
///
/// - `is_held_out`: whether an image of the manifest is validated or tested on, in any fold.
pub fn held_out_copies(manifest: &Manifest, is_held_out: impl Fn(usize) -> bool) -> Option<String> {
    let name = |it: usize| &manifest.examples[it].name;
    let held_out = manifest.pseudo.copies.iter().filter(|it| is_held_out(it.1));
    let lines: Vec<String> =
        held_out.map(|&(a, b)| format!("`{}` is a copy of `{}`", name(a), name(b))).collect();
    (!lines.is_empty()).then(|| {
        format!(
            "{} of its images are held out for validation or as the test set, and must not be trained \
             on: remove their rows from the file, or pseudo-label other images:\n  {}",
            lines.len(),
            lines.join("\n  ")
        )
    })
}
