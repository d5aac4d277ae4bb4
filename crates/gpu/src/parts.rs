//! Partial sums by channel, one for each part of the rows that a block of threads has had.
//!
//! There are no atomic additions of floats: a second kernel (`norm.rs`) adds or merges the parts in their order, so
//! that every run has the same bits.

use crate::{Buffer, Device, Result};

/// Partial sums by channel.
#[derive(Debug)]
pub struct Parts {
    /// f32 numbers: see [`PartsKind`].
    pub buffer: Buffer,
    /// The number of parts.
    pub n: usize,
    /// The number of channels.
    pub c: usize,
    /// What was summed.
    pub kind: PartsKind,
}

/// What was summed, and how it lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartsKind {
    /// `[n][2][c]`: the mean of a part's numbers as they were stored, and their squares about it; then `[n]`: how many
    /// numbers each channel of the part has.
    Moments,
    /// `[n][2][c]`: Σ d and Σ d·(z - center), of d as it was stored.
    Norm,
    /// `[images][n / images][5][c]`, with u = scale·z + shift: Σ g·act(u), Σ g·act'(u), Σ g·act'(u)·(z - center),
    /// Σ act'(u) and Σ act'(u)·(z - center), of g as it was stored.
    Gate {
        /// The number of images.
        images: usize,
    },
}

impl Parts {
    /// Parts that are still to be written.
    ///
    /// # Errors
    /// If the card has no room.
    pub fn alloc(device: &Device, kind: PartsKind, n: usize, c: usize) -> Result<Self> {
        let numbers = match kind {
            PartsKind::Moments => n * (2 * c + 1),
            PartsKind::Norm => n * 2 * c,
            PartsKind::Gate { .. } => n * 5 * c,
        };
        Ok(Self { buffer: device.alloc(numbers * 4)?, n, c, kind })
    }
}
