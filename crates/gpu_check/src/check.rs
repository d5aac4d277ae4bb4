//! A case while it runs: the card, random numbers, and comparisons with what the numbers should be.
//!
//! A comparison that fails is recorded and ends nothing, so that one run lists all that is wrong.
//! The error of a number is given over its bound, so that 1 is the most that is right, in every case and storage.

use std::cell::RefCell;

use gpu::{
    Buffer, Device, DeviceRepr, Result, Storage,
    parts::{Parts, PartsKind},
};

/// A case while it runs.
#[derive(Debug)]
pub struct Check {
    device: Device,
    random: u64,
    /// Whether the host keeps the numbers of each buffer, to compute results itself.
    has_reference: bool,
    outcome: RefCell<Outcome>,
}

/// What a case has found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// How many numbers were compared.
    pub n_numbers: usize,
    /// The largest error of a number over its bound; infinite where it cannot be compared, as a NaN.
    pub worst: f64,
    /// Each comparison that failed, with its numbers.
    pub failures: Vec<String>,
}

/// How far a number may be from the exact one: `absolute + relative * |exact|`.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// Of the exact number.
    pub relative: f64,
    /// Of any number.
    pub absolute: f64,
}

/// How many numbers a pattern has that a large buffer repeats.
const PATTERN: usize = 1 << 20;

impl Check {
    /// A case on this card, with the random numbers of every case.
    #[must_use]
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            random: 0x5eed,
            has_reference: true,
            outcome: RefCell::default(),
        }
    }

    /// The same, to run kernels without comparing what they compute: the host keeps no numbers, and a large buffer
    /// repeats a pattern of random ones.
    #[must_use]
    pub fn without_reference(device: &Device) -> Self {
        Self { has_reference: false, ..Self::new(device) }
    }

    /// The card.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What was found.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        self.outcome.into_inner()
    }

    /// Uniform numbers; the same in every run.
    pub fn numbers(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        (0..n).map(|_| low + (high - low) * self.next()).collect()
    }

    /// A buffer of numbers between -2 and 2, and what it stores.
    ///
    /// # Errors
    /// If the card has no room, or the driver fails.
    pub fn random(&mut self, storage: Storage, n: usize) -> Result<(Buffer, Vec<f64>)> {
        self.uniform(storage, n, -2.0, 2.0)
    }

    /// The same between other numbers.
    ///
    /// # Errors
    /// As [`Check::random`].
    pub fn uniform(
        &mut self,
        storage: Storage,
        n: usize,
        low: f32,
        high: f32,
    ) -> Result<(Buffer, Vec<f64>)> {
        if self.has_reference {
            let numbers = self.numbers(n, low, high);
            return self.put(storage, &numbers);
        }
        let pattern = storage.encode(&self.numbers(n.min(PATTERN), low, high));
        let (pattern, mut buffer) = (self.device.upload(&pattern)?, self.alloc(storage, n)?);
        for at in (0..buffer.bytes()).step_by(pattern.bytes()) {
            let bytes = pattern.bytes().min(buffer.bytes() - at);
            buffer.copy_at(at, pattern.slice(0, bytes)?)?;
        }
        Ok((buffer, Vec::new()))
    }

    /// A buffer of these numbers, and what it stores: the numbers, rounded.
    ///
    /// # Errors
    /// As [`Check::random`].
    pub fn put(&self, storage: Storage, numbers: &[f32]) -> Result<(Buffer, Vec<f64>)> {
        let buffer = self.device.upload(&storage.encode(numbers))?;
        Ok((buffer, numbers.iter().map(|it| f64::from(storage.round(*it))).collect()))
    }

    /// A buffer of plain numbers, such as u8 or i32.
    ///
    /// # Errors
    /// As [`Check::random`].
    pub fn put_plain<T: DeviceRepr + Copy>(&self, numbers: &[T]) -> Result<Buffer> {
        self.device.upload(numbers)
    }

    /// A buffer for `n` numbers that nothing has written.
    ///
    /// # Errors
    /// As [`Check::random`].
    pub fn alloc(&self, storage: Storage, n: usize) -> Result<Buffer> {
        self.device.alloc(n * storage.bytes())
    }

    /// What a buffer stores.
    ///
    /// # Errors
    /// If the driver fails, or an earlier kernel did.
    pub fn get(&self, buffer: &Buffer, storage: Storage) -> Result<Vec<f64>> {
        Ok(storage.decode(&self.bytes(buffer)?).into_iter().map(f64::from).collect())
    }

    /// What f32 numbers a buffer stores.
    ///
    /// # Errors
    /// As [`Check::get`].
    pub fn list(&self, buffer: &Buffer) -> Result<Vec<f64>> {
        self.get(buffer, Storage::F32)
    }

    /// The bytes of a buffer.
    ///
    /// # Errors
    /// As [`Check::get`].
    pub fn bytes(&self, buffer: &Buffer) -> Result<Vec<u8>> {
        buffer.read::<u8>()
    }

    /// Compares what a buffer stores with the exact numbers.
    ///
    /// # Errors
    /// As [`Check::get`].
    pub fn close(
        &self,
        what: &str,
        buffer: &Buffer,
        storage: Storage,
        want: &[f64],
        bound: Bound,
    ) -> Result<()> {
        self.near(what, &self.get(buffer, storage)?, want, bound);
        Ok(())
    }

    /// Compares numbers with the exact ones, with one bound for all.
    pub fn near(&self, what: &str, got: &[f64], want: &[f64], Bound { relative, absolute }: Bound) {
        let bounds: Vec<f64> = want.iter().map(|it| absolute + relative * it.abs()).collect();
        self.within(what, got, want, &bounds);
    }

    /// Compares numbers with the exact ones, each with a bound of its own. A NaN is never right.
    pub fn within(&self, what: &str, got: &[f64], want: &[f64], bounds: &[f64]) {
        if got.len() != want.len() || want.len() != bounds.len() {
            self.holds(what, false, || format!("{} numbers, {} expected", got.len(), want.len()));
            return;
        }
        let far = |idx: usize| {
            let (got, want) = (got[idx], want[idx]);
            let far = (got - want).abs() / bounds[idx];
            if got == want {
                0.0
            } else if far.is_nan() {
                f64::INFINITY
            } else {
                far
            }
        };
        let (mut n_wrong, mut worst, mut worst_idx) = (0, 0.0, 0);
        for idx in 0..want.len() {
            let far = far(idx);
            n_wrong += usize::from(far > 1.0);
            if far > worst {
                (worst, worst_idx) = (far, idx);
            }
        }
        let mut outcome = self.outcome.borrow_mut();
        outcome.n_numbers += want.len();
        outcome.worst = outcome.worst.max(worst);
        if n_wrong > 0 {
            let times = if worst < 1e4 { format!("{worst:.1}") } else { format!("{worst:.1e}") };
            outcome.failures.push(format!(
                "{what}: {n_wrong} of {} numbers are out of bounds; number {worst_idx} is {:.7e} instead of {:.7e}, \
                 {times} times the bound",
                want.len(),
                got[worst_idx],
                want[worst_idx],
            ));
        }
    }

    /// Merges partial moments (Chan et al., 1979), and compares them with those of the numbers that were stored.
    ///
    /// - `is_pivotless`: after a residual or an activation the moments are about 0.
    ///
    /// # Errors
    /// As [`Check::get`].
    pub fn moments(
        &self,
        what: &str,
        parts: &Parts,
        stored: &[f64],
        is_pivotless: bool,
    ) -> Result<()> {
        let &Parts { n, c, kind, .. } = parts;
        let found = self.list(&parts.buffer)?;
        let is_whole = kind == PartsKind::Moments && found.len() == n * (2 * c + 1);
        if !self.holds(what, is_whole, || format!("{kind:?} of {} numbers", found.len())) {
            return Ok(());
        }
        let rows = stored.len() / c;
        let (values, counts) = found.split_at(n * 2 * c);
        let counted = counts.iter().sum::<f64>();
        self.holds(what, counted == rows as f64, || format!("the parts have {counted} rows"));
        let (mut got, mut want, mut bounds) = (Vec::new(), Vec::new(), Vec::new());
        for channel in 0..c {
            let column: Vec<f64> = stored.iter().skip(channel).step_by(c).copied().collect();
            let mean = column.iter().sum::<f64>() / rows as f64;
            let squares: f64 = column.iter().map(|it| (it - mean).powi(2)).sum();
            let total: f64 = (0..n).map(|part| counts[part] * values[part * 2 * c + channel]).sum();
            let merged = total / rows as f64;
            let spread: f64 = (0..n)
                .map(|part| {
                    let of_part = values[part * 2 * c + channel];
                    values[(part * 2 + 1) * c + channel] + counts[part] * (of_part - merged).powi(2)
                })
                .sum();
            let most = column.iter().fold(0f64, |most, it| most.max(it.abs()));
            // A part loses at most a factor of its count of the last bit; the means of parts were rounded. After a
            // residual or an activation the pivot is 0.
            let about_zero =
                if is_pivotless { 2f64.powi(-22) * most * most * rows as f64 } else { 0.0 };
            let of_squares = 2e-5 * squares
                + 2f64.powi(-23) * most * (squares * rows as f64).sqrt()
                + about_zero
                + 1e-9;
            got.extend([merged, spread]);
            want.extend([mean, squares]);
            bounds.extend([1e-6 * most + 1e-12, of_squares]);
        }
        self.within(&format!("means and squares of {what}"), &got, &want, &bounds);
        Ok(())
    }

    /// Records a failure unless two buffers have the same bits.
    ///
    /// # Errors
    /// As [`Check::get`].
    pub fn same(&self, what: &str, first: &Buffer, second: &Buffer) -> Result<()> {
        let is_same = self.bytes(first)? == self.bytes(second)?;
        self.holds(what, is_same, || "other bits the second time".into());
        Ok(())
    }

    /// Records a failure unless something holds, and returns whether it does.
    pub fn holds(&self, what: &str, is_so: bool, otherwise: impl FnOnce() -> String) -> bool {
        if !is_so {
            self.outcome.borrow_mut().failures.push(format!("{what}: {}", otherwise()));
        }
        is_so
    }

    /// A uniform number from 0 to 1, of splitmix64 (Steele et al. 2014).
    fn next(&mut self) -> f32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 40) as f32 / (1 << 24) as f32
    }
}
