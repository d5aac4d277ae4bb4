//! Where each epoch ends: what the sampler draws, in batches.

use base::Epochs;
use data::{Groups, Manifest, Sides};

use super::{PlanError, divide, wrong};
use crate::{experiment::Experiment, sizes};

/// Where each epoch of a run would end, for whoever needs no more of a plan. Opens no image.
///
/// # Errors
/// Those of [`Plan::new`](super::Plan::new) that have to do with who is trained on, and in what order.
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

/// What the sampler draws from.
pub(super) fn groups(
    experiment: &Experiment,
    manifest: &Manifest,
    sides: &Sides,
    training_classes: &[usize],
) -> Result<Groups, PlanError> {
    let over = experiment.data.sampler.get().over();
    Groups::new(manifest, &sides.train, training_classes, over).map_err(wrong("data.sampler"))
}

/// Whether the warm-up and the backbone's rest end, and an average begins, before the run is over.
pub(super) fn check_lengths(experiment: &Experiment, epochs: &Epochs) -> Result<(), PlanError> {
    let (warmup, total) = (experiment.train.warmup.to_steps(epochs), epochs.total());
    if warmup > total {
        let what = format!("{warmup} steps are more than the run has, {total}");
        return Err(wrong("train.warmup")(what));
    }
    let unfreezes = experiment.unfreezes(epochs);
    if experiment.schedule.get().frozen().is_some() && unfreezes >= total {
        return Err(wrong("schedule")(format!(
            "the backbone would rest until step {unfreezes} of {total}: shorten `frozen`, or train longer"
        )));
    }
    let begins = experiment.average.get().begins(epochs);
    if begins > total {
        let what = format!("it would begin after step {begins} of {total}: set `from` earlier");
        return Err(wrong("average")(what));
    }
    Ok(())
}

/// An epoch of more images is taken for a slip of the pen.
const MOST_DRAWS: usize = 100_000_000;

/// Where each epoch ends, as the sampler says.
pub(super) fn epochs(
    experiment: &Experiment,
    groups: &Groups,
    batch_size: impl Fn(usize) -> usize,
) -> Result<Epochs, PlanError> {
    let Experiment { data, train, .. } = experiment;
    let sampler = data.sampler.get();
    sampler.misfit(groups).map_or(Ok(()), |it| Err(wrong("data.sampler")(it)))?;
    let n_steps = |epoch_idx: usize| match sampler.n_draws(groups, epoch_idx) {
        0 => Err(format!(
            "at `data.sampler`: it leaves epoch {} without images: change its settings, or choose \
             another",
            epoch_idx + 1
        )),
        n if n > MOST_DRAWS => Err(format!(
            "at `data.sampler`: it gives epoch {} more than {MOST_DRAWS} images, {n}",
            epoch_idx + 1
        )),
        n => Ok(batches_of(n, batch_size(epoch_idx), train.drop_last).0),
    };
    Epochs::new(train.total, n_steps).map_err(|it| PlanError::Settings(vec![it]))
}

/// How many batches an epoch of `n` images has, and how many images the smallest of them.
pub(super) fn batches_of(n: usize, batch_size: usize, drop_last: bool) -> (usize, usize) {
    match (n / batch_size, n % batch_size) {
        (0, rest) => (1, rest),
        (n_full, rest) if rest == 0 || drop_last => (n_full, batch_size),
        (n_full, rest) => (n_full + 1, rest),
    }
}
