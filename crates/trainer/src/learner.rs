//! A model in training: the network, its optimizer, and the average of its weights.

use std::{collections::BTreeMap, rc::Rc};

use base::{
    Clock,
    mix::{MixedSample, Row},
    task::ScopePrediction,
};
use candle::{DType, Tensor};
use data::Batch;
use infer::PredictError;
use losses::{Criterion, Labels, Targets};
use metrics::Predictions;
use models::{Model, Param};
use ops::{Gradients, Output, Pass, Training};

use crate::{
    amp::LossScale,
    average::{Average, AverageConfig},
    checkpoint::{Checkpoint, State},
    engine::Engine,
    error::FitError,
    kept::{KEPT, Kept},
    optim::Optimizer,
    parts::parts_of,
    phase::Moment,
    plan::Plan,
    profile::{Activity, Profile},
    run::RunError,
    running_statistics,
    schedule::Rates,
};

/// The result of a training step.
pub(crate) struct StepResult {
    /// The loss.
    pub(crate) loss: f64,
    /// Predictions and true classes; a mixed sample's true class is the one with the largest weight.
    pub(crate) predictions: Predictions,
}

/// A model in training.
pub(crate) struct Learner {
    model: Rc<Model>,
    engine: Engine,
    optimizer: Box<dyn Optimizer>,
    average: Option<Average>,
    kept: Kept,
    profile: Rc<Profile>,
}

impl Learner {
    /// Creates a learner that has not taken a step.
    pub(crate) fn new(plan: &Plan, model: Rc<Model>) -> Result<Learner, FitError> {
        Learner::in_phase(plan, model, 0)
    }

    /// As [`Learner::new`], with the optimizer of a phase.
    fn in_phase(plan: &Plan, model: Rc<Model>, phase_idx: usize) -> Result<Learner, FitError> {
        let engine = Engine::new(plan)?;
        let optimizer = engine.optimizer(plan, phase_idx, &model)?;
        let average = match (&plan.experiment.average, &engine) {
            (AverageConfig::Off(_), _) => None,
            (_, Engine::Cpu) => Some(Average::new(plan.bare_model()?)),
            (it, Engine::Card(card, _)) => {
                Some(Average::new(plan.bare_model()?).on_card(card, &model, it.get())?)
            }
        };
        let (kept, profile) = (Kept::default(), Rc::default());
        Ok(Learner { model, engine, optimizer, average, kept, profile })
    }

    /// Returns where the model is trained.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the loss scale, of f16. Waits for the card.
    pub(crate) fn loss_scale(&self) -> Result<Option<LossScale>, FitError> {
        Ok(self.optimizer.loss_scale()?)
    }

    /// Begins a phase after the first.
    ///
    /// # Errors
    /// The weights that it restores are not those of this run.
    pub(crate) fn begin(&mut self, plan: &Plan, phase_idx: usize) -> Result<(), FitError> {
        let phase = &plan.phases[phase_idx];
        let average = self.average.as_ref().and_then(Average::model);
        for model in [&self.model].into_iter().chain(average).filter(|_| !phase.restores.is_empty())
        {
            self.engine.copy_back(model)?;
            self.kept.restore(&phase.restores, model)?;
            self.engine.copy_over(model)?;
        }
        let mut optimizer = self.engine.optimizer(plan, phase_idx, &self.model)?;
        if phase.keeps_optimizer {
            optimizer.load(&self.optimizer.state()?.into_iter().collect())?;
        }
        self.optimizer.loss_scale()?.map_or(Ok(()), |it| optimizer.set_loss_scale(it))?;
        self.optimizer = optimizer;
        // A phase without steps has the average of the one before it.
        if let Some(it) = self.average.as_mut().filter(|_| phase.span.epochs.total() > 0) {
            it.begin();
        }
        Ok(())
    }

    /// Keeps the weights that a later phase restores.
    ///
    /// - `at`: the moment of the phase.
    /// - `model`: the model that was evaluated then.
    pub(crate) fn keep(
        &mut self,
        plan: &Plan,
        phase_idx: usize,
        at: Moment,
        model: &Model,
    ) -> Result<(), FitError> {
        let restores = plan.phases.iter().flat_map(|it| &it.restores);
        let mut due = restores.filter(|it| it.phase == phase_idx && it.at == at);
        Ok(due.try_for_each(|it| self.kept.keep(it, model))?)
    }

    /// Restores a learner from a checkpoint.
    ///
    /// # Errors
    /// The checkpoint belongs to another network or optimizer.
    pub(crate) fn resume(plan: &Plan, checkpoint: &Checkpoint) -> Result<Learner, FitError> {
        let phase_idx = checkpoint.state.phase.min(plan.phases.len() - 1);
        let mut learner = Learner::in_phase(plan, plan.bare_model()?, phase_idx)?;
        learner.kept = Kept::of(checkpoint.part(KEPT).unwrap_or_default());
        let misfit = |reason: String| RunError::Damaged {
            path: "the checkpoint".into(),
            reason: format!("it was saved with different settings: {reason}"),
        };
        let part = |name: &str| {
            checkpoint.part(name).ok_or_else(|| misfit(format!("it has no part `{name}`")))
        };
        learner.model.params().load(&part("model")?).map_err(|err| misfit(err.to_string()))?;
        learner.optimizer.load(&part("optim")?).map_err(|err| misfit(err.to_string()))?;
        if let Some(it) = &mut learner.average {
            it.load(part("average")?).map_err(|err| misfit(err.to_string()))?;
        }
        let average = learner.average.as_ref().and_then(Average::model);
        for model in [&learner.model].into_iter().chain(average) {
            learner.engine.copy_over(model)?;
        }
        let scale = checkpoint.state.loss_scale;
        scale.map_or(Ok(()), |it| learner.optimizer.set_loss_scale(it))?;
        Ok(learner)
    }

    /// Returns the profile of the time spent.
    pub(crate) fn profile(&self) -> Rc<Profile> {
        Rc::clone(&self.profile)
    }

    /// Returns a checkpoint: copies of all that the next step depends on.
    ///
    /// - `data`: the fingerprint of the data.
    ///
    /// # Errors
    /// A weight is not finite (NaN or infinite): such a checkpoint would replace a good one.
    pub(crate) fn checkpoint(
        &self,
        plan: &Plan,
        state: &State,
        data: &str,
    ) -> Result<Checkpoint, FitError> {
        let average = self.average.as_ref().and_then(Average::model);
        for model in [&self.model].into_iter().chain(average) {
            self.engine.copy_back(model)?;
        }
        let mut weights = self.model.params().trainable();
        if let Some((name, _)) = weights.find(|(_, it)| !is_finite(it.var.as_tensor())) {
            let what = format!("the weight `{name}` is not finite (NaN or infinite)");
            return Err(FitError::NotFinite { step: state.step, what, images: Vec::new() });
        }
        let mut tensors = BTreeMap::from([
            ("model".to_owned(), self.model.params().to_file()?),
            ("optim".to_owned(), self.optimizer.state()?),
        ]);
        if let Some(it) = &self.average {
            tensors.insert("average".to_owned(), it.state()?);
        }
        tensors.insert(KEPT.to_owned(), self.kept.state());
        let loss_scale = self.optimizer.loss_scale()?;
        let (state, data) = (State { loss_scale, ..state.clone() }, data.to_owned());
        Ok(Checkpoint { state, settings: plan.experiment.result_settings(), data, tensors })
    }

    /// Takes a step on a batch, and returns the loss and the predictions from before it.
    ///
    /// - `step`: steps done before.
    ///
    /// # Errors
    /// The loss or a gradient is not finite (NaN or infinite); then only batch-norm statistics have changed. On a card
    /// gradients are not looked at, which would wait for it: in f16 the step is skipped there, and in f32 and bf16 it is
    /// taken, so that the next loss is not finite.
    pub(crate) fn step(
        &mut self,
        plan: &Plan,
        batch: &Batch,
        step: usize,
        rates: Rates,
    ) -> Result<StepResult, FitError> {
        let (result, mut gradients) = self.gradients(plan, batch, step)?;
        let loss = result.loss;
        self.check(plan, batch, step, loss, &gradients)?;
        let profile = self.profile();
        profile.step();
        profile.time(Activity::Optimize, || {
            let (params, head) = (self.model.params(), self.model.stages().len() - 1);
            let params: Vec<&Param> = params.trainable().map(|it| it.1).collect();
            let clip = plan.experiment.train.clip.get();
            self.engine.clip(clip, &mut gradients, &params, head)?;
            self.optimizer.step(&gradients, rates)?;
            if let Some(it) = &mut self.average {
                let (rule, span) = (plan.experiment.average.get(), &plan.phase(step).span);
                it.update(&self.model, rule, step + 1 - span.start, &span.epochs)?;
            }
            Ok(result)
        })
    }

    /// Returns the loss and predictions of a batch, and the gradients accumulated over its parts.
    fn gradients(
        &self,
        plan: &Plan,
        batch: &Batch,
        step: usize,
    ) -> Result<(StepResult, Gradients), FitError> {
        let phase = plan.phase(step);
        let clock = phase.span.clock(step);
        let frozen = phase.freezing.at(clock.step, &self.model);
        let parts = parts_of(batch.samples.len(), plan.experiment.train.accumulate);
        let targets: Vec<Targets> =
            parts.iter().map(|it| targets(plan, batch, it.clone())).collect();
        let (mut loss, mut gradients) = (0.0, Gradients::default());
        let mut probabilities = Vec::new();
        let mut norms = None;
        let mut inputs = self.engine.inputs(plan, batch, &parts)?;
        for (part, of_part) in parts.iter().zip(&targets) {
            let tape = self.engine.tape(&frozen);
            let pass = Training {
                tape: &tape,
                seed: plan.seed(),
                step,
                first_row: part.start,
                momentum: None,
            };
            let outputs = self.profile.time(Activity::Forward, || {
                self.model.forward_value(inputs.next(part.clone())?, &Pass::Train(pass))
            })?;
            probabilities.extend(class_probabilities(plan, &outputs)?);
            let compute = || phase.loss.compute(&outputs, of_part, &clock);
            let terms = self.profile.time(Activity::Loss, compute)?;
            let share = part.len() as f64 / batch.samples.len() as f64;
            let norms = match &norms {
                Some(it) => it,
                None if parts.len() == 1 => norms.insert(terms.norms()),
                None => norms.insert(norms_of(&phase.loss, &outputs, &targets, &clock)?),
            };
            let of_part = terms.part(norms, share)?;
            loss += f64::from(of_part.to_scalar::<f32>()?);
            self.profile.time(Activity::Optimize, || {
                gradients.add(tape.backward_times(&of_part, self.optimizer.scale()?)?)
            })?;
        }
        Ok((StepResult { loss, predictions: predictions(plan, batch, probabilities) }, gradients))
    }

    /// Checks that the loss and all gradients are finite and, in the first step of a phase, that every trained
    /// parameter has a gradient.
    fn check(
        &self,
        plan: &Plan,
        batch: &Batch,
        step: usize,
        loss: f64,
        gradients: &Gradients,
    ) -> Result<(), FitError> {
        let what = match loss.is_finite() {
            false => Some(format!("the loss is {loss}")),
            true => first_non_finite(gradients, &self.model)
                .map(|it| format!("the gradient of `{it}` is not finite (NaN or infinite)")),
        };
        if let Some(what) = what {
            let images = batch.examples.iter().map(|&it| plan.images[it].0.clone()).collect();
            return Err(FitError::NotFinite { step: step + 1, what, images });
        }
        let phase = plan.phase(step);
        if step == phase.span.start {
            let frozen = phase.freezing.at(0, &self.model);
            let params = self.model.params().trainable();
            let trained = params.filter(|(_, it)| !frozen.contains(&it.var.id()));
            let without = trained.filter(|(_, it)| !gradients.has(&it.var));
            let names: Vec<String> = without.map(|(name, _)| name.to_owned()).collect();
            if !names.is_empty() {
                return Err(FitError::NoGradient(names));
            }
        }
        Ok(())
    }

    /// Returns the model to evaluate and save, which the host has too: the average once it has begun, otherwise the
    /// trained model.
    ///
    /// - `step`: steps done, which determine the images that batch-norm statistics are recomputed on.
    pub(crate) fn for_inference(&self, plan: &Plan, step: usize) -> Result<Rc<Model>, FitError> {
        match self.average.as_ref().and_then(Average::model) {
            None => {
                self.engine.copy_back(&self.model)?;
                Ok(Rc::clone(&self.model))
            }
            Some(model) => {
                let engine = &self.engine;
                if plan.experiment.average.get().measures() {
                    running_statistics::copy_frozen(plan, engine, &self.model, model, step)?;
                    running_statistics::measure(plan, engine, model, step, &mut |_, _| ())?;
                }
                engine.copy_back(model)?;
                Ok(Rc::clone(model))
            }
        }
    }
}

impl Learner {
    /// Runs a forward and a backward pass on blank images, to measure memory. Changes batch-norm statistics.
    pub(crate) fn blank_step(&self, n: usize, size: [usize; 2]) -> candle::Result<()> {
        let tape = self.engine.tape(&Rc::default());
        let seed = base::Seed(0);
        let pass = Training { tape: &tape, seed, step: 0, first_row: 0, momentum: None };
        let outputs = self.model.forward_value(self.engine.blank(n, size)?, &Pass::Train(pass))?;
        let sums = outputs.iter().map(|it| it.numbers.sum_all());
        let sums = sums.collect::<candle::Result<Vec<_>>>()?;
        tape.backward(&Tensor::stack(&sums, 0)?.sum_all()?).map(drop)
    }

    /// Returns the model.
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }
}

/// Runs an inference pass on blank images, to measure memory.
pub(crate) fn blank_eval(
    engine: &Engine,
    model: &Model,
    n: usize,
    size: [usize; 2],
) -> candle::Result<()> {
    let packed = engine.prepacked();
    model.forward_value(engine.blank(n, size)?, &Pass::Eval(&packed)).map(drop)
}

/// Returns the first parameter, in name order, whose gradient is not finite.
fn first_non_finite<'a>(gradients: &Gradients, model: &'a Model) -> Option<&'a str> {
    let mut trained = model.params().trainable();
    trained.find_map(|(name, it)| {
        let grad = gradients.get(&it.var)?;
        (!is_finite(grad)).then_some(name)
    })
}

/// Returns whether the sum of absolute values is finite: no element is NaN or infinite, and the sum does not
/// overflow.
fn is_finite(tensor: &Tensor) -> bool {
    let sum = || tensor.abs()?.sum_all()?.to_scalar::<f32>();
    sum().is_ok_and(f32::is_finite)
}

/// Returns the network's probabilities of the joint classes for some rows.
fn class_probabilities(plan: &Plan, outputs: &[Output]) -> Result<Vec<Vec<f64>>, FitError> {
    let mut of_rows: Vec<Vec<ScopePrediction>> = Vec::new();
    for output in outputs {
        let predicted = output.predictions()?.unwrap_or_default();
        of_rows.resize(of_rows.len().max(predicted.len()), Vec::new());
        of_rows.iter_mut().zip(predicted).for_each(|(row, it)| row.push(it));
    }
    let join = |row| plan.task.join(&[row], &[]).map_err(PredictError::from);
    Ok(of_rows.into_iter().map(join).collect::<Result<_, _>>()?)
}

/// Returns a batch's predictions with its true classes.
fn predictions(plan: &Plan, batch: &Batch, probabilities: Vec<Vec<f64>>) -> Predictions {
    let main_image = |it: &MixedSample| {
        let row = it.row(batch.size);
        let heaviest = row.iter().reduce(|a, b| if b.weight > a.weight { b } else { a });
        batch.examples[heaviest.map_or(it.image, |it| it.image)]
    };
    let examples: Vec<usize> = batch.samples.iter().map(main_image).collect();
    let classes = examples.iter().map(|&it| plan.classes[it]).collect();
    let groups = examples.iter().map(|&it| plan.persons[it]).collect();
    Predictions::new(plan.task.clone(), probabilities, classes, groups)
}

/// Returns the targets of some rows of a batch.
fn targets(plan: &Plan, batch: &Batch, rows: std::ops::Range<usize>) -> Targets {
    let labels = Labels {
        classes: batch.examples.iter().map(|&it| plan.training_classes[it]).collect(),
        numbers: batch.examples.iter().map(|&it| plan.number(it)).collect(),
        weights: batch.examples.iter().map(|&it| f64::from(plan.weights[it])).collect(),
        soft: batch.examples.iter().map(|&it| plan.pseudo.soft(it).to_vec()).collect(),
    };
    let rows: Vec<Row> = batch.samples[rows].iter().map(|it| it.row(batch.size)).collect();
    Targets::new(&plan.task, labels, &rows, DType::F32, &plan.device)
}

/// Returns the normaliser of each loss term over all parts. Normalisers depend on labels only, so blank
/// outputs are enough.
fn norms_of(
    loss: &Criterion,
    outputs: &[Output],
    targets: &[Targets],
    clock: &Clock,
) -> candle::Result<Vec<f64>> {
    let mut sum: Vec<f64> = Vec::new();
    for of_part in targets {
        let blank = |it: &Output| -> candle::Result<Output> {
            let (_, n_out) = it.numbers.dims2()?;
            let dims = (of_part.n_rows(), n_out);
            let numbers = Tensor::zeros(dims, it.numbers.dtype(), it.numbers.device())?;
            Ok(Output { scope: it.scope, form: it.form.clone(), weight: it.weight, numbers })
        };
        let blank = outputs.iter().map(blank).collect::<candle::Result<Vec<_>>>()?;
        let norms = loss.compute(&blank, of_part, clock)?.norms();
        match sum.is_empty() {
            true => sum = norms,
            false => sum.iter_mut().zip(norms).for_each(|(sum, it)| *sum += it),
        }
    }
    Ok(sum)
}
