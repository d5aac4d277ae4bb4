//! A phase of a plan: the objects that its settings and its training images resolve to.

use std::sync::Arc;

use augment::{Mixing, Pipeline};
use base::{Epochs, Length, Task};
use candle::{DType, Device, Tensor};
use data::{ByClass, Manifest, Pack, PackError, PseudoImages};
use losses::{Counts, Criterion, HeadOutput};
use models::{Model, ModelSpec, Stage};
use ops::{Pass, Tape, Training};

use super::{
    epochs::{batches_of, by_class, span},
    error::{PlanError, wrong},
    images::{Resized, resized},
    sides::{Trained, TrainingSets},
};
use crate::{
    callback::Callback,
    experiment::Experiment,
    freeze::Freezing,
    layers::Layers,
    phase::{Moment, PhaseSection, Restore, TrainOn},
    room, sizes,
    span::Span,
};

/// A phase of a run.
pub struct Phase {
    /// Its name; empty where the run is one phase.
    pub name: String,
    /// Its position and its section of the settings; `None` where the run is one phase.
    section: Option<(usize, PhaseSection)>,
    /// Its settings and its steps.
    pub span: Span,
    /// The images that it is trained on; those with pseudo-labels come last.
    pub train: Vec<usize>,
    /// Those with pseudo-labels.
    pub(super) pseudo: PseudoImages,
    /// Whether the validation images are among those trained on, in this phase or an earlier one.
    pub sees_valid: bool,
    /// The classes that the sampler samples from, as indices into `train`; without pseudo-labelled images.
    pub by_class: ByClass,
    /// Its epochs of smaller images.
    pub(super) sizes: Vec<Resized>,
    /// The mixing of the samples of a training batch.
    pub mixing: Mixing,
    /// The training loss.
    pub loss: Criterion,
    /// Which parameters are frozen, and when.
    pub(crate) freezing: Freezing,
    /// The layers that begin with their weights of an earlier phase.
    pub(crate) restores: Vec<Restored>,
    /// Whether it continues with the optimizer's state.
    pub(crate) keeps_optimizer: bool,
}

/// Layers that begin a phase with their weights of an earlier one.
pub(crate) struct Restored {
    pub(crate) layers: Layers,
    /// Their name in the settings.
    pub(crate) name: String,
    /// The index of the phase.
    pub(crate) phase: usize,
    pub(crate) at: Moment,
}

/// What the phases of a run have in common.
pub(super) struct Common<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) sets: &'a TrainingSets,
    pub(super) training_classes: &'a [usize],
    pub(super) pipeline: &'a Pipeline,
    pub(super) pack_of: &'a dyn Fn(&Pipeline) -> Result<Option<Pack>, PackError>,
    pub(super) spec: &'a ModelSpec,
    pub(super) device: &'a Device,
    pub(super) callback: &'a (dyn Callback + Sync),
}

/// Returns the phases of a run.
///
/// # Errors
/// Anything that would make a phase fail later.
pub(super) fn phases(run: &Experiment, common: &Common<'_>) -> Result<Vec<Phase>, PlanError> {
    let mut phases: Vec<Phase> = Vec::new();
    for (idx, (section, experiment)) in run.phases().into_iter().enumerate() {
        let phase = Phase::new(section, experiment, &phases, common);
        phases.push(phase.map_err(|err| err.in_phase(section.map(|it| (idx, it))))?);
    }
    Ok(phases)
}

impl Phase {
    fn new(
        section: Option<&PhaseSection>,
        experiment: Experiment,
        earlier: &[Phase],
        common: &Common<'_>,
    ) -> Result<Phase, PlanError> {
        let Common { manifest, training_classes, pipeline, .. } = *common;
        let images = common.sets.of(section);
        check_numbers(&experiment, manifest, images)?;
        let Trained { labelled, pseudo } = Trained::of(&experiment, manifest, images)?;
        let by_class = by_class(&experiment, manifest, labelled, training_classes)?;
        let start = earlier.last().map_or(0, |it| it.span.end());
        let span = span(section, experiment, &by_class, pseudo, start)?;
        let Span { experiment, epochs, .. } = &span;
        let sizes = match epochs.total() {
            0 => Vec::new(),
            _ => resized(&experiment.train, pipeline, common.pack_of)?,
        };
        let sees_valid = section.is_some_and(|it| it.data == TrainOn::All);
        let phase = Phase {
            name: section.map_or_else(String::new, |it| it.name.clone()),
            section: section.map(|it| (earlier.len(), it.clone())),
            train: images.to_vec(),
            pseudo,
            sees_valid: sees_valid || earlier.iter().any(|it| it.sees_valid),
            mixing: mixing(experiment, &manifest.task, labelled, training_classes, epochs)?,
            loss: criterion(experiment, manifest, labelled, training_classes)?,
            freezing: freezing(experiment, epochs)?,
            restores: restores(section, experiment, earlier)?,
            keeps_optimizer: section.is_some_and(|it| it.keep_optimizer),
            sizes,
            by_class,
            span,
        };
        phase.note_unreachable(common.callback);
        phase.check_single_image(common)?;
        Ok(phase)
    }

    /// Returns a message with the name of the phase, where it has one.
    pub(crate) fn named(&self, message: &str) -> String {
        match self.name.as_str() {
            "" => message.to_owned(),
            name => format!("phase `{name}`: {message}"),
        }
    }

    /// Returns the name of a setting as the user wrote it: for the phase or for the run.
    pub(crate) fn setting(&self, of_run: &str) -> String {
        let own = self.section.as_ref().and_then(|(idx, it)| it.setting(*idx, of_run));
        own.unwrap_or_else(|| of_run.to_owned())
    }

    /// Returns the number of images with labels that it is trained on, the first of [`Phase::train`].
    pub(super) fn n_labelled(&self) -> usize {
        self.train.len() - self.pseudo.n()
    }

    /// Notes settings that the phase does not reach: a full first batch, and image sizes after its end.
    fn note_unreachable(&self, callback: &(dyn Callback + Sync)) {
        let Span { experiment, epochs, .. } = &self.span;
        let n_samples = self.n_samples(0);
        if epochs.total() > 0 && n_samples < self.batch_size(0) {
            let setting = self.setting("train.batch_size");
            callback.note(&self.named(&format!(
                "`{setting}`: the first epoch has only {n_samples} images, so its batch is smaller"
            )));
        }
        if let Some(idx) = self.sizes.iter().position(|it| it.end > epochs.n_begun()) {
            let until = experiment.train.sizes[idx].until;
            let setting = self.setting(&format!("train.sizes[{idx}]"));
            callback.note(&self.named(&format!(
                "`{setting}`: the run ends before `until = \"{until}\"`, so no image is larger"
            )));
        }
    }

    /// Checks that the network can be trained on the smallest batch, which may have a single image.
    fn check_single_image(&self, common: &Common<'_>) -> Result<(), PlanError> {
        let Span { experiment, epochs, .. } = &self.span;
        let (train, task) = (&experiment.train, &common.manifest.task);
        let smallest = |it| batches_of(self.n_samples(it), self.batch_size(it), train.drop_last).1;
        if (0..epochs.n_begun()).all(|it| smallest(it) / train.accumulate.min(smallest(it)) != 1) {
            return Ok(());
        }
        let size = common.pipeline.size().map_err(wrong("augment.train"))?;
        check_room(experiment, task)?;
        check_single_image(common.spec, task, size, common.device).map_err(|it| {
            wrong("train.batch_size")(format!(
                "a batch or an accumulated part of it has a single image of {size:?}: {it}"
            ))
        })
    }

    /// Returns the number of samples of an epoch.
    fn n_samples(&self, epoch_idx: usize) -> usize {
        let n = self.span.experiment.data.sampler.get().n_samples(&self.by_class, epoch_idx);
        n + self.pseudo.n_in(n, self.batch_size(epoch_idx))
    }

    /// Returns its training pipeline in an epoch, with its pack, where the images are smaller.
    ///
    /// - `epoch_idx`: counted in the phase.
    pub(super) fn smaller(&self, epoch_idx: usize) -> Option<(Arc<Pipeline>, Option<Arc<Pack>>)> {
        let epoch_idx = self.span.epochs.of_whole(epoch_idx);
        let smaller = self.sizes.iter().find(|it| epoch_idx < it.end)?;
        Some((Arc::clone(&smaller.pipeline), smaller.pack.clone()))
    }

    /// Returns the batch size of an epoch.
    ///
    /// - `epoch_idx`: counted in the phase.
    pub(super) fn batch_size(&self, epoch_idx: usize) -> usize {
        let epoch_idx = self.span.epochs.of_whole(epoch_idx);
        let (train, ends) = (&self.span.experiment.train, self.sizes.iter().map(|it| it.end));
        sizes::batch_size(&train.sizes, ends, train.batch_size, epoch_idx)
    }

    /// Returns the steps of the phase after which each item of `train.sizes` ends.
    pub(crate) fn ends_of_sizes(&self) -> impl Iterator<Item = usize> {
        self.sizes.iter().map(|it| self.span.epochs.steps(it.end as f64))
    }

    /// Makes it take only some of its steps.
    ///
    /// - `start`: the steps of the shortened run before it.
    /// - `steps`: the steps that it takes, counted in the phase.
    pub(crate) fn shorten(
        &mut self,
        start: usize,
        steps: Vec<usize>,
        task: &Task,
        training_classes: &[usize],
    ) -> Result<(), PlanError> {
        self.span.start = start;
        self.span.epochs = self.span.epochs.clone().only(steps);
        let labelled = &self.train[..self.n_labelled()];
        let Span { experiment, epochs, .. } = &mut self.span;
        experiment.eval.every = Length::Steps(1);
        experiment.checkpoint.every = Length::Steps(1);
        experiment.train.patience = 0;
        self.mixing = mixing(experiment, task, labelled, training_classes, epochs)?;
        self.freezing = freezing(experiment, epochs)?;
        Ok(())
    }
}

/// Checks that the training labels have the number that the head is trained on.
fn check_numbers(
    experiment: &Experiment,
    manifest: &Manifest,
    images: &[usize],
) -> Result<(), PlanError> {
    let Some(factor) = experiment.head.get().number(&manifest.task) else { return Ok(()) };
    let lacks_number = |&&idx: &&usize| manifest.examples[idx].number(factor).is_none();
    match images.iter().find(lacks_number) {
        None => Ok(()),
        Some(&idx) => Err(wrong("head")(format!(
            "`{}` is trained on the number of `{}`, but `{}` has none: choose another head, such as \
             `factored`, or write the number where a reviewed table fixes it",
            experiment.head.kind(),
            manifest.task.factors[factor].name,
            manifest.examples[idx].name
        ))),
    }
}

/// Returns the mixing of a phase of these epochs.
///
/// - `images`: the images with labels that it is trained on: partners are no others.
fn mixing(
    experiment: &Experiment,
    task: &Task,
    images: &[usize],
    training_classes: &[usize],
    epochs: &Epochs,
) -> Result<Mixing, PlanError> {
    let examples: Vec<_> = images.iter().map(|&it| (it, training_classes[it])).collect();
    Mixing::new(&experiment.augment.mix, task, &examples, |it| it.to_steps(epochs))
        .map_err(|(idx, it)| wrong(&format!("augment.mix[{idx}]"))(it))
}

/// Returns the freezing of a phase of these epochs.
fn freezing(experiment: &Experiment, epochs: &Epochs) -> Result<Freezing, PlanError> {
    if epochs.total() == 0 {
        return Ok(Freezing::default());
    }
    let stages = stages(experiment);
    Freezing::new(&experiment.freezes(epochs), &stages, epochs).map_err(wrong("train.freeze"))
}

/// Resolves the layers that a phase restores.
fn restores(
    section: Option<&PhaseSection>,
    experiment: &Experiment,
    earlier: &[Phase],
) -> Result<Vec<Restored>, PlanError> {
    let stages = stages(experiment);
    let restored = |(nth, it): (usize, &Restore)| {
        let phase = earlier.iter().position(|phase| phase.name == it.phase);
        let layers = Layers::of_network(&it.layers, &stages);
        let layers = layers.map_err(wrong(&format!("restore[{nth}].layers")))?;
        let (name, at) = (it.layers.clone(), it.at);
        Ok(Restored { layers, name, phase: phase.expect("names were checked"), at })
    };
    section.map_or(&[][..], |it| &it.restore).iter().enumerate().map(restored).collect()
}

/// Returns the stages of the backbone, without those that the head has copies of.
pub(super) fn stages(experiment: &Experiment) -> Vec<Stage<'_>> {
    let mut stages = experiment.model.backbone.get().stages();
    stages.truncate(stages.len() - experiment.head.get().n_copied());
    stages
}

/// Returns the loss for the head's outputs and the classes and numbers of the images with labels that are
/// trained on.
fn criterion(
    experiment: &Experiment,
    manifest: &Manifest,
    images: &[usize],
    training_classes: &[usize],
) -> Result<Criterion, PlanError> {
    let task = &manifest.task;
    let mut counts = Counts { classes: vec![0; task.n_classes()], numbers: Vec::new() };
    let predicted = experiment.head.get().number(task);
    for &idx in images {
        counts.classes[training_classes[idx]] += 1;
        counts.numbers.extend(predicted.and_then(|it| manifest.examples[idx].number(it)));
    }
    let outputs = experiment.head.get().outputs(task)?.into_iter();
    let outputs = outputs.map(|it| HeadOutput::new(task, it.scope, &it.form, it.n_out, &counts));
    Criterion::new(&experiment.loss, &outputs.collect::<Vec<_>>()).map_err(wrong("loss"))
}

/// Checks that the machine has enough memory for the network itself.
pub(super) fn check_room(experiment: &Experiment, task: &Task) -> Result<(), PlanError> {
    match room::problem(experiment, task)? {
        None => Ok(()),
        Some((path, what)) => Err(wrong(path)(what)),
    }
}

/// Runs a forward pass on a batch of one image: a network whose last feature maps have one pixel cannot be
/// trained on it, and would fail only at the end of the first epoch.
fn check_single_image(
    spec: &ModelSpec,
    task: &Task,
    [height, width]: [usize; 2],
    device: &Device,
) -> candle::Result<()> {
    let (tape, seed) = (Tape::default(), base::Seed(0));
    let model = Model::fresh(spec, task, seed, device)?;
    let xs = Tensor::zeros((1, height, width, 3), DType::F32, device)?;
    let pass = Pass::Train(Training { tape: &tape, seed, step: 0, first_row: 0, momentum: None });
    model.forward(&xs, &pass).map(|_| ())
}
