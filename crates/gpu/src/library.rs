//! The driver's library: the functions of it that are called, and whether all of them are there.
//!
//! cudarc looks for a function when it is first called, and panics where it is missing.

use cudarc::driver::{DriverError, sys};

#[cfg(not(feature = "linked"))]
use crate::error::{Error, Result};

/// The oldest driver whose compiler accepts our PTX, which says `.version 7.8`: that of CUDA 11.8.
pub const OLDEST_DRIVER: i32 = 11_080;

/// The functions of the driver that this crate calls on a stream of its own, by itself or through cudarc.
///
/// On a stream of somebody else ([`Device::on_stream`](crate::Device::on_stream)) those of ordered allocations are
/// called too, by a program that has called the driver before.
pub const FUNCTIONS: [&str; 37] = [
    "cuInit",
    VERSION,
    "cuGetErrorString",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemFreeHost",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadDataEx",
    "cuModuleUnload",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuLaunchKernel",
];

/// The function that tells the driver's version.
const VERSION: &str = "cuDriverGetVersion";

/// Looks for the library and all of its functions.
///
/// # Errors
/// There is none, it is older than [`OLDEST_DRIVER`] and lacks a function, or it is another library.
#[cfg(not(feature = "linked"))]
#[expect(unsafe_code, reason = "opens a library")]
pub(crate) fn check() -> Result<()> {
    // SAFETY: it loads the driver's library, as every later call does.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::NoDriver);
    }
    let is_missing = |name: &&str| {
        // SAFETY: the function is looked for, and not called.
        unsafe { sys::culib().get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_err()
    };
    let missing: Vec<&str> = FUNCTIONS.into_iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !missing.contains(&VERSION)
        && let Ok(found) = version()
        && (1..OLDEST_DRIVER).contains(&found)
    {
        return Err(Error::OldDriver { found, needed: OLDEST_DRIVER });
    }
    Err(Error::NotADriver { missing })
}

/// A program that is linked with the driver starts only where it is.
#[cfg(feature = "linked")]
pub(crate) fn check() -> crate::error::Result<()> {
    Ok(())
}

/// The version that the driver reports.
#[expect(unsafe_code, reason = "a call of the driver")]
pub(crate) fn version() -> std::result::Result<i32, DriverError> {
    let mut version = 0;
    // SAFETY: the pointer is valid for the call.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result()?;
    Ok(version)
}
