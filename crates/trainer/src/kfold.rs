//! Cross-validation: every group is held out once, and predicted by the model that was not trained on it.
//!
//! ```text
//! config.toml, data.csv    the settings, and every image with the fold that holds it out
//! folds.csv                what each fold holds out, and how even that is
//! claims/                  while folds are trained: who trains which (claim.rs), and where (work.rs)
//! fold-<n>/                the run of a finished fold, from 0 through all repeats
//! oof.csv, report.toml     the joined predictions and their scores (join.rs)
//! ```
//!
//! Any number of processes may train folds of one folder at the same time, on one machine or on several that share
//! it. Each trains a fold that nobody else does, and the results are the same bytes as those of one process.

mod claim;
mod join;
mod work;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use augment::Image;
use base::{names::listed, table};
use candle::Device;
use data::{Balance, Folds, Manifest, SplitConfig, StratifiedKfold};

pub use self::join::KfoldOutcome;
use self::{
    claim::{Claim, Claims},
    join::Joining,
    work::{publish, take_over},
};
pub use crate::fold_folders::{finished_folds, is_kfold};
use crate::{
    callback::{Callback, EpochReport, SampleImage, StepReport},
    checkpoint,
    error::FitError,
    experiment::{Experiment, differences},
    fit::fit,
    fold_folders::{FOLDS, home, is_finished},
    outcome::Ended,
    phase::TrainOn,
    plan::{Plan, PlanError, folds},
    profile::Profile,
    record::{self, Changes, Record},
    run::{Run, RunError},
};

/// How long the heartbeat of a process that trains a fold may be missing before another takes the fold over.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// How a cross-validation ended.
pub enum KfoldEnded {
    /// All folds are done.
    Finished(Box<KfoldOutcome>),
    /// It was stopped in a fold, and can be resumed.
    Stopped {
        /// The fold, from 0.
        fold_idx: usize,
    },
}

/// Returns the experiment with a split into folds: of `n_folds` stratified ones if given.
pub fn with_folds(experiment: &Experiment, n_folds: Option<usize>) -> Experiment {
    let mut experiment = experiment.clone();
    match (&mut experiment.data.split, n_folds) {
        (SplitConfig::StratifiedKfold(it), Some(n_folds)) => it.n_folds = n_folds,
        (split, None) if split.get().is_cross_validation() => {}
        (split, n_folds) => {
            let default = StratifiedKfold::default();
            let n_folds = n_folds.unwrap_or(default.n_folds);
            *split = SplitConfig::StratifiedKfold(StratifiedKfold { n_folds, ..default });
        }
    }
    experiment
}

/// Checks that the settings are those of a cross-validation.
///
/// # Errors
/// A phase is trained on the images that its fold holds out.
pub fn check(experiment: &Experiment) -> Result<(), PlanError> {
    let idx = experiment.phase.iter().position(|it| it.data == TrainOn::All);
    let what = |idx: usize| {
        PlanError::Settings(vec![format!(
            "at `phase[{idx}].data`: \"all\" trains on the images that a fold holds out: leave the phase out \
             of a cross-validation, or use \"train\""
        )])
    };
    idx.map_or(Ok(()), |idx| Err(what(idx)))
}

/// Trains and validates every unfinished fold, and scores all folds together.
///
/// `begin` is called before each fold with its number, the number of folds, its plan and its run.
/// Each fold is a separate run in `fold-<n>/`, counted from 0. The out-of-fold probabilities are
/// written to `oof.csv`, the mean of all folds' probabilities on the test set to `test.csv`, the scores to
/// `report.toml`.
///
/// # Errors
/// A fold fails; finished folds remain finished.
pub fn kfold(
    experiment: &Experiment,
    manifest: &Manifest,
    run: &Run,
    device: &Device,
    callback: &(dyn Callback + Sync),
    begin: impl FnMut(usize, usize, &Plan, &Run),
) -> Result<KfoldEnded, FitError> {
    let kfold = Kfold::open(experiment, manifest, run)?;
    let all: Vec<usize> = (0..kfold.n_folds()).collect();
    match kfold.train(&all, TIMEOUT, device, callback, begin)? {
        Some(fold_idx) => Ok(KfoldEnded::Stopped { fold_idx }),
        None => Ok(KfoldEnded::Finished(Box::new(kfold.join()?))),
    }
}

/// A cross-validation: its partition into folds, and its folder.
pub struct Kfold<'a> {
    experiment: &'a Experiment,
    /// With the settings of this process that do not change results.
    own: Experiment,
    /// The file of published weights, as this process finds it.
    pretrained: PathBuf,
    manifest: &'a Manifest,
    run: &'a Run,
    folds: Folds,
    fingerprint: String,
}

impl<'a> Kfold<'a> {
    /// Plans a new cross-validation and writes the plan, or opens one.
    ///
    /// - `experiment`: its settings, which are the same in every process.
    /// - `run`: its folder, which other processes may have open as well.
    ///
    /// # Errors
    /// The data cannot be split, or is not what the cross-validation started with.
    pub fn open(
        experiment: &'a Experiment,
        manifest: &'a Manifest,
        run: &'a Run,
    ) -> Result<Kfold<'a>, FitError> {
        check(experiment)?;
        let folds = folds(experiment, manifest).map_err(PlanError::from)?;
        let record = Record::of_folds(manifest, &folds);
        check_data(manifest, run, &record)?;
        let fingerprint = record.fingerprint().to_owned();
        let (own, pretrained) = (experiment.clone(), experiment.model.pretrained.clone());
        let kfold = Kfold { experiment, own, pretrained, manifest, run, folds, fingerprint };
        if !run.dir().join(FOLDS).is_file() {
            // Written last: it marks a plan that is complete.
            run.write(FOLDS, &kfold.table())?;
        }
        Ok(kfold)
    }

    /// Sets what differs in this process: paths, and settings that do not change results.
    #[must_use]
    pub fn in_process(self, own: &Experiment) -> Kfold<'a> {
        let pretrained = own.model.pretrained.clone();
        let mut own = own.with_places_of(self.experiment);
        own.model.pretrained.clone_from(&self.experiment.model.pretrained);
        Kfold { own, pretrained, ..self }
    }

    /// Returns the number of folds of all repeats.
    pub fn n_folds(&self) -> usize {
        self.folds.n()
    }

    /// Returns the folds of each repeat.
    pub fn folds(&self) -> &Folds {
        &self.folds
    }

    /// Returns the SHA-256 of `data.csv`: of all images with their labels and folds.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Returns how evenly the folds divide the data.
    pub fn balance(&self) -> Balance {
        Balance::of(&self.folds, self.manifest)
    }

    /// Formats the balance of the folds as a table.
    fn table(&self) -> String {
        let names = self.manifest.task.class_names(base::task::Scope::Joint);
        let n_folds = self.folds.of_repeat(0).len();
        let rows = self.balance().folds.into_iter().enumerate().map(|(fold, it)| {
            let numbers = [fold, fold / n_folds, it.n_groups, it.n_images].map(|it| it.to_string());
            let class = names.get(it.class).cloned().unwrap_or_default();
            numbers.into_iter().chain([table::number(it.deviation), class]).collect::<Vec<_>>()
        });
        table::text(["fold", "repeat", "groups", "images", "deviation", "class"], rows)
    }

    /// Trains those of some folds that are not finished. Folds that other processes train are waited for, and
    /// taken over if their heartbeat stops. Returns the fold in which it was stopped, if it was.
    ///
    /// - `timeout`: how long a heartbeat may be missing.
    ///
    /// # Errors
    /// A fold fails, or was finished with other settings.
    pub fn train(
        &self,
        which: &[usize],
        timeout: Duration,
        device: &Device,
        callback: &(dyn Callback + Sync),
        mut begin: impl FnMut(usize, usize, &Plan, &Run),
    ) -> Result<Option<usize>, FitError> {
        let mut claims = Claims::new(self.run.dir(), timeout);
        let mut left = which.to_vec();
        let mut waits_for = Vec::new();
        loop {
            let mut has_worked = false;
            for fold in left.clone() {
                if is_finished(self.run.dir(), fold) {
                    check_settings(self.run, fold, &of_fold(self.experiment, fold))?;
                    left.retain(|it| *it != fold);
                    continue;
                }
                let Some(claim) = claims.take(fold)? else { continue };
                has_worked = true;
                if let Done::Stopped = self.train_fold(&claim, device, callback, &mut begin)? {
                    return Ok(Some(fold));
                }
            }
            if left.is_empty() {
                return Ok(None);
            }
            if callback.should_stop() {
                return Ok(left.first().copied());
            }
            if !has_worked {
                if waits_for != left {
                    callback.note(&format!(
                        "waiting for folds that other processes train: {}",
                        listed(&left)
                    ));
                    waits_for.clone_from(&left);
                }
                thread::sleep((timeout / 20).min(Duration::from_millis(500)));
            }
        }
    }

    /// Trains the fold of a claim, and publishes it if the claim is still in force.
    fn train_fold(
        &self,
        claim: &Claim,
        device: &Device,
        callback: &(dyn Callback + Sync),
        begin: &mut impl FnMut(usize, usize, &Plan, &Run),
    ) -> Result<Done, FitError> {
        let fold = claim.fold();
        let Some(dir) = take_over(self.run.dir(), claim)? else { return Ok(Done::Elsewhere) };
        let own = of_fold(&self.own, fold);
        let mut plan = Plan::new(&own, self.manifest, fold, device, callback)?;
        plan.pretrained.clone_from(&self.pretrained);
        let run = match Run::open(&dir) {
            Err(RunError::Absent(_)) => {
                Run::create(&dir, &of_fold(self.experiment, fold).to_toml())?
            }
            other => other?,
        };
        let run = run.with_home(home(self.run.dir(), fold));
        begin(fold, self.n_folds(), &plan, &run);
        if let Some(dead) = claim.dead() {
            let newest = checkpoint::list(&run.checkpoints())?.pop();
            let state = match newest.and_then(|it| step_of(&it)) {
                Some(step) => format!("with its checkpoint of step {step}"),
                None => "without a checkpoint, so from the beginning".to_owned(),
            };
            callback.note(&format!("fold {fold}: taken over from {dead}, {state}"));
        }
        let ended = fit(&plan, &run, &WhileClaimed { callback, claim });
        drop(run);
        // Where the fold was taken over, its folder is gone, which may be the error.
        if !claim.is_lost() {
            match ended? {
                Ended::Stopped { .. } => return Ok(Done::Stopped),
                Ended::Finished(_) if publish(self.run.dir(), claim, &dir)? => {
                    return Ok(Done::Published);
                }
                Ended::Finished(_) => {}
            }
        }
        callback.note(&format!(
            "fold {fold}: another process has taken it over, since the heartbeat of this one was missing: what \
             was trained here is discarded"
        ));
        drop(fs::remove_dir_all(&dir));
        Ok(Done::Elsewhere)
    }

    /// Joins the folds: scores all predictions together, and writes them with the report.
    ///
    /// # Errors
    /// Folds are not finished, or do not hold out each image once.
    pub fn join(&self) -> Result<KfoldOutcome, FitError> {
        let dir = self.run.dir();
        let missing: Vec<usize> = (0..self.n_folds()).filter(|&it| !is_finished(dir, it)).collect();
        if !missing.is_empty() {
            return Err(FitError::Unfinished { run: dir.to_owned(), missing });
        }
        for fold in 0..self.n_folds() {
            check_settings(self.run, fold, &of_fold(self.experiment, fold))?;
        }
        let (manifest, run, seed) = (self.manifest, self.run, self.experiment.seed);
        let outcome = join::join(&Joining { manifest, run, folds: &self.folds, seed })?;
        // Whoever still claims a fold has lost it.
        drop(fs::remove_dir_all(claim::folder(dir)));
        Ok(outcome)
    }
}

/// Returns the step of a checkpoint, by its name.
fn step_of(checkpoint: &Path) -> Option<usize> {
    checkpoint.file_stem()?.to_str()?.split('-').next()?.parse().ok()
}

/// Returns the settings of a fold.
fn of_fold(experiment: &Experiment, fold: usize) -> Experiment {
    let mut experiment = experiment.clone();
    experiment.data.fold = fold;
    experiment
}

/// How the training of a claimed fold ended.
enum Done {
    /// It is finished.
    Published,
    /// It was stopped, and can be resumed.
    Stopped,
    /// Another process has finished it, or trains it.
    Elsewhere,
}

/// Stops a run once another process has taken its fold over.
struct WhileClaimed<'a> {
    callback: &'a dyn Callback,
    claim: &'a Claim,
}

impl Callback for WhileClaimed<'_> {
    fn progress(&self, what: &str, done: usize, total: usize) {
        self.callback.progress(what, done, total);
    }

    fn note(&self, text: &str) {
        self.callback.note(text);
    }

    fn step(&self, report: &StepReport) {
        self.callback.step(report);
    }

    fn epoch(&self, report: &EpochReport) {
        self.callback.epoch(report);
    }

    fn profile(&self, profile: &Profile) {
        self.callback.profile(profile);
    }

    fn sheet(&self, title: &str, images: &[SampleImage]) -> Option<Image> {
        self.callback.sheet(title, images)
    }

    fn should_stop(&self) -> bool {
        self.callback.should_stop() || self.claim.was_lost()
    }

    fn is_taken_over(&self) -> bool {
        self.claim.is_lost()
    }
}

/// Checks that a finished fold has the same settings as the others.
fn check_settings(run: &Run, fold: usize, experiment: &Experiment) -> Result<(), FitError> {
    let dir = home(run.dir(), fold);
    let path = || dir.join("config.toml");
    let of_run = Experiment::of_run(&run.read(&format!("fold-{fold}/config.toml"))?)
        .map_err(|err| RunError::Damaged { path: path(), reason: err.to_string() })?;
    let changes = differences(&of_run.result_settings(), &experiment.result_settings());
    match changes.is_empty() {
        true => Ok(()),
        false => Err(FitError::OtherFolds { run: dir, changes }),
    }
}

/// Checks that all folds have the same data, which is recorded with the plan.
fn check_data(manifest: &Manifest, run: &Run, record: &Record) -> Result<(), FitError> {
    let path = run.dir().join(record::FILE);
    if !path.exists() && !is_kfold(run.dir()) {
        return Ok(run.write(record::FILE, record.text())?);
    }
    let before = Record::from(run.read(record::FILE)?);
    if before.fingerprint() == record.fingerprint() {
        return Ok(());
    }
    let changes = Changes::between(&before, record, manifest.task.unit);
    let changes = changes.map_err(|reason| RunError::Damaged { path, reason })?.lines;
    match changes.is_empty() {
        // A table of an earlier version.
        true => Ok(()),
        false => Err(FitError::OtherFolds { run: run.dir().to_owned(), changes }),
    }
}
