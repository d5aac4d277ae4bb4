//! Medians, and the ratios of measurements side by side.
//!
//! Other load on a machine changes from one round to the next by more than a change of the program, but it
//! affects both programs of a round: so the ratio is taken in each round, and then the median.

use std::fmt;

/// The median of measurements, and their range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Returns the spread of measurements; `None` if there are none. The median of an even number is the mean of
    /// the middle two.
    pub(super) fn of(xs: &[f64]) -> Option<Spread> {
        let mut xs = xs.to_vec();
        xs.sort_by(f64::total_cmp);
        let (min, max) = (*xs.first()?, *xs.last()?);
        let median = (xs[(xs.len() - 1) / 2] + xs[xs.len() / 2]) / 2.0;
        Some(Spread { median, min, max })
    }

    /// Returns the spread of the ratios of two programs, `ours[i]` to `theirs[i]` of round i.
    ///
    /// # Panics
    /// If there are not as many of each.
    pub(super) fn of_ratios(ours: &[f64], theirs: &[f64]) -> Option<Spread> {
        assert_eq!(ours.len(), theirs.len(), "a round has a figure of each program");
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
        Spread::of(&ratios)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_middle_two() {
        let spread = |xs: &[f64]| Spread::of(xs).unwrap();
        assert_eq!(spread(&[5.0, 1.0, 3.0]), Spread { median: 3.0, min: 1.0, max: 5.0 });
        // (2 + 4) / 2 = 3.
        assert_eq!(spread(&[8.0, 2.0, 4.0, 1.0]), Spread { median: 3.0, min: 1.0, max: 8.0 });
        assert_eq!(spread(&[7.0]), Spread { median: 7.0, min: 7.0, max: 7.0 });
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn the_ratio_is_the_median_of_those_of_the_rounds() {
        // 12/10, 30/20, 6/4, 50/40, 11/10: 1.2, 1.5, 1.5, 1.25, 1.1. The ratio of the medians would be 12/10.
        let ours = [12.0, 30.0, 6.0, 50.0, 11.0];
        let theirs = [10.0, 20.0, 4.0, 40.0, 10.0];
        let ratio = Spread::of_ratios(&ours, &theirs).unwrap();
        assert_eq!(ratio, Spread { median: 1.25, min: 1.1, max: 1.5 });
        assert_eq!(ratio.to_string(), "1.25 (1.10 to 1.50)");
    }

    #[test]
    fn load_that_slows_a_round_leaves_its_ratio() {
        // The second round at half, the third at a quarter of the speed, for both.
        let ratio = Spread::of_ratios(&[60.0, 30.0, 15.0], &[40.0, 20.0, 10.0]).unwrap();
        assert_eq!(ratio, Spread { median: 1.5, min: 1.5, max: 1.5 });
    }
}
