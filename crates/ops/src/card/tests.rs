//! Operations and small networks on the emulated card, against the CPU's f32.

mod harness;
mod networks;
mod operations;
mod passes;
mod traffic;
