//! The learning-rate finder: how the loss goes while the rate rises from almost nothing.
//!
//! The rate is multiplied by the same factor at each step. The loss that is looked at is a moving average
//! without the bias of its beginning, s ← 0.98 s + 0.02 loss, s / (1 - 0.98ᵗ); four times the best one ends
//! it. A model of its own is trained, so that nothing has to be put back.
//!
//! Smith, "Cyclical Learning Rates for Training Neural Networks", 2015, with fastai's numbers and its four
//! suggestions. Where fastai gives up silently we say which suggestion there is none of.

use crate::{
    callback::{Callback, StepReport},
    checkpoint,
    error::FitError,
    fit::load_epoch,
    learner::Learner,
    plan::Plan,
    run::Run,
    schedule::Rates,
};

/// The rates that are tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The first rate.
    pub from: f64,
    /// The last one.
    pub to: f64,
    /// Steps from one to the other.
    pub n_steps: usize,
}

impl Default for Range {
    /// fastai's.
    fn default() -> Range {
        Range { from: 1e-7, to: 10.0, n_steps: 100 }
    }
}

impl Range {
    fn at(&self, step: usize) -> f64 {
        self.from * (self.to / self.from).powf(step as f64 / (self.n_steps - 1).max(1) as f64)
    }
}

/// How the loss went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// The rate of each step.
    pub rates: Vec<f64>,
    /// The average loss after it.
    pub losses: Vec<f64>,
    /// The loss itself.
    pub raw: Vec<f64>,
}

/// How much of the average loss is kept.
const KEPT: f64 = 0.98;
/// An average loss of so many times the best one has diverged.
const DIVERGED: f64 = 4.0;

/// Tries a range of rates.
///
/// - `run`: whose newest checkpoint is begun from, and only read; else a fresh model.
///
/// # Errors
/// Those of training; a loss that is no number only ends it.
pub fn lr_find(
    plan: &Plan,
    run: Option<&Run>,
    range: Range,
    watch: &dyn Callback,
) -> Result<Curve, FitError> {
    let mut learner = match run {
        None => Learner::new(plan, plan.model()?.0)?,
        Some(run) => match checkpoint::newest(run, &|it| watch.note(it))? {
            Some(it) => Learner::resume(plan, &it)?,
            None => return Err(FitError::NoCheckpoint(run.dir().to_owned())),
        },
    };
    let lr = plan.experiment.optim.get().lr();
    let mut curve = Curve::default();
    let (mut average, mut best) = (0.0, f64::INFINITY);
    let mut loader = load_epoch(plan, 0);
    // Beyond its end a run begins anew, and so it does where the backbone would wake: what the schedule lets
    // rest at first does so throughout.
    let total = plan.epochs.total();
    let span = match plan.experiment.schedule.get().frozen() {
        None => total,
        Some(_) => plan.experiment.unfreezes(&plan.epochs).clamp(1, total),
    };
    for step in 0..range.n_steps {
        if watch.asks_to_stop() {
            break;
        }
        let clock = plan.clock(step % span);
        let batch = match loader.next() {
            Some(it) => it?,
            None => {
                loader = load_epoch(plan, clock.step);
                loader.next().expect("an epoch has a batch")?
            }
        };
        let rate = range.at(step);
        let loss = match learner.step(plan, &batch, &clock, Rates::of(rate / lr)) {
            Err(FitError::NotFinite { .. }) => break,
            other => other?.loss,
        };
        average = KEPT * average + (1.0 - KEPT) * loss;
        let smooth = average / (1.0 - KEPT.powi(step as i32 + 1));
        curve.rates.push(rate);
        curve.losses.push(smooth);
        curve.raw.push(loss);
        watch.step(&StepReport {
            step: step + 1,
            total: range.n_steps,
            epoch: clock.epoch,
            loss: smooth,
            lr: rate,
            n_images: batch.samples.len(),
            waiting: 0.0,
        });
        best = f64::min(best, smooth);
        if smooth > DIVERGED * best {
            break;
        }
    }
    Ok(curve)
}

/// A rate to begin with, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suggestion {
    /// What it is called.
    pub name: &'static str,
    /// How it is found.
    pub what: &'static str,
    /// The rate.
    pub rate: f64,
}

impl Curve {
    /// What is looked at: without the first tenth of what was to be tried, which sees nothing but noise,
    /// and the last five, which diverge.
    pub fn trimmed(&self, n_steps: usize) -> Curve {
        let end = self.rates.len().saturating_sub(5);
        let range = (n_steps / 10).min(end)..end;
        Curve {
            rates: self.rates[range.clone()].to_vec(),
            losses: self.losses[range.clone()].to_vec(),
            raw: self.raw[range].to_vec(),
        }
    }

    /// What it suggests, the default first; less of a curve that is too short or never falls.
    pub fn suggestions(&self) -> Vec<Suggestion> {
        let found = [
            ("valley", "halfway down the longest fall", self.valley()),
            ("steep", "where the loss falls fastest", self.steep()),
            ("slide", "the last rate before the curve turns, from the right", self.slide()),
            ("minimum/10", "a tenth of the rate of the lowest loss", self.minimum()),
        ];
        let of = |(name, what, rate): (_, _, Option<f64>)| {
            rate.map(|rate| Suggestion { name, what, rate })
        };
        found.into_iter().filter_map(of).collect()
    }

    /// The middle of the second third of the longest fall: the longest sequence of ever smaller losses, as
    /// far back from its end as it is long, which may be one before the first.
    fn valley(&self) -> Option<f64> {
        let losses = &self.losses;
        let mut lengths = vec![1; losses.len()];
        let mut end = 0;
        for i in 1..losses.len() {
            let below = (0..i).filter(|&j| losses[i] < losses[j]).map(|j| lengths[j] + 1);
            lengths[i] = below.max().unwrap_or(1);
            if lengths[end] < lengths[i] {
                end = i;
            }
        }
        let length = lengths.get(end).copied().unwrap_or(1);
        let third = length as f64 / 3.0;
        let idx = (end + third as usize + (third / 2.0) as usize).saturating_sub(length);
        (end > 0).then(|| self.rates[idx])
    }

    /// Where the loss falls fastest over the logarithm of the rate.
    fn steep(&self) -> Option<f64> {
        let slope = |i: usize| {
            (self.losses[i + 1] - self.losses[i]) / (self.rates[i + 1].ln() - self.rates[i].ln())
        };
        let slopes = (0..self.rates.len().saturating_sub(1)).map(|it| (slope(it), it));
        let steepest = slopes.min_by(|a, b| a.0.total_cmp(&b.0))?;
        (steepest.0 < 0.0).then(|| self.rates[steepest.1])
    }

    /// From the right, two points of the slope 15 apart, until they are as steep as each other.
    fn slide(&self) -> Option<f64> {
        const APART: usize = 15;
        const ALIKE: f64 = 0.005;
        let n = self.losses.len();
        let slope = |i: usize| match i {
            0 => self.losses[1] - self.losses[0],
            i if i == n - 1 => self.losses[i] - self.losses[i - 1],
            i => (self.losses[i + 1] - self.losses[i - 1]) / 2.0,
        };
        let mut left = n.checked_sub(1 + APART)?;
        let mut rate = self.rates[left];
        loop {
            if (slope(left + APART) - slope(left)).abs() <= ALIKE {
                return Some(rate);
            }
            rate = self.rates[left];
            match left.checked_sub(1) {
                Some(it) => left = it,
                None => return Some(rate),
            }
        }
    }

    /// A tenth of the rate of the lowest loss.
    fn minimum(&self) -> Option<f64> {
        let lowest = self.losses.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1))?;
        Some(self.rates[lowest.0] / 10.0)
    }
}
