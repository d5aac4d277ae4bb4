//! A model in training: the network, its optimizer, and the average of its weights.

use std::{collections::BTreeMap, rc::Rc};

use augment::Statistics;
use base::{
    Clock,
    mix::{MixedSample, Row},
    task::ScopePrediction,
};
use candle::{DType, Tensor};
use data::Batch;
use infer::PredictError;
use losses::{Labels, Targets};
use metrics::Predictions;
use models::{Model, Param};
use ops::{Gradients, Output, Pass, Rows, Tape, Training};

use crate::{
    average::{Average, AverageConfig},
    checkpoint::{Checkpoint, State},
    error::FitError,
    loading::load_epoch,
    optim::Optimizer,
    plan::Plan,
    profile::{Activity, Profile},
    run::RunError,
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
    optimizer: Box<dyn Optimizer>,
    average: Option<Average>,
    profile: Rc<Profile>,
}

impl Learner {
    /// Creates a learner that has not taken a step.
    pub(crate) fn new(plan: &Plan, model: Rc<Model>) -> Result<Learner, FitError> {
        let optimizer = plan.experiment.optim.get().build(model.params(), &plan.param_groups);
        let average = match plan.experiment.average {
            AverageConfig::Off(_) => None,
            _ => Some(Average::new(plan.bare_model()?)),
        };
        Ok(Learner { model, optimizer, average, profile: Rc::default() })
    }

    /// Restores a learner from a checkpoint.
    ///
    /// # Errors
    /// The checkpoint belongs to another network or optimizer.
    pub(crate) fn resume(plan: &Plan, checkpoint: &Checkpoint) -> Result<Learner, FitError> {
        let mut learner = Learner::new(plan, plan.bare_model()?)?;
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
        let (state, data) = (state.clone(), data.to_owned());
        Ok(Checkpoint { state, settings: plan.experiment.result_settings(), data, tensors })
    }

    /// Takes a step on a batch, and returns the loss and the predictions from before it.
    ///
    /// # Errors
    /// The loss or a gradient is not finite (NaN or infinite); then only batch-norm statistics have changed.
    pub(crate) fn step(
        &mut self,
        plan: &Plan,
        batch: &Batch,
        clock: &Clock,
        rates: Rates,
    ) -> Result<StepResult, FitError> {
        let (result, mut gradients) = self.gradients(plan, batch, clock)?;
        let loss = result.loss;
        self.check(plan, batch, clock.step, loss, &gradients)?;
        let profile = self.profile();
        profile.step();
        profile.time(Activity::Optimize, || {
            let (params, head) = (self.model.params(), self.model.stages().len() - 1);
            let params: Vec<&Param> = params.trainable().map(|it| it.1).collect();
            plan.experiment.train.clip.get().clip(&mut gradients, &params, head)?;
            self.optimizer.step(&gradients, rates)?;
            if let Some(it) = &mut self.average {
                let rule = plan.experiment.average.get();
                it.update(&self.model, rule, clock.step + 1, &plan.epochs)?;
            }
            Ok(result)
        })
    }

    /// Returns the loss and predictions of a batch, and the gradients accumulated over its parts.
    fn gradients(
        &self,
        plan: &Plan,
        batch: &Batch,
        clock: &Clock,
    ) -> Result<(StepResult, Gradients), FitError> {
        let frozen = plan.freezing.at(clock.step, &self.model);
        let parts = parts_of(batch.samples.len(), plan.experiment.train.accumulate);
        let targets: Vec<Targets> =
            parts.iter().map(|it| targets(plan, batch, it.clone())).collect();
        let (mut loss, mut gradients) = (0.0, Gradients::default());
        let mut probabilities = Vec::new();
        let mut norms = None;
        for (part, of_part) in parts.iter().zip(&targets) {
            let tape = Tape::freezing(Rc::clone(&frozen));
            let pass = Training {
                tape: &tape,
                seed: plan.seed(),
                step: clock.step,
                first_row: part.start,
                momentum: None,
            };
            let statistics = plan.train_pipeline.statistics;
            let outputs = self.profile.time(Activity::Forward, || {
                let xs = images(plan, batch, part.clone(), statistics)?;
                self.model.forward(&xs, &Pass::Train(pass))
            })?;
            probabilities.extend(class_probabilities(plan, &outputs)?);
            let compute = || plan.loss.compute(&outputs, of_part, clock);
            let terms = self.profile.time(Activity::Loss, compute)?;
            let share = part.len() as f64 / batch.samples.len() as f64;
            let norms = match &norms {
                Some(it) => it,
                None if parts.len() == 1 => norms.insert(terms.norms()),
                None => norms.insert(norms_of(plan, &outputs, &targets, clock)?),
            };
            let of_part = terms.part(norms, share)?;
            loss += f64::from(of_part.to_scalar::<f32>()?);
            self.profile.time(Activity::Optimize, || gradients.add(tape.backward(&of_part)?))?;
        }
        Ok((StepResult { loss, predictions: predictions(plan, batch, probabilities) }, gradients))
    }

    /// Checks that the loss and all gradients are finite and, in the first step, that every trained parameter
    /// has a gradient.
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
        if step == 0 {
            let frozen = plan.freezing.at(step, &self.model);
            let params = self.model.params().trainable();
            let trained = params.filter(|(_, it)| !frozen.contains(&it.var.id()));
            let without = trained.filter(|(_, it)| gradients.get(&it.var).is_none());
            let names: Vec<String> = without.map(|(name, _)| name.to_owned()).collect();
            if !names.is_empty() {
                return Err(FitError::NoGradient(names));
            }
        }
        Ok(())
    }

    /// Returns the model to evaluate and save: the average once it has begun, otherwise the trained model.
    ///
    /// - `step`: steps done, which determine the images that batch-norm statistics are recomputed on.
    pub(crate) fn for_inference(&self, plan: &Plan, step: usize) -> Result<Rc<Model>, FitError> {
        match self.average.as_ref().and_then(Average::model) {
            None => Ok(Rc::clone(&self.model)),
            Some(model) => {
                if plan.experiment.average.get().measures() {
                    copy_frozen_statistics(plan, &self.model, model, step)?;
                    recompute_statistics(plan, model, step)?;
                }
                Ok(Rc::clone(model))
            }
        }
    }
}

impl Learner {
    /// Runs a forward and a backward pass on blank images, to measure memory. Changes batch-norm statistics.
    pub(crate) fn blank_step(&self, n: usize, size: [usize; 2]) -> candle::Result<()> {
        let tape = Tape::default();
        let seed = base::Seed(0);
        let pass = Training { tape: &tape, seed, step: 0, first_row: 0, momentum: None };
        let outputs = self.model.forward(&blank(n, size)?, &Pass::Train(pass))?;
        let sums = outputs.iter().map(|it| it.numbers.sum_all());
        let sums = sums.collect::<candle::Result<Vec<_>>>()?;
        tape.backward(&Tensor::stack(&sums, 0)?.sum_all()?).map(drop)
    }

    /// Runs an inference pass on blank images.
    pub(crate) fn blank_eval(&self, n: usize, size: [usize; 2]) -> candle::Result<()> {
        self.model.forward(&blank(n, size)?, &Pass::Eval).map(drop)
    }
}

fn blank(n: usize, [height, width]: [usize; 2]) -> candle::Result<Tensor> {
    Tensor::zeros((n, height, width, 3), DType::F32, &candle::Device::Cpu)
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

/// Copies the running statistics of frozen norms into an average; they are not recomputed.
fn copy_frozen_statistics(
    plan: &Plan,
    from: &Model,
    average: &Model,
    step: usize,
) -> candle::Result<()> {
    for (name, theirs) in plan.freezing.frozen_statistics(step - 1, from) {
        let ours = average.params().get(name).expect("a model of the same architecture");
        ours.var.set(theirs.var.as_tensor())?;
    }
    Ok(())
}

/// Recomputes batch-norm statistics as the mean over the batches of the last epoch: averaged statistics would
/// not be those of the averaged weights.
fn recompute_statistics(plan: &Plan, model: &Model, step: usize) -> Result<(), FitError> {
    let last = step - 1;
    let (_, n_done) = plan.epochs.find(last);
    let frozen = plan.freezing.at(last, model);
    let mut n_before = 0;
    for batch in load_epoch(plan, last - n_done) {
        let batch = batch?;
        for part in parts_of(batch.samples.len(), plan.experiment.train.accumulate) {
            let tape = Tape::freezing(Rc::clone(&frozen));
            n_before += 1;
            let pass = Training {
                tape: &tape,
                seed: plan.seed(),
                step: last,
                first_row: part.start,
                momentum: Some(1.0 / f64::from(n_before)),
            };
            let xs = images(plan, &batch, part, plan.train_pipeline.statistics)?;
            model.forward(&xs, &Pass::Train(pass))?;
        }
    }
    Ok(())
}

/// Divides rows into parts of nearly equal size, none of them empty.
fn parts_of(n_rows: usize, n_parts: usize) -> Vec<std::ops::Range<usize>> {
    let n_parts = n_parts.clamp(1, n_rows.max(1));
    (0..n_parts).map(|it| it * n_rows / n_parts..(it + 1) * n_rows / n_parts).collect()
}

/// Returns some rows of a batch as the network's input.
fn images(
    plan: &Plan,
    batch: &Batch,
    rows: std::ops::Range<usize>,
    Statistics { mean, std }: Statistics,
) -> candle::Result<Tensor> {
    let samples = &batch.samples[rows];
    ops::normalise(
        Rows { images: &batch.images, size: batch.size, samples },
        mean,
        std,
        &plan.device,
    )
}

/// Returns the network's probabilities of the joint classes for some rows.
fn class_probabilities(plan: &Plan, outputs: &[Output]) -> Result<Vec<Vec<f64>>, FitError> {
    let mut of_rows: Vec<Vec<ScopePrediction>> = Vec::new();
    for output in outputs {
        let predicted = output.predictions()?.unwrap_or_default();
        of_rows.resize(of_rows.len().max(predicted.len()), Vec::new());
        of_rows.iter_mut().zip(predicted).for_each(|(row, it)| row.push(it));
    }
    let join = |row| plan.task.join(&[row]).map_err(PredictError::from);
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
    let people = examples.iter().map(|&it| plan.persons[it]).collect();
    Predictions::new(plan.task.clone(), probabilities, classes, people)
}

/// Returns the targets of some rows of a batch.
fn targets(plan: &Plan, batch: &Batch, rows: std::ops::Range<usize>) -> Targets {
    let labels = Labels {
        classes: batch.examples.iter().map(|&it| plan.training_classes[it]).collect(),
        ages: batch.examples.iter().map(|&it| plan.ages[it]).collect(),
        weights: batch.examples.iter().map(|&it| f64::from(plan.weights[it])).collect(),
    };
    let rows: Vec<Row> = batch.samples[rows].iter().map(|it| it.row(batch.size)).collect();
    Targets::new(&plan.task, labels, &rows, DType::F32, &plan.device)
}

/// Returns the normaliser of each loss term over all parts. Normalisers depend on labels only, so blank
/// outputs are enough.
fn norms_of(
    plan: &Plan,
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
        let norms = plan.loss.compute(&blank, of_part, clock)?.norms();
        match sum.is_empty() {
            true => sum = norms,
            false => sum.iter_mut().zip(norms).for_each(|(sum, it)| *sum += it),
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::parts_of;

    #[test]
    fn parts_are_nearly_equal() {
        assert_eq!(parts_of(4, 2), [0..2, 2..4]);
        assert_eq!(parts_of(8, 3), [0..2, 2..5, 5..8]);
        assert_eq!(parts_of(2, 4), [0..1, 1..2]);
    }
}
