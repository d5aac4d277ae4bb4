//! Convolutions of channels in groups: narrow groups are joined until a product is worth it, with zeros
//! between them.

use std::borrow::Cow;

use crate::{matmul::PAD, real::Real, window::Grid, winograd};

/// Channels in groups, and how many groups make one product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Groups {
    /// Groups, and those that are joined.
    n: usize,
    joined: usize,
    /// Channels of one group.
    pub(super) n_in: usize,
    n_out: usize,
    taps: usize,
}

impl Groups {
    /// Those of a weight, if it fits.
    pub(super) fn of(weight: &[usize], kernel: [usize; 2], n_in: usize) -> Option<Groups> {
        let &[n_out, kh, kw, per_group] = weight else { return None };
        if [kh, kw] != kernel || per_group == 0 || !n_in.is_multiple_of(per_group) {
            return None;
        }
        let n = n_in / per_group;
        if n == 0 || !n_out.is_multiple_of(n) {
            return None;
        }
        // As many as fill two registers, so long as nothing is left over.
        let most = (2 * PAD / per_group.max(n_out / n).max(1)).clamp(1, n);
        let joined = (1..=most).rev().find(|it| n.is_multiple_of(*it)).unwrap_or(1);
        Some(Groups { n, joined, n_in: per_group, n_out: n_out / n, taps: kh * kw })
    }

    /// What the table of a pass's time calls it.
    pub(super) fn kind(&self, n_in: usize) -> &'static str {
        match (self.n, n_in) {
            (1, ..8) => "colours",
            (1, _) => "channels",
            _ => "groups",
        }
    }

    /// Whether 3x3 kernels may be taken apart as [`winograd`] does.
    pub(super) fn are_tiled(&self, grid: &Grid) -> bool {
        self.n == 1 && winograd::fits(grid, self.n_in, self.n_out)
    }

    /// How many products there are, and the channels in and out of each.
    pub(super) fn products(&self) -> (usize, usize, usize) {
        (self.n / self.joined, self.n_in * self.joined, self.n_out * self.joined)
    }

    /// Where rows of a group's inputs begin in a weight, and in one whose groups are joined.
    fn rows(self) -> impl Iterator<Item = (usize, usize)> {
        let Groups { joined, n_in, n_out, taps, .. } = self;
        (0..self.n * n_out * taps).map(move |row| {
            let place = row / (taps * n_out) % joined;
            (row * n_in, (row * joined + place) * n_in)
        })
    }

    /// A weight as products see it, `[out, kh, kw, in of the product]`: zeros between groups.
    pub(super) fn join<'a, T: Real>(&self, w: &'a [T]) -> Cow<'a, [T]> {
        if self.joined == 1 {
            return Cow::Borrowed(w);
        }
        let mut wide = vec![T::ZERO; w.len() * self.joined];
        for (from, to) in self.rows() {
            wide[to..][..self.n_in].copy_from_slice(&w[from..][..self.n_in]);
        }
        Cow::Owned(wide)
    }

    /// The gradient of the weight from that of what products see.
    pub(super) fn part<T: Real>(&self, wide: Vec<T>) -> Vec<T> {
        if self.joined == 1 {
            return wide;
        }
        self.rows().flat_map(|(_, at)| wide[at..][..self.n_in].iter().copied()).collect()
    }
}
