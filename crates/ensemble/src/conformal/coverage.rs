//! How often sets hold the true class of images of groups that gave no scores, measured.
//!
//! The scores are those of all parts of the groups but one, and the sets those of the images of that part, until
//! every part had its turn. The share is taken over the images of each group, then over groups, as in the promise.

use rayon::prelude::*;

use crate::{Conformal, Coverage, HeldOut};

impl Conformal {
    /// Returns the coverage of sets of each level, by the first member of `held_out`.
    ///
    /// - `parts`: the part of each image, as of [`crate::parts`].
    ///
    /// Sets of CV+ take a prediction by the model of each fold, which held-out images do not have: this is that of
    /// split sets by the same scores.
    ///
    /// # Errors
    /// There are fewer than two parts, or a probability is not finite.
    pub fn coverage(
        held_out: &HeldOut,
        parts: &[usize],
        levels: &[f64],
    ) -> Result<Vec<Coverage>, String> {
        let n = held_out.n_images();
        let mut n_images_of = vec![0_usize; held_out.groups.iter().max().map_or(0, |it| it + 1)];
        held_out.groups.iter().for_each(|it| n_images_of[*it] += 1);
        let n_groups = n_images_of.iter().filter(|it| **it > 0).count();
        let none = |&level| Coverage { level, covered: 0.0, mean_size: 0.0, single: 0.0 };
        let mut all: Vec<Coverage> = levels.iter().map(none).collect();
        for part in 0..parts.iter().max().map_or(0, |it| it + 1) {
            let (own, others): (Vec<usize>, Vec<usize>) = (0..n).partition(|&it| parts[it] == part);
            let scores = Conformal::split(&held_out.subset(&others))?;
            for it in &mut all {
                let of_image = |&image: &usize| {
                    let set = scores.set(it.level, &[held_out.row(0, image)]);
                    (image, set.contains(&held_out.classes[image]), set.len())
                };
                let sets: Vec<(usize, bool, usize)> = own.par_iter().map(of_image).collect();
                for (image, is_covered, size) in sets {
                    let weight = 1.0 / (n_images_of[held_out.groups[image]] * n_groups) as f64;
                    it.covered += weight * f64::from(is_covered);
                    it.mean_size += weight * size as f64;
                    it.single += weight * f64::from(size == 1);
                }
            }
        }
        Ok(all)
    }
}
