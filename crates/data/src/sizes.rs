//! Checks whether a pipeline accepts the sizes of images, read from their headers: nothing is decoded.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Cursor},
    sync::atomic::{AtomicUsize, Ordering},
};

use augment::{DecodeError, Pipeline, read_size};
use rayon::prelude::*;

use crate::{Content, Findings};

/// Returns the `[height, width]` of each image, upright; `None` where the header does not contain it.
///
/// `progress` is called from time to time with the number of images done and the total.
pub fn sizes_of(
    images: &[&Content],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Vec<Option<[usize; 2]>> {
    let n_done = AtomicUsize::new(0);
    let size = |content: &&Content| {
        let size: Option<Result<_, DecodeError>> = match content {
            Content::File(path) => {
                // Most headers are shorter than this.
                let file = File::open(path).map(|it| BufReader::with_capacity(1 << 12, it));
                file.and_then(read_size).ok()
            }
            Content::Memory(bytes) => read_size(Cursor::new(&bytes[..])).ok(),
        };
        progress(n_done.fetch_add(1, Ordering::Relaxed) + 1, images.len());
        size?.ok()
    };
    images.par_iter().map(size).collect()
}

/// Adds a finding for each image whose size a pipeline does not accept.
///
/// - `images`: the name of each, and its size as [`sizes_of`] returns it.
/// - `place`: the pipeline's setting, or empty.
pub fn check_sizes<'a>(
    images: impl Iterator<Item = (&'a str, Option<[usize; 2]>)>,
    place: &str,
    pipeline: &Pipeline,
    findings: &mut Findings,
) {
    let mut problems: BTreeMap<[usize; 2], Option<String>> = BTreeMap::new();
    let at = if place.is_empty() { String::new() } else { format!("at `{place}`: ") };
    for (name, size) in images.filter_map(|(name, size)| Some((name, size?))) {
        let problem = problems
            .entry(size)
            .or_insert_with(|| pipeline.check_size(size).err().map(|it| it.to_string()));
        if let Some(problem) = problem {
            // An operation's error message ends with the remedy.
            let (problem, remedy) = match problem.rsplit_once(": ") {
                Some((problem, remedy)) => (problem, format!("{remedy}, or replace the file")),
                None => (problem.as_str(), "replace the file".to_owned()),
            };
            findings.add(name, format!("{at}{problem}"), &remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use augment::{Pipeline, StatisticsConfig};
    use image::{ImageFormat, RgbImage};

    use super::{check_sizes, sizes_of};
    use crate::{Content, Findings};

    #[test]
    fn all_images_that_are_too_small_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let mut images = Vec::new();
        for (name, w, h) in [("a.png", 96, 72), ("b.jpg", 40, 30), ("c.png", 64, 47)] {
            let mut bytes = Cursor::new(Vec::new());
            let format = ImageFormat::from_path(name).unwrap();
            RgbImage::new(w, h).write_to(&mut bytes, format).unwrap();
            let path = dir.path().join(name);
            std::fs::write(&path, bytes.get_ref()).unwrap();
            images.push((name, Content::File(path)));
            images.push((name, Content::Memory(bytes.into_inner().into())));
        }
        images.push(("absent", Content::File(dir.path().join("absent"))));
        let contents: Vec<&Content> = images.iter().map(|it| &it.1).collect();
        let sizes = sizes_of(&contents, &|_, _| {});
        let pairs = [[72, 96], [30, 40], [47, 64]].map(Some);
        assert_eq!(sizes, [pairs.map(|it| [it; 2]).concat(), vec![None]].concat());

        let op = toml::from_str("kind = \"center_crop\"\nsize = [48, 64]").unwrap();
        let statistics = StatisticsConfig::default().get().known().unwrap();
        let pipeline = Pipeline { ops: vec![op], statistics, max_pixels: 1 << 20 };
        let mut findings = Findings::default();
        let named = images.iter().map(|it| it.0).zip(sizes);
        check_sizes(named, "augment.eval", &pipeline, &mut findings);
        let text = findings.to_string();
        let names: Vec<&str> = findings.0.iter().map(|it| it.place.as_str()).collect();
        assert_eq!(names, ["b.jpg", "b.jpg", "c.png", "c.png"], "{text}");
        assert!(
            text.contains("b.jpg, b.jpg, c.png and 1 more: at `augment.eval`: `center_crop`: "),
            "{text}"
        );
        assert!(text.ends_with(", or replace the file"), "{text}");
    }
}
