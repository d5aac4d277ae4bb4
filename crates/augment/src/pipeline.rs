//! From encoded bytes to the input of a network: the same type for training, validation and serving.

use std::collections::BTreeSet;

use base::{Rng, Seed};
use serde::{Deserialize, Serialize};

use crate::{Cache, Canvas, DecodeError, Image, OpError, Statistics, Step, decode::check_pixels};

/// The preprocessing of an image before the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The operations, in order.
    pub ops: Vec<Step>,
    /// The mean and standard deviation for normalisation, which is done on the network's device.
    pub statistics: Statistics,
    /// The largest number of pixels of an image that is accepted.
    pub max_pixels: u64,
}

/// Why an image could not be processed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The bytes are not an image.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An operation cannot be applied.
    #[error("`{kind}`: {reason}")]
    Op {
        /// The operation.
        kind: &'static str,
        /// The reason, and how to fix it.
        reason: String,
    },
}

impl Pipeline {
    /// Decodes an image and applies the operations: [`prepare`](Self::prepare) and
    /// [`finish`](Self::finish) in one.
    ///
    /// Values that they compute from the original image file are looked up and stored in `cache`.
    ///
    /// # Errors
    /// If the bytes are not an image, or an operation cannot be applied to it.
    pub fn apply(
        &self,
        bytes: &[u8],
        rng: &mut Rng,
        cache: Option<&dyn Cache>,
    ) -> Result<Image, PipelineError> {
        self.finish(self.prepare(bytes, cache)?, rng)
    }

    /// [`apply`](Self::apply) to a canvas of the image.
    pub(crate) fn apply_to(
        &self,
        canvas: Canvas<'_>,
        rng: &mut Rng,
    ) -> Result<Image, PipelineError> {
        self.finish(self.prepare_on(canvas)?, rng)
    }

    /// Decodes an image and applies the first operations, up to the first random one.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn prepare(&self, bytes: &[u8], cache: Option<&dyn Cache>) -> Result<Image, PipelineError> {
        self.prepare_on(self.open(bytes, cache)?)
    }

    fn prepare_on(&self, canvas: Canvas<'_>) -> Result<Image, PipelineError> {
        // No random number is used.
        run(&self.ops[..self.n_fixed()], canvas, &mut Seed(0).stream("nothing"))
    }

    /// Applies the remaining operations to a prepared image.
    ///
    /// # Errors
    /// If an operation cannot be applied to the image.
    pub fn finish(&self, prepared: Image, rng: &mut Rng) -> Result<Image, PipelineError> {
        run(&self.ops[self.n_fixed()..], Canvas::from(prepared), rng)
    }

    /// Returns what is wrong with a pipeline for inference, if anything: its operations must be
    /// deterministic, and all its outputs must have the same size.
    pub fn problem(&self) -> Option<String> {
        let of_step = |step: &Step| match step.is_random() {
            true => Some("it is random, but serving must be deterministic".to_owned()),
            false => step.problem(),
        };
        let named = |step: &Step| Some(format!("`{}`: {}", step.op.kind(), of_step(step)?));
        let problem = self.ops.iter().find_map(named).or_else(|| self.statistics.problem());
        problem.or_else(|| self.size().err())
    }

    /// The number of deterministic operations before the first random one.
    pub fn n_fixed(&self) -> usize {
        self.ops.iter().take_while(|it| !it.is_random()).count()
    }

    /// Checks whether an upright image of `[height, width]` is accepted, for every random sample: together
    /// with [`read_size`](crate::read_size) it finds rejected files before the first step.
    ///
    /// A crop that depends on the image's content (`face_crop`) counts as the whole image, so that after it
    /// only images are rejected here that are rejected whatever their content.
    ///
    /// # Errors
    /// The error with which [`apply`](Self::apply) rejects it, with the same message: too many pixels, or a
    /// crop larger than the image. If the operation is applied only with some probability, `apply` may also
    /// accept it.
    pub fn check_size(&self, [height, width]: [usize; 2]) -> Result<(), PipelineError> {
        check_pixels([height, width], self.max_pixels)?;
        let mut sizes = BTreeSet::from([[height, width]]);
        for step in &self.ops {
            let mut after = BTreeSet::new();
            for size in sizes {
                after.extend(step.sizes_from(size).map_err(|err| failed(step, err))?);
            }
            sizes = after;
        }
        Ok(())
    }

    /// Computes and caches everything about an image that can be cached. Returns whether a face was found, if
    /// an operation detects faces.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn fill_cache(
        &self,
        bytes: &[u8],
        cache: Option<&dyn Cache>,
    ) -> Result<Option<bool>, PipelineError> {
        let mut canvas = self.open(bytes, cache)?;
        // Cached operations are deterministic.
        let rng = &mut Seed(0).stream("study");
        for step in self.ops.iter().filter(|it| it.is_cached()) {
            step.op.get().apply(&mut canvas, rng).map_err(|err| failed(step, err))?;
        }
        Ok(canvas.found())
    }

    fn open<'a>(
        &self,
        bytes: &'a [u8],
        cache: Option<&'a dyn Cache>,
    ) -> Result<Canvas<'a>, DecodeError> {
        let canvas = Canvas::open(bytes, self.max_pixels)?;
        Ok(match cache {
            Some(it) => canvas.with_cache(it),
            None => canvas,
        })
    }

    /// Returns the `[height, width]` of every output, or what is wrong with the operations.
    pub fn size(&self) -> Result<[usize; 2], String> {
        if let Some((kind, problem)) =
            self.ops.iter().find_map(|it| Some((it.op.kind(), it.problem()?)))
        {
            return Err(format!("`{kind}`: {problem}"));
        }
        let mut later = self.ops.iter().skip_while(|it| it.is_cached());
        if let Some(late) = later.find(|it| it.is_cached()) {
            return Err(format!(
                "`{}` is slow, and its result is cached only for unmodified images: put it \
                 first",
                late.op.kind()
            ));
        }
        self.ops.iter().fold(None, |size, step| step.size_after(size)).ok_or_else(|| {
            "no operation gives all images the same size: add a `resize` or a crop".to_owned()
        })
    }

    /// The first random operation.
    pub fn random_op(&self) -> Option<&'static str> {
        self.ops.iter().find(|it| it.is_random()).map(|it| it.op.kind())
    }
}

fn run(steps: &[Step], mut canvas: Canvas<'_>, rng: &mut Rng) -> Result<Image, PipelineError> {
    for step in steps {
        step.apply(&mut canvas, rng).map_err(|err| failed(step, err))?;
    }
    Ok(canvas.finish()?)
}

fn failed(step: &Step, err: OpError) -> PipelineError {
    match err {
        OpError::Decode(err) => err.into(),
        OpError::Unfit(reason) => PipelineError::Op { kind: step.op.kind(), reason },
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;
    use image::{DynamicImage, ImageFormat};

    use super::Pipeline;
    use crate::{Image, Statistics, Step};

    fn pipeline(ops: &str) -> Pipeline {
        #[derive(serde::Deserialize)]
        struct Ops {
            ops: Vec<Step>,
        }
        let ops: Ops = toml::from_str(&format!("ops = [{ops}]")).unwrap();
        let statistics = Statistics { mean: [0.5; 3], std: [0.5; 3] };
        Pipeline { ops: ops.ops, statistics, max_pixels: 10_000 }
    }

    /// Returns the error for an image of `[h, w]`, or `None` if it is accepted.
    fn applied(pipeline: &Pipeline, [h, w]: [usize; 2], seed: u64) -> Option<String> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let image = DynamicImage::from(Image::new(w as u32, h as u32));
        image.write_to(&mut bytes, ImageFormat::Bmp).unwrap();
        let rng = &mut Seed(seed).stream("test");
        pipeline.apply(bytes.get_ref(), rng, None).err().map(|err| err.to_string())
    }

    const CROP: &str = "{ kind = \"center_crop\", size = [50, 60] }";

    #[test]
    fn check_size_rejects_what_apply_rejects_with_the_same_message() {
        let flip = "{ kind = \"horizontal_flip\" }";
        let pad = "{ kind = \"pad\", by = [10, 0] }";
        let resize = "{ kind = \"resize_shorter\", size = 70 }";
        for ops in [
            CROP.to_owned(),
            format!("{flip}, {CROP}"),
            format!("{pad}, {CROP}"),
            format!("{resize}, {CROP}"),
            format!("{CROP}, {CROP}"),
            format!("{{ kind = \"one_of\", steps = [{CROP}] }}"),
            "{ kind = \"random_crop\", size = [50, 60] }, { kind = \"resize\", size = [9, 9] }"
                .to_owned(),
        ] {
            let pipeline = pipeline(&ops);
            for size in [[50, 60], [49, 60], [30, 60], [50, 59], [1, 99], [90, 100], [101, 100]] {
                let got = pipeline.check_size(size).err().map(|err| err.to_string());
                assert_eq!(got, applied(&pipeline, size, 0), "{ops}: {size:?}");
            }
        }
    }

    #[test]
    fn check_size_reports_what_apply_rejects_only_sometimes() {
        for ops in [
            "{ kind = \"center_crop\", size = [50, 60], p = 0.5 }",
            "{ kind = \"one_of\", steps = [{ kind = \"invert\" }, { kind = \"center_crop\", size = [50, 60] }] }",
            "{ kind = \"resize\", size = [80, 80], p = 0.5 }, { kind = \"center_crop\", size = [50, 60] }",
        ] {
            let pipeline = pipeline(ops);
            let results: Vec<_> = (0..30).map(|it| applied(&pipeline, [40, 90], it)).collect();
            let reason = results.iter().flatten().next().unwrap();
            assert!(results.contains(&None), "{ops}");
            assert_eq!(&pipeline.check_size([40, 90]).unwrap_err().to_string(), reason);
            pipeline.check_size([50, 90]).unwrap();
        }
        pipeline("{ kind = \"center_crop\", size = [50, 60], p = 0.0 }")
            .check_size([1, 1])
            .unwrap();
    }

    #[test]
    fn a_crop_by_content_counts_as_the_whole_image() {
        let pipeline = pipeline(&format!("{{ kind = \"face_crop\" }}, {CROP}"));
        pipeline.check_size([50, 60]).unwrap();
        let reason = pipeline.check_size([40, 60]).unwrap_err().to_string();
        assert!(reason.starts_with("`center_crop`: "), "{reason}");
    }
}
