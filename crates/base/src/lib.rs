//! Registries, layered configs, tasks, clocks and named random streams.
//!
//! Nothing in this crate depends on images or tensors.

mod append_file;
pub mod choice;
pub mod clock;
pub mod config;
pub mod date;
mod difference;
mod epochs;
pub mod files;
mod joint;
mod length;
pub mod mix;
pub mod names;
mod nearest;
pub mod own;
pub mod records;
pub mod rng;
mod step_log;
pub mod table;
pub mod task;
pub mod text;

pub use append_file::AppendFile;
pub use clock::Clock;
pub use epochs::Epochs;
pub use joint::MissingFactor;
pub use length::{Length, NotALength};
pub use nearest::{hint, nearest};
pub use rng::{Rng, Seed};
pub use step_log::StepLog;
pub use task::Task;
