//! Kernels and what calls them, on the emulated driver: no GPU is needed.
//!
//! With `MASKFIT_TEST_CARD=0` in the environment the same tests run on that card, without the emulator's checks.

mod bounds;
mod concat;
mod conv;
mod costs;
mod depthwise;
mod device;
mod driver;
mod elementwise;
mod harness;
mod image;
mod layer_norm;
mod norm;
mod pool;
mod product;
mod prologue;
mod ptx;
mod reference;
mod shared;
mod update;
