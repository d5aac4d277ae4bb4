//! Occlusion: how far the score of a class falls where a grey square covers the image.
//!
//! The value of a pixel is the mean fall of the score over the squares that cover it, at least 0.
//! The side of a square is a fifth of the image's shorter side, and squares are half a side apart, beyond the
//! edges as well, so that a pixel is covered by one to four. They have the mean colour of the normalisation, which
//! is 0 in the network's input.
//!
//! Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", 2014,
//! <https://arxiv.org/abs/1311.2901>: they draw the score at the centre of each square.

use candle::{Result, Tensor};

/// Images in one forward pass.
const BATCH: usize = 16;

/// A square on an image, cut off at the edges.
struct Square {
    top: usize,
    bottom: usize,
    left: usize,
    right: usize,
}

/// Returns how far the score falls where a pixel is covered, `[h, w]` numbers, row by row, 0 or more.
///
/// - `xs`: `[1, h, w, 3]`, f32, normalised.
/// - `score`: from images `[n, h, w, 3]` to a score of each.
pub(crate) fn occlusion(
    xs: &Tensor,
    score: &dyn Fn(&Tensor) -> Result<Vec<f64>>,
) -> Result<Vec<f64>> {
    let (_, h, w, c) = xs.dims4()?;
    let whole = score(xs)?.first().copied().unwrap_or(f64::NAN);
    let image = xs.flatten_all()?.to_vec1::<f32>()?;
    let (mut sums, mut counts) = (vec![0.0; h * w], vec![0.0; h * w]);
    for some in squares(h, w).chunks(BATCH) {
        let mut covered = Vec::with_capacity(some.len() * image.len());
        for it in some {
            let start = covered.len();
            covered.extend_from_slice(&image);
            for row in it.top..it.bottom {
                covered[start + (row * w + it.left) * c..start + (row * w + it.right) * c]
                    .fill(0.0);
            }
        }
        let covered = Tensor::from_vec(covered, (some.len(), h, w, c), xs.device())?;
        for (it, score) in some.iter().zip(score(&covered)?) {
            for row in it.top..it.bottom {
                for at in row * w + it.left..row * w + it.right {
                    sums[at] += whole - score;
                    counts[at] += 1.0;
                }
            }
        }
    }
    // NaN is propagated.
    let positive = |it: f64| if it < 0.0 { 0.0 } else { it };
    Ok(sums.into_iter().zip(counts).map(|(sum, n): (f64, f64)| positive(sum / n)).collect())
}

fn squares(h: usize, w: usize) -> Vec<Square> {
    let side = h.min(w).div_ceil(5);
    let step = side.div_ceil(2);
    // The first begins before the edge, so that the outermost pixels are covered as often as the others.
    let spans = |n: usize| {
        let starts = (0..n + side).step_by(step).map(move |end| (end, n));
        let span = |(end, n): (usize, usize)| ((end + 1).saturating_sub(side), (end + 1).min(n));
        starts.map(span).filter(|(start, end)| start < end).collect::<Vec<_>>()
    };
    let columns = spans(w);
    let row = |(top, bottom): (usize, usize)| {
        let square = move |&(left, right): &(usize, usize)| Square { top, bottom, left, right };
        columns.iter().map(square).collect::<Vec<_>>()
    };
    spans(h).into_iter().flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use candle::{DType, Device, Result, Tensor};

    use super::{occlusion, squares};

    #[test]
    fn every_pixel_is_covered_about_equally_often() {
        for (h, w) in [(1, 1), (1, 7), (10, 10), (32, 24), (224, 224)] {
            let mut counts = vec![0; h * w];
            for it in squares(h, w) {
                for row in it.top..it.bottom {
                    counts[row * w + it.left..row * w + it.right].iter_mut().for_each(|n| *n += 1);
                }
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(*least >= 1 && *most <= 4, "{h} x {w}: {least} to {most}");
        }
        assert!((80..=200).contains(&squares(224, 224).len()), "{}", squares(224, 224).len());
    }

    #[test]
    fn the_map_is_where_the_score_is() -> Result<()> {
        // The score is the sum of one pixel's channels: only squares that cover it lower it.
        let xs = Tensor::ones((1, 20, 20, 3), DType::F32, &Device::Cpu)?;
        let score = |xs: &Tensor| -> Result<Vec<f64>> {
            let pixel = xs.narrow(1, 12, 1)?.narrow(2, 5, 1)?.flatten_from(1)?.sum(1)?;
            pixel.to_dtype(DType::F64)?.to_vec1()
        };
        let map = occlusion(&xs, &score)?;
        let largest = map.iter().copied().fold(0.0, f64::max);
        assert_eq!((map[12 * 20 + 5], largest), (3.0, 3.0));
        // Squares have a side of 4.
        let is_near = |at: usize| (at / 20).abs_diff(12) < 4 && (at % 20).abs_diff(5) < 4;
        assert!((0..400).all(|at| is_near(at) || map[at] == 0.0), "{map:?}");
        // What raises the score when it is covered counts as 0.
        let lowered = occlusion(&xs, &|xs| Ok(score(xs)?.iter().map(|it| -it).collect()))?;
        assert!(lowered.iter().all(|&it| it == 0.0));
        Ok(())
    }
}
