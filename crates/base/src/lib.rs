//! Names: registries, layered configs, tasks, clocks and named randomness.
//!
//! Nothing in this crate knows what an image or a tensor is.

pub mod choice;
pub mod clock;
pub mod config;
mod epochs;
pub mod files;
mod length;
pub mod mix;
pub mod rng;
pub mod task;

pub use clock::Clock;
pub use epochs::Epochs;
pub use length::{Length, NotALength};
pub use rng::{Rng, Seed};
pub use task::Task;
