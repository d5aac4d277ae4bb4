//! Loads the batches of an epoch.

use std::sync::Arc;

use data::{Load, Loader};

use crate::plan::Plan;

/// Starts to load the batches of the epoch that contains `step`, from that step on.
pub fn load_epoch(plan: &Plan, step: usize) -> Loader {
    Loader::start(epoch(plan, step))
}

/// Returns what to load: the batches of the epoch that contains `step`, from that step on.
pub(crate) fn epoch(plan: &Plan, step: usize) -> Load {
    let (epoch_idx, n_done) = plan.epochs.find(step);
    let (pipeline, pack) = plan.pipeline_at(epoch_idx);
    let phase = plan.phase(step);
    Load {
        images: Arc::clone(&plan.images),
        batches: plan.batches(epoch_idx),
        pipeline,
        cache: plan.cache.clone(),
        pack,
        mixing: phase.mixing.starting(step - n_done - phase.span.start),
        seed: plan.seed(),
        stream: format!("augment/{epoch_idx}"),
        first_batch: n_done,
        n_threads: plan.experiment.data.num_workers,
        prefetch: plan.experiment.data.prefetch,
    }
}
