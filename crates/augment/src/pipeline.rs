//! From encoded bytes to what a network sees: one type for training, validation and serving.

use base::{Rng, Seed};
use serde::{Deserialize, Serialize};

use crate::{Canvas, DecodeError, Memory, OpError, Picture, Statistics, Step};

/// Everything that happens to a picture before the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// What is done, in order.
    pub ops: Vec<Step>,
    /// What the colours are normalised with, where the network is.
    pub statistics: Statistics,
    /// Larger pictures are refused.
    pub max_pixels: u64,
}

/// Why a picture did not come out.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The bytes are no picture.
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
    /// Decodes a picture and applies the operations: [`prepare`](Self::prepare) and
    /// [`finish`](Self::finish) in one.
    ///
    /// `memory` is asked for what they work out of the picture as it is in its file, and told.
    ///
    /// # Errors
    /// Bytes that are no picture, or one that an operation cannot be applied to.
    pub fn apply(
        &self,
        bytes: &[u8],
        rng: &mut Rng,
        memory: Option<&dyn Memory>,
    ) -> Result<Picture, PipelineError> {
        self.finish(self.prepare(bytes, memory)?, rng)
    }

    /// Decodes a picture and applies the first operations, those that leave nothing to chance.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn prepare(
        &self,
        bytes: &[u8],
        memory: Option<&dyn Memory>,
    ) -> Result<Picture, PipelineError> {
        let canvas = self.open(bytes, memory)?;
        // Nothing is drawn from it.
        run(&self.ops[..self.n_fixed()], canvas, &mut Seed(0).stream("nothing"))
    }

    /// Applies the other operations to a picture that has been prepared.
    ///
    /// # Errors
    /// A picture that an operation cannot be applied to.
    pub fn finish(&self, prepared: Picture, rng: &mut Rng) -> Result<Picture, PipelineError> {
        run(&self.ops[self.n_fixed()..], Canvas::from(prepared), rng)
    }

    /// How many of the first operations leave nothing to chance.
    pub fn n_fixed(&self) -> usize {
        self.ops.iter().take_while(|it| !it.is_random()).count()
    }

    /// Works out what there is to remember of a picture, and says whether a face was found, if one is
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

    /// The `[height, width]` of every picture that comes out, or what is wrong with the operations.
    pub fn size(&self) -> Result<[usize; 2], String> {
        if let Some((kind, problem)) =
            self.ops.iter().find_map(|it| Some((it.op.kind(), it.problem()?)))
        {
            return Err(format!("`{kind}`: {problem}"));
        }
        let mut later = self.ops.iter().skip_while(|it| it.studies());
        if let Some(late) = later.find(|it| it.studies()) {
            return Err(format!(
                "`{}` is slow, and remembered only of pictures that nothing was done to: put it \
                 first",
                late.op.kind()
            ));
        }
        self.ops.iter().fold(None, |size, step| step.size_after(size)).ok_or_else(|| {
            "no operation gives the pictures one size: add a `resize` or a crop".to_owned()
        })
    }

    /// The first operation whose result is left to chance.
    pub fn random_op(&self) -> Option<&'static str> {
        self.ops.iter().find(|it| it.is_random()).map(|it| it.op.kind())
    }
}

fn run(steps: &[Step], mut canvas: Canvas<'_>, rng: &mut Rng) -> Result<Picture, PipelineError> {
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
