//! How long a training step takes: on random pixels, so that no image is decoded.

use std::time::Instant;

use base::{mix::MixedSample, rng::fnv1a};
use candle::Error;
use data::Batch;
use gpu::{Device, Storage};

use super::settings::{Network, amp_of, experiment, plan};
use crate::{error::FitError, learner::Learner, plan::Plan, schedule::Rates};

/// A network in training on one batch of random pixels, on a card.
pub struct Training {
    plan: Plan,
    learner: Learner,
    batch: Batch,
    device: Device,
    n_done: usize,
}

/// One classifier of 18 classes, and Adam. The first loss scale is one that a network before its first step bears, so
/// that no step is skipped.
const SETS: [&str; 4] = [
    "head={ kind = \"joint\", dropout = 0.0 }",
    "optim={ kind = \"adam\", lr = 1e-4 }",
    "amp.init_scale=256",
    "train.total=\"100 steps\"",
];

impl Training {
    /// Builds a network on a card.
    ///
    /// - `storage`: how activations are stored.
    /// - `size`: `[height, width]` of the images.
    ///
    /// # Errors
    /// The card has no room for it.
    pub fn new(
        network: &Network,
        (device, storage): (&Device, Storage),
        batch_size: usize,
        size: [usize; 2],
    ) -> Result<Training, FitError> {
        let sets: Vec<&str> = SETS.into_iter().chain([amp_of(storage)]).collect();
        let plan = plan(&experiment(network, &sets)?)?;
        plan.use_card(device, storage)?;
        let [h, w] = size;
        let pixel = |it: usize| (fnv1a(&it.to_le_bytes()) >> 32) as u8;
        let train = &plan.sides.train;
        let batch = Batch {
            images: (0..batch_size * h * w * 3).map(pixel).collect(),
            size,
            samples: (0..batch_size).map(MixedSample::of).collect(),
            examples: train.iter().copied().cycle().take(batch_size).collect(),
        };
        device.reset_meter();
        let learner = Learner::new(&plan, plan.model()?.0)?;
        Ok(Training { plan, learner, batch, device: device.clone(), n_done: 0 })
    }

    /// Takes some steps, one after the other, and returns the seconds of all, from an idle card to an idle card.
    ///
    /// # Errors
    /// The card has no room for a step, or the driver fails.
    pub fn steps(&mut self, n: usize) -> Result<f64, FitError> {
        self.device.synchronize().map_err(Error::wrap)?;
        let begin = Instant::now();
        for _ in 0..n {
            self.learner.step(&self.plan, &self.batch, self.n_done, Rates::of(1.0))?;
            self.n_done += 1;
        }
        self.device.synchronize().map_err(Error::wrap)?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Returns the most bytes that buffers of the card have had at once.
    pub fn most_used(&self) -> usize {
        self.device.usage().most_used
    }
}
