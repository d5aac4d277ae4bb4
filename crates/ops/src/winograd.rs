//! A dense 3x3 convolution of stride 1 with fewer multiplications: Winograd's F(2x2, 3x3).
//!
//! Results are computed in tiles of 2x2, each from a patch d of 4x4: Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A for each
//! pair of channels, with
//!
//! ```text
//!      1  0 -1  0        1    0    0         1  1  1  0
//! Bᵀ = 0  1  1  0    G = 1/2  1/2  1/2  Aᵀ = 0  1 -1 -1
//!      0 -1  1  0        1/2 -1/2  1/2
//!      0  1  0 -1        0    0    1
//! ```
//!
//! Summed over the input's channels, ⊙ is a matrix product for each of the 16 places of a patch: 16
//! multiplications for four results, instead of nine each, 36. The transforms of patches and
//! results are additions only, done register by register while a few tiles are in cache.
//!
//! Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015,
//! <https://arxiv.org/abs/1509.09308>. Larger tiles would save more, and lose accuracy.

use std::ops::Range;

use crate::{
    epilogue::Last,
    frame::Frame,
    kernel::lanes_kernel,
    lanes::Lanes,
    matmul::{End, Left, Panels, Rows, multiply},
    number::Number as _,
    real::Real,
    share::share,
    window::Grid,
};

/// Positions of a patch.
const PLACES: usize = 16;

/// Numbers of patches and results that are processed together, so that they stay in cache.
const FEW: usize = 512 * 1024;

/// The minimum number of tiles per pass over weights that do not fit a cache.
const ENOUGH: usize = 96;

const G: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// Whether the algorithm applies to a convolution, and it has enough channels.
pub(crate) fn fits(grid: &Grid, n_in: usize, n_out: usize) -> bool {
    grid.kernel == [3, 3] && grid.stride == 1 && n_in >= 8 && n_out >= 8
}

/// A transformed weight: G g Gᵀ at each position of a patch, as right matrices.
pub(crate) struct Weights<T> {
    places: Vec<Panels<T>>,
    n_in: usize,
    n_out: usize,
}

impl<T: Real> Weights<T> {
    /// - `w`: `[out, 3, 3, in]`.
    pub(crate) fn new(w: &[T], n_in: usize, n_out: usize) -> Weights<T> {
        let place = |place: usize, ()| {
            let of = transformed(w, place, false, n_in);
            Panels::of_columns(n_in, n_out, &of)
        };
        Weights { places: share(vec![(); PLACES], place), n_in, n_out }
    }

    /// The weight of the backward pass: from output gradients to input gradients, which is the convolution
    /// with the rotated kernel.
    pub(crate) fn backward(w: &[T], n_in: usize, n_out: usize) -> Weights<T> {
        let place = |place: usize, ()| {
            let of = transformed(w, place, true, n_in);
            Panels::of_rows(n_out, n_in, |row| &of[row * n_in..][..n_in])
        };
        let places = share(vec![(); PLACES], place);
        Weights { places, n_in: n_out, n_out: n_in }
    }

    /// Computes rows of results of some images.
    ///
    /// - `frames`: those of the images, concatenated, of [`evened`] size.
    /// - `rows`, `width`: the rows of results of an image, and all their columns.
    /// - `corner`: the map position of the patch of result (0, 0).
    /// - `ys`: `[image, row, width, out]`.
    pub(crate) fn convolve(
        &self,
        (frames, frame): (&[T], &Frame),
        rows: &Range<usize>,
        width: usize,
        corner: [isize; 2],
        ys: &mut [T],
        last: Option<Last<'_, T>>,
    ) {
        let Weights { n_in, n_out, .. } = *self;
        let mut tiles = Vec::new();
        for n in 0..frames.len() / frame.len() {
            for row in rows.clone().step_by(2) {
                let to = (n * rows.len() + row - rows.start) * width;
                tiles.extend((0..width).step_by(2).map(|col| Tile {
                    from: n * frame.len()
                        + frame.at(row as isize + corner[0], col as isize + corner[1]),
                    to: (to + col) * n_out,
                    n_rows: (rows.end - row).min(2),
                    n_cols: (width - col).min(2),
                }));
            }
        }
        let few = (FEW / (PLACES * (n_in + n_out))).max(ENOUGH).min(tiles.len());
        T::with_scratch(PLACES * few * n_in, |patches| {
            T::with_scratch(PLACES * few * n_out, |results| {
                for tiles in tiles.chunks(few.max(1)) {
                    self.some(
                        frames,
                        frame.row_len(),
                        tiles,
                        (patches, results),
                        ys,
                        (width, last),
                    );
                }
            });
        });
    }

    fn some(
        &self,
        frames: &[T],
        row_len: usize,
        tiles: &[Tile],
        (patches, results): (&mut [T], &mut [T]),
        ys: &mut [T],
        (width, last): (usize, Option<Last<'_, T>>),
    ) {
        let Weights { n_in, n_out, .. } = *self;
        let (n, into_row) = (tiles.len(), width * n_out);
        for it in tiles {
            assert!(it.from + 3 * row_len + 4 * n_in <= frames.len(), "a patch beyond the frame");
            let end = it.to + (it.n_rows - 1) * into_row + it.n_cols * n_out;
            assert!(end <= ys.len(), "no room for a tile");
            assert!(last.is_none_or(|it| it.fits(n_out, end)), "an epilogue of a different size");
        }
        assert!(patches.len() >= PLACES * n * n_in && results.len() >= PLACES * n * n_out);
        // SAFETY: the last number of each patch was just checked, and the room for all of them.
        unsafe { read_patches(frames.as_ptr(), row_len, tiles, n_in, patches.as_mut_ptr()) };
        for (idx, weight) in self.places.iter().enumerate() {
            let a = Left::rows(&patches[idx * n * n_in..][..n * n_in], n, n_in, n_in);
            let c = &mut results[idx * n * n_out..][..n * n_out];
            multiply(a, weight.right(), c, Rows::Apart(n_out), End::Store);
        }
        // SAFETY: as above, of each tile's results.
        unsafe {
            let into = Into { ys: ys.as_mut_ptr(), row: into_row, c: n_out, last };
            write_results(results.as_ptr(), tiles, into);
        }
    }
}

/// A frame that contains a whole patch for every tile: extended to an even number of rows and columns of
/// results.
pub(crate) fn evened(frame: Frame, rows: &Range<usize>, width: usize) -> Frame {
    let Frame { rows: in_rows, cols, c } = frame;
    let further = |it: Range<isize>, n: usize| it.start..it.end + (n % 2) as isize;
    Frame { rows: further(in_rows, rows.len()), cols: further(cols, width), c }
}

/// G g Gᵀ at one position, `[out, in]`.
fn transformed<T: Real>(w: &[T], place: usize, is_turned: bool, n_in: usize) -> Vec<T> {
    let (row, col) = (G[place / 4], G[place % 4]);
    let factors: Vec<(usize, T)> = (0..9)
        .map(|tap| (if is_turned { 8 - tap } else { tap }, row[tap / 3] * col[tap % 3]))
        .filter(|it| it.1 != 0.0)
        .map(|(tap, factor)| (tap, T::of(factor)))
        .collect();
    let mut of = vec![T::ZERO; w.len() / 9];
    for (of, w) in of.chunks_exact_mut(n_in).zip(w.chunks_exact(9 * n_in)) {
        for &(tap, factor) in &factors {
            let w = &w[tap * n_in..][..n_in];
            of.iter_mut().zip(w).for_each(|(of, &w)| *of += factor * w);
        }
    }
    of
}

/// A tile of 2x2 results, or fewer at the end of rows and columns.
struct Tile {
    /// The offset of its patch in the frames.
    from: usize,
    /// The offset of its first result.
    to: usize,
    n_rows: usize,
    n_cols: usize,
}

/// The destination of the results.
struct Into<'a, T> {
    ys: *mut T,
    /// The stride of the rows.
    row: usize,
    c: usize,
    last: Option<Last<'a, T>>,
}

/// Bᵀ of four registers.
#[inline(always)]
unsafe fn spread<V: Lanes>([a, b, c, d]: [V; 4]) -> [V; 4] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let less = V::splat(-V::Number::ONE);
        let one = V::splat(V::Number::ONE);
        [c.mul_add(less, a), b.mul_add(one, c), b.mul_add(less, c), d.mul_add(less, b)]
    }
}

/// Aᵀ of four registers.
#[inline(always)]
unsafe fn gather<V: Lanes>([a, b, c, d]: [V; 4]) -> [V; 2] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let less = V::splat(-V::Number::ONE);
        let one = V::splat(V::Number::ONE);
        let first = b.mul_add(one, c).mul_add(one, a);
        [first, d.mul_add(less, c.mul_add(less, b))]
    }
}

/// Transposes an array.
#[inline(always)]
fn turned<V: Copy, const N: usize, const M: usize>(of: [[V; N]; M]) -> [[V; M]; N] {
    std::array::from_fn(|col| std::array::from_fn(|row| of[row][col]))
}

lanes_kernel! {
    /// Bᵀ d B of each tile's patch, position by position.
    unsafe fn read_patches(
        frames: *const T, row_len: usize, tiles: &[Tile], c: usize, into: *mut T,
    ) {
        for (idx, tile) in tiles.iter().enumerate() {
            for channel in (0..c).step_by(V::LANES) {
                let some = c - channel;
                // SAFETY: guaranteed by the caller.
                unsafe {
                    let from = frames.add(tile.from + channel);
                    let mut rows = [[V::splat(T::ZERO); 4]; 4];
                    for (y, row) in rows.iter_mut().enumerate() {
                        for (x, it) in row.iter_mut().enumerate() {
                            *it = V::load_some(from.add(y * row_len + x * c), some);
                        }
                        *row = spread(*row);
                    }
                    let cols = turned(rows);
                    for (x, col) in cols.into_iter().enumerate() {
                        for (y, it) in spread(col).into_iter().enumerate() {
                            let place = (4 * y + x) * tiles.len() + idx;
                            it.store_some(into.add(place * c + channel), some);
                        }
                    }
                }
            }
        }
    }
}

lanes_kernel! {
    /// Aᵀ m A of each tile, and the epilogue.
    unsafe fn write_results(from: *const T, tiles: &[Tile], into: Into<'_, T>) {
        let Into { ys, row, c, last } = into;
        for (idx, tile) in tiles.iter().enumerate() {
            for channel in (0..c).step_by(V::LANES) {
                let some = c - channel;
                // SAFETY: guaranteed by the caller.
                unsafe {
                    let mut rows = [[V::splat(T::ZERO); 2]; 4];
                    for (y, row) in rows.iter_mut().enumerate() {
                        let place = |x: usize| (4 * y + x) * tiles.len() + idx;
                        let at = |x: usize| V::load_some(from.add(place(x) * c + channel), some);
                        *row = gather([at(0), at(1), at(2), at(3)]);
                    }
                    let cols = turned(rows);
                    for (x, col) in cols.into_iter().enumerate().take(tile.n_cols) {
                        for (y, it) in gather(col).into_iter().enumerate().take(tile.n_rows) {
                            let at = tile.to + y * row + x * c;
                            let it = match &last {
                                Some(last) => last.of(it, channel, at + channel, some),
                                None => it,
                            };
                            it.store_some(ys.add(at + channel), some);
                        }
                    }
                }
            }
        }
    }
}
