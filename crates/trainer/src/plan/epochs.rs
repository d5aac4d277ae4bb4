//! The length of each epoch: the sampler's number of samples, in batches.

use base::Epochs;
use data::{ByClass, Manifest, PseudoImages};

use super::{
    error::{PlanError, wrong},
    sides::{Trained, TrainingSets, divide},
};
use crate::{experiment::Experiment, phase::PhaseSection, sizes, span::Span};

/// Returns the phases of a run in time, without creating the whole plan. Opens no image.
///
/// # Errors
/// Those of [`Plan::new`](super::Plan::new) that concern the split, the sampler and the epochs.
pub fn course_of(
    experiment: &Experiment,
    manifest: &Manifest,
    fold_idx: usize,
) -> Result<Vec<Span>, PlanError> {
    let sides = divide(experiment, manifest, fold_idx)?;
    let sets = TrainingSets::new(experiment, manifest, &sides)?;
    let cuts = &experiment.data.training_cuts;
    let classes = manifest.training_classes(cuts).map_err(wrong("data.training_cuts"))?;
    let mut spans: Vec<Span> = Vec::new();
    for (idx, (section, experiment)) in experiment.phases().into_iter().enumerate() {
        let start = spans.last().map_or(0, Span::end);
        let span = || {
            let Trained { labelled, pseudo } =
                Trained::of(&experiment, manifest, sets.of(section))?;
            let by_class = by_class(&experiment, manifest, labelled, &classes)?;
            span(section, experiment, &by_class, pseudo, start)
        };
        spans.push(span().map_err(|err| err.in_phase(section.map(|it| (idx, it))))?);
    }
    Ok(spans)
}

/// Returns a phase in time.
///
/// - `by_class`, `pseudo`: the images with labels, and those with pseudo-labels, that it is trained on.
/// - `start`: the steps of the run before it.
pub(super) fn span(
    section: Option<&PhaseSection>,
    experiment: Experiment,
    by_class: &ByClass,
    pseudo: PseudoImages,
    start: usize,
) -> Result<Span, PlanError> {
    if section.is_some_and(|it| it.total.is_none()) {
        return Ok(Span { experiment, start, epochs: Epochs::default() });
    }
    let train = &experiment.train;
    let ends = sizes::ends(&train.sizes, train.total).map_err(wrong("train.sizes"))?;
    let epochs = epochs(&experiment, by_class, pseudo, |epoch_idx| {
        sizes::batch_size(&train.sizes, ends.iter().copied(), train.batch_size, epoch_idx)
    })?;
    check_lengths(&experiment, &epochs)?;
    Ok(Span { experiment, start, epochs })
}

/// Returns the classes that the sampler samples from.
///
/// - `images`: the images with labels that are trained on.
pub(super) fn by_class(
    experiment: &Experiment,
    manifest: &Manifest,
    images: &[usize],
    training_classes: &[usize],
) -> Result<ByClass, PlanError> {
    let over = experiment.data.sampler.get().over();
    ByClass::new(manifest, images, training_classes, over).map_err(wrong("data.sampler"))
}

/// Checks that the warm-up and the schedule's frozen phase end, and that averaging begins, within the run.
fn check_lengths(experiment: &Experiment, epochs: &Epochs) -> Result<(), PlanError> {
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
fn epochs(
    experiment: &Experiment,
    by_class: &ByClass,
    pseudo: PseudoImages,
    batch_size: impl Fn(usize) -> usize,
) -> Result<Epochs, PlanError> {
    let Experiment { data, train, .. } = experiment;
    let sampler = data.sampler.get();
    sampler.misfit(by_class).map_or(Ok(()), |it| Err(wrong("data.sampler")(it)))?;
    let n_steps = |epoch_idx: usize| match sampler.n_samples(by_class, epoch_idx) {
        0 => Err(format!(
            "at `data.sampler`: epoch {} has no images: change the sampler's settings, or choose another",
            epoch_idx + 1
        )),
        n if n > MAX_SAMPLES => Err(format!(
            "at `data.sampler`: epoch {} has {n} images, more than the maximum of {MAX_SAMPLES}",
            epoch_idx + 1
        )),
        n => {
            let batch_size = batch_size(epoch_idx);
            let n = n + pseudo.n_in(n, batch_size);
            Ok(batches_of(n, batch_size, train.drop_last).0)
        }
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
