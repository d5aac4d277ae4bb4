//! Image decoding, transforms and augmentation, and the pipeline of them; and mixing the samples of a batch
//! (mixup, CutMix, random erasing).
//!
//! To add an image operation, write its file, declare it in `transform.rs`, and give it a line in
//! [`TransformConfig`]; likewise an operation on a batch in `mix.rs` and [`MixOpConfig`], and a kind of
//! test-time augmentation in `views.rs` and [`ViewsConfig`]. The zoo tests then cover it.

mod apply_all;
mod cache;
mod canvas;
mod cutout;
mod decode;
mod end;
mod error;
mod exif;
mod face;
mod filter;
mod jpeg;
mod merge;
mod mix;
mod mixing;
mod pipeline;
mod png;
mod projection;
mod range;
mod rgb;
mod sample;
mod shared;
mod size;
mod sniff;
mod statistics;
mod step;
mod tiff;
mod transform;
mod views;
mod webp;

pub use cache::Cache;
pub use canvas::{Canvas, OpError};
pub use decode::{decode, decode_whole, is_complete, verify};
pub use error::DecodeError;
pub use filter::Filter;
pub use merge::Merge;
pub use mix::{Extras, Level, MixOp, MixOpConfig, MixPlan};
pub use mixing::Mixing;
pub use pipeline::{Pipeline, PipelineError};
pub use projection::Projection;
pub use range::Range;
pub use rgb::Image;
pub use sample::Border;
pub use size::read_size;
pub use sniff::{SNIFFED, Sniffed, sniff};
pub use statistics::{Given, Statistics, StatisticsConfig, StatisticsSource};
pub use step::Step;
pub use transform::{
    CenterCrop, Crop, HorizontalFlip, Pad, RandomCrop, Resize, ResizeShorter, Transform,
    TransformConfig,
};
pub use views::{View, Views, ViewsConfig, apply_views, apply_views_checked, apply_views_to};
