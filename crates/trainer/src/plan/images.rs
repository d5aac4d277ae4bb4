//! The pipelines of images, and the epochs that they apply to.

use std::sync::Arc;

use augment::{Mixing, Pipeline, Resize, Statistics, Step, TransformConfig};
use data::{
    CacheDir, Content, Load, LoadViews, Loader, Pack, PackError, Sides, measure_statistics,
};

use super::error::{PlanError, wrong};
use crate::{
    callback::Callback,
    experiment::{Experiment, TrainSection},
    sizes::{self, Size},
};

/// Consecutive epochs of smaller images.
pub(super) struct Resized {
    /// The epoch that they end before.
    pub(super) end: usize,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) pack: Option<Arc<Pack>>,
}

/// Returns the pipelines of training, and of validation and inference. Loads one image with each, so that
/// transforms that do not fit are an error before the run starts.
pub(super) fn pipelines(
    experiment: &Experiment,
    images: &Arc<[(String, Content)]>,
    cache: Option<&CacheDir>,
    sides: &Sides,
    callback: &(dyn Callback + Sync),
) -> Result<(Pipeline, Pipeline), PlanError> {
    let Experiment { seed, data, augment, .. } = experiment;
    let bare = |ops: &[Step], path: &str| {
        let pipeline = Pipeline {
            ops: ops.to_vec(),
            // Replaced below.
            statistics: Statistics { mean: [0.0; 3], std: [1.0; 3] },
            max_pixels: data.max_pixels,
        };
        pipeline.size().map(|_| pipeline).map_err(wrong(path))
    };
    let mut train = bare(&augment.train, "augment.train")?;
    let mut eval = bare(&augment.eval, "augment.eval")?;
    let statistics = match augment.statistics.get().known() {
        Some(it) => it,
        None => {
            let side: Vec<_> = sides.train.iter().map(|&it| images[it].clone()).collect();
            let progress = |done, total| callback.progress("measuring colours", done, total);
            measure_statistics(&side, &eval, cache, &progress)?
        }
    };
    (train.statistics, eval.statistics) = (statistics, statistics);
    let views = experiment.tta.get().views(&eval, &train.ops).map_err(wrong("tta"))?;
    let first = |side: &[usize]| side.iter().take(1).map(|&it| vec![it]).collect();
    let load = Load {
        images: Arc::clone(images),
        batches: first(&sides.train),
        pipeline: Arc::new(train.clone()),
        cache: cache.cloned(),
        pack: None,
        mixing: Mixing::default(),
        seed: *seed,
        stream: "augment/0".to_owned(),
        first_batch: 0,
        n_threads: 1,
        prefetch: 1,
    };
    Loader::start(load).next().transpose()?;
    let load = LoadViews {
        images: Arc::clone(images),
        batches: first(&sides.valid),
        views,
        cache: cache.cloned(),
        n_threads: 1,
        prefetch: 1,
    };
    Loader::start(load).next().transpose()?;
    Ok((train, eval))
}

/// Returns the epochs of smaller images, with their packs.
pub(super) fn resized(
    train: &TrainSection,
    pipeline: &Pipeline,
    pack_of: &dyn Fn(&Pipeline) -> Result<Option<Pack>, PackError>,
) -> Result<Vec<Resized>, PlanError> {
    let ends = sizes::ends(&train.sizes, train.total).map_err(wrong("train.sizes"))?;
    let resized = |(item, end): (&Size, usize)| {
        let mut pipeline = pipeline.clone();
        let resize = Resize { size: item.size, ..Resize::default() };
        pipeline.ops.push(TransformConfig::Resize(resize).into());
        let pack = pack_of(&pipeline)?.map(Arc::new);
        Ok(Resized { end, pipeline: Arc::new(pipeline), pack })
    };
    train.sizes.iter().zip(ends).map(resized).collect()
}
