//! A card's context: its main stream, what the card is, and a meter of what was done on it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cudarc::driver::{
    CudaContext, CudaEvent, CudaStream, DriverError,
    sys::{CUdevice_attribute as Attribute, CUevent_flags},
};

use crate::error::{Error, Result};

/// What memory, modules and uploads of a card share.
pub(crate) struct Context {
    meter: Mutex<Meter>,
    pub(crate) stream: Arc<CudaStream>,
    pub(crate) cuda: Arc<CudaContext>,
    pub(crate) info: Info,
    /// Whether the stream is somebody else's: see `shared.rs`.
    pub(crate) is_shared: bool,
}

/// What a card is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its number, from 0.
    pub index: usize,
    /// Its name, such as `NVIDIA H200`.
    pub name: String,
    /// Compute capability, such as (9, 0).
    pub capability: (i32, i32),
    /// Bytes of its memory.
    pub memory: usize,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// The highest clock of the multiprocessors, in kHz; 0 if the driver does not say.
    pub clock: u32,
    /// Bytes of the second-level cache; 0 if the driver does not say.
    pub cache: u32,
    /// The most bytes of shared memory that a block may have.
    pub shared_per_block: u32,
    /// The CUDA version of the driver: 1000 times the major number plus 10 times the minor.
    pub driver: i32,
}

/// What was done on a device since it was opened, or since `Device::reset_meter`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meter {
    /// By kernel.
    pub kernels: BTreeMap<String, KernelMeter>,
    /// How often the program waited for the device.
    pub synchronisations: u64,
    /// Bytes copied to the device.
    pub bytes_up: u64,
    /// Bytes copied from the device.
    pub bytes_down: u64,
    /// Bytes copied or zeroed on the device, not by kernels.
    pub bytes_within: u64,
    /// Allocations of the driver: those that the cache did not serve.
    pub allocations: u64,
}

/// What a kernel did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelMeter {
    /// Launches.
    pub launches: u64,
    /// Bytes of memory that the launches had to read and write, as stated by [`Launch::cost`](crate::Launch::cost).
    pub bytes: u64,
    /// Additions and multiplications that they had to do, as stated in the same place.
    pub operations: u64,
}

impl Meter {
    /// Launches of all kernels.
    #[must_use]
    pub fn launches(&self) -> u64 {
        self.kernels.values().map(|it| it.launches).sum()
    }

    /// Bytes that all kernels had to read and write.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.kernels.values().map(|it| it.bytes).sum()
    }
}

impl Context {
    /// Makes a stream in a context that was opened.
    pub(crate) fn new(cuda: Arc<CudaContext>, info: Info) -> Result<Self> {
        let failed =
            |code| Error::Driver { index: info.index, what: "making a stream".into(), code };
        let stream = cuda.new_stream().map_err(failed)?;
        Ok(Self { meter: Mutex::default(), stream, cuda, info, is_shared: false })
    }

    /// Takes a stream that somebody else made, and its context.
    pub(crate) fn shared(stream: &Arc<CudaStream>, info: Info) -> Self {
        let (stream, cuda) = (Arc::clone(stream), Arc::clone(stream.context()));
        Self { meter: Mutex::default(), stream, cuda, info, is_shared: true }
    }

    /// Whether memory is allocated and freed in the order of the stream: where it may be given to cudarc, as cudarc
    /// frees it.
    pub(crate) fn is_ordered(&self) -> bool {
        self.is_shared && self.cuda.has_async_alloc()
    }

    /// Makes the context that of this thread, as the driver's calls expect.
    pub(crate) fn bind(&self, what: &str) -> Result<()> {
        self.cuda.bind_to_thread().map_err(self.failed(what))
    }

    /// A point of the main stream, to wait for.
    ///
    /// - `has_time`: whether the card notes the time at which it passes the point.
    pub(crate) fn record(&self, has_time: bool) -> Result<CudaEvent> {
        let flags = has_time.then_some(CUevent_flags::CU_EVENT_DEFAULT);
        self.stream.record_event(flags).map_err(self.failed("recording an event"))
    }

    pub(crate) fn meter(&self) -> MutexGuard<'_, Meter> {
        lock(&self.meter)
    }

    /// Makes this crate's error of the driver's.
    pub(crate) fn failed(&self, what: &str) -> impl FnOnce(DriverError) -> Error + use<> {
        let (index, what) = (self.info.index, what.to_owned());
        move |code| Error::Driver { index, what, code }
    }
}

impl Info {
    pub(crate) fn read(
        context: &CudaContext,
        index: usize,
        driver: i32,
    ) -> std::result::Result<Self, DriverError> {
        let attribute = |it| context.attribute(it).map(|it| u32::try_from(it).unwrap_or(0));
        Ok(Self {
            index,
            name: context.name()?,
            capability: context.compute_capability()?,
            memory: context.total_mem()?,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            clock: attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?,
            cache: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
            shared_per_block: attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )?,
            driver,
        })
    }
}

/// Locks, also after a panic of another thread: what is guarded here stays whole at every moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
