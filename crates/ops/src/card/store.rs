//! A card that networks run on, and the parameters that it holds.
//!
//! A parameter stays a candle `Var` on the host. Its numbers are copied to the card when an operation first reads it:
//! f32, the master, and a copy as activations are stored, which products read. From then on the card's are the ones
//! that count: an optimizer on the card changes master and copy, and norms update running statistics there.
//! [`Card::copy_back`] brings them to the host, [`Card::copy_over`] replaces them by the host's.
//!
//! Micikevicius et al., "Mixed Precision Training", 2017, <https://arxiv.org/abs/1710.03740>, have the masters too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use candle::{DType, Error, Result, Tensor, TensorId, Var};
use gpu::{Buffer, Device, Storage, cast};

/// A card that networks run on. Copies share it.
#[derive(Clone)]
pub struct Card(Arc<Inner>);

struct Inner {
    device: Device,
    storage: Storage,
    stored: Mutex<HashMap<TensorId, Stored>>,
}

/// The numbers of a parameter, or of a running statistic, on a card.
#[derive(Clone)]
pub struct Stored {
    /// f32.
    pub master: Arc<Buffer>,
    /// The same numbers as activations are stored; the master itself if those are f32.
    pub copy: Arc<Buffer>,
}

/// Makes candle's error of the card's.
pub(crate) fn ok<T>(result: gpu::Result<T>) -> Result<T> {
    result.map_err(Error::wrap)
}

impl Card {
    /// - `storage`: how activations, their gradients and the copies of the parameters are stored.
    #[must_use]
    pub fn new(device: &Device, storage: Storage) -> Card {
        Card(Arc::new(Inner { device: device.clone(), storage, stored: Mutex::default() }))
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// How activations are stored.
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.0.storage
    }

    /// Whether both are the same card.
    pub(crate) fn is(&self, other: &Card) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The numbers of a parameter on the card; at first those of the host.
    ///
    /// - `tensor`: a `Var`, by which it is known.
    ///
    /// # Errors
    /// If the card has no room.
    pub fn stored(&self, tensor: &Tensor) -> Result<Stored> {
        let mut all = self.0.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(it) = all.get(&tensor.id()) {
            return Ok(it.clone());
        }
        let (master, copy) = self.upload(&numbers(tensor)?)?;
        let stored = Stored { master, copy };
        all.insert(tensor.id(), stored.clone());
        Ok(stored)
    }

    /// Copies a parameter's numbers from the card to the host, if the card has it. Waits for the card.
    ///
    /// # Errors
    /// If an earlier kernel failed.
    pub fn copy_back(&self, var: &Var) -> Result<()> {
        self.copy_all_back([var])
    }

    /// The same of several parameters, which waits once.
    ///
    /// # Errors
    /// If an earlier kernel failed.
    pub fn copy_all_back<'a>(&self, vars: impl IntoIterator<Item = &'a Var>) -> Result<()> {
        let all = self.0.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |var: &'a Var| all.get(&var.id()).map(|it| (var, Arc::clone(&it.master)));
        let found: Vec<(&Var, Arc<Buffer>)> = vars.into_iter().filter_map(known).collect();
        drop(all);
        if found.is_empty() {
            return Ok(());
        }
        let whole: Vec<_> = found.iter().map(|(_, it)| it.whole()).collect();
        let numbers = ok(self.device().download_all::<f32>(&whole))?;
        for ((var, _), numbers) in found.iter().zip(numbers) {
            let tensor = Tensor::from_vec(numbers, var.dims(), var.device())?;
            var.set(&tensor.to_dtype(var.dtype())?)?;
        }
        Ok(())
    }

    /// Copies a parameter's numbers from the host to the card, if the card has it already.
    ///
    /// # Errors
    /// If the card has no room.
    pub fn copy_over(&self, var: &Var) -> Result<()> {
        let all = self.0.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Stored { master, copy }) = all.get(&var.id()).cloned() else { return Ok(()) };
        drop(all);
        let numbers = numbers(var)?;
        let (device, n) = (self.device(), numbers.len());
        let from = ok(device.upload(&numbers))?;
        ok(cast::cast_into(device, n, (&from, Storage::F32), (&master, Storage::F32)))?;
        match Arc::ptr_eq(&master, &copy) {
            true => Ok(()),
            false => ok(cast::cast_into(device, n, (&from, Storage::F32), (&copy, self.storage()))),
        }
    }

    /// Numbers on the card, in f32 and as activations are stored; one buffer if that is the same.
    pub(crate) fn upload(&self, numbers: &[f32]) -> Result<(Arc<Buffer>, Arc<Buffer>)> {
        let master = Arc::new(ok(self.device().upload(numbers))?);
        let copy = match self.storage() {
            Storage::F32 => Arc::clone(&master),
            _ => self.upload_stored(numbers)?,
        };
        Ok((master, copy))
    }

    /// Numbers on the card, as activations are stored.
    pub(crate) fn upload_stored(&self, numbers: &[f32]) -> Result<Arc<Buffer>> {
        let bytes = self.storage().encode(numbers);
        Ok(Arc::new(ok(self.device().upload(&bytes))?))
    }

    /// Memory for `n` numbers of activations.
    pub(crate) fn alloc(&self, n: usize) -> Result<Buffer> {
        ok(self.device().alloc(n * self.storage().bytes()))
    }

    /// Memory for `n` f32.
    pub(crate) fn alloc_f32(&self, n: usize) -> Result<Buffer> {
        ok(self.device().alloc(n * 4))
    }
}

/// A tensor's numbers, in row-major order.
pub(crate) fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()
}
