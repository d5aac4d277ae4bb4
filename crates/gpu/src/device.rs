//! A card: its context, its streams, its memory and its kernels.
//!
//! `cudarc` opens the driver's library when it is first asked for, so that the program is built and runs without CUDA.
//! Everything runs on one stream, except uploads (`upload.rs`), which have their own.
//! cudarc's tracking of events by slice is off: buffers are ordered by the stream they are used on.

use std::{fmt, sync::Arc};

use cudarc::driver::{CudaContext, CudaEvent, DeviceRepr, DriverError, sys};

use crate::{
    context::{Context, Info, Meter},
    error::{Error, Result},
    library::{self, OLDEST_DRIVER},
    memory::{Buffer, Memory, Slice, Usage},
    module::{Launch, Modules},
    number::Number,
    ptx::Ptx,
};

/// A card that is open. Copies share it; the last one closes it, when its buffers are gone.
#[derive(Clone)]
pub struct Device {
    modules: Arc<Modules>,
    memory: Arc<Memory>,
    pub(crate) context: Arc<Context>,
}

impl Device {
    /// How many cards the driver lists.
    ///
    /// # Errors
    /// Without a driver, or with one that does not start.
    pub fn count() -> Result<usize> {
        library::check()?;
        match CudaContext::device_count() {
            Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
            Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(0),
            Err(code) => Err(Error::NoStart { code }),
        }
    }

    /// Opens a card: checks the driver and the card's generation, and makes a stream.
    ///
    /// # Errors
    /// Without a driver, with one older than [`OLDEST_DRIVER`], with fewer cards, with a card before compute
    /// capability 8.0, or if a call of the driver fails.
    pub fn open(index: usize) -> Result<Self> {
        let count = Self::count()?;
        let driver = check_driver(index)?;
        if index >= count {
            return Err(Error::NoDevice { index, count });
        }
        let failed = |code| Error::Driver { index, what: "opening the card".into(), code };
        let cuda = CudaContext::new(index).map_err(failed)?;
        #[expect(
            unsafe_code,
            reason = "cudarc marks it so: without its events, streams must be ordered by hand"
        )]
        // SAFETY: no `CudaSlice` is used in this crate; buffers are ordered by the one stream, and uploads by events.
        unsafe {
            cuda.disable_event_tracking();
        }
        let info = check_card(&cuda, index, driver)?;
        Ok(Self::of(Context::new(cuda, info)?))
    }

    pub(crate) fn of(context: Context) -> Self {
        let context = Arc::new(context);
        Self { modules: Modules::new(&context), memory: Memory::new(&context), context }
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// What the card is.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.context.info
    }

    /// Memory whose contents are not defined yet.
    ///
    /// # Errors
    /// For no bytes, or if the card has not as many left, even after the cache was emptied.
    pub fn alloc(&self, bytes: usize) -> Result<Buffer> {
        self.memory.alloc(bytes)
    }

    /// Memory of zeros.
    ///
    /// # Errors
    /// As [`Device::alloc`].
    pub fn zeros(&self, bytes: usize) -> Result<Buffer> {
        let mut buffer = self.alloc(bytes)?;
        buffer.zero()?;
        Ok(buffer)
    }

    /// A buffer with a copy of these numbers.
    ///
    /// # Errors
    /// As [`Device::alloc`].
    pub fn upload<T: DeviceRepr + Copy>(&self, numbers: &[T]) -> Result<Buffer> {
        let mut buffer = self.alloc(size_of_val(numbers))?;
        buffer.write(numbers)?;
        Ok(buffer)
    }

    /// Waits for the device, and copies a part of a buffer to the host.
    ///
    /// # Errors
    /// If its bytes are no whole number of `T`, if the driver fails, or if an earlier kernel did.
    pub fn download<T: Number>(&self, from: Slice<'_>) -> Result<Vec<T>> {
        self.memory.download(from)
    }

    /// The same of several parts, which waits once.
    ///
    /// # Errors
    /// As [`Device::download`].
    pub fn download_all<T: Number>(&self, from: &[Slice<'_>]) -> Result<Vec<Vec<T>>> {
        self.memory.download_all(from)
    }

    /// Bytes of the device's memory that this program holds.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.memory.usage()
    }

    /// Bytes of the device that are free, by the driver's count, and all of them; the cache is not free.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn free_memory(&self) -> Result<(usize, usize)> {
        self.memory.free_memory()
    }

    /// Gives the cache's memory back to the driver.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn empty_cache(&self) -> Result<()> {
        self.memory.empty_cache()
    }

    /// Whether freed buffers are kept for their next use, which is so at first. Without the cache every buffer is one
    /// of the driver's, so that a checker finds reads of freed or never written memory.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn set_caching(&self, is_on: bool) -> Result<()> {
        self.memory.set_caching(is_on)
    }

    /// Prepares a launch of a kernel: one block of one warp, without shared memory or arguments, unless it is told more.
    pub fn launch<'a>(&'a self, ptx: &'static Ptx, kernel: &'a str) -> Launch<'a> {
        Launch::new(&self.modules, ptx, kernel)
    }

    /// Waits until everything that was asked for is done, and reports what failed meanwhile.
    ///
    /// # Errors
    /// If a kernel or a copy failed since the last call.
    pub fn synchronize(&self) -> Result<()> {
        self.context.meter().synchronisations += 1;
        self.context.cuda.synchronize().map_err(self.context.failed("a kernel or a copy"))
    }

    /// A point of the device's stream, to wait for.
    ///
    /// # Errors
    /// If a call of the driver fails.
    pub fn record(&self) -> Result<CudaEvent> {
        self.context.record(false)
    }

    /// The seconds that the card takes for what `run` asks for, on the device's stream, by the card's own clock. Waits
    /// for it.
    ///
    /// # Errors
    /// If `run` fails, or a call of the driver.
    pub fn time(&self, run: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        let start = self.context.record(true)?;
        run()?;
        let end = self.context.record(true)?;
        self.context.meter().synchronisations += 1;
        let time = start.elapsed_ms(&end).map_err(self.context.failed("a kernel or a copy"))?;
        Ok(f64::from(time) * 1e-3)
    }

    /// What was done since the device was opened, or since [`Device::reset_meter`].
    #[must_use]
    pub fn read_meter(&self) -> Meter {
        self.context.meter().clone()
    }

    /// Sets the meter to zero, and [`Usage::most_used`] to what is used now.
    pub fn reset_meter(&self) {
        self.memory.reset_most_used();
        *self.context.meter() = Meter::default();
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{} ({})", self.info().index, self.info().name)
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.context, &other.context)
    }
}

impl Eq for Device {}

/// The driver's version, unless it is too old.
pub(crate) fn check_driver(index: usize) -> Result<i32> {
    let failed =
        |code| Error::Driver { index, what: "asking for the driver's version".into(), code };
    let found = library::version().map_err(failed)?;
    if found < OLDEST_DRIVER {
        return Err(Error::OldDriver { found, needed: OLDEST_DRIVER });
    }
    Ok(found)
}

/// What a card is, unless it is too old.
pub(crate) fn check_card(cuda: &CudaContext, index: usize, driver: i32) -> Result<Info> {
    let failed =
        |code| Error::Driver { index, what: "asking for the card's properties".into(), code };
    let info = Info::read(cuda, index, driver).map_err(failed)?;
    let (major, minor) = info.capability;
    if major < 8 {
        return Err(Error::OldDevice { index, name: info.name, major, minor });
    }
    Ok(info)
}
