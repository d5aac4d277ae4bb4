//! Dry runs: check that everything works before a run of hours.

use base::Length;
use candle::Device;
use data::{Manifest, SamplerConfig};

use crate::{
    average::AverageConfig,
    callback::Callback,
    experiment::Experiment,
    plan::{Phase, Plan, PlanError, divide},
    schedule::ScheduleConfig,
    span::Span,
};

/// The number of batches that a fast run evaluates on each set.
const FEW_BATCHES: usize = 2;

impl Experiment {
    /// Returns the experiment that overfits `n` images, in one batch and without augmentation.
    pub fn overfit(&self, n: usize) -> Experiment {
        let mut experiment = self.clone();
        experiment.augment.train = self.augment.eval.clone();
        experiment.augment.mix = Vec::new();
        experiment.data.sampler = SamplerConfig::default();
        experiment.schedule = ScheduleConfig::Constant(Default::default());
        experiment.average = AverageConfig::Off(Default::default());
        experiment.phase = Vec::new();
        let train = &mut experiment.train;
        train.total = Length::Steps(MAX_STEPS);
        train.warmup = Length::Steps(0);
        (train.batch_size, train.drop_last) = (n, false);
        train.accumulate = train.accumulate.min(n);
        (train.sizes, train.freeze, train.patience) = (Vec::new(), Vec::new(), 0);
        experiment.eval.every = Length::Steps(10);
        experiment.checkpoint.every = experiment.train.total;
        experiment
    }
}

/// The maximum number of steps to overfit a few images.
const MAX_STEPS: usize = 500;

impl Plan {
    /// Shortens each phase to its first step, its last, and the step after each change (the end of the warm-up,
    /// of a freeze, of a mixing, of a size, the beginning of an average), each as it would be in the whole
    /// run. Evaluates and saves after each of them, on the first batches of each set only.
    ///
    /// Returns a description of the shortened run.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn shorten(&mut self) -> Result<String, PlanError> {
        let whole = self.epochs.total();
        let (mut all, mut steps) = (Vec::new(), Vec::new());
        for phase in &mut self.phases {
            let (begin, total) = (phase.span.start, phase.span.epochs.total());
            let changes = phase.changes();
            let mut kept: Vec<usize> = changes.iter().map(|it| it.0).collect();
            kept.extend([0, total.saturating_sub(1)].into_iter().filter(|it| *it < total));
            kept.sort_unstable();
            kept.dedup();
            steps.extend(kept.iter().map(|it| {
                let what = changes.iter().filter(|(step, _)| step == it).map(|it| it.1.as_str());
                match what.collect::<Vec<_>>() {
                    what if what.is_empty() => (begin + it + 1).to_string(),
                    what => format!("{} ({})", begin + it + 1, what.join(", ")),
                }
            }));
            let start = all.len();
            all.extend(kept.iter().map(|it| begin + it));
            phase.shorten(start, kept, &self.task, &self.training_classes)?;
        }
        self.epochs = self.epochs.clone().only(all);
        let n = FEW_BATCHES * self.experiment.eval.batch_size;
        let n_valid = self.sides.valid.len();
        self.sides.valid.truncate(n);
        self.test.truncate(n);
        Ok(format!(
            "fast: of {whole} steps only {}, with all lengths rescaled; evaluated and saved after each, \
             on {} of {n_valid} validation images",
            steps.join(", "),
            self.sides.valid.len()
        ))
    }

    /// Makes a plan that trains and validates on the same `n` images, of as many classes as possible.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn overfit(
        experiment: &Experiment,
        manifest: &Manifest,
        n: usize,
        device: &Device,
        callback: &(dyn Callback + Sync),
    ) -> Result<Plan, PlanError> {
        let problems = experiment.problems();
        if !problems.is_empty() {
            return Err(PlanError::Settings(problems));
        }
        let mut sides = divide(experiment, manifest, experiment.data.fold)?;
        sides.train.retain(|it| !manifest.pseudo.contains(*it));
        // The first image of each class, then the second of each class.
        let mut of_class = vec![0; manifest.task.n_classes()];
        let nth = |&idx: &usize| {
            let class = manifest.examples[idx].class;
            of_class[class] += 1;
            (of_class[class], class)
        };
        let mut ranked: Vec<((usize, usize), usize)> =
            sides.train.iter().map(nth).zip(sides.train.iter().copied()).collect();
        ranked.sort_unstable();
        let few: Vec<usize> = ranked.into_iter().take(n).map(|it| it.1).collect();
        let sides = data::Sides { train: few.clone(), valid: few };
        let mut plan = Plan::of_sides(
            &experiment.overfit(sides.train.len()),
            manifest,
            sides,
            device,
            callback,
        )?;
        plan.test = Vec::new();
        Ok(plan)
    }
}

impl Phase {
    /// Returns the changes during the phase: the steps of the phase done before each, and its description.
    fn changes(&self) -> Vec<(usize, String)> {
        let Span { experiment, epochs, .. } = &self.span;
        let Experiment { train, augment, schedule, average, .. } = experiment;
        let steps = |it: Length| it.to_steps(epochs);
        let named = |of_run: &str| format!("`{}`", self.setting(of_run));
        let mut all = vec![(steps(train.warmup), format!("after {}", named("train.warmup")))];
        if schedule.get().frozen().is_some() {
            let unfreezes = experiment.unfreezes(epochs);
            all.push((unfreezes, format!("the backbone unfreezes, by {}", named("schedule"))));
        }
        for (idx, it) in train.freeze.iter().enumerate() {
            let setting = named(&format!("train.freeze[{idx}]"));
            all.push((steps(it.from), format!("{setting} begins")));
            all.extend(it.until.map(|it| (steps(it), format!("{setting} ends"))));
        }
        for (idx, end) in self.ends_of_sizes().enumerate() {
            all.push((end, format!("after {}", named(&format!("train.sizes[{idx}]")))));
        }
        for (idx, it) in augment.mix.iter().enumerate() {
            let until = it.get().until().map(steps);
            all.extend(until.map(|it| (it, format!("after `augment.mix[{idx}]`"))));
        }
        let begins = average.get().begins(epochs);
        all.push((begins, "`average` has begun".to_owned()));
        all.retain(|it| (1..epochs.total()).contains(&it.0));
        if !self.name.is_empty() && epochs.total() > 0 {
            all.push((0, format!("phase `{}`", self.name)));
        }
        all
    }
}
