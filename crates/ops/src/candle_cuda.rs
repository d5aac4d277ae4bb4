//! Tensors handed to candle's own CUDA and back without a copy: the feature `candle-cuda`.
//!
//! For programs that compute with candle on the same card: networks of this project between operations of candle. They
//! depend on candle with its feature `cuda`, and on this crate with `candle-cuda`; nothing else needs it.
//!
//! ```ignore
//! let device = candle::Device::new_cuda_with_stream(0)?;
//! let card = Card::on_candle(&device, gpu::Storage::Bf16)?;
//! let tape = Tape::on_card(&card, Rc::default());
//! let logits = model.forward(&Value::constant(images), &pass)?;  // images: a tensor of `device`
//! let logits = tape.export_to_candle(logits, &device)?;          // and so are the logits
//! let grads = tape.backward(&loss(&logits)?)?;
//! ```
//!
//! - Stream: [`Card::on_candle`](crate::Card::on_candle) works on the stream of candle's device, so that one order holds for both and nothing
//!   is waited for. `Device::new_cuda`, whose stream is another one in each thread, is refused.
//! - To a card: a [`Value::constant`] of a tensor of that device is read where it is, as is the gradient of an exported
//!   value. The value keeps the tensor alive; it must not be written meanwhile (`Var::set`, `slice_set`).
//! - To candle: [`Value::into_candle`] and [`Tape::export_to_candle`] give the memory to candle, which frees it with the
//!   tensor. Memory that has other users, such as another copy of the value or its backward pass, is copied on the card.
//! - Types: f32, bf16 and f16. A tensor that is not stored as the card stores activations is converted on the card; one
//!   that is not contiguous, or does not begin at a multiple of 16 bytes, is copied there.
//!
//! No test runs this, as candle's CUDA needs its libraries: `cargo xtask candle-cuda` checks its types, and
//! `crates/gpu/tests/it/shared.rs` tests the handing over beneath it.

use candle::{Device, Result, Tensor};

use crate::{
    card::candle_cuda::give,
    tape::{Tape, Value},
};

impl Value {
    /// The tensor, with its prologue applied, on candle's device; stored as the card stores activations. Without a copy
    /// if the value is the last user of its memory. A value of the host is copied to the device.
    ///
    /// # Errors
    /// If the card does not [share its stream](crate::Card::on_candle) with the device.
    pub fn into_candle(self, device: &Device) -> Result<Tensor> {
        self.hand_over(device, false)
    }

    fn hand_over(self, device: &Device, is_variable: bool) -> Result<Tensor> {
        let Some(card) = self.card().cloned() else { return self.tensor()?.to_device(device) };
        let data = self.on_card(&card)?;
        drop(self);
        let (buffer, dims) = (data.materialise()?, data.dims.clone());
        drop(data);
        give(&card, device, buffer, &dims, is_variable)
    }
}

impl Tape {
    /// [`Tape::export`] to candle's device: a leaf of candle's graph, whose gradient [`Tape::backward`] reads there.
    ///
    /// # Errors
    /// As [`Value::into_candle`].
    pub fn export_to_candle(&self, value: Value, device: &Device) -> Result<Tensor> {
        let slot = value.slot();
        let tensor = value.hand_over(device, slot.is_some())?;
        self.add_export(slot, tensor)
    }
}
