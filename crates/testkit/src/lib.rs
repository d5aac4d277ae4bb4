//! What tests share: finite differences, comparisons, golden files, shared random numbers.
//!
//! For tests only: everything here panics with a sentence when something is wrong.

mod close;
mod differences;
mod golden;
mod numbers;
mod shared;

pub use close::{check_close, check_close_slices, relative_distance};
pub use differences::check_gradient;
pub use golden::Golden;
pub use numbers::numbers;
pub use shared::shared_data;

/// Whether to skip a slow check: they run under `RUN_SLOW=1` and in `cargo xtask ci`.
pub fn skip_slow() -> bool {
    let skip = std::env::var_os("RUN_SLOW").is_none();
    if skip {
        eprintln!("skipped: a slow check, run it with RUN_SLOW=1");
    }
    skip
}
