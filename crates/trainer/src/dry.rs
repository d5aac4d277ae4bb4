//! Dry runs: whether everything works, before it takes hours.

use base::Length;
use candle::Device;
use data::{Manifest, SamplerConfig};

use crate::{
    average::AverageConfig,
    experiment::Experiment,
    plan::{Plan, PlanError, divide},
    schedule::ScheduleConfig,
    watch::Watch,
};

/// Batches that a fast run answers on each side.
const FEW_BATCHES: usize = 2;

impl Experiment {
    /// Two steps of everything: training, evaluation, checkpoints, the bundle.
    pub fn fast(&self) -> Experiment {
        let mut fast = self.clone();
        fast.train.total = Length::Steps(2);
        fast.train.sizes.retain(|it| !matches!(it.until, Length::Percent(_)));
        fast.eval.every = Length::Steps(1);
        fast.checkpoint.every = Length::Steps(1);
        fast
    }

    /// Nothing but learning a few pictures by heart: all of them at once, each as it is.
    ///
    /// - `n`: how many.
    pub fn overfit(&self, n: usize) -> Experiment {
        let mut experiment = self.clone();
        experiment.augment.train = self.augment.eval.clone();
        experiment.augment.mix = Vec::new();
        experiment.data.sampler = SamplerConfig::default();
        experiment.schedule = ScheduleConfig::Constant(Default::default());
        experiment.average = AverageConfig::Off(Default::default());
        let train = &mut experiment.train;
        train.total = Length::Steps(MOST_STEPS);
        train.warmup = Length::Steps(0);
        (train.batch_size, train.drop_last) = (n, false);
        train.accumulate = train.accumulate.min(n);
        (train.sizes, train.freeze, train.patience) = (Vec::new(), Vec::new(), 0);
        experiment.eval.every = Length::Steps(10);
        experiment.checkpoint.every = experiment.train.total;
        experiment
    }
}

/// Steps in which a few pictures are learnt by heart, or never.
const MOST_STEPS: usize = 500;

impl Plan {
    /// Answers only the first batches of each side.
    pub fn shorten(&mut self) {
        let n = FEW_BATCHES * self.experiment.eval.batch_size;
        self.sides.valid.truncate(n);
        self.scored.truncate(n);
    }

    /// A plan of `n` pictures that are trained on and validated on, of as many classes as can be.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn overfit(
        experiment: &Experiment,
        manifest: &Manifest,
        n: usize,
        device: &Device,
        watch: &(dyn Watch + Sync),
    ) -> Result<Plan, PlanError> {
        let problems = experiment.problems();
        if !problems.is_empty() {
            return Err(PlanError::Settings(problems));
        }
        let sides = divide(experiment, manifest, experiment.data.fold)?;
        // The first of each class, then the second of each.
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
        let mut plan =
            Plan::of_sides(&experiment.overfit(sides.train.len()), manifest, sides, device, watch)?;
        plan.scored = Vec::new();
        Ok(plan)
    }
}
