//! Networks on NVIDIA's cards: the twins of the operations, one dispatch each.
//!
//! A [`Value`](crate::Value) holds a tensor of the host, or a [buffer](data::Data) of a card with its prologue, or a
//! parameter that the [`Card`] holds. An operation runs where its inputs are: if one of them is on a card, its twin
//! here runs, and the others are copied there. Nothing waits for the card but [`Tape::export`](crate::Tape::export) and
//! [`Value::tensor`](crate::Value::tensor). An operation without a twin is an error that names it.
//!
//! Sums are f32 in two stages, and the deferred backward pass of a norm is relative to its mean, where the CPU has f64:
//! see `gpu::norm`.

mod activate;
mod add;
#[cfg(feature = "candle-cuda")]
pub(crate) mod candle_cuda;
mod concat;
mod conv2d;
pub(crate) mod data;
mod depthwise;
mod ending;
pub(crate) mod grad;
mod images;
mod linear;
mod norm;
mod pool;
mod rows;
pub(crate) mod store;

#[cfg(test)]
mod tests;

pub(crate) use activate::{activate, gate};
pub(crate) use add::add;
pub(crate) use concat::concat;
pub(crate) use conv2d::conv2d;
pub(crate) use data::{Line, activation_of};
pub(crate) use depthwise::depthwise;
pub(crate) use ending::{Ending, norm_line};
pub use images::{CardRows, normalise_on_card};
pub(crate) use linear::linear;
pub(crate) use norm::{batch_norm, batch_norm_fixed, scale_and_shift};
pub(crate) use pool::{adaptive_avg_pool, avg_pool, global_avg_pool, max_pool};
pub(crate) use rows::{dropout, l2_normalise, layer_norm};
pub use store::{Card, Stored};
