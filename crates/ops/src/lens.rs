//! Reading through a lens: a batch norm, its activation and a gate are not applied when they are
//! met, but whenever the tensor before them is read.
//!
//! A convolution's output z is stored once. What follows is a function of each number alone,
//!
//! y = act(scale·z + shift)·gate,
//!
//! with scale and shift of the channel and gate of the channel and picture, so that the next
//! operation, which is bound by memory, computes y while it reads z, block by block in cache.
//!
//! The way back is symmetric. The gradient g of y is stored as its producer leaves it, and the
//! gradient of z,
//!
//! dz = scale·(g·times + plus)·act'(scale·z + shift) + slope·z + offset,
//!
//! is computed while the convolution's way back reads g and z: times is the gate, plus the gradient
//! that comes back through a pooling, slope and offset are those of a batch's own statistics.

use std::rc::Rc;

use candle::{DType, Result, Tensor};

use crate::{
    Activation,
    activation::{by_activation, slope_at, value_at},
    blocks::{overwrite, rows_per_block},
    isa::kernel,
    real::{Reading, Real, by_dtype, tensor},
};

/// What is done to each number of a tensor `[n, …, c]` when it is read.
#[derive(Clone)]
pub(crate) struct Lens {
    /// `[c]` each.
    pub(crate) scale: Vec<f64>,
    pub(crate) shift: Vec<f64>,
    /// About where the numbers lie: sums of them are taken from here.
    pub(crate) center: Vec<f64>,
    pub(crate) activation: Activation,
    /// `[n, c]`.
    pub(crate) gate: Option<Tensor>,
}

/// A gradient, and how it is to be read.
#[derive(Clone)]
pub(crate) struct Grad {
    pub(crate) tensor: Tensor,
    /// `[n, c]` each.
    pub(crate) times: Option<Tensor>,
    pub(crate) plus: Option<Tensor>,
    pub(crate) norm: Option<Rc<NormBack>>,
    /// Σ d and Σ d·(z - mean) of each channel, where d = g·act', if the gradient's producer has
    /// taken them: for the norm that the gradient goes back to.
    pub(crate) sums: Option<Vec<f64>>,
}

/// The way back through a norm and its activation.
pub(crate) struct NormBack {
    /// z.
    pub(crate) xs: Tensor,
    pub(crate) activation: Activation,
    /// `[c]` each.
    pub(crate) scale: Vec<f64>,
    pub(crate) shift: Vec<f64>,
    pub(crate) slope: Vec<f64>,
    pub(crate) offset: Vec<f64>,
}

impl Grad {
    /// A gradient that is read as it is.
    pub(crate) fn plain(tensor: Tensor) -> Grad {
        Grad { tensor, times: None, plus: None, norm: None, sums: None }
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.times.is_none() && self.plus.is_none() && self.norm.is_none()
    }

    /// The gradient as it reads.
    pub(crate) fn settle(self) -> Result<Tensor> {
        if self.is_plain() {
            return self.tensor.contiguous();
        }
        let dims = self.tensor.dims().to_vec();
        by_dtype!("gradient", self.tensor, T => {
            let view = GradView::<T>::of(&self)?;
            tensor(whole(view.n_rows, view.c, |first, ys| view.read(first, ys, view.c)), &dims)
        })
    }

    /// The gradient without a norm, which another norm can go back from.
    pub(crate) fn before_norm(self) -> Result<Grad> {
        if self.norm.is_none() { Ok(self) } else { Ok(Grad::plain(self.settle()?)) }
    }
}

/// Applies a lens to a whole tensor.
pub(crate) fn settle(xs: &Tensor, lens: Option<&Lens>) -> Result<Tensor> {
    let Some(lens) = lens else { return xs.contiguous() };
    let xs = xs.contiguous()?;
    by_dtype!("lens", xs, T => {
        let view = View::<T>::of(&xs, Some(lens))?;
        tensor(whole(view.n_rows, view.c, |first, ys| view.read(first, ys, view.c)), xs.dims())
    })
}

fn whole<T: Real>(n_rows: usize, c: usize, read: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    let write = |rows: std::ops::Range<usize>, block: &mut [T]| read(rows.start, block);
    // SAFETY: both kinds of view write every number that they are to read into.
    unsafe { overwrite(n_rows, c, rows_per_block(n_rows, c), write) }.0
}

pub(crate) fn cast<T: Real>(xs: &[f64]) -> Vec<T> {
    xs.iter().map(|&it| T::of(it)).collect()
}

/// The numbers of a small tensor.
fn numbers<T: Real>(it: &Tensor) -> Result<Vec<T>> {
    Ok(cast(&it.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?))
}

/// A tensor through its lens, for kernels: rows of channels.
pub(crate) struct View<'a, T> {
    xs: Reading<'a>,
    through: Option<Through<T>>,
    pub(crate) n_rows: usize,
    pub(crate) c: usize,
    /// Rows of one picture.
    area: usize,
}

struct Through<T> {
    scale: Vec<T>,
    shift: Vec<T>,
    center: Vec<T>,
    activation: Activation,
    gates: PerPicture<T>,
}

/// A number for each channel of each picture, or the same for all of them.
struct PerPicture<T> {
    values: Vec<T>,
    is_shared: bool,
}

impl<T: Real> PerPicture<T> {
    fn of(tensor: Option<&Tensor>, default: T, c: usize) -> Result<PerPicture<T>> {
        Ok(match tensor {
            Some(it) => PerPicture { values: numbers(it)?, is_shared: false },
            None => PerPicture { values: vec![default; c], is_shared: true },
        })
    }

    fn at(&self, picture: usize, c: usize) -> &[T] {
        &self.values[if self.is_shared { 0 } else { picture * c }..][..c]
    }
}

impl<'a, T: Real> View<'a, T> {
    /// - `xs`: `[n, …, c]`, contiguous.
    pub(crate) fn of(xs: &'a Tensor, lens: Option<&Lens>) -> Result<View<'a, T>> {
        let (n_rows, area, c) = rows_of(xs);
        let through = match lens {
            None => None,
            Some(it) => Some(Through {
                scale: cast(&it.scale),
                shift: cast(&it.shift),
                center: cast(&it.center),
                activation: it.activation,
                gates: PerPicture::of(it.gate.as_ref(), T::ONE, c)?,
            }),
        };
        let view = View { xs: Reading::of(xs), through, n_rows, c, area };
        view.xs.slice::<T>()?;
        Ok(view)
    }

    /// The numbers as they are stored.
    pub(crate) fn stored(&self) -> &[T] {
        self.xs.slice::<T>().expect("checked when the view was made")
    }

    /// The norm that the numbers are read through, if a gradient of them goes straight to it.
    pub(crate) fn norm(&self) -> Option<NormSums<'_, T>> {
        let it = self.through.as_ref().filter(|it| it.gates.is_shared)?;
        let vectors = [vec![T::ONE; self.c], vec![T::ZERO; self.c]];
        Some(NormSums { through: it, vectors })
    }

    /// Rows `first..` as they are stored, if they are read that way.
    pub(crate) fn plain(&self, first: usize, n: usize) -> Option<&[T]> {
        match self.through {
            None => Some(&self.stored()[first * self.c..(first + n) * self.c]),
            Some(_) => None,
        }
    }

    /// Reads rows `first..` into rows that begin `stride` apart; what is between is left alone.
    pub(crate) fn read(&self, first: usize, into: &mut [T], stride: usize) {
        let (c, xs) = (self.c, &self.stored()[first * self.c..]);
        let Some(it) = &self.through else {
            for (to, from) in into.chunks_mut(stride).zip(xs.chunks_exact(c)) {
                to[..c].copy_from_slice(from);
            }
            return;
        };
        by_pictures(first, into, stride, self.area, |picture, begin, into| {
            let (xs, gates) = (&xs[begin * c..], it.gates.at(picture, c));
            by_activation!(it.activation, A => {
                look::<T, A>(xs, &it.scale, &it.shift, gates, into, stride);
            });
        });
    }
}

/// What a norm wants to know of the gradient after it, taken while that is in cache.
pub(crate) struct NormSums<'a, T> {
    through: &'a Through<T>,
    /// Ones and zeros.
    vectors: [Vec<T>; 2],
}

impl<T: Real> NormSums<'_, T> {
    /// Adds Σ d and Σ d·(x - center) of rows of gradients and numbers to `[2, c]`.
    pub(crate) fn add_sums(&self, gs: &[T], xs: &[T], sums: &mut [f64]) {
        let it = self.through;
        let c = it.scale.len();
        let [times, plus] = &self.vectors;
        let constants = [times, plus, &it.scale, &it.shift, &it.center].map(Vec::as_slice);
        T::with_scratch(2 * c, |part| {
            for (gs, xs) in gs.chunks(256 * c).zip(xs.chunks(256 * c)) {
                part.fill(T::ZERO);
                by_activation!(it.activation, A => add_gradient_sums::<T, A>(gs, xs, constants, part));
                sums.iter_mut().zip(&*part).for_each(|(sum, it)| *sum += it.to_f64());
            }
        });
    }
}

/// Rows, rows of a picture, and channels of a tensor `[n, …, c]`.
fn rows_of(xs: &Tensor) -> (usize, usize, usize) {
    let dims = xs.dims();
    let c = dims.last().copied().unwrap_or(1).max(1);
    let n_rows = xs.elem_count() / c;
    (n_rows, (n_rows / dims.first().copied().unwrap_or(1).max(1)).max(1), c)
}

/// Cuts rows `first..` where a picture ends: `f` gets the picture, the position of its first row
/// among these, and its rows.
fn by_pictures<T>(
    first: usize,
    into: &mut [T],
    stride: usize,
    area: usize,
    mut f: impl FnMut(usize, usize, &mut [T]),
) {
    let n = into.len().div_ceil(stride);
    let mut rest = into;
    let mut done = 0;
    while done < n {
        let row = first + done;
        let many = (area - row % area).min(n - done);
        let (these, others) = rest.split_at_mut((many * stride).min(rest.len()));
        f(row / area, done, these);
        (rest, done) = (others, done + many);
    }
}

/// A gradient through what is left of its way, for kernels: rows of channels.
pub(crate) struct GradView<'a, T> {
    gs: Reading<'a>,
    times: PerPicture<T>,
    plus: PerPicture<T>,
    norm: Option<NormView<'a, T>>,
    is_plain: bool,
    pub(crate) n_rows: usize,
    pub(crate) c: usize,
    area: usize,
}

struct NormView<'a, T> {
    xs: Reading<'a>,
    activation: Activation,
    scale: Vec<T>,
    shift: Vec<T>,
    slope: Vec<T>,
    offset: Vec<T>,
}

impl<'a, T: Real> GradView<'a, T> {
    /// - `grad.tensor`: `[n, …, c]`, contiguous.
    pub(crate) fn of(grad: &'a Grad) -> Result<GradView<'a, T>> {
        let (n_rows, area, c) = rows_of(&grad.tensor);
        let norm = match &grad.norm {
            None => None,
            Some(it) => Some(NormView {
                xs: Reading::of(&it.xs),
                activation: it.activation,
                scale: cast(&it.scale),
                shift: cast(&it.shift),
                slope: cast(&it.slope),
                offset: cast(&it.offset),
            }),
        };
        let view = GradView {
            gs: Reading::of(&grad.tensor),
            times: PerPicture::of(grad.times.as_ref(), T::ONE, c)?,
            plus: PerPicture::of(grad.plus.as_ref(), T::ZERO, c)?,
            norm,
            is_plain: grad.is_plain(),
            n_rows,
            c,
            area,
        };
        view.gs.slice::<T>()?;
        if let Some(it) = &view.norm {
            it.xs.slice::<T>()?;
        }
        Ok(view)
    }

    fn stored(&self) -> &[T] {
        self.gs.slice::<T>().expect("checked when the view was made")
    }

    /// Rows `first..` as they are stored, if they are read that way.
    pub(crate) fn plain(&self, first: usize, n: usize) -> Option<&[T]> {
        self.is_plain.then(|| &self.stored()[first * self.c..(first + n) * self.c])
    }

    /// Reads rows `first..` into rows that begin `stride` apart; what is between is left alone.
    pub(crate) fn read(&self, first: usize, into: &mut [T], stride: usize) {
        let (c, gs) = (self.c, &self.stored()[first * self.c..]);
        if self.is_plain {
            for (to, from) in into.chunks_mut(stride).zip(gs.chunks_exact(c)) {
                to[..c].copy_from_slice(from);
            }
            return;
        }
        by_pictures(first, into, stride, self.area, |picture, begin, into| {
            let gs = &gs[begin * c..];
            let (times, plus) = (self.times.at(picture, c), self.plus.at(picture, c));
            let Some(it) = &self.norm else {
                return line::<T>(gs, times, plus, into, stride);
            };
            let xs = it.xs.slice::<T>().expect("checked when the view was made");
            let xs = &xs[(first + begin) * c..];
            let constants = [&it.scale, &it.shift, &it.slope, &it.offset].map(Vec::as_slice);
            by_activation!(it.activation, A => {
                go_back::<T, A>(gs, xs, times, plus, constants, into, stride);
            });
        });
    }

    /// Adds Σ d and Σ d·(z - mean) of rows `first..first + n` to sums `[2, c]`, where
    /// d = (g·times + plus)·act'(scale·z + shift).
    pub(crate) fn add_sums(
        &self,
        first: usize,
        n: usize,
        xs: &[T],
        lens: (&[T], &[T], Activation),
        mean: &[T],
        sums: &mut [T],
    ) {
        let (c, gs) = (self.c, &self.stored()[first * self.c..]);
        let (scale, shift, activation) = lens;
        let mut done = 0;
        while done < n {
            let row = first + done;
            let many = (self.area - row % self.area).min(n - done);
            let picture = row / self.area;
            let (times, plus) = (self.times.at(picture, c), self.plus.at(picture, c));
            let part = done * c..(done + many) * c;
            let (gs, xs) = (&gs[part.clone()], &xs[(first + done) * c..][..many * c]);
            by_activation!(activation, A => {
                add_gradient_sums::<T, A>(gs, xs, [times, plus, scale, shift, mean], sums);
            });
            done += many;
        }
    }
}

kernel! {
    /// act(scale·x + shift)·gate.
    fn look<F, T, const A: u8>(
        xs: &[T], scale: &[T], shift: &[T], gates: &[T], into: &mut [T], stride: usize,
    ) {
        let c = scale.len();
        for (xs, ys) in xs.chunks_exact(c).zip(into.chunks_mut(stride)) {
            let constants = scale.iter().zip(shift).zip(gates);
            for ((y, &x), ((&scale, &shift), &gate)) in ys.iter_mut().zip(xs).zip(constants) {
                *y = value_at::<F, T, A>(T::fma::<F>(x, scale, shift)) * gate;
            }
        }
    }
}

kernel! {
    fn line<F, T>(gs: &[T], times: &[T], plus: &[T], into: &mut [T], stride: usize) {
        for (gs, ys) in gs.chunks_exact(times.len()).zip(into.chunks_mut(stride)) {
            for ((y, &g), (&times, &plus)) in ys.iter_mut().zip(gs).zip(times.iter().zip(plus)) {
                *y = T::fma::<F>(g, times, plus);
            }
        }
    }
}

kernel! {
    fn go_back<F, T, const A: u8>(
        gs: &[T], xs: &[T], times: &[T], plus: &[T], constants: [&[T]; 4], into: &mut [T],
        stride: usize,
    ) {
        let [scale, shift, slope, offset] = constants;
        let c = scale.len();
        let rows = gs.chunks_exact(c).zip(xs.chunks_exact(c));
        for ((gs, xs), ys) in rows.zip(into.chunks_mut(stride)) {
            let ways = times.iter().zip(plus).zip(scale.iter().zip(shift));
            let constants = ways.zip(slope.iter().zip(offset));
            let numbers = ys.iter_mut().zip(gs).zip(xs);
            for (((y, &g), &x), (((&times, &plus), (&scale, &shift)), (&slope, &offset))) in
                numbers.zip(constants)
            {
                let d = T::fma::<F>(g, times, plus);
                let d = d * slope_at::<F, T, A>(T::fma::<F>(x, scale, shift));
                *y = T::fma::<F>(scale, d, T::fma::<F>(slope, x, offset));
            }
        }
    }
}

kernel! {
    fn add_gradient_sums<F, T, const A: u8>(
        gs: &[T], xs: &[T], constants: [&[T]; 5], sums: &mut [T],
    ) {
        let [times, plus, scale, shift, mean] = constants;
        let c = scale.len();
        let (d_sum, dx_sum) = sums.split_at_mut(c);
        for (gs, xs) in gs.chunks_exact(c).zip(xs.chunks_exact(c)) {
            let constants = times.iter().zip(plus).zip(scale.iter().zip(shift).zip(mean));
            let sums = d_sum.iter_mut().zip(&mut *dx_sum);
            let numbers = gs.iter().zip(xs).zip(sums);
            for (((&g, &x), (d_sum, dx_sum)), ((&times, &plus), ((&scale, &shift), &mean))) in
                numbers.zip(constants)
            {
                let d = T::fma::<F>(g, times, plus);
                let d = d * slope_at::<F, T, A>(T::fma::<F>(x, scale, shift));
                *d_sum += d;
                *dx_sum = T::fma::<F>(d, x - mean, *dx_sum);
            }
        }
    }
}
