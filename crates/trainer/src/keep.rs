//! Keeps the bundle that a run continues from in the run's folder.

use infer::Bundle;

use crate::{
    continued::{Earlier, FOLDER},
    error::FitError,
    plan::{Plan, PlanError},
    run::Run,
};

/// Copies the bundle that a run continues from into the run's folder, unless it is there, and lets the settings name the
/// copy: the run is then resumed and repeated without the original, which may change. Does nothing for a run without such
/// a bundle.
///
/// # Errors
/// The bundle cannot be read, or a file of the run cannot be written.
pub fn keep_earlier(plan: &mut Plan, run: &Run) -> Result<(), FitError> {
    let copy = run.dir().join(FOLDER);
    let has_copy = Bundle::task(&copy).is_ok();
    if !has_copy && (plan.pretrained.as_os_str().is_empty() || !plan.pretrained.is_dir()) {
        return Ok(());
    }
    if !has_copy {
        let earlier = Earlier::open(&plan.pretrained).map_err(PlanError::from)?;
        earlier.copy_to(&copy).map_err(PlanError::from)?;
    }
    plan.experiment.model.pretrained.clone_from(&copy);
    plan.pretrained = copy;
    match has_copy {
        true => Ok(()),
        false => Ok(run.write("config.toml", &plan.experiment.to_toml())?),
    }
}
