//! Which images of a manifest have pseudo-labels.

use std::{ops::Range, sync::Arc};

/// The pseudo-labelled images of a manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PseudoLabels {
    /// Their positions, the last of the manifest.
    pub images: Range<usize>,
    /// The first 16 digits of the file's SHA-256.
    pub hash: String,
    /// Images with the content of an image of the data, and the position of that one. Empty where no image was
    /// opened.
    pub copies: Vec<(usize, usize)>,
    /// The distribution of each image over the joint classes, one after the other; empty where labels are hard.
    pub(super) soft: Arc<[f32]>,
}

impl PseudoLabels {
    /// Returns whether an image has a pseudo-label.
    pub fn contains(&self, image: usize) -> bool {
        self.images.contains(&image)
    }

    /// Returns the soft label of an image: a distribution over the joint classes; empty where its label is hard.
    pub fn soft(&self, image: usize) -> &[f32] {
        if self.soft.is_empty() || !self.contains(image) {
            return &[];
        }
        let n_classes = self.soft.len() / self.images.len();
        &self.soft[(image - self.images.start) * n_classes..][..n_classes]
    }
}
