//! The running statistics of batch norms, for weights that are a mean of others: the mean of their statistics
//! would not be the statistics of the mean (Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
//! Generalization", 2018).
//!
//! They are measured anew as the mean over the batches of an epoch: 1 / k is the weight of batch k. As in
//! PyTorch's `update_bn`, each batch counts alike, also a smaller last one.

use models::Model;
use ops::{Pass, Training};

use crate::{engine::Engine, error::FitError, loading::load_epoch, parts::parts_of, plan::Plan};

/// Copies the running statistics of frozen norms from the trained model; they are not measured.
///
/// - `step`: steps done.
pub(crate) fn copy_frozen(
    plan: &Plan,
    engine: &Engine,
    from: &Model,
    to: &Model,
    step: usize,
) -> candle::Result<()> {
    let phase = plan.phase(step - 1);
    let last = step - 1 - phase.span.start;
    engine.copy_back(from)?;
    engine.copy_back(to)?;
    for (name, theirs) in phase.freezing.frozen_statistics(last, from) {
        let ours = to.params().get(name).expect("a model of the same architecture");
        ours.var.set(theirs.var.as_tensor())?;
    }
    engine.copy_over(to)
}

/// Measures the running statistics of the norms that are not frozen, over the training images as they are in
/// the epoch of the last step: with its augmentation, sizes, mixing and batches.
///
/// The host has them afterwards.
///
/// - `step`: steps done, at least 1.
/// - `progress`: called with the number of batches done, and their number.
pub(crate) fn measure(
    plan: &Plan,
    engine: &Engine,
    model: &Model,
    step: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), FitError> {
    let last = step - 1;
    let (epoch_idx, n_done) = plan.epochs.find(last);
    let phase = plan.phase(last);
    let frozen = phase.freezing.at(last - phase.span.start, model);
    let mut n_before = 0;
    for (idx, batch) in load_epoch(plan, last - n_done).enumerate() {
        let batch = batch?;
        let parts = parts_of(batch.samples.len(), plan.experiment.train.accumulate);
        let mut inputs = engine.inputs(plan, &batch, &parts)?;
        for part in parts {
            let tape = engine.tape(&frozen);
            n_before += 1;
            let pass = Training {
                tape: &tape,
                seed: plan.seed(),
                step: last,
                first_row: part.start,
                momentum: Some(1.0 / f64::from(n_before)),
            };
            model.forward_value(inputs.next(part)?, &Pass::Train(pass))?;
        }
        progress(idx + 1, plan.epochs.n_steps(epoch_idx));
    }
    Ok(engine.copy_back(model)?)
}
