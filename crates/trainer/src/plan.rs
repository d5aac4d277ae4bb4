//! The plan of a run: every object that an experiment's settings resolve to.
//!
//! Every error in the settings, the data or the weights is found here, before the first step.

mod epochs;
mod error;
mod images;
mod sides;

use std::{path::PathBuf, rc::Rc, sync::Arc};

use augment::{Mixing, Pipeline};
use base::{Clock, Epochs, Seed, Task};
use candle::{DType, Device, Tensor};
use data::{CacheDir, Content, Groups, Manifest, Pack, Packs, Sides, Use};
use infer::Serving;
use losses::{Counts, Criterion, HeadOutput};
use models::{LoadedWeights, Model, ModelSpec, read_weights};
use ops::{Pass, Tape, Training};

pub use self::{epochs::epochs_of, error::PlanError};
use self::{
    epochs::{batches_of, check_lengths, epochs, groups},
    error::wrong,
    images::{phases, pipelines},
};
pub(crate) use self::{
    images::Phase,
    sides::{divide, folds},
};
use crate::{
    callback::Callback,
    experiment::{Experiment, TrainSection},
    freeze::Freezing,
    groups::ParamGroups,
    room,
};

/// A run that is ready to train.
pub struct Plan {
    /// The settings that it was created from.
    pub experiment: Experiment,
    /// The task: the meaning of the classes.
    pub task: Task,
    /// The name of each person.
    pub people: Vec<String>,
    /// Every image of the source.
    pub images: Arc<[(String, Content)]>,
    /// The person of each image.
    pub persons: Vec<usize>,
    /// The class of each image for scoring.
    pub classes: Vec<usize>,
    /// The class of each image for training.
    pub training_classes: Vec<usize>,
    /// The age of each image, where the source has ages.
    pub ages: Vec<Option<f64>>,
    /// The permitted use of each image.
    pub usages: Vec<Use>,
    /// The sample weight of each image in training; above 0 for all training images.
    pub weights: Vec<f32>,
    /// The training set and the validation set.
    pub sides: Sides,
    /// The test set, which scores the finished model.
    pub test: Vec<usize>,
    /// The pipeline of training images.
    pub train_pipeline: Arc<Pipeline>,
    /// The cache of what is computed from images.
    pub cache: Option<CacheDir>,
    /// The images as prepared by that pipeline, where `maskfit data pack` has packed them.
    pub pack: Option<Arc<Pack>>,
    /// The phases of progressive resizing, on smaller images.
    pub(crate) phases: Vec<Phase>,
    /// The mixing of the samples of a training batch.
    pub mixing: Mixing,
    /// The pipeline of images in validation and inference.
    pub eval_pipeline: Pipeline,
    /// The specification of the network.
    pub spec: ModelSpec,
    /// The training loss.
    pub loss: Criterion,
    /// The groups that the sampler samples from, as indices into the training set.
    pub groups: Groups,
    /// Where each epoch ends.
    pub epochs: Epochs,
    /// Which parameters are frozen, and when.
    pub(crate) freezing: Freezing,
    /// The parameter groups, with their learning rates.
    pub param_groups: ParamGroups,
    /// The device.
    pub device: Device,
    /// Whether a run may be resumed with changed settings, labels or weights.
    pub allow_changes: bool,
}

impl Plan {
    /// Creates the plan of a run.
    ///
    /// # Errors
    /// Anything that would make the run fail later.
    pub fn new(
        experiment: &Experiment,
        manifest: &Manifest,
        fold_idx: usize,
        device: &Device,
        callback: &(dyn Callback + Sync),
    ) -> Result<Plan, PlanError> {
        let problems = experiment.problems();
        if !problems.is_empty() {
            return Err(PlanError::Settings(problems));
        }
        let sides = divide(experiment, manifest, fold_idx)?;
        Plan::of_sides(experiment, manifest, sides, device, callback)
    }

    /// As [`Plan::new`], for validated settings and a given split.
    pub(crate) fn of_sides(
        experiment: &Experiment,
        manifest: &Manifest,
        sides: Sides,
        device: &Device,
        callback: &(dyn Callback + Sync),
    ) -> Result<Plan, PlanError> {
        let Experiment { data, model, train, .. } = experiment;
        let task = &manifest.task;
        let training_classes =
            manifest.training_classes(&data.training_cuts).map_err(wrong("data.training_cuts"))?;
        check_head(experiment, manifest, &sides)?;

        let images: Arc<[(String, Content)]> =
            manifest.examples.iter().map(|it| (it.name.clone(), it.content.clone())).collect();
        let (train_pipeline, eval_pipeline) =
            pipelines(experiment, &images, manifest.cache.as_ref(), &sides, callback)?;
        let packs = manifest.cache.as_ref().map(|it| Packs::new(it.dir(), &images));
        let pack_of = |pipeline: &Pipeline| match &packs {
            Some(it) => it.open(pipeline),
            None => Ok(None),
        };
        let pack = pack_of(&train_pipeline)?.map(Arc::new);
        let phases = phases(train, &train_pipeline, pack_of)?;

        let groups = groups(experiment, manifest, &sides, &training_classes)?;
        let batch_size = |epoch_idx| batch_size(&phases, train, epoch_idx);
        let epochs = epochs(experiment, &groups, batch_size)?;
        let n_samples = |epoch_idx| data.sampler.get().n_samples(&groups, epoch_idx);
        note_unreachable(train, &phases, epochs.n_begun(), n_samples(0), callback);
        let mixing = mixing(experiment, task, &sides.train, &training_classes, &epochs)?;
        check_lengths(experiment, &epochs)?;

        let spec = ModelSpec { backbone: model.backbone.clone(), head: experiment.head.clone() };
        let loss = criterion(experiment, manifest, &sides, &training_classes)?;
        let freezing = freezing(experiment, &epochs)?;
        let param_groups = experiment.param_groups()?;
        let smallest = |it| batches_of(n_samples(it), batch_size(it), train.drop_last).1;
        if (0..epochs.n_begun()).any(|it| smallest(it) / train.accumulate.min(smallest(it)) == 1) {
            let size = train_pipeline.size().map_err(wrong("augment.train"))?;
            check_room(experiment, task)?;
            check_single_image(&spec, task, size, device).map_err(|it| {
                wrong("train.batch_size")(format!(
                    "a batch or an accumulated part of it has a single image of {size:?}: {it}"
                ))
            })?;
        }

        let examples = manifest.examples.iter();
        let test = examples.clone().enumerate().filter(|(_, it)| it.usage == Use::Test);
        Ok(Plan {
            freezing,
            param_groups,
            task: task.clone(),
            people: manifest.people.clone(),
            images,
            persons: examples.clone().map(|it| it.person).collect(),
            classes: examples.clone().map(|it| it.class).collect(),
            training_classes,
            ages: examples.clone().map(|it| it.age).collect(),
            usages: examples.clone().map(|it| it.usage).collect(),
            weights: examples.map(|it| it.weight).collect(),
            sides,
            test: test.map(|(idx, _)| idx).collect(),
            train_pipeline: Arc::new(train_pipeline),
            cache: manifest.cache.clone(),
            pack,
            phases,
            mixing,
            eval_pipeline,
            spec,
            loss,
            groups,
            epochs,
            device: device.clone(),
            allow_changes: false,
            experiment: experiment.clone(),
        })
    }

    /// Checks that the machine has enough memory for the network itself.
    pub(crate) fn check_room(&self) -> Result<(), PlanError> {
        check_room(&self.experiment, &self.task)
    }

    /// Returns the root of the run's randomness.
    pub fn seed(&self) -> Seed {
        self.experiment.seed
    }

    /// Returns the clock after `step` steps.
    pub fn clock(&self, step: usize) -> Clock {
        Clock { step, total: self.epochs.total(), epoch: self.epochs.epoch(step) }
    }

    /// Returns the model before the first step, with pretrained weights if they are set, and how these fit.
    ///
    /// # Errors
    /// Published weights that cannot be read or are of another network, or a network that does not fit in
    /// memory.
    pub fn model(&self) -> Result<(Rc<Model>, Option<LoadedWeights>), PlanError> {
        self.check_room()?;
        let model = self.bare_model()?;
        let path: &PathBuf = &self.experiment.model.pretrained;
        let loaded = match path.as_os_str().is_empty() {
            true => None,
            false => Some(model.load_pretrained(&read_weights(path)?)?),
        };
        Ok((model, loaded))
    }

    /// Returns the model without pretrained weights, for a run whose weights come from its checkpoint.
    pub(crate) fn bare_model(&self) -> Result<Rc<Model>, PlanError> {
        let model = Model::fresh(&self.spec, &self.task, self.seed(), &self.device)?;
        Ok(Rc::new(model))
    }

    /// Returns the samples of an epoch, as indices into the training set.
    fn order(&self, epoch_idx: usize) -> Vec<usize> {
        let of_whole = self.epochs.of_whole(epoch_idx);
        let rng = &mut self.seed().stream(&format!("sample/{of_whole}"));
        let Experiment { data, train, .. } = &self.experiment;
        let mut order = data.sampler.get().order(&self.groups, of_whole, rng);
        let batch_size = self.batch_size(epoch_idx);
        let n_batches = batches_of(order.len(), batch_size, train.drop_last).0;
        let max_batches = self.epochs.most_batches().unwrap_or(n_batches);
        order.truncate(n_batches.min(max_batches) * batch_size);
        order
    }

    /// Returns the training pipeline of an epoch, and its pack if there is one.
    pub fn pipeline_at(&self, epoch_idx: usize) -> (Arc<Pipeline>, Option<Arc<Pack>>) {
        let epoch_idx = self.epochs.of_whole(epoch_idx);
        match self.phases.iter().find(|it| epoch_idx < it.end) {
            Some(it) => (Arc::clone(&it.pipeline), it.pack.clone()),
            None => (Arc::clone(&self.train_pipeline), self.pack.clone()),
        }
    }

    /// Returns the batch size of an epoch.
    pub fn batch_size(&self, epoch_idx: usize) -> usize {
        batch_size(&self.phases, &self.experiment.train, self.epochs.of_whole(epoch_idx))
    }

    /// Returns the batches of an epoch, as indices into all images.
    pub fn batches(&self, epoch_idx: usize) -> Vec<Vec<usize>> {
        let images: Vec<usize> =
            self.order(epoch_idx).into_iter().map(|it| self.sides.train[it]).collect();
        images.chunks(self.batch_size(epoch_idx)).map(<[usize]>::to_vec).collect()
    }

    /// Returns how many images of each of the sampler's classes an epoch has.
    pub fn class_counts(&self, epoch_idx: usize) -> Vec<usize> {
        self.groups.counts_of(&self.order(epoch_idx))
    }

    /// Returns the settings of inference.
    pub fn serving(&self) -> Serving {
        let Experiment { data, eval, .. } = &self.experiment;
        Serving {
            batch_size: eval.batch_size,
            num_workers: data.num_workers,
            prefetch: data.prefetch,
            cache: self.cache.clone(),
        }
    }
}

impl Experiment {
    /// Returns the parameter groups.
    ///
    /// # Errors
    /// The learning rates do not match the network's stages.
    pub fn param_groups(&self) -> Result<ParamGroups, PlanError> {
        let mut stages = self.model.backbone.get().stages();
        stages.truncate(stages.len() - self.head.get().n_copied());
        let names: Vec<&str> = stages.iter().map(|it| it.name.as_str()).collect();
        ParamGroups::new(&self.groups, &names).map_err(wrong("groups.stage_lr"))
    }
}

fn check_room(experiment: &Experiment, task: &Task) -> Result<(), PlanError> {
    match room::problem(experiment, task)? {
        None => Ok(()),
        Some((path, what)) => Err(wrong(path)(what)),
    }
}

/// Checks that the head suits the task and that the training labels have what it needs.
fn check_head(
    experiment: &Experiment,
    manifest: &Manifest,
    sides: &Sides,
) -> Result<(), PlanError> {
    let head = experiment.head.get();
    head.misfit(&manifest.task).map_or(Ok(()), |it| Err(wrong("head")(it)))?;
    let ageless = |&&idx: &&usize| manifest.examples[idx].age.is_none();
    match sides.train.iter().find(ageless) {
        Some(&idx) if head.needs_ages() => Err(wrong("head")(format!(
            "`{}` is trained on ages, but `{}` has none: choose another head, such as `factored`, or \
             write the year where a reviewed table fixes it",
            experiment.head.kind(),
            manifest.examples[idx].name
        ))),
        _ => Ok(()),
    }
}

/// Notes settings that the run does not reach: a full first batch, and image sizes after its end.
fn note_unreachable(
    train: &TrainSection,
    phases: &[Phase],
    n_epochs: usize,
    n_samples: usize,
    callback: &(dyn Callback + Sync),
) {
    if n_samples < batch_size(phases, train, 0) {
        callback.note(&format!(
            "`train.batch_size`: the first epoch has only {n_samples} images, so its batch is smaller"
        ));
    }
    if let Some(idx) = phases.iter().position(|it| it.end > n_epochs) {
        let until = train.sizes[idx].until;
        callback.note(&format!(
            "`train.sizes[{idx}]`: the run ends before `until = \"{until}\"`, so no image is larger"
        ));
    }
}

/// Returns the mixing of a run of these epochs.
///
/// - `side`: the training set.
pub(crate) fn mixing(
    experiment: &Experiment,
    task: &Task,
    side: &[usize],
    training_classes: &[usize],
    epochs: &Epochs,
) -> Result<Mixing, PlanError> {
    let examples: Vec<_> = side.iter().map(|&it| (it, training_classes[it])).collect();
    Mixing::new(&experiment.augment.mix, task, &examples, |it| it.to_steps(epochs))
        .map_err(|(idx, it)| wrong(&format!("augment.mix[{idx}]"))(it))
}

/// Returns the freezing of a run of these epochs.
pub(crate) fn freezing(experiment: &Experiment, epochs: &Epochs) -> Result<Freezing, PlanError> {
    let mut stages = experiment.model.backbone.get().stages();
    stages.truncate(stages.len() - experiment.head.get().n_copied());
    Freezing::new(&experiment.freezes(epochs), &stages, epochs).map_err(wrong("train.freeze"))
}

/// Returns the loss for the head's outputs and the training set's classes and ages.
fn criterion(
    experiment: &Experiment,
    manifest: &Manifest,
    sides: &Sides,
    training_classes: &[usize],
) -> Result<Criterion, PlanError> {
    let task = &manifest.task;
    let mut counts = Counts { classes: vec![0; task.n_classes()], ages: Vec::new() };
    for &idx in &sides.train {
        counts.classes[training_classes[idx]] += 1;
        counts.ages.extend(manifest.examples[idx].age);
    }
    let outputs = experiment.head.get().outputs(task)?.into_iter();
    let outputs = outputs.map(|it| HeadOutput::new(task, it.scope, &it.form, it.n_out, &counts));
    Criterion::new(&experiment.loss, &outputs.collect::<Vec<_>>()).map_err(wrong("loss"))
}

/// Returns the batch size of an epoch.
fn batch_size(phases: &[Phase], train: &TrainSection, epoch_idx: usize) -> usize {
    let phase = phases.iter().find(|it| epoch_idx < it.end);
    phase.map_or(train.batch_size, |it| it.batch_size)
}

/// Runs a forward pass on a batch of one image: a network whose last feature maps have one pixel cannot be
/// trained on it, and would fail only at the end of the first epoch.
fn check_single_image(
    spec: &ModelSpec,
    task: &Task,
    [height, width]: [usize; 2],
    device: &Device,
) -> candle::Result<()> {
    let (tape, seed) = (Tape::default(), Seed(0));
    let model = Model::fresh(spec, task, seed, device)?;
    let xs = Tensor::zeros((1, height, width, 3), DType::F32, device)?;
    let pass = Pass::Train(Training { tape: &tape, seed, step: 0, first_row: 0, momentum: None });
    model.forward(&xs, &pass).map(|_| ())
}
