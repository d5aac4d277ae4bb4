//! The partition of the work: tiles of some rows of an image and some of its channels, which fit a core's
//! cache.

use std::ops::Range;

use crate::{
    blocks::Part,
    matmul::{PANEL, padded, split},
    window::Grid,
};

/// Numbers of a frame: two of them stay in a core's L2 cache.
const FRAME: usize = 160 * 1024;

/// The groups of channels that are processed together.
pub(crate) fn groups(grid: &Grid, of: Range<usize>) -> Vec<Range<usize>> {
    let wide = group_len(grid, of.len());
    of.clone().step_by(wide).map(|first| first..(first + wide).min(of.end)).collect()
}

/// The parts at inference, of the positions of all images and their channels: as many as keep all threads busy,
/// of few channels rather than of few rows, since parts of few rows have halo rows in common, which would be
/// read, or computed, for each.
pub(super) fn parts(grid: &Grid, c: usize) -> Vec<Part> {
    let per_image = |n: usize| (n * rayon::current_num_threads()).div_ceil(grid.n.max(1));
    let wide = match per_image(4) {
        1 => c,
        n => split(c, 4 * n),
    };
    let [oh, ow] = grid.out;
    let most = rows_that_fit(grid, group_len(grid, wide)).clamp(1, oh);
    let n_rows = oh.div_ceil(per_image(2).div_ceil(c.div_ceil(wide)).max(oh.div_ceil(most)));
    let of_image = |image: usize| {
        let of_rows = move |it: Part| {
            let of_row = |row: usize| (image * oh + row) * ow;
            Part { rows: of_row(it.rows.start)..of_row(it.rows.end), cols: it.cols }
        };
        Part::all([oh, c], [n_rows, wide]).into_iter().map(of_rows)
    };
    (0..grid.n).flat_map(of_image).collect()
}

/// All channels, contiguous in memory, unless so few of their rows fit a frame that most would be read
/// twice, as halo rows above and below.
fn group_len(grid: &Grid, c: usize) -> usize {
    let mut wide = c;
    let enough = grid.out[0].min((3 * (grid.kernel[0] - 1)).div_ceil(grid.stride));
    while rows_that_fit(grid, wide) < enough && wide > NARROWEST {
        wide = (wide / 2).next_multiple_of(PANEL);
    }
    wide
}

/// The minimum number of channels for an efficient memory access.
const NARROWEST: usize = 256;

/// The number of output rows whose frame fits the limit.
fn rows_that_fit(grid: &Grid, c: usize) -> usize {
    let row = (grid.size[1] + grid.kernel[1]) * padded(c);
    (FRAME / row).saturating_sub(grid.kernel[0] - 1) / grid.stride
}

/// The tiles: an image, and its output rows that are processed together.
pub(crate) fn tiles(grid: &Grid, c: usize) -> Vec<(usize, Range<usize>)> {
    let (oh, tile) = (grid.out[0], tile_rows(grid, c));
    let of_image = (0..oh).step_by(tile).map(|first| first..(first + tile).min(oh));
    (0..grid.n).flat_map(|n| of_image.clone().map(move |rows| (n, rows))).collect()
}

/// The number of output rows per tile.
fn tile_rows(grid: &Grid, c: usize) -> usize {
    let most = rows_that_fit(grid, group_len(grid, c)).clamp(1, grid.out[0]);
    // Sixteen tiles of similar size; or fewer, so that the halo rows above and below are few relative to the
    // rows of the tile; at least four, if there are enough rows.
    let enough = (2 * (grid.kernel[0] - 1)).div_ceil(grid.stride).max(1);
    let of_image = |tiles: usize| tiles.div_ceil(grid.n.max(1));
    let wanted = of_image(16).min(grid.out[0] / enough).max(of_image(4));
    grid.out[0].div_ceil(wanted.max(grid.out[0].div_ceil(most)))
}
