//! The plan of a run: every object that an experiment's settings resolve to.
//!
//! Every error in the settings, the data or the weights is found here, before the first step.

mod epochs;
mod error;
mod images;
mod phase;
mod sides;

use std::{
    path::PathBuf,
    rc::Rc,
    sync::{Arc, OnceLock},
};

use augment::Pipeline;
use base::{Clock, Epochs, Length, Seed, Task, task::Unit};
use candle::Device;
use data::{Attribute, CacheDir, Content, Manifest, Pack, Packs, PseudoLabels, Sides, Use};
use infer::Serving;
use models::{Model, ModelSpec, read_weights};

pub use self::{epochs::course_of, error::PlanError, phase::Phase, sides::divide};
pub(crate) use self::{error::wrong, phase::Restored, sides::folds};
use self::{
    images::pipelines,
    phase::{Common, check_room, phases, stages},
    sides::TrainingSets,
};
use crate::{
    callback::Callback, continued::Earlier, experiment::Experiment, groups::ParamGroups,
    open_device::OpenDevice, phase::TrainOn, span::Span,
};

/// A run that is ready to train.
pub struct Plan {
    /// The settings that it was created from.
    pub experiment: Experiment,
    /// The task: the meaning of the classes.
    pub task: Task,
    /// The name of each group.
    pub groups: Vec<String>,
    /// Every image of the source.
    pub images: Arc<[(String, Content)]>,
    /// The group of each image.
    pub persons: Vec<usize>,
    /// The class of each image for scoring.
    pub classes: Vec<usize>,
    /// The class of each image for training.
    pub training_classes: Vec<usize>,
    /// The numbers of each image, as in [`data::Example`].
    pub numbers: Vec<Vec<f64>>,
    /// The factor whose number the head predicts, if it does.
    pub predicted: Option<usize>,
    /// Which images have pseudo-labels.
    pub pseudo: PseudoLabels,
    /// What else is known about the images, for reports.
    pub attributes: Vec<Attribute>,
    /// For each image the position of its value of each attribute.
    pub attribute_values: Vec<Vec<u32>>,
    /// The permitted use of each image.
    pub usages: Vec<Use>,
    /// The hash of each image's file, where it is known.
    pub hashes: Vec<Option<u64>>,
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
    /// The pipeline of images in validation and inference.
    pub eval_pipeline: Pipeline,
    /// The specification of the network.
    pub spec: ModelSpec,
    /// The phases, at least one.
    pub phases: Vec<Phase>,
    /// Where each epoch ends.
    pub epochs: Epochs,
    /// The parameter groups, with their learning rates.
    pub param_groups: ParamGroups,
    /// The device of the host's tensors.
    pub device: Device,
    /// The device that networks run on, once it is open.
    opened: OnceLock<OpenDevice>,
    /// The file of published weights, or the folder of the bundle to continue from, as this machine finds it; empty
    /// for random initialisation.
    pub pretrained: PathBuf,
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
        let Experiment { data, model, .. } = experiment;
        let task = &manifest.task;
        let training_classes =
            manifest.training_classes(&data.training_cuts).map_err(wrong("data.training_cuts"))?;
        let head = experiment.head.get();
        head.misfit(task).map_or(Ok(()), |it| Err(wrong("head")(it)))?;
        let too_many = experiment.eval.best_by.get().too_many(sides.valid.len(), task.n_classes());
        too_many.map_or(Ok(()), |it| Err(wrong("eval.best_by")(it)))?;

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
        let spec = ModelSpec { backbone: model.backbone.clone(), head: experiment.head.clone() };
        let param_groups = experiment.param_groups()?;
        let common = Common {
            manifest,
            sets: &TrainingSets::new(experiment, manifest, &sides)?,
            training_classes: &training_classes,
            pipeline: &train_pipeline,
            pack_of: &pack_of,
            spec: &spec,
            device,
            callback,
        };
        let phases = phases(experiment, &common)?;
        let epochs = Epochs::joined(phases.iter().map(|it| &it.span.epochs));

        let examples = manifest.examples.iter();
        let test = examples.clone().enumerate().filter(|(_, it)| it.usage == Use::Test);
        Ok(Plan {
            param_groups,
            task: task.clone(),
            groups: manifest.groups.clone(),
            images,
            persons: examples.clone().map(|it| it.group).collect(),
            classes: examples.clone().map(|it| it.class).collect(),
            training_classes,
            numbers: examples.clone().map(|it| it.numbers.clone()).collect(),
            predicted: head.number(task),
            pseudo: manifest.pseudo.clone(),
            attributes: manifest.attributes.clone(),
            attribute_values: examples.clone().map(|it| it.attributes.clone()).collect(),
            usages: examples.clone().map(|it| it.usage).collect(),
            hashes: examples.clone().map(|it| it.hash).collect(),
            weights: examples.map(|it| it.weight).collect(),
            sides,
            test: test.map(|(idx, _)| idx).collect(),
            train_pipeline: Arc::new(train_pipeline),
            cache: manifest.cache.clone(),
            pack,
            eval_pipeline,
            spec,
            phases,
            epochs,
            device: device.clone(),
            opened: OnceLock::new(),
            pretrained: model.pretrained.clone(),
            allow_changes: false,
            experiment: experiment.clone(),
        })
    }

    /// Checks that the machine has enough memory for the network itself.
    pub(crate) fn check_room(&self) -> Result<(), PlanError> {
        check_room(&self.experiment, &self.task)
    }

    /// Returns the device that networks run on, which is opened the first time.
    ///
    /// # Errors
    /// The card that is asked for cannot be used.
    pub(crate) fn opened(&self) -> Result<&OpenDevice, PlanError> {
        if let Some(it) = self.opened.get() {
            return Ok(it);
        }
        let Experiment { device, amp, .. } = &self.experiment;
        let opened = OpenDevice::new(*device, amp.storage());
        let opened = opened.map_err(|err| wrong("device")(err.to_string()))?;
        Ok(self.opened.get_or_init(|| opened))
    }

    /// Makes networks run on a card that is open already, whatever the settings say.
    ///
    /// # Errors
    /// A device was opened before.
    pub(crate) fn use_card(
        &self,
        device: &gpu::Device,
        storage: gpu::Storage,
    ) -> Result<(), PlanError> {
        let opened = OpenDevice::open_already(device, storage);
        let is_open = |_| wrong("device")("another device is open".to_owned());
        self.opened.set(opened).map_err(is_open)
    }

    /// Returns the card that networks run on; `None` for the CPU. It is opened the first time.
    ///
    /// # Errors
    /// The card that is asked for cannot be used.
    pub fn card(&self) -> Result<Option<&gpu::Device>, PlanError> {
        Ok(self.opened()?.card.as_ref().map(|it| &it.0))
    }

    /// Returns the root of the run's randomness.
    pub fn seed(&self) -> Seed {
        self.experiment.seed
    }

    /// Returns the number of an image by the factor whose number the head predicts, if it is known.
    pub fn number(&self, image: usize) -> Option<f64> {
        self.numbers[image].get(self.predicted?).copied().filter(|it| !it.is_nan())
    }

    /// Returns the name of an image's group.
    pub fn group(&self, image: usize) -> &str {
        &self.groups[self.persons[image]]
    }

    /// Returns the clock after `step` steps.
    pub fn clock(&self, step: usize) -> Clock {
        Clock { step, total: self.epochs.total(), epoch: self.epochs.epoch(step) }
    }

    /// Returns the model before the first step, with pretrained weights if they are set, and in a line how these
    /// fit.
    ///
    /// # Errors
    /// Published weights or a bundle that cannot be read or are of another network, or a network that does not fit in
    /// memory.
    pub fn model(&self) -> Result<(Rc<Model>, Option<String>), PlanError> {
        self.check_room()?;
        let (model, path) = (self.bare_model()?, &self.pretrained);
        let loaded = match path {
            it if it.as_os_str().is_empty() => None,
            it if it.is_dir() => {
                Some(Earlier::open(it)?.load_into(&model, &self.task)?.to_string())
            }
            it => Some(model.load_pretrained(&read_weights(it)?)?.to_string()),
        };
        Ok((model, loaded))
    }

    /// Returns the model without pretrained weights, for a run whose weights come from its checkpoint.
    pub(crate) fn bare_model(&self) -> Result<Rc<Model>, PlanError> {
        let model = Model::fresh(&self.spec, &self.task, self.seed(), &self.device)?;
        Ok(Rc::new(model))
    }

    /// Returns the phase that takes the step after `step` steps.
    pub fn phase(&self, step: usize) -> &Phase {
        let after = self.phases.partition_point(|it| it.span.start <= step);
        &self.phases[after.saturating_sub(1)]
    }

    /// Describes a phase in a line.
    pub fn describe(&self, phase_idx: usize) -> String {
        let (phase, n) = (&self.phases[phase_idx], self.phases.len());
        let Span { experiment, start, epochs } = &phase.span;
        let name = format!("phase {} of {n} `{}`", phase_idx + 1, phase.name);
        if epochs.total() == 0 {
            return format!("{name}: no steps");
        }
        let pipeline = self.pipeline_at(self.epochs.find(*start).0).0;
        let [h, w] = pipeline.size().unwrap_or_default();
        let section = self.experiment.phase.get(phase_idx);
        let all = if section.is_some_and(|it| it.data == TrainOn::All) { "all " } else { "" };
        let steps = Length::Steps(epochs.total());
        format!(
            "{name}: {}, {}, {all}{} of {h}x{w}, {} with lr {}",
            in_words(experiment.train.total),
            in_words(steps),
            Unit::Image.count(phase.train.len()),
            experiment.schedule.kind(),
            experiment.optim.get().lr()
        )
    }

    /// Returns the phase that an epoch belongs to, and the epoch's index in it.
    pub fn phase_of(&self, epoch_idx: usize) -> (&Phase, usize) {
        let first = |it: &Phase| self.epochs.find(it.span.start).0;
        let after = self.phases.partition_point(|it| first(it) <= epoch_idx);
        let phase = &self.phases[after.saturating_sub(1)];
        (phase, epoch_idx - first(phase))
    }

    /// Returns the samples of an epoch, as indices into the images that are trained on.
    fn order(&self, epoch_idx: usize) -> Vec<usize> {
        let of_whole = self.epochs.of_whole(epoch_idx);
        let rng = &mut self.seed().stream(&format!("sample/{of_whole}"));
        let (phase, of_phase) = self.phase_of(epoch_idx);
        let sampler = self.experiment.data.sampler.get();
        let of_phase_in_whole = phase.span.epochs.of_whole(of_phase);
        let order = sampler.order(&phase.by_class, of_phase_in_whole, rng);
        let (batch_size, n_labelled) = (phase.batch_size(of_phase), phase.n_labelled());
        let rng = &mut self.seed().stream(&format!("pseudo/{of_whole}"));
        let mut order = phase.pseudo.add_to(order, n_labelled, batch_size, rng);
        order.truncate(self.epochs.n_steps(epoch_idx) * batch_size);
        order
    }

    /// Returns the training pipeline of an epoch, and its pack if there is one.
    pub fn pipeline_at(&self, epoch_idx: usize) -> (Arc<Pipeline>, Option<Arc<Pack>>) {
        let (phase, of_phase) = self.phase_of(epoch_idx);
        let whole = || (Arc::clone(&self.train_pipeline), self.pack.clone());
        phase.smaller(of_phase).unwrap_or_else(whole)
    }

    /// Returns the batch size of an epoch.
    pub fn batch_size(&self, epoch_idx: usize) -> usize {
        let (phase, of_phase) = self.phase_of(epoch_idx);
        phase.batch_size(of_phase)
    }

    /// Returns the batches of an epoch, as indices into all images.
    pub fn batches(&self, epoch_idx: usize) -> Vec<Vec<usize>> {
        let images = &self.phase_of(epoch_idx).0.train;
        let images: Vec<usize> = self.order(epoch_idx).into_iter().map(|it| images[it]).collect();
        images.chunks(self.batch_size(epoch_idx)).map(<[usize]>::to_vec).collect()
    }

    /// Returns how many images of each of the sampler's classes an epoch has, without pseudo-labelled ones.
    pub fn class_counts(&self, epoch_idx: usize) -> Vec<usize> {
        let (phase, mut order) = (self.phase_of(epoch_idx).0, self.order(epoch_idx));
        order.retain(|it| *it < phase.n_labelled());
        phase.by_class.counts_of(&order)
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
        let stages = stages(self);
        let names: Vec<&str> = stages.iter().map(|it| it.name.as_str()).collect();
        ParamGroups::new(&self.groups, &names).map_err(wrong("groups.stage_lr"))
    }
}

/// Formats a length in a text: `1 epoch`, where a setting is `1 epochs`.
fn in_words(length: Length) -> String {
    let text = length.to_string();
    match text.strip_suffix('s').filter(|it| it.starts_with("1 ")) {
        Some(one) => one.to_owned(),
        None => text,
    }
}
