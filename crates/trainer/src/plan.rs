//! What an experiment means: every object that a run needs, ready.
//!
//! Whatever can be wrong with the settings, the data or the weights is found here, before the first
//! step.

mod epochs;
mod error;
mod pictures;
mod sides;

use std::{path::PathBuf, rc::Rc, sync::Arc};

use augment::{Mixing, Pipeline};
use base::{Clock, Epochs, Seed, Task};
use candle::{DType, Device, Tensor};
use data::{Content, Groups, Manifest, Pack, Packs, Remembered, Sides, Use};
use infer::Serving;
use losses::{Counts, Judge, Question};
use models::{Fitted, Model, ModelSpec, read_weights};
use ops::{Pass, Tape, Training};

pub use self::{epochs::epochs_of, error::PlanError};
use self::{
    epochs::{batches_of, check_lengths, epochs, groups},
    error::wrong,
    pictures::{phases, pipelines},
};
pub(crate) use self::{
    pictures::Phase,
    sides::{divide, folds},
};
use crate::{
    experiment::{Experiment, TrainSection},
    freeze::Freezing,
    groups::ParamGroups,
    room,
    watch::Watch,
};

/// A run, ready to go.
pub struct Plan {
    /// The settings that it came from.
    pub experiment: Experiment,
    /// What the classes mean.
    pub task: Task,
    /// What each person is called.
    pub people: Vec<String>,
    /// Every picture of the source.
    pub pictures: Arc<[(String, Content)]>,
    /// The person of each picture.
    pub persons: Vec<usize>,
    /// The class of each picture, as it is scored.
    pub classes: Vec<usize>,
    /// The class of each picture, as it is trained on.
    pub training_classes: Vec<usize>,
    /// The age on each picture, where the source knows ages.
    pub ages: Vec<Option<f64>>,
    /// What each picture may be used for.
    pub usages: Vec<Use>,
    /// How much each picture counts in training; none of those that are trained on counts nothing.
    pub weights: Vec<f32>,
    /// Pictures to train on and to validate on.
    pub sides: Sides,
    /// Pictures that score the finished model.
    pub scored: Vec<usize>,
    /// What pictures go through in training.
    pub train_pipeline: Arc<Pipeline>,
    /// What remembers what is worked out of the pictures on the way.
    pub memory: Option<Remembered>,
    /// The pictures as that prepares them, where `maskfit data pack` has done so.
    pub pack: Option<Arc<Pack>>,
    /// The epochs that begin with smaller pictures.
    pub(crate) phases: Vec<Phase>,
    /// What happens to the rows of a batch in training.
    pub mixing: Mixing,
    /// What they go through in validation and serving.
    pub eval_pipeline: Pipeline,
    /// The network.
    pub spec: ModelSpec,
    /// What it descends on.
    pub loss: Judge,
    /// What the sampler draws from, as positions in the training side.
    pub groups: Groups,
    /// Where each epoch ends.
    pub epochs: Epochs,
    /// What does not learn, and when.
    pub(crate) freezing: Freezing,
    /// What learns at which rate.
    pub param_groups: ParamGroups,
    /// Where it computes.
    pub device: Device,
    /// Whether a run may resume with other settings, labels or weights than it began with.
    pub allow_changes: bool,
}

impl Plan {
    /// Makes everything ready.
    ///
    /// # Errors
    /// Whatever would make the run fail later.
    pub fn new(
        experiment: &Experiment,
        manifest: &Manifest,
        fold_idx: usize,
        device: &Device,
        watch: &(dyn Watch + Sync),
    ) -> Result<Plan, PlanError> {
        let problems = experiment.problems();
        if !problems.is_empty() {
            return Err(PlanError::Settings(problems));
        }
        let sides = divide(experiment, manifest, fold_idx)?;
        Plan::of_sides(experiment, manifest, sides, device, watch)
    }

    /// As [`Plan::new`], of settings without problems and people who are divided already.
    pub(crate) fn of_sides(
        experiment: &Experiment,
        manifest: &Manifest,
        sides: Sides,
        device: &Device,
        watch: &(dyn Watch + Sync),
    ) -> Result<Plan, PlanError> {
        let Experiment { data, model, train, .. } = experiment;
        let task = &manifest.task;
        let training_classes =
            manifest.training_classes(&data.training_cuts).map_err(wrong("data.training_cuts"))?;
        check_head(experiment, manifest, &sides)?;

        let pictures: Arc<[(String, Content)]> =
            manifest.examples.iter().map(|it| (it.name.clone(), it.content.clone())).collect();
        let (train_pipeline, eval_pipeline) =
            pipelines(experiment, &pictures, manifest.memory.as_ref(), &sides, watch)?;
        let packs = manifest.memory.as_ref().map(|it| Packs::new(it.dir(), &pictures));
        let pack_of = |pipeline: &Pipeline| match &packs {
            Some(it) => it.open(pipeline),
            None => Ok(None),
        };
        let pack = pack_of(&train_pipeline)?.map(Arc::new);
        let phases = phases(train, &train_pipeline, pack_of)?;

        let groups = groups(experiment, manifest, &sides, &training_classes)?;
        let batch_size = |epoch_idx| batch_size(&phases, train, epoch_idx);
        let epochs = epochs(experiment, &groups, batch_size)?;
        let n_draws = |epoch_idx| data.sampler.get().n_draws(&groups, epoch_idx);
        note_what_is_cut(train, &phases, epochs.n_begun(), n_draws(0), watch);
        let mixing = mixing(experiment, task, &sides.train, &training_classes, &epochs)?;
        check_lengths(experiment, &epochs)?;

        let spec = ModelSpec { backbone: model.backbone.clone(), head: experiment.head.clone() };
        let loss = judge(experiment, manifest, &sides, &training_classes)?;
        let freezing = freezing(experiment, &epochs)?;
        let param_groups = experiment.param_groups()?;
        let smallest = |it| batches_of(n_draws(it), batch_size(it), train.drop_last).1;
        if (0..epochs.n_begun()).any(|it| smallest(it) / train.accumulate.min(smallest(it)) == 1) {
            let size = train_pipeline.size().map_err(wrong("augment.train"))?;
            check_room(experiment, task)?;
            rehearse(&spec, task, size, device).map_err(|it| {
                wrong("train.batch_size")(format!(
                    "a batch, or a part of one, has one picture of {size:?}: {it}"
                ))
            })?;
        }

        let each = manifest.examples.iter();
        let scored = each.clone().enumerate().filter(|(_, it)| it.usage == Use::Score);
        Ok(Plan {
            freezing,
            param_groups,
            task: task.clone(),
            people: manifest.people.clone(),
            pictures,
            persons: each.clone().map(|it| it.person).collect(),
            classes: each.clone().map(|it| it.class).collect(),
            training_classes,
            ages: each.clone().map(|it| it.age).collect(),
            usages: each.clone().map(|it| it.usage).collect(),
            weights: each.map(|it| it.weight).collect(),
            sides,
            scored: scored.map(|(idx, _)| idx).collect(),
            train_pipeline: Arc::new(train_pipeline),
            memory: manifest.memory.clone(),
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

    /// Whether the machine has the memory for the network, whatever it is trained on.
    pub(crate) fn check_room(&self) -> Result<(), PlanError> {
        check_room(&self.experiment, &self.task)
    }

    /// The root of the run's randomness.
    pub fn seed(&self) -> Seed {
        self.experiment.seed
    }

    /// The moment after `step` steps.
    pub fn clock(&self, step: usize) -> Clock {
        Clock { step, total: self.epochs.total(), epoch: self.epochs.epoch(step) }
    }

    /// The model before the first step: fresh, with published weights where they are asked for, and
    /// what became of these.
    ///
    /// # Errors
    /// Published weights that cannot be read, or of another network; a network that there is no memory
    /// for.
    pub fn model(&self) -> Result<(Rc<Model>, Option<Fitted>), PlanError> {
        self.check_room()?;
        let model = self.bare_model()?;
        let path: &PathBuf = &self.experiment.model.pretrained;
        let fitted = match path.as_os_str().is_empty() {
            true => None,
            false => Some(model.fit_weights(&read_weights(path)?)?),
        };
        Ok((model, fitted))
    }

    /// The model without published weights, for a run whose weights come from its checkpoint.
    pub(crate) fn bare_model(&self) -> Result<Rc<Model>, PlanError> {
        let model = Model::fresh(&self.spec, &self.task, self.seed(), &self.device)?;
        Ok(Rc::new(model))
    }

    /// What an epoch sees, as positions on the training side.
    fn order(&self, epoch_idx: usize) -> Vec<usize> {
        let of_whole = self.epochs.of_whole(epoch_idx);
        let rng = &mut self.seed().stream(&format!("sample/{of_whole}"));
        let Experiment { data, train, .. } = &self.experiment;
        let mut order = data.sampler.get().order(&self.groups, of_whole, rng);
        let batch_size = self.batch_size(epoch_idx);
        let n_batches = batches_of(order.len(), batch_size, train.drop_last).0;
        let most = self.epochs.most_batches().unwrap_or(n_batches);
        order.truncate(n_batches.min(most) * batch_size);
        order
    }

    /// What pictures go through in an epoch, and where they lie ready.
    pub fn seen(&self, epoch_idx: usize) -> (Arc<Pipeline>, Option<Arc<Pack>>) {
        let epoch_idx = self.epochs.of_whole(epoch_idx);
        match self.phases.iter().find(|it| epoch_idx < it.end) {
            Some(it) => (Arc::clone(&it.pipeline), it.pack.clone()),
            None => (Arc::clone(&self.train_pipeline), self.pack.clone()),
        }
    }

    /// Pictures a step.
    pub fn batch_size(&self, epoch_idx: usize) -> usize {
        batch_size(&self.phases, &self.experiment.train, self.epochs.of_whole(epoch_idx))
    }

    /// The batches of an epoch, as positions among all pictures.
    pub fn batches(&self, epoch_idx: usize) -> Vec<Vec<usize>> {
        let pictures: Vec<usize> =
            self.order(epoch_idx).into_iter().map(|it| self.sides.train[it]).collect();
        pictures.chunks(self.batch_size(epoch_idx)).map(<[usize]>::to_vec).collect()
    }

    /// How many pictures of each class of the sampler's an epoch sees.
    pub fn drawn(&self, epoch_idx: usize) -> Vec<usize> {
        self.groups.counts_of(&self.order(epoch_idx))
    }

    /// How pictures are served.
    pub fn serving(&self) -> Serving {
        let Experiment { data, eval, .. } = &self.experiment;
        Serving {
            batch_size: eval.batch_size,
            n_loaders: data.n_loaders,
            n_ahead: data.n_ahead,
            memory: self.memory.clone(),
        }
    }
}

impl Experiment {
    /// What learns at which rate.
    ///
    /// # Errors
    /// Rates for other stages than the network has.
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

/// Whether the head can answer the task, and learn from what is known.
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
            "`{}` learns from ages, and `{}` has none: choose another head, such as `factored`, or \
             write the year where a reviewed table fixes it",
            experiment.head.kind(),
            manifest.examples[idx].name
        ))),
        _ => Ok(()),
    }
}

/// Says what a run has less of than its settings ask for.
fn note_what_is_cut(
    train: &TrainSection,
    phases: &[Phase],
    n_epochs: usize,
    n_drawn: usize,
    watch: &(dyn Watch + Sync),
) {
    if n_drawn < batch_size(phases, train, 0) {
        watch.note(&format!(
            "`train.batch_size`: the first epoch sees {n_drawn} pictures, so that a batch has no more"
        ));
    }
    if let Some(idx) = phases.iter().position(|it| it.end > n_epochs) {
        let until = train.sizes[idx].until;
        watch.note(&format!(
            "`train.sizes[{idx}]`: the run is over before `until = \"{until}\"`, and no picture is larger"
        ));
    }
}

/// What happens to the rows of a batch, in a run of these epochs.
///
/// - `side`: the pictures that are trained on.
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

/// What does not learn, and when, in a run of these epochs.
pub(crate) fn freezing(experiment: &Experiment, epochs: &Epochs) -> Result<Freezing, PlanError> {
    let mut stages = experiment.model.backbone.get().stages();
    stages.truncate(stages.len() - experiment.head.get().n_copied());
    Freezing::new(&experiment.freezes(epochs), &stages, epochs).map_err(wrong("train.freeze"))
}

/// The loss, bound to what the head asks and to the training side's classes and ages.
fn judge(
    experiment: &Experiment,
    manifest: &Manifest,
    sides: &Sides,
    training_classes: &[usize],
) -> Result<Judge, PlanError> {
    let task = &manifest.task;
    let mut counts = Counts { classes: vec![0; task.n_classes()], ages: Vec::new() };
    for &idx in &sides.train {
        counts.classes[training_classes[idx]] += 1;
        counts.ages.extend(manifest.examples[idx].age);
    }
    let asked = experiment.head.get().questions(task)?.into_iter();
    let asked = asked.map(|it| Question::new(task, it.asks, &it.form, it.n_out, &counts));
    Judge::new(&experiment.loss, &asked.collect::<Vec<_>>()).map_err(wrong("loss"))
}

/// Pictures a step of an epoch.
fn batch_size(phases: &[Phase], train: &TrainSection, epoch_idx: usize) -> usize {
    let phase = phases.iter().find(|it| epoch_idx < it.end);
    phase.map_or(train.batch_size, |it| it.batch_size)
}

/// Lets a batch of one picture through: a network whose last maps have one pixel cannot be trained
/// on it, and would say so at the end of the first epoch only.
fn rehearse(
    spec: &ModelSpec,
    task: &Task,
    [height, width]: [usize; 2],
    device: &Device,
) -> candle::Result<()> {
    let (tape, seed) = (Tape::default(), Seed(0));
    let model = Model::fresh(spec, task, seed, device)?;
    let xs = Tensor::zeros((1, height, width, 3), DType::F32, device)?;
    let pass = Pass::Train(Training { tape: &tape, seed, step: 0, first_row: 0, follow: None });
    model.forward(&xs, &pass).map(|_| ())
}
