//! A stream that is shared with other users of cudarc, such as candle, and memory that is handed to them and back
//! without a copy.
//!
//! A device that is opened by [`Device::on_stream`] works on the stream of somebody else, so that one order holds for
//! all work, and what is handed over needs no waiting: whoever gets memory asks for work after what was asked for
//! before. Only memory's owner matters then.
//!
//! - [`Buffer::into_slice`] gives memory away: cudarc frees it. Such a device therefore allocates as cudarc does.
//! - [`Device::lend`] borrows: the owner lives as long as the buffer.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DevicePtrMut, DeviceRepr, sys};

use crate::{
    context::Context,
    device::{Device, check_card, check_driver},
    error::{Error, Result},
    memory::{Buffer, Owner},
};

impl Device {
    /// Opens the card of a stream, to work on that stream.
    ///
    /// # Errors
    /// With an old driver or card, as [`Device::open`]; or for the stream of each thread, which is another one in
    /// another thread, so that work of two threads has no order.
    pub fn on_stream(stream: &Arc<CudaStream>) -> Result<Self> {
        // `CU_STREAM_PER_THREAD`.
        if stream.cu_stream().addr() == 2 {
            return Err(Error::arguments(
                "Device::on_stream",
                "this is the stream of each thread, and work of several threads has no order on it: make the device \
                 with a stream of its own (in candle, `Device::new_cuda_with_stream`)",
            ));
        }
        let cuda = stream.context();
        let index = cuda.ordinal();
        let info = check_card(cuda, index, check_driver(index)?)?;
        Ok(Self::of(Context::shared(stream, info)))
    }

    /// Whether this device works on that stream.
    #[must_use]
    pub fn is_on(&self, stream: &CudaStream) -> bool {
        let own = &self.context.stream;
        own.cu_stream() == stream.cu_stream() && own.context() == stream.context()
    }

    /// Memory that something else has, as a buffer, which is dropped with its owner. It is for reading.
    ///
    /// # Errors
    /// For no bytes.
    ///
    /// # Safety
    /// `bytes` bytes from `at` are memory of this device while `owner` lives. Who writes them or frees them meanwhile, or
    /// after the owner is dropped, does so on the device's stream or orders their own after it.
    #[expect(unsafe_code, reason = "a buffer from an address")]
    pub unsafe fn lend(
        &self,
        at: sys::CUdeviceptr,
        bytes: usize,
        owner: Box<dyn Send + Sync>,
    ) -> Result<Buffer> {
        if bytes == 0 {
            return Err(Error::arguments("Device::lend", "an empty buffer cannot be lent"));
        }
        Ok(Buffer::lent(self.memory(), at, bytes, owner))
    }
}

impl Buffer {
    /// Whether the memory can be given away: whether the device has it, and works on a stream that is shared.
    #[must_use]
    pub fn is_giveable(&self) -> bool {
        self.context().is_shared && matches!(self.owner(), Owner::Device)
    }

    /// Gives the memory to cudarc, with `n` numbers in it, which are what was last asked to be written there.
    ///
    /// # Errors
    /// If it [cannot be given away](Buffer::is_giveable): copy it first; or if it has no room for as many numbers.
    pub fn into_slice<T: DeviceRepr>(self, n: usize) -> Result<CudaSlice<T>> {
        if !self.is_giveable() {
            return Err(Error::arguments(
                "Buffer::into_slice",
                "this memory cannot be given away, as it is lent or its device was opened by `Device::open`: copy it \
                 into a buffer of a device of `Device::on_stream`",
            ));
        }
        let bytes = n.saturating_mul(size_of::<T>());
        if bytes > self.bytes() {
            return Err(Error::OutOfBounds { at: 0, bytes, len: self.bytes() });
        }
        let stream = Arc::clone(&self.context().stream);
        let ptr = self.leak();
        #[expect(unsafe_code, reason = "memory from an address")]
        // SAFETY: it has as many bytes, is allocated as cudarc does, and nobody else frees it.
        let mut slice = unsafe { stream.upgrade_device_ptr::<T>(ptr, n) };
        // Streams of cudarc that read it wait for what this one was asked for until now.
        drop(slice.device_ptr_mut(&stream));
        Ok(slice)
    }
}
