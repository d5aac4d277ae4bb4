//! What an experiment means: every object that a run needs, ready.
//!
//! Whatever can be wrong with the settings, the data or the weights is found here, before the first
//! step.

use std::{path::PathBuf, rc::Rc, sync::Arc};

use augment::{Mixing, Pipeline, Statistics};
use base::{Clock, Epochs, Length, Seed, Task};
use candle::{DType, Device, Tensor};
use data::{
    Content, Groups, Load, LoadError, Loader, Manifest, Sides, SplitError, Use, measure_statistics,
};
use infer::Serving;
use losses::{Counts, Judge, Question};
use models::{Fitted, Model, ModelSpec, WeightsError, read_weights};
use ops::{Pass, Tape, Training};

use crate::{
    experiment::{Experiment, TrainSection},
    freeze::Freezing,
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
    /// How much each picture counts in training; none of those that are trained on counts nothing.
    pub weights: Vec<f32>,
    /// Pictures to train on and to validate on.
    pub sides: Sides,
    /// Pictures that score the finished model.
    pub scored: Vec<usize>,
    /// What pictures go through in training.
    pub train_pipeline: Arc<Pipeline>,
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
    /// Steps in which the learning rate rises.
    pub warmup: usize,
    /// What does not learn, and when.
    pub(crate) freezing: Freezing,
    /// Where it computes.
    pub device: Device,
}

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Settings that make no sense.
    #[error("{}", .0.join("\n"))]
    Settings(Vec<String>),
    /// People that cannot be split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// A picture that cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Published weights that cannot be read or used.
    #[error("`model.pretrained`: {0}")]
    Weights(#[from] WeightsError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
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
        let wrong = |what: String| PlanError::Settings(vec![what]);
        let problems = experiment.problems();
        if !problems.is_empty() {
            return Err(PlanError::Settings(problems));
        }
        let Experiment { seed, data, augment, model, train, .. } = experiment;
        let training_classes = manifest
            .training_classes(&data.training_cuts)
            .map_err(|it| wrong(format!("at `data.training_cuts`: {it}")))?;
        let folds = data.split.sides(manifest, &mut data.split_seed.stream("split"))?;
        let n_folds = folds.len();
        let Some(mut sides) = folds.into_iter().nth(fold_idx) else {
            return Err(wrong(format!(
                "at `data.fold`: there is no fold {fold_idx} of {n_folds}, counted from 0"
            )));
        };
        let is_left_out = |&idx: &usize| {
            let age = manifest.examples[idx].age;
            age.is_some_and(|age| data.leave_out_ages.contains(&age))
        };
        sides.train.retain(|it| !is_left_out(it));
        if sides.train.is_empty() {
            return Err(wrong("at `data.leave_out_ages`: nobody is left to train on".to_owned()));
        }
        sides.train.retain(|&it| manifest.examples[it].weight > 0.0);
        if sides.train.is_empty() {
            let what =
                "at `data.reviewed`, or `data.source.label_fixes`: nobody is left to train on";
            return Err(wrong(what.to_owned()));
        }
        let sampler = data.sampler.get();
        let misplaced = |it| wrong(format!("at `data.sampler`: {it}"));
        let groups = Groups::new(manifest, &sides.train, &training_classes, sampler.over())
            .map_err(misplaced)?;
        if let Some(misfit) = sampler.misfit(&groups) {
            return Err(misplaced(misfit));
        }
        let head = experiment.head.get();
        if let Some(misfit) = head.misfit(&manifest.task) {
            return Err(wrong(format!("at `head`: {misfit}")));
        }
        let ageless = |&&idx: &&usize| manifest.examples[idx].age.is_none();
        if let (true, Some(&idx)) = (head.needs_ages(), sides.train.iter().find(ageless)) {
            return Err(wrong(format!(
                "at `head`: `{}` learns from ages, and `{}` has none: choose another head, such as \
                 `factored`",
                experiment.head.kind(),
                manifest.examples[idx].name
            )));
        }
        let pictures: Arc<[(String, Content)]> =
            manifest.examples.iter().map(|it| (it.name.clone(), it.content.clone())).collect();

        let bare = |ops: &[augment::PictureOpConfig]| Pipeline {
            ops: ops.to_vec(),
            // Replaced below, once known.
            statistics: Statistics { mean: [0.0; 3], std: [1.0; 3] },
            max_pixels: data.max_pixels,
        };
        let mut eval_pipeline = bare(&augment.eval);
        let mut train_pipeline = bare(&augment.train);
        let size =
            train_pipeline.size().map_err(|it| wrong(format!("at `augment.train`: {it}")))?;
        eval_pipeline.size().map_err(|it| wrong(format!("at `augment.eval`: {it}")))?;
        let statistics = match augment.statistics.get().known() {
            Some(it) => it,
            None => {
                let side: Vec<_> = sides.train.iter().map(|&it| pictures[it].clone()).collect();
                let progress = |done, total| watch.progress("measuring colours", done, total);
                measure_statistics(&side, &eval_pipeline, &progress)?
            }
        };
        eval_pipeline.statistics = statistics;
        train_pipeline.statistics = statistics;

        // One picture through each, before there is a run: sizes that do not fit show here.
        for (pipeline, side) in [(&train_pipeline, &sides.train), (&eval_pipeline, &sides.valid)] {
            let load = Load {
                pictures: Arc::clone(&pictures),
                batches: side.iter().take(1).map(|&it| vec![it]).collect(),
                pipeline: Arc::new(pipeline.clone()),
                mixing: Mixing::default(),
                seed: *seed,
                stream: "augment/0".to_owned(),
                first_batch: 0,
                n_threads: 1,
                n_ahead: 1,
            };
            Loader::start(load).next().transpose()?;
        }

        let n_steps = |epoch_idx: usize| match sampler.n_draws(&groups, epoch_idx) {
            0 => Err(format!(
                "at `data.sampler`: it leaves epoch {} without pictures: change its settings, or \
                 choose another",
                epoch_idx + 1
            )),
            n if n > MOST_DRAWS => Err(format!(
                "at `data.sampler`: it gives epoch {} more than {MOST_DRAWS} pictures, {n}",
                epoch_idx + 1
            )),
            n => Ok(batches_of(n, train).0),
        };
        let epochs = Epochs::new(train.total, n_steps).map_err(wrong)?;
        let total = epochs.total();
        let examples: Vec<_> = sides.train.iter().map(|&it| (it, training_classes[it])).collect();
        let to_steps = |it: Length| it.to_steps(&epochs);
        let mixing = Mixing::new(&augment.mix, &manifest.task, &examples, to_steps)
            .map_err(|(idx, it)| wrong(format!("at `augment.mix[{idx}]`: {it}")))?;
        let spec = ModelSpec { backbone: model.backbone.clone(), head: experiment.head.clone() };
        let mut counts = Counts { classes: vec![0; manifest.task.n_classes()], ages: Vec::new() };
        for &idx in &sides.train {
            counts.classes[training_classes[idx]] += 1;
            counts.ages.extend(manifest.examples[idx].age);
        }
        let asked = head.questions(&manifest.task)?.into_iter();
        let asked: Vec<Question<'_>> = asked
            .map(|it| Question::new(&manifest.task, it.asks, &it.form, it.n_out, &counts))
            .collect();
        let loss =
            Judge::new(&experiment.loss, &asked).map_err(|it| wrong(format!("at `loss`: {it}")))?;
        let of_use = |usage| {
            let all = manifest.examples.iter().enumerate();
            all.filter(move |(_, it)| it.usage == usage).map(|(idx, _)| idx).collect()
        };
        let mut n_draws = (0..epochs.n_begun()).map(|it| sampler.n_draws(&groups, it));
        if n_draws.any(|it| batches_of(it, train).1 == 1) {
            rehearse(&spec, &manifest.task, size, device).map_err(|it| {
                wrong(format!("at `train.batch_size`: a batch has one picture of {size:?}: {it}"))
            })?;
        }
        let warmup = train.warmup.to_steps(&epochs);
        if warmup > total {
            return Err(wrong(format!(
                "at `train.warmup`: {warmup} steps are more than the run has, {total}"
            )));
        }
        let mut stages = spec.backbone.get().stages();
        stages.truncate(stages.len() - spec.head.get().n_copied());
        let freezing = Freezing::new(&train.freeze, &stages, &epochs)
            .map_err(|it| wrong(format!("at `train.freeze`: {it}")))?;
        drop(stages);
        Ok(Plan {
            freezing,
            task: manifest.task.clone(),
            people: manifest.people.clone(),
            pictures,
            persons: manifest.examples.iter().map(|it| it.person).collect(),
            classes: manifest.examples.iter().map(|it| it.class).collect(),
            training_classes,
            ages: manifest.examples.iter().map(|it| it.age).collect(),
            weights: manifest.examples.iter().map(|it| it.weight).collect(),
            sides,
            scored: of_use(Use::Score),
            train_pipeline: Arc::new(train_pipeline),
            mixing,
            eval_pipeline,
            spec,
            loss,
            groups,
            epochs,
            warmup,
            device: device.clone(),
            experiment: experiment.clone(),
        })
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
    /// Published weights that cannot be read, or of another network.
    pub fn model(&self) -> Result<(Rc<Model>, Option<Fitted>), PlanError> {
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
        let rng = &mut self.seed().stream(&format!("sample/{epoch_idx}"));
        let Experiment { data, train, .. } = &self.experiment;
        let mut order = data.sampler.get().order(&self.groups, epoch_idx, rng);
        order.truncate(batches_of(order.len(), train).0 * train.batch_size);
        order
    }

    /// The batches of an epoch, as positions among all pictures.
    pub fn batches(&self, epoch_idx: usize) -> Vec<Vec<usize>> {
        let pictures: Vec<usize> =
            self.order(epoch_idx).into_iter().map(|it| self.sides.train[it]).collect();
        pictures.chunks(self.experiment.train.batch_size).map(<[usize]>::to_vec).collect()
    }

    /// How many pictures of each class of the sampler's an epoch sees.
    pub fn drawn(&self, epoch_idx: usize) -> Vec<usize> {
        self.groups.counts_of(&self.order(epoch_idx))
    }

    /// How pictures are served.
    pub fn serving(&self) -> Serving {
        let Experiment { data, eval, .. } = &self.experiment;
        Serving { batch_size: eval.batch_size, n_loaders: data.n_loaders, n_ahead: data.n_ahead }
    }
}

/// An epoch of more pictures is taken for a slip of the pen.
const MOST_DRAWS: usize = 100_000_000;

/// How many batches an epoch of `n` pictures has, and how many pictures the smallest of them.
fn batches_of(n: usize, train: &TrainSection) -> (usize, usize) {
    match (n / train.batch_size, n % train.batch_size) {
        (0, rest) => (1, rest),
        (n_full, rest) if rest == 0 || train.drop_last => (n_full, train.batch_size),
        (n_full, rest) => (n_full + 1, rest),
    }
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
    let pass = Pass::Train(Training { tape: &tape, seed, step: 0, first_row: 0 });
    model.forward(&xs, &pass).map(|_| ())
}
