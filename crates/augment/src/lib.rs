//! From encoded bytes to images: decoding, cropping, resizing, colours, and the pipeline of them;
//! and from images to the rows of a batch.
//!
//! To add an image operation, write its file, declare it in `image.rs`, and give it a line in
//! [`TransformConfig`]; an operation on a batch likewise in `mix.rs` and [`MixOpConfig`]. The zoo
//! tests find it there.

mod canvas;
mod cutout;
mod decode;
mod end;
mod exif;
mod face;
mod jpeg;
mod memory;
mod mix;
mod mixing;
mod pipeline;
mod projection;
mod range;
mod sample;
mod size;
mod sniff;
mod statistics;
mod step;
mod tiff;
mod transform;

pub use canvas::{Canvas, OpError};
pub use decode::{DecodeError, decode, decode_whole, verify};
pub use memory::Memory;
pub use mix::{Level, MixOp, MixOpConfig, MixPlan};
pub use mixing::Mixing;
pub use pipeline::{Pipeline, PipelineError};
pub use projection::Projection;
pub use range::Range;
pub use sample::Border;
pub use size::read_size;
pub use sniff::{SNIFFED, Sniffed, sniff};
pub use statistics::{Given, Statistics, StatisticsConfig, StatisticsSource};
pub use step::Step;
pub use transform::{
    CenterCrop, Filter, HorizontalFlip, Image, RandomCrop, Resize, ResizeShorter, Transform,
    TransformConfig,
};
