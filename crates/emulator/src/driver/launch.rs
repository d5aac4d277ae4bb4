//! Modules, kernels and launches.

#![expect(unsafe_code, reason = "functions of C that read and write through pointers")]

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    fs,
    sync::Arc,
};

use super::{
    card::{Context, Here, Kernel, Kind, here, put},
    code::{self, Code},
    device::{ALL_SHARED, MOST_SHARED, MOST_THREADS},
};
use crate::{
    exec::{self, Function, Program, Shape},
    faults::{Fault, FaultKind},
    memory::Touched,
};

/// # Safety
/// The pointer is valid for a write, and the image is text that ends with a zero.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut u64, image: *const c_void) -> Code {
    here("cuModuleLoadData", |here| {
        if image.is_null() {
            return Err(code::ERROR_INVALID_VALUE);
        }
        // SAFETY: as the caller promises.
        let text = unsafe { CStr::from_ptr(image.cast()) };
        let new = load(here, text.to_bytes())?;
        // SAFETY: as the caller promises.
        unsafe { put(module, new) }
    })
}

/// Of the options only the buffer for errors is used.
///
/// # Safety
/// As [`cuModuleLoadData`]; there are as many options and values, and the buffer among them is valid for writes.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut u64,
    image: *const c_void,
    n: c_uint,
    options: *const c_int,
    values: *const *mut c_void,
) -> Code {
    const ERROR_LOG: c_int = 5;
    const ERROR_LOG_BYTES: c_int = 6;
    // SAFETY: the same promise.
    let code = unsafe { cuModuleLoadData(module, image) };
    if code == code::ERROR_INVALID_PTX {
        let value = |option| {
            let mut all = (0..n as usize).filter(|_| !options.is_null() && !values.is_null());
            // SAFETY: as the caller promises.
            all.find(|at| unsafe { *options.add(*at) } == option)
                .map(|at| unsafe { *values.add(at) })
        };
        if let (Some(buffer), Some(room)) = (value(ERROR_LOG), value(ERROR_LOG_BYTES)) {
            here("cuModuleLoadDataEx", |here| {
                let text = here.faults.last().map_or("", String::as_str);
                let n = text.len().min(room.addr().saturating_sub(1));
                // SAFETY: as the caller promises.
                unsafe {
                    std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), n);
                    buffer.cast::<u8>().add(n).write(0);
                }
                Ok(())
            });
        }
    }
    code
}

/// # Safety
/// The pointer is valid for a write, and the path is text that ends with a zero.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoad(module: *mut u64, path: *const c_char) -> Code {
    here("cuModuleLoad", |here| {
        // SAFETY: as the caller promises.
        let path =
            unsafe { CStr::from_ptr(path) }.to_str().map_err(|_| code::ERROR_INVALID_VALUE)?;
        let text = fs::read(path).map_err(|_| code::ERROR_FILE_NOT_FOUND)?;
        let new = load(here, &text)?;
        // SAFETY: as the caller promises.
        unsafe { put(module, new) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: u64) -> Code {
    here("cuModuleUnload", |here| {
        let program = here.context.modules.remove(&module).ok_or(code::ERROR_INVALID_HANDLE)?;
        here.context.kernels.retain(|_, it| it.module != module);
        program.unload(&mut here.context.memory);
        Ok(())
    })
}

/// # Safety
/// The pointer is valid for a write, and the name is text that ends with a zero.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    kernel: *mut u64,
    module: u64,
    name: *const c_char,
) -> Code {
    here("cuModuleGetFunction", |here| {
        let program = here.context.modules.get(&module).ok_or(code::ERROR_INVALID_HANDLE)?;
        // SAFETY: as the caller promises.
        let name = unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| code::ERROR_NOT_FOUND)?;
        let index = program.function(name).ok_or(code::ERROR_NOT_FOUND)?;
        let new = here.context.next_handle(Kind::Kernel, here.card);
        here.context.kernels.insert(new, Kernel { module, index, most_shared: None });
        // SAFETY: as the caller promises.
        unsafe { put(kernel, new) }
    })
}

/// # Safety
/// The pointers are valid for writes, and the name is text that ends with a zero.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetGlobal_v2(
    address: *mut u64,
    bytes: *mut usize,
    module: u64,
    name: *const c_char,
) -> Code {
    here("cuModuleGetGlobal_v2", |here| {
        let program = here.context.modules.get(&module).ok_or(code::ERROR_INVALID_HANDLE)?;
        // SAFETY: as the caller promises.
        let name = unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| code::ERROR_NOT_FOUND)?;
        let (at, len) = program.variable(name).ok_or(code::ERROR_NOT_FOUND)?;
        // SAFETY: as the caller promises.
        unsafe {
            put(address, at)?;
            put(bytes, len as usize)
        }
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, kernel: u64) -> Code {
    here("cuFuncGetAttribute", |here| {
        let (kernel, function) = find(here.context, kernel)?;
        let number = match attribute {
            // Threads of a block; shared, constant and local memory; registers, which an interpreter does not count.
            0 => function.max_threads.unwrap_or(1024),
            1 => function.shared_bytes,
            2 => 0,
            3 => function.local_bytes,
            4 => 32,
            // The versions of PTX and of the card's code.
            5 => 80,
            6 => 90,
            8 => limit(kernel, function),
            _ => 0,
        };
        // SAFETY: as the caller promises.
        unsafe { put(value, number.cast_signed()) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetAttribute(kernel: u64, attribute: c_int, value: c_int) -> Code {
    here("cuFuncSetAttribute", |here| {
        let (_, function) = find(here.context, kernel)?;
        // The dynamic shared memory; the others are hints.
        if attribute == 8 {
            let most = u32::try_from(value).map_err(|_| code::ERROR_INVALID_VALUE)?;
            if most > MOST_SHARED.saturating_sub(function.shared_bytes) {
                return Err(code::ERROR_INVALID_VALUE);
            }
            let kernel = here.context.kernels.get_mut(&kernel).ok_or(code::ERROR_INVALID_HANDLE)?;
            kernel.most_shared = Some(most);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetCacheConfig(kernel: u64, _config: c_int) -> Code {
    here("cuFuncSetCacheConfig", |here| find(here.context, kernel).map(drop))
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: *mut c_int,
    kernel: u64,
    threads: c_int,
    shared: usize,
) -> Code {
    here("cuOccupancyMaxActiveBlocksPerMultiprocessor", |here| {
        let (_, function) = find(here.context, kernel)?;
        let threads = u32::try_from(threads)
            .map_err(|_| code::ERROR_INVALID_VALUE)?
            .max(1)
            .next_multiple_of(32);
        let shared = function.shared_bytes + u32::try_from(shared).unwrap_or(u32::MAX / 2) + 1024;
        let n = (MOST_THREADS / threads).min(ALL_SHARED / shared).min(32);
        // SAFETY: as the caller promises.
        unsafe { put(blocks, n.cast_signed()) }
    })
}

/// # Safety
/// As [`cuOccupancyMaxActiveBlocksPerMultiprocessor`].
#[unsafe(no_mangle)]
unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: *mut c_int,
    kernel: u64,
    threads: c_int,
    shared: usize,
    _flags: c_uint,
) -> Code {
    // SAFETY: the same promise.
    unsafe { cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, kernel, threads, shared) }
}

/// # Safety
/// There are as many values as the kernel has parameters, each of its parameter's size.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    kernel: u64,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    stream: u64,
    values: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Code {
    here("cuLaunchKernel", |here| {
        if !extra.is_null() {
            return Err(code::ERROR_NOT_SUPPORTED);
        }
        let who = here.context.stream(stream)?;
        let (found, function) = find(here.context, kernel)?;
        let mut parameters = vec![0; function.parameter_bytes];
        for (idx, parameter) in function.parameters.iter().enumerate() {
            if values.is_null() {
                return Err(code::ERROR_INVALID_VALUE);
            }
            // SAFETY: as the caller promises.
            let value = unsafe { *values.add(idx) };
            if value.is_null() {
                return Err(code::ERROR_INVALID_VALUE);
            }
            // SAFETY: it is not null; the rest the caller promises.
            let value = unsafe { std::slice::from_raw_parts(value.cast::<u8>(), parameter.bytes) };
            parameters[parameter.offset..][..parameter.bytes].copy_from_slice(value);
        }
        let shape = Shape {
            grid: [grid_x, grid_y, grid_z],
            block: [block_x, block_y, block_z],
            dynamic_shared: shared,
            dynamic_shared_limit: limit(found, function),
        };
        let (module, index) = (found.module, found.index);
        run(here, who, module, index, &shape, &parameters)
    })
}

fn run(
    here: &mut Here<'_>,
    who: usize,
    module: u64,
    index: usize,
    shape: &Shape,
    parameters: &[u8],
) -> Result<(), Code> {
    let Context { memory, modules, order, broken, .. } = &mut *here.context;
    let program = modules.get(&module).ok_or(code::ERROR_INVALID_HANDLE)?;
    let name = program.functions()[index].name.clone();
    order.begin(who);
    match exec::launch(program, index, shape, parameters, memory) {
        Ok(counts) => {
            let sum = here.counts.entry(name.clone()).or_default();
            *sum += &counts;
            let what = Arc::from(format!("`{name}`"));
            for Touched { address, written, .. } in memory.take_touched() {
                here.touch(who, address, written, &what);
            }
            Ok(())
        }
        Err(fault) => {
            let code = code_of(&fault);
            if code != code::ERROR_INVALID_VALUE {
                *broken = Some(code);
            }
            here.fault(fault.to_string());
            Err(code)
        }
    }
}

/// The driver's error for a fault.
fn code_of(fault: &Fault) -> Code {
    match fault.kind {
        FaultKind::OutOfBounds => code::ERROR_ILLEGAL_ADDRESS,
        FaultKind::Misaligned => code::ERROR_MISALIGNED_ADDRESS,
        FaultKind::Launch => code::ERROR_INVALID_VALUE,
        _ => code::ERROR_LAUNCH_FAILED,
    }
}

fn load(here: &mut Here<'_>, text: &[u8]) -> Result<u64, Code> {
    if text.starts_with(b"\x7fELF") {
        here.fault("a module is machine code of a card, and the emulator interprets PTX alone");
        return Err(code::ERROR_NO_BINARY_FOR_GPU);
    }
    let text = std::str::from_utf8(text).map_err(|_| code::ERROR_INVALID_IMAGE)?;
    match Program::load(text, &mut here.context.memory) {
        Ok(program) => {
            let new = here.context.next_handle(Kind::Module, here.card);
            here.context.modules.insert(new, program);
            Ok(new)
        }
        Err(err) => {
            here.fault(format!("loading a module: {err}"));
            Err(code::ERROR_INVALID_PTX)
        }
    }
}

fn find(context: &Context, kernel: u64) -> Result<(&Kernel, &Function), Code> {
    let kernel = context.kernels.get(&kernel).ok_or(code::ERROR_INVALID_HANDLE)?;
    let program = context.modules.get(&kernel.module).ok_or(code::ERROR_INVALID_HANDLE)?;
    Ok((kernel, &program.functions()[kernel.index]))
}

/// The dynamic shared memory that a launch may have: 48 KiB with the kernel's own, unless more was asked for.
fn limit(kernel: &Kernel, function: &Function) -> u32 {
    kernel.most_shared.unwrap_or((48 * 1024_u32).saturating_sub(function.shared_bytes))
}
