//! The epilogue of an operation at inference: a norm with fixed statistics, a residual sum and an
//! activation, fused and applied while each result is in a register.
//!
//! y = act(scale·x + shift + plus), scale and shift per channel. If gradients are required, the norm and
//! activation are a [`prologue`](crate::prologue) of the reader instead, since the backward pass needs x.

use std::{hint::black_box, sync::Arc};

use candle::{DType, Result, Tensor, bail};

use crate::{
    Activation, Moments, Value,
    activation::{both_of, by_activation},
    card::{self, Card},
    graph::Op,
    lanes::{Lanes, Two, prefetch},
    moments::lines,
    prepacked::Forms,
    real::{Reading, Real, cast},
};

/// The function applied to a result before it is stored.
pub struct Epilogue {
    line: Lines,
    activation: Activation,
    plus: Option<Value>,
}

/// An affine function of each channel, where its values are.
#[derive(Clone)]
enum Lines {
    /// The identity of this many channels.
    Identity(usize),
    Host(Arc<Line>),
    Card(Card, card::Line),
}

/// An affine function of each channel.
struct Line {
    scale: Vec<f64>,
    shift: Vec<f64>,
    /// The two in the element types of the kernels, `Both`.
    forms: Forms,
}

/// Scale and shift.
type Both<T> = (Vec<T>, Vec<T>);

impl Line {
    fn new(scale: Vec<f64>, shift: Vec<f64>) -> Line {
        Line { scale, shift, forms: Forms::default() }
    }

    fn both<T: Real>(&self) -> Result<Arc<Both<T>>> {
        self.forms.get(|| Ok((cast(&self.scale), cast(&self.shift))))
    }
}

impl Epilogue {
    /// A norm with given statistics and its activation, same as
    /// [`batch_norm_fixed`](crate::batch_norm_fixed).
    ///
    /// - `gamma`, `beta`, `mean`, `variance`: `[c]`.
    pub fn norm(
        gamma: &Value,
        beta: &Value,
        (mean, variance): (&Tensor, &Tensor),
        eps: f64,
        activation: Activation,
    ) -> Result<Epilogue> {
        if let Some(card) = Value::card_of(&[gamma, beta]) {
            let (gamma, beta) = (gamma.on_card(&card)?, beta.on_card(&card)?);
            let (line, _) =
                card::Line::of_norm(card::norm_line(&gamma, &beta, (mean, variance), eps)?);
            return Ok(Epilogue { line: Lines::Card(card, line), activation, plus: None });
        }
        let list = |it: &Tensor| it.to_dtype(DType::F64)?.to_vec1::<f64>();
        let line = gamma.packed(|| {
            let moments = Moments { mean: list(mean)?, variance: list(variance)?, count: 0 };
            let (gamma, beta) = (list(&gamma.tensor()?)?, list(&beta.tensor()?)?);
            let (_, scale, shift) = lines(&gamma, &beta, &moments, eps);
            Ok(Line::new(scale, shift))
        })?;
        Ok(Epilogue { line: Lines::Host(line), activation, plus: None })
    }

    /// An affine function per channel, of `c` channels, and an activation: a bias, or a layer scale.
    ///
    /// - `scale`, `shift`: `[c]` each.
    pub fn line(
        c: usize,
        scale: Option<&Tensor>,
        shift: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Epilogue> {
        let list = |it: Option<&Tensor>, number| match it {
            Some(it) => it.to_dtype(DType::F64)?.to_vec1::<f64>(),
            None => Ok(vec![number; c]),
        };
        let line = match (scale, shift) {
            (None, None) => Lines::Identity(c),
            _ => Lines::Host(Arc::new(Line::new(list(scale, 1.0)?, list(shift, 0.0)?))),
        };
        Ok(Epilogue { line, activation, plus: None })
    }

    /// The epilogue applied after a bias is added.
    ///
    /// - `bias`: `[c]`.
    pub fn after_bias(self, bias: &Tensor) -> Result<Epilogue> {
        let numbers = || bias.to_dtype(DType::F64)?.to_vec1::<f64>();
        let line = match self.line {
            Lines::Identity(c) => Lines::Host(Arc::new(Line::new(vec![1.0; c], numbers()?))),
            Lines::Host(line) => {
                let shifts = line.shift.iter().zip(&line.scale).zip(numbers()?);
                let shift = shifts.map(|((shift, scale), bias)| shift + scale * bias).collect();
                Lines::Host(Arc::new(Line::new(line.scale.clone(), shift)))
            }
            Lines::Card(card, line) => {
                let stored = card.stored(bias)?.master;
                let line = line.after_bias(&card, bias.elem_count(), &stored)?;
                Lines::Card(card, line)
            }
        };
        Ok(Epilogue { line, ..self })
    }

    /// Adds a value of the result's shape before the activation.
    pub fn plus(self, value: &Value) -> Epilogue {
        Epilogue { plus: Some(value.clone()), ..self }
    }

    /// Records the operations of an optional epilogue, after that of which `ys` is the result.
    pub(crate) fn recorded(then: Option<&Epilogue>, mut ys: Value) -> Result<Value> {
        let Some(Epilogue { line, activation, plus }) = then else { return Ok(ys) };
        match line {
            Lines::Card(..) => return Ok(ys),
            Lines::Identity(_) => {}
            Lines::Host(line) => {
                let Line { scale, shift, .. } = &**line;
                let is_identity =
                    || scale.iter().all(|it| *it == 1.0) && shift.iter().all(|it| *it == 0.0);
                if ys.is_traced() && !is_identity() {
                    let affine = || Ok(Op::Affine { scale: scale.clone(), shift: shift.clone() });
                    ys = ys.then_recorded(&[], affine)?;
                }
            }
        }
        if let Some(plus) = plus {
            ys = ys.then_recorded(&[plus], || Ok(Op::Add))?;
        }
        match activation {
            Activation::None => Ok(ys),
            _ => ys.then_recorded(&[], || Ok(Op::Activate(*activation))),
        }
    }

    /// The epilogue of an operation with `c` channels on a card.
    ///
    /// # Errors
    /// Same as [`ready`](Epilogue::ready).
    pub(crate) fn on_card(
        then: Option<&Epilogue>,
        card: &Card,
        inputs: &[&Value],
        c: usize,
    ) -> Result<Option<card::Ending>> {
        let Some(it) = then else { return Ok(None) };
        if inputs.iter().copied().chain(&it.plus).any(Value::is_on_tape) {
            bail!("an operation with an epilogue has no gradient");
        }
        let check = |n: usize| match n == c {
            true => Ok(()),
            false => bail!("an epilogue for {n} channels does not match {c}"),
        };
        let line = match &it.line {
            Lines::Card(_, line) => line.clone(),
            Lines::Identity(n) => {
                check(*n)?;
                card::Line::default()
            }
            Lines::Host(line) => {
                check(line.scale.len())?;
                card::Line::upload(card, &line.scale, &line.shift)?
            }
        };
        let plus = it.plus.as_ref().map(|it| it.on_card(card)?.applied()).transpose()?;
        Ok(Some(card::Ending { line, activation: card::activation_of(it.activation), plus }))
    }

    /// Prepares an optional epilogue, and a bias, for a result of shape `dims` computed from `inputs`.
    ///
    /// # Errors
    /// If the shapes do not match, or if a gradient is required: there is no backward pass through it.
    pub(crate) fn ready<T: Real>(
        then: Option<&Epilogue>,
        inputs: &[&Value],
        bias: Option<&[T]>,
        dims: &[usize],
    ) -> Result<Ready<T>> {
        let c = dims.last().copied().unwrap_or(1);
        let Some(it) = then else {
            let activation = Activation::None;
            let lines = bias.map(|it| Arc::new((vec![T::ONE; c], it.to_vec())));
            return Ok(Ready { lines, activation, plus: None });
        };
        let plus = it.plus.as_ref();
        if inputs.iter().copied().chain(plus).any(Value::is_on_tape) {
            bail!("an operation with an epilogue has no gradient");
        }
        let (n, line) = match &it.line {
            Lines::Identity(n) => (*n, None),
            Lines::Host(line) => (line.scale.len(), Some(line)),
            Lines::Card(..) => {
                bail!("an epilogue on a card does not match a value of the host")
            }
        };
        if n != c || plus.is_some_and(|it| it.dims() != dims) {
            bail!("an epilogue for {n} channels does not match {dims:?}");
        }
        let lines = match (line, bias) {
            (None, bias) => {
                let shift = bias.map_or_else(|| vec![T::ZERO; c], <[T]>::to_vec);
                Arc::new((vec![T::ONE; c], shift))
            }
            (Some(line), None) => line.both()?,
            (Some(line), Some(bias)) => {
                let (scale, mut shift) = (cast::<T>(&line.scale), cast::<T>(&line.shift));
                for ((shift, &scale), &bias) in shift.iter_mut().zip(&scale).zip(bias) {
                    *shift += scale * bias;
                }
                Arc::new((scale, shift))
            }
        };
        let plus = plus.map(Value::tensor).transpose()?;
        Ok(Ready { lines: Some(lines), activation: it.activation, plus })
    }
}

/// An epilogue in the element type of the kernels.
pub(crate) struct Ready<T> {
    lines: Option<Arc<Both<T>>>,
    activation: Activation,
    plus: Option<Tensor>,
}

impl<T: Real> Ready<T> {
    /// A bias `[c]`, whose numbers are kept, and an activation.
    pub(crate) fn of_bias(bias: &Value, activation: Activation) -> Result<Ready<T>> {
        let lines = bias.packed(|| {
            let bias = bias.tensor()?;
            let shift = Reading::of(&bias).slice::<T>()?.to_vec();
            Ok((vec![T::ONE; shift.len()], shift))
        })?;
        Ok(Ready { lines: Some(lines), activation, plus: None })
    }

    /// The epilogue for rows; `None` if there is nothing to apply.
    pub(crate) fn on_rows(&self) -> Result<Option<OnRows<'_, T>>> {
        let Some((scale, shift)) = self.lines.as_deref() else { return Ok(None) };
        let plus = self.plus.as_ref().map(Reading::of);
        if let Some(it) = &plus {
            it.slice::<T>()?;
        }
        Ok(Some(OnRows { scale, shift, activation: self.activation, plus }))
    }
}

/// An epilogue for the rows of a result.
pub(crate) struct OnRows<'a, T> {
    scale: &'a [T],
    shift: &'a [T],
    activation: Activation,
    plus: Option<Reading<'a>>,
}

impl<'a, T: Real> OnRows<'a, T> {
    /// An affine function of each channel, and an activation.
    pub(crate) fn of_line(scale: &'a [T], shift: &'a [T], activation: Activation) -> OnRows<'a, T> {
        OnRows { scale, shift, activation, plus: None }
    }

    /// Whether it depends on the channel alone, and not on the row.
    pub(crate) fn is_of_channels(&self) -> bool {
        self.plus.is_none()
    }

    /// The epilogue for rows `first..first + n`.
    pub(crate) fn block(&self, first: usize, n: usize) -> Last<'_, T> {
        let c = self.scale.len();
        let slice = |it| Reading::slice::<T>(it).expect("checked at construction");
        let plus = self.plus.as_ref().map(|it| &slice(it)[first * c..(first + n) * c]);
        Last { scale: self.scale, shift: self.shift, activation: self.activation, plus }
    }
}

/// An epilogue for a block of rows of a result.
#[derive(Clone, Copy)]
pub(crate) struct Last<'a, T> {
    scale: &'a [T],
    shift: &'a [T],
    activation: Activation,
    /// The residual, in the layout of the block.
    plus: Option<&'a [T]>,
}

impl<'a, T: Real> Last<'a, T> {
    /// Whether it covers rows of `c` numbers, of which the last ends at `len`.
    pub(crate) fn fits(&self, c: usize, len: usize) -> bool {
        self.scale.len() >= c && self.plus.is_none_or(|it| it.len() >= len)
    }

    /// The epilogue for a part of the block.
    pub(crate) fn part(self, channel: usize, at: usize) -> Last<'a, T> {
        let (scale, shift) = (&self.scale[channel..], &self.shift[channel..]);
        Last { scale, shift, plus: self.plus.map(|it| &it[at..]), ..self }
    }

    /// Prefetches the residual at an offset.
    #[inline(always)]
    pub(crate) fn prefetch(&self, at: usize) {
        if let Some(plus) = self.plus {
            prefetch(plus.as_ptr().wrapping_add(at));
        }
    }

    /// Applies the epilogue to a register of `some` numbers at offset `at`, from channel `channel`.
    ///
    /// # Safety
    /// Same as [`Lanes`], and it must [fit](Last::fits).
    #[inline(always)]
    pub(crate) unsafe fn of<V: Lanes<Number = T>>(
        &self,
        x: V,
        channel: usize,
        at: usize,
        some: usize,
    ) -> V {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let load = |it: &[T], at: usize| V::load_some(it.as_ptr().add(at), some);
            let line = (load(self.scale, channel), load(self.shift, channel));
            self.apply(x, line, self.plus.map(|it| load(it, at)))
        }
    }

    /// Applies the epilogue to rows of registers, and stores them.
    ///
    /// - `at`: the offset of each row's first register, in `into` and in the residual.
    /// - `channels`: the first one of each row, and their number.
    /// - `apart`: the numbers from a register of a row to the next, and the channels.
    ///
    /// # Safety
    /// Same as [`of`](Last::of), for each register; the numbers of `into` may be written.
    #[inline(always)]
    pub(crate) unsafe fn store<V: Lanes<Number = T>, const VECS: usize>(
        &self,
        rows: &[[V; VECS]],
        into: *mut T,
        at: &[usize],
        (channel, n): (usize, usize),
        (apart, channels_apart): (usize, usize),
    ) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let some = |vec: usize| n - vec * channels_apart;
            let mut lines = [(V::splat(T::ZERO), V::splat(T::ZERO)); VECS];
            for (vec, line) in lines.iter_mut().enumerate() {
                let of = |it: &[T]| it.as_ptr().add(channel + vec * channels_apart);
                let (scale, shift) = (of(self.scale), of(self.shift));
                *line = (V::load_some(scale, some(vec)), V::load_some(shift, some(vec)));
            }
            by_activation!(self.activation, A => {
                // Not unrolled, or the code of all tiles would not fit the processor's caches.
                for row in 0..black_box(rows.len()) {
                    let (mut ys, at) = (rows[row], at[row]);
                    for (vec, (y, (scale, shift))) in ys.iter_mut().zip(lines).enumerate() {
                        *y = y.mul_add(scale, shift);
                        if let Some(plus) = self.plus {
                            let plus = V::load_some(plus.as_ptr().add(at + vec * apart), some(vec));
                            *y = y.mul_add(V::splat(T::ONE), plus);
                        }
                    }
                    for two in ys.chunks_exact_mut(2) {
                        let (both, _) = both_of::<T, Two<V>, A>(Two(two[0], two[1]));
                        (two[0], two[1]) = (both.0, both.1);
                    }
                    if VECS % 2 == 1 {
                        ys[VECS - 1] = both_of::<T, V, A>(ys[VECS - 1]).0;
                    }
                    for (vec, y) in ys.into_iter().enumerate() {
                        y.store_some(into.add(at + vec * apart), some(vec));
                    }
                }
            });
        }
    }

    #[inline(always)]
    unsafe fn apply<V: Lanes<Number = T>>(
        &self,
        x: V,
        (scale, shift): (V, V),
        plus: Option<V>,
    ) -> V {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let mut y = x.mul_add(scale, shift);
            if let Some(plus) = plus {
                y = y.mul_add(V::splat(T::ONE), plus);
            }
            by_activation!(self.activation, A => both_of::<T, V, A>(y).0)
        }
    }
}

#[cfg(test)]
mod tests;
