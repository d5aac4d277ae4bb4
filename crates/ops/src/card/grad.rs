//! A gradient on a card, and the steps of its backward pass that are deferred: the twin of `crate::prologue::Grad`.
//!
//! d = (g·times + plus)·act'(scale·z + shift), dz = scale·d + slope·(z - center) + at_mean.

use std::{rc::Rc, sync::Arc};

use candle::{Result, Tensor};
use gpu::{Buffer, Shape, Slice, Storage, cast, elementwise, parts::Parts, prologue as raw};

use super::{
    data::{Line, Prologue, shape_of},
    store::{Card, numbers, ok},
};

/// A gradient, and the deferred steps of its backward pass.
#[derive(Clone)]
pub(crate) struct Grad {
    pub(crate) card: Card,
    pub(crate) buffer: Arc<Buffer>,
    /// f32 for a parameter's, otherwise as activations are stored.
    pub(crate) storage: Storage,
    pub(crate) dims: Vec<usize>,
    /// `[n, c]` each.
    pub(crate) times: Option<Arc<Buffer>>,
    pub(crate) plus: Option<Arc<Buffer>>,
    pub(crate) norm: Option<Rc<NormBackward>>,
    /// Set if the producer has applied the derivative of the activation: `buffer` is d = g·act'.
    pub(crate) before: Option<Rc<Before>>,
    /// Σ d and Σ d·(z - center) of each channel, if the producer has computed them.
    pub(crate) sums: Option<Rc<Parts>>,
    /// The sums that the producer has computed for a gate and the norm before it.
    pub(crate) gate_sums: Option<Rc<Parts>>,
}

/// The tensor and the prologue whose backward pass a gradient has completed up to the norm.
pub(crate) struct Before {
    pub(crate) z: Arc<Buffer>,
    pub(crate) prologue: Prologue,
}

/// The backward pass of a norm and its activation.
pub(crate) struct NormBackward {
    pub(crate) z: Arc<Buffer>,
    pub(crate) line: Line,
    pub(crate) activation: raw::Activation,
    /// What the statistics of the batch add.
    pub(crate) slope: Option<Buffer>,
    pub(crate) at_mean: Option<Buffer>,
}

impl Grad {
    /// A gradient of an activation, without deferred steps.
    pub(crate) fn plain(card: &Card, buffer: impl Into<Arc<Buffer>>, dims: &[usize]) -> Grad {
        Grad {
            card: card.clone(),
            buffer: buffer.into(),
            storage: card.storage(),
            dims: dims.to_vec(),
            times: None,
            plus: None,
            norm: None,
            before: None,
            sums: None,
            gate_sums: None,
        }
    }

    /// The gradient of a parameter.
    pub(crate) fn of_parameter(card: &Card, buffer: Buffer, dims: &[usize]) -> Grad {
        Grad { storage: Storage::F32, ..Grad::plain(card, buffer, dims) }
    }

    /// The gradient of an exported value, from the host, times the loss scale.
    ///
    /// - `scale`: an f32 on the card.
    pub(crate) fn upload(card: &Card, grad: &Tensor, scale: Option<Slice<'_>>) -> Result<Grad> {
        #[cfg(feature = "candle-cuda")]
        if grad.device().is_cuda() {
            let buffer = super::candle_cuda::take(card, grad, scale)?;
            return Ok(Grad::plain(card, buffer, grad.dims()));
        }
        let numbers = numbers(grad)?;
        let buffer = match scale {
            None => card.upload_stored(&numbers)?,
            Some(scale) => {
                let (device, n) = (card.device(), numbers.len());
                let from = ok(device.upload(&numbers))?;
                let mut to = card.alloc(n)?;
                let into = (&mut to, card.storage());
                ok(cast::cast_times(device, n, (&from, Storage::F32), into, scale))?;
                Arc::new(to)
            }
        };
        Ok(Grad::plain(card, buffer, grad.dims()))
    }

    pub(crate) fn shape(&self) -> Shape {
        shape_of(self.storage, &self.dims)
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.times.is_none() && self.plus.is_none() && self.norm.is_none()
    }

    /// How it is read: the buffer and its deferred steps.
    pub(crate) fn read(&self) -> (&Buffer, raw::GradPrologue<'_>) {
        let (times, plus) = (self.times.as_deref(), self.plus.as_deref());
        let of_image = raw::GradPrologue { times, plus, ..raw::GradPrologue::default() };
        let Some(it) = &self.norm else { return (&self.buffer, of_image) };
        let deferred = raw::GradPrologue {
            z: Some(&it.z),
            scale: it.line.scale.as_deref(),
            shift: it.line.shift.as_deref(),
            center: it.line.center.as_deref(),
            slope: it.slope.as_ref(),
            at_mean: it.at_mean.as_ref(),
            activation: it.activation,
            ..of_image
        };
        (&self.buffer, deferred)
    }

    /// The gradient as a tensor, with its deferred steps applied.
    pub(crate) fn materialise(self) -> Result<Grad> {
        if self.is_plain() {
            return Ok(Grad { before: None, sums: None, gate_sums: None, ..self });
        }
        let (buffer, _) = self.combine(None, None, false)?;
        Ok(Grad { storage: self.storage, ..Grad::plain(&self.card, buffer, &self.dims) })
    }

    /// The gradient without a deferred norm, as the backward pass of another norm needs it.
    pub(crate) fn before_norm(self) -> Result<Grad> {
        if self.norm.is_none() { Ok(self) } else { self.materialise() }
    }

    /// The sum of two gradients of the same value.
    pub(crate) fn add(self, other: Grad) -> Result<Grad> {
        match (&self.before, &other.before) {
            (Some(_), None) => other.add(self),
            (None, None) => {
                // The steps of one are applied while the other is read.
                let (a, b) = if other.is_plain() { (self, other) } else { (other, self) };
                let b = b.materialise()?;
                let (buffer, _) = a.combine(Some(&b.buffer), None, false)?;
                Ok(Grad { storage: a.storage, ..Grad::plain(&a.card, buffer, &a.dims) })
            }
            (None, Some(before)) => {
                let before = Rc::clone(before);
                let own = self.materialise()?;
                let (buffer, _) = own.combine(None, Some(&before.both()), false)?;
                own.with(buffer).add_before(&other, before)
            }
            (Some(before), Some(_)) => {
                let before = Rc::clone(before);
                self.add_before(&other, before)
            }
        }
    }

    /// The sum of two gradients that have both completed the backward pass of a prologue, with its sums.
    fn add_before(self, other: &Grad, before: Rc<Before>) -> Result<Grad> {
        let line = before.prologue.line.clone();
        let reading = (&*before.z, Prologue { line, ..Prologue::default() });
        let needs_sums = !before.prologue.line.is_identity();
        let plus = Some(&*other.buffer);
        let (buffer, sums) = self.combine(plus, Some(&reading), needs_sums)?;
        Ok(Grad { before: Some(before), sums, ..self.with(buffer) })
    }

    fn with(&self, buffer: Buffer) -> Grad {
        Grad { storage: self.storage, ..Grad::plain(&self.card, buffer, &self.dims) }
    }

    /// (prologue(g) + plus)·act'(scale·z + shift).
    fn combine(
        &self,
        plus: Option<&Buffer>,
        before: Option<&(&Buffer, Prologue)>,
        needs_sums: bool,
    ) -> Result<(Buffer, Option<Rc<Parts>>)> {
        let (card, shape) = (&self.card, self.shape());
        let mut out = ok(card.device().alloc(shape.bytes()))?;
        let (g, deferred) = self.read();
        let raw = before.map(|(z, prologue)| (*z, prologue.raw()));
        let before = raw.as_ref().map(|(z, prologue)| (*z, prologue));
        let of_g = (g, &deferred);
        let device = card.device();
        let parts =
            ok(elementwise::gradient(device, shape, of_g, plus, before, &mut out, needs_sums))?;
        Ok((out, parts.map(Rc::new)))
    }

    /// What the backward pass of a reader makes: with the sums that it computed, if it has applied the backward pass
    /// of the prologue that it read z through.
    pub(crate) fn summed(self, parts: Option<Parts>, z: &Arc<Buffer>, prologue: &Prologue) -> Grad {
        let parts = parts.map(Rc::new);
        if prologue.gate.is_some() {
            return Grad { gate_sums: parts, ..self };
        }
        if prologue.is_plain() {
            return self;
        }
        let before = Before { z: Arc::clone(z), prologue: prologue.clone() };
        Grad { before: Some(Rc::new(before)), sums: parts, ..self }
    }

    /// The same numbers, which are plain, under another shape.
    pub(crate) fn reshaped(self, dims: &[usize]) -> Grad {
        Grad { dims: dims.to_vec(), ..self }
    }

    /// A gradient `[n, c]` that is the same for all rows of an image.
    pub(crate) fn spread(card: &Card, plus: Arc<Buffer>, dims: &[usize]) -> Result<Grad> {
        let bytes = shape_of(card.storage(), dims).bytes();
        let zeros = ok(card.device().zeros(bytes))?;
        Ok(Grad { plus: Some(plus), ..Grad::plain(card, zeros, dims) })
    }

    /// A copy on the host, f32. Waits for the card.
    pub(crate) fn download(&self) -> Result<Tensor> {
        let shape = self.shape();
        let part = ok(self.buffer.slice(0, shape.bytes()))?;
        let bytes = ok(self.card.device().download::<u8>(part))?;
        let numbers = self.storage.decode(&bytes);
        Tensor::from_vec(numbers, self.dims.as_slice(), &candle::Device::Cpu)
    }
}

impl Before {
    fn both(&self) -> (&Buffer, Prologue) {
        (&self.z, self.prologue.clone())
    }
}
