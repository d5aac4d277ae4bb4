//! Who is taken for whom: counts of true and predicted classes, and the scores that follow.
//!
//! precision = tp / (tp + fp), recall = tp / (tp + fn), F1 = 2 tp / (2 tp + fp + fn); a quotient
//! without a denominator is 0.
//! Macro F1 leaves out classes that neither occur nor are predicted, and counts the others alike: as
//! scikit-learn's `f1_score(average="macro")` does without `labels`.

/// Counts of pictures by true and predicted class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    n_classes: usize,
    /// `[true, predicted]`, row-major.
    counts: Vec<usize>,
}

/// The scores of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassScore {
    /// Of those predicted, the share that is right.
    pub precision: f64,
    /// Of those that are, the share that is found.
    pub recall: f64,
    /// The harmonic mean of the two.
    pub f1: f64,
    /// How many there are.
    pub support: usize,
}

impl Confusion {
    /// No pictures yet.
    pub fn new(n_classes: usize) -> Confusion {
        Confusion { n_classes, counts: vec![0; n_classes * n_classes] }
    }

    /// The counts of pairs of (true, predicted) class.
    pub fn of(n_classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Confusion {
        let mut confusion = Confusion::new(n_classes);
        for (truth, predicted) in pairs {
            confusion.add(truth, predicted, 1);
        }
        confusion
    }

    /// Counts `n` more pictures.
    pub fn add(&mut self, truth: usize, predicted: usize, n: usize) {
        assert!(truth < self.n_classes && predicted < self.n_classes, "a class that is none");
        self.counts[truth * self.n_classes + predicted] += n;
    }

    /// How many classes there are.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// How many pictures of class `truth` were predicted as `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> usize {
        self.counts[truth * self.n_classes + predicted]
    }

    /// The scores of a class.
    pub fn class(&self, class: usize) -> ClassScore {
        let classes = 0..self.n_classes;
        let hits = self.count(class, class);
        let support: usize = classes.clone().map(|it| self.count(class, it)).sum();
        let predicted: usize = classes.map(|it| self.count(it, class)).sum();
        ClassScore {
            precision: quotient(hits, predicted),
            recall: quotient(hits, support),
            f1: quotient(2 * hits, support + predicted),
            support,
        }
    }

    /// Whether a class occurs or is predicted.
    fn takes_part(&self, class: usize) -> bool {
        (0..self.n_classes).any(|it| self.count(class, it) > 0 || self.count(it, class) > 0)
    }

    /// The mean F1 of the classes that occur or are predicted; 0 without pictures.
    pub fn macro_f1(&self) -> f64 {
        let classes = (0..self.n_classes).filter(|&it| self.takes_part(it));
        let (n, sum) = classes.fold((0, 0.0), |(n, sum), it| (n + 1, sum + self.class(it).f1));
        if n == 0 { 0.0 } else { sum / f64::from(n) }
    }

    /// The share of right predictions; 0 without pictures.
    pub fn accuracy(&self) -> f64 {
        let hits = (0..self.n_classes).map(|it| self.count(it, it)).sum();
        quotient(hits, self.counts.iter().sum())
    }
}

fn quotient(n: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { n as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::Confusion;

    #[test]
    fn scores_follow_from_counts() {
        // Class 0: 3 hits of 4, and 1 false alarm. Class 1: 2 hits of 3, 1 false alarm.
        let pairs = [(0, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (1, 0)];
        let confusion = Confusion::of(2, pairs);
        let zero = confusion.class(0);
        assert_eq!((zero.precision, zero.recall, zero.f1, zero.support), (0.75, 0.75, 0.75, 4));
        assert!((confusion.class(1).f1 - 2.0 / 3.0).abs() < 1e-12);
        assert!((confusion.macro_f1() - (0.75 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert!((confusion.accuracy() - 5.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn a_class_that_neither_occurs_nor_is_predicted_does_not_count() {
        assert_eq!(Confusion::of(3, [(0, 0), (1, 1)]).macro_f1(), 1.0);
        // One that is only predicted does: its F1 is 0.
        assert_eq!(Confusion::of(3, [(0, 0), (1, 2)]).macro_f1(), 1.0 / 3.0);
    }

    #[test]
    fn nothing_scores_nothing() {
        let confusion = Confusion::new(4);
        assert_eq!((confusion.macro_f1(), confusion.accuracy()), (0.0, 0.0));
    }
}
