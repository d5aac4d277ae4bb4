//! Tiles of results, and their way to patches and back.

use std::ops::Range;

use super::points::{collect, evaluate, spread, turned};
use crate::{epilogue::Last, frame::Frame, kernel::lanes_kernel};

/// A tile of results, cut off at the end of rows and columns.
pub(super) struct Tile {
    /// The offset of its patch in the frames.
    pub(super) from: usize,
    /// The offset of its first result.
    pub(super) to: usize,
    pub(super) n_rows: usize,
    pub(super) n_cols: usize,
}

/// Where the results of a tile are: `[.., row, col, c]`.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The offset from one image to the next, and from one row to the next.
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) c: usize,
}

/// The tiles of rows of results of some images.
///
/// - `side`: that of a tile.
/// - `corner`: the map position of the patch of result (0, 0).
/// - `begin`: the offset of the result in the first row and column.
pub(super) fn tiles(
    side: usize,
    (n_images, frame): (usize, &Frame),
    (rows, width): (&Range<usize>, usize),
    corner: [isize; 2],
    (begin, place): (usize, Place),
) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for n in 0..n_images {
        for row in rows.clone().step_by(side) {
            let to = begin + n * place.image + (row - rows.start) * place.row;
            tiles.extend((0..width).step_by(side).map(|col| Tile {
                from: n * frame.len()
                    + frame.at(row as isize + corner[0], col as isize + corner[1]),
                to: to + col * place.c,
                n_rows: (rows.end - row).min(side),
                n_cols: (width - col).min(side),
            }));
        }
    }
    tiles
}

impl Tile {
    /// The end of the first `n` channels of its results.
    pub(super) fn end(&self, place: Place, n: usize) -> usize {
        self.to + (self.n_rows - 1) * place.row + (self.n_cols - 1) * place.c + n
    }
}

lanes_kernel! {
    /// Bᵀ d B of each tile's patch, to rows of positions that are `apart`.
    pub(super) unsafe fn read_patches<const N: usize>(
        frames: *const T, row_len: usize, tiles: &[Tile], c: usize, into: (*mut T, usize),
    ) {
        let (into, apart) = into;
        for (idx, tile) in tiles.iter().enumerate() {
            for channel in (0..c).step_by(V::LANES) {
                let some = c - channel;
                // SAFETY: guaranteed by the caller.
                unsafe {
                    let from = frames.add(tile.from + channel);
                    let mut rows = [[V::splat(T::ZERO); N]; N];
                    for (y, row) in rows.iter_mut().enumerate() {
                        for (x, it) in row.iter_mut().enumerate() {
                            *it = V::load_some(from.add(y * row_len + x * c), some);
                        }
                        *row = spread(*row);
                    }
                    let into = into.add(idx * c + channel);
                    for (x, col) in turned(rows).into_iter().enumerate() {
                        for (y, it) in spread(col).into_iter().enumerate() {
                            it.store_some(into.add((N * y + x) * apart), some);
                        }
                    }
                }
            }
        }
    }
}

/// The destination of the results.
pub(super) struct Into<'a, T> {
    pub(super) ys: *mut T,
    pub(super) place: Place,
    /// The number of channels, of all that a position has.
    pub(super) n: usize,
    pub(super) last: Option<Last<'a, T>>,
}

lanes_kernel! {
    /// Aᵀ m A of each tile, and the epilogue.
    pub(super) unsafe fn write_results<const M: usize, const N: usize>(
        from: (*const T, usize), tiles: &[Tile], into: Into<'_, T>,
    ) {
        let (from, apart) = from;
        let Into { ys, place: Place { row, c, .. }, n, last } = into;
        for (idx, tile) in tiles.iter().enumerate() {
            for channel in (0..n).step_by(V::LANES) {
                let some = n - channel;
                // SAFETY: guaranteed by the caller.
                unsafe {
                    let from = from.add(idx * n + channel);
                    let mut rows = [[V::splat(T::ZERO); M]; N];
                    for (y, row) in rows.iter_mut().enumerate() {
                        let mut line = [V::splat(T::ZERO); N];
                        for (x, it) in line.iter_mut().enumerate() {
                            *it = V::load_some(from.add((N * y + x) * apart), some);
                        }
                        *row = collect(line);
                    }
                    let cols = turned(rows);
                    for (x, col) in cols.into_iter().enumerate().take(tile.n_cols) {
                        let col: [V; M] = collect(col);
                        for (y, it) in col.into_iter().enumerate().take(tile.n_rows) {
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

lanes_kernel! {
    /// A g Aᵀ of the gradients of each tile, to rows of positions that are `apart`.
    pub(super) unsafe fn read_gradients<const M: usize, const N: usize>(
        gs: *const T, place: Place, tiles: &[Tile], into: (*mut T, usize),
    ) {
        let (c, (into, apart)) = (place.c, into);
        for (idx, tile) in tiles.iter().enumerate() {
            for channel in (0..c).step_by(V::LANES) {
                let some = c - channel;
                // SAFETY: guaranteed by the caller.
                unsafe {
                    let from = gs.add(tile.to + channel);
                    let mut rows = [[V::splat(T::ZERO); N]; M];
                    for (y, row) in rows.iter_mut().enumerate().take(tile.n_rows) {
                        let mut line = [V::splat(T::ZERO); M];
                        for (x, it) in line.iter_mut().enumerate().take(tile.n_cols) {
                            *it = V::load_some(from.add(y * place.row + x * c), some);
                        }
                        *row = evaluate(line);
                    }
                    let into = into.add(idx * c + channel);
                    for (x, col) in turned(rows).into_iter().enumerate() {
                        let col: [V; N] = evaluate(col);
                        for (y, it) in col.into_iter().enumerate() {
                            it.store_some(into.add((N * y + x) * apart), some);
                        }
                    }
                }
            }
        }
    }
}
