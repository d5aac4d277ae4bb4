//! What a loader loads: batches of images for training, or of several views of each image for inference.

use std::sync::Arc;

use augment::{Cache, Mixing, Pipeline, PipelineError, View, apply_views};
use base::{
    Seed,
    mix::{MixedSample, whole},
};

use crate::{CacheDir, Pack, manifest::Content};

/// A batch of images for the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[m, h, w, 3]`, RGB8.
    pub images: Vec<u8>,
    /// `[h, w]` of every image.
    pub size: [usize; 2],
    /// The composition of each row.
    pub samples: Vec<MixedSample>,
    /// The examples of the images, as indices into [`Load::images`]: those of the batch, then the extra
    /// samples that are mixed in.
    pub examples: Vec<usize>,
}

/// What to load: the batches of one epoch.
#[derive(Clone)]
pub struct Load {
    /// The name and the content of each example.
    pub images: Arc<[(String, Content)]>,
    /// The examples of each batch, as indices into `images`.
    pub batches: Vec<Vec<usize>>,
    /// The pipeline of each image.
    pub pipeline: Arc<Pipeline>,
    /// The cache of values computed from the images.
    pub cache: Option<CacheDir>,
    /// The pack of the images, if there is one.
    pub pack: Option<Arc<Pack>>,
    /// The mixing of the rows of each batch.
    pub mixing: Mixing,
    /// The root of the random streams.
    pub seed: Seed,
    /// The common prefix of the random streams: `<stream>/<index among all loaded images>` for an image,
    /// `<stream>/mix/<batch>/<operation>` for the mixing, and `<stream>/guest/<batch>/<index>` for the extra
    /// samples.
    pub stream: String,
    /// The first batch to return; earlier ones were used before the run was stopped.
    pub first_batch: usize,
    /// The number of threads; 0 means 1. Ignored by [`Loader::add`](crate::Loader::add).
    pub n_threads: usize,
    /// The maximum number of finished batches in memory; 0 means 1. Ignored by
    /// [`Loader::add`](crate::Loader::add).
    pub prefetch: usize,
}

/// What to load for inference: several views of each image, which is read and decoded once.
///
/// A pack is of no use here: it holds what the first operations of one pipeline make, and every other view
/// needs the image itself.
#[derive(Clone)]
pub struct LoadViews {
    /// The name and the content of each example.
    pub images: Arc<[(String, Content)]>,
    /// The examples of each batch, as indices into `images`. All views of a batch are in memory at once.
    pub batches: Vec<Vec<usize>>,
    /// The views of each image. Of views that give the same pixels ([`View::gives_same`]) one is enough.
    pub views: Vec<View>,
    /// The cache of values computed from the images.
    pub cache: Option<CacheDir>,
    /// The number of threads; 0 means 1.
    pub n_threads: usize,
    /// The maximum number of finished batches in memory; 0 means 1.
    pub prefetch: usize,
}

/// A list of batches that can be loaded, each a function of its index only.
pub trait LoadBatches: Send + Sync + 'static {
    /// What is loaded.
    type Loaded: Send + 'static;

    /// The examples of each batch.
    fn batches(&self) -> &[Vec<usize>];

    /// The first batch to return.
    fn first_batch(&self) -> usize {
        0
    }

    /// The number of threads, and the maximum number of finished batches in memory.
    fn workers(&self) -> (usize, usize);

    /// Loads a batch.
    ///
    /// - `before`: the number of images in the batches before it.
    ///
    /// # Errors
    /// An image cannot be loaded.
    fn load(&self, idx: usize, before: usize) -> Result<Self::Loaded, LoadError>;
}

/// Why a batch could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file of an image cannot be read.
    #[error("{name}: {source}")]
    Io {
        /// The image.
        name: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is not an image, or a transform cannot be applied to it.
    #[error("{name}: {source}")]
    Image {
        /// The image.
        name: String,
        /// The reason.
        source: PipelineError,
    },
    /// The images of the pipeline differ in size.
    #[error("{0}")]
    Size(String),
    /// A bug in a transform.
    #[error("a loader thread panicked: {0}")]
    Panic(String),
}

impl LoadBatches for Load {
    type Loaded = Batch;

    fn batches(&self) -> &[Vec<usize>] {
        &self.batches
    }

    fn first_batch(&self) -> usize {
        self.first_batch
    }

    fn workers(&self) -> (usize, usize) {
        (self.n_threads, self.prefetch)
    }

    fn load(&self, idx: usize, before: usize) -> Result<Batch, LoadError> {
        let mut examples = self.batches[idx].clone();
        let n_own = examples.len();
        let cache = self.cache.as_ref().map(|it| it as &dyn Cache);
        let size = self.pipeline.size().map_err(LoadError::Size)?;
        let stream = |name: &str| self.seed.stream(&format!("{}/{name}", self.stream));
        let mix_stream = |entry| stream(&format!("mix/{idx}/{entry}"));
        let plan = self.mixing.plan(idx, n_own, size, mix_stream);
        examples.extend(plan.extras);
        let mut images = Vec::with_capacity(examples.len() * size[0] * size[1] * 3);
        for (offset, &example) in examples.iter().enumerate() {
            let (name, content) = &self.images[example];
            let mut rng = match offset.checked_sub(n_own) {
                None => stream(&(before + offset).to_string()),
                Some(extra) => stream(&format!("guest/{idx}/{extra}")),
            };
            let io = |source| LoadError::Io { name: name.clone(), source };
            let image = match &self.pack {
                Some(pack) => self.pipeline.finish(pack.image(example).map_err(io)?, &mut rng),
                None => self.pipeline.apply(&content.bytes().map_err(io)?, &mut rng, cache),
            };
            let image = image.map_err(|source| LoadError::Image { name: name.clone(), source })?;
            images.extend_from_slice(image.as_raw());
        }
        Ok(Batch { images, size, samples: plan.rows, examples })
    }
}

impl LoadBatches for LoadViews {
    /// A batch of each view, in their order.
    type Loaded = Vec<Batch>;

    fn batches(&self) -> &[Vec<usize>] {
        &self.batches
    }

    fn workers(&self) -> (usize, usize) {
        (self.n_threads, self.prefetch)
    }

    fn load(&self, idx: usize, _: usize) -> Result<Vec<Batch>, LoadError> {
        let examples = &self.batches[idx];
        let cache = self.cache.as_ref().map(|it| it as &dyn Cache);
        let empty = |view: &View| {
            let size = view.pipeline.size().map_err(LoadError::Size)?;
            let images = Vec::with_capacity(examples.len() * size[0] * size[1] * 3);
            Ok(Batch { images, size, samples: whole(examples.len()), examples: examples.clone() })
        };
        let mut batches = self.views.iter().map(empty).collect::<Result<Vec<_>, _>>()?;
        for &example in examples {
            let (name, content) = &self.images[example];
            let io = |source| LoadError::Io { name: name.clone(), source };
            let made = apply_views(&self.views, &content.bytes().map_err(io)?, cache);
            let made = made.map_err(|source| LoadError::Image { name: name.clone(), source })?;
            for (batch, image) in batches.iter_mut().zip(made) {
                batch.images.extend_from_slice(image.as_raw());
            }
        }
        Ok(batches)
    }
}
