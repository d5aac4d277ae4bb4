//! Held-out predictions of several models for the same images: what ensembles, calibrations and thresholds are
//! fitted on.

use base::Task;
use rayon::prelude::*;

/// The predictions of several models for the same images, none of which trained on the image.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOut {
    /// The factors and classes.
    pub task: Task,
    /// The true joint class of each image.
    pub classes: Vec<usize>,
    /// The group of each image, numbered from 0; people, mostly.
    pub groups: Vec<usize>,
    /// The fold that held the image out, numbered from 0; all 0 where there are no folds.
    pub folds: Vec<usize>,
    /// For each model the probabilities of the joint classes, `[image * n_classes + class]`.
    pub members: Vec<Vec<f64>>,
}

impl HeldOut {
    /// Returns the number of images.
    pub fn n_images(&self) -> usize {
        self.classes.len()
    }

    /// Returns the probabilities of one member for one image.
    pub fn row(&self, member: usize, image: usize) -> &[f64] {
        let n = self.task.n_classes();
        &self.members[member][image * n..][..n]
    }

    /// Returns the probabilities of every member for one image.
    pub fn rows(&self, image: usize) -> Vec<&[f64]> {
        (0..self.members.len()).map(|it| self.row(it, image)).collect()
    }

    /// Returns the predictions for some images, in that order.
    #[must_use]
    pub fn subset(&self, images: &[usize]) -> HeldOut {
        let pick = |all: &[usize]| images.iter().map(|&it| all[it]).collect();
        let member =
            |idx: usize| images.iter().flat_map(|&it| self.row(idx, it)).copied().collect();
        HeldOut {
            task: self.task.clone(),
            classes: pick(&self.classes),
            groups: pick(&self.groups),
            folds: pick(&self.folds),
            members: (0..self.members.len()).map(member).collect(),
        }
    }

    /// Returns the same images and members, with what `f` makes of the number and the probabilities of each member.
    #[must_use]
    pub fn each(&self, f: impl Fn(usize, &[f64]) -> Vec<f64> + Sync) -> HeldOut {
        let n = self.task.n_classes();
        let member = |(idx, rows): (usize, &Vec<f64>)| {
            let mut to = vec![0.0; rows.len()];
            to.par_chunks_mut(n).zip(rows.par_chunks(n)).for_each(|(to, row)| {
                to.copy_from_slice(&f(idx, row));
            });
            to
        };
        self.with(self.members.iter().enumerate().map(member).collect())
    }

    /// Returns the same images without one member.
    #[must_use]
    pub fn without(&self, member: usize) -> HeldOut {
        let others = self.members.iter().enumerate().filter(|it| it.0 != member);
        self.with(others.map(|it| it.1.clone()).collect())
    }

    /// Returns the same images with one member: what `f` makes of the probabilities of all members.
    #[must_use]
    pub fn map(&self, f: impl Fn(&[&[f64]]) -> Vec<f64> + Sync) -> HeldOut {
        let n = self.task.n_classes();
        let mut member = vec![0.0; self.n_images() * n];
        member.par_chunks_mut(n).enumerate().for_each(|(image, to)| {
            to.copy_from_slice(&f(&self.rows(image)));
        });
        self.with(vec![member])
    }

    /// Returns the same images with other members.
    fn with(&self, members: Vec<Vec<f64>>) -> HeldOut {
        HeldOut {
            task: self.task.clone(),
            classes: self.classes.clone(),
            groups: self.groups.clone(),
            folds: self.folds.clone(),
            members,
        }
    }
}
