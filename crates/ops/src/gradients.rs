//! The gradients of parameters: the results of a backward pass.

use std::collections::{HashMap, hash_map::Entry};

use candle::{Result, Tensor, TensorId, Var};

use crate::{card::grad, slots::Found};

/// The gradient of each parameter that was used.
#[derive(Default)]
pub struct Gradients {
    host: HashMap<TensorId, Tensor>,
    card: HashMap<TensorId, grad::Grad>,
}

impl Gradients {
    /// Stores the gradient of a parameter, with its deferred steps applied.
    pub(crate) fn insert(&mut self, id: TensorId, grad: Found) -> Result<()> {
        match grad {
            Found::Host(grad) => drop(self.host.insert(id, grad.materialise()?)),
            Found::Card(grad) => drop(self.card.insert(id, grad.materialise()?)),
        }
        Ok(())
    }

    /// The gradient of a parameter, of its shape; `None` when the loss does not depend on it, or if it is on a card.
    pub fn get(&self, var: &Var) -> Option<&Tensor> {
        self.host.get(&var.id())
    }

    /// The gradient of a parameter on a card, and how it is stored; `None` when the loss does not depend on it, or if
    /// it is on the host.
    pub fn on_card(&self, var: &Var) -> Option<(&gpu::Buffer, gpu::Storage)> {
        self.card.get(&var.id()).map(|it| (&*it.buffer, it.storage))
    }

    /// Whether a parameter has a gradient, here or on a card.
    pub fn has(&self, var: &Var) -> bool {
        self.host.contains_key(&var.id()) || self.card.contains_key(&var.id())
    }

    /// A copy of the gradient of a parameter on the host, wherever it is. Waits for the card.
    pub fn download(&self, var: &Var) -> Result<Option<Tensor>> {
        match self.card.get(&var.id()) {
            Some(grad) => grad.download().map(Some),
            None => Ok(self.get(var).cloned()),
        }
    }

    /// Replaces a parameter's gradient by the result of `f`, if it has one on the host.
    pub fn change(&mut self, var: &Var, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<()> {
        match self.host.get_mut(&var.id()) {
            Some(it) => f(it).map(|changed| *it = changed),
            None => Ok(()),
        }
    }

    /// Accumulates the gradients of another part of the step.
    pub fn add(&mut self, other: Gradients) -> Result<()> {
        for (id, grad) in other.host {
            match self.host.entry(id) {
                Entry::Occupied(mut it) => {
                    let sum = (it.get() + grad)?;
                    it.insert(sum);
                }
                Entry::Vacant(it) => drop(it.insert(grad)),
            }
        }
        for (id, grad) in other.card {
            let sum = match self.card.remove(&id) {
                Some(before) => before.add(grad)?,
                None => grad,
            };
            self.card.insert(id, sum);
        }
        Ok(())
    }
}
