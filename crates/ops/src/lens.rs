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

use std::{
    collections::{BTreeMap, btree_map::Entry},
    rc::Rc,
};

use candle::{DType, Result, Tensor};

use crate::{
    Activation,
    activation::{self, both_of},
    blocks::{overwrite, rows_per_block},
    isa::kernel,
    lanes::{Lanes, lanes_kernel, prefetch},
    real::{Reading, Real, by_dtype, tensor},
    sum::add,
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
    /// Set where the producer has gone back through the activation: `tensor` is d = g·act'.
    pub(crate) before: Option<Rc<Before>>,
    /// Σ d and Σ d·(z - center) of each channel, if the producer has taken them.
    pub(crate) sums: Option<Vec<f64>>,
    /// What the producer has summed up for a gate and the norm before it.
    pub(crate) gate_sums: Option<Rc<GateSums>>,
}

/// The tensor and the lens that a gradient has gone back through as far as the norm.
pub(crate) struct Before {
    pub(crate) xs: Tensor,
    pub(crate) lens: Lens,
}

/// With y = act(u)·gate and u = scale·z + shift: of each channel of each picture the sums
/// Σ g·act(u), Σ g·act'(u), Σ g·act'(u)·(z - center), Σ act'(u) and Σ act'(u)·(z - center).
///
/// Whatever factor and offset g gets on its way back through the gate, these say the norm's sums.
pub(crate) struct GateSums {
    /// `[n, 5, c]`.
    pub(crate) sums: Vec<f64>,
    pub(crate) c: usize,
}

impl GateSums {
    /// The sums of one picture.
    fn of(&self, picture: usize) -> [&[f64]; 5] {
        let all = &self.sums[picture * 5 * self.c..][..5 * self.c];
        std::array::from_fn(|idx| &all[idx * self.c..][..self.c])
    }

    /// Σ g·act(u): the gradient of the gates, `[n, c]`.
    pub(crate) fn of_gates(&self) -> Vec<f64> {
        let pictures = 0..self.sums.len() / (5 * self.c).max(1);
        pictures.flat_map(|picture| self.of(picture)[0].to_vec()).collect()
    }

    /// Σ d and Σ d·(z - center) of each channel, where d = (g·times + plus)·act'(u).
    pub(crate) fn of_norm(&self, times: &[f64], plus: Option<&[f64]>) -> Vec<f64> {
        let mut totals = vec![0.0; 2 * self.c];
        for (picture, times) in times.chunks_exact(self.c).enumerate() {
            let [_, g, g_z, one, one_z] = self.of(picture);
            let plus = plus.map(|it| &it[picture * self.c..]);
            for (idx, &times) in times.iter().enumerate() {
                let plus = plus.map_or(0.0, |it| it[idx]);
                totals[idx] += times * g[idx] + plus * one[idx];
                totals[self.c + idx] += times * g_z[idx] + plus * one_z[idx];
            }
        }
        totals
    }
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
        Grad {
            tensor,
            times: None,
            plus: None,
            norm: None,
            before: None,
            sums: None,
            gate_sums: None,
        }
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.times.is_none() && self.plus.is_none() && self.norm.is_none()
    }

    /// The gradient with what was summed up when it was [looked](View::look_back) back through
    /// the lens on `xs`.
    pub(crate) fn summed(self, sums: Option<BackSums>, xs: &Tensor, lens: Option<&Lens>) -> Grad {
        let c = lens.map_or(0, |it| it.scale.len());
        match (sums, lens) {
            (Some(BackSums::Norm(sums)), Some(lens)) => {
                let before = Before { xs: xs.clone(), lens: lens.clone() };
                Grad { before: Some(Rc::new(before)), sums: Some(sums), ..self }
            }
            (Some(BackSums::Gate(pictures)), _) => {
                let sums = pictures.into_values().flatten().collect();
                Grad { gate_sums: Some(Rc::new(GateSums { sums, c })), ..self }
            }
            _ => self,
        }
    }

    /// The sum of two gradients of one value.
    pub(crate) fn add(self, other: Grad) -> Result<Grad> {
        let (a, b) = match (&self.before, &other.before) {
            (None, None) => return Ok(Grad::plain(add(&self.settle()?, &other.settle()?)?)),
            (Some(_), None) => return other.add(self),
            (None, Some(before)) => (self.go_before(&before.clone())?, other),
            (Some(_), Some(_)) => (self, other),
        };
        let sums = match (a.sums, b.sums) {
            (Some(a), Some(b)) => Some(a.iter().zip(b).map(|(a, b)| a + b).collect()),
            _ => None,
        };
        Ok(Grad { before: b.before, sums, ..Grad::plain(add(&a.tensor, &b.tensor)?) })
    }

    /// The gradient as far back as another of the same value has gone.
    fn go_before(self, before: &Before) -> Result<Grad> {
        let grad = self.settle()?;
        let summed = by_dtype!("gradient", grad, T => {
            let view = View::<T>::of(&before.xs, Some(&before.lens))?;
            let from = Reading::of(&grad);
            let (from, c) = (from.slice::<T>()?, view.c);
            let write = |rows: std::ops::Range<usize>, block: &mut [T]| {
                block.copy_from_slice(&from[rows.start * c..rows.end * c]);
                let mut sums = view.back_sums().expect("a lens has sums");
                view.look_back(rows.start, block, None, &mut sums);
                sums
            };
            let per_block = rows_per_block(view.n_rows, c);
            // SAFETY: each block is copied first.
            let (ds, sums) = unsafe { overwrite(view.n_rows, c, per_block, write) };
            Ok::<_, candle::Error>((tensor(ds, grad.dims())?, BackSums::join(sums)))
        })?;
        let (tensor, sums) = summed;
        Ok(Grad::plain(tensor).summed(sums, &before.xs, Some(&before.lens)))
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
            let gates = it.gates.at(picture, c);
            let constants = [&it.scale, &it.shift, gates, gates, gates, gates];
            let n = into.len().div_ceil(stride);
            let rows = Rows { n, c, activation: it.activation as u8, constants };
            look(rows, &xs[begin * c..], into, stride);
        });
    }
}

/// What the sums of a way back are of: each channel, or with a gate each channel of each picture.
pub(crate) enum BackSums {
    Norm(Vec<f64>),
    /// By picture.
    Gate(BTreeMap<usize, Vec<f64>>),
}

impl BackSums {
    /// Adds what another block has summed up.
    pub(crate) fn join(parts: Vec<BackSums>) -> Option<BackSums> {
        parts.into_iter().reduce(|mut all, part| {
            let add = |to: &mut Vec<f64>, from: Vec<f64>| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            };
            match (&mut all, part) {
                (BackSums::Norm(all), BackSums::Norm(part)) => add(all, part),
                (BackSums::Gate(all), BackSums::Gate(part)) => {
                    for (picture, part) in part {
                        match all.entry(picture) {
                            Entry::Occupied(mut it) => add(it.get_mut(), part),
                            Entry::Vacant(it) => drop(it.insert(part)),
                        }
                    }
                }
                _ => unreachable!("one view has sums of one kind"),
            }
            all
        })
    }
}

impl<T: Real> View<'_, T> {
    /// Nothing yet of the sums that the way back through this lens will ask for, if there is one.
    pub(crate) fn back_sums(&self) -> Option<BackSums> {
        let it = self.through.as_ref()?;
        Some(match it.gates.is_shared {
            true => BackSums::Norm(vec![0.0; 2 * self.c]),
            false => BackSums::Gate(BTreeMap::new()),
        })
    }

    /// Takes the gradients `gs` of rows `first..`, while they are in cache, a step back.
    ///
    /// Adds to the sums, and without a gate replaces each gradient by the one before the
    /// activation. With `seen`, a place and the distance of its rows, reads the rows as well.
    pub(crate) fn look_back(
        &self,
        first: usize,
        gs: &mut [T],
        mut seen: Option<(&mut [T], usize)>,
        sums: &mut BackSums,
    ) {
        let it = self.through.as_ref().expect("there are sums only behind a lens");
        let c = self.c;
        let n = gs.len() / c;
        let mut done = 0;
        while done < n {
            let row = first + done;
            let (picture, left) = (row / self.area, self.area - row % self.area);
            // Up to 256 rows are summed up in `T`.
            let many = left.min(n - done).min(256);
            let zs = &self.stored()[row * c..][..many * c];
            let gs = &mut gs[done * c..][..many * c];
            let gates = it.gates.at(picture, c);
            let constants = [&it.scale, &it.shift, gates, &it.center, gates, gates];
            let rows = Rows { n: many, c, activation: it.activation as u8, constants };
            let seen = seen.as_mut().map(|(seen, stride)| {
                let end = ((done + many) * *stride).min(seen.len());
                (&mut seen[done * *stride..end], *stride)
            });
            let totals = match &mut *sums {
                BackSums::Norm(it) => it,
                BackSums::Gate(it) => it.entry(picture).or_insert_with(|| vec![0.0; 5 * c]),
            };
            T::with_scratch(totals.len(), |part| {
                part.fill(T::ZERO);
                look_back(rows, !it.gates.is_shared, zs, gs, seen, part);
                totals.iter_mut().zip(&*part).for_each(|(total, it)| *total += it.to_f64());
            });
            done += many;
        }
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
            let constants = [&it.scale, &it.shift, times, plus, &it.slope, &it.offset];
            let n = into.len().div_ceil(stride);
            let rows = Rows { n, c, activation: it.activation as u8, constants };
            go_back(rows, gs, xs, into, stride);
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
            let constants = [scale, shift, times, plus, mean, mean];
            let rows = Rows { n: many, c, activation: activation as u8, constants };
            add_gradient_sums(rows, gs, xs, sums);
            done += many;
        }
    }
}

/// Rows of `c` numbers, with what is to be done to them channel by channel.
#[derive(Clone, Copy)]
struct Rows<'a, T> {
    n: usize,
    c: usize,
    /// Tells the activation.
    activation: u8,
    /// Constants of `c` numbers each.
    constants: [&'a [T]; 6],
}

impl<T> Rows<'_, T> {
    /// Checks that all that kernels touch is there.
    fn check(&self, inputs: &[&[T]], outputs: &[(&[T], usize)]) {
        assert!(self.constants.iter().all(|it| it.len() >= self.c), "constants for fewer channels");
        assert!(inputs.iter().all(|it| it.len() >= self.n * self.c), "too few rows");
        let fits = |(it, stride): &(&[T], usize)| {
            self.c <= *stride && it.len() + stride >= self.n * stride + self.c
        };
        assert!(outputs.iter().all(fits), "no room for the rows");
    }
}

/// Runs an expression with the constant `A` standing for an activation that is told at run time.
macro_rules! by_code {
    ($code:expr, $A:ident => $body:expr) => {
        match $code {
            activation::RELU => {
                const $A: u8 = activation::RELU;
                $body
            }
            activation::RELU6 => {
                const $A: u8 = activation::RELU6;
                $body
            }
            activation::SILU => {
                const $A: u8 = activation::SILU;
                $body
            }
            activation::SIGMOID => {
                const $A: u8 = activation::SIGMOID;
                $body
            }
            _ => {
                const $A: u8 = activation::NONE;
                $body
            }
        }
    };
}

/// How many numbers ahead memory is asked for.
const AHEAD: usize = 1024;

/// act(scale·x + shift)·gate, into rows that begin `stride` apart.
fn look<T: Real>(rows: Rows<'_, T>, xs: &[T], into: &mut [T], stride: usize) {
    rows.check(&[xs], &[(into, stride)]);
    // SAFETY: just checked.
    unsafe { look_rows(rows, xs.as_ptr(), into.as_mut_ptr(), stride) }
}

lanes_kernel! {
    unsafe fn look_rows(rows: Rows<'_, T>, xs: *const T, into: *mut T, stride: usize) {
        let Rows { n, c, constants: [scale, shift, gates, ..], .. } = rows;
        by_code!(rows.activation, A => {
            for row in 0..n {
                for from in (0..c).step_by(V::LANES) {
                    let some = c - from;
                    // SAFETY: the caller's.
                    unsafe {
                        let at = |it: &[T]| V::load_some(it.as_ptr().add(from), some);
                        prefetch(xs.wrapping_add(row * c + from + AHEAD));
                        let x = V::load_some(xs.add(row * c + from), some);
                        let (y, _) = both_of::<T, V, A>(x.mul_add(at(scale), at(shift)));
                        y.mul(at(gates)).store_some(into.add(row * stride + from), some);
                    }
                }
            }
        });
        let _ = (ROWS, VECS);
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

/// scale·(g·times + plus)·act'(scale·x + shift) + slope·x + offset.
fn go_back<T: Real>(rows: Rows<'_, T>, gs: &[T], xs: &[T], into: &mut [T], stride: usize) {
    rows.check(&[gs, xs], &[(into, stride)]);
    // SAFETY: just checked.
    unsafe { go_back_rows(rows, gs.as_ptr(), xs.as_ptr(), into.as_mut_ptr(), stride) }
}

lanes_kernel! {
    unsafe fn go_back_rows(
        rows: Rows<'_, T>, gs: *const T, xs: *const T, into: *mut T, stride: usize,
    ) {
        let Rows { n, c, constants: [scale, shift, times, plus, slope, offset], .. } = rows;
        by_code!(rows.activation, A => {
            for row in 0..n {
                for from in (0..c).step_by(V::LANES) {
                    let some = c - from;
                    // SAFETY: the caller's.
                    unsafe {
                        let at = |it: &[T]| V::load_some(it.as_ptr().add(from), some);
                        prefetch(gs.wrapping_add(row * c + from + AHEAD));
                        prefetch(xs.wrapping_add(row * c + from + AHEAD));
                        let g = V::load_some(gs.add(row * c + from), some);
                        let x = V::load_some(xs.add(row * c + from), some);
                        let scale = at(scale);
                        let (_, there) = both_of::<T, V, A>(x.mul_add(scale, at(shift)));
                        let d = g.mul_add(at(times), at(plus)).mul(there);
                        let dz = scale.mul_add(d, x.mul_add(at(slope), at(offset)));
                        dz.store_some(into.add(row * stride + from), some);
                    }
                }
            }
        });
        let _ = (ROWS, VECS);
    }
}

/// Adds Σ d and Σ d·(x - center) to `[2, c]`, where d = (g·times + plus)·act'(scale·x + shift).
fn add_gradient_sums<T: Real>(rows: Rows<'_, T>, gs: &[T], xs: &[T], sums: &mut [T]) {
    rows.check(&[gs, xs], &[]);
    assert!(sums.len() >= 2 * rows.c, "no room for the sums");
    // SAFETY: just checked.
    unsafe { gradient_sums_of(rows, gs.as_ptr(), xs.as_ptr(), sums.as_mut_ptr()) }
}

lanes_kernel! {
    unsafe fn gradient_sums_of(rows: Rows<'_, T>, gs: *const T, xs: *const T, sums: *mut T) {
        let Rows { n, c, constants: [scale, shift, times, plus, center, _], .. } = rows;
        by_code!(rows.activation, A => {
            // Channel by channel, so that the sums stay in registers.
            for from in (0..c).step_by(V::LANES) {
                let some = c - from;
                // SAFETY: the caller's.
                unsafe {
                    let at = |it: &[T]| V::load_some(it.as_ptr().add(from), some);
                    let [scale, shift, times, plus] = [scale, shift, times, plus].map(at);
                    let (one, center) = (V::splat(T::ONE), at(center).mul(V::splat(-T::ONE)));
                    let mut d_sum = V::load_some(sums.add(from), some);
                    let mut dx_sum = V::load_some(sums.add(c + from), some);
                    for row in 0..n {
                        let g = V::load_some(gs.add(row * c + from), some);
                        let x = V::load_some(xs.add(row * c + from), some);
                        let (_, there) = both_of::<T, V, A>(x.mul_add(scale, shift));
                        let d = g.mul_add(times, plus).mul(there);
                        d_sum = d.mul_add(one, d_sum);
                        dx_sum = d.mul_add(x.mul_add(one, center), dx_sum);
                    }
                    d_sum.store_some(sums.add(from), some);
                    dx_sum.store_some(sums.add(c + from), some);
                }
            }
        });
        let _ = (ROWS, VECS);
    }
}

/// See [`View::look_back`]. Without `seen` nothing is read.
fn look_back<T: Real>(
    rows: Rows<'_, T>,
    is_gated: bool,
    zs: &[T],
    gs: &mut [T],
    seen: Option<(&mut [T], usize)>,
    sums: &mut [T],
) {
    rows.check(&[zs, gs], &[]);
    assert!(sums.len() >= if is_gated { 5 } else { 2 } * rows.c, "no room for the sums");
    let (seen, stride) = match seen {
        Some((seen, stride)) => {
            rows.check(&[], &[(seen, stride)]);
            (seen.as_mut_ptr(), stride)
        }
        None => (std::ptr::null_mut(), 0),
    };
    // SAFETY: just checked.
    unsafe {
        look_back_rows(
            rows,
            is_gated,
            zs.as_ptr(),
            gs.as_mut_ptr(),
            seen,
            stride,
            sums.as_mut_ptr(),
        )
    }
}

lanes_kernel! {
    unsafe fn look_back_rows(
        rows: Rows<'_, T>, is_gated: bool, zs: *const T, gs: *mut T, seen: *mut T, stride: usize,
        sums: *mut T,
    ) {
        // SAFETY: the caller's.
        unsafe {
            by_code!(rows.activation, A => match (is_gated, stride > 0) {
                (false, false) => channels_back::<T, V, A, false, false>(rows, zs, gs, seen, stride, sums),
                (false, true) => channels_back::<T, V, A, false, true>(rows, zs, gs, seen, stride, sums),
                (true, false) => channels_back::<T, V, A, true, false>(rows, zs, gs, seen, stride, sums),
                (true, true) => channels_back::<T, V, A, true, true>(rows, zs, gs, seen, stride, sums),
            });
        }
        let _ = (ROWS, VECS);
    }
}

/// A step back, channel by channel, so that the sums stay in registers.
#[inline(always)]
unsafe fn channels_back<
    T: Real,
    V: Lanes<Number = T>,
    const A: u8,
    const GATED: bool,
    const SEEN: bool,
>(
    rows: Rows<'_, T>,
    zs: *const T,
    gs: *mut T,
    seen: *mut T,
    stride: usize,
    sums: *mut T,
) {
    let Rows { n, c, constants: [scale, shift, gates, center, ..], .. } = rows;
    for from in (0..c).step_by(V::LANES) {
        let some = c - from;
        // SAFETY: the caller's.
        unsafe {
            let at = |it: &[T]| V::load_some(it.as_ptr().add(from), some);
            let [scale, shift, gates] = [scale, shift, gates].map(at);
            let (one, center) = (V::splat(T::ONE), at(center).mul(V::splat(-T::ONE)));
            let mut parts = [V::splat(T::ZERO); 5];
            for row in 0..n {
                let at = row * c + from;
                prefetch(zs.wrapping_add(at + 8 * c));
                let (z, g) = (V::load_some(zs.add(at), some), V::load_some(gs.add(at), some));
                let (y, there) = both_of::<T, V, A>(z.mul_add(scale, shift));
                let (d, z) = (g.mul(there), z.mul_add(one, center));
                parts[0] = d.mul_add(one, parts[0]);
                parts[1] = d.mul_add(z, parts[1]);
                if GATED {
                    parts[2] = g.mul_add(y, parts[2]);
                    parts[3] = there.mul_add(one, parts[3]);
                    parts[4] = there.mul_add(z, parts[4]);
                } else {
                    d.store_some(gs.add(at), some);
                }
                if SEEN {
                    y.mul(gates).store_some(seen.add(row * stride + from), some);
                }
            }
            let [d, d_z, g_y, there, there_z] = parts;
            let kinds: &[V] = if GATED { &[g_y, d, d_z, there, there_z] } else { &[d, d_z] };
            for (idx, &part) in kinds.iter().enumerate() {
                let to = sums.add(idx * c + from);
                part.mul_add(one, V::load_some(to, some)).store_some(to, some);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::Result;

    use crate::{
        Activation, Padding, Value, Window, activate, batch_norm, check::check, depthwise, gate,
        global_avg_pool, product, sum,
    };

    fn normed(xs: &Value, gamma: &Value, beta: &Value) -> Result<Value> {
        Ok(batch_norm(xs, gamma, beta, 1e-3, Activation::Silu)?.0)
    }

    #[test]
    fn a_normed_value_may_be_read_twice() {
        check(&[&[2, 2, 2, 5], &[5], &[5], &[3, 5], &[3, 5]], |v| {
            let ys = normed(&v[0], &v[1], &v[2])?;
            sum(&product(&ys, &v[3], None)?, &product(&ys, &v[4], None)?)
        });
    }

    #[test]
    fn a_normed_value_may_be_read_by_what_goes_back_less_far() {
        let window = Window::square(3, 1, Padding::Symmetric);
        check(&[&[2, 3, 2, 5], &[5], &[5], &[5, 5], &[3, 3, 5]], |v| {
            let ys = normed(&v[0], &v[1], &v[2])?;
            let branch = sum(&product(&ys, &v[3], None)?, &depthwise(&ys, &v[4], window)?)?;
            sum(&ys, &branch)
        });
        // The other way round on the way back.
        check(&[&[2, 3, 2, 5], &[5], &[5], &[5, 5]], |v| {
            let ys = normed(&v[0], &v[1], &v[2])?;
            let doubled = sum(&ys, &ys)?;
            sum(&product(&ys, &v[3], None)?, &doubled)
        });
    }

    #[test]
    fn a_gate_may_depend_on_what_it_gates() {
        for width in [5, 17] {
            check(&[&[2, 2, 3, width], &[width], &[width], &[width, width], &[3, width]], |v| {
                let ys = normed(&v[0], &v[1], &v[2])?;
                let gates = product(&global_avg_pool(&ys)?, &v[3], None)?;
                let gated = gate(&ys, &activate(&gates, Activation::Sigmoid)?)?;
                product(&gated, &v[4], None)
            });
        }
    }

    #[test]
    fn a_norm_may_follow_a_norm() {
        check(&[&[3, 2, 2, 4], &[4], &[4], &[4], &[4]], |v| {
            normed(&normed(&v[0], &v[1], &v[2])?, &v[3], &v[4])
        });
    }
}
