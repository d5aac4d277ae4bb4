//! What follows a product at inference on a card: y = act(scale·x + shift + plus), the twin of the line in an
//! [`Epilogue`](crate::Epilogue).

use std::sync::Arc;

use candle::{Result, Tensor};
use gpu::{Buffer, Shape, Storage, elementwise, norm, prologue::Prologue};

use super::{
    data::{Data, Line},
    store::{Card, ok},
};

/// The line of a norm with given statistics.
///
/// - `mean`, `variance`: `[c]`, running statistics that the card holds, or else the host's numbers.
pub(crate) fn norm_line(
    gamma: &Data,
    beta: &Data,
    (mean, variance): (&Tensor, &Tensor),
    eps: f64,
) -> Result<norm::Norm> {
    let (card, c) = (&gamma.card, gamma.c());
    let (mean, variance) = (card.stored(mean)?, card.stored(variance)?);
    let given = (&*mean.master, &*variance.master);
    let (gamma, beta) = (gamma.vector()?, beta.vector()?);
    ok(norm::fixed(card.device(), c, given, Some(&gamma), Some(&beta), eps as f32))
}

impl Line {
    /// The line of a norm, and 1 / √(σ² + ε).
    pub(crate) fn of_norm(norm: norm::Norm) -> (Line, Arc<Buffer>) {
        let norm::Norm { scale, shift, center, inverse } = norm;
        let [scale, shift, center] = [scale, shift, center].map(|it| Some(Arc::new(it)));
        (Line { scale, shift, center }, Arc::new(inverse))
    }

    /// A line of the host's numbers, `[c]` each.
    pub(crate) fn upload(card: &Card, scale: &[f64], shift: &[f64]) -> Result<Line> {
        let list = |numbers: &[f64], default: f64| {
            if numbers.iter().all(|it| *it == default) {
                return Ok(None);
            }
            let numbers: Vec<f32> = numbers.iter().map(|it| *it as f32).collect();
            ok(card.device().upload(&numbers)).map(|it| Some(Arc::new(it)))
        };
        Ok(Line { scale: list(scale, 1.0)?, shift: list(shift, 0.0)?, center: None })
    }

    /// The line after a bias `[c]` is added: the shift is shift + scale·bias.
    ///
    /// - `bias`: f32.
    pub(crate) fn after_bias(self, card: &Card, c: usize, bias: &Buffer) -> Result<Line> {
        let mut shift = card.alloc_f32(c)?;
        let shape = Shape { storage: Storage::F32, images: 1, area: 1, c };
        let line = Prologue {
            scale: self.scale.as_deref(),
            shift: self.shift.as_deref(),
            ..Prologue::default()
        };
        ok(elementwise::apply(card.device(), shape, (bias, &line), &mut shift))?;
        Ok(Line { shift: Some(Arc::new(shift)), ..self })
    }
}

/// The epilogue of an operation on a card.
#[derive(Clone, Default)]
pub(crate) struct Ending {
    pub(crate) line: Line,
    pub(crate) activation: gpu::prologue::Activation,
    /// Of the result's shape, and plain.
    pub(crate) plus: Option<Data>,
}

impl Ending {
    pub(crate) fn raw(&self) -> gpu::product::Epilogue<'_> {
        gpu::product::Epilogue {
            scale: self.line.scale.as_deref(),
            shift: self.line.shift.as_deref(),
            plus: self.plus.as_ref().map(|it| &*it.buffer),
            activation: self.activation,
        }
    }
}
