//! The backward pass of a norm and its activation, of rows that are computed instead of stored.

use std::ops::Range;

use super::{
    deferred::Prologue,
    kernels::{Rows, add_backward_step},
};
use crate::{
    Activation,
    matmul::Layout,
    real::{Real, cast},
};

/// A norm without a gate, in the element type of the kernels.
pub(crate) struct Step<T> {
    pub(crate) scale: Vec<T>,
    pub(crate) shift: Vec<T>,
    center: Vec<T>,
    activation: Activation,
}

impl<T: Real> Step<T> {
    pub(crate) fn of(prologue: &Prologue) -> Step<T> {
        let Prologue { scale, shift, center, activation, .. } = prologue;
        let [scale, shift, center] = [scale, shift, center].map(|it| cast(it));
        Step { scale, shift, center, activation: *activation }
    }

    /// Replaces the gradients of some rows by those before the activation.
    ///
    /// - `zs`, `gs`, `apart`: rows of these channels, and their stride.
    /// - `values`: where the rows are written after norm and activation, if given.
    /// - `sums`: Σ d and Σ d·(z - center) of all channels, to which those of these rows are added.
    pub(crate) fn run(
        &self,
        channels: Range<usize>,
        (zs, gs, apart): (&[T], &mut [T], usize),
        mut values: Option<(&mut [T], Layout)>,
        sums: &mut [f64],
    ) {
        let (c, all) = (channels.len(), self.scale.len());
        let [scale, shift, center] =
            [&self.scale, &self.shift, &self.center].map(|it| &it[channels.clone()]);
        let constants = [scale, shift, scale, center, scale, scale];
        // As many rows as are summed in `T`.
        let pieces = zs.chunks(256 * apart).zip(gs.chunks_mut(256 * apart));
        for (idx, (zs, gs)) in pieces.enumerate() {
            let (n, activation) = (zs.len() / apart, self.activation);
            let rows = Rows { n, c, apart, activation, constants };
            let values =
                values.as_mut().map(|(it, layout)| (&mut it[256 * idx * layout.row..], *layout));
            let to = (&mut *sums, all, channels.clone());
            add_backward_step(rows, false, zs, gs, values, to);
        }
    }
}
