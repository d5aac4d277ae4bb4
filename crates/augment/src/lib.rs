//! From encoded bytes to pictures: decoding, cropping, resizing, colours, and the pipeline of them;
//! and from pictures to the rows of a batch.
//!
//! To add a picture operation, write its file, declare it in `picture.rs`, and give it a line in
//! [`PictureOpConfig`]; an operation on a batch likewise in `mix.rs` and [`MixOpConfig`]. The zoo
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
mod picture;
mod pipeline;
mod projection;
mod range;
mod sample;
mod size;
mod sniff;
mod statistics;
mod step;
mod tiff;

pub use canvas::{Canvas, OpError};
pub use decode::{DecodeError, decode, decode_whole, verify};
pub use memory::Memory;
pub use mix::{Level, MixOp, MixOpConfig, MixPlan};
pub use mixing::Mixing;
pub use picture::{
    CenterCrop, Filter, HorizontalFlip, Picture, PictureOp, PictureOpConfig, RandomCrop, Resize,
    ResizeShorter,
};
pub use pipeline::{Pipeline, PipelineError};
pub use projection::Projection;
pub use range::Range;
pub use sample::Border;
pub use size::read_size;
pub use sniff::{SNIFFED, Sniffed, sniff};
pub use statistics::{Given, Statistics, StatisticsConfig, StatisticsSource};
pub use step::Step;
