//! An emulated card for a test; a test fails with what the emulator found.

use std::{env, thread};

use emulator::client::{Claim, Emulator};
use gpu::{Buffer, Device, DeviceRepr, Storage};
use gpu_check::Check;

/// A test's card: no other test uses it meanwhile.
///
/// Declare it before the buffers, so that it is dropped after them: then it looks for faults and leaks.
pub(crate) struct Test {
    device: Option<Device>,
    claim: Option<Claim>,
    /// Whether the test has looked for faults and leaks itself.
    is_settled: bool,
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
        Self { device: Some(device), claim, is_settled: false }
    }

    /// A card for tests of the emulator itself; none where the tests run on a real one.
    pub(crate) fn emulated() -> Option<Self> {
        Some(Self::new()).filter(|it| it.claim.is_some())
    }

    pub(crate) fn device(&self) -> &Device {
        self.device.as_ref().expect("the device is open until the test ends")
    }

    /// What the emulator found until now.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.claim.as_ref().map_or(Vec::new(), Claim::faults)
    }

    /// The emulated card, or none on a real one.
    pub(crate) fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// Fails unless the emulator found one fault, with these words in its text.
    #[track_caller]
    pub(crate) fn found(&mut self, words: &[&str]) {
        let faults = self.faults();
        self.is_settled = true;
        assert_eq!(faults.len(), 1, "one fault is expected: {faults:?}");
        for word in words {
            assert!(faults[0].contains(word), "`{word}` is not in: {}", faults[0]);
        }
    }

    /// The test has looked for faults itself.
    pub(crate) fn settle(&mut self) {
        self.is_settled = true;
    }

    /// Closes the card; what was not freed. The test must have dropped everything else that keeps the card open.
    pub(crate) fn leaks(&mut self) -> Vec<String> {
        self.device = None;
        self.is_settled = true;
        self.claim.as_ref().map_or(Vec::new(), Claim::leaks)
    }

    /// A buffer of numbers between -2 and 2, and what it stores.
    pub(crate) fn random(&self, storage: Storage, n: usize) -> (Buffer, Vec<f64>) {
        Check::new(self.device()).random(storage, n).expect("an upload")
    }

    /// A buffer of these numbers, and what it stores: the numbers, rounded.
    pub(crate) fn put(&self, storage: Storage, numbers: &[f32]) -> (Buffer, Vec<f64>) {
        Check::new(self.device()).put(storage, numbers).expect("an upload")
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
        Check::new(self.device()).get(buffer, storage).expect("a download")
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
