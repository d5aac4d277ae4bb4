//! Batches that are copied to the device while it computes: from page-locked memory, on a stream of their own.
//!
//! A batch has a slot: page-locked memory of the host and a buffer of the device. Filling a slot waits for the copy of
//! the batch before in it; its copy waits, on the device, for the kernels that read that batch; and the kernels that
//! read this one wait for its copy. With two slots the next batch is copied while the device works on this one, and the
//! host waits for nothing unless it is a whole batch ahead.

use std::{collections::VecDeque, sync::Arc};

use cudarc::driver::{CudaEvent, CudaStream, result};

use crate::{
    device::Device,
    error::{Error, Result},
    memory::{Buffer, Slice},
};

/// The batches on their way to a device.
pub struct Uploads {
    device: Device,
    stream: Arc<CudaStream>,
    slots: Vec<Slot>,
    /// The slot that the next batch fills.
    next: usize,
    /// Slots that are filled and not taken, the oldest first, with their bytes.
    ready: VecDeque<(usize, usize)>,
}

struct Slot {
    memory: Option<(Pinned, Buffer)>,
    /// After the copy of the last batch.
    copied: CudaEvent,
    /// After the kernels that read it.
    used: CudaEvent,
}

/// Page-locked memory of the host, which the device copies by itself.
struct Pinned {
    device: Device,
    ptr: *mut u8,
    bytes: usize,
}

#[expect(unsafe_code, reason = "memory that one owner has, by its address")]
// SAFETY: nothing of it belongs to a thread.
unsafe impl Send for Pinned {}

impl Uploads {
    /// Uploads with this many slots: 2 keep the device busy.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn new(device: &Device, n_slots: usize) -> Result<Self> {
        device.context.bind("making a stream")?;
        let context = &device.context;
        let stream = context.cuda.new_stream().map_err(context.failed("making a stream"))?;
        let event = || context.cuda.new_event(None).map_err(context.failed("making an event"));
        let slot = |_| Ok(Slot { memory: None, copied: event()?, used: event()? });
        let slots = (0..n_slots.max(1)).map(slot).collect::<Result<_>>()?;
        Ok(Self { device: device.clone(), stream, slots, next: 0, ready: VecDeque::new() })
    }

    /// Whether a slot is free for another batch.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.ready.len() < self.slots.len()
    }

    /// Lets `fill` write a batch of this many bytes, and begins to copy it. `fill` must write all of them: the memory
    /// holds an earlier batch.
    ///
    /// # Errors
    /// For no bytes, if all slots are filled and none was taken, or if the driver fails.
    pub fn push(&mut self, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let device = self.device.clone();
        let failed = || device.context.failed("uploading a batch");
        if !self.has_room() {
            let what = format!("all {} slots are filled: take a batch first", self.slots.len());
            return Err(Error::arguments("uploads", what));
        }
        device.context.bind("uploading a batch")?;
        let slot = &mut self.slots[self.next];
        slot.copied.synchronize().map_err(failed())?;
        let memory = match slot.memory.take() {
            Some(it) if it.0.bytes >= bytes => it,
            old => {
                drop(old);
                let memory = (Pinned::new(&device, bytes)?, device.alloc(bytes)?);
                // The buffer may have had another use, which is on the device's stream.
                let event = device.record()?;
                self.stream.wait(&event).map_err(failed())?;
                memory
            }
        };
        let (pinned, buffer) = slot.memory.insert(memory);
        let host = pinned.slice(bytes);
        fill(host);
        self.stream.wait(&slot.used).map_err(failed())?;
        #[expect(unsafe_code, reason = "a call of the driver")]
        // SAFETY: the buffer has the bytes. The host's memory is written again, or freed, only after the event below.
        let copied =
            unsafe { result::memcpy_htod_async(buffer.ptr(), host, self.stream.cu_stream()) };
        copied.map_err(failed())?;
        slot.copied.record(&self.stream).map_err(failed())?;
        device.context.meter().bytes_up += bytes as u64;
        self.ready.push_back((self.next, bytes));
        self.next = (self.next + 1) % self.slots.len();
        Ok(())
    }

    /// Lets `read` launch kernels that read the oldest batch that was not taken; they run when its copy is done. The
    /// batch may not be read afterwards.
    ///
    /// # Errors
    /// If there is no batch, if the driver fails, or what `read` returns.
    pub fn take<T>(&mut self, read: impl FnOnce(Slice<'_>) -> Result<T>) -> Result<T> {
        let device = &self.device;
        let Some((idx, bytes)) = self.ready.pop_front() else {
            return Err(Error::arguments("uploads", "there is no batch to take: push one first"));
        };
        let slot = &self.slots[idx];
        let stream = &device.context.stream;
        stream.wait(&slot.copied).map_err(device.context.failed("waiting for an upload"))?;
        let Some((_, buffer)) = &slot.memory else {
            return Err(Error::arguments("uploads", "the slot has no memory"));
        };
        let done = read(buffer.slice(0, bytes)?);
        slot.used.record(stream).map_err(device.context.failed("recording an event"))?;
        done
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        // Page-locked memory must not be freed while it is copied.
        self.device.context.cuda.record_err(self.stream.synchronize());
    }
}

impl Pinned {
    fn new(device: &Device, bytes: usize) -> Result<Self> {
        #[expect(unsafe_code, reason = "a call of the driver")]
        // SAFETY: the caller has bound the context.
        let ptr = unsafe { result::malloc_host(bytes, 0) };
        let ptr = ptr
            .map_err(
                device.context.failed(&format!("allocating {bytes} bytes of page-locked memory")),
            )?
            .cast::<u8>();
        #[expect(unsafe_code, reason = "memory of the driver, by its address")]
        // SAFETY: it has that many bytes. Writing them makes them numbers that may be read.
        unsafe {
            ptr.write_bytes(0, bytes);
        }
        Ok(Self { device: device.clone(), ptr, bytes })
    }

    /// The first bytes of it.
    fn slice(&mut self, bytes: usize) -> &mut [u8] {
        #[expect(unsafe_code, reason = "memory of the driver, by its address")]
        // SAFETY: it has that many bytes, all written, and `&mut self` has no other user.
        unsafe {
            std::slice::from_raw_parts_mut(self.ptr, bytes.min(self.bytes))
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let context = &self.device.context.cuda;
        context.record_err(context.bind_to_thread());
        #[expect(unsafe_code, reason = "a call of the driver")]
        // SAFETY: it comes from `malloc_host`, and its owner has waited for the copies.
        let freed = unsafe { result::free_host(self.ptr.cast()) };
        context.record_err(freed);
    }
}
