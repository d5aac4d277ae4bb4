//! Memory between a card and candle's own CUDA, without a copy: see [`crate::candle_cuda`].

use std::sync::Arc;

use candle::{
    CudaDevice, CudaStorage, Device, Result, Storage as CandleStorage, Tensor, bail,
    cuda::{
        CudaStorageSlice as Numbers,
        cudarc::driver::{CudaStream, DevicePtr as _},
    },
    op::BackpropOp,
};
use gpu::{Buffer, Slice, Storage, cast};

use super::store::{Card, ok};

/// Kernels read 16 bytes at a time.
const ALIGN: u64 = 16;

impl Card {
    /// A card on the stream of candle's device.
    ///
    /// - `storage`: how activations, their gradients and the copies of the parameters are stored.
    ///
    /// # Errors
    /// If the device is not CUDA's, or was made by `Device::new_cuda`, whose stream is another one in each thread: use
    /// `Device::new_cuda_with_stream`.
    pub fn on_candle(device: &Device, storage: Storage) -> Result<Card> {
        let stream = device.as_cuda_device()?.cuda_stream();
        Ok(Card::new(&ok(gpu::Device::on_stream(&stream))?, storage))
    }

    /// Candle's device, if the card is on its stream.
    fn of_candle<'a>(&self, device: &'a Device) -> Result<&'a CudaDevice> {
        let cuda = device.as_cuda_device()?;
        if !self.device().is_on(&cuda.cuda_stream()) {
            bail!(
                "the card and candle's device do not share a stream: make the card with \
                 `Card::on_candle` of this device"
            );
        }
        Ok(cuda)
    }
}

/// What keeps the memory of a tensor of candle while a buffer of a card lends it.
struct Lender {
    tensor: Tensor,
    stream: Arc<CudaStream>,
}

impl Lender {
    /// Where the tensor begins, and how it is stored; and tells cudarc that the stream reads it.
    fn begin(&self) -> Result<(u64, Storage)> {
        let (storage, layout) = self.tensor.storage_and_layout();
        let CandleStorage::Cuda(CudaStorage { slice, .. }) = &*storage else {
            bail!("a tensor of {:?} is not CUDA's", self.tensor.device().location())
        };
        let stream = &self.stream;
        let (begin, stored) = match slice {
            Numbers::F32(it) => (it.device_ptr(stream).0, Storage::F32),
            Numbers::BF16(it) => (it.device_ptr(stream).0, Storage::Bf16),
            Numbers::F16(it) => (it.device_ptr(stream).0, Storage::F16),
            _ => bail!(
                "a tensor of {:?} cannot be handed to a card: convert it to f32, bf16 or f16",
                self.tensor.dtype()
            ),
        };
        Ok((begin + (layout.start_offset() * stored.bytes()) as u64, stored))
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        // cudarc's streams that write the tensor wait for what has read it until now. It was found before.
        self.begin().ok();
    }
}

/// A tensor of candle's CUDA as a buffer, and how it is stored. It is copied on the card if it is not contiguous, or
/// begins in the middle of 16 bytes.
fn lend(card: &Card, tensor: &Tensor) -> Result<(Buffer, Storage)> {
    let stream = card.of_candle(tensor.device())?.cuda_stream();
    let mut lender = Lender { tensor: tensor.contiguous()?, stream };
    if !lender.begin()?.0.is_multiple_of(ALIGN) {
        lender.tensor = tensor.force_contiguous()?;
    }
    let (at, storage) = lender.begin()?;
    let bytes = tensor.elem_count() * storage.bytes();
    // SAFETY: the tensor has as many bytes there and lives in the lender; it is of the card's stream, and its other
    // users are ordered by the events of `Lender`.
    let buffer = unsafe { card.device().lend(at, bytes, Box::new(lender)) };
    Ok((ok(buffer)?, storage))
}

/// A tensor of candle's CUDA as the card stores activations: lent, or converted on the card; times `scale`.
pub(crate) fn take(card: &Card, tensor: &Tensor, scale: Option<Slice<'_>>) -> Result<Arc<Buffer>> {
    let (from, stored) = lend(card, tensor)?;
    if stored == card.storage() && scale.is_none() {
        return Ok(Arc::new(from));
    }
    let (device, n) = (card.device(), tensor.elem_count());
    let mut to = card.alloc(n)?;
    let (from, into) = ((&from, stored), (&mut to, card.storage()));
    ok(match scale {
        Some(scale) => cast::cast_times(device, n, from, into, scale),
        None => cast::cast(device, n, from, into),
    })?;
    Ok(Arc::new(to))
}

/// A buffer of activations as a tensor of candle's device: given away, or a copy on the card if it has other users.
pub(crate) fn give(
    card: &Card,
    device: &Device,
    buffer: Arc<Buffer>,
    dims: &[usize],
    is_variable: bool,
) -> Result<Tensor> {
    let cuda = card.of_candle(device)?;
    let n = dims.iter().product::<usize>();
    let own = match Arc::try_unwrap(buffer) {
        Ok(own) if own.is_giveable() => own,
        Ok(lent) => copy(card, &lent, n)?,
        Err(used) => copy(card, &used, n)?,
    };
    let slice = match card.storage() {
        Storage::F32 => Numbers::F32(ok(own.into_slice(n))?),
        Storage::Bf16 => Numbers::BF16(ok(own.into_slice(n))?),
        Storage::F16 => Numbers::F16(ok(own.into_slice(n))?),
    };
    let storage = CandleStorage::Cuda(CudaStorage { slice, device: cuda.clone() });
    Ok(Tensor::from_storage(storage, dims, BackpropOp::none(), is_variable))
}

fn copy(card: &Card, from: &Buffer, n: usize) -> Result<Buffer> {
    let mut to = card.alloc(n)?;
    ok(to.copy_from(ok(from.slice(0, n * card.storage().bytes()))?))?;
    Ok(to)
}
