//! The partition of a dense convolution: blocks of images and of output rows.

use std::ops::Range;

use crate::{window::Grid, winograd::Side};

/// Numbers of the frames of one block, if that makes enough blocks.
const FRAMES: usize = 256 * 1024;

/// The minimum number of outputs per pass over a weight, and its gradient, that do not fit a cache.
pub(super) const ENOUGH: usize = 192;

/// A block of work: some images, and output rows of each.
#[derive(Clone)]
pub(super) struct Block {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
}

/// The blocks of work: rows of large maps, several images of small ones, so that a weight that does not
/// fit a cache is read for many rows at a time.
///
/// With tiles, a block of a large map is whole rows of them.
///
/// - `fewest`: the least number of outputs of a block, if an image has as many.
pub(super) fn blocks(
    grid: &Grid,
    [n_in, n_out]: [usize; 2],
    side: Option<Side>,
    fewest: usize,
) -> Vec<Block> {
    let (n, oh) = (grid.n, grid.out[0]);
    let row_len = (grid.size[1] + grid.kernel[1]) * n_in * grid.stride
        + (grid.out[1] + grid.kernel[1]) * n_out;
    let halo = grid.kernel[0].div_ceil(grid.stride);
    let rows_that_fit = (FRAMES / row_len).max(1);
    let enough = ENOUGH.div_ceil(oh * grid.out[1]);
    let images = (rows_that_fit / (oh + halo)).max(enough).min(n / 4).max(1);
    if images > 1 {
        let first = (0..n).step_by(images);
        let block = |it| Block { images: it..(it + images).min(n), rows: 0..oh };
        return first.map(block).collect();
    }
    let most = rows_that_fit.saturating_sub(halo).clamp(1, oh);
    // At least eight blocks of similar size, if there are enough rows.
    let rows = oh.div_ceil(8_usize.div_ceil(n.max(1)).max(oh.div_ceil(most)));
    let rows = rows.max(fewest.div_ceil(grid.out[1].max(1)).min(oh));
    let rows = side.map_or(rows, |it| it.rows(rows, grid.out[1]));
    let of_image = (0..oh).step_by(rows).map(|first| first..(first + rows).min(oh));
    let blocks =
        (0..n).flat_map(|n| of_image.clone().map(move |rows| Block { images: n..n + 1, rows }));
    blocks.collect()
}

impl Block {
    /// The range of its rows in a tensor whose images have `of` rows.
    pub(super) fn span(&self, rows: &Range<usize>, of: usize) -> Range<usize> {
        self.images.start * of + rows.start..(self.images.end - 1) * of + rows.end
    }

    /// Maps the output rows: `f` gets the index of the image in the block, and the row.
    pub(super) fn outputs<R>(&self, mut f: impl FnMut(usize, usize) -> R) -> Vec<R> {
        let images = 0..self.images.len();
        let all = images.flat_map(|n| self.rows.clone().map(move |row| (n, row)));
        all.map(|(n, row)| f(n, row)).collect()
    }
}
