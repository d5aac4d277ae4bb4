//! The device: memory, its cache, launches and their checks, uploads.

use std::{env, fs, process::Command};

use emulator::client::Emulator;
use gpu::{Address, Device, Error, FUNCTIONS, Launch, Ptx, Result, Storage, Uploads};

use crate::harness::Test;

static PTX: Ptx = Ptx::new("plain", include_str!("plain.ptx"));

/// Launches `to[i] = from[i]`.
#[expect(unsafe_code, reason = "a launch")]
pub(crate) fn copy(device: &Device, to: Address, from: Address, n: usize) -> Result<()> {
    let launch = device.launch(&PTX, "copy").grid(n.div_ceil(64), 1, 1).block(64);
    let launch = launch.arg(to).arg(from).arg(n as u32).cost(8 * n, 0);
    // SAFETY: tests pass wrong addresses on purpose, and the emulator checks them.
    unsafe { launch.run() }
}

#[test]
fn numbers_come_back_from_the_device() {
    let test = Test::new();
    let device = test.device().clone();
    for storage in Storage::ALL {
        let (buffer, numbers) = test.random(storage, 1000);
        assert_eq!(test.get(&buffer, storage), numbers);
    }
    let bytes: Vec<u8> = (0..=255).collect();
    let buffer = device.upload(&bytes).unwrap();
    assert_eq!(device.download::<u8>(buffer.slice(16, 3).unwrap()).unwrap(), [16, 17, 18]);
    let mut other = device.zeros(300).unwrap();
    other.copy_from(buffer.slice(100, 50).unwrap()).unwrap();
    let got = other.read::<u8>().unwrap();
    assert_eq!(got[..50], bytes[100..150]);
    assert!(got[50..].iter().all(|it| *it == 0));
    let text = buffer.slice(200, 57).unwrap_err().to_string();
    assert_eq!(text, "57 bytes from byte 200 are not within a buffer of 256 bytes");
    assert!(other.write(&[0_u8; 301]).is_err());
    assert!(device.alloc(0).is_err());
}

#[test]
fn a_full_card_is_an_error_that_names_the_bytes() {
    let test = Test::with(|claim| claim.set_memory(64 << 20));
    if test.claim().is_none() {
        return;
    }
    let device = test.device();
    let first = device.alloc(40 << 20).unwrap();
    let err = device.alloc(30 << 20).unwrap_err();
    let Error::OutOfMemory { wanted, used, free, total, .. } = err else { panic!("{err}") };
    assert_eq!((wanted, used, total), (30 << 20, 40 << 20, 64 << 20));
    assert!(free <= 24 << 20 && free > 23 << 20, "{free} bytes are free");
    let text = err.to_string();
    let (card, start) = (device.info().index, "is out of memory: 30.0 MiB wanted, 40.0 MiB in use");
    assert!(text.starts_with(&format!("`cuda:{card}` {start}")), "{text}");

    // A freed buffer of another size is in the way only until its memory is needed.
    device.set_caching(true).unwrap();
    drop(first);
    assert_eq!(device.usage().cached, 40 << 20);
    let second = device.alloc(30 << 20).unwrap();
    let usage = device.usage();
    assert_eq!((usage.used, usage.cached, usage.most_used), (30 << 20, 0, 40 << 20));
    drop(second);
    device.empty_cache().unwrap();
    device.reset_meter();
    let usage = device.usage();
    assert_eq!((usage.cached, usage.most_used), (0, 0));
}

#[test]
fn the_second_identical_step_allocates_nothing() {
    let test = Test::new();
    let device = test.device();
    device.set_caching(true).unwrap();
    let step = || {
        let (mut live, mut sizes) = (Vec::new(), [1000, 24, 1000, 4096, 24, 1000].iter().cycle());
        for n in 0..20 {
            let mut buffer = device.alloc(*sizes.next().unwrap()).unwrap();
            buffer.write(&[n as u8; 24]).unwrap();
            live.push(buffer);
            if n % 3 == 2 {
                live.remove(0);
            }
        }
    };
    step();
    let allocations = device.read_meter().allocations;
    assert!(allocations > 5, "the first step allocates");
    step();
    step();
    assert_eq!(device.read_meter().allocations, allocations);
    if let Some(claim) = test.claim() {
        assert_eq!(claim.calls()["cuMemAlloc_v2"], allocations, "the driver agrees");
    }
}

#[test]
fn a_launch_that_does_not_fit_is_refused() {
    let test = Test::new();
    let device = test.device();
    let (x, y) = (device.zeros(256).unwrap(), device.alloc(256).unwrap());
    let copy = || device.launch(&PTX, "copy").arg(&y).arg(&x).arg(64_u32);
    let refused = |launch: Launch<'_>, part: &str| {
        #[expect(unsafe_code, reason = "a launch")]
        // SAFETY: it is refused.
        let text = unsafe { launch.run() }.unwrap_err().to_string();
        assert!(text.contains(part), "{text} has not `{part}`");
    };
    refused(device.launch(&PTX, "absent"), "`absent`: it is not in the PTX of `plain`");
    refused(
        device.launch(&PTX, "copy").arg(&y).arg(&x),
        "have [8, 8, 4] bytes, and the arguments [8, 8]",
    );
    refused(device.launch(&PTX, "copy").arg(&y).arg(&x).arg(64_u64), "the arguments [8, 8, 8]");
    refused(copy().grid(0, 1, 1), "a grid of 0 x 1 x 1 blocks");
    refused(copy().grid(1, 65_536, 1), "a grid of 1 x 65536 x 1 blocks");
    refused(copy().grid(1, 1, 65_536), "the limits are");
    refused(copy().grid(1 << 31, 1, 1), "a grid of 2147483648");
    refused(copy().block(1025), "a block of 1025 threads");
    refused(copy().block(0), "a block of 0 threads");
    refused(copy().shared(1 << 20), "1048576 bytes of shared memory");
    assert_eq!(device.read_meter().launches(), 0);
    if let Some(claim) = test.claim() {
        assert!(!claim.calls().contains_key("cuLaunchKernel"));
    }
}

#[test]
fn launches_are_metered() {
    let test = Test::new();
    let device = test.device().clone();
    let (x, want) = test.random(Storage::F32, 1000);
    let (y, z) = (test.alloc(Storage::F32, 1000), test.alloc(Storage::F32, 1000));
    device.reset_meter();
    copy(&device, y.address(), x.address(), 1000).unwrap();
    copy(&device, z.address(), y.address(), 1000).unwrap();
    assert_eq!(test.get(&z, Storage::F32), want);
    let meter = device.read_meter();
    assert_eq!((meter.launches(), meter.bytes(), meter.synchronisations), (2, 16_000, 1));
    assert_eq!((meter.bytes_up, meter.bytes_down), (0, 4000));
    if let Some(claim) = test.claim() {
        assert!(claim.counts().contains_key("copy"));
    }
}

#[test]
fn a_block_may_have_more_than_48_kib_of_shared_memory() {
    let test = Test::new();
    let device = test.device();
    let to = device.alloc(4).unwrap();
    for (shared, number) in [(1 << 10, 1.5_f32), (48 << 10, 2.5), (99 << 10, 3.5), (64 << 10, 4.5)]
    {
        let launch = device.launch(&PTX, "through_shared").shared(shared);
        let launch = launch.arg(&to).arg(shared as u32 - 4).arg(number);
        #[expect(unsafe_code, reason = "a launch")]
        // SAFETY: `to` holds a number, and the last four bytes of the shared memory are used.
        unsafe { launch.run() }.unwrap();
        assert_eq!(to.read::<f32>().unwrap(), [number]);
    }
}

#[test]
fn batches_are_uploaded_while_the_device_computes() {
    let test = Test::new();
    let device = test.device();
    let mut uploads = Uploads::new(device, 2).unwrap();
    let text = uploads.take(|_| Ok(())).unwrap_err().to_string();
    assert!(text.contains("there is no batch to take"), "{text}");
    // The host waits for no kernel, so that only events keep the batches apart.
    let sizes = [64_usize, 64, 16, 32, 64, 64];
    let outs = sizes.map(|n| test.alloc(Storage::F32, n));
    let push = |uploads: &mut Uploads, batch: usize| {
        let fill = |bytes: &mut [u8]| {
            bytes.as_chunks_mut().0.fill((batch as f32 + 0.5).to_le_bytes());
        };
        uploads.push(4 * sizes[batch], fill).unwrap();
    };
    push(&mut uploads, 0);
    for (batch, n) in sizes.into_iter().enumerate() {
        if batch + 1 < sizes.len() {
            push(&mut uploads, batch + 1);
        }
        uploads
            .take(|slice| {
                assert_eq!(slice.bytes(), 4 * n);
                copy(device, outs[batch].address(), slice.address(), n)
            })
            .unwrap();
    }
    assert_eq!(device.read_meter().synchronisations, 0);
    for (batch, out) in outs.iter().enumerate() {
        assert_eq!(out.read::<f32>().unwrap(), vec![batch as f32 + 0.5; sizes[batch]]);
    }
    uploads.push(4, |it| it.fill(0)).unwrap();
    uploads.push(4, |it| it.fill(0)).unwrap();
    let text = uploads.push(4, |it| it.fill(0)).unwrap_err().to_string();
    assert!(text.contains("all 2 slots are filled"), "{text}");
}

#[test]
fn an_upload_waits_for_the_last_use_of_the_memory_that_it_gets() {
    let test = Test::new();
    let device = test.device().clone();
    device.set_caching(true).unwrap();
    let (x, want) = test.random(Storage::F32, 64);
    let (y, z) = (test.alloc(Storage::F32, 64), test.alloc(Storage::F32, 64));
    copy(&device, y.address(), x.address(), 64).unwrap();
    copy(&device, z.address(), y.address(), 64).unwrap();
    let freed = y.address();
    drop(y);
    let mut uploads = Uploads::new(&device, 1).unwrap();
    uploads.push(256, |it| it.fill(1)).unwrap();
    let address = uploads.take(|slice| Ok(slice.address())).unwrap();
    assert_eq!(address, freed, "otherwise the test tries nothing");
    assert_eq!(test.get(&z, Storage::F32), want);
}

#[test]
fn functions_that_are_called_are_looked_for_first() {
    if env::var_os("MASKFIT_TEST_CARD").is_some() {
        return;
    }
    let claim = Emulator::load().claim();
    let device = Device::open(claim.card()).unwrap();
    let (mut x, y) = (device.zeros(256).unwrap(), device.upload(&[1.0_f32; 64]).unwrap());
    x.copy_from(y.whole()).unwrap();
    let shared = device.launch(&PTX, "copy").arg(&x).arg(&y).arg(64_u32).block(64).shared(60 << 10);
    #[expect(unsafe_code, reason = "a launch")]
    // SAFETY: both buffers have 64 numbers.
    let done = unsafe { shared.run() };
    done.unwrap();
    device.time(&mut || copy(&device, x.address(), y.address(), 64)).unwrap();
    let mut uploads = Uploads::new(&device, 1).unwrap();
    uploads.push(256, |it| it.fill(1)).unwrap();
    uploads.take(|_| Ok(())).unwrap();
    assert_eq!(x.read::<f32>().unwrap(), [1.0; 64]);
    device.synchronize().unwrap();
    device.free_memory().unwrap();
    drop((uploads, x, y, device));
    let calls = claim.calls();
    for name in ["cuFuncSetAttribute", "cuMemHostAlloc", "cuMemsetD8Async", "cuEventElapsedTime"] {
        assert!(calls.contains_key(name), "the test does not reach `{name}`");
    }
    // The emulator counts `cuModuleLoadDataEx` as one without options.
    let is_known = |it: &str| it == "cuModuleLoadData" || FUNCTIONS.contains(&it);
    let others: Vec<&String> = calls.keys().filter(|it| !is_known(it)).collect();
    assert!(others.is_empty(), "they are called, and not in `FUNCTIONS`: {others:?}");
}

#[test]
fn devices_that_cannot_be_used_are_refused() {
    if env::var_os("MASKFIT_TEST_CARD").is_some() {
        return;
    }
    let test = Test::with(|claim| claim.set_capability(8, 6));
    assert_eq!(test.device().info().capability, (8, 6));
    drop(test);

    let claim = Emulator::load().claim();
    claim.set_capability(7, 5);
    let text = Device::open(claim.card()).unwrap_err().to_string();
    assert!(
        text.contains("(Emulated H200) has compute capability 7.5, and the kernels need 8.0"),
        "{text}"
    );

    // What all tests share is tried in processes of their own.
    for case in ["driver 11.4", "no cards", "two cards", "no driver"] {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", "device::child", "--nocapture"]).env("MASKFIT_TEST_CHILD", case);
        let output = child.output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{case}: {text}");
    }
}

#[test]
fn another_program_can_be_given_the_emulated_driver() {
    if env::var_os("MASKFIT_TEST_CARD").is_some() {
        return;
    }
    let report = env::temp_dir().join(format!("maskfit-emulator-{}", std::process::id()));
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "device::child", "--nocapture"]);
    child.env("MASKFIT_TEST_CHILD", "preloaded").env("LD_PRELOAD", Emulator::load().path());
    let output = child.env("EMULATOR_REPORT", &report).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&report).unwrap();
    fs::remove_file(&report).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("fault: a copy of 64 bytes to the host"), "{text}");
    assert!(lines[1].starts_with("kernel: copy: "), "{text}");
}

/// The part of the tests above that is in another process.
#[test]
fn child() {
    let Ok(case) = env::var("MASKFIT_TEST_CHILD") else { return };
    let refused = |index: usize| Device::open(index).unwrap_err().to_string();
    match case.as_str() {
        "driver 11.4" => {
            Emulator::load().set_version(11_040);
            let text = "the NVIDIA driver supports CUDA 11.4, and the kernels need 11.8: install a newer driver";
            assert_eq!(refused(0), text);
        }
        "no cards" => {
            Emulator::load().set_cards(0);
            assert_eq!(Device::count().unwrap(), 0);
            assert_eq!(refused(0), "there is no `cuda:0`: the driver lists no card");
        }
        "two cards" => {
            Emulator::load().set_cards(2);
            assert_eq!(Device::count().unwrap(), 2);
            assert!(Device::open(0).is_ok() && Device::open(1).is_ok());
            assert_eq!(
                refused(2),
                "there is no `cuda:2`: the driver lists 2 cards, numbered from 0"
            );
        }
        "preloaded" => {
            let device = Device::open(0).unwrap();
            assert_eq!(device.info().name, "Emulated H200");
            let (x, y) = (device.zeros(64).unwrap(), device.alloc(64).unwrap());
            copy(&device, y.address(), x.address(), 16).unwrap();
            assert_eq!(y.read::<f32>().unwrap(), [0.0; 16]);
            assert!(device.alloc(64).unwrap().read::<u8>().is_err(), "it was never written");
        }
        // Unless this machine has one.
        _ if Device::count().is_err() => {
            let text = refused(0);
            assert!(text.starts_with("the NVIDIA driver is not installed"), "{text}");
        }
        _ => {}
    }
}
