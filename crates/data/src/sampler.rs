//! Samplers: which examples an epoch sees, and in which order. One file a sampler.

mod balance_class;
mod dynamic_balance;
mod groups;
mod imbalanced;
mod one_per_person;
mod shuffled;
mod weighted;

use base::Rng;
use rand::{Rng as _, seq::SliceRandom as _};

use balance_class::BalanceClass;
use dynamic_balance::DynamicBalance;
pub use groups::Groups;
use imbalanced::Imbalanced;
use one_per_person::OnePerPerson;
use shuffled::Shuffled;
use weighted::Weighted;

base::choice! {
    /// `[data] sampler`: which examples an epoch sees, and in which order.
    pub enum SamplerConfig: dyn Sampler {
        /// Every example once, in random order.
        "shuffled" => Shuffled(Shuffled),
        /// Each draw by the weight of the example's class: `weights`, or 1 / its count to the `power`
        /// (PyTorch's WeightedRandomSampler).
        "weighted" => Weighted(Weighted),
        /// As many draws as examples, with replacement, each class as likely as any other (ufoym's
        /// ImbalancedDatasetSampler).
        "imbalanced" => Imbalanced(Imbalanced),
        /// The same number of examples of each class: "downsampling" to the rarest, "upsampling" to
        /// the most frequent, or a number (catalyst's BalanceClassSampler).
        "balance_class" => BalanceClass(BalanceClass),
        /// From the data's shares in the first epoch towards the same number of each class (catalyst's
        /// DynamicBalanceClassSampler).
        "dynamic_balance" => DynamicBalance(DynamicBalance),
        /// One random image of each person.
        "one_per_person" => OnePerPerson(OnePerPerson),
    }
}

/// An order of examples.
pub trait Sampler {
    /// What the classes of the [`Groups`] are to be: `joint`, a factor's name, or `years`.
    fn over(&self) -> &str {
        "joint"
    }

    /// How many examples an epoch has: a function of these arguments, and the length of its
    /// [order](Sampler::order).
    fn n_draws(&self, groups: &Groups, epoch_idx: usize) -> usize;

    /// The examples of an epoch, as positions on the training side.
    fn order(&self, groups: &Groups, epoch_idx: usize, rng: &mut Rng) -> Vec<usize>;

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Why the settings do not fit these examples, if they do not.
    fn misfit(&self, _: &Groups) -> Option<String> {
        None
    }
}

/// So many examples of each class, in random order: each at most once where the class has enough, and
/// with replacement where it has not.
///
/// - `counts`: of each class; a class without examples gives none.
fn stratified(groups: &Groups, counts: &[usize], rng: &mut Rng) -> Vec<usize> {
    let mut order = Vec::with_capacity(counts.iter().sum());
    for (members, &n) in groups.classes.iter().zip(counts) {
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
