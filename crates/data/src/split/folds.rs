//! Which fold each group is held out in, for each repeat of a split.

use std::ops::Range;

use crate::manifest::{Manifest, Use};

/// A training set and a validation set, as positions in [`Manifest::examples`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sides {
    /// The training set.
    pub train: Vec<usize>,
    /// The validation set.
    pub valid: Vec<usize>,
}

/// The folds of a split, numbered from 0 through all repeats.
#[derive(Clone, Debug, PartialEq)]
pub struct Folds {
    /// The number of folds of a repeat.
    per_repeat: usize,
    /// For each repeat the fold of each group; `None` if it is never held out.
    fold_of: Vec<Vec<Option<usize>>>,
}

impl Folds {
    pub(super) fn new(per_repeat: usize, fold_of: Vec<Vec<Option<usize>>>) -> Folds {
        Folds { per_repeat, fold_of }
    }

    /// Returns the number of folds of all repeats.
    pub fn n(&self) -> usize {
        self.per_repeat * self.fold_of.len()
    }

    /// Returns the number of repeats.
    pub fn n_repeats(&self) -> usize {
        self.fold_of.len()
    }

    /// Returns the folds of a repeat.
    pub fn of_repeat(&self, repeat: usize) -> Range<usize> {
        repeat * self.per_repeat..(repeat + 1) * self.per_repeat
    }

    /// Returns the fold of a repeat that holds out an example.
    pub fn holding_out(&self, manifest: &Manifest, repeat: usize, example: usize) -> Option<usize> {
        let it = &manifest.examples[example];
        self.fold_of[repeat][it.group].filter(|_| it.usage == Use::Pool)
    }

    /// Returns the sets of a fold. Train-only images are in the training set unless their group is held out.
    pub fn sides(&self, manifest: &Manifest, fold: usize) -> Sides {
        let fold_of = &self.fold_of[fold / self.per_repeat];
        let is_stated = manifest.examples.iter().any(|it| it.usage == Use::Valid);
        let mut sides = Sides { train: Vec::new(), valid: Vec::new() };
        for (idx, it) in manifest.examples.iter().enumerate() {
            match (it.usage, fold_of[it.group] == Some(fold)) {
                (Use::Valid, _) => sides.valid.push(idx),
                (Use::Pool, true) if !is_stated => sides.valid.push(idx),
                (Use::Pool | Use::Train, false) => sides.train.push(idx),
                // Other images of a group who is held out, and images of the test set.
                (Use::Pool | Use::Train, true) | (Use::Test, _) => {}
            }
        }
        sides
    }

    /// Returns whether every fold has training and validation images.
    pub(super) fn are_filled(&self, manifest: &Manifest) -> bool {
        let n_stated = manifest.examples.iter().filter(|it| it.usage == Use::Valid).count();
        let n_trained = manifest.examples.iter().filter(|it| it.usage.may_train()).count();
        (0..self.n_repeats()).all(|repeat| {
            let folds = self.of_repeat(repeat);
            let (mut n_valid, mut n_out) = (vec![n_stated; folds.len()], vec![0; folds.len()]);
            for it in manifest.examples.iter().filter(|it| it.usage.may_train()) {
                if let Some(fold) = self.fold_of[repeat][it.group] {
                    n_out[fold - folds.start] += 1;
                    n_valid[fold - folds.start] += usize::from(it.usage == Use::Pool);
                }
            }
            n_valid.iter().zip(n_out).all(|(&n_valid, n_out)| n_valid > 0 && n_out < n_trained)
        })
    }
}
