//! Merging the predictions for several views of an image into one distribution.
//!
//! For views v with weights w_v, which sum to 1, and the probabilities p_vc of class c:
//!
//! - `mean`: Σ w_v p_vc.
//! - `logits`: the log-odds ln(p / (1 - p)) of each class against all others are averaged; σ of the mean,
//!   normalised.
//! - `geometric`: Π p_vc ^ w_v, normalised. The mean of a softmax's logits is the same.
//! - `max`: max p_vc, normalised; weights do not matter. fastai's `use_max`, which does not normalise.
//!
//! A probability of 0 or 1 of a rounded softmax would be decisive alone, whatever the other views predict:
//! `logits` and `geometric` limit probabilities to 1e-7..=1 - 1e-7 (the spacing of f32 below 1).

use serde::{Deserialize, Serialize};

/// How the predictions for several views are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// The mean of the probabilities.
    #[default]
    Mean,
    /// The mean of the log-odds of each class.
    Logits,
    /// The geometric mean of the probabilities: the mean of a softmax's logits.
    Geometric,
    /// The maximum probability of each class.
    Max,
}

impl Merge {
    /// The limits of probabilities whose logarithms are averaged.
    pub const LIMITS: [f64; 2] = [1e-7, 1.0 - 1e-7];

    /// All ways to merge.
    pub const ALL: [Merge; 4] = [Merge::Mean, Merge::Logits, Merge::Geometric, Merge::Max];

    /// Returns one distribution; that of a single view is returned unchanged. Where a probability is NaN or
    /// infinite, every one of the result is NaN.
    ///
    /// A predicted number, such as an age, is not merged here: its mean by weight is what is meant whatever the
    /// way to merge.
    ///
    /// - `views`: at least one; of each its weight and its distribution over the same classes. The weights sum
    ///   to 1.
    pub fn merge(self, views: &[(f64, &[f64])]) -> Vec<f64> {
        if let [(_, only)] = views {
            return only.to_vec();
        }
        let classes = 0..views.first().map_or(0, |it| it.1.len());
        if !views.iter().all(|it| it.1.iter().all(|p| p.is_finite())) {
            return vec![f64::NAN; classes.len()];
        }
        let of_view = |f: fn(f64) -> f64| {
            move |class: usize| views.iter().map(|(w, p)| w * f(p[class])).sum::<f64>()
        };
        match self {
            Merge::Mean => classes.map(of_view(|p| p)).collect(),
            Merge::Logits => {
                let mean = of_view(|p| (limited(p) / (1.0 - limited(p))).ln());
                normalised(classes.map(|it| 1.0 / (1.0 + (-mean(it)).exp())).collect())
            }
            Merge::Geometric => {
                let mean = of_view(|p| limited(p).ln());
                normalised(classes.map(|it| mean(it).exp()).collect())
            }
            Merge::Max => {
                let most = |class: usize| views.iter().map(|it| it.1[class]).fold(0.0, f64::max);
                normalised(classes.map(most).collect())
            }
        }
    }
}

fn limited(p: f64) -> f64 {
    p.clamp(Merge::LIMITS[0], Merge::LIMITS[1])
}

/// Divides by the sum.
fn normalised(mut shares: Vec<f64>) -> Vec<f64> {
    let sum: f64 = shares.iter().sum();
    shares.iter_mut().for_each(|it| *it /= sum);
    shares
}
