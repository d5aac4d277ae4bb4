//! Where the epochs of a run end.
//!
//! The sampler determines the length of an epoch, which may change from one epoch to the next.
//! All lengths are known before the first step, so that a step is a function of its index alone.

use std::ops::Range;

use crate::{Length, clock::ROUNDING};

/// The epochs of a run, in optimizer steps; by default, none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epochs {
    /// Steps completed at the end of each epoch; the last epoch may end after the run.
    ends: Vec<usize>,
    /// Steps of the run.
    total: usize,
    /// The full run, if this one takes only some of its steps, each as an epoch of its own.
    whole: Option<Box<Whole>>,
}

/// A full run of which only some steps are taken.
#[derive(Clone, Debug, PartialEq)]
struct Whole {
    epochs: Epochs,
    /// Steps of the full run completed before each step that is taken.
    moments: Vec<usize>,
}

/// A run with more epochs is rejected as an implausible value, probably a typo.
const MOST: usize = 1_000_000;

impl Epochs {
    /// The epochs of a run of the length `total`.
    ///
    /// - `n_steps`: the number of steps of the epoch with this index, from 0.
    ///
    /// # Errors
    /// A run without steps, or of more than a million epochs; and the errors of `n_steps`.
    pub fn new(
        total: Length,
        n_steps: impl Fn(usize) -> Result<usize, String>,
    ) -> Result<Epochs, String> {
        let is_covered = |ends: &[usize]| match total {
            Length::Epochs(n) => ends.len() as f64 >= n,
            Length::Steps(n) => ends.last().copied().unwrap_or(0) >= n,
            Length::Percent(_) => true,
        };
        let mut ends = Vec::new();
        while !is_covered(&ends) {
            let (epoch_idx, done) = (ends.len(), ends.last().copied().unwrap_or(0));
            if epoch_idx == MOST {
                return Err(format!("at `train.total`: {total} is more than {MOST} epochs"));
            }
            ends.push(done + n_steps(epoch_idx)?);
        }
        let mut epochs = Epochs { ends, total: 0, whole: None };
        epochs.total = total.to_steps(&epochs);
        match epochs.total {
            0 => Err("at `train.total`: the run has no steps: write \"3 epochs\" or \"500 steps\""
                .to_owned()),
            _ => Ok(epochs),
        }
    }

    /// The epochs of a run of several parts, one after the other. An epoch that the end of a part cuts short ends
    /// there.
    pub fn joined<'a>(parts: impl IntoIterator<Item = &'a Epochs>) -> Epochs {
        let mut joined = Epochs::default();
        for part in parts {
            if let Some(last) = joined.ends.last_mut() {
                *last = joined.total;
            }
            joined.ends.extend(part.ends.iter().map(|it| joined.total + it));
            joined.total += part.total;
        }
        joined
    }

    /// A run that takes only some steps of this one, each as an epoch of its own. Lengths are converted
    /// to the steps taken, and epochs are counted as in the full run.
    ///
    /// - `moments`: the indices of the steps taken, ascending, all within the run.
    pub fn only(self, moments: Vec<usize>) -> Epochs {
        let total = moments.len();
        Epochs {
            ends: (1..=total).collect(),
            total,
            whole: Some(Box::new(Whole { epochs: self, moments })),
        }
    }

    /// The epoch of the full run that an epoch of this one belongs to: the same, unless only some steps
    /// are taken.
    pub fn of_whole(&self, epoch_idx: usize) -> usize {
        match &self.whole {
            Some(it) => it.epochs.find(it.moment(epoch_idx)).0,
            None => epoch_idx,
        }
    }

    /// The number of steps of the run.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The number of epochs that the run begins.
    pub fn n_begun(&self) -> usize {
        self.ends.len()
    }

    /// The number of steps of an epoch; after the end of the run, that of its last epoch.
    pub fn n_steps(&self, epoch_idx: usize) -> usize {
        let Some(last) = self.ends.len().checked_sub(1) else { return 0 };
        let epoch_idx = epoch_idx.min(last);
        self.ends[epoch_idx] - self.first_step(epoch_idx)
    }

    /// The epoch that step `step` belongs to, and the number of steps of that epoch completed before it.
    pub fn find(&self, step: usize) -> (usize, usize) {
        let epoch_idx = self.ends.partition_point(|&end| end <= step);
        (epoch_idx, step - self.first_step(epoch_idx))
    }

    /// Epochs completed after `step` steps, fractional.
    pub fn epoch(&self, step: usize) -> f64 {
        if let Some(it) = &self.whole {
            return it.epochs.epoch(it.moment(step));
        }
        let (epoch_idx, done) = self.find(step);
        epoch_idx as f64 + done as f64 / self.n_steps(epoch_idx).max(1) as f64
    }

    /// Steps completed after `epochs` epochs, rounded to the nearest.
    pub fn steps(&self, epochs: f64) -> usize {
        if let Some(it) = &self.whole {
            return it.steps(it.epochs.steps(epochs));
        }
        let whole = (epochs as usize).min(self.ends.len());
        let rest = (epochs - whole as f64) * self.n_steps(whole) as f64;
        self.first_step(whole) + rest.round() as usize
    }

    /// The number of steps of this run among the first `n_steps` of the full run.
    pub fn steps_of(&self, n_steps: usize) -> usize {
        self.whole.as_ref().map_or(n_steps, |it| it.steps(n_steps))
    }

    /// The cycle that step `step` lies in, if cycles of the length `every` follow each other from step `from`
    /// on. The last one may end after the run.
    pub fn cycle(&self, every: Length, from: usize, step: usize) -> Range<usize> {
        let whole = self.whole();
        let in_whole = |step| self.whole.as_ref().map_or(step, |it| it.moment(step));
        let (from, step) = (in_whole(from), in_whole(step.max(from)));
        // In epochs, not in steps: epochs differ in length.
        let (length, is_of_epochs) = match every {
            Length::Epochs(n) => (n, true),
            other => (other.of_whole(self).max(1) as f64, false),
        };
        let position = |step| if is_of_epochs { whole.epoch(step) } else { step as f64 };
        let begin = |idx: f64| match position(from) + idx * length {
            it if is_of_epochs => whole.steps(it),
            it => it as usize,
        };
        let idx = ((position(step) - position(from)) / length + ROUNDING).floor();
        // A cycle that ends within a step is rounded, and may have ended before it.
        let idx = if begin(idx + 1.0) <= step { idx + 1.0 } else { idx };
        let end = begin(idx + 1.0).max(step + 1);
        self.steps_of(begin(idx))..self.steps_of(end)
    }

    /// The full run.
    pub(crate) fn whole(&self) -> &Epochs {
        self.whole.as_ref().map_or(self, |it| &it.epochs)
    }

    fn first_step(&self, epoch_idx: usize) -> usize {
        epoch_idx.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

impl Length {
    /// The length in optimizer steps, from the start of a run with these epochs.
    pub fn to_steps(self, epochs: &Epochs) -> usize {
        epochs.steps_of(self.of_whole(epochs))
    }

    /// Like [`Length::to_steps`], in steps of the full run if only some of them are taken.
    pub fn of_whole(self, epochs: &Epochs) -> usize {
        let whole = epochs.whole();
        match self {
            Length::Epochs(n) => whole.steps(n),
            Length::Steps(n) => n,
            Length::Percent(p) => (p / 100.0 * whole.total() as f64).round() as usize,
        }
    }

    /// Whether exactly `step` steps are a multiple of this length.
    pub fn is_up(self, step: usize, epochs: &Epochs) -> bool {
        match self {
            // Multiples of epochs, not of steps: epochs differ in length.
            Length::Epochs(n) => epochs.steps((epochs.epoch(step) / n).round() * n) == step,
            other => step.is_multiple_of(other.to_steps(epochs).max(1)),
        }
    }
}

impl Whole {
    /// Steps of the full run completed when `step` steps are taken.
    fn moment(&self, step: usize) -> usize {
        self.moments.get(step).copied().unwrap_or(self.epochs.total)
    }

    /// How many of the first `n_steps` steps are taken.
    fn steps(&self, n_steps: usize) -> usize {
        self.moments.partition_point(|it| *it < n_steps)
    }
}

#[cfg(test)]
mod tests {
    use super::Epochs;
    use crate::Length;

    /// Epochs of 4, 3, 2, 1, 1, 1, ... steps.
    fn shrinking(total: &str) -> Result<Epochs, String> {
        Epochs::new(total.parse().unwrap(), |it| Ok(4_usize.saturating_sub(it).max(1)))
    }

    #[test]
    fn a_run_is_the_sum_of_its_epochs() {
        let total = |text| shrinking(text).unwrap().total();
        let lengths = ["1 epochs", "3 epochs", "6 epochs", "1.5 epochs", "0.5 epochs", "8 steps"];
        assert_eq!(lengths.map(total), [4, 9, 12, 6, 2, 8]);
        assert_eq!(shrinking("8 steps").unwrap().n_begun(), 3);
        assert_eq!(shrinking("9 steps").unwrap().n_begun(), 3);
    }

    #[test]
    fn a_step_lies_in_an_epoch() {
        let epochs = shrinking("3 epochs").unwrap();
        let found = [0, 3, 4, 6, 7, 8, 9].map(|it| epochs.find(it));
        assert_eq!(found, [(0, 0), (0, 3), (1, 0), (1, 2), (2, 0), (2, 1), (3, 0)]);
        let epoch = [0, 2, 4, 7, 8, 9].map(|it| epochs.epoch(it));
        assert_eq!(epoch, [0.0, 0.5, 1.0, 2.0, 2.5, 3.0]);
        for step in 0..9 {
            assert_eq!(epochs.steps(epochs.epoch(step)), step);
        }
        // After the end of the run, every epoch is as long as the last.
        assert_eq!([3.0, 4.0, 5.5].map(|it| epochs.steps(it)), [9, 11, 14]);
    }

    #[test]
    fn parts_follow_each_other() {
        let parts = ["2 epochs", "5 steps", "0.5 epochs"].map(|it| shrinking(it).unwrap());
        let joined = Epochs::joined(&parts);
        assert_eq!((joined.total(), joined.n_begun()), (7 + 5 + 2, 5));
        // The second part's second epoch is cut short to one step; the last part's goes on after the run.
        let found = [0, 4, 7, 11, 12, 13].map(|it| joined.find(it));
        assert_eq!(found, [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (4, 1)]);
        assert_eq!([0, 1, 2, 3, 4].map(|it| joined.n_steps(it)), [4, 3, 4, 1, 4]);
        assert_eq!([11, 12, 14].map(|it| joined.epoch(it)), [3.0, 4.0, 4.5]);
        let alone = &parts[2];
        assert_eq!(Epochs::joined([alone]), *alone);
        let nothing = Epochs::default();
        assert_eq!((nothing.total(), nothing.n_begun()), (0, 0));
        let ended = Epochs::joined([alone, &nothing]);
        assert_eq!((ended.total(), ended.find(2), ended.epoch(2)), (2, (1, 0), 1.0));
        // Without a step, 1.01 epochs of four steps are one epoch.
        let rounded = Epochs::joined([&shrinking("1.01 epochs").unwrap(), alone]);
        assert_eq!((rounded.find(3), rounded.find(4)), ((0, 3), (2, 0)));
    }

    #[test]
    fn lengths_are_converted_when_only_some_steps_are_taken() {
        // Ten epochs of ten steps; the first, the last and two where something changes.
        let whole = Epochs::new(Length::Epochs(10.0), |_| Ok(10)).unwrap();
        let few = whole.only(vec![0, 25, 60, 99]);
        assert_eq!((few.total(), few.n_begun(), few.n_steps(2)), (4, 4, 1));
        assert_eq!(
            [0, 1, 2, 3].map(|it| (few.find(it), few.of_whole(it))),
            [((0, 0), 0), ((1, 0), 2), ((2, 0), 6), ((3, 0), 9)]
        );
        assert_eq!([0, 1, 2, 3, 4].map(|it| few.epoch(it)), [0.0, 2.5, 6.0, 9.9, 10.0]);
        let steps = |text: &str| text.parse::<Length>().unwrap().to_steps(&few);
        assert_eq!(
            ["0 steps", "1 steps", "25 steps", "26 steps", "100 steps"].map(steps),
            [0, 1, 1, 2, 4]
        );
        assert_eq!(
            ["2.5 epochs", "6 epochs", "60 %", "61 %", "10 epochs"].map(steps),
            [1, 2, 2, 3, 4]
        );
        let up = |text: &str| -> Vec<usize> {
            let length: Length = text.parse().unwrap();
            (1..=4).filter(|&it| length.is_up(it, &few)).collect()
        };
        assert_eq!(up("1 steps"), [1, 2, 3, 4]);
        assert_eq!(up("2 epochs"), [1, 2, 4]);
    }

    #[test]
    fn cycles_follow_each_other() {
        let cycles = |epochs: &Epochs, every: &str, from: usize| -> Vec<usize> {
            let of = |step| epochs.cycle(every.parse().unwrap(), from, step);
            let mut ends: Vec<usize> = Vec::new();
            for step in 0..epochs.total() {
                let cycle = of(step);
                assert!(cycle.contains(&step.max(from)), "{every}: {step} is not in {cycle:?}");
                let begins = ends.last().copied().unwrap_or(from);
                assert!(cycle.start == begins || cycle.end == begins, "{every}: {cycle:?}");
                if cycle.end != begins {
                    ends.push(cycle.end);
                }
            }
            ends
        };
        let epochs = Epochs::new(Length::Steps(20), |_| Ok(5)).unwrap();
        assert_eq!(cycles(&epochs, "2 epochs", 0), [10, 20]);
        assert_eq!(cycles(&epochs, "1.5 epochs", 0), [8, 15, 23]);
        assert_eq!(cycles(&epochs, "2 epochs", 3), [13, 23]);
        assert_eq!(cycles(&epochs, "8 steps", 1), [9, 17, 25]);
        assert_eq!(cycles(&epochs, "50 %", 0), [10, 20]);
        assert_eq!(cycles(&epochs, "0.01 epochs", 0).len(), 20);
        // Epochs of 8, 6, 4 and 2 steps.
        let epochs = Epochs::new(Length::Steps(20), |it| Ok(8 - 2 * it)).unwrap();
        assert_eq!(cycles(&epochs, "1 epochs", 0), [8, 14, 18, 20]);
        assert_eq!(cycles(&epochs, "3 epochs", 0), [18, 24]);
        // Ten epochs of ten steps, of which four steps are taken: two of the first cycle of four epochs, one of
        // the second and one of the third.
        let whole = Epochs::new(Length::Epochs(10.0), |_| Ok(10)).unwrap();
        let few = whole.only(vec![0, 25, 60, 99]);
        assert_eq!(cycles(&few, "4 epochs", 0), [2, 3, 4]);
        assert_eq!(cycles(&few, "50 steps", 0), [2, 4]);
    }

    #[test]
    fn three_units_count_steps() {
        let epochs = Epochs::new(Length::Steps(200), |_| Ok(10)).unwrap();
        let steps = |text: &str| text.parse::<Length>().unwrap().to_steps(&epochs);
        assert_eq!(["3 epochs", "0.5 epochs", "7 steps", "5 %"].map(steps), [30, 5, 7, 10]);
    }

    #[test]
    fn intervals_are_counted_in_the_same_units() {
        let up = |text: &str, n_steps: fn(usize) -> usize| -> Vec<usize> {
            let epochs = Epochs::new(Length::Steps(20), |it| Ok(n_steps(it))).unwrap();
            let length: Length = text.parse().unwrap();
            (1..=20).filter(|&it| length.is_up(it, &epochs)).collect()
        };
        assert_eq!(up("7 steps", |_| 5), [7, 14]);
        assert_eq!(up("25 %", |_| 5), [5, 10, 15, 20]);
        assert_eq!(up("1 epochs", |_| 5), [5, 10, 15, 20]);
        assert_eq!(up("0.5 epochs", |_| 5), [3, 5, 8, 10, 13, 15, 18, 20]);
        assert_eq!(up("0.1 epochs", |_| 5).len(), 20);
        assert_eq!(up("1.5 epochs", |_| 6), [9, 18]);
        // Epochs of 8, 6, 4 and 2 steps.
        assert_eq!(up("1 epochs", |it| 8 - 2 * it), [8, 14, 18, 20]);
        assert_eq!(up("0.5 epochs", |it| 8 - 2 * it), [4, 8, 11, 14, 16, 18, 19, 20]);
        assert_eq!(up("2 epochs", |it| 8 - 2 * it), [14, 20]);
    }

    #[test]
    fn an_invalid_run_is_an_error() {
        let err = |total: Length| Epochs::new(total, |_| Ok(1)).unwrap_err();
        assert!(err(Length::Epochs(0.0)).contains("no steps"));
        assert!(err(Length::Percent(5.0)).contains("no steps"));
        assert!(err(Length::Epochs(1e8)).contains("1000000"));
        assert!(err(Length::Steps(usize::MAX)).contains("1000000"));
        let third = |it| if it < 2 { Ok(1) } else { Err("exhausted".to_owned()) };
        assert_eq!(Epochs::new(Length::Epochs(2.5), third).unwrap_err(), "exhausted");
        assert!(
            Epochs::new(Length::Epochs(2.0), third).is_ok(),
            "the run ends before the third epoch"
        );
    }
}
