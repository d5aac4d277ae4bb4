//! An emulated card for a test, random numbers, and comparisons; a test fails with what the emulator found.

use std::{env, thread};

use emulator::client::{Claim, Emulator};
use gpu::{Buffer, Device, DeviceRepr, Storage};

/// A test's card: no other test uses it meanwhile.
///
/// Declare it before the buffers, so that it is dropped after them: then it looks for faults and leaks.
pub(crate) struct Test {
    device: Option<Device>,
    claim: Option<Claim>,
    random: u64,
    /// Whether the test has looked for faults and leaks itself.
    is_settled: bool,
}

/// How far a number may be from the exact one: `absolute + relative * |exact|`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) relative: f64,
    pub(crate) absolute: f64,
}

impl Test {
    /// A card of 256 MiB, without the cache of buffers, so that each is checked by itself.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same with a card that `prepare` changes first.
    pub(crate) fn with(prepare: impl FnOnce(&Claim)) -> Self {
        let (claim, index) = match env::var("MASKFIT_TEST_CARD") {
            Ok(index) => (None, index.parse().expect("`MASKFIT_TEST_CARD` is a card's number")),
            Err(_) => {
                let claim = Emulator::load().claim();
                prepare(&claim);
                let card = claim.card();
                (Some(claim), card)
            }
        };
        let device = Device::open(index).expect("a card");
        device.set_caching(false).expect("no cache");
        Self { device: Some(device), claim, random: 0x5eed, is_settled: false }
    }

    /// A card for tests of the emulator itself; none where the tests run on a real one.
    pub(crate) fn emulated() -> Option<Self> {
        Some(Self::new()).filter(|it| it.claim.is_some())
    }

    pub(crate) fn device(&self) -> &Device {
        self.device.as_ref().expect("the device is open until the test ends")
    }

    /// The emulated card, or none on a real one.
    pub(crate) fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// Fails unless the emulator found one fault, with these words in its text.
    #[track_caller]
    pub(crate) fn found(&mut self, words: &[&str]) {
        let faults = self.claim.as_ref().map_or(Vec::new(), Claim::faults);
        self.is_settled = true;
        assert_eq!(faults.len(), 1, "one fault is expected: {faults:?}");
        for word in words {
            assert!(faults[0].contains(word), "`{word}` is not in: {}", faults[0]);
        }
    }

    /// Closes the card; what was not freed. The test must have dropped everything else that keeps the card open.
    pub(crate) fn leaks(&mut self) -> Vec<String> {
        self.device = None;
        self.is_settled = true;
        self.claim.as_ref().map_or(Vec::new(), Claim::leaks)
    }

    /// Uniform numbers; the same in every run.
    pub(crate) fn numbers(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        (0..n).map(|_| low + (high - low) * self.next()).collect()
    }

    /// A buffer of numbers between -2 and 2, and what it stores.
    pub(crate) fn random(&mut self, storage: Storage, n: usize) -> (Buffer, Vec<f64>) {
        let numbers = self.numbers(n, -2.0, 2.0);
        self.put(storage, &numbers)
    }

    /// A buffer of these numbers, and what it stores: the numbers, rounded.
    pub(crate) fn put(&self, storage: Storage, numbers: &[f32]) -> (Buffer, Vec<f64>) {
        let buffer = self.device().upload(&storage.encode(numbers)).expect("an upload");
        (buffer, numbers.iter().map(|it| f64::from(storage.round(*it))).collect())
    }

    /// A buffer of plain numbers, such as u8 or i32.
    pub(crate) fn put_plain<T: DeviceRepr + Copy>(&self, numbers: &[T]) -> Buffer {
        self.device().upload(numbers).expect("an upload")
    }

    /// A buffer for `n` numbers that nothing has written.
    pub(crate) fn alloc(&self, storage: Storage, n: usize) -> Buffer {
        self.device().alloc(n * storage.bytes()).expect("an allocation")
    }

    /// What a buffer stores.
    pub(crate) fn get(&self, buffer: &Buffer, storage: Storage) -> Vec<f64> {
        storage.decode(&self.bytes(buffer)).into_iter().map(f64::from).collect()
    }

    /// The bytes of a buffer, to compare two runs.
    pub(crate) fn bytes(&self, buffer: &Buffer) -> Vec<u8> {
        buffer.read().expect("a download")
    }

    /// Fails unless the buffer stores these numbers within the bound; says which is worst.
    #[track_caller]
    pub(crate) fn close(
        &self,
        what: &str,
        buffer: &Buffer,
        storage: Storage,
        want: &[f64],
        bound: Bound,
    ) {
        close(&format!("{what} ({})", storage.name()), &self.get(buffer, storage), want, bound);
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

/// Fails unless all numbers are within the bound of the exact ones.
#[track_caller]
pub(crate) fn close(what: &str, got: &[f64], want: &[f64], Bound { relative, absolute }: Bound) {
    assert_eq!(got.len(), want.len(), "{what}: {} numbers, {} expected", got.len(), want.len());
    // In units of the bound; what cannot be compared is infinitely far away.
    let far = |(got, want): (&f64, &f64)| {
        let far = (got - want).abs() / (absolute + relative * want.abs());
        if got == want || far.is_nan() && got.is_nan() && want.is_nan() {
            0.0
        } else if far.is_nan() {
            f64::INFINITY
        } else {
            far
        }
    };
    let all: Vec<f64> = got.iter().zip(want).map(far).collect();
    let n_wrong = all.iter().filter(|it| **it > 1.0).count();
    let worst = (0..all.len()).max_by(|a, b| all[*a].total_cmp(&all[*b]));
    if let Some(idx) = worst.filter(|_| n_wrong > 0) {
        panic!(
            "{what}: {n_wrong} of {} numbers are out of bounds; number {idx} is {:e} instead of {:e}, {:.1} times the \
             bound",
            all.len(),
            got[idx],
            want[idx],
            all[idx],
        );
    }
}

impl Drop for Test {
    #[expect(clippy::print_stderr, reason = "a test that fails cannot panic again")]
    fn drop(&mut self) {
        self.device = None;
        let Some(claim) = &self.claim else { return };
        let faults = claim.faults();
        if thread::panicking() {
            if !self.is_settled && !faults.is_empty() {
                eprintln!("the emulator found:\n  {}", faults.join("\n  "));
            }
            return;
        }
        if self.is_settled {
            return;
        }
        assert!(faults.is_empty(), "the emulator found:\n  {}", faults.join("\n  "));
        let leaks = claim.leaks();
        assert!(leaks.is_empty(), "not freed:\n  {}", leaks.join("\n  "));
    }
}
