//! Images that two roots share.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use base::task::Unit;

use crate::{Content, Manifest};

/// The identity of an image: images with equal identities are the same.
#[derive(PartialEq, Eq, Hash)]
enum Identity<'a> {
    /// The folder, with links resolved, and the file in it.
    File(PathBuf, &'a OsStr),
    Memory(&'a [u8]),
}

/// Checks that roots share no image, unless it is of the same group.
///
/// - `roots`: the root of each example.
///
/// # Errors
/// The first such image. Copies in other files are not detected: `maskfit eda` finds those.
pub(super) fn check(whole: &Manifest, roots: &[usize]) -> Result<(), String> {
    let mut folders: HashMap<&Path, PathBuf> = HashMap::new();
    let mut known: HashMap<Identity<'_>, usize> = HashMap::new();
    for (at, it) in whole.examples.iter().enumerate() {
        let identity = match &it.content {
            Content::Memory(bytes) => Identity::Memory(bytes),
            Content::File(path) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                let followed = || fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
                let folder = folders.entry(folder).or_insert_with(followed).clone();
                Identity::File(folder, path.file_name().unwrap_or_default())
            }
        };
        let before = *known.entry(identity).or_insert(at);
        let other = &whole.examples[before];
        if roots[before] != roots[at] && other.group != it.group {
            let many = match whole.task.unit {
                Unit::Image => Unit::Group.many(),
                unit => unit.many(),
            };
            return Err(format!(
                "at `data.source.roots[{}]`: `{}` and `{}` are the same image, but of two {many}: remove \
                 one of the roots, or set `same_groups = true` if their {many} have the same names",
                roots[at], other.name, it.name
            ));
        }
    }
    Ok(())
}
