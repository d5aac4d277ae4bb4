//! Contrast-limited adaptive histogram equalisation (CLAHE).
//!
//! The lightness L of CIE Lab is equalised in each tile of a grid by its histogram, which is clipped at a
//! limit, the excess being redistributed evenly; between tile centres, the four nearest tiles are
//! interpolated.
//!
//! Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV, 1994, as in OpenCV;
//! and albumentations' `CLAHE`, with the limit uniform in a range.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{Transform, lab, range_problem, tables::Table};
use crate::{
    Canvas, Image, OpError,
    sample::{Border, index_inside},
};

/// `kind = "clahe"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clahe {
    /// The minimum and maximum clip limit, as a multiple of a histogram's mean.
    pub clip_limit: [f64; 2],
    /// The number of tiles: rows and columns.
    pub tile_grid: [usize; 2],
}

impl Default for Clahe {
    /// albumentations' defaults.
    fn default() -> Clahe {
        Clahe { clip_limit: [1.0, 4.0], tile_grid: [8, 8] }
    }
}

impl Transform for Clahe {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let limit = rng.random_range(self.clip_limit[0]..=self.clip_limit[1]);
        change(canvas.pixels()?, limit, self.tile_grid);
        Ok(())
    }

    fn is_random(&self) -> bool {
        self.clip_limit[0] < self.clip_limit[1]
    }

    fn problem(&self) -> Option<String> {
        if self.tile_grid.iter().any(|it| !(1..=100).contains(it)) {
            return Some(format!(
                "`tile_grid` must be the number of tiles [rows, columns], 1 to 100 each, not {:?}",
                self.tile_grid
            ));
        }
        range_problem("clip_limit", "limits", self.clip_limit, [1.0, 1e6])
    }
}

/// Equalises the lightness.
fn change(image: &mut Image, limit: f64, grid: [usize; 2]) {
    let (w, h) = (image.width() as usize, image.height() as usize);
    let labs: Vec<[u8; 3]> = image.as_chunks::<3>().0.iter().map(|it| lab::from_rgb(*it)).collect();
    // If the grid does not divide both sides, the image is mirrored beyond both.
    let [rows, columns] = match h.is_multiple_of(grid[0]) && w.is_multiple_of(grid[1]) {
        true => [h / grid[0], w / grid[1]],
        false => [h / grid[0] + 1, w / grid[1] + 1],
    };
    let mirrored = |n: usize, side: usize| -> Vec<usize> {
        (0..n).map(|at| index_inside(at as i64, side as i64, Border::Reflect) as usize).collect()
    };
    let (ys, xs) = (mirrored(rows * grid[0], h), mirrored(columns * grid[1], w));
    let tile = |row: usize, column: usize| {
        let mut counts = [0_u32; 256];
        for y in &ys[row * rows..][..rows] {
            let labs = &labs[y * w..][..w];
            for &x in &xs[column * columns..][..columns] {
                counts[usize::from(labs[x][0])] += 1;
            }
        }
        equalized(&mut counts, limit, (rows * columns) as u32)
    };
    let tiles: Vec<Table> =
        (0..grid[0] * grid[1]).map(|it| tile(it / grid[1], it % grid[1])).collect();
    let across: Vec<Between> = (0..w).map(|x| Between::of(x, columns, grid[1])).collect();
    let pixels = labs.chunks_exact(w).zip(image.chunks_exact_mut(3 * w));
    for (y, (labs, bytes)) in pixels.enumerate() {
        let down = Between::of(y, rows, grid[0]);
        let [upper, lower] = [down.first, down.second].map(|it| &tiles[it * grid[1]..]);
        for ((lab, to), x) in labs.iter().zip(bytes.as_chunks_mut::<3>().0).zip(&across) {
            let l = usize::from(lab[0]);
            let blend = |it: &[Table]| {
                f32::from(it[x.first][l]) * (1.0 - x.share) + f32::from(it[x.second][l]) * x.share
            };
            let mixed = blend(upper) * (1.0 - down.share) + blend(lower) * down.share;
            *to = lab::to_rgb([(mixed + 0.5) as u8, lab[1], lab[2]]);
        }
    }
}

/// The two tiles between whose centres a pixel is, and the weight of the second.
struct Between {
    first: usize,
    second: usize,
    share: f32,
}

impl Between {
    fn of(at: usize, tile: usize, n: usize) -> Between {
        let place = at as f32 / tile as f32 - 0.5;
        let first = place.floor();
        let share = place - first;
        let inside = |it: f32| (it.max(0.0) as usize).min(n - 1);
        Between { first: inside(first), second: inside(first + 1.0), share }
    }
}

/// The equalised value of each value of a tile of `n` pixels.
fn equalized(counts: &mut [u32; 256], limit: f64, n: u32) -> Table {
    let limit = ((limit * f64::from(n) / 256.0) as u32).max(1);
    let mut cut = 0;
    for count in counts.iter_mut() {
        cut += count.saturating_sub(limit);
        *count = (*count).min(limit);
    }
    let (each, rest) = (cut / 256, cut as usize % 256);
    for count in counts.iter_mut() {
        *count += each;
    }
    // The remainder goes to some bins, evenly spaced.
    for count in counts.iter_mut().step_by((256 / rest.max(1)).max(1)).take(rest) {
        *count += 1;
    }
    let scale = 255.0 / n as f32;
    let mut sum = 0;
    counts.map(|count| {
        sum += count;
        (sum as f32 * scale).round_ties_even() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::transform::golden::check_golden;

    #[test]
    fn agrees_with_opencv() {
        check_golden("clahe", 3, |case, image| {
            change(image, case.to("limit"), case.to("grid"));
        });
    }
}
