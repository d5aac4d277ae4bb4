//! A `libcuda.so.1` that interprets PTX, for tests on machines without a GPU.
//!
//! `ptx` parses a module, `exec` decodes and runs its kernels on the `memory` of a device, `faults` are what kernels do
//! wrong, `counts` what they cost; `driver` has the C functions of the driver, `client` loads the library for tests.
//!
//! Found are accesses out of bounds or misaligned, reads of bytes and registers that were never written, races within
//! a block and between blocks, barriers that some threads miss, endless loops and launches of a wrong shape. Not
//! seen are what `ptxas` makes of the PTX, the hardware's rounding of approximations and matrix products, and time.

pub mod client;
pub mod counts;
pub mod driver;
pub mod exec;
pub mod faults;
pub mod memory;
pub mod ptx;
