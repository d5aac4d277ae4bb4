//! NVIDIA's cards: the device, its memory, kernels and what launches them.
//!
//! This crate knows no tensors and no tape: a function here is one launch, or a few, on buffers whose sizes it checks.
//! Kernels are CUDA C++ (`kernels/*.cu`), compiled to PTX by `cargo xtask kernels`; the PTX is part of the repository,
//! so that building needs no CUDA, and the driver compiles it for the card.

mod context;
mod device;
mod error;
mod library;
mod memory;
mod module;
mod number;
pub mod parts;
pub mod prologue;
mod ptx;
mod rows;
mod rule;
mod shared;
mod split;
mod sums;
mod tables;
mod upload;

pub mod conv;
mod few;
mod job;
mod plan;
pub mod product;

pub mod depthwise;
pub mod elementwise;
pub mod norm;

pub mod average;
pub mod cast;
pub mod concat;
pub mod dropout;
pub mod image;
pub mod l2_normalise;
pub mod layer_norm;
pub mod pool;
pub mod update;

pub use cudarc::driver::DeviceRepr;

pub use crate::{
    context::{Info, KernelMeter, Meter},
    device::Device,
    error::{Error, Result},
    library::{FUNCTIONS, OLDEST_DRIVER},
    memory::{Address, Buffer, Slice, Usage},
    module::{Argument, Arguments, Launch},
    number::{Number, Storage},
    ptx::Ptx,
    rows::Shape,
    upload::Uploads,
};
