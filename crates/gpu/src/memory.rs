//! Memory of the device: buffers, and a cache of freed ones.
//!
//! A buffer that is dropped goes to a list of buffers of exactly its size, from which the next one of that size is
//! taken, so that a training step, which asks for the same sizes every time, calls the driver's allocator no more.
//! A kernel that still uses a dropped buffer comes before the next user on the same stream.
//! Sizes are not rounded up: a bounds checker then sees the buffer's true end.
//! Where the card is full, the cache is emptied before an allocation fails.
//!
//! (PyTorch's allocator splits large blocks instead; our sizes repeat, so nothing would be gained.)

use std::{
    collections::HashMap,
    fmt,
    marker::PhantomData,
    mem,
    sync::{Arc, Mutex},
};

use cudarc::driver::{DeviceRepr, DriverError, result, sys};

use crate::{
    context::{Context, lock},
    error::{Error, Result},
    number::Number,
};

/// Memory of the device, without a type. Dropping it returns it to the device's cache.
pub struct Buffer {
    memory: Arc<Memory>,
    ptr: sys::CUdeviceptr,
    bytes: usize,
    owner: Owner,
}

/// Who has the memory of a buffer.
pub(crate) enum Owner {
    /// The device, which takes it back when the buffer is dropped.
    Device,
    /// Something that is dropped with the buffer.
    Other(Box<dyn Send + Sync>),
    /// It was given away.
    Nobody,
}

/// A part of a buffer, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a> {
    address: Address,
    bytes: usize,
    buffer: PhantomData<&'a Buffer>,
}

/// Where a buffer or a part of it begins, for the parameters of a kernel. It keeps nothing alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Address(u64);

/// The memory of a device.
pub(crate) struct Memory {
    context: Arc<Context>,
    pool: Mutex<Pool>,
}

/// Freed buffers by size, and what is in use.
#[derive(Default)]
struct Pool {
    free: HashMap<usize, Vec<sys::CUdeviceptr>>,
    n_cached: usize,
    used: usize,
    most_used: usize,
    is_uncached: bool,
}

/// Bytes of the device's memory that this program holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of live buffers.
    pub used: usize,
    /// The most that `used` has been, since [`Device::reset_meter`](crate::Device::reset_meter).
    pub most_used: usize,
    /// Bytes of freed buffers that wait for their next use.
    pub cached: usize,
}

impl Address {
    /// No address: an optional part of a kernel's parameters that is absent.
    pub const NULL: Self = Self(0);

    /// The address of a buffer, or none.
    #[must_use]
    pub fn of(buffer: Option<&Buffer>) -> Self {
        buffer.map_or(Self::NULL, Buffer::address)
    }
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: a 64-bit number, which is what a pointer is on the device.
unsafe impl DeviceRepr for Address {}

impl Buffer {
    /// Its bytes; never 0.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many `T` it holds.
    #[must_use]
    pub fn count<T>(&self) -> usize {
        self.bytes / size_of::<T>()
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> Address {
        Address(self.ptr)
    }

    pub(crate) fn ptr(&self) -> sys::CUdeviceptr {
        self.ptr
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(crate) fn context(&self) -> &Context {
        &self.memory.context
    }

    /// A buffer of memory that `owner` has.
    pub(crate) fn lent(
        memory: &Arc<Memory>,
        ptr: sys::CUdeviceptr,
        bytes: usize,
        owner: Box<dyn Send + Sync>,
    ) -> Self {
        Self { memory: Arc::clone(memory), ptr, bytes, owner: Owner::Other(owner) }
    }

    /// Forgets the memory, which the device does not count any more.
    pub(crate) fn leak(mut self) -> sys::CUdeviceptr {
        lock(&self.memory.pool).used -= self.bytes;
        self.owner = Owner::Nobody;
        self.ptr
    }

    /// All of it.
    #[must_use]
    pub fn whole(&self) -> Slice<'_> {
        Slice { address: self.address(), bytes: self.bytes, buffer: PhantomData }
    }

    /// A part of it: `bytes` bytes from byte `at`.
    ///
    /// # Errors
    /// If the part is not within the buffer.
    pub fn slice(&self, at: usize, bytes: usize) -> Result<Slice<'_>> {
        self.whole().slice(at, bytes)
    }

    /// Sets all of it to zero.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn zero(&mut self) -> Result<()> {
        let context = &self.memory.context;
        context.bind("zeroing a buffer")?;
        #[expect(unsafe_code, reason = "a call of the driver")]
        // SAFETY: the buffer is alive, has that many bytes, and belongs to the stream's context.
        let done =
            unsafe { result::memset_d8_async(self.ptr, 0, self.bytes, context.stream.cu_stream()) };
        done.map_err(context.failed("zeroing a buffer"))?;
        context.meter().bytes_within += self.bytes as u64;
        Ok(())
    }

    /// Copies numbers of the host into the beginning of it; the host's memory may be changed afterwards.
    ///
    /// # Errors
    /// If they are more than the buffer holds, or if the driver fails.
    pub fn write<T: DeviceRepr + Copy>(&mut self, numbers: &[T]) -> Result<()> {
        let bytes = size_of_val(numbers);
        if bytes > self.bytes {
            return Err(Error::OutOfBounds { at: 0, bytes, len: self.bytes });
        }
        let context = &self.memory.context;
        context.bind("copying to the device")?;
        #[expect(unsafe_code, reason = "a call of the driver")]
        // SAFETY: the buffer is alive and holds the bytes. The driver copies pageable memory before it returns.
        let done =
            unsafe { result::memcpy_htod_async(self.ptr, numbers, context.stream.cu_stream()) };
        done.map_err(context.failed("copying to the device"))?;
        context.meter().bytes_up += bytes as u64;
        Ok(())
    }

    /// Copies a part of a buffer of the same device into the beginning of this one.
    ///
    /// # Errors
    /// If it is longer than this buffer, or if the driver fails.
    pub fn copy_from(&mut self, from: Slice<'_>) -> Result<()> {
        self.copy_at(0, from)
    }

    /// Copies a part of another buffer of the same device into this one, from byte `at` on.
    ///
    /// # Errors
    /// If it does not fit there, or if the driver fails.
    pub fn copy_at(&mut self, at: usize, from: Slice<'_>) -> Result<()> {
        let to = self.slice(at, from.bytes)?.address.0;
        let context = &self.memory.context;
        context.bind("copying on the device")?;
        let stream = context.stream.cu_stream();
        #[expect(unsafe_code, reason = "a call of the driver")]
        // SAFETY: both are alive and have that many bytes, and `&mut` says that they do not overlap.
        let done = unsafe { result::memcpy_dtod_async(to, from.address.0, from.bytes, stream) };
        done.map_err(context.failed("copying on the device"))?;
        context.meter().bytes_within += from.bytes as u64;
        Ok(())
    }

    /// Waits for the device, and copies all of it to the host.
    ///
    /// # Errors
    /// If its bytes are no whole number of `T`, if the driver fails, or if an earlier kernel did.
    pub fn read<T: Number>(&self) -> Result<Vec<T>> {
        self.memory.download(self.whole())
    }
}

impl Slice<'_> {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// A part of it: `bytes` bytes from byte `at`.
    ///
    /// # Errors
    /// If the part is not within it.
    pub fn slice(&self, at: usize, bytes: usize) -> Result<Self> {
        match at.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(Self {
                address: Address(self.address.0 + at as u64),
                bytes,
                buffer: PhantomData,
            }),
            _ => Err(Error::OutOfBounds { at, bytes, len: self.bytes }),
        }
    }
}

impl Memory {
    pub(crate) fn new(context: &Arc<Context>) -> Arc<Self> {
        Arc::new(Self { context: Arc::clone(context), pool: Mutex::default() })
    }

    pub(crate) fn alloc(self: &Arc<Self>, bytes: usize) -> Result<Buffer> {
        if bytes == 0 {
            return Err(Error::arguments(
                "Device::alloc",
                "an empty buffer: give it a byte at least",
            ));
        }
        let mut pool = lock(&self.pool);
        let ptr = match pool.take(bytes) {
            Some(ptr) => ptr,
            None => self.alloc_by_driver(&mut pool, bytes)?,
        };
        pool.used += bytes;
        pool.most_used = pool.most_used.max(pool.used);
        Ok(Buffer { memory: Arc::clone(self), ptr, bytes, owner: Owner::Device })
    }

    pub(crate) fn download<T: Number>(&self, from: Slice<'_>) -> Result<Vec<T>> {
        Ok(self.download_all(&[from])?.pop().unwrap_or_default())
    }

    pub(crate) fn download_all<T: Number>(&self, from: &[Slice<'_>]) -> Result<Vec<Vec<T>>> {
        self.context.bind("copying to the host")?;
        let (stream, mut all, mut bytes) = (&self.context.stream, Vec::new(), 0);
        for from in from {
            if !from.bytes.is_multiple_of(size_of::<T>()) {
                return Err(Error::OutOfBounds {
                    at: 0,
                    bytes: from.bytes.next_multiple_of(size_of::<T>()),
                    len: from.bytes,
                });
            }
            all.push(vec![T::default(); from.bytes / size_of::<T>()]);
            bytes += from.bytes as u64;
        }
        let mut done = Ok(());
        for (from, numbers) in from.iter().zip(&mut all) {
            #[expect(unsafe_code, reason = "a call of the driver")]
            // SAFETY: both are alive and have that many bytes, and the stream is waited for before `all` is read, or
            // freed.
            let copied =
                unsafe { result::memcpy_dtoh_async(numbers, from.address.0, stream.cu_stream()) };
            done = done.and(copied);
        }
        let waited = stream.synchronize();
        done.and(waited).map_err(self.context.failed("copying to the host"))?;
        let mut meter = self.context.meter();
        meter.bytes_down += bytes;
        meter.synchronisations += 1;
        Ok(all)
    }

    pub(crate) fn usage(&self) -> Usage {
        let pool = lock(&self.pool);
        Usage { used: pool.used, most_used: pool.most_used, cached: pool.n_cached }
    }

    pub(crate) fn reset_most_used(&self) {
        let mut pool = lock(&self.pool);
        pool.most_used = pool.used;
    }

    pub(crate) fn free_memory(&self) -> Result<(usize, usize)> {
        self.context.cuda.mem_get_info().map_err(self.context.failed("asking for the free memory"))
    }

    pub(crate) fn empty_cache(&self) -> Result<()> {
        self.context.bind("freeing memory")?;
        lock(&self.pool).clear(&self.context).map_err(self.context.failed("freeing memory"))
    }

    pub(crate) fn set_caching(&self, is_on: bool) -> Result<()> {
        lock(&self.pool).is_uncached = !is_on;
        self.empty_cache()
    }

    fn alloc_by_driver(&self, pool: &mut Pool, bytes: usize) -> Result<sys::CUdeviceptr> {
        self.context.bind("allocating memory")?;
        self.context.meter().allocations += 1;
        let full = |it: &DriverError| it.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        let mut got = malloc(&self.context, bytes);
        if got.as_ref().is_err_and(full) && pool.n_cached > 0 {
            pool.clear(&self.context).map_err(self.context.failed("freeing memory"))?;
            got = malloc(&self.context, bytes);
        }
        match got {
            Ok(ptr) => Ok(ptr),
            Err(err) if full(&err) => {
                let (free, total) = self.free_memory()?;
                Err(Error::OutOfMemory {
                    index: self.context.info.index,
                    wanted: bytes,
                    used: pool.used,
                    free,
                    total,
                })
            }
            Err(err) => Err(self.context.failed("allocating memory")(err)),
        }
    }
}

impl Pool {
    fn take(&mut self, bytes: usize) -> Option<sys::CUdeviceptr> {
        let ptr = self.free.get_mut(&bytes)?.pop()?;
        self.n_cached -= bytes;
        Some(ptr)
    }

    /// Frees all cached buffers; the driver waits for the device before it does.
    fn clear(&mut self, context: &Context) -> std::result::Result<(), DriverError> {
        self.n_cached = 0;
        let mut all = Ok(());
        for ptr in self.free.drain().flat_map(|(_, list)| list) {
            all = free(context, ptr).and(all);
        }
        all
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Memory { context, pool } = &*self.memory;
        match mem::replace(&mut self.owner, Owner::Nobody) {
            Owner::Device => {}
            Owner::Other(it) => return drop(it),
            Owner::Nobody => return,
        }
        let mut pool = lock(pool);
        pool.used -= self.bytes;
        if pool.is_uncached {
            context.cuda.record_err(context.cuda.bind_to_thread());
            context.cuda.record_err(free(context, self.ptr));
        } else {
            pool.free.entry(self.bytes).or_default().push(self.ptr);
            pool.n_cached += self.bytes;
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Errors cannot be returned here; cudarc keeps them, and the next call reports them.
        let cuda = &self.context.cuda;
        cuda.record_err(cuda.bind_to_thread());
        cuda.record_err(lock(&self.pool).clear(&self.context));
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of `cuda:{}`", self.bytes, self.memory.context.info.index)
    }
}

#[expect(unsafe_code, reason = "a call of the driver")]
fn malloc(context: &Context, bytes: usize) -> std::result::Result<sys::CUdeviceptr, DriverError> {
    // SAFETY: the caller has bound the context.
    unsafe {
        match context.is_ordered() {
            true => result::malloc_async(context.stream.cu_stream(), bytes),
            false => result::malloc_sync(bytes),
        }
    }
}

#[expect(unsafe_code, reason = "a call of the driver")]
fn free(context: &Context, ptr: sys::CUdeviceptr) -> std::result::Result<(), DriverError> {
    // SAFETY: the pointer comes from `malloc`, has no owner any more, and the caller has bound its context.
    unsafe {
        match context.is_ordered() {
            true => result::free_async(ptr, context.stream.cu_stream()),
            false => result::free_sync(ptr),
        }
    }
}
