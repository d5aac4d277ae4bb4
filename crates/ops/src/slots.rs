//! The gradients that a backward pass has computed so far: a slot for each value on the tape.

use std::sync::Arc;

use candle::{Result, Tensor, bail};

use crate::{
    card::{grad, store::Card},
    prologue::Grad,
};

/// A gradient, where its value is.
pub(crate) enum Found {
    Host(Grad),
    Card(grad::Grad),
}

/// The gradients computed so far by a backward pass, one slot for each value on the tape.
pub(crate) struct Slots(Vec<Option<Found>>);

/// The slot for the gradient of an operation's input; `None` for a constant.
#[derive(Clone, Copy)]
pub(crate) struct Slot(pub(crate) Option<usize>);

impl Found {
    /// The sum of two gradients of the same value.
    fn add(self, other: Found) -> Result<Found> {
        match (self, other) {
            (Found::Host(a), Found::Host(b)) => a.add(b).map(Found::Host),
            (Found::Card(a), Found::Card(b)) => a.add(b).map(Found::Card),
            _ => bail!("the gradients of a value are on the host and on a card"),
        }
    }
}

impl Slots {
    /// Slots without gradients.
    pub(crate) fn new(n: usize) -> Slots {
        Slots(std::iter::repeat_with(|| None).take(n).collect())
    }

    /// Takes the gradient of a slot.
    pub(crate) fn take(&mut self, slot: usize) -> Option<Found> {
        self.0[slot].take()
    }

    /// Adds the gradient of an input, computed only if it is required.
    pub(crate) fn give(&mut self, to: Slot, grad: impl FnOnce() -> Result<Grad>) -> Result<()> {
        match to.0 {
            Some(slot) => self.add(slot, Found::Host(grad()?)),
            None => Ok(()),
        }
    }

    /// The same on a card.
    pub(crate) fn give_on_card(
        &mut self,
        to: Slot,
        grad: impl FnOnce() -> Result<grad::Grad>,
    ) -> Result<()> {
        match to.0 {
            Some(slot) => self.add(slot, Found::Card(grad()?)),
            None => Ok(()),
        }
    }

    /// Takes the gradient of an input that other readers have given, as a tensor, for the kernel that adds its own;
    /// `None` if there is none, or if it has completed the backward pass of a prologue.
    pub(crate) fn take_plain(&mut self, of: Slot) -> Result<Option<grad::Grad>> {
        let Some(slot) = of.0 else { return Ok(None) };
        match self.0[slot].take() {
            Some(Found::Card(grad)) if grad.before.is_none() => grad.materialise().map(Some),
            other => {
                self.0[slot] = other;
                Ok(None)
            }
        }
    }

    /// [`spread`](Slots::spread) on a card.
    pub(crate) fn spread_on_card(
        &mut self,
        to: Slot,
        card: &Card,
        plus: Arc<gpu::Buffer>,
        dims: &[usize],
    ) -> Result<()> {
        let Some(slot) = to.0 else { return Ok(()) };
        if let Some(Found::Card(before)) = &mut self.0[slot]
            && before.norm.is_none()
            && before.plus.is_none()
            && before.before.is_none()
        {
            before.plus = Some(plus);
            return Ok(());
        }
        self.add(slot, Found::Card(grad::Grad::spread(card, plus, dims)?))
    }

    /// Adds a gradient `[n, c]` that is the same for all rows of an image of an input `[n, …, c]`.
    pub(crate) fn spread(&mut self, to: Slot, grad: Tensor, dims: &[usize]) -> Result<()> {
        let Some(slot) = to.0 else { return Ok(()) };
        if let Some(Found::Host(before)) = &mut self.0[slot]
            && before.norm.is_none()
            && before.plus.is_none()
            && before.before.is_none()
        {
            before.plus = Some(grad);
            return Ok(());
        }
        let mut flat = vec![1; dims.len()];
        (flat[0], flat[dims.len() - 1]) = (dims[0], dims[dims.len() - 1]);
        let grad = Grad::plain(grad.reshape(flat)?.broadcast_as(dims)?.contiguous()?);
        self.add(slot, Found::Host(grad))
    }

    /// Adds a gradient to a slot's.
    pub(crate) fn add(&mut self, slot: usize, grad: Found) -> Result<()> {
        let sum = match self.0[slot].take() {
            Some(before) => before.add(grad)?,
            None => grad,
        };
        self.0[slot] = Some(sum);
        Ok(())
    }
}

impl Slot {
    /// Whether a gradient is required.
    pub(crate) fn is_some(self) -> bool {
        self.0.is_some()
    }
}
