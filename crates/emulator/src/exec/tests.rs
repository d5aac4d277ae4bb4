//! Every kind of instruction against values computed by hand, and each fault planted once.

mod arithmetic;
mod conversions;
mod faults;
mod harness;
mod kernels;
mod warps;
