//! Fills the cache of what the pipeline's operations compute for each image, before a run needs it.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use augment::{Cache, Pipeline};
use base::files::remove_leftovers;
use rayon::prelude::*;

use crate::{CacheDir, LoadError, Manifest};

/// A summary of the preparation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prepared {
    /// The number of images in which a face was found.
    pub n_found: usize,
    /// The number of images without a detected face: the centre is used instead.
    pub n_not_found: usize,
    /// The median time per image, in milliseconds.
    pub milliseconds_median: f64,
}

/// Computes what a pipeline needs to know about every image, and stores it in the manifest's cache.
///
/// # Errors
/// An image that cannot be read.
pub fn prepare(
    manifest: &Manifest,
    pipeline: &Pipeline,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Prepared, LoadError> {
    // Temporary files of killed processes, of images that are not in the data any more.
    manifest.cache.as_ref().map(CacheDir::dir).inspect(|it| remove_leftovers(it));
    let cache = manifest.cache.as_ref().map(|it| it as &dyn Cache);
    let (n_all, n_done) = (manifest.examples.len(), AtomicUsize::new(0));
    let studied = manifest.examples.par_iter().map(|example| {
        let name = || example.name.clone();
        let bytes = example.content.bytes();
        let bytes = bytes.map_err(|source| LoadError::Io { name: name(), source })?;
        let began = Instant::now();
        let found = pipeline.fill_cache(&bytes, cache);
        let found = found.map_err(|source| LoadError::Image { name: name(), source })?;
        let milliseconds = began.elapsed().as_secs_f64() * 1e3;
        progress(n_done.fetch_add(1, Ordering::Relaxed) + 1, n_all);
        Ok((found, milliseconds))
    });
    let studied: Vec<(Option<bool>, f64)> = studied.collect::<Result<_, LoadError>>()?;
    let n = |which| studied.iter().filter(|it| it.0 == Some(which)).count();
    let mut times: Vec<f64> = studied.iter().map(|it| it.1).collect();
    times.sort_by(f64::total_cmp);
    Ok(Prepared {
        n_found: n(true),
        n_not_found: n(false),
        milliseconds_median: times.get(times.len() / 2).copied().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use augment::{Cache as _, Pipeline, StatisticsConfig, Step};
    use base::Seed;

    use super::prepare;
    use crate::{CacheDir, Context, Source as _, SyntheticPeople};

    #[test]
    fn cached_results_give_the_same_images() {
        let dir = tempfile::tempdir().unwrap();
        let groups = SyntheticPeople {
            n_people: 1,
            n_test: 0,
            size: [96, 72],
            wrong_labels: 0.0,
            flipped: 0.0,
            seed: 0,
        };
        let context = Context { cache: None, max_pixels: 1 << 20, progress: &|_, _| {} };
        let mut manifest = groups.read(&context).unwrap();
        let step = |text: &str| -> Step { toml::from_str(text).unwrap() };
        let ops = vec![
            step("kind = \"background\"\nfill = \"blur\""),
            step("kind = \"face_crop\"\nmin_score = 0.0"),
        ];
        let statistics = StatisticsConfig::default().get().known().unwrap();
        let pipeline = Pipeline { ops, statistics, max_pixels: 1 << 20 };
        let cache = CacheDir::within(dir.path());
        let images = |cache| {
            let image = |it: &crate::Example| {
                let rng = &mut Seed(0).stream("test");
                pipeline.apply(&it.content.bytes().unwrap(), rng, cache).unwrap()
            };
            manifest.examples.iter().map(image).collect::<Vec<_>>()
        };
        let uncached = images(None);
        assert!(images(Some(&cache)) == uncached, "the first time");
        let keys: Vec<String> = fs::read_dir(dir.path().join("images"))
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(keys.iter().filter(|it| it.starts_with("face-")).count() == 7, "{keys:?}");
        assert!(images(Some(&cache)) == uncached, "the second time");
        // Damaged entries of the cache are ignored.
        keys.iter().for_each(|it| cache.put(it, b"?"));
        assert!(images(Some(&cache)) == uncached, "with a damaged cache");

        manifest.cache = Some(cache.clone());
        let leftover = cache.dir().join(".face-0.0.tmp");
        fs::write(&leftover, b"a part").unwrap();
        let prepared = prepare(&manifest, &pipeline, &|_, _| {}).unwrap();
        assert_eq!(prepared.n_found + prepared.n_not_found, 7);
        assert!(!leftover.exists(), "a temporary file of a killed process remains");
        // Cached results are used: here a face of 8x8 at the corner, in every image.
        let face = [[0_u64, 0, 8, 8].map(u64::to_le_bytes).concat(), 9_f64.to_le_bytes().to_vec()];
        let keys = keys.iter().filter(|it| it.starts_with("face-"));
        keys.for_each(|it| cache.put(it, &face.concat()));
        let found = prepare(&manifest, &pipeline, &|_, _| {}).unwrap();
        assert_eq!((found.n_found, found.n_not_found), (7, 0));
    }
}
