//! A stream that is shared with other users of cudarc, and memory that is handed to them and back.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr as _};
use gpu::{Buffer, Device};

use crate::{device::copy, harness::Test};

/// cudarc's context of a test's card, a stream of it, and a device on that stream.
fn shared(test: &Test) -> (Arc<CudaContext>, Arc<CudaStream>, Device) {
    let context = CudaContext::new(test.device().info().index).expect("the card of the test");
    let stream = context.new_stream().expect("a stream");
    let device = Device::on_stream(&stream).expect("a device");
    (context, stream, device)
}

#[expect(unsafe_code, reason = "a buffer from an address")]
fn lend(device: &Device, stream: &CudaStream, slice: &Arc<CudaSlice<f32>>) -> Buffer {
    let (at, bytes) = (slice.device_ptr(stream).0, slice.num_bytes());
    // SAFETY: the slice is as long, and the buffer keeps it.
    unsafe { device.lend(at, bytes, Box::new(Arc::clone(slice))) }.expect("an aligned address")
}

#[test]
fn memory_is_handed_over_and_back_without_a_copy() {
    let test = Test::new();
    let (context, stream, device) = shared(&test);
    assert!(device.is_on(&stream) && !test.device().is_on(&stream));
    let numbers: Vec<f32> = (0..1000_u16).map(f32::from).collect();
    let slice = Arc::new(stream.clone_htod(&numbers).unwrap());
    let lent = lend(&device, &stream, &slice);
    assert_eq!(Arc::strong_count(&slice), 2);

    let to = device.alloc(4000).unwrap();
    let at = to.address();
    copy(&device, at, lent.address(), 1000).unwrap();
    // The owner may end while the kernel has not run: it is freed on the same stream.
    drop(lent);
    assert_eq!(Arc::strong_count(&slice), 1);
    drop(slice);
    let given: CudaSlice<f32> = to.into_slice(1000).unwrap();
    assert_eq!(device.usage().used, 0);
    assert_eq!(format!("{at:?}"), format!("Address({})", given.device_ptr(&stream).0));
    assert_eq!(stream.clone_dtoh(&given).unwrap(), numbers);

    // Another stream waits for what the device has written.
    let (from, to) = (lend(&device, &stream, &Arc::new(given)), device.alloc(4000).unwrap());
    copy(&device, to.address(), from.address(), 1000).unwrap();
    let second = to.into_slice::<f32>(1000).unwrap();
    let other = context.new_stream().expect("a stream");
    assert_eq!(other.clone_dtoh(&second).unwrap(), numbers);
}

#[test]
fn memory_that_has_another_owner_is_not_given_away() {
    let test = Test::new();
    let (context, stream, device) = shared(&test);
    let slice = Arc::new(stream.clone_htod(&[1_f32; 8]).unwrap());
    let lent = lend(&device, &stream, &slice);
    assert!(!lent.is_giveable());
    for buffer in [lent, test.device().alloc(32).unwrap()] {
        let err = buffer.into_slice::<f32>(8).unwrap_err().to_string();
        assert!(err.contains("copy it into a buffer of a device of `Device::on_stream`"), "{err}");
    }
    let err = device.alloc(32).unwrap().into_slice::<f32>(9).unwrap_err().to_string();
    assert_eq!(err, "36 bytes from byte 0 are not within a buffer of 32 bytes");
    let err = Device::on_stream(&context.per_thread_stream()).unwrap_err().to_string();
    assert!(err.contains("`Device::new_cuda_with_stream`"), "{err}");
}
