//! Trains an experiment.

use std::path::{Path, PathBuf};

use base::config::{ConfigError, Layer};
use candle::Device;
use data::{Context, SourceError};
use trainer::{
    Callback, Ended, Experiment, FitError, Plan, PlanError, Run, RunError, check_device,
    check_memory, fit, keep_earlier,
};

/// Why an experiment could not be trained.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] SourceError),
    /// The settings, the data and the weights do not fit together.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Training failed. What was saved before remains, and the same call resumes.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The run's folder cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The run is finished.
    #[error("{}: this run is finished: name another folder for a new one", .0.display())]
    Finished(PathBuf),
}

/// Loads an experiment from the text of a config, over the default settings (`configs/default.toml`).
///
/// `model.pretrained` is a file, or the folder of a bundle to continue from; settings that these determine are not
/// filled in, as the program does.
///
/// - `name`: the name of the config in errors.
///
/// # Errors
/// The setting that is wrong, and why. Settings that contradict each other or the data are found by [`train`].
pub fn experiment(name: &str, toml: &str) -> Result<Experiment, ConfigError> {
    Experiment::load(&[Layer::from_toml(name, toml)?])
}

/// Trains an experiment to its end, or until the callback stops it. The folder is that of a run of the program: its best
/// bundle is in `best`, and `maskfit report`, `evaluate` and the others take it.
///
/// A run that was stopped or killed is resumed by the same call, and ends with the same bits.
///
/// - `dir`: the folder of the run, which is created.
/// - `callback`: is called from this thread, and for the progress of reading images from others.
///
/// # Errors
/// What is wrong with the data or the settings, all of it before the first step; or what failed in training. A run in
/// `dir` of other settings or data, or one that is finished, is refused.
pub fn train(
    experiment: &Experiment,
    dir: &Path,
    callback: &(dyn Callback + Sync),
) -> Result<Ended, TrainError> {
    let run = match Run::open(dir) {
        Ok(run) if run.is_finished() => return Err(TrainError::Finished(dir.to_owned())),
        Ok(run) => Some(run),
        Err(RunError::Absent(_)) => None,
        Err(err) => return Err(err.into()),
    };
    check_device(experiment.device)?;
    let progress = |done, total| callback.progress("reading images", done, total);
    let max_pixels = experiment.data.max_pixels;
    let manifest =
        experiment.manifest(&Context { cache: None, max_pixels, progress: &progress })?;
    let fold = experiment.data.fold;
    let mut plan = Plan::new(experiment, &manifest, fold, &Device::Cpu, callback)?;
    check_memory(&plan, callback)?;
    let run = match run {
        Some(run) => run,
        None => {
            // Weights that do not fit fail here, before the run has a folder.
            plan.model()?;
            Run::create(dir, &experiment.to_toml())?
        }
    };
    keep_earlier(&mut plan, &run)?;
    Ok(fit(&plan, &run, callback)?)
}
