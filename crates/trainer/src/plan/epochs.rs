//! The length of each epoch: the sampler's number of samples, in batches.

use base::Epochs;
use data::{Groups, Manifest, Sides};

use super::{
    error::{PlanError, wrong},
    sides::divide,
};
use crate::{experiment::Experiment, sizes};

/// Returns where each epoch of a run ends, without creating the whole plan. Opens no image.
///
/// # Errors
/// Those of [`Plan::new`](super::Plan::new) that concern the split, the sampler and the epochs.
pub fn epochs_of(
    experiment: &Experiment,
    manifest: &Manifest,
    fold_idx: usize,
) -> Result<Epochs, PlanError> {
    let Experiment { data, train, .. } = experiment;
    let sides = divide(experiment, manifest, fold_idx)?;
    let training_classes =
        manifest.training_classes(&data.training_cuts).map_err(wrong("data.training_cuts"))?;
    let groups = groups(experiment, manifest, &sides, &training_classes)?;
    let ends = sizes::ends(&train.sizes, train.total).map_err(wrong("train.sizes"))?;
    let epochs = epochs(experiment, &groups, |epoch_idx| {
        let size = train.sizes.iter().zip(&ends).find(|(_, end)| epoch_idx < **end);
        size.and_then(|(it, _)| it.batch_size).unwrap_or(train.batch_size)
    })?;
    check_lengths(experiment, &epochs)?;
    Ok(epochs)
}

/// Returns the groups that the sampler samples from.
pub(super) fn groups(
    experiment: &Experiment,
    manifest: &Manifest,
    sides: &Sides,
    training_classes: &[usize],
) -> Result<Groups, PlanError> {
    let over = experiment.data.sampler.get().over();
    Groups::new(manifest, &sides.train, training_classes, over).map_err(wrong("data.sampler"))
}

/// Checks that the warm-up and the schedule's frozen phase end, and that averaging begins, within the run.
pub(super) fn check_lengths(experiment: &Experiment, epochs: &Epochs) -> Result<(), PlanError> {
    let (warmup, total) = (experiment.train.warmup.to_steps(epochs), epochs.total());
    if warmup > total {
        let what = format!("{warmup} steps are more than the run's {total}");
        return Err(wrong("train.warmup")(what));
    }
    let unfreezes = experiment.unfreezes(epochs);
    if experiment.schedule.get().frozen().is_some() && unfreezes >= total {
        return Err(wrong("schedule")(format!(
            "the backbone would stay frozen until step {unfreezes} of {total}: shorten `frozen`, or train \
             longer"
        )));
    }
    let begins = experiment.average.get().begins(epochs);
    if begins > total {
        let what =
            format!("averaging would begin after step {begins} of {total}: set `from` earlier");
        return Err(wrong("average")(what));
    }
    Ok(())
}

/// An epoch of more images is an implausible value, probably a typo.
const MAX_SAMPLES: usize = 100_000_000;

/// Returns where each epoch ends, according to the sampler.
pub(super) fn epochs(
    experiment: &Experiment,
    groups: &Groups,
    batch_size: impl Fn(usize) -> usize,
) -> Result<Epochs, PlanError> {
    let Experiment { data, train, .. } = experiment;
    let sampler = data.sampler.get();
    sampler.misfit(groups).map_or(Ok(()), |it| Err(wrong("data.sampler")(it)))?;
    let n_steps = |epoch_idx: usize| match sampler.n_samples(groups, epoch_idx) {
        0 => Err(format!(
            "at `data.sampler`: epoch {} has no images: change the sampler's settings, or choose another",
            epoch_idx + 1
        )),
        n if n > MAX_SAMPLES => Err(format!(
            "at `data.sampler`: epoch {} has {n} images, more than the maximum of {MAX_SAMPLES}",
            epoch_idx + 1
        )),
        n => Ok(batches_of(n, batch_size(epoch_idx), train.drop_last).0),
    };
    Epochs::new(train.total, n_steps).map_err(|it| PlanError::Settings(vec![it]))
}

/// Returns the number of batches of an epoch of `n` images, and the size of the smallest batch.
pub(super) fn batches_of(n: usize, batch_size: usize, drop_last: bool) -> (usize, usize) {
    match (n / batch_size, n % batch_size) {
        (0, remainder) => (1, remainder),
        (n_full, remainder) if remainder == 0 || drop_last => (n_full, batch_size),
        (n_full, remainder) => (n_full + 1, remainder),
    }
}
