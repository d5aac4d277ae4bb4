//! A tensor on a card, and the prologue that it is read through: the twins of the tensor in a
//! [`Value`](crate::Value) and of `crate::prologue::Prologue`.
//!
//! Scale, shift and center are on the card, so that no norm waits for it.

use std::{rc::Rc, sync::Arc};

use candle::{Result, Tensor, bail};
use gpu::{Buffer, Shape, Storage, cast, elementwise, parts::Parts, prologue as raw};

use super::store::{Card, Stored, numbers, ok};
use crate::Activation;

/// A tensor on a card.
#[derive(Clone)]
pub(crate) struct Data {
    pub(crate) card: Card,
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) dims: Vec<usize>,
    pub(crate) prologue: Prologue,
    /// The partial moments of each channel, if the producer has computed them.
    pub(crate) moments: Option<Rc<Parts>>,
    /// The same numbers in f32: those of a parameter.
    pub(crate) master: Option<Arc<Buffer>>,
}

/// The function applied to each number of a tensor when it is read: act(scale·z + shift)·gate.
#[derive(Clone, Default)]
pub(crate) struct Prologue {
    pub(crate) line: Line,
    pub(crate) activation: raw::Activation,
    /// `[n, c]`.
    pub(crate) gate: Option<Arc<Buffer>>,
}

/// An affine function of each channel, f32 `[c]` each; the identity where absent.
#[derive(Clone, Default)]
pub(crate) struct Line {
    pub(crate) scale: Option<Arc<Buffer>>,
    pub(crate) shift: Option<Arc<Buffer>>,
    /// The approximate mean of the numbers: sums are taken relative to it.
    pub(crate) center: Option<Arc<Buffer>>,
}

/// The activation as kernels number it.
pub(crate) fn activation_of(activation: Activation) -> raw::Activation {
    match activation {
        Activation::None => raw::Activation::None,
        Activation::Relu => raw::Activation::Relu,
        Activation::Relu6 => raw::Activation::Relu6,
        Activation::Silu => raw::Activation::Silu,
        Activation::Sigmoid => raw::Activation::Sigmoid,
        Activation::Gelu => raw::Activation::Gelu,
    }
}

/// The rows of channels of a tensor `[n, …, c]`.
pub(crate) fn shape_of(storage: Storage, dims: &[usize]) -> Shape {
    let (images, area, c) = match dims {
        [] => (1, 1, 1),
        [c] => (1, 1, *c),
        [n, between @ .., c] => (*n, between.iter().product(), *c),
    };
    Shape { storage, images, area, c }
}

impl Line {
    pub(crate) fn is_identity(&self) -> bool {
        self.scale.is_none() && self.shift.is_none()
    }
}

impl Prologue {
    pub(crate) fn raw(&self) -> raw::Prologue<'_> {
        let Prologue { line, activation, gate } = self;
        raw::Prologue {
            scale: line.scale.as_deref(),
            shift: line.shift.as_deref(),
            center: line.center.as_deref(),
            gate: gate.as_deref(),
            activation: *activation,
        }
    }

    /// Whether reading changes nothing.
    pub(crate) fn is_plain(&self) -> bool {
        self.raw().is_plain()
    }

    /// The same function without the gate.
    pub(crate) fn without_gate(&self) -> Prologue {
        Prologue { gate: None, ..self.clone() }
    }
}

impl Data {
    /// A tensor that is read as it is.
    pub(crate) fn plain(card: &Card, buffer: impl Into<Arc<Buffer>>, dims: &[usize]) -> Data {
        Data {
            card: card.clone(),
            buffer: buffer.into(),
            dims: dims.to_vec(),
            prologue: Prologue::default(),
            moments: None,
            master: None,
        }
    }

    /// The numbers of a parameter that the card holds.
    pub(crate) fn stored(card: &Card, var: &Tensor) -> Result<Data> {
        let Stored { master, copy } = card.stored(var)?;
        Ok(Data { master: Some(master), ..Data::plain(card, copy, var.dims()) })
    }

    /// A copy of a tensor of the host.
    pub(crate) fn upload(card: &Card, tensor: &Tensor) -> Result<Data> {
        #[cfg(feature = "candle-cuda")]
        if tensor.device().is_cuda() {
            let buffer = super::candle_cuda::take(card, tensor, None)?;
            return Ok(Data::plain(card, buffer, tensor.dims()));
        }
        let numbers = numbers(tensor)?;
        if tensor.rank() != 1 {
            return Ok(Data::plain(card, card.upload_stored(&numbers)?, tensor.dims()));
        }
        let (master, copy) = card.upload(&numbers)?;
        Ok(Data { master: Some(master), ..Data::plain(card, copy, tensor.dims()) })
    }

    /// The same numbers under another shape of as many, without a prologue.
    pub(crate) fn reshaped(&self, dims: &[usize]) -> Result<Data> {
        if dims.iter().product::<usize>() != self.shape().len() {
            bail!("reshape: {:?} has not as many numbers as {dims:?}", self.dims);
        }
        Ok(Data::plain(&self.card, self.materialise()?, dims))
    }

    pub(crate) fn through(self, prologue: Prologue) -> Data {
        Data { prologue, ..self }
    }

    pub(crate) fn shape(&self) -> Shape {
        shape_of(self.card.storage(), &self.dims)
    }

    /// The last dimension.
    pub(crate) fn c(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// How it is read: the buffer and its prologue.
    pub(crate) fn read(&self) -> (&Buffer, raw::Prologue<'_>) {
        (&self.buffer, self.prologue.raw())
    }

    /// The numbers with the prologue applied.
    pub(crate) fn materialise(&self) -> Result<Arc<Buffer>> {
        if self.prologue.is_plain() {
            return Ok(Arc::clone(&self.buffer));
        }
        let shape = self.shape();
        let mut out = self.card.alloc(shape.len())?;
        let (x, prologue) = self.read();
        ok(elementwise::apply(self.card.device(), shape, (x, &prologue), &mut out))?;
        Ok(Arc::new(out))
    }

    /// The same value, with its prologue applied.
    pub(crate) fn applied(&self) -> Result<Data> {
        Ok(Data {
            buffer: self.materialise()?,
            prologue: Prologue::default(),
            moments: self.moments.clone().filter(|_| self.prologue.is_plain()),
            ..self.clone()
        })
    }

    /// The numbers in f32: as kernels read biases and the parameters of norms.
    pub(crate) fn vector(&self) -> Result<Arc<Buffer>> {
        if let Some(master) = &self.master {
            return Ok(Arc::clone(master));
        }
        let (from, storage, n) = (self.materialise()?, self.card.storage(), self.shape().len());
        if storage == Storage::F32 {
            return Ok(from);
        }
        let mut to = self.card.alloc_f32(n)?;
        ok(cast::cast(self.card.device(), n, (&from, storage), (&mut to, Storage::F32)))?;
        Ok(Arc::new(to))
    }

    /// Copies of tensors of a card on the host, f32, with the prologues applied. Waits for the card once.
    pub(crate) fn download(all: &[Data]) -> Result<Vec<Tensor>> {
        let Some(Data { card, .. }) = all.first() else { return Ok(Vec::new()) };
        let buffers = all.iter().map(Data::materialise).collect::<Result<Vec<_>>>()?;
        let whole = all
            .iter()
            .zip(&buffers)
            .map(|(it, buffer)| ok(buffer.slice(0, it.shape().len() * card.storage().bytes())));
        let whole = whole.collect::<Result<Vec<_>>>()?;
        let bytes = ok(card.device().download_all::<u8>(&whole))?;
        let tensor = |(it, bytes): (&Data, Vec<u8>)| {
            let numbers = card.storage().decode(&bytes);
            Tensor::from_vec(numbers, it.dims.as_slice(), &candle::Device::Cpu)
        };
        all.iter().zip(bytes).map(tensor).collect()
    }
}
