//! PTX text as data: its variables and functions, with instructions as written.
//!
//! The grammar is that of NVIDIA's "PTX ISA" 9.0, as far as nvcc writes it for kernels without
//! textures and clusters. What instructions mean is the business of `exec`.

mod body;
mod module;
mod parse;
mod parser;
mod tokens;

pub use module::{Class, Function, LoadError, Module, Operand, Space, Statement, Variable};
pub use parse::parse;
