//! From encoded bytes to what a network sees: one type for training, validation and serving.

use base::Rng;
use serde::{Deserialize, Serialize};

use crate::{DecodeError, Picture, PictureOpConfig, Statistics, decode::decode};

/// Everything that happens to a picture before the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// What is done, in order.
    pub ops: Vec<PictureOpConfig>,
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
    /// Decodes a picture and applies the operations.
    pub fn apply(&self, bytes: &[u8], rng: &mut Rng) -> Result<Picture, PipelineError> {
        let mut picture = decode(bytes, self.max_pixels)?;
        for op in &self.ops {
            picture = op
                .get()
                .apply(picture, rng)
                .map_err(|reason| PipelineError::Op { kind: op.kind(), reason })?;
        }
        Ok(picture)
    }

    /// The `[height, width]` of every picture that comes out, or what is wrong with the operations.
    pub fn size(&self) -> Result<[usize; 2], String> {
        for op in &self.ops {
            if let Some(problem) = op.get().problem() {
                return Err(format!("`{}`: {problem}", op.kind()));
            }
        }
        let mut sizes = self.ops.iter().rev().filter_map(|it| it.get().gives_size());
        sizes.next().ok_or_else(|| {
            "no operation gives the pictures one size: add a `resize` or a crop".to_owned()
        })
    }

    /// The first operation whose result is left to chance.
    pub fn random_op(&self) -> Option<&'static str> {
        self.ops.iter().find(|it| it.get().is_random()).map(PictureOpConfig::kind)
    }
}
