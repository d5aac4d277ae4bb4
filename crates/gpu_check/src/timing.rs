//! The time of a pass, beside its floor: the least that this card can take, by bytes and by operations.
//!
//! Bytes: those that the launches state that they have to read and write, over the bandwidth that the card reaches when
//! it copies its own memory. Operations: those that the launches state, over the highest number that a card of this
//! generation does in a clock, times its highest clock. NVIDIA's tables: the throughput of FMA by compute capability
//! (CUDA C++ Programming Guide, "Arithmetic Instructions"), that of the tensor cores in the white papers of the A100,
//! the AD102, the H100 and the B200. Some cards of a generation do half of it; then the floor is lower than it could be.

use gpu::{Device, Info, Result, Storage};

/// What a card can do at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes a second, read and written, as it copies its own memory: measured.
    pub bandwidth: f64,
    /// Operations a second of f32, by its clock; none where its generation is unknown.
    pub f32: Option<f64>,
    /// Operations a second of the tensor cores on bf16 and f16 with f32 sums; none where its generation is unknown.
    pub tensor: Option<f64>,
}

/// The time of a pass and what it has to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time {
    /// The median of the runs.
    pub seconds: f64,
    /// The launches of a run.
    pub launches: u64,
    /// Bytes that they have to read and write.
    pub bytes: u64,
    /// Additions and multiplications that they have to do.
    pub operations: u64,
}

/// Times passes on a card.
#[derive(Debug)]
pub struct Timer {
    device: Device,
    /// Larger than the card's cache: zeroing it leaves nothing else there.
    other: gpu::Buffer,
    n_runs: usize,
}

impl Limits {
    /// Measures what a copy of `bytes` bytes reaches, and computes the rest from the card's clock.
    ///
    /// # Errors
    /// If the card has no room for two such buffers, or the driver fails.
    pub fn measure(device: &Device, bytes: usize, n_runs: usize) -> Result<Self> {
        let (from, mut to) = (device.zeros(bytes)?, device.alloc(bytes)?);
        let mut copy = || to.copy_from(from.whole());
        copy()?;
        let mut times = Vec::new();
        for _ in 0..n_runs {
            times.push(device.time(&mut copy)?);
        }
        let info = device.info();
        let [f32, tensor] = per_clock(info).map(|it| {
            let it = it.filter(|_| info.clock > 0)?;
            Some(it * f64::from(info.multiprocessors) * f64::from(info.clock) * 1e3)
        });
        Ok(Self { bandwidth: 2.0 * bytes as f64 / median(times), f32, tensor })
    }

    /// The least seconds that a pass can take by its bytes, and by its operations.
    ///
    /// - `is_product`: whether its operations are those of products, which tensor cores do.
    #[must_use]
    pub fn floors(&self, time: &Time, storage: Storage, is_product: bool) -> [Option<f64>; 2] {
        let peak = if is_product && storage != Storage::F32 { self.tensor } else { self.f32 };
        let by_operations = peak.map(|it| time.operations as f64 / it);
        [Some(time.bytes as f64 / self.bandwidth), by_operations]
    }
}

/// Operations that a multiprocessor does in a clock at most: of f32, and of the tensor cores.
fn per_clock(info: &Info) -> [Option<f64>; 2] {
    match info.capability {
        (8, 0) => [Some(128.0), Some(2048.0)],
        (8, 6 | 9) => [Some(256.0), Some(1024.0)],
        (9, 0) => [Some(256.0), Some(4096.0)],
        (10, 0) => [Some(256.0), Some(8192.0)],
        _ => [None, None],
    }
}

impl Timer {
    /// - `n_runs`: the runs that a time is the median of, after two that are not counted.
    /// - `bytes`: more than the card's cache has.
    ///
    /// # Errors
    /// If the card has no room for a buffer of that size.
    pub fn new(device: &Device, n_runs: usize, bytes: usize) -> Result<Self> {
        Ok(Self { device: device.clone(), other: device.alloc(bytes)?, n_runs })
    }

    /// Times a pass. Nothing that it reads is in the card's cache when a run begins.
    ///
    /// # Errors
    /// If the pass fails, or the driver does.
    pub fn time(&mut self, pass: &mut dyn FnMut() -> Result<()>) -> Result<Time> {
        pass()?;
        let before = self.device.read_meter();
        pass()?;
        let after = self.device.read_meter();
        let sum = |f: &dyn Fn(&gpu::KernelMeter) -> u64| {
            let of = |it: &gpu::Meter| it.kernels.values().map(f).sum::<u64>();
            of(&after) - of(&before)
        };
        let (launches, bytes) = (sum(&|it| it.launches), sum(&|it| it.bytes));
        let operations = sum(&|it| it.operations);
        let mut times = Vec::new();
        for _ in 0..self.n_runs {
            // The card is busy with it while the pass is asked for, so that no launch is waited for.
            self.other.zero()?;
            times.push(self.device.time(pass)?);
        }
        Ok(Time { seconds: median(times), launches, bytes, operations })
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
