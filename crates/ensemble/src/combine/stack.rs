//! Stack: a multinomial logistic regression on the log-probabilities of all members.
//!
//! p = softmax(W x + b), where x holds ln max(p_mc, 10⁻⁷) for every member m and class c. W and b minimise
//!
//! Σ_i -ln p_{y_i} + ‖W‖² / (2 C)
//!
//! over the held-out images: scikit-learn's `LogisticRegression(C=C)`, with the multinomial form for two classes as
//! well. Wolpert, "Stacked Generalization", 1992.
//!
//! A class without a held-out image cannot be learned: it keeps the members' mean probability, and the others share
//! what is left.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Combine, CombineConfig, mean};
use crate::{
    Fit, HeldOut, Weights, calibration::softmax, image_sums::image_sums, minimise::minimise,
    whitening::Whitening,
};

/// `{ kind = "stack", c = 1.0 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stack {
    /// The inverse strength of the L2 penalty, from above 0, which is scikit-learn's `C` with its default.
    pub c: f64,
    /// W, `[class][member * n_classes + class]`; empty for a class without held-out images; fitted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coefficients: Vec<Vec<f64>>,
    /// b, `[class]`; fitted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub intercepts: Vec<f64>,
}

impl Default for Stack {
    fn default() -> Stack {
        Stack { c: 1.0, coefficients: Vec::new(), intercepts: Vec::new() }
    }
}

/// The largest number of coefficients.
const MOST_COEFFICIENTS: usize = 100_000;

/// The largest number of features of all images, of 8 bytes each.
const MOST_FEATURES: usize = 200_000_000;

/// The largest product of images and coefficients: about a second for each step of the fit.
const MOST_PRODUCTS: usize = 4_000_000_000;

/// The largest number of features that are whitened.
const MOST_WHITENED: usize = 512;

impl Combine for Stack {
    fn combine(&self, members: &[&[f64]]) -> Vec<f64> {
        let mut combined = mean(members.iter().copied(), &[]);
        let features: Vec<f64> = members.iter().flat_map(|it| it.iter()).map(feature).collect();
        let is_learned = |class: &usize| !self.coefficients[*class].is_empty();
        let (learned, absent): (Vec<usize>, Vec<usize>) = (0..combined.len()).partition(is_learned);
        let logit = |&class: &usize| {
            let products = self.coefficients[class].iter().zip(&features).map(|(w, x)| w * x);
            self.intercepts[class] + products.sum::<f64>()
        };
        let mut shares: Vec<f64> = learned.iter().map(logit).collect();
        softmax(&mut shares);
        let kept: f64 = absent.iter().map(|&it| combined[it]).sum();
        let left = (1.0 - kept).max(0.0);
        learned.iter().zip(shares).for_each(|(&class, share)| combined[class] = left * share);
        combined
    }

    fn problem(&self, n_members: usize, n_classes: usize) -> Option<String> {
        let is_fine = |row: &Vec<f64>| {
            (row.is_empty() || row.len() == n_members * n_classes)
                && row.iter().all(|it| it.is_finite())
        };
        let are_fine = self.coefficients.len() == n_classes
            && self.intercepts.len() == n_classes
            && self.coefficients.iter().all(is_fine)
            && self.intercepts.iter().all(|it| it.is_finite());
        let problem = (!are_fine).then(|| {
            format!(
                "`coefficients` and `intercepts` do not fit {n_members} members and {n_classes} classes"
            )
        });
        self.problem_of_c().or(problem)
    }

    fn weights(&self) -> Option<&[f64]> {
        None
    }

    fn fit(&self, held_out: &HeldOut, how: &Fit) -> Result<CombineConfig, String> {
        if how.weights != Weights::default() {
            return Err("a `stack` has no weights of members: leave them out".to_owned());
        }
        if let Some(problem) = self.problem_of_c() {
            return Err(problem);
        }
        let n_classes = held_out.task.n_classes();
        let mut occurs = vec![false; n_classes];
        held_out.classes.iter().for_each(|&it| occurs[it] = true);
        let learned: Vec<usize> = (0..n_classes).filter(|&it| occurs[it]).collect();
        if let Some(problem) = too_large(held_out, learned.len()) {
            return Err(problem);
        }
        if learned.len() < 2 {
            return Err("a `stack` takes held-out images of at least 2 classes".to_owned());
        }
        let (coefficients, intercepts) = regression(held_out, &learned, self.c);
        let mut fitted = Stack {
            c: self.c,
            coefficients: vec![Vec::new(); n_classes],
            intercepts: vec![0.0; n_classes],
        };
        for ((&class, row), intercept) in learned.iter().zip(coefficients).zip(intercepts) {
            fitted.coefficients[class] = row;
            fitted.intercepts[class] = intercept;
        }
        Ok(CombineConfig::Stack(fitted))
    }

    fn is_fitted(&self, _how: &Fit) -> bool {
        true
    }
}

impl Stack {
    /// Probabilities below this are raised to it before their logarithm is taken.
    pub const LOWEST: f64 = 1e-7;

    fn problem_of_c(&self) -> Option<String> {
        let is_fine = self.c.is_finite() && self.c > 0.0;
        (!is_fine).then(|| format!("`c` is more than 0, not {}", self.c))
    }
}

/// Returns why a stack cannot be fitted, if it is too large.
fn too_large(held_out: &HeldOut, n_learned: usize) -> Option<String> {
    let (n_images, n_members) = (held_out.n_images(), held_out.members.len());
    let n_features = n_members.saturating_mul(held_out.task.n_classes());
    let n_coefficients = n_features.saturating_mul(n_learned);
    let is_fine = n_coefficients <= MOST_COEFFICIENTS
        && n_features.saturating_mul(n_images) <= MOST_FEATURES
        && n_coefficients.saturating_mul(n_images) <= MOST_PRODUCTS;
    (!is_fine).then(|| {
        format!(
            "a `stack` of {n_members} members for {n_learned} classes has {n_coefficients} coefficients, too \
             many to fit on {n_images} images (at most {MOST_COEFFICIENTS} coefficients, and \
             {MOST_PRODUCTS} coefficients times images): use `soft_vote` with fitted weights, or fewer members"
        )
    })
}

/// Returns ln max(p, 10⁻⁷); NaN stays NaN.
fn feature(p: &f64) -> f64 {
    if *p < Stack::LOWEST { Stack::LOWEST.ln() } else { p.ln() }
}

/// Returns the coefficients and the intercept of each of the `learned` classes.
fn regression(held_out: &HeldOut, learned: &[usize], c: f64) -> (Vec<Vec<f64>>, Vec<f64>) {
    let (n_images, n_classes) = (held_out.n_images(), held_out.task.n_classes());
    let (n_features, n) = (held_out.members.len() * n_classes, learned.len());
    let mut place = vec![0; n_classes];
    learned.iter().enumerate().for_each(|(idx, &class)| place[class] = idx);
    let mut features = vec![0.0; n_images * n_features];
    features.par_chunks_mut(n_features).enumerate().for_each(|(image, to)| {
        for (member, to) in to.chunks_mut(n_classes).enumerate() {
            let row = held_out.row(member, image);
            to.iter_mut().zip(row).for_each(|(to, p)| *to = feature(p));
        }
    });
    // Intercepts are not penalised, so centring changes them only, and spares the minimisation many steps.
    let mut means = image_sums(n_images, n_features, |images, sums| {
        for row in features[images.start * n_features..images.end * n_features].chunks(n_features) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    });
    means.iter_mut().for_each(|it| *it /= n_images as f64);
    features
        .par_chunks_mut(n_features)
        .for_each(|row| row.iter_mut().zip(&means).for_each(|(x, mean)| *x -= mean));
    // Members are alike: for features that are not, the minimum takes fewer than half the steps. Of the ridges that
    // were tried, a quarter of the penalty's curvature took the fewest.
    let whitening = (n_features <= MOST_WHITENED).then(|| {
        let whitening = Whitening::new(&features, n_features, 0.25 / (c * n_images as f64));
        features.par_chunks_mut(n_features).for_each(|row| whitening.whiten(row));
        whitening
    });
    // The coefficients are `[feature][class]`, then the intercepts.
    let n_coefficients = n_features * n;
    // Those of a class for the features, given those for whitened ones.
    let row = |coefficients: &[f64], class: usize| {
        let mut row: Vec<f64> = coefficients.iter().skip(class).step_by(n).copied().collect();
        whitening.iter().for_each(|it| it.unwhiten(&mut row));
        row
    };
    let objective = |at: &[f64]| {
        let (coefficients, intercepts) = at.split_at(n_coefficients);
        let mut gradient = image_sums(n_images, at.len() + 1, |images, sums| {
            let mut logits = vec![0.0; n];
            for image in images {
                let row = &features[image * n_features..][..n_features];
                logits.copy_from_slice(intercepts);
                for (x, row) in row.iter().zip(coefficients.chunks_exact(n)) {
                    logits.iter_mut().zip(row).for_each(|(logit, w)| *logit += x * w);
                }
                let class = place[held_out.classes[image]];
                let true_logit = logits[class];
                sums[at.len()] += softmax(&mut logits) - true_logit;
                logits[class] -= 1.0;
                let (of_coefficients, of_intercepts) = sums.split_at_mut(n_coefficients);
                for (x, sums) in row.iter().zip(of_coefficients.chunks_exact_mut(n)) {
                    sums.iter_mut().zip(&logits).for_each(|(sum, error)| *sum += x * error);
                }
                of_intercepts.iter_mut().zip(&logits).for_each(|(sum, error)| *sum += error);
            }
        });
        let mut loss = gradient.pop().unwrap_or_default();
        for class in 0..n {
            let mut row = row(coefficients, class);
            loss += row.iter().map(|w| w * w).sum::<f64>() / (2.0 * c);
            whitening.iter().for_each(|it| it.whiten(&mut row));
            let sums = gradient[..n_coefficients].iter_mut().skip(class).step_by(n);
            sums.zip(row).for_each(|(sum, w)| *sum += w / c);
        }
        let n_images = n_images as f64;
        gradient.iter_mut().for_each(|it| *it /= n_images);
        (loss / n_images, gradient)
    };
    let at = minimise(vec![0.0; n_coefficients + n], 1e-8, objective);
    let (coefficients, intercepts) = at.split_at(n_coefficients);
    let rows: Vec<Vec<f64>> = (0..n).map(|class| row(coefficients, class)).collect();
    let uncentred = |(row, intercept): (&Vec<f64>, &f64)| {
        intercept - row.iter().zip(&means).map(|(w, mean)| w * mean).sum::<f64>()
    };
    let intercepts = rows.iter().zip(intercepts).map(uncentred).collect();
    (rows, intercepts)
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};
    use metrics::{LogLoss, argmax};
    use testkit::{check_close_slices, numbers};

    use super::{Combine as _, Stack};
    use crate::{CombineConfig, Fit, HeldOut, Predicted, Weights};

    /// Two members for images of the first `n_occurring` of 4 classes: the first is often right, the second says
    /// the class after the true one.
    fn held_out(n: usize, n_occurring: usize) -> HeldOut {
        let noise = numbers("stack", n * 8);
        let classes: Vec<usize> = (0..n).map(|it| it * 5 % 7 % n_occurring).collect();
        let member = |which: usize| {
            let row = |image: usize| {
                let top = (classes[image] + which) % 4;
                let p = |class: usize| {
                    (2.0 * f64::from(class == top) + noise[(image * 2 + which) * 4 + class]).exp()
                };
                let p: Vec<f64> = (0..4).map(p).collect();
                let sum: f64 = p.iter().sum();
                p.into_iter().map(move |it| it / sum)
            };
            (0..n).flat_map(row).collect()
        };
        HeldOut {
            task: Task::new(vec![Factor::new("class", &["a", "b", "c", "d"])]),
            members: vec![member(0), member(1)],
            groups: (0..n).collect(),
            folds: vec![0; n],
            classes,
        }
    }

    fn fit(held_out: &HeldOut) -> CombineConfig {
        CombineConfig::Stack(Stack::default()).fit(held_out, &Fit::default()).expect("a stack")
    }

    #[test]
    fn one_coefficient_takes_the_power_of_a_probability() {
        // Logits 2 ln p: 0.64 and 0.04 of 0.68.
        let it = Stack {
            coefficients: vec![vec![2.0, 0.0], vec![0.0, 2.0]],
            intercepts: vec![0.0; 2],
            ..Stack::default()
        };
        check_close_slices(&it.combine(&[&[0.8, 0.2]]), &[16.0 / 17.0, 1.0 / 17.0], 1e-12);
        assert!(it.combine(&[&[0.0, 1.0]]).iter().all(|it| it.is_finite()));
        assert!(it.combine(&[&[f64::NAN, 1.0]])[0].is_nan());
    }

    #[test]
    fn a_member_that_confuses_classes_in_the_same_way_always_helps() {
        let held_out = held_out(400, 4);
        let score =
            |it: &CombineConfig| Predicted::combined(&held_out, it).score(&LogLoss::DEFAULT);
        let (stack, vote) = (score(&fit(&held_out)), score(&CombineConfig::default()));
        assert!(stack < 0.5 * vote, "{stack} beside {vote}");
    }

    #[test]
    fn a_class_without_images_keeps_the_mean_probability() {
        let held_out = held_out(200, 3);
        let CombineConfig::Stack(it) = fit(&held_out) else { panic!("not a stack") };
        assert!(it.coefficients[3].is_empty());
        assert_eq!(it.problem(2, 4), None);
        let p = it.combine(&[&[0.5, 0.2, 0.1, 0.2], &[0.2, 0.5, 0.2, 0.1]]);
        assert!(
            (p[3] - 0.15).abs() < 1e-12 && (p.iter().sum::<f64>() - 1.0).abs() < 1e-12,
            "{p:?}"
        );
        assert_eq!(argmax(&p), 0);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let few = held_out(10, 4);
        let refused = |c: f64, how: Fit, held_out: &HeldOut| {
            CombineConfig::Stack(Stack { c, ..Stack::default() }).fit(held_out, &how).unwrap_err()
        };
        assert!(refused(0.0, Fit::default(), &few).contains("`c` is more than 0"));
        let greedy = Fit { weights: Weights::Greedy, ..Fit::default() };
        assert!(refused(1.0, greedy, &few).contains("has no weights"));
        assert!(refused(1.0, Fit::default(), &held_out(10, 1)).contains("at least 2 classes"));
        let levels: Vec<String> = (0..400).map(|it| it.to_string()).collect();
        let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
        let many = HeldOut {
            task: Task::new(vec![Factor::new("class", &levels)]),
            classes: (0..400).collect(),
            groups: (0..400).collect(),
            folds: vec![0; 400],
            members: vec![vec![1.0 / 400.0; 400 * 400]],
        };
        let err = refused(1.0, Fit::default(), &many);
        assert!(err.contains("160000 coefficients") && err.contains("`soft_vote`"), "{err}");
    }

    #[test]
    fn coefficients_of_other_members_are_a_problem() {
        assert!(Stack::default().problem(2, 4).is_some());
        let CombineConfig::Stack(it) = fit(&held_out(50, 4)) else { panic!("not a stack") };
        assert_eq!(it.problem(2, 4), None);
        assert!(it.problem(3, 4).unwrap().contains("3 members"));
    }
}
