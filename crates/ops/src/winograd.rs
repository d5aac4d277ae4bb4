//! Dense 3x3 convolutions of stride 1 with fewer multiplications: Winograd's F(2x2, 3x3) and F(4x4, 3x3).
//!
//! Results are computed in tiles of MxM, each from a patch d of NxN, N = M + 2: Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A
//! for each pair of channels, with the matrices of [`points`]. Summed over the input's channels, ⊙ is a matrix
//! product for each of the N² positions of a patch: 4 multiplications per result, or 2.25, instead of 9. The
//! transforms of patches and results are done register by register while a few tiles are in cache.
//!
//! The gradient of the input is the convolution of the output's gradient with the rotated kernel. That of the
//! weight is the transpose of the same algorithm, Gᵀ [Σ (A y Aᵀ) ⊙ (Bᵀ d B)] G with the gradients y of the
//! results, summed over all tiles: as few multiplications again.
//!
//! Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015,
//! <https://arxiv.org/abs/1509.09308>. Our points for patches of 6 are others.
//!
//! In `f32` the largest error of results, relative to the largest result, is 2e-6 with tiles of 4x4, twice that of
//! the direct product, and 5e-7 with tiles of 2x2, less than it; for gradients it is alike, up to four times.

mod points;
mod tiles;
mod weights;

use std::{ops::Range, sync::Arc};

use candle::Result;
use tiles::{Into, Place, Tile, read_gradients, read_patches, tiles, write_results};

use crate::{
    Value,
    epilogue::Last,
    frame::Frame,
    matmul::{End, Layout, Left, PAD, Right, Rows, multiply},
    real::Real,
    target::Target,
    window::Grid,
};

/// Numbers of patches and results that are processed together, so that they stay in cache.
const FEW: usize = 128 * 1024;

/// The minimum number of tiles per pass over weights that do not fit a cache, times the positions of a patch.
const ENOUGH: usize = 1536;

/// The minimum number of tiles of one image in a block, if the image has as many.
const FEWEST: usize = 24;

/// The side of a tile of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Two = 2,
    Four = 4,
}

impl Side {
    /// The tiles of results and of the input's gradient that are fastest for the shape of a layer; `None` if
    /// that is the definition, or the algorithm does not apply.
    pub(crate) fn of_results(grid: &Grid, n_in: usize, n_out: usize) -> Option<Side> {
        Side::fastest(grid, n_in, n_out, 1)
    }

    /// The same for the gradient of the weight, whose sums are read and written.
    pub(crate) fn of_weight(grid: &Grid, n_in: usize, n_out: usize) -> Option<Side> {
        Side::fastest(grid, n_in, n_out, 2)
    }

    /// - `passes`: the number of times that the numbers of the weight are read or written.
    fn fastest(grid: &Grid, n_in: usize, n_out: usize, passes: usize) -> Option<Side> {
        if grid.kernel != [3, 3] || grid.stride != 1 || n_in < 8 || n_out < 8 {
            return None;
        }
        // Of one image, in multiplications per pair of channels: at 15 GB/s and 150 GFLOP/s a number of the
        // weight takes as long as twenty.
        let time = |n_positions: usize, n_tiles: usize| n_positions * (n_tiles + 20 * passes);
        let sides = [Side::Four, Side::Two]
            .map(|side| (time(side.n_positions(), side.n_tiles(grid.out)), Some(side)));
        let direct = (time(9, grid.out.iter().product()), None);
        let all = sides.into_iter().chain([direct]);
        all.min_by_key(|it| it.0).and_then(|it| it.1)
    }

    fn n_positions(self) -> usize {
        (self as usize + 2).pow(2)
    }

    /// The number of tiles of a map.
    fn n_tiles(self, out: [usize; 2]) -> usize {
        out.iter().map(|it| it.div_ceil(self as usize)).product()
    }

    /// The multiplications per pair of channels for a map of results.
    pub(crate) fn multiplications(self, out: [usize; 2]) -> usize {
        self.n_tiles(out) * self.n_positions()
    }

    /// The rows of a block of at least `rows`: whole tiles, and enough for a pass over the weight.
    pub(crate) fn rows(self, rows: usize, width: usize) -> usize {
        let side = self as usize;
        rows.max(FEWEST.div_ceil(width.div_ceil(side)) * side).next_multiple_of(side)
    }

    /// A frame that contains a whole patch for every tile: extended to whole tiles of rows and columns of
    /// results.
    pub(crate) fn extend(self, frame: Frame, rows: &Range<usize>, width: usize) -> Frame {
        let Frame { rows: in_rows, cols, c } = frame;
        let further = |it: Range<isize>, n: usize| {
            it.start..it.end + (n.next_multiple_of(self as usize) - n) as isize
        };
        Frame { rows: further(in_rows, rows.len()), cols: further(cols, width), c }
    }
}

/// A transformed weight, for tiles of either side.
pub(crate) enum Weights<T> {
    Two(Arc<Transformed<T, 2, 4>>),
    Four(Arc<Transformed<T, 4, 6>>),
}

impl<T: Real> Weights<T> {
    /// The weight of the forward pass, which is kept if it is constant.
    ///
    /// - `w`: the numbers of `weight`, `[out, 3, 3, in]`.
    pub(crate) fn forward(
        side: Side,
        weight: &Value,
        w: &[T],
        channels: [usize; 2],
    ) -> Result<Weights<T>> {
        Ok(match side {
            Side::Two => Weights::Two(weight.packed(|| Ok(Transformed::new(w, channels, false)))?),
            Side::Four => {
                Weights::Four(weight.packed(|| Ok(Transformed::new(w, channels, false)))?)
            }
        })
    }

    /// The weight of the backward pass: from output gradients to input gradients.
    ///
    /// - `w`: `[out, 3, 3, in]`.
    pub(crate) fn backward(side: Side, w: &[T], channels: [usize; 2]) -> Weights<T> {
        match side {
            Side::Two => Weights::Two(Arc::new(Transformed::new(w, channels, true))),
            Side::Four => Weights::Four(Arc::new(Transformed::new(w, channels, true))),
        }
    }

    /// Computes some channels of rows of results of some images.
    ///
    /// - `frames`: those of the images, concatenated, of [extended](Side::extend) size.
    /// - `rows`, `width`: the rows of results of an image, and all their columns.
    /// - `corner`: the map position of the patch of result (0, 0).
    /// - `channels`: all, or a range that begins at a multiple of [`PANEL`](crate::matmul::PANEL).
    /// - `ys`: `[image, row, width, out]`, from the first channel of the range on.
    /// - `last`: the epilogue of these channels.
    pub(crate) fn convolve(
        &self,
        frames: (&[T], &Frame),
        rows: (&Range<usize>, usize),
        corner: [isize; 2],
        channels: Range<usize>,
        to: (Target<'_, T>, Option<Last<'_, T>>),
    ) {
        match self {
            Weights::Two(it) => it.convolve(frames, rows, corner, channels, to),
            Weights::Four(it) => it.convolve(frames, rows, corner, channels, to),
        }
    }
}

/// G g Gᵀ at each position of a patch, as right matrices.
pub(crate) struct Transformed<T, const M: usize, const N: usize> {
    data: Vec<T>,
    layout: Layout,
    n_in: usize,
    n_out: usize,
}

impl<T: Real, const M: usize, const N: usize> Transformed<T, M, N> {
    fn new(w: &[T], [n_in, n_out]: [usize; 2], is_turned: bool) -> Self {
        let (data, layout) = weights::transformed::<T, N>(w, [n_in, n_out], is_turned);
        let (n_in, n_out) = if is_turned { (n_out, n_in) } else { (n_in, n_out) };
        Transformed { data, layout, n_in, n_out }
    }

    fn convolve(
        &self,
        (frames, frame): (&[T], &Frame),
        (rows, width): (&Range<usize>, usize),
        corner: [isize; 2],
        channels: Range<usize>,
        (mut ys, last): (Target<'_, T>, Option<Last<'_, T>>),
    ) {
        let (n_in, n_out) = (self.n_in, channels.len());
        assert!(
            channels.start.is_multiple_of(self.layout.panel) && channels.end <= self.n_out,
            "a range that does not begin at a panel"
        );
        let row = width * self.n_out;
        let place = Place { image: rows.len() * row, row, c: self.n_out };
        let n_images = frames.len() / frame.len();
        let all = tiles(M, (n_images, frame), (rows, width), corner, (0, place));
        let few = few::<N>(all.len(), [n_in, n_out]);
        with_matrices(N * N, few, [n_in, n_out], |patches, results| {
            for tiles in all.chunks(few) {
                read::<T, N>((frames, frame.row_len()), tiles, n_in, patches);
                for (idx, weight) in self.data.chunks_exact(self.data.len() / (N * N)).enumerate() {
                    let a =
                        Left::rows(&patches.of(idx)[..tiles.len() * n_in], tiles.len(), n_in, n_in);
                    let weight = &weight[channels.start * n_in..];
                    let b = Right::new(weight, n_in, n_out, self.layout);
                    multiply(a, b, results.of(idx), Rows::Apart(n_out), End::Store);
                }
                for end in tiles.iter().map(|it| it.end(place, n_out)) {
                    assert!(end <= ys.len(), "no room for a tile");
                    assert!(
                        last.is_none_or(|it| it.fits(n_out, end)),
                        "an epilogue of a different size"
                    );
                }
                let from = (results.numbers.as_ptr(), results.apart);
                // SAFETY: the last number of each tile was just checked; the results are those of all tiles.
                unsafe {
                    let ys = ys.as_mut_ptr();
                    write_results::<T, M, N>(from, tiles, Into { ys, place, n: n_out, last })
                };
            }
        });
    }
}

/// The sums of the gradients of a transformed weight, `[position, out, in]`.
pub(crate) struct Gradients {
    side: Side,
    channels: [usize; 2],
}

impl Gradients {
    pub(crate) fn new(side: Side, channels: [usize; 2]) -> Gradients {
        Gradients { side, channels }
    }

    /// The number of sums.
    pub(crate) fn len(&self) -> usize {
        self.side.n_positions() * self.channels[0] * self.channels[1]
    }

    /// Adds some rows of some images to the sums.
    ///
    /// - `xs`: the frames of the inputs, of [extended](Side::extend) size.
    /// - `gs`: the gradients of the results, in frames.
    /// - `rows`, `width`: the rows of results of an image, and all their columns.
    /// - `corner`: the map position of the patch of result (0, 0).
    pub(crate) fn add<T: Real>(
        &self,
        xs: (&[T], &Frame),
        gs: (&[T], &Frame),
        rows: (&Range<usize>, usize),
        corner: [isize; 2],
        sums: (&mut [T], bool),
    ) {
        match self.side {
            Side::Two => add_gradients::<T, 2, 4>(xs, gs, rows, corner, sums),
            Side::Four => add_gradients::<T, 4, 6>(xs, gs, rows, corner, sums),
        }
    }

    /// The gradient of the weight, `[out, 3, 3, in]`.
    pub(crate) fn of_weight<T: Real>(&self, sums: &[T]) -> Vec<T> {
        match self.side {
            Side::Two => weights::gradient::<T, 4>(sums, self.channels),
            Side::Four => weights::gradient::<T, 6>(sums, self.channels),
        }
    }
}

fn add_gradients<T: Real, const M: usize, const N: usize>(
    (xs, of_xs): (&[T], &Frame),
    (gs, of_gs): (&[T], &Frame),
    (rows, width): (&Range<usize>, usize),
    corner: [isize; 2],
    (sums, is_first): (&mut [T], bool),
) {
    let (n_in, n_out) = (of_xs.c, of_gs.c);
    let place = Place { image: of_gs.len(), row: of_gs.row_len(), c: n_out };
    let n_images = gs.len() / of_gs.len();
    let begin = of_gs.at(rows.start as isize, 0);
    let all = tiles(M, (n_images, of_xs), (rows, width), corner, (begin, place));
    let few = few::<N>(all.len(), [n_in, n_out]);
    with_matrices(N * N, few, [n_in, n_out], |patches, of_results| {
        for (idx, tiles) in all.chunks(few).enumerate() {
            let n = tiles.len();
            read::<T, N>((xs, of_xs.row_len()), tiles, n_in, patches);
            assert!(
                tiles.iter().all(|it| it.end(place, n_out) <= gs.len()),
                "gradients beyond the frame"
            );
            of_results.check::<N>(n * n_out);
            let into = (of_results.numbers.as_mut_ptr(), of_results.apart);
            // SAFETY: the last number of each tile was just checked, and there is room for all tiles.
            unsafe { read_gradients::<T, M, N>(gs.as_ptr(), place, tiles, into) };
            let end = if is_first && idx == 0 { End::Store } else { End::Add };
            for (idx, sums) in sums.chunks_exact_mut(n_out * n_in).enumerate() {
                let a = Left::columns(&of_results.of(idx)[..n * n_out], n_out, n, n_out, &[0]);
                // Whole registers may be read beyond the last number.
                let b = Right::new(&patches.of(idx)[..n * n_in + PAD], n, n_in, Layout::rows(n_in));
                multiply(a, b, sums, Rows::Apart(n_in), end);
            }
        }
    });
}

/// The number of tiles to process together.
fn few<const N: usize>(n_tiles: usize, [n_in, n_out]: [usize; 2]) -> usize {
    let most = (FEW / (N * N * (n_in + n_out))).max(ENOUGH / (N * N));
    // Parts of similar size.
    n_tiles.div_ceil(n_tiles.div_ceil(most).max(1)).next_multiple_of(8).max(1)
}

/// A matrix of tiles by channels for each position of a patch.
struct Matrices<'a, T> {
    numbers: &'a mut [T],
    /// The offset from one to the next.
    apart: usize,
}

impl<T> Matrices<'_, T> {
    /// Panics unless there is room for `n` numbers at each position.
    fn check<const N: usize>(&self, n: usize) {
        let has_room = n <= self.apart && N * N * self.apart <= self.numbers.len();
        assert!(has_room, "no room for the patches");
    }

    fn of(&mut self, position: usize) -> &mut [T] {
        &mut self.numbers[position * self.apart..][..self.apart]
    }
}

/// Calls `f` with room for the matrices of some tiles, twice.
fn with_matrices<T: Real>(
    n: usize,
    n_tiles: usize,
    channels: [usize; 2],
    f: impl FnOnce(&mut Matrices<'_, T>, &mut Matrices<'_, T>),
) {
    // An odd number of cache lines, since otherwise the same number of each matrix falls on the same lines of
    // a cache.
    let [first, second] = channels.map(|c| (n_tiles * c).next_multiple_of(2 * PAD) + PAD);
    T::with_scratch(n * first, |numbers| {
        let mut a = Matrices { numbers, apart: first };
        T::with_scratch(n * second, |numbers| {
            f(&mut a, &mut Matrices { numbers, apart: second });
        });
    });
}

/// Transforms the patches of tiles.
fn read<T: Real, const N: usize>(
    (frames, row_len): (&[T], usize),
    tiles: &[Tile],
    c: usize,
    into: &mut Matrices<'_, T>,
) {
    for it in tiles {
        assert!(it.from + (N - 1) * row_len + N * c <= frames.len(), "a patch beyond the frame");
    }
    into.check::<N>(tiles.len() * c);
    // SAFETY: the last number of each patch was just checked, and the room for all of them.
    unsafe {
        let into = (into.numbers.as_mut_ptr(), into.apart);
        read_patches::<T, N>(frames.as_ptr(), row_len, tiles, c, into);
    }
}

#[cfg(test)]
mod tests;
