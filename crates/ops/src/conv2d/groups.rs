//! Grouped convolutions: narrow groups are merged, with zeros between them, until a product is efficient.

use std::borrow::Cow;

use crate::{matmul::PAD, real::Real, window::Grid, winograd::Side};

/// The groups of channels, and the number of groups per product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Groups {
    /// The number of groups, and of those merged into one product.
    n: usize,
    joined: usize,
    /// The channels of one group.
    pub(super) n_in: usize,
    n_out: usize,
    taps: usize,
}

impl Groups {
    /// The groups of a weight, if its shape fits.
    pub(super) fn of(weight: &[usize], kernel: [usize; 2], n_in: usize) -> Option<Groups> {
        let &[n_out, kh, kw, per_group] = weight else { return None };
        if [kh, kw] != kernel || per_group == 0 || !n_in.is_multiple_of(per_group) {
            return None;
        }
        let n = n_in / per_group;
        if n == 0 || !n_out.is_multiple_of(n) {
            return None;
        }
        // As many as fill two registers, if they divide the number of groups.
        let most = (2 * PAD / per_group.max(n_out / n).max(1)).clamp(1, n);
        let joined = (1..=most).rev().find(|it| n.is_multiple_of(*it)).unwrap_or(1);
        Some(Groups { n, joined, n_in: per_group, n_out: n_out / n, taps: kh * kw })
    }

    /// The name in the profile.
    pub(super) fn kind(&self, n_in: usize) -> &'static str {
        match (self.n, n_in) {
            (1, ..8) => "few channels",
            (1, _) => "dense",
            _ => "grouped",
        }
    }

    /// The tiles of [`winograd`](crate::winograd) for results and the input's gradient, and for the weight's gradient; `None`
    /// without.
    pub(super) fn tiles(&self, grid: &Grid) -> (Option<Side>, Option<Side>) {
        let Groups { n: 1, n_in, n_out, .. } = *self else { return (None, None) };
        (Side::of_results(grid, n_in, n_out), Side::of_weight(grid, n_in, n_out))
    }

    /// The number of products, and the input and output channels of each.
    pub(super) fn products(&self) -> (usize, usize, usize) {
        (self.n / self.joined, self.n_in * self.joined, self.n_out * self.joined)
    }

    /// The offsets of the rows of a group's inputs in a weight, and in the merged weight.
    fn rows(self) -> impl Iterator<Item = (usize, usize)> {
        let Groups { joined, n_in, n_out, taps, .. } = self;
        (0..self.n * n_out * taps).map(move |row| {
            let place = row / (taps * n_out) % joined;
            (row * n_in, (row * joined + place) * n_in)
        })
    }

    /// The weight for the products, `[out, kh, kw, in of the product]`: zeros between groups.
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

    /// The gradient of the weight, from the gradient of the merged weight.
    pub(super) fn part<T: Real>(&self, wide: Vec<T>) -> Vec<T> {
        if self.joined == 1 {
            return wide;
        }
        self.rows().flat_map(|(_, at)| wide[at..][..self.n_in].iter().copied()).collect()
    }
}
