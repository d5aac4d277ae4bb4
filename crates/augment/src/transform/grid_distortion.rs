//! Rows and columns of cells, each stretched or narrowed by its own random amount.
//!
//! Of `cells` intervals of equal length on a side of n pixels, the one with the draw u_i shows
//! n (1 + u_i) / Σ_j (1 + u_j) pixels.
//!
//! albumentations' `GridDistortion` (normalized, so that nothing leaves the frame), but that cells are of
//! equal length, where there the last has what remains of whole pixels; and that no pixel is shown twice
//! where cells meet.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{Border, Canvas, OpError, Range};

/// `kind = "grid_distortion"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GridDistortion {
    /// How many cells there are on each side.
    pub cells: usize,
    /// How much more of the image a cell shows, as a share: `[from, to]`, or d for `[-d, d]`.
    pub limit: Range,
}

impl Default for GridDistortion {
    /// albumentations'.
    fn default() -> GridDistortion {
        GridDistortion { cells: 5, limit: Range::around_zero(0.3) }
    }
}

/// The most cells.
const MOST: usize = 1024;

impl GridDistortion {
    /// What is added to the cells' shares, across and down.
    fn draw(&self, rng: &mut Rng) -> [Vec<f64>; 2] {
        [0, 1].map(|_| (0..self.cells).map(|_| self.limit.draw(rng)).collect())
    }
}

fn apply(canvas: &mut Canvas<'_>, [across, down]: [&[f64]; 2]) -> Result<(), OpError> {
    let [h, w] = canvas.size();
    let [xs, ys] = [places(w, across), places(h, down)];
    // Nothing beyond the edges is seen, so that any border will do.
    canvas.displace(Border::Replicate, |x, y| (xs[x as usize], ys[y as usize]))?;
    Ok(())
}

/// The place that each of the `n` pixels of a side shows.
fn places(n: usize, more: &[f64]) -> Vec<f64> {
    let sum: f64 = more.iter().map(|it| 1.0 + it).sum();
    // The ends of the cells, in a source of length 1.
    let ends: Vec<f64> = [0.0]
        .into_iter()
        .chain(more.iter().scan(0.0, |end, it| {
            *end += (1.0 + it) / sum;
            Some(*end)
        }))
        .collect();
    let place = |it: usize| {
        let at = (it as f64 + 0.5) * more.len() as f64 / n as f64;
        let cell = at as usize;
        n as f64 * (ends[cell] + (ends[cell + 1] - ends[cell]) * (at - cell as f64))
    };
    (0..n).map(place).collect()
}

impl Transform for GridDistortion {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let [across, down] = self.draw(rng);
        apply(canvas, [&across, &down])
    }

    fn is_random(&self) -> bool {
        self.cells > 1 && !self.limit.is_single()
    }

    fn problem(&self) -> Option<String> {
        if !(1..=MOST).contains(&self.cells) {
            return Some(format!("`cells` is how many, 1 to {MOST}, not {}", self.cells));
        }
        self.limit.problem("limit", -0.99..=10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{apply, places};
    use crate::{Canvas, transform::golden::Case};

    #[test]
    fn agrees_with_albumentations() {
        for case in Case::all("grid_distortion") {
            let mut canvas = Canvas::from(case.source());
            let [across, down]: [Vec<f64>; 2] = [case.to("across"), case.to("down")];
            apply(&mut canvas, [&across, &down]).unwrap();
            case.check_close(&canvas.finish().unwrap());
        }
    }

    #[test]
    fn a_wide_cell_is_shown_narrower() {
        // Of 8 pixels, the first half shows 1 + 2 of 4 quarters.
        let got = places(8, &[2.0, 0.0]);
        assert_eq!(got, [0.75, 2.25, 3.75, 5.25, 6.25, 6.75, 7.25, 7.75]);
        // More cells than pixels.
        assert_eq!(places(1, &[0.0; 5]), [0.5]);
    }
}
