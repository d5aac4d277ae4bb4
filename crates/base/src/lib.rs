//! Registries, layered configs, tasks, clocks and named random streams.
//!
//! Nothing in this crate depends on images or tensors.

pub mod choice;
pub mod clock;
pub mod config;
pub mod date;
mod epochs;
pub mod files;
mod growing;
mod length;
mod lines;
pub mod mix;
pub mod records;
pub mod rng;
pub mod table;
pub mod task;
pub mod text;

pub use clock::Clock;
pub use epochs::Epochs;
pub use growing::Growing;
pub use length::{Length, NotALength};
pub use lines::Lines;
pub use rng::{Rng, Seed};
pub use task::Task;
