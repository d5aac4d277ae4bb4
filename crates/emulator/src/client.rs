//! The emulator as a test sees it: loads the library before cudarc does, and asks it what went wrong.
//!
//! The library is another copy of this crate with statics of its own, so everything passes through its C functions.
//! A library that is loaded is found again by its SONAME (`build.rs`), so tests need no `LD_LIBRARY_PATH`.
//! For another program, `LD_PRELOAD` does the same ([`Emulator::path`]). With a path in `EMULATOR_REPORT` that program
//! leaves a file when it closes its card: a line for each fault (`fault: ...`), for what was not freed (`leak: ...`),
//! and for each kernel with its counts (`kernel: ...`).

#![expect(unsafe_code, reason = "calls functions of a library that was opened by its path")]

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, OnceLock, PoisonError},
};

use libloading::Library;

use crate::counts::Counts;

/// Settings by number.
#[expect(non_snake_case, reason = "used like an enum, across a boundary of C")]
pub(crate) mod SETTING {
    pub(crate) const CARDS: u32 = 0;
    pub(crate) const VERSION: u32 = 1;
    pub(crate) const MEMORY: u32 = 2;
    pub(crate) const CAPABILITY: u32 = 3;
    pub(crate) const KERNELS: u32 = 4;
}

/// Lists of texts by number.
#[expect(non_snake_case, reason = "used like an enum, across a boundary of C")]
pub(crate) mod TEXT {
    pub(crate) const FAULTS: u32 = 0;
    pub(crate) const LEAKS: u32 = 1;
    pub(crate) const CALLS: u32 = 2;
    pub(crate) const KERNELS: u32 = 3;
}

type Set = unsafe extern "C" fn(usize, u32, u64) -> bool;
type Text = unsafe extern "C" fn(usize, u32, *mut u8, usize) -> usize;
type Clear = unsafe extern "C" fn(usize);
type CountsOf = unsafe extern "C" fn(usize, *const u8, usize, *mut Counts, usize) -> bool;

/// The library, loaded.
pub struct Emulator {
    path: PathBuf,
    set: Set,
    text: Text,
    clear: Clear,
    counts: CountsOf,
    free: Mutex<Vec<usize>>,
    freed: Condvar,
}

/// A card that nobody else in this process uses.
pub struct Claim {
    emulator: &'static Emulator,
    card: usize,
}

/// How many cards tests share.
const N_CARDS: usize = 8;

impl Emulator {
    /// Loads the library, once in a process. Call it before anything of cudarc.
    ///
    /// # Panics
    /// If the library was not built beside the test, or if another driver was loaded before: a test cannot go on.
    pub fn load() -> &'static Self {
        static LOADED: OnceLock<Emulator> = OnceLock::new();
        LOADED.get_or_init(|| {
            let path = beside_the_test();
            Self::open(&path).unwrap_or_else(|err| {
                panic!("the emulated driver {} cannot be loaded: {err}: run `cargo test`, which builds it", path.display())
            })
        })
    }

    fn open(path: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: the library is ours; loading it runs nothing.
        let library = Box::leak(Box::new(unsafe { Library::new(path) }?));
        // SAFETY: the functions have these types; the library is never unloaded.
        unsafe {
            Ok(Self {
                path: path.to_owned(),
                set: *library.get::<Set>(b"emulator_set\0")?,
                text: *library.get::<Text>(b"emulator_text\0")?,
                clear: *library.get::<Clear>(b"emulator_clear\0")?,
                counts: *library.get::<CountsOf>(b"emulator_counts\0")?,
                free: Mutex::new((0..N_CARDS).rev().collect()),
                freed: Condvar::new(),
            })
        }
    }

    /// The library's file. A program that is started with `LD_PRELOAD` set to it finds it as its driver.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a card that nobody uses, and forgets what earlier tests left on it.
    pub fn claim(&'static self) -> Claim {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let card = loop {
            match free.pop() {
                Some(card) => break card,
                None => free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner),
            }
        };
        let claim = Claim { emulator: self, card };
        claim.clear();
        claim.set_memory(256 << 20);
        claim.set_runs_kernels(true);
        claim.set_capability(9, 0);
        claim
    }

    /// How many cards the driver lists, at most 16; 8 at first. For a process of its own: all tests see it.
    pub fn set_cards(&self, n: usize) {
        self.set(0, SETTING::CARDS, n as u64);
    }

    /// The CUDA version that the driver reports, such as 12,080; 13,000 at first. For a process of its own.
    pub fn set_version(&self, version: u32) {
        self.set(0, SETTING::VERSION, version.into());
    }

    fn set(&self, card: usize, setting: u32, value: u64) {
        // SAFETY: the function takes any numbers.
        let known = unsafe { (self.set)(card, setting, value) };
        assert!(known, "the emulator has no setting {setting} of card {card}");
    }

    fn texts(&self, card: usize, which: u32) -> Vec<String> {
        let mut bytes = Vec::new();
        loop {
            // SAFETY: the pointer and the length are the vector's.
            let n = unsafe { (self.text)(card, which, bytes.as_mut_ptr(), bytes.len()) };
            if n <= bytes.len() {
                bytes.truncate(n);
                let texts =
                    bytes.split(|it| *it == 0).map(|it| String::from_utf8_lossy(it).into_owned());
                return texts.filter(|it| !it.is_empty()).collect();
            }
            bytes.resize(n, 0);
        }
    }
}

impl Claim {
    /// The card's number: `Device::open(claim.card())`.
    #[must_use]
    pub fn card(&self) -> usize {
        self.card
    }

    /// The library.
    #[must_use]
    pub fn emulator(&self) -> &'static Emulator {
        self.emulator
    }

    /// Bytes of memory that the card has when it is opened next; 256 MiB at first.
    pub fn set_memory(&self, bytes: u64) {
        self.emulator.set(self.card, SETTING::MEMORY, bytes);
    }

    /// Whether launches run their kernel when the card is opened next; at first they do. If not, they are only checked and
    /// counted, and memory that was never written is read as zeros: for what steps of large networks cost.
    pub fn set_runs_kernels(&self, runs: bool) {
        self.emulator.set(self.card, SETTING::KERNELS, runs.into());
    }

    /// The compute capability; 9.0 at first.
    pub fn set_capability(&self, major: u32, minor: u32) {
        self.emulator.set(self.card, SETTING::CAPABILITY, u64::from(major * 10 + minor));
    }

    /// What went wrong on the card since it was claimed or cleared.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.emulator.texts(self.card, TEXT::FAULTS)
    }

    /// What was not freed when the card was closed.
    #[must_use]
    pub fn leaks(&self) -> Vec<String> {
        self.emulator.texts(self.card, TEXT::LEAKS)
    }

    /// How often each function of the driver was called.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let texts = self.emulator.texts(self.card, TEXT::CALLS);
        let parts = texts.iter().filter_map(|it| it.split_once(' '));
        parts.filter_map(|(name, n)| Some((name.to_owned(), n.parse().ok()?))).collect()
    }

    /// What each kernel did.
    ///
    /// # Panics
    /// If the library is of another build.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, Counts> {
        let one = |name: String| {
            let mut counts = Counts::default();
            // SAFETY: the pointers and lengths are those of `name` and `counts`.
            let found = unsafe {
                (self.emulator.counts)(
                    self.card,
                    name.as_ptr(),
                    name.len(),
                    &raw mut counts,
                    size_of::<Counts>(),
                )
            };
            assert!(found, "the emulator's library is of another build: run `cargo test` again");
            (name, counts)
        };
        self.emulator.texts(self.card, TEXT::KERNELS).into_iter().map(one).collect()
    }

    /// What each family of kernels did: those whose names differ in the sizes that they end with, such as
    /// `product_forward_128x32` and `product_forward_64x64`. [`Counts::memory`] is what a step moves.
    #[must_use]
    pub fn counts_of_families(&self) -> BTreeMap<String, Counts> {
        let mut families = BTreeMap::<String, Counts>::new();
        for (kernel, counts) in self.counts() {
            *families.entry(family_of(&kernel).to_owned()).or_default() += &counts;
        }
        families
    }

    /// Forgets faults, leaks, calls and counts.
    pub fn clear(&self) {
        // SAFETY: the function takes any card.
        unsafe { (self.emulator.clear)(self.card) };
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.emulator.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.card);
        self.emulator.freed.notify_one();
    }
}

/// A kernel's name without the sizes at its end.
fn family_of(mut kernel: &str) -> &str {
    while let Some((before, last)) = kernel.rsplit_once('_')
        && last.starts_with(|it: char| it.is_ascii_digit())
    {
        kernel = before;
    }
    kernel
}

/// The library lies in the folder of the test program, or in `deps` beside it.
fn beside_the_test() -> PathBuf {
    let name = format!("{}emulator{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let program = env::current_exe().unwrap_or_default();
    let folder = program.parent().unwrap_or(Path::new("."));
    let deps = folder.join("deps").join(&name);
    if deps.exists() { deps } else { folder.join(name) }
}

#[cfg(test)]
mod tests {
    use super::family_of;

    #[test]
    fn a_family_is_a_name_without_sizes() {
        for (kernel, family) in [
            ("product_forward_128x32", "product_forward"),
            ("depthwise_backward_3_1", "depthwise_backward"),
            ("conv_input_any", "conv_input_any"),
            ("cast", "cast"),
        ] {
            assert_eq!(family_of(kernel), family);
        }
    }
}
