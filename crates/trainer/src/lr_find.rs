//! The learning-rate finder (LR range test): the loss as the learning rate rises exponentially from a tiny
//! value.
//!
//! The rate is multiplied by the same factor at each step. The loss is smoothed by a bias-corrected moving
//! average, s ← 0.98 s + 0.02 loss, s / (1 - 0.98ᵗ); the test ends at four times the best smoothed loss. A
//! separate model is trained, so that no state has to be restored.
//!
//! Smith, "Cyclical Learning Rates for Training Neural Networks", 2015, with fastai's settings and its four
//! suggestions. Unlike fastai, a suggestion that fails is reported as missing.

use crate::{
    callback::{Callback, StepReport},
    checkpoint,
    error::FitError,
    learner::Learner,
    loading::load_epoch,
    plan::Plan,
    run::Run,
    schedule::Rates,
};

/// The learning rates to test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The first rate.
    pub from: f64,
    /// The last rate.
    pub to: f64,
    /// The number of steps from the first to the last.
    pub n_steps: usize,
}

impl Default for Range {
    /// fastai's defaults.
    fn default() -> Range {
        Range { from: 1e-7, to: 10.0, n_steps: 100 }
    }
}

impl Range {
    fn at(&self, step: usize) -> f64 {
        self.from * (self.to / self.from).powf(step as f64 / (self.n_steps - 1).max(1) as f64)
    }
}

/// The losses of the test.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// The learning rate of each step.
    pub rates: Vec<f64>,
    /// The smoothed loss after each step.
    pub losses: Vec<f64>,
    /// The raw loss of each step.
    pub raw: Vec<f64>,
}

/// The decay of the smoothed loss.
const SMOOTHING: f64 = 0.98;
/// The ratio of smoothed loss to the best one at which the loss has diverged.
const DIVERGED: f64 = 4.0;

/// Runs the test over a range of learning rates. Returns `None` if the callback stops it: a part of the curve
/// suggests nothing.
///
/// - `run`: a run whose newest checkpoint to start from, which is only read; `None` for a fresh model.
///
/// # Errors
/// Those of training, except that a loss that is not finite (NaN or infinite) only ends the test.
pub fn lr_find(
    plan: &Plan,
    run: Option<&Run>,
    range: Range,
    callback: &dyn Callback,
) -> Result<Option<Curve>, FitError> {
    let (mut learner, phase_idx) = match run {
        None => (Learner::new(plan, plan.model()?.0)?, 0),
        Some(run) => match checkpoint::newest(run, &|it| callback.note(it))? {
            Some(it) => (Learner::resume(plan, &it)?, it.state.phase),
            None => return Err(FitError::NoCheckpoint(run.dir().to_owned())),
        },
    };
    // A last phase without steps has no rate.
    let begun = &plan.phases[..=phase_idx];
    let with_steps = begun.iter().rfind(|it| it.span.epochs.total() > 0);
    let span = &with_steps.unwrap_or(&plan.phases[0]).span;
    let lr = span.experiment.optim.get().lr();
    let mut curve = Curve::default();
    let (mut average, mut best) = (0.0, f64::INFINITY);
    let mut loader = load_epoch(plan, span.start);
    // The clock restarts at the end of the phase, and where the schedule would unfreeze the backbone, so that a
    // backbone that is frozen at first stays frozen throughout.
    let total = span.epochs.total();
    let n_steps = match span.experiment.schedule.get().frozen() {
        None => total,
        Some(_) => span.experiment.unfreezes(&span.epochs).clamp(1, total),
    };
    // The epochs that are reported go on where the clock restarts.
    let per_round = plan.clock(span.start + n_steps).epoch - plan.clock(span.start).epoch;
    for step in 0..range.n_steps {
        if callback.should_stop() {
            return Ok(None);
        }
        let clock = plan.clock(span.start + step % n_steps);
        let batch = match loader.next() {
            Some(it) => it?,
            None => {
                loader = load_epoch(plan, clock.step);
                loader.next().expect("an epoch has a batch")?
            }
        };
        let rate = range.at(step);
        let loss = match learner.step(plan, &batch, clock.step, Rates::of(rate / lr)) {
            Err(FitError::NotFinite { .. }) => break,
            other => other?.loss,
        };
        average = SMOOTHING * average + (1.0 - SMOOTHING) * loss;
        let smooth = average / (1.0 - SMOOTHING.powi(step as i32 + 1));
        curve.rates.push(rate);
        curve.losses.push(smooth);
        curve.raw.push(loss);
        callback.step(&StepReport {
            step: step + 1,
            total: range.n_steps,
            epoch: clock.epoch + (step / n_steps) as f64 * per_round,
            loss: smooth,
            lr: rate,
            n_images: batch.samples.len(),
            data_wait: 0.0,
        });
        best = f64::min(best, smooth);
        if smooth > DIVERGED * best {
            break;
        }
    }
    Ok(Some(curve))
}

/// A suggested learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suggestion {
    /// The name of the method.
    pub name: &'static str,
    /// A description of the method.
    pub what: &'static str,
    /// The rate.
    pub rate: f64,
}

impl Curve {
    /// Returns the curve without the first tenth of `n_steps`, which is noise, and without the last five
    /// steps, which diverge.
    pub fn trimmed(&self, n_steps: usize) -> Curve {
        let end = self.rates.len().saturating_sub(5);
        let range = (n_steps / 10).min(end)..end;
        Curve {
            rates: self.rates[range.clone()].to_vec(),
            losses: self.losses[range.clone()].to_vec(),
            raw: self.raw[range].to_vec(),
        }
    }

    /// Returns the suggestions, the default first. Some are missing where the curve is too short or never
    /// falls.
    pub fn suggestions(&self) -> Vec<Suggestion> {
        let found = [
            ("valley", "the middle of the longest decrease", self.valley()),
            ("steep", "the steepest decrease of the loss", self.steep()),
            ("slide", "the last rate before the loss rises, from the right", self.slide()),
            ("minimum/10", "a tenth of the rate of the minimum loss", self.minimum()),
        ];
        let of = |(name, what, rate): (_, _, Option<f64>)| {
            rate.map(|rate| Suggestion { name, what, rate })
        };
        found.into_iter().filter_map(of).collect()
    }

    /// Returns the middle of the second third of the longest decreasing subsequence of losses. Its start is
    /// taken to be its length before its end, which may be one before the first.
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

    /// Returns the rate at the steepest decrease of the loss over the logarithm of the rate.
    fn steep(&self) -> Option<f64> {
        let slope = |i: usize| {
            (self.losses[i + 1] - self.losses[i]) / (self.rates[i + 1].ln() - self.rates[i].ln())
        };
        let slopes = (0..self.rates.len().saturating_sub(1)).map(|it| (slope(it), it));
        let steepest = slopes.min_by(|a, b| a.0.total_cmp(&b.0))?;
        (steepest.0 < 0.0).then(|| self.rates[steepest.1])
    }

    /// Moves two points 15 apart from the right to the left until their slopes are equal to within 0.005.
    fn slide(&self) -> Option<f64> {
        const APART: usize = 15;
        const TOLERANCE: f64 = 0.005;
        let n = self.losses.len();
        let slope = |i: usize| match i {
            0 => self.losses[1] - self.losses[0],
            i if i == n - 1 => self.losses[i] - self.losses[i - 1],
            i => (self.losses[i + 1] - self.losses[i - 1]) / 2.0,
        };
        let mut left = n.checked_sub(1 + APART)?;
        let mut rate = self.rates[left];
        loop {
            if (slope(left + APART) - slope(left)).abs() <= TOLERANCE {
                return Some(rate);
            }
            rate = self.rates[left];
            match left.checked_sub(1) {
                Some(it) => left = it,
                None => return Some(rate),
            }
        }
    }

    /// Returns a tenth of the rate of the minimum loss.
    fn minimum(&self) -> Option<f64> {
        let lowest = self.losses.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1))?;
        Some(self.rates[lowest.0] / 10.0)
    }
}
