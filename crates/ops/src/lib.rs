//! Tensor operations that candle lacks or gets wrong, with their gradients.
//!
//! Activations are contiguous and channels last, `[n, h, w, c]`; weights have the layouts
//! `[out, kh, kw, in]` (dense), `[kh, kw, c]` (depthwise) and `[out, in]` (products).
//! An operation takes [`Value`]s and returns one; it records its backward pass on the [`Tape`] of its
//! inputs. Every operation works in `f32`, and in `f64` for its gradient check.
//!
//! The bits of a result depend on the instruction set and never on the number of threads: sums are split into
//! blocks that are a function of the shapes, and added in block order. Only results that no other depends on, as at
//! inference, are shared by the number of threads.

#![expect(unsafe_code, reason = "the kernels of the workspace are here, and nowhere else")]

mod activate;
mod activation;
mod add;
mod avg_pool;
mod batch_norm;
mod blocks;
#[cfg(feature = "candle-cuda")]
mod candle_cuda;
mod card;
mod concat;
mod conv2d;
mod covariance;
mod depthwise;
mod dropout;
mod epilogue;
mod expand_depthwise;
mod expand_norm_depthwise;
mod frame;
mod gate;
mod gradients;
mod graph;
mod isa;
mod kernel;
mod l2_normalise;
mod lanes;
mod layer_norm;
mod linear;
mod log_probabilities;
mod matmul;
mod max_pool;
mod memory;
mod moments;
mod normalise;
mod number;
mod output;
mod pass;
mod pool;
mod prepacked;
mod profiler;
mod prologue;
mod real;
mod roofline;
mod share;
mod slots;
mod squeeze_excite;
mod stream;
mod tape;
mod target;
mod update;
mod upsample;
mod window;
mod winograd;

pub use activate::activate;
pub use activation::Activation;
pub use add::add;
pub use avg_pool::{adaptive_avg_pool, avg_pool};
pub use batch_norm::{
    RunningStatistics, batch_norm, batch_norm_fixed, batch_norm_running, scale_and_shift,
};
pub use card::{Card, CardRows, Stored, normalise_on_card};
pub use concat::concat;
pub use conv2d::conv2d;
pub use depthwise::depthwise;
pub use dropout::{drop_path, dropout};
pub use epilogue::Epilogue;
pub use expand_depthwise::expand_depthwise;
pub use expand_norm_depthwise::{BatchNorm, expand_norm_depthwise};
pub use gate::gate;
pub use gradients::Gradients;
pub use graph::{Graph, Node, Op, Recorder, Sliding, Weight};
pub use isa::{Isa, to_byte, vectorised};
pub use l2_normalise::l2_normalise;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use log_probabilities::log_sum_exp_of;
pub use max_pool::max_pool;
pub use memory::{LineAllocator, keep_freed_memory, peak_allocated};
pub use moments::Moments;
pub use normalise::{Rows, normalise};
pub use output::{Decide, Form, Output};
pub use pass::{Pass, Training};
pub use pool::global_avg_pool;
pub use prepacked::Prepacked;
pub use profiler::{OpTotals, Phase, Profile, profile};
pub use roofline::Roofline;
pub use squeeze_excite::squeeze_excite;
pub use tape::{Tape, Value};
pub use update::update;
pub use upsample::{upsample_columns, upsample_rows};
pub use window::{Padding, Window};

#[cfg(test)]
mod check;
