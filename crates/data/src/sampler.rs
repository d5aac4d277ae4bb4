//! Samplers: which examples an epoch uses, and in which order. One file per sampler.

mod balance_class;
mod by_class;
mod dynamic_balance;
mod imbalanced;
mod one_per_group;
mod shuffled;
mod weighted;

use base::Rng;
use rand::{Rng as _, seq::SliceRandom as _};

use balance_class::BalanceClass;
pub use by_class::ByClass;
use dynamic_balance::DynamicBalance;
use imbalanced::Imbalanced;
use one_per_group::OnePerGroup;
use shuffled::Shuffled;
use weighted::Weighted;

base::choice! {
    /// `[data] sampler`: which examples an epoch uses, and in which order.
    pub enum SamplerConfig: dyn Sampler {
        /// Samples every example once, in random order.
        "shuffled" => Shuffled(Shuffled),
        /// Samples examples with the weight of their class: `weights`, or 1 / class count to the `power`
        /// (PyTorch's WeightedRandomSampler).
        "weighted" => Weighted(Weighted),
        /// Samples as many examples as there are, with replacement, each class with the same probability
        /// (ufoym's ImbalancedDatasetSampler).
        "imbalanced" => Imbalanced(Imbalanced),
        /// Samples the same number of examples from each class: "downsampling" to the rarest,
        /// "upsampling" to the most frequent, or a number (catalyst's BalanceClassSampler).
        "balance_class" => BalanceClass(BalanceClass),
        /// Samples with class shares that move from the data's in the first epoch towards equal shares
        /// (catalyst's DynamicBalanceClassSampler).
        "dynamic_balance" => DynamicBalance(DynamicBalance),
        /// Samples one random image per group.
        "one_per_group" => OnePerGroup(OnePerGroup),
    }
}

/// A sampler: chooses the examples of each epoch, and their order.
pub trait Sampler {
    /// Returns which classes the [`ByClass`] need: `joint`, a factor's name, or its number's, such as
    /// `age.number`.
    fn over(&self) -> &str {
        "joint"
    }

    /// Returns the number of examples in an epoch: a function of these arguments only, equal to the length
    /// of [`order`](Sampler::order).
    fn n_samples(&self, by_class: &ByClass, epoch_idx: usize) -> usize;

    /// Returns the examples of an epoch, as positions in the training set.
    fn order(&self, by_class: &ByClass, epoch_idx: usize, rng: &mut Rng) -> Vec<usize>;

    /// Returns what is wrong with the settings, if anything.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Returns why the settings do not fit these examples, if they do not.
    fn misfit(&self, _: &ByClass) -> Option<String> {
        None
    }
}

/// Samples a given number of examples from each class, in random order: without replacement where the class
/// has enough, with replacement where it does not.
///
/// - `counts`: the number for each class; a class without examples gives none.
fn stratified(by_class: &ByClass, counts: &[usize], rng: &mut Rng) -> Vec<usize> {
    let mut order = Vec::with_capacity(counts.iter().sum());
    for (members, &n) in by_class.classes.iter().zip(counts) {
        match members.len() {
            0 => {}
            n_members if n > n_members => {
                order.extend((0..n).map(|_| members[rng.random_range(0..n_members)]));
            }
            _ => {
                let mut members = members.clone();
                order.extend_from_slice(members.partial_shuffle(rng, n).0);
            }
        }
    }
    order.shuffle(rng);
    order
}
