//! Elastic transform: displaces every pixel by a smooth random field.
//!
//! dx = α G_σ * n, and dy likewise with another n: n is uniform in -1..1, independent for each pixel, and G_σ
//! is a Gaussian. The standard deviation of the displacement is about 0.16 α / σ pixels.
//!
//! Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks Applied to Visual
//! Document Analysis", 2003. albumentations' `ElasticTransform` with uniform noise, with two differences: for
//! a wide Gaussian, the field is computed on a grid of every (σ/2)th pixel, with noise scaled down
//! accordingly, which after smoothing is equal to a few percent; and the two fields are smoothed separately.
//! In torchvision, the same α displaces half as far. The border is that of albumentations 1, mirrored;
//! albumentations 2 has black.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::Transform;
use crate::{Border, Canvas, OpError};

/// `kind = "elastic"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Elastic {
    /// α, the scale of the displacement.
    pub alpha: f64,
    /// σ, the smoothness in pixels.
    pub sigma: f64,
    /// How pixels outside of the image are filled.
    pub border: Border,
}

impl Default for Elastic {
    /// torchvision's defaults: a displacement of about 1.6 pixels.
    fn default() -> Elastic {
        Elastic { alpha: 50.0, sigma: 5.0, border: Border::Reflect }
    }
}

/// Displacements to the right and down, on a grid.
struct Field {
    nodes: [Vec<f32>; 2],
    rows: usize,
    columns: usize,
    /// The number of pixels between nodes; the first node is half as far from the edge.
    spacing: usize,
}

impl Elastic {
    fn sample(&self, [h, w]: [usize; 2], rng: &mut Rng) -> Field {
        let spacing = ((self.sigma / 2.0) as usize).max(1);
        let [rows, columns] = [h, w].map(|it| it.div_ceil(spacing));
        // The mean of the noise of spacing^2 pixels has a standard deviation smaller by this factor.
        let most = 1.0 / spacing as f32;
        let nodes = [0, 1].map(|_| {
            (0..rows * columns).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * most).collect()
        });
        let mut field = Field { nodes, rows, columns, spacing };
        field.smooth(self.sigma / spacing as f64, self.alpha);
        field
    }
}

impl Field {
    /// Convolves with `alpha` times a Gaussian of `sigma` nodes. The outermost nodes are replicated beyond
    /// the edges.
    fn smooth(&mut self, sigma: f64, alpha: f64) {
        let reach = (4.0 * sigma).round() as usize;
        let bell = (0..=2 * reach).map(|it| {
            let off = (it as f64 - reach as f64) / sigma;
            (-off * off / 2.0).exp()
        });
        let sum: f64 = bell.clone().sum();
        let weights = |scale: f64| bell.clone().map(|it| (it / sum * scale) as f32).collect();
        let [across, down]: [Vec<f32>; 2] = [weights(1.0), weights(alpha)];
        let (rows, columns) = (self.rows, self.columns);
        for nodes in &mut self.nodes {
            let mut wide = vec![0.0; columns + 2 * reach];
            for row in nodes.chunks_exact_mut(columns) {
                wide[..reach].fill(row[0]);
                wide[reach..reach + columns].copy_from_slice(row);
                wide[reach + columns..].fill(row[columns - 1]);
                row.fill(0.0);
                for (weight, part) in across.iter().zip(wide.windows(columns)) {
                    add(row, part, *weight);
                }
            }
            let mut smooth = vec![0.0; rows * columns];
            for (row, sum) in smooth.chunks_exact_mut(columns).enumerate() {
                for (it, weight) in down.iter().enumerate() {
                    let row = (row + it).saturating_sub(reach).min(rows - 1);
                    add(sum, &nodes[row * columns..][..columns], *weight);
                }
            }
            *nodes = smooth;
        }
    }

    fn apply(&self, canvas: &mut Canvas<'_>, border: Border) -> Result<(), OpError> {
        let scale = 1.0 / self.spacing as f64;
        let between = |at: f64, n: usize| {
            let at = (at * scale - 0.5).clamp(0.0, (n - 1) as f64);
            let before = at as usize;
            (before, (before + 1).min(n - 1), (at - before as f64) as f32)
        };
        canvas.displace(border, |x, y| {
            let (left, right, fx) = between(x, self.columns);
            let (top, bottom, fy) = between(y, self.rows);
            let [dx, dy] = [0, 1].map(|it| {
                let node = |row: usize, column: usize| self.nodes[it][row * self.columns + column];
                let across = |row| node(row, left) + (node(row, right) - node(row, left)) * fx;
                f64::from(across(top) + (across(bottom) - across(top)) * fy)
            });
            (x + dx, y + dy)
        })?;
        Ok(())
    }
}

/// Adds `weight` times `part` to `sum`.
fn add(sum: &mut [f32], part: &[f32], weight: f32) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum += part * weight;
    }
}

impl Transform for Elastic {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        if self.alpha > 0.0 {
            self.sample(canvas.size(), rng).apply(canvas, self.border)?;
        }
        Ok(())
    }

    fn is_random(&self) -> bool {
        self.alpha > 0.0
    }

    fn problem(&self) -> Option<String> {
        let Elastic { alpha, sigma, .. } = self;
        if !(0.0..=1e5).contains(alpha) {
            return Some(format!(
                "`alpha`, the scale of the displacement, must be 0 to 100000, not {alpha}"
            ));
        }
        let is_fit = (1.0..=1000.0).contains(sigma);
        (!is_fit).then(|| format!("`sigma`, the smoothness, must be 1 to 1000 pixels, not {sigma}"))
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;
    use testkit::numbers;

    use super::{Elastic, Field};
    use crate::{Border, Canvas, transform::golden::Case};

    #[test]
    fn agrees_with_albumentations() {
        for case in Case::all("elastic") {
            let mut canvas = Canvas::from(case.source());
            let [rows, columns] = canvas.size();
            let noise: Vec<f32> =
                numbers("elastic", 2 * rows * columns).into_iter().map(|it| it as f32).collect();
            let (right, down) = noise.split_at(rows * columns);
            let nodes = [right.to_vec(), down.to_vec()];
            let mut field = Field { nodes, rows, columns, spacing: 1 };
            field.smooth(case.to("sigma"), case.to("alpha"));
            field.apply(&mut canvas, Border::Reflect).unwrap();
            case.check_close(&canvas.finish().unwrap());
        }
    }

    #[test]
    fn a_coarse_field_displaces_as_far_as_a_fine_one() {
        // The standard deviation of smoothed noise: α / √3 / (2 √π σ).
        for sigma in [3.0, 8.0, 20.0] {
            let op = Elastic { alpha: 10.0 * sigma, sigma, ..Elastic::default() };
            let field = op.sample([600, 800], &mut Seed(0).stream("test"));
            let [xs, ys] = field.nodes;
            let square = |it: &f32| f64::from(it * it);
            let sum: f64 = xs.iter().chain(&ys).map(square).sum();
            let got = (sum / (xs.len() + ys.len()) as f64).sqrt();
            assert!((got / 1.629 - 1.0).abs() < 0.1, "{sigma}: {got}");
        }
    }
}
