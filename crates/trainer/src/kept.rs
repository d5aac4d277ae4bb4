//! The weights that later phases restore, as they were in earlier ones. They are part of every checkpoint.

use std::collections::BTreeMap;

use candle::{Result, Tensor, bail};
use models::{Model, Param};

use crate::{phase::Moment, plan::Restored};

/// The part of a checkpoint with these weights.
pub(crate) const KEPT: &str = "kept";

/// Copies of weights by phase, moment and name.
#[derive(Default)]
pub(crate) struct Kept(BTreeMap<String, Tensor>);

impl Kept {
    /// Returns those of a checkpoint.
    pub(crate) fn of(part: BTreeMap<String, Tensor>) -> Kept {
        Kept(part)
    }

    /// Returns all tensors, by name.
    pub(crate) fn state(&self) -> Vec<(String, Tensor)> {
        self.0.iter().map(|(name, it)| (name.clone(), it.clone())).collect()
    }

    /// Copies the layers of a model that a phase will restore, in place of an earlier copy.
    pub(crate) fn keep(&mut self, of: &Restored, model: &Model) -> Result<()> {
        for (name, param) in params(of, model) {
            self.0.insert(key(of, name), param.var.as_tensor().copy()?);
        }
        Ok(())
    }

    /// Restores layers of a model.
    ///
    /// # Errors
    /// They were not kept, or are those of another network.
    pub(crate) fn restore(&self, restores: &[Restored], model: &Model) -> Result<()> {
        for of in restores {
            for (name, param) in params(of, model) {
                match self.0.get(&key(of, name)) {
                    Some(it) if it.shape() == param.var.shape() => param.var.set(it)?,
                    _ => bail!(
                        "`{}` cannot be restored: `{name}` was not kept in the earlier phase, which had \
                         other settings",
                        of.name
                    ),
                }
            }
        }
        Ok(())
    }
}

/// Returns the parameters and running statistics of the layers to restore.
fn params<'a>(of: &'a Restored, model: &'a Model) -> impl Iterator<Item = (&'a str, &'a Param)> {
    let head = model.stages().len() - 1;
    model.params().named().filter(move |(_, it)| of.layers.contain(it, head))
}

fn key(of: &Restored, name: &str) -> String {
    let at = match of.at {
        Moment::Best => "best",
        Moment::End => "end",
    };
    format!("{}-{at}.{name}", of.phase)
}
