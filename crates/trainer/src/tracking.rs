//! What trackers receive: the named metrics of steps and evaluations, images with labels and predictions, and
//! histograms of weights.

use base::{Seed, Task, task::Scope};
use metrics::{MacroF1, Metric as _};
use models::Model;
use toml::{Table, Value};
use track::{About, End, Histogram, Png, Trackers};

use crate::{
    callback::{Callback, EpochReport, SampleImage},
    learner::StepResult,
    outcome::Ended,
    plan::Plan,
    run::Run,
};

/// The number of images on a sheet.
const N_SHOWN: usize = 12;

/// Returns the names of all metrics: those of every step, then those of an evaluation.
fn columns(task: &Task) -> Vec<String> {
    let of_step = ["epoch", "loss", "acc", "f1_score", "learning_rate"].map(str::to_owned);
    let of_scope = |scope| {
        let of = match scope {
            Scope::Joint => String::new(),
            Scope::Factor(_) => format!("{}_", task.scope_name(scope)),
        };
        ["loss", "acc", "f1_score"].map(|it| format!("val_{of}{it}"))
    };
    of_step.into_iter().chain(task.scopes().into_iter().flat_map(of_scope)).collect()
}

/// Returns the metrics of a step, of the batch's predictions before the step; `epoch` is after the step.
pub(crate) fn of_step(epoch: f64, result: &StepResult, lr: f64) -> Vec<f64> {
    let StepResult { loss, predictions } = result;
    let pairs = predictions.predicted.iter().zip(&predictions.classes);
    let n_correct = pairs.filter(|(a, b)| a == b).count();
    let accuracy = n_correct as f64 / predictions.len().max(1) as f64;
    vec![epoch, *loss, accuracy, MacroF1::default().score(predictions), lr]
}

/// Returns the metrics of an evaluation, which follow those of its step. A loss here is the mean of -ln p of
/// the true class, whichever loss is trained with.
pub(crate) fn of_evaluation(report: &EpochReport) -> impl Iterator<Item = f64> {
    report.scores.iter().flat_map(|(_, it)| [it.log_loss, it.accuracy, it.macro_f1])
}

/// Returns the tags of a run: the network with its size, the loss, the sampler, and the augmentations of images
/// and of batches.
fn tags(settings: &Table) -> Vec<String> {
    let at = |path: &str| {
        let mut names = path.split('.');
        let first = settings.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    };
    let mut tags = Vec::new();
    for path in ["model.backbone", "loss", "data.sampler", "augment.train", "augment.mix"] {
        at(path).into_iter().for_each(|it| add_kinds(it, &mut tags));
    }
    tags
}

/// Adds the kind of a member of a registry, with the published size of a network, and the kinds of all members
/// in its lists, such as the parts of a sum. Each is added once.
fn add_kinds(value: &Value, tags: &mut Vec<String>) {
    let Value::Table(table) = value else {
        value.as_array().into_iter().flatten().for_each(|it| add_kinds(it, tags));
        return;
    };
    if let Some(kind) = table.get("kind").and_then(Value::as_str) {
        let size = ["variant", "size", "depth"].iter().find_map(|it| match table.get(*it)? {
            Value::String(it) => Some(format!("-{it}")),
            Value::Integer(it) => Some(format!("-{it}")),
            _ => None,
        });
        let tag = format!("{kind}{}", size.unwrap_or_default());
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    table.values().filter(|it| it.is_array()).for_each(|it| add_kinds(it, tags));
}

/// A run's trackers and the names of its metrics.
pub(crate) struct Tracking<'a> {
    columns: Vec<String>,
    trackers: Trackers<'a>,
}

impl<'a> Tracking<'a> {
    /// Opens the trackers of a new run, or of one resumed after `step` steps.
    pub(crate) fn open(
        plan: &Plan,
        run: &Run,
        step: usize,
        note: &'a dyn Fn(&str),
    ) -> Tracking<'a> {
        let columns = columns(&plan.task);
        let settings = plan.experiment.to_table();
        let name = |dir: &std::path::Path| {
            dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
        };
        // A run inside another run's folder is a fold of it.
        let above = run.home().parent().filter(|it| it.join("config.toml").is_file());
        let group = above.map(name);
        let own = name(run.home());
        let about = About {
            dir: run.dir(),
            name: &group.as_ref().map_or(own.clone(), |it| format!("{it}/{own}")),
            group: group.as_deref(),
            step,
            columns: &columns,
            settings: &settings,
            tags: &tags(&settings),
        };
        let trackers = Trackers::open(&plan.experiment.track, &about, note);
        Tracking { columns, trackers }
    }

    /// Returns the files that must be on disk before a checkpoint is.
    pub(crate) fn tables(&self) -> Vec<std::fs::File> {
        self.trackers.tables()
    }

    /// Logs the metrics of a step, and of its evaluation if there was one.
    pub(crate) fn scalars(&mut self, step: usize, numbers: &[f64]) {
        let names = self.columns.iter().map(String::as_str);
        let values: Vec<_> = names.zip(numbers.iter().copied()).collect();
        self.trackers.scalars(step, &values);
    }

    /// Logs the images and histograms of an evaluation, before its metrics.
    pub(crate) fn show(
        &mut self,
        plan: &Plan,
        step: usize,
        model: &Model,
        predicted: &[usize],
        callback: &dyn Callback,
    ) {
        if !self.trackers.logs_images() {
            return;
        }
        let title = format!("validation after {step} steps: label and prediction");
        if let Some(sheet) = callback.sheet(&title, &samples(plan, predicted)) {
            self.trackers.image(step, "validation", &Png::of(&sheet));
        }
        for (stage_idx, stage) in model.stages().iter().enumerate() {
            let of_stage = model.params().trainable().filter(|(_, it)| it.stage == stage_idx);
            let weights = of_stage.flat_map(|(_, it)| {
                it.var.flatten_all().and_then(|it| it.to_vec1::<f32>()).unwrap_or_default()
            });
            if let Some(it) = Histogram::of(&weights.collect::<Vec<_>>()) {
                self.trackers.histogram(step, &format!("weights/{stage}"), &it);
            }
        }
    }

    /// Closes the trackers, with how the run ended.
    pub(crate) fn finish<E>(&mut self, ended: &Result<Ended, E>) {
        self.trackers.finish(match ended {
            Ok(Ended::Finished(_)) => End::Finished,
            Ok(Ended::Stopped { .. }) => End::Stopped,
            Err(_) => End::Failed,
        });
    }
}

/// Returns some images of the validation set as the network receives them, spread evenly over the set because
/// neighbours are of the same group. Images that can no longer be read are left out.
fn samples(plan: &Plan, predicted: &[usize]) -> Vec<SampleImage> {
    let side = &plan.sides.valid;
    let n = side.len().min(N_SHOWN);
    let sample = |nth: usize| {
        let idx = nth * side.len() / n;
        let bytes = plan.images[side[idx]].1.bytes().ok()?;
        let cache = plan.cache.as_ref().map(|it| it as &dyn augment::Cache);
        // An evaluation pipeline uses no randomness.
        let rng = &mut Seed(0).stream("show");
        let name = |class| plan.task.class_name(class, Scope::Joint);
        Some(SampleImage {
            image: plan.eval_pipeline.apply(&bytes, rng, cache).ok()?,
            label: name(plan.classes[side[idx]]),
            predicted: name(predicted[idx]),
        })
    };
    (0..n).filter_map(sample).collect()
}

#[cfg(test)]
mod tests {
    use base::config::Layer;

    use super::tags;
    use crate::experiment::Experiment;

    #[test]
    fn tags_describe_the_settings() {
        let of = |text: &str| {
            let layer = Layer::from_toml("tags", text).unwrap();
            tags(&Experiment::load(&[layer]).unwrap().to_table()).join(" ")
        };
        assert_eq!(of(""), "efficientnet-lite0 cross_entropy shuffled random_crop horizontal_flip");
        let text = r#"
            model.backbone = { kind = "resnet", depth = 152 }
            loss = { kind = "sum", parts = [{ kind = "f1" }, { kind = "focal" }] }
            data.sampler = { kind = "weighted" }
            [augment]
            train = [{ kind = "resize" }, { kind = "one_of", steps = [{ kind = "gamma" }, { kind = "resize" }] }]
            mix = [{ kind = "mixup" }]
        "#;
        let want = "resnet-152 sum f1 focal weighted resize one_of gamma mixup";
        assert_eq!(of(text), want);
    }
}
