//! Test utilities: finite differences, comparisons, golden files, shared random numbers, an ONNX runtime, JSON Schema.
//!
//! For tests only: every function panics with a message on failure.

mod close;
mod differences;
mod golden;
mod numbers;
mod onnx;
mod schema;
mod shared;

pub use close::{check_close, check_close_slices, relative_distance};
pub use differences::check_gradient;
pub use golden::Golden;
pub use numbers::numbers;
pub use onnx::OnnxModel;
pub use schema::JsonSchema;
pub use shared::shared_data;
