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
