//! Loss functions, one file each.
//!
//! A loss is bound to each output of a head, and then computed batch after batch: [`Criterion`] holds
//! the bound losses of all outputs.
//! To add one, write its file, declare it below, and give it a line in [`LossConfig`].
//! The zoo tests find it there, and check its gradient, its shapes and its extremes.

mod arcface;
mod bce;
mod class_weights;
mod criterion;
mod cross_entropy;
mod f1;
mod focal;
mod generalised_cross_entropy;
mod head_output;
mod ldam;
mod mse;
mod smooth_l1;
mod smoothing;
mod sum;
mod symmetric_cross_entropy;
mod targets;
mod terms;

use base::Clock;
use candle::Result;
use ops::Output;

pub use class_weights::ClassWeightsConfig;
pub use criterion::Criterion;
pub use head_output::{Counts, HeadOutput};
pub use targets::{Labels, Targets};
pub use terms::{LossTerms, Term, TermValue};

base::choice! {
    /// The `[loss]` section of a config.
    pub enum LossConfig: dyn LossKind, open Own {
        /// Cross-entropy between the target and the predicted distribution, with class weights and
        /// label smoothing; for regression outputs the squared error.
        "cross_entropy" => CrossEntropy(cross_entropy::CrossEntropy),
        /// Focal loss: cross-entropy with a lower weight on well-classified examples (Lin et al., 2017).
        "focal" => Focal(focal::Focal),
        /// Soft F1 loss: one minus the batch's macro F1, with probabilities instead of counts.
        "f1" => F1(f1::F1),
        /// LDAM: margins that are larger for rare classes; needs a `cosine` head (Cao et al., 2019).
        "ldam" => Ldam(ldam::Ldam),
        /// ArcFace: an additive angular margin; needs a `cosine` head (Deng et al., 2018).
        "arcface" => ArcFace(arcface::ArcFace),
        /// Binary cross-entropy of independent classes; needs a `sigmoid` head.
        "bce" => Bce(bce::Bce),
        /// Cross-entropy plus reverse cross-entropy, robust to label noise (Wang et al., 2019).
        "symmetric_cross_entropy" => Sce(symmetric_cross_entropy::SymmetricCrossEntropy),
        /// Between cross-entropy and mean absolute error, robust to label noise (Zhang and Sabuncu, 2018).
        "generalised_cross_entropy" => Gce(generalised_cross_entropy::GeneralisedCrossEntropy),
        /// The squared error of a predicted number.
        "mse" => Mse(mse::Mse),
        /// Smooth L1 of a predicted number: squared for small errors, absolute for large ones.
        "smooth_l1" => SmoothL1(smooth_l1::SmoothL1),
        /// Weighted sum of several losses, each for all outputs or for some of them.
        "sum" => Sum(sum::Sum),
    }
}

/// A bound loss, `None` where the loss does not apply, or the reason why it cannot be bound.
pub type Binding = std::result::Result<Option<Box<dyn Loss>>, String>;

/// The config of a loss, which binds it.
pub trait LossKind {
    /// Returns the problem with the settings, if any.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Returns a description of the outputs that it applies to, for example `classes`.
    fn accepts(&self) -> &'static str;

    /// Binds the loss to an output of a head; `None` where it does not apply to outputs of that form.
    ///
    /// # Errors
    /// Settings that do not fit the output, such as too few class weights.
    fn bind(&self, output: &HeadOutput<'_>) -> Binding;

    /// Returns an error message for a part that applies to none of the outputs, if there is one.
    fn idle(&self, _: &[HeadOutput<'_>]) -> Option<String> {
        None
    }
}

/// A bound loss: the distance between a network's output and its targets.
pub trait Loss {
    /// Computes the loss of one batch.
    ///
    /// - `output`: `[n, number]`, any real numbers, of the form that it was bound to.
    /// - `targets`: for each row of the batch the images that it is mixed from, with their labels: hard
    ///   labels are rows of one image, so that mixing and soft labels are not special cases.
    fn compute(&self, output: &Output, targets: &Targets, clock: &Clock) -> Result<LossTerms>;
}
