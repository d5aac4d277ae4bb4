//! Models for other programs: a bundle as an ONNX file, and the weights of a network under timm's names.
//!
//! An ONNX file has one graph from images to probabilities for all members of a bundle: optionally the
//! preprocessing of decoded images ([`OnnxOptions::preprocessing`]), the network of each member, and how a
//! prediction follows from theirs. Its inputs, outputs and metadata are described in the book, "Exporting".

mod arithmetic;
mod builder;
mod combination;
mod error;
mod forms;
mod joint;
mod nodes;
mod onnx;
mod outputs;
mod preprocessing;
mod proto;
mod timm;

pub use error::ExportError;
pub use onnx::{Onnx, OnnxOptions, Port, onnx};
pub use timm::{TimmWeights, timm};
