//! The phases of a run in time: the settings of each, the steps that it covers, and their rates.

use base::{Clock, Epochs, Length};

use crate::{
    experiment::Experiment,
    freeze::Freeze,
    optim::OptimConfig,
    phase::{PhaseSection, TrainOn},
    schedule::{Rates, ScheduleConfig},
};

/// A phase in time: its settings and its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The settings of the phase.
    pub experiment: Experiment,
    /// Steps of the run before it.
    pub start: usize,
    /// Its epochs.
    pub epochs: Epochs,
}

impl Span {
    /// Returns the steps of the run when it ends.
    pub fn end(&self) -> usize {
        self.start + self.epochs.total()
    }

    /// Returns its clock after `step` steps of the run.
    pub fn clock(&self, step: usize) -> Clock {
        let step = step.saturating_sub(self.start);
        Clock { step, total: self.epochs.total(), epoch: self.epochs.epoch(step) }
    }

    /// Returns the optimizer's rates after `step` steps of the run.
    ///
    /// - `scores`: the scores of the evaluations in this phase so far.
    pub fn rates(&self, step: usize, scores: &[f64]) -> Rates {
        self.experiment.rates(&self.epochs, step.saturating_sub(self.start), scores)
    }

    /// Returns the steps of the run after which the schedule unfreezes the backbone.
    pub fn unfreezes(&self) -> usize {
        self.start + self.experiment.unfreezes(&self.epochs)
    }
}

/// Returns the settings of a phase.
fn settings_of(phase: &PhaseSection, run: &Experiment) -> Experiment {
    let mut experiment = run.clone();
    experiment.phase.clear();
    let train = &mut experiment.train;
    train.total = phase.total;
    train.warmup = phase.warmup.unwrap_or(train.warmup);
    train.batch_size = phase.batch_size.unwrap_or(train.batch_size);
    if let Some(it) = &phase.sizes {
        train.sizes.clone_from(it);
    }
    if let Some(it) = &phase.freeze {
        train.freeze.clone_from(it);
    }
    if let Some(it) = &phase.schedule {
        experiment.schedule = it.clone();
    }
    if let Some(lr) = phase.lr {
        experiment.optim = with_lr(&experiment.optim, lr);
    }
    experiment
}

/// Returns an optimizer's settings with another learning rate.
fn with_lr(optim: &OptimConfig, lr: f64) -> OptimConfig {
    let mut table = toml::Table::try_from(optim).expect("settings are TOML");
    table.insert("lr".to_owned(), lr.into());
    table.try_into().expect("every optimizer has a learning rate")
}

impl Experiment {
    /// Returns the number of steps after which the schedule unfreezes the backbone; the end of the warm-up if
    /// the schedule does not freeze it.
    pub fn unfreezes(&self, epochs: &Epochs) -> usize {
        epochs.steps_of(self.unfreezes_in_whole(epochs))
    }

    /// As [`Experiment::unfreezes`], in steps of the whole run, where only some of them are taken.
    fn unfreezes_in_whole(&self, epochs: &Epochs) -> usize {
        let frozen = self.schedule.get().frozen().map_or(0, |it| it.of_whole(epochs));
        self.train.warmup.of_whole(epochs) + frozen
    }

    /// Returns what is frozen and when: by the schedule, and by `train.freeze`.
    pub(crate) fn freezes(&self, epochs: &Epochs) -> Vec<Freeze> {
        let until = |_| Length::Steps(self.unfreezes_in_whole(epochs));
        let by_schedule = self.schedule.get().frozen().map(until).map(Freeze::backbone);
        by_schedule.into_iter().chain(self.train.freeze.iter().cloned()).collect()
    }

    /// Returns the optimizer's rates after `step` steps.
    ///
    /// - `scores`: the scores of all evaluations so far.
    pub fn rates(&self, epochs: &Epochs, step: usize, scores: &[f64]) -> Rates {
        let at = |step| Clock { step, total: epochs.total(), epoch: epochs.epoch(step) };
        let warm = at(self.train.warmup.to_steps(epochs));
        let begins = self.unfreezes(epochs);
        let cycle = match self.schedule.get().every() {
            Some(every) => epochs.cycle(every, begins, step),
            None => begins..epochs.total(),
        };
        let clock = Clock { total: cycle.end, ..at(step) };
        let rates = self.schedule.rates(&clock, &warm, &at(cycle.start));
        let more_is_better = self.eval.best_by.get().more_is_better();
        let left = self.schedule.get().left(scores, more_is_better);
        Rates { lr: rates.lr * left, ..rates }
    }

    /// Returns the settings of each phase, and its section; the run's own without phases.
    pub(crate) fn phases(&self) -> Vec<(Option<&PhaseSection>, Experiment)> {
        match self.phase.as_slice() {
            [] => vec![(None, self.clone())],
            phases => phases.iter().map(|it| (Some(it), settings_of(it, self))).collect(),
        }
    }

    /// Returns whether the model that results is trained on the validation set as well.
    pub fn trains_on_all(&self) -> bool {
        self.phase.iter().any(|it| it.data == TrainOn::All)
    }

    /// Returns a message for each invalid setting of the phases.
    ///
    /// - `of_run`: the messages on the run's settings, which are not repeated.
    pub(crate) fn problems_of_phases(&self, of_run: &[String]) -> Vec<String> {
        let mut problems = Vec::new();
        for (idx, it) in self.phase.iter().enumerate() {
            let mut note = |path: &str, what: String| {
                problems.push(format!("at `phase[{idx}].{path}`: {what}"));
            };
            let earlier = &self.phase[..idx];
            if it.name.trim().is_empty() {
                note("name", "must not be empty".to_owned());
            }
            if earlier.iter().any(|earlier| earlier.name == it.name) {
                note("name", format!("an earlier phase is called `{}` too", it.name));
            }
            let is_last = idx + 1 == self.phase.len();
            if it.total.is_none() && (!is_last || it.restore.is_empty() || idx == 0) {
                let what =
                    "must be longer than 0, unless this is the last phase and restores layers";
                note("total", what.to_owned());
            }
            for (nth, restore) in it.restore.iter().enumerate() {
                if !earlier.iter().any(|earlier| earlier.name == restore.phase) {
                    let names: Vec<String> =
                        earlier.iter().map(|it| format!("`{}`", it.name)).collect();
                    let names = match names.is_empty() {
                        true => "there is none".to_owned(),
                        false => names.join(", "),
                    };
                    let what = format!("`{}` is not an earlier phase: {names}", restore.phase);
                    note(&format!("restore[{nth}].phase"), what);
                }
            }
            let experiment = settings_of(it, self);
            let is_seen = self.phase[..=idx].iter().any(|it| it.data == TrainOn::All);
            if is_seen && matches!(experiment.schedule, ScheduleConfig::Plateau(_)) {
                let what = "`plateau` follows scores, which are meaningless once the validation set is \
                            trained on: choose another schedule";
                note("schedule", what.to_owned());
            }
            let own = experiment.problems().into_iter().filter(|it| !of_run.contains(it));
            problems.extend(own.map(|message| it.located(idx, &message)));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use base::{Length, config::Layer};

    use crate::experiment::Experiment;

    fn experiment(text: &str) -> Experiment {
        Experiment::load(&[Layer::from_toml("phases", text).unwrap()]).unwrap()
    }

    #[test]
    fn a_phase_has_the_settings_of_the_run_and_its_own() {
        let run = experiment(
            r#"
            [train]
            warmup = "3 steps"
            freeze = [{ layers = "stem" }]
            [[phase]]
            name = "head"
            total = "2 epochs"
            lr = 0.5
            [[phase]]
            name = "all"
            total = "10 steps"
            warmup = "0 steps"
            freeze = []
            schedule = { kind = "constant" }
            "#,
        );
        assert_eq!(run.problems(), [""; 0]);
        let phases = run.phases();
        let [(_, first), (_, second)] = phases.as_slice() else { panic!("{}", phases.len()) };
        assert_eq!((first.optim.get().lr(), second.optim.get().lr()), (0.5, 2e-3));
        assert_eq!(first.train.total, Length::Epochs(2.0));
        assert_eq!(first.train.warmup, Length::Steps(3));
        assert_eq!((first.train.freeze.len(), second.train.freeze.len()), (1, 0));
        assert_eq!((first.schedule.kind(), second.schedule.kind()), ("cosine", "constant"));
        let resolved = Layer::from_toml("config.toml", &run.to_toml()).unwrap();
        assert_eq!(Experiment::load(&[resolved]).unwrap(), run);
        // Without phases, the run is one.
        let run = experiment("");
        assert!(matches!(run.phases().as_slice(), [(None, it)] if *it == run));
    }

    #[test]
    fn problems_of_all_phases_are_listed_with_their_settings() {
        let run = experiment(
            r#"
            [[phase]]
            name = "head"
            total = "0 steps"
            restore = [{ layers = "head", phase = "body" }]
            [[phase]]
            name = "head"
            total = "2 epochs"
            lr = -1.0
            data = "all"
            schedule = { kind = "plateau" }
            [[phase]]
            name = " "
            total = "1 epochs"
            batch_size = 0
            restore = [{ layers = "head", phase = "body", at = "end" }]
            "#,
        );
        let problems = run.problems();
        let wants = [
            "at `phase[0].total`: must be longer than 0",
            "at `phase[0].restore[0].phase`: `body` is not an earlier phase: there is none",
            "at `phase[1].name`: an earlier phase is called `head` too",
            "at `phase[1].schedule`: `plateau` follows scores",
            "at `phase[1].lr`: `lr` is a number above 0",
            "at `phase[2].name`: must not be empty",
            "at `phase[2].restore[0].phase`: `body` is not an earlier phase: `head`, `head`",
            "at `phase[2].batch_size`: is from 1",
        ];
        for want in wants {
            assert!(problems.iter().any(|it| it.starts_with(want)), "{want}: {problems:#?}");
        }
        let is_wanted = |it: &&String| wants.iter().any(|want| it.starts_with(want));
        // A batch size of 0 is not said a second time, as fewer images than parts of the accumulation.
        let rest: Vec<&String> = problems.iter().filter(|it| !is_wanted(it)).collect();
        assert!(rest.is_empty(), "{rest:?}");
        // The accumulation is compared with the batch size of the phase.
        let phase = "[[phase]]\nname = \"a\"\ntotal = \"1 epochs\"\nbatch_size = 2";
        let problems = experiment(&format!("[train]\naccumulate = 3\n{phase}")).problems();
        assert!(
            problems.len() == 1 && problems[0].contains("at `train.accumulate`: must be at most 2"),
            "{problems:?}"
        );
    }
}
