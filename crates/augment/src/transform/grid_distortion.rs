//! Grid distortion: stretches or compresses each row and column of a grid by its own random amount.
//!
//! Of `cells` intervals of equal length on a side of n pixels, the one with the sample u_i shows
//! n (1 + u_i) / Σ_j (1 + u_j) pixels.
//!
//! albumentations' `GridDistortion` (normalized, so that nothing leaves the frame), with two differences:
//! cells have equal length, where there the last has the remaining whole pixels; and no pixel is shown twice
//! where cells meet.

use base::Rng;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{Border, Canvas, OpError, Range};

/// `kind = "grid_distortion"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GridDistortion {
    /// The number of cells on each side.
    pub cells: usize,
    /// The relative change of the part that a cell shows: `[from, to]`, or d for `[-d, d]`.
    pub limit: Range,
}

impl Default for GridDistortion {
    /// albumentations' defaults.
    fn default() -> GridDistortion {
        GridDistortion { cells: 5, limit: Range::around_zero(0.3) }
    }
}

/// The maximum number of cells.
const MAX_CELLS: usize = 1024;

impl GridDistortion {
    /// Samples the relative changes of the columns and the rows.
    fn sample(&self, rng: &mut Rng) -> [Vec<f64>; 2] {
        [0, 1].map(|_| (0..self.cells).map(|_| self.limit.sample(rng)).collect())
    }
}

fn apply(canvas: &mut Canvas<'_>, [across, down]: [&[f64]; 2]) -> Result<(), OpError> {
    let [h, w] = canvas.size();
    let [xs, ys] = [places(w, across), places(h, down)];
    // No point is outside of the image, so the border does not matter.
    canvas.displace(Border::Replicate, |x, y| (xs[x as usize], ys[y as usize]))?;
    Ok(())
}

/// The source coordinate of each of the `n` pixels of a side.
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
        let [across, down] = self.sample(rng);
        apply(canvas, [&across, &down])
    }

    fn is_random(&self) -> bool {
        self.cells > 1 && !self.limit.is_single()
    }

    fn problem(&self) -> Option<String> {
        if !(1..=MAX_CELLS).contains(&self.cells) {
            return Some(format!("`cells` must be 1 to {MAX_CELLS}, not {}", self.cells));
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
        // Of 8 pixels, the first half shows 1 + 2 of 4 quarters of the source.
        let got = places(8, &[2.0, 0.0]);
        assert_eq!(got, [0.75, 2.25, 3.75, 5.25, 6.25, 6.75, 7.25, 7.75]);
        // More cells than pixels.
        assert_eq!(places(1, &[0.0; 5]), [0.5]);
    }
}
