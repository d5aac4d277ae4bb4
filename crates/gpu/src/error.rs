//! What can go wrong on a GPU, said so that one knows where, what, and how to fix it.

use std::env;

use cudarc::driver::DriverError;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong on a GPU.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The driver is not installed.
    #[error(
        "the NVIDIA driver is not installed: the library `libcuda.so.1` is not found, or cannot be loaded; install the \
         driver, add its folder to `LD_LIBRARY_PATH`, or train on the CPU (`--device cpu`)"
    )]
    NoDriver,
    /// The library that has the driver's name is another.
    #[error(
        "the library `libcuda.so.1` that was found is not NVIDIA's driver: it has no {}; look for it in the folders \
         of `LD_LIBRARY_PATH`, or train on the CPU (`--device cpu`)",
        names(missing)
    )]
    NotADriver {
        /// The functions of the driver that are called, and that the library lacks.
        missing: Vec<&'static str>,
    },
    /// The driver is there, and fails when it starts.
    #[error(
        "the NVIDIA driver does not start: {:?}, {}; see whether `nvidia-smi` works: after an update of the driver the \
         machine has to be restarted, and a container has to be started with its cards (`--gpus all`)", code.0,
        meaning(code)
    )]
    NoStart {
        /// The driver's error.
        code: DriverError,
    },
    /// The driver is older than the kernels need.
    #[error(
        "the NVIDIA driver supports CUDA {}.{}, and the kernels need {}.{}: install a newer driver",
        found / 1000, found % 1000 / 10, needed / 1000, needed % 1000 / 10
    )]
    OldDriver {
        /// The version that the driver reports: 1000 times the major number plus 10 times the minor.
        found: i32,
        /// The version that is needed, in the same form.
        needed: i32,
    },
    /// There is no card of that number.
    #[error("there is no `cuda:{index}`: the driver lists {}", cards(*count))]
    NoDevice {
        /// The number asked for.
        index: usize,
        /// How many cards there are.
        count: usize,
    },
    /// The card is older than the kernels need.
    #[error(
        "`cuda:{index}` ({name}) has compute capability {major}.{minor}, and the kernels need 8.0: choose a card of \
         the Ampere generation or later, or the CPU"
    )]
    OldDevice {
        /// The card's number.
        index: usize,
        /// The card's name.
        name: String,
        /// Compute capability, the number before the dot.
        major: i32,
        /// Compute capability, the number after the dot.
        minor: i32,
    },
    /// The card's memory is full.
    #[error(
        "`cuda:{index}` is out of memory: {} wanted, {} in use by this program, {} free of {}; reduce the batch size \
         or the image size, or end other programs on the card", size(*wanted), size(*used), size(*free), size(*total)
    )]
    OutOfMemory {
        /// The card's number.
        index: usize,
        /// Bytes of the allocation that failed.
        wanted: usize,
        /// Bytes of this program's live buffers.
        used: usize,
        /// Bytes free on the card, after the cache was emptied.
        free: usize,
        /// Bytes of the card.
        total: usize,
    },
    /// A kernel was given arguments that do not fit it: sizes, types, or limits of the card.
    #[error("`{kernel}`: {what}")]
    Arguments {
        /// The kernel, or the function that launches it.
        kernel: String,
        /// What does not fit, and what would.
        what: String,
    },
    /// A slice or a copy lies outside of its buffer.
    #[error("{bytes} bytes from byte {at} are not within a buffer of {len} bytes")]
    OutOfBounds {
        /// The first byte asked for.
        at: usize,
        /// How many bytes were asked for.
        bytes: usize,
        /// The bytes that the buffer has.
        len: usize,
    },
    /// A call of the driver failed.
    #[error("{what} failed on `cuda:{index}`: {:?}, {}", code.0, meaning(code))]
    Driver {
        /// The card's number.
        index: usize,
        /// What was attempted.
        what: String,
        /// The driver's error.
        code: DriverError,
    },
}

impl Error {
    /// An error in the arguments of a kernel or of the function that launches it.
    #[must_use]
    pub fn arguments(kernel: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Arguments { kernel: kernel.into(), what: what.into() }
    }
}

/// What the driver says about its error.
fn meaning(err: &DriverError) -> String {
    err.error_string().map_or("an unknown error".into(), |it| it.to_string_lossy().into_owned())
}

/// Maximum number of functions in a message.
const SHOWN: usize = 5;

/// The first names in back-ticks, and how many others there are.
fn names(all: &[&str]) -> String {
    let first: Vec<String> = all.iter().take(SHOWN).map(|it| format!("`{it}`")).collect();
    match all.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        n => format!("{} and {n} more", first.join(", ")),
    }
}

/// The variable that hides cards from a program.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// A number of cards, in words.
fn cards(count: usize) -> String {
    match count {
        0 => match env::var_os(VISIBLE) {
            Some(it) => format!("no card (`{VISIBLE}` is `{}`)", it.to_string_lossy()),
            None => "no card".into(),
        },
        1 => "one card, `cuda:0`".into(),
        _ => format!("{count} cards, numbered from 0"),
    }
}

/// Bytes in a unit that people read, with the exact number where the unit is coarse.
fn size(bytes: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a number to read")]
    let mib = bytes as f64 / f64::from(1 << 20);
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", mib * 1024.0),
        1_048_576..1_073_741_824 => format!("{mib:.1} MiB"),
        _ => format!("{:.2} GiB", mib / 1024.0),
    }
}
