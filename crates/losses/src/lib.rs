//! How wrong is a prediction? One file an answer.
//!
//! A loss is bound to each question of a head, and then judges what the network says to it, batch
//! after batch: [`Criterion`] holds the bound losses of all questions.
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
    pub enum LossConfig: dyn LossKind {
        /// Cross-entropy between the target and the predicted distribution, with class weights and
        /// label smoothing; of numbers the squared error.
        "cross_entropy" => CrossEntropy(cross_entropy::CrossEntropy),
        /// Cross-entropy that counts less where the answer is right already (Lin et al., 2017).
        "focal" => Focal(focal::Focal),
        /// One minus the batch's macro F1, with probabilities for counts.
        "f1" => F1(f1::F1),
        /// Margins that are larger for rare classes, on a `cosine` head (Cao et al., 2019).
        "ldam" => Ldam(ldam::Ldam),
        /// A margin between angles, on a `cosine` head (Deng et al., 2018).
        "arcface" => ArcFace(arcface::ArcFace),
        /// Binary cross-entropy of classes that are each right or not: for the `sigmoid` head.
        "bce" => Bce(bce::Bce),
        /// Cross-entropy both ways, which forgives wrong labels (Wang et al., 2019).
        "symmetric_cross_entropy" => Sce(symmetric_cross_entropy::SymmetricCrossEntropy),
        /// Between cross-entropy and absolute error, which forgives wrong labels (Zhang and Sabuncu, 2018).
        "generalised_cross_entropy" => Gce(generalised_cross_entropy::GeneralisedCrossEntropy),
        /// The squared error of the age in years.
        "mse" => Mse(mse::Mse),
        /// The error of the age in years, squared where it is small.
        "smooth_l1" => SmoothL1(smooth_l1::SmoothL1),
        /// Several losses, weighted, each for all questions or for some of them.
        "sum" => Sum(sum::Sum),
    }
}

/// A bound loss, none, or why there can be none.
pub type Binding = std::result::Result<Option<Box<dyn Loss>>, String>;

/// A loss's config, which knows how to bind it.
pub trait LossKind {
    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String> {
        None
    }

    /// What it judges, as a person calls it, for example `classes`.
    fn accepts(&self) -> &'static str;

    /// The loss of the answers to a question; `None` where it does not judge answers of that form.
    ///
    /// # Errors
    /// Settings that do not fit the question, such as too few class weights.
    fn bind(&self, output: &HeadOutput<'_>) -> Binding;

    /// Its part that judges none of the questions, if there is one.
    fn idle(&self, _: &[HeadOutput<'_>]) -> Option<String> {
        None
    }
}

/// A terms for the distance between what a network says to a question and what it should have
/// said.
pub trait Loss {
    /// Judges one batch.
    ///
    /// - `output`: `[n, number]`, any real numbers, of the form that it was bound to.
    /// - `targets`: for each row of the batch the images that it is made of, with their labels: hard
    ///   labels are rows of one image, so that mixing and soft labels are not special cases.
    fn compute(&self, output: &Output, targets: &Targets, clock: &Clock) -> Result<LossTerms>;
}
