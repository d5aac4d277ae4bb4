//! Checkpoints: all that the next step depends on.
//!
//! `last/state.toml` names the file of tensors beside it and is written last: until then the
//! checkpoint before is whole.

use std::{collections::BTreeMap, fs};

use base::files::write_whole;
use candle::{Device, Tensor};
use models::Model;
use serde::{Deserialize, Serialize};

use crate::{
    fit::FitError,
    optim::Optimizer,
    run::{Run, RunError, at},
};

/// Where a run is, beside its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Steps done.
    pub(crate) step: usize,
    /// The sum of the losses since the last evaluation, and their number.
    pub(crate) loss_sum: f64,
    pub(crate) n_losses: usize,
    /// The best evaluation so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) best: Option<Best>,
}

/// The best evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Best {
    pub(crate) score: f64,
    /// Steps done then.
    pub(crate) step: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tensors: String,
    state: State,
}

/// Writes a checkpoint in place of the one before.
pub(crate) fn save(
    run: &Run,
    state: &State,
    model: &Model,
    optimizer: &dyn Optimizer,
) -> Result<(), FitError> {
    let dir = run.dir().join("last");
    fs::create_dir_all(&dir).map_err(at(&dir))?;
    let named = |part: &'static str, tensors: Vec<(String, Tensor)>| {
        tensors.into_iter().map(move |(name, it)| (format!("{part}.{name}"), it))
    };
    let tensors =
        named("model", model.params().to_file()?).chain(named("optim", optimizer.state()?));
    let bytes = safetensors::serialize(tensors, None).map_err(candle::Error::wrap)?;
    let tensors = format!("checkpoint-{:08}.safetensors", state.step);
    let path = dir.join(&tensors);
    write_whole(&path, &bytes).map_err(at(&path))?;
    let file = File { tensors: tensors.clone(), state: state.clone() };
    let path = dir.join("state.toml");
    let text = toml::to_string(&file).expect("a state is TOML");
    write_whole(&path, text.as_bytes()).map_err(at(&path))?;
    for entry in fs::read_dir(&dir).map_err(at(&dir))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("checkpoint-") && name != tensors {
            fs::remove_file(entry.path()).map_err(at(&entry.path()))?;
        }
    }
    Ok(())
}

/// Whether the run has a checkpoint.
pub(crate) fn exists(run: &Run) -> bool {
    run.dir().join("last").join("state.toml").exists()
}

/// Goes on from the run's checkpoint; a run without one begins.
pub(crate) fn load(
    run: &Run,
    model: &Model,
    optimizer: &mut dyn Optimizer,
) -> Result<State, FitError> {
    if !exists(run) {
        return Ok(State::default());
    }
    let path = run.dir().join("last").join("state.toml");
    let damaged = |reason: String| RunError::Damaged { path: path.clone(), reason };
    let text = fs::read_to_string(&path).map_err(at(&path))?;
    let file: File = toml::from_str(&text).map_err(|err| damaged(err.message().to_owned()))?;
    let tensors_path = run.dir().join("last").join(&file.tensors);
    let bytes = fs::read(&tensors_path).map_err(at(&tensors_path))?;
    let all = candle::safetensors::load_buffer(&bytes, &Device::Cpu);
    let all = all.map_err(|err| RunError::Damaged {
        path: tensors_path.clone(),
        reason: format!("the checkpoint cannot be read ({err})"),
    })?;
    let (mut of_model, mut of_optim) = (BTreeMap::new(), BTreeMap::new());
    for (name, tensor) in all {
        if let Some(name) = name.strip_prefix("model.") {
            of_model.insert(name.to_owned(), tensor);
        } else if let Some(name) = name.strip_prefix("optim.") {
            of_optim.insert(name.to_owned(), tensor);
        }
    }
    model
        .params()
        .load(&of_model)
        .map_err(|err| RunError::Damaged { path: tensors_path, reason: err.to_string() })?;
    optimizer.load(&of_optim)?;
    Ok(file.state)
}
