//! The driver's C functions: those that cudarc calls for devices, contexts, streams, events, memory, modules and
//! launches. A function that is not here is missing from the library, and cudarc panics with its name.
//!
//! Work is done when it is asked for, but the driver pretends that it is not: copies to pinned memory are delivered
//! when the host waits for them (`host.rs`), and each use of an allocation must be ordered after the last write of it
//! by another stream (`order.rs`). What goes wrong is returned as the driver returns it, and its text is kept for
//! [`client`](crate::client).
//!
//! Source: CUDA Driver API, NVIDIA, version 12.

mod card;
mod code;
mod control;
mod device;
mod host;
mod launch;
mod memory;
mod order;
mod stream;
