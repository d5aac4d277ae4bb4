//! The pipelines of images, and the epochs that they apply to.

use std::sync::Arc;

use augment::{Mixing, Pipeline, Resize, Statistics, Step, TransformConfig};
use data::{CacheDir, Content, Load, Loader, Pack, PackError, Sides, measure_statistics};

use super::error::{PlanError, wrong};
use crate::{
    callback::Callback,
    experiment::{Experiment, TrainSection},
    sizes::{self, Size},
};

/// Consecutive epochs with one image size.
pub(crate) struct Phase {
    /// The epoch that the phase ends before.
    pub(crate) end: usize,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) pack: Option<Arc<Pack>>,
    pub(crate) batch_size: usize,
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
    for (pipeline, side) in [(&train, &sides.train), (&eval, &sides.valid)] {
        let load = Load {
            images: Arc::clone(images),
            batches: side.iter().take(1).map(|&it| vec![it]).collect(),
            pipeline: Arc::new(pipeline.clone()),
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
    }
    Ok((train, eval))
}

/// Returns the phases of progressive resizing, with their packs.
pub(super) fn phases(
    train: &TrainSection,
    pipeline: &Pipeline,
    pack_of: impl Fn(&Pipeline) -> Result<Option<Pack>, PackError>,
) -> Result<Vec<Phase>, PlanError> {
    let ends = sizes::ends(&train.sizes, train.total).map_err(wrong("train.sizes"))?;
    let phase = |(item, end): (&Size, usize)| {
        let mut pipeline = pipeline.clone();
        let resize = Resize { size: item.size, ..Resize::default() };
        pipeline.ops.push(TransformConfig::Resize(resize).into());
        let pack = pack_of(&pipeline)?.map(Arc::new);
        let batch_size = item.batch_size.unwrap_or(train.batch_size);
        Ok(Phase { end, pipeline: Arc::new(pipeline), pack, batch_size })
    };
    train.sizes.iter().zip(ends).map(phase).collect()
}
