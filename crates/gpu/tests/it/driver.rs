//! The emulated driver, called through cudarc as a program calls the real one: what it finds, and what it lets pass.

#![expect(unsafe_code, reason = "calls the driver, also wrongly, on purpose")]

use std::{panic, sync::Arc};

use cudarc::driver::{
    CudaContext, CudaStream, result,
    sys::{self, CUresult},
};
use gpu::{Error, Ptx, Storage};

use crate::{device::copy, harness::Test};

/// The driver's code in an error.
fn code(err: &Error) -> CUresult {
    let Error::Driver { code, .. } = err else { panic!("{err} is not the driver's") };
    code.0
}

/// Two streams in the context of a test's card.
fn streams(test: &Test) -> (Arc<CudaContext>, Arc<CudaStream>, Arc<CudaStream>) {
    let context = CudaContext::new(test.device().info().index).expect("a context");
    unsafe { context.disable_event_tracking() };
    let (a, b) = (context.new_stream().expect("a stream"), context.new_stream().expect("a stream"));
    (context, a, b)
}

#[test]
fn a_read_beyond_the_end_is_named_and_breaks_the_context() {
    let Some(mut test) = Test::emulated() else { return };
    let device = test.device().clone();
    let (x, _) = test.random(Storage::F32, 100);
    let y = test.alloc(Storage::F32, 200);
    let err = copy(&device, y.address(), x.address(), 101).unwrap_err();
    assert_eq!(code(&err), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, "{err}");
    let (text, card) = (err.to_string(), device.info().index);
    let start = format!(
        "kernel `copy` failed on `cuda:{card}`: CUDA_ERROR_ILLEGAL_ADDRESS, an illegal memory"
    );
    assert!(text.starts_with(&start), "{text}");
    test.found(&["kernel `copy`", "OutOfBounds", "ld.global.f32"]);
    // As on a real card, nothing works afterwards.
    assert_eq!(code(&y.read::<f32>().unwrap_err()), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    assert!(device.synchronize().is_err());
}

#[test]
fn a_read_of_what_was_never_written_is_named() {
    let Some(mut test) = Test::emulated() else { return };
    let device = test.device().clone();
    let (x, y) = (test.alloc(Storage::F32, 64), test.alloc(Storage::F32, 64));
    let err = copy(&device, y.address(), x.address(), 64).unwrap_err();
    assert_eq!(code(&err), CUresult::CUDA_ERROR_LAUNCH_FAILED, "{err}");
    test.found(&["kernel `copy`", "NeverWritten"]);
}

#[test]
fn a_copy_to_the_host_of_what_was_never_written_is_named() {
    let Some(mut test) = Test::emulated() else { return };
    let x = test.alloc(Storage::F32, 64);
    assert!(x.read::<f32>().is_err());
    test.found(&["a copy of 256 bytes to the host"]);
}

#[test]
fn a_use_of_freed_memory_is_named() {
    let Some(mut test) = Test::emulated() else { return };
    let device = test.device().clone();
    let (x, _) = test.random(Storage::F32, 64);
    let (y, from) = (test.alloc(Storage::F32, 64), x.address());
    drop(x);
    assert!(copy(&device, y.address(), from, 64).is_err());
    test.found(&["kernel `copy`", "OutOfBounds"]);
}

#[test]
fn an_address_between_numbers_is_named() {
    let Some(mut test) = Test::emulated() else { return };
    let device = test.device().clone();
    let (x, _) = test.random(Storage::F32, 64);
    let y = test.alloc(Storage::F32, 64);
    let err = copy(&device, y.address(), x.slice(2, 4).unwrap().address(), 1).unwrap_err();
    assert_eq!(code(&err), CUresult::CUDA_ERROR_MISALIGNED_ADDRESS, "{err}");
    test.found(&["kernel `copy`", "Misaligned"]);
}

#[test]
fn streams_without_an_event_between_them_are_named() {
    for has_event in [false, true] {
        let Some(mut test) = Test::emulated() else { return };
        let (_context, a, b) = streams(&test);
        let bytes = [7_u8; 64];
        let at = unsafe { result::malloc_sync(64) }.unwrap();
        unsafe { result::memcpy_htod_async(at, &bytes, a.cu_stream()) }.unwrap();
        if has_event {
            b.join(&a).unwrap();
        }
        let mut got = [0_u8; 64];
        unsafe { result::memcpy_dtoh_async(&mut got, at, b.cu_stream()) }.unwrap();
        unsafe { result::free_sync(at) }.unwrap();
        assert_eq!(got, bytes, "the emulator works at once, right or wrong");
        if !has_event {
            test.found(&["streams:", "a copy of 64 bytes to the host", "nothing orders them"]);
        }
    }
}

#[test]
fn a_kernel_on_another_stream_needs_an_event() {
    for has_event in [false, true] {
        let Some(mut test) = Test::emulated() else { return };
        let (_context, _, b) = streams(&test);
        let device = test.device().clone();
        let (x, _) = test.random(Storage::F32, 64);
        let y = test.alloc(Storage::F32, 64);
        device.synchronize().unwrap();
        copy(&device, y.address(), x.address(), 64).unwrap();
        if has_event {
            b.wait(&device.record().unwrap()).unwrap();
        }
        let mut got = [0_f32; 64];
        let from: u64 = unsafe { std::mem::transmute(y.address()) };
        unsafe { result::memcpy_dtoh_async(&mut got, from, b.cu_stream()) }.unwrap();
        if !has_event {
            test.found(&["streams:", "which `copy` wrote on stream"]);
        }
    }
}

#[test]
fn page_locked_memory_has_a_copy_only_after_the_host_waited() {
    let Some(test) = Test::emulated() else { return };
    let (_context, a, _) = streams(&test);
    let at = unsafe { result::malloc_sync(16) }.unwrap();
    unsafe { result::memset_d8_async(at, 1, 16, a.cu_stream()) }.unwrap();
    let host = unsafe { result::malloc_host(16, 0) }.unwrap().cast::<u8>();
    let slice = unsafe { std::slice::from_raw_parts_mut(host, 16) };
    slice.fill(0);
    unsafe { result::memcpy_dtoh_async(slice, at, a.cu_stream()) }.unwrap();
    assert_eq!(unsafe { host.read_volatile() }, 0xff, "NaN until the host waits");
    a.synchronize().unwrap();
    assert_eq!(unsafe { host.read_volatile() }, 1);
    unsafe { result::free_host(host.cast()) }.unwrap();
    unsafe { result::free_sync(at) }.unwrap();
}

#[test]
fn page_locked_memory_that_is_changed_before_its_copy_is_named() {
    for waits in [false, true] {
        let Some(mut test) = Test::emulated() else { return };
        let (_context, a, _) = streams(&test);
        let at = unsafe { result::malloc_sync(16) }.unwrap();
        let host = unsafe { result::malloc_host(16, 0) }.unwrap().cast::<u8>();
        let slice = unsafe { std::slice::from_raw_parts_mut(host, 16) };
        slice.fill(3);
        unsafe { result::memcpy_htod_async(at, slice, a.cu_stream()) }.unwrap();
        let event = a.record_event(None).unwrap();
        if waits {
            assert!(!event.is_complete(), "an event is not ready at once");
            event.synchronize().unwrap();
        }
        slice[5] = 4;
        a.synchronize().unwrap();
        unsafe { result::free_host(host.cast()) }.unwrap();
        unsafe { result::free_sync(at) }.unwrap();
        if !waits {
            test.found(&[
                "host: byte 5 of the source of a copy of 16 bytes to the device was changed",
            ]);
        }
    }
}

#[test]
fn memory_that_is_not_freed_is_listed() {
    let Some(mut test) = Test::emulated() else { return };
    let device = test.device().clone();
    let (x, _) = test.random(Storage::F32, 25);
    let y = test.alloc(Storage::F32, 25);
    copy(&device, y.address(), x.address(), 25).unwrap();
    let context = CudaContext::new(device.info().index).unwrap();
    let at = unsafe { result::malloc_sync(1000) }.unwrap();
    assert_ne!(at, 0);
    let event = context.new_event(None).unwrap();
    std::mem::forget(event);
    drop((x, y, device));
    // The forgotten event keeps its context alive; its release is done for it here.
    unsafe { result::primary_ctx::release(context.cu_device()) }.unwrap();
    drop(context);
    let leaks = test.leaks();
    assert_eq!(leaks.len(), 2, "{leaks:?}");
    assert!(
        leaks[0].contains("1000 bytes of device memory") && leaks[0].contains("never used"),
        "{leaks:?}"
    );
    assert_eq!(leaks[1], "1 events");
}

#[test]
fn a_module_that_is_no_ptx_is_refused() {
    static WRONG: Ptx = Ptx::new(
        "wrong",
        ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry f()\n{\nfrobnicate.b32 %r1;\n}\n",
    );
    let Some(mut test) = Test::emulated() else { return };
    let err = unsafe { test.device().launch(&WRONG, "f").run() }.unwrap_err();
    assert_eq!(code(&err), CUresult::CUDA_ERROR_INVALID_PTX);
    let text = err.to_string();
    assert!(
        text.starts_with("loading the kernels of `wrong` (") && text.contains("frobnicate"),
        "{text}"
    );
    test.found(&["loading a module", "frobnicate"]);
}

#[test]
fn a_function_that_the_driver_lacks_is_named() {
    let Some(_test) = Test::emulated() else { return };
    let mut graph = std::ptr::null_mut();
    let panic =
        panic::catch_unwind(move || unsafe { sys::cuGraphCreate(&raw mut graph, 0) }).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("Missing symbol cuGraphCreate"), "{text}");
}
