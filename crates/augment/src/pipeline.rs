//! From encoded bytes to what a network sees: one type for training, validation and serving.

use std::collections::BTreeSet;

use base::{Rng, Seed};
use serde::{Deserialize, Serialize};

use crate::{Canvas, DecodeError, Image, Memory, OpError, Statistics, Step, decode::check_pixels};

/// Everything that happens to an image before the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// What is done, in order.
    pub ops: Vec<Step>,
    /// What the colours are normalised with, where the network is.
    pub statistics: Statistics,
    /// Larger images are refused.
    pub max_pixels: u64,
}

/// Why an image did not come out.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The bytes are no image.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An operation could not be applied.
    #[error("`{kind}`: {reason}")]
    Op {
        /// The operation.
        kind: &'static str,
        /// Why not, and what to do.
        reason: String,
    },
}

impl Pipeline {
    /// Decodes an image and applies the operations: [`prepare`](Self::prepare) and
    /// [`finish`](Self::finish) in one.
    ///
    /// `memory` is asked for what they work out of the image as it is in its file, and told.
    ///
    /// # Errors
    /// Bytes that are no image, or one that an operation cannot be applied to.
    pub fn apply(
        &self,
        bytes: &[u8],
        rng: &mut Rng,
        memory: Option<&dyn Memory>,
    ) -> Result<Image, PipelineError> {
        self.finish(self.prepare(bytes, memory)?, rng)
    }

    /// Decodes an image and applies the first operations, those that leave nothing to chance.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn prepare(
        &self,
        bytes: &[u8],
        memory: Option<&dyn Memory>,
    ) -> Result<Image, PipelineError> {
        let canvas = self.open(bytes, memory)?;
        // Nothing is drawn from it.
        run(&self.ops[..self.n_fixed()], canvas, &mut Seed(0).stream("nothing"))
    }

    /// Applies the other operations to an image that has been prepared.
    ///
    /// # Errors
    /// An image that an operation cannot be applied to.
    pub fn finish(&self, prepared: Image, rng: &mut Rng) -> Result<Image, PipelineError> {
        run(&self.ops[self.n_fixed()..], Canvas::from(prepared), rng)
    }

    /// What is wrong with a pipeline that is to predict, if anything is: nothing in it may be left to
    /// chance, and all images must come out in one size.
    pub fn problem(&self) -> Option<String> {
        let of_step = |step: &Step| match step.is_random() {
            true => Some("it is left to chance, which serving is not".to_owned()),
            false => step.problem(),
        };
        let named = |step: &Step| Some(format!("`{}`: {}", step.op.kind(), of_step(step)?));
        let problem = self.ops.iter().find_map(named).or_else(|| self.statistics.problem());
        problem.or_else(|| self.size().err())
    }

    /// How many of the first operations leave nothing to chance.
    pub fn n_fixed(&self) -> usize {
        self.ops.iter().take_while(|it| !it.is_random()).count()
    }

    /// Whether an image of `[height, width]`, the right way up, can be taken, for whatever is drawn: what
    /// [`read_size`](crate::read_size) says of a file is enough to know before the first step.
    ///
    /// A crop of what depends on the image's content (`face_crop`) counts as one of the whole image, so
    /// that behind it only those are refused here which would be refused whatever they show.
    ///
    /// # Errors
    /// The reason for which [`apply`](Self::apply) would refuse it, in the same words: too many pixels, a
    /// crop larger than the image. With an operation that is done only sometimes, it would not always.
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

    /// Works out what there is to remember of an image, and says whether a face was found, if one is
    /// looked for.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn study(
        &self,
        bytes: &[u8],
        memory: Option<&dyn Memory>,
    ) -> Result<Option<bool>, PipelineError> {
        let mut canvas = self.open(bytes, memory)?;
        // What can be remembered leaves nothing to chance.
        let rng = &mut Seed(0).stream("study");
        for step in self.ops.iter().filter(|it| it.studies()) {
            step.op.get().apply(&mut canvas, rng).map_err(|err| failed(step, err))?;
        }
        Ok(canvas.found())
    }

    fn open<'a>(
        &self,
        bytes: &'a [u8],
        memory: Option<&'a dyn Memory>,
    ) -> Result<Canvas<'a>, DecodeError> {
        let canvas = Canvas::open(bytes, self.max_pixels)?;
        Ok(match memory {
            Some(it) => canvas.remembering(it),
            None => canvas,
        })
    }

    /// The `[height, width]` of every image that comes out, or what is wrong with the operations.
    pub fn size(&self) -> Result<[usize; 2], String> {
        if let Some((kind, problem)) =
            self.ops.iter().find_map(|it| Some((it.op.kind(), it.problem()?)))
        {
            return Err(format!("`{kind}`: {problem}"));
        }
        let mut later = self.ops.iter().skip_while(|it| it.studies());
        if let Some(late) = later.find(|it| it.studies()) {
            return Err(format!(
                "`{}` is slow, and remembered only of images that nothing was done to: put it \
                 first",
                late.op.kind()
            ));
        }
        self.ops.iter().fold(None, |size, step| step.size_after(size)).ok_or_else(|| {
            "no operation gives the images one size: add a `resize` or a crop".to_owned()
        })
    }

    /// The first operation whose result is left to chance.
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

    /// What becomes of an image of `[h, w]`: `None`, or why nothing does.
    fn applied(pipeline: &Pipeline, [h, w]: [usize; 2], seed: u64) -> Option<String> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let image = DynamicImage::from(Image::new(w as u32, h as u32));
        image.write_to(&mut bytes, ImageFormat::Bmp).unwrap();
        let rng = &mut Seed(seed).stream("test");
        pipeline.apply(bytes.get_ref(), rng, None).err().map(|err| err.to_string())
    }

    const CROP: &str = "{ kind = \"center_crop\", size = [50, 60] }";

    #[test]
    fn a_size_alone_tells_what_is_refused_in_the_same_words() {
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
    fn what_is_refused_only_sometimes_is_told() {
        for ops in [
            "{ kind = \"center_crop\", size = [50, 60], p = 0.5 }",
            "{ kind = \"one_of\", steps = [{ kind = \"invert\" }, { kind = \"center_crop\", size = [50, 60] }] }",
            "{ kind = \"resize\", size = [80, 80], p = 0.5 }, { kind = \"center_crop\", size = [50, 60] }",
        ] {
            let pipeline = pipeline(ops);
            let fates: Vec<_> = (0..30).map(|it| applied(&pipeline, [40, 90], it)).collect();
            let reason = fates.iter().flatten().next().unwrap();
            assert!(fates.contains(&None), "{ops}");
            assert_eq!(&pipeline.check_size([40, 90]).unwrap_err().to_string(), reason);
            pipeline.check_size([50, 90]).unwrap();
        }
        pipeline("{ kind = \"center_crop\", size = [50, 60], p = 0.0 }")
            .check_size([1, 1])
            .unwrap();
    }

    #[test]
    fn what_depends_on_content_counts_as_the_whole_image() {
        let pipeline = pipeline(&format!("{{ kind = \"face_crop\" }}, {CROP}"));
        pipeline.check_size([50, 60]).unwrap();
        let reason = pipeline.check_size([40, 60]).unwrap_err().to_string();
        assert!(reason.starts_with("`center_crop`: "), "{reason}");
    }
}
