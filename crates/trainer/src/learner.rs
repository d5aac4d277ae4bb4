//! What learns: the network, its optimizer, and the average of its weights.

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
    fit::load_epoch,
    optim::Optimizer,
    plan::Plan,
    profile::{Activity, Profile},
    run::RunError,
    schedule::Rates,
};

/// How a batch was answered.
pub(crate) struct StepResult {
    /// The loss.
    pub(crate) loss: f64,
    /// The answers beside the truth: of a mixed row, the class that most of it is.
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
    /// A learner that has not taken a step.
    pub(crate) fn new(plan: &Plan, model: Rc<Model>) -> Result<Learner, FitError> {
        let optimizer = plan.experiment.optim.get().build(model.params(), &plan.param_groups);
        let average = match plan.experiment.average {
            AverageConfig::Off(_) => None,
            _ => Some(Average::new(plan.bare_model()?)),
        };
        Ok(Learner { model, optimizer, average, profile: Rc::default() })
    }

    /// The learner of a checkpoint.
    ///
    /// # Errors
    /// A checkpoint of another network or optimizer.
    pub(crate) fn resume(plan: &Plan, checkpoint: &Checkpoint) -> Result<Learner, FitError> {
        let mut learner = Learner::new(plan, plan.bare_model()?)?;
        let misfit = |reason: String| RunError::Damaged {
            path: "the checkpoint".into(),
            reason: format!("it is of other settings: {reason}"),
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

    /// Where its time goes.
    pub(crate) fn profile(&self) -> Rc<Profile> {
        Rc::clone(&self.profile)
    }

    /// All that the next step depends on, as copies.
    ///
    /// - `data`: the fingerprint of the data.
    ///
    /// # Errors
    /// A weight that is no number: such a checkpoint would take the place of a good one.
    pub(crate) fn checkpoint(
        &self,
        plan: &Plan,
        state: &State,
        data: &str,
    ) -> Result<Checkpoint, FitError> {
        let mut weights = self.model.params().trained();
        if let Some((name, _)) = weights.find(|(_, it)| !is_finite(it.var.as_tensor())) {
            let what = format!("the weight `{name}` is not finite");
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
        Ok(Checkpoint { state, settings: plan.experiment.essence(), data, tensors })
    }

    /// Takes a step on a batch, and returns how the batch was answered before it.
    ///
    /// # Errors
    /// A loss or a gradient that is no number; then nothing has changed but norms' statistics.
    pub(crate) fn step(
        &mut self,
        plan: &Plan,
        batch: &Batch,
        clock: &Clock,
        rates: Rates,
    ) -> Result<StepResult, FitError> {
        let (result, mut gradients) = self.gradients(plan, batch, clock)?; //      think, judge
        let loss = result.loss;
        self.check(plan, batch, clock.step, loss, &gradients)?;
        let profile = self.profile();
        profile.step();
        profile.time(Activity::Optimize, || {
            let (params, head) = (self.model.params(), self.model.stages().len() - 1);
            let params: Vec<&Param> = params.trained().map(|it| it.1).collect();
            plan.experiment.train.clip.get().clip(&mut gradients, &params, head)?;
            self.optimizer.step(&gradients, rates)?; //                            learn
            if let Some(it) = &mut self.average {
                let rule = plan.experiment.average.get();
                it.follow(&self.model, rule, clock.step + 1, &plan.epochs)?;
            }
            Ok(result)
        })
    }

    /// How a batch is answered, and the gradients of its loss, part by part.
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
                follow: None,
            };
            let statistics = plan.train_pipeline.statistics;
            let outputs = self.profile.time(Activity::Forward, || {
                let xs = images(plan, batch, part.clone(), statistics)?;
                self.model.forward(&xs, &Pass::Train(pass)) //                     think
            })?;
            probabilities.extend(answers(plan, &outputs)?);
            let judge = || plan.loss.compute(&outputs, of_part, clock); //           judge
            let terms = self.profile.time(Activity::Loss, judge)?;
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

    /// Stops at the first number that is none, and at a parameter that takes no part.
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
                .map(|it| format!("the gradient of `{it}` is not finite")),
        };
        if let Some(what) = what {
            let images = batch.examples.iter().map(|&it| plan.images[it].0.clone()).collect();
            return Err(FitError::NotFinite { step: step + 1, what, images });
        }
        if step == 0 {
            let frozen = plan.freezing.at(step, &self.model);
            let params = self.model.params().trained();
            let trained = params.filter(|(_, it)| !frozen.contains(&it.var.id()));
            let without = trained.filter(|(_, it)| gradients.get(&it.var).is_none());
            let names: Vec<String> = without.map(|(name, _)| name.to_owned()).collect();
            if !names.is_empty() {
                return Err(FitError::NoGradient(names));
            }
        }
        Ok(())
    }

    /// What is evaluated and kept: the average, once it has begun, and else what learns.
    ///
    /// - `step`: steps done, which say what norms' statistics are measured on.
    pub(crate) fn for_inference(&self, plan: &Plan, step: usize) -> Result<Rc<Model>, FitError> {
        match self.average.as_ref().and_then(Average::model) {
            None => Ok(Rc::clone(&self.model)),
            Some(model) => {
                if plan.experiment.average.get().measures() {
                    keep_frozen(plan, &self.model, model, step)?;
                    measure(plan, model, step)?;
                }
                Ok(Rc::clone(model))
            }
        }
    }
}

impl Learner {
    /// Goes forward and back on images of nothing, to see what that needs. It changes norms' statistics.
    pub(crate) fn blank_step(&self, n: usize, size: [usize; 2]) -> candle::Result<()> {
        let tape = Tape::default();
        let seed = base::Seed(0);
        let pass = Training { tape: &tape, seed, step: 0, first_row: 0, follow: None };
        let outputs = self.model.forward(&blank(n, size)?, &Pass::Train(pass))?;
        let sums = outputs.iter().map(|it| it.numbers.sum_all());
        let sums = sums.collect::<candle::Result<Vec<_>>>()?;
        tape.backward(&Tensor::stack(&sums, 0)?.sum_all()?).map(drop)
    }

    /// Answers images of nothing.
    pub(crate) fn blank_eval(&self, n: usize, size: [usize; 2]) -> candle::Result<()> {
        self.model.forward(&blank(n, size)?, &Pass::Eval).map(drop)
    }
}

fn blank(n: usize, [height, width]: [usize; 2]) -> candle::Result<Tensor> {
    Tensor::zeros((n, height, width, 3), DType::F32, &candle::Device::Cpu)
}

/// The first parameter, in name order, whose gradient has a number that is none.
fn first_non_finite<'a>(gradients: &Gradients, model: &'a Model) -> Option<&'a str> {
    let mut trained = model.params().trained();
    trained.find_map(|(name, it)| {
        let grad = gradients.get(&it.var)?;
        (!is_finite(grad)).then_some(name)
    })
}

/// Whether all numbers are such, and none is so large that their sum is not.
fn is_finite(tensor: &Tensor) -> bool {
    let sum = || tensor.abs()?.sum_all()?.to_scalar::<f32>();
    sum().is_ok_and(f32::is_finite)
}

/// Gives an average the running statistics of norms that do not learn, which are not measured.
fn keep_frozen(plan: &Plan, from: &Model, average: &Model, step: usize) -> candle::Result<()> {
    for (name, theirs) in plan.freezing.kept(step - 1, from) {
        let ours = average.params().get(name).expect("a model of the same architecture");
        ours.var.set(theirs.var.as_tensor())?;
    }
    Ok(())
}

/// Norms' statistics as the mean of what the batches of the last epoch have: those that a mean of
/// weights brings along belong to none of the models that it is the mean of.
fn measure(plan: &Plan, model: &Model, step: usize) -> Result<(), FitError> {
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
                follow: Some(1.0 / f64::from(n_before)),
            };
            let xs = images(plan, &batch, part, plan.train_pipeline.statistics)?;
            model.forward(&xs, &Pass::Train(pass))?;
        }
    }
    Ok(())
}

/// Rows in so many parts, as equal as can be, none of them empty.
fn parts_of(n_rows: usize, n_parts: usize) -> Vec<std::ops::Range<usize>> {
    let n_parts = n_parts.clamp(1, n_rows.max(1));
    (0..n_parts).map(|it| it * n_rows / n_parts..(it + 1) * n_rows / n_parts).collect()
}

/// Some rows of a batch as the network takes them.
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

/// What the network says of some rows: the probabilities of the joint classes.
fn answers(plan: &Plan, outputs: &[Output]) -> Result<Vec<Vec<f64>>, FitError> {
    let mut of_rows: Vec<Vec<ScopePrediction>> = Vec::new();
    for output in outputs {
        let answers = output.predictions()?.unwrap_or_default();
        of_rows.resize(of_rows.len().max(answers.len()), Vec::new());
        of_rows.iter_mut().zip(answers).for_each(|(row, it)| row.push(it));
    }
    let join = |row| plan.task.join(&[row]).map_err(PredictError::from);
    Ok(of_rows.into_iter().map(join).collect::<Result<_, _>>()?)
}

/// What was said of a batch, beside the truth.
fn predictions(plan: &Plan, batch: &Batch, probabilities: Vec<Vec<f64>>) -> Predictions {
    let most = |it: &MixedSample| {
        let row = it.row(batch.size);
        let most = row.iter().reduce(|a, b| if b.weight > a.weight { b } else { a });
        batch.examples[most.map_or(it.image, |it| it.image)]
    };
    let examples: Vec<usize> = batch.samples.iter().map(most).collect();
    let classes = examples.iter().map(|&it| plan.classes[it]).collect();
    let people = examples.iter().map(|&it| plan.persons[it]).collect();
    Predictions::new(plan.task.clone(), probabilities, classes, people)
}

/// What some rows of a batch should have been answered.
fn targets(plan: &Plan, batch: &Batch, rows: std::ops::Range<usize>) -> Targets {
    let labels = Labels {
        classes: batch.examples.iter().map(|&it| plan.training_classes[it]).collect(),
        ages: batch.examples.iter().map(|&it| plan.ages[it]).collect(),
        weights: batch.examples.iter().map(|&it| f64::from(plan.weights[it])).collect(),
    };
    let rows: Vec<Row> = batch.samples[rows].iter().map(|it| it.row(batch.size)).collect();
    Targets::new(&plan.task, labels, &rows, DType::F32, &plan.device)
}

/// What each term of the loss is divided by, over all parts: norms depend on labels alone, so that
/// answers without any content will do.
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
    fn parts_are_as_equal_as_can_be() {
        assert_eq!(parts_of(4, 2), [0..2, 2..4]);
        assert_eq!(parts_of(8, 3), [0..2, 2..5, 5..8]);
        assert_eq!(parts_of(2, 4), [0..1, 1..2]);
    }
}
