//! Memory: allocation, copies, filling, pools, and page-locked memory of the host.

#![expect(unsafe_code, reason = "functions of C that read and write through pointers")]

use std::{
    ffi::{c_int, c_uint, c_void},
    sync::Arc,
};

use super::{
    card::{Here, Kind, handle, here, put},
    code::{self, Code},
    order::NULL,
};

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> Code {
    here("cuMemAlloc_v2", |here| {
        let new = allocate(here, bytes)?;
        // SAFETY: as the caller promises.
        unsafe { put(address, new) }
    })
}

/// Waits for the device, as the real one does.
#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> Code {
    here("cuMemFree_v2", |here| {
        here.context.order.host_waits_for_all();
        here.context.host.arrive(&here.context.order, here.faults);
        free(here, address)
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: u64) -> Code {
    here("cuMemAllocAsync", |here| {
        let who = here.context.stream(stream)?;
        let new = allocate(here, bytes)?;
        here.context.order.begin(who);
        here.touch(who, new, true, &"its allocation".into());
        // SAFETY: as the caller promises.
        unsafe { put(address, new) }
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocFromPoolAsync(
    address: *mut u64,
    bytes: usize,
    _pool: u64,
    stream: u64,
) -> Code {
    // SAFETY: the same promise.
    unsafe { cuMemAllocAsync(address, bytes, stream) }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: u64, stream: u64) -> Code {
    here("cuMemFreeAsync", |here| {
        let who = here.context.stream(stream)?;
        here.context.order.begin(who);
        here.touch(who, address, true, &"its freeing".into());
        free(here, address)
    })
}

/// # Safety
/// The pointers are valid for writes.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Code {
    here("cuMemGetInfo_v2", |here| {
        let (used, all) = (here.context.memory.in_use(), here.context.memory.capacity());
        // SAFETY: as the caller promises.
        unsafe {
            put(free, (all - used.min(all)) as usize)?;
            put(total, all as usize)
        }
    })
}

/// # Safety
/// The source is valid for reads of as many bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) -> Code {
    here("cuMemcpyHtoD_v2", |here| {
        // SAFETY: as the caller promises.
        unsafe { up(here, to, from, bytes, NULL)? };
        host_waits(here, NULL);
        Ok(())
    })
}

/// # Safety
/// The source is valid for reads of as many bytes, until the copy is done if it is page-locked.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: *const c_void,
    bytes: usize,
    stream: u64,
) -> Code {
    here("cuMemcpyHtoDAsync_v2", |here| {
        let who = here.context.stream(stream)?;
        // SAFETY: as the caller promises.
        unsafe { up(here, to, from, bytes, who) }
    })
}

/// # Safety
/// The destination is valid for writes of as many bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) -> Code {
    here("cuMemcpyDtoH_v2", |here| {
        // SAFETY: as the caller promises.
        unsafe { down(here, to, from, bytes, NULL)? };
        host_waits(here, NULL);
        Ok(())
    })
}

/// # Safety
/// The destination is valid for writes of as many bytes, until the copy is done if it is page-locked.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: u64,
    bytes: usize,
    stream: u64,
) -> Code {
    here("cuMemcpyDtoHAsync_v2", |here| {
        let who = here.context.stream(stream)?;
        // SAFETY: as the caller promises.
        unsafe { down(here, to, from, bytes, who) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> Code {
    here("cuMemcpyDtoD_v2", |here| within(here, to, from, bytes, NULL))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) -> Code {
    here("cuMemcpyDtoDAsync_v2", |here| {
        let who = here.context.stream(stream)?;
        within(here, to, from, bytes, who)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8_v2(address: u64, byte: u8, n: usize) -> Code {
    here("cuMemsetD8_v2", |here| fill(here, address, &[byte], n, NULL))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(address: u64, byte: u8, n: usize, stream: u64) -> Code {
    here("cuMemsetD8Async", |here| {
        let who = here.context.stream(stream)?;
        fill(here, address, &[byte], n, who)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD16Async(address: u64, number: u16, n: usize, stream: u64) -> Code {
    here("cuMemsetD16Async", |here| {
        let who = here.context.stream(stream)?;
        fill(here, address, &number.to_le_bytes(), n, who)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32Async(address: u64, number: u32, n: usize, stream: u64) -> Code {
    here("cuMemsetD32Async", |here| {
        let who = here.context.stream(stream)?;
        fill(here, address, &number.to_le_bytes(), n, who)
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(
    address: *mut *mut c_void,
    bytes: usize,
    _flags: c_uint,
) -> Code {
    here("cuMemHostAlloc", |here| {
        if bytes == 0 {
            return Err(code::ERROR_INVALID_VALUE);
        }
        let new = here.context.host.allocate(bytes);
        if new == 0 {
            return Err(code::ERROR_OUT_OF_MEMORY);
        }
        // SAFETY: as the caller promises.
        unsafe { put(address, std::ptr::with_exposed_provenance_mut(new)) }
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocHost_v2(address: *mut *mut c_void, bytes: usize) -> Code {
    // SAFETY: the same promise.
    unsafe { cuMemHostAlloc(address, bytes, 0) }
}

/// Waits for the device, as the real one does.
///
/// # Safety
/// Nothing uses the memory any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFreeHost(address: *mut c_void) -> Code {
    here("cuMemFreeHost", |here| {
        here.context.order.host_waits_for_all();
        here.context.host.arrive(&here.context.order, here.faults);
        let freed = here.context.host.free(address.addr(), true);
        if freed { Ok(()) } else { Err(code::ERROR_INVALID_VALUE) }
    })
}

/// # Safety
/// The memory stays valid until it is unregistered.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostRegister_v2(
    address: *mut c_void,
    bytes: usize,
    _flags: c_uint,
) -> Code {
    here("cuMemHostRegister_v2", |here| {
        here.context.host.register(address.expose_provenance(), bytes);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostUnregister(address: *mut c_void) -> Code {
    here("cuMemHostUnregister", |here| {
        here.context.order.host_waits_for_all();
        here.context.host.arrive(&here.context.order, here.faults);
        let freed = here.context.host.free(address.addr(), false);
        if freed { Ok(()) } else { Err(code::ERROR_HOST_MEMORY_NOT_REGISTERED) }
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut u64, device: c_int) -> Code {
    // SAFETY: as the caller promises.
    super::card::call(|| unsafe { put(pool, handle(Kind::Pool, device as usize, 1)) })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetMemPool(pool: *mut u64, device: c_int) -> Code {
    // SAFETY: the same promise.
    unsafe { cuDeviceGetDefaultMemPool(pool, device) }
}

/// What a pool keeps is not emulated: it gives everything back at once.
#[unsafe(no_mangle)]
extern "C" fn cuMemPoolSetAttribute(_pool: u64, _attribute: c_int, _value: *mut c_void) -> Code {
    code::SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolTrimTo(_pool: u64, _bytes: usize) -> Code {
    code::SUCCESS
}

fn allocate(here: &mut Here<'_>, bytes: usize) -> Result<u64, Code> {
    if bytes == 0 {
        return Err(code::ERROR_INVALID_VALUE);
    }
    let new = here.context.memory.allocate(bytes as u64);
    let new = here.check("an allocation", new)?;
    here.context.order.allocate(new, bytes as u64);
    Ok(new)
}

fn free(here: &mut Here<'_>, address: u64) -> Result<(), Code> {
    here.context.order.forget(address);
    let freed = here.context.memory.free(address);
    here.check("freeing", freed)
}

/// Notes that an operation uses the allocation in which an address lies.
fn touch(here: &mut Here<'_>, who: usize, address: u64, writes: bool, what: &Arc<str>) {
    if let Some(base) = here.context.order.base_of(address) {
        here.touch(who, base, writes, what);
    }
}

fn host_waits(here: &mut Here<'_>, who: usize) {
    here.context.order.host_waits(who);
    here.context.host.arrive(&here.context.order, here.faults);
}

/// Copies from the host. The driver has read pageable memory when it returns, page-locked memory not yet.
///
/// # Safety
/// The source is valid for reads.
unsafe fn up(
    here: &mut Here<'_>,
    to: u64,
    from: *const c_void,
    bytes: usize,
    who: usize,
) -> Result<(), Code> {
    if bytes == 0 {
        return Ok(());
    }
    if from.is_null() {
        return Err(code::ERROR_INVALID_VALUE);
    }
    let (from, what) =
        (from.expose_provenance(), Arc::from(format!("a copy of {bytes} bytes to the device")));
    let time = here.context.order.begin(who);
    let clock = here.context.order.clock(who);
    // SAFETY: as the caller promises.
    let copy = unsafe { here.context.host.read(from, bytes, &clock, here.faults) };
    let written = here.context.memory.write(to, &copy);
    here.check(&what, written)?;
    touch(here, who, to, true, &what);
    if here.context.host.is_pinned(from, bytes) {
        here.context.host.fly_up(from, copy, who, time, &what);
    }
    Ok(())
}

/// Copies to the host. The driver returns after the copy for pageable memory, before it for page-locked memory.
///
/// # Safety
/// The destination is valid for writes.
unsafe fn down(
    here: &mut Here<'_>,
    to: *mut c_void,
    from: u64,
    bytes: usize,
    who: usize,
) -> Result<(), Code> {
    if bytes == 0 {
        return Ok(());
    }
    if to.is_null() {
        return Err(code::ERROR_INVALID_VALUE);
    }
    let what = Arc::from(format!("a copy of {bytes} bytes to the host"));
    let time = here.context.order.begin(who);
    let mut copy = vec![0; bytes];
    let read = here.context.memory.read(from, &mut copy);
    here.check(&what, read)?;
    touch(here, who, from, false, &what);
    let address = to.expose_provenance();
    if here.context.host.is_pinned(address, bytes) {
        // SAFETY: as the caller promises.
        unsafe { here.context.host.fly_down(address, copy, who, time, &what) };
    } else {
        // SAFETY: as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(copy.as_ptr(), to.cast(), bytes) };
        host_waits(here, who);
    }
    Ok(())
}

fn within(here: &mut Here<'_>, to: u64, from: u64, bytes: usize, who: usize) -> Result<(), Code> {
    let what = Arc::from(format!("a copy of {bytes} bytes on the device"));
    here.context.order.begin(who);
    let copied = here.context.memory.copy(to, from, bytes as u64);
    here.check(&what, copied)?;
    touch(here, who, from, false, &what);
    touch(here, who, to, true, &what);
    Ok(())
}

fn fill(
    here: &mut Here<'_>,
    address: u64,
    pattern: &[u8],
    n: usize,
    who: usize,
) -> Result<(), Code> {
    let what = Arc::from("a filling");
    here.context.order.begin(who);
    let done = here.context.memory.set(address, pattern, n as u64);
    here.check(&what, done)?;
    touch(here, who, address, true, &what);
    Ok(())
}
