//! Test-time augmentation: several views of an image, whose predictions are merged. One file per kind.
//!
//! A view is a pipeline of its own and a weight. The weights of an image's views sum to 1. Random views (those
//! of `augment`) are seeded by the bytes of the image file and the view's number, so that an image has the same
//! views in validation and in serving, whatever its name, its place and the other images.
//!
//! [`apply_views`] decodes an image once for all its views, with the pixels that each has alone.

mod augment;
mod crops;
mod flip;
mod off;
mod scales;
mod shifts;

use base::{Rng, Seed, rng::fnv1a};

use crate::{
    Cache, Canvas, DecodeError, Image, Merge, Pipeline, PipelineError, Step, apply_all::apply_all,
    decode::is_complete,
};

base::choice! {
    /// The `[tta]` section of a config.
    pub enum ViewsConfig: dyn Views {
        /// No test-time augmentation: each image is predicted once.
        "none" => Off(off::Off),
        /// The image and its mirror image.
        "flip" => Flip(flip::Flip),
        /// The four corners and the centre, or these and their mirror images.
        "crops" => Crops(crops::Crops),
        /// The image at several sizes.
        "scales" => Scales(scales::Scales),
        /// The image moved by fractions of its size.
        "shifts" => Shifts(shifts::Shifts),
        /// Several images made by the training transforms, and the plain one (fastai's `tta`).
        "augment" => Augment(augment::Augment),
    }
}

/// The maximum number of views of an image.
const MOST: usize = 64;

/// One view of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// From the image file's bytes to the view.
    pub pipeline: Pipeline,
    /// Its weight among the views of an image, which sum to 1.
    pub weight: f64,
    /// Its index among the views of an image, which names its random stream.
    pub number: usize,
}

/// The kind of test-time augmentation.
pub trait Views {
    /// Returns the operations and the weight of each view; the weights sum to 1.
    ///
    /// - `ops`: the operations of the evaluation pipeline.
    /// - `size`: the `[height, width]` of its images.
    /// - `train`: the operations of the training pipeline.
    ///
    /// # Errors
    /// A setting is invalid, or does not apply to these operations; the message says how to fix it.
    fn plan(
        &self,
        ops: &[Step],
        size: [usize; 2],
        train: &[Step],
    ) -> Result<Vec<(Vec<Step>, f64)>, String>;

    /// How the predictions of the views are merged.
    fn merge(&self) -> Merge;

    /// Returns the views of each image.
    ///
    /// - `pipeline`: the evaluation pipeline, whose statistics and `max_pixels` all views have.
    /// - `train`: the operations of the training pipeline.
    ///
    /// # Errors
    /// As [`plan`](Self::plan); or the images of a view differ in size.
    fn views(&self, pipeline: &Pipeline, train: &[Step]) -> Result<Vec<View>, String> {
        let plan = self.plan(&pipeline.ops, pipeline.size()?, train)?;
        let view = |(number, (ops, weight))| {
            let pipeline = Pipeline { ops, ..*pipeline };
            pipeline.size()?;
            Ok(View { pipeline, weight, number })
        };
        plan.into_iter().enumerate().map(view).collect()
    }
}

impl View {
    /// Returns the only view of an image that is predicted once.
    pub fn plain(pipeline: Pipeline) -> View {
        View { pipeline, weight: 1.0, number: 0 }
    }

    /// Whether the view has random operations.
    pub fn is_random(&self) -> bool {
        self.pipeline.random_op().is_some()
    }

    /// Whether both give the same pixels for every image, so that one of them is enough.
    pub fn gives_same(&self, other: &View) -> bool {
        let [a, b] = [self, other].map(|it| &it.pipeline);
        let has_same_stream = self.number == other.number || !self.is_random();
        a.ops == b.ops && a.max_pixels == b.max_pixels && has_same_stream
    }

    /// Returns its random stream for an image file whose bytes have the hash `hash`.
    fn stream(&self, hash: u64) -> Rng {
        Seed(0).stream(&format!("view/{}/{hash:016x}", self.number))
    }
}

/// Returns the views of an image, each with the pixels that it has alone. The image is decoded once, or, if
/// views need it at different reductions of a JPEG, once at each.
///
/// Values that are computed from the original image file, such as its face, are computed once too, and looked
/// up and stored in `cache`.
///
/// # Errors
/// As [`Pipeline::apply`], for the first view that fails.
pub fn apply_views(
    views: &[View],
    bytes: &[u8],
    cache: Option<&dyn Cache>,
) -> Result<Vec<Image>, PipelineError> {
    let hash = if views.iter().any(View::is_random) { fnv1a(bytes) } else { 0 };
    let runs: Vec<_> = views.iter().map(|it| (&it.pipeline, it.stream(hash))).collect();
    apply_all(&runs, bytes, cache)
}

/// Returns the views of an encoded image that nobody has checked before, as [`apply_views`]. Not every decoder reports
/// a missing end, or reports it as such: here it is [`DecodeError::Truncated`].
///
/// # Errors
/// As [`apply_views`].
pub fn apply_views_checked(views: &[View], bytes: &[u8]) -> Result<Vec<Image>, PipelineError> {
    match apply_views(views, bytes, None) {
        Ok(_) | Err(PipelineError::Decode(DecodeError::Damaged(_))) if !is_complete(bytes) => {
            Err(PipelineError::Decode(DecodeError::Truncated))
        }
        made => made,
    }
}

/// Returns the views of a decoded, upright image, as [`apply_views`] does of that of a file. Random views are seeded by
/// its pixels.
///
/// # Errors
/// As [`Pipeline::apply`], for the first view that fails.
pub fn apply_views_to(views: &[View], image: &Image) -> Result<Vec<Image>, PipelineError> {
    let hash = if views.iter().any(View::is_random) { fnv1a(image.as_raw()) } else { 0 };
    let size = [image.height(), image.width()].map(|it| it as usize);
    let view = |it: &View| {
        it.pipeline.check_size(size)?;
        it.pipeline.apply_to(Canvas::from(image.clone()), &mut it.stream(hash))
    };
    views.iter().map(view).collect()
}

/// Returns what is wrong with the number of views, if anything.
///
/// - `name`: the setting that determines it.
fn number_problem(name: &str, n: usize) -> Option<String> {
    (!(1..=MOST).contains(&n)).then(|| format!("`{name}` must give 1 to {MOST} views, not {n}"))
}

/// Gives several views equal weights.
fn equally(views: Vec<Vec<Step>>) -> Vec<(Vec<Step>, f64)> {
    let weight = 1.0 / views.len() as f64;
    views.into_iter().map(|it| (it, weight)).collect()
}

/// Returns the operations with more at the end.
fn then(ops: &[Step], more: impl IntoIterator<Item = Step>) -> Vec<Step> {
    ops.iter().cloned().chain(more).collect()
}

/// Returns the horizontal flip of every image.
fn mirrored() -> Step {
    Step { op: crate::TransformConfig::HorizontalFlip(crate::HorizontalFlip {}), p: 1.0 }
}
