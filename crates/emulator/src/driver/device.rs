//! Devices, their attributes, and contexts. The numbers are an H200's, but for the shared memory of a block: 99 KiB,
//! the least of the cards that the kernels are for (compute capability 8.6 and 8.9), so that they run on all.

#![expect(unsafe_code, reason = "functions of C that return through pointers")]

use std::{
    ffi::{c_char, c_int, c_uint},
    sync::atomic::Ordering,
};

use super::{
    card::{CURRENT, Kind, N_CARDS, VERSION, call, card_of, handle, here, lock, put},
    code::{self, Code},
};

/// The most shared memory of a block, static and dynamic.
pub(super) const MOST_SHARED: u32 = 99 * 1024;
/// Threads that a multiprocessor runs at once.
pub(super) const MOST_THREADS: u32 = 2048;
/// Shared memory of a multiprocessor.
pub(super) const ALL_SHARED: u32 = 228 * 1024;

/// The card of an ordinal, if it is listed.
fn listed(device: c_int) -> Result<usize, Code> {
    let card = usize::try_from(device).ok().filter(|it| *it < N_CARDS.load(Ordering::Relaxed));
    card.ok_or(code::ERROR_INVALID_DEVICE)
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(flags: c_uint) -> Code {
    if flags == 0 { code::SUCCESS } else { code::ERROR_INVALID_VALUE }
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Code {
    // SAFETY: as the caller promises.
    call(|| unsafe { put(version, VERSION.load(Ordering::Relaxed)) })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Code {
    let n = N_CARDS.load(Ordering::Relaxed) as c_int;
    // SAFETY: as the caller promises.
    call(|| if n == 0 { Err(code::ERROR_NO_DEVICE) } else { unsafe { put(count, n) } })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Code {
    call(|| {
        listed(ordinal)?;
        // SAFETY: as the caller promises.
        unsafe { put(device, ordinal) }
    })
}

/// # Safety
/// The pointer is valid for writes of as many bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, bytes: c_int, device: c_int) -> Code {
    call(|| {
        listed(device)?;
        let text = c"Emulated H200".to_bytes_with_nul();
        let bytes = usize::try_from(bytes).unwrap_or(0);
        if name.is_null() || bytes < text.len() {
            return Err(code::ERROR_INVALID_VALUE);
        }
        // SAFETY: as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, text.len()) };
        Ok(())
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: c_int) -> Code {
    call(|| {
        let mut bytes = *b"emulated card  \0";
        bytes[15] = listed(device)? as u8;
        // SAFETY: as the caller promises.
        unsafe { put(uuid, bytes) }
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) -> Code {
    // SAFETY: the same promise.
    unsafe { cuDeviceGetUuid(uuid, device) }
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> Code {
    call(|| {
        let card = lock(listed(device)?);
        let capacity = card.context.as_ref().map_or(card.capacity, |it| it.memory.capacity());
        // SAFETY: as the caller promises.
        unsafe { put(bytes, capacity as usize) }
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(
    value: *mut c_int,
    attribute: c_int,
    device: c_int,
) -> Code {
    call(|| {
        let (major, minor) = lock(listed(device)?).capability;
        let number = match attribute {
            // Threads of a block, in all and by dimension; blocks of a grid by dimension.
            1..=3 => 1024,
            4 => 64,
            5 => i32::MAX,
            6 | 7 => 65_535,
            // Shared memory of a block without asking for more; constant memory; lanes; the widest pitch; registers.
            8 => 48 * 1024,
            9 => 64 * 1024,
            10 => 32,
            11 => i32::MAX,
            12 | 82 => 65_536,
            // Clock in kHz; alignment of textures; copies beside kernels; multiprocessors.
            13 => 1_980_000,
            14 => 512,
            15 => 1,
            16 => 132,
            // No time limit, not integrated, host memory can be mapped, any process may use it.
            17 | 18 | 20 => 0,
            19 => 1,
            // Kernels beside each other, error correction; bus and slot; no TCC driver.
            31 | 32 => 1,
            33 => device + 1,
            34 | 35 | 50 => 0,
            // Memory clock in kHz, bits of its bus, second-level cache; threads of a multiprocessor.
            36 => 3_201_000,
            37 => 6144,
            38 => 60 << 20,
            39 => MOST_THREADS as i32,
            // Copy engines; one address space; compute capability; priorities of streams.
            40 => 3,
            41 => 1,
            75 => major,
            76 => minor,
            78 => 1,
            // Shared memory of a multiprocessor, and the most of a block; cooperative launches.
            81 => ALL_SHARED as i32,
            95 => 1,
            97 => MOST_SHARED as i32,
            // Blocks of a multiprocessor; shared memory that the system keeps; pools of memory.
            106 => 32,
            111 => 1024,
            115 => 1,
            // Managed memory, peers, graphs and the rest: not here.
            _ => 0,
        };
        // SAFETY: as the caller promises.
        unsafe { put(value, number) }
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut u64, device: c_int) -> Code {
    call(|| {
        let index = listed(device)?;
        let mut card = lock(index);
        card.retain();
        // SAFETY: as the caller promises.
        unsafe { put(context, handle(Kind::Context, index, card.generation)) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> Code {
    call(|| lock(listed(device)?).release())
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: u64) -> Code {
    call(|| {
        if context != 0 {
            card_of(Kind::Context, context).map_err(|_| code::ERROR_INVALID_CONTEXT)?;
        }
        CURRENT.set(context);
        Ok(())
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut u64) -> Code {
    // SAFETY: as the caller promises.
    call(|| unsafe { put(context, CURRENT.get()) })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetDevice(device: *mut c_int) -> Code {
    // SAFETY: as the caller promises.
    here("cuCtxGetDevice", |here| unsafe { put(device, here.card as c_int) })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> Code {
    here("cuCtxSynchronize", |here| {
        here.context.order.host_waits_for_all();
        here.context.host.arrive(&here.context.order, here.faults);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetFlags(_flags: c_uint) -> Code {
    here("cuCtxSetFlags", |_| Ok(()))
}

/// # Safety
/// The pointers are valid for writes.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> Code {
    here("cuCtxGetStreamPriorityRange", |_| {
        // SAFETY: as the caller promises.
        unsafe {
            put(least, 0)?;
            put(greatest, -5)
        }
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: Code, text: *mut *const c_char) -> Code {
    let name = code::texts(error).map(|(name, _)| name);
    // SAFETY: as the caller promises.
    call(|| unsafe { put(text, name.ok_or(code::ERROR_INVALID_VALUE)?.as_ptr().cast()) })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(error: Code, text: *mut *const c_char) -> Code {
    let string = code::texts(error).map(|(_, text)| text);
    // SAFETY: as the caller promises.
    call(|| unsafe { put(text, string.ok_or(code::ERROR_INVALID_VALUE)?.as_ptr().cast()) })
}
