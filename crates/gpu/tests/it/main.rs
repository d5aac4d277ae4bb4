//! Kernels and what calls them, on the emulated driver: no GPU is needed.
//!
//! With `MASKFIT_TEST_CARD=0` in the environment the same tests run on that card, without the emulator's checks.

mod costs;
mod device;
mod driver;
mod harness;
mod kernels;
mod ptx;
mod refused;
mod shared;
mod state;
