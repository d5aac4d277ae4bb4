//! Weights of an ensemble's members, fitted on held-out predictions.
//!
//! What is fitted fits its own images too well, and more so by macro F1 and with many members: score it nested.

mod by;
#[cfg(test)]
mod fixture;
mod greedy;
mod log_loss;
mod macro_f1;
mod votes;

pub use by::By;

use crate::HeldOut;

/// How the weights of members are found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fit {
    /// Which weights.
    pub weights: Weights,
    /// By which score they are fitted.
    pub by: By,
}

/// The weights of members.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// These; equal ones if empty.
    Given(Vec<f64>),
    /// The best on the simplex.
    Fit,
    /// How often a greedy selection with replacement takes each member.
    Greedy,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights::Given(Vec::new())
    }
}

impl Fit {
    /// Whether the weights depend on the held-out predictions.
    pub fn is_fitted(&self) -> bool {
        !matches!(self.weights, Weights::Given(_))
    }

    /// Returns the same fit without one member.
    #[must_use]
    pub fn without(&self, member: usize) -> Fit {
        let mut fit = self.clone();
        if let Weights::Given(all) = &mut fit.weights
            && member < all.len()
        {
            all.remove(member);
        }
        fit
    }

    /// Returns the weights of the members of a vote with these ballots; fitted ones sum to 1.
    ///
    /// - `ballots`: what each member votes for, in place of its probabilities.
    pub(crate) fn weights_of(&self, ballots: &HeldOut) -> Vec<f64> {
        match (&self.weights, self.by) {
            (Weights::Given(all), _) => all.clone(),
            (Weights::Fit | Weights::Greedy, _) if ballots.members.len() == 1 => vec![1.0],
            (Weights::Fit, By::LogLoss) => log_loss::fit(ballots),
            (Weights::Fit, By::MacroF1) => macro_f1::fit(ballots),
            (Weights::Greedy, by) => greedy::fit(ballots, by),
        }
    }
}
