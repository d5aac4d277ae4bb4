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
    activation::{both_at, by_activation, slope_at, value_at},
    blocks::{overwrite, rows_per_block},
    isa::{Fma, kernel},
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
            let (xs, gates) = (&xs[begin * c..], it.gates.at(picture, c));
            by_activation!(it.activation, A => {
                look::<T, A>(xs, &it.scale, &it.shift, gates, into, stride);
            });
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
            let constants = [&it.scale, &it.shift, &it.center].map(Vec::as_slice);
            let constants = [constants[0], constants[1], constants[2], gates];
            let (seen, stride) = match &mut seen {
                Some((seen, stride)) => (&mut seen[done * *stride..][..many * *stride], *stride),
                None => (&mut [][..], 0),
            };
            let totals = match &mut *sums {
                BackSums::Norm(it) => it,
                BackSums::Gate(it) => it.entry(picture).or_insert_with(|| vec![0.0; 5 * c]),
            };
            T::with_scratch(totals.len(), |part| {
                part.fill(T::ZERO);
                by_activation!(it.activation, A => match it.gates.is_shared {
                    true => look_back::<T, A, false>(zs, gs, seen, stride, constants, part),
                    false => look_back::<T, A, true>(zs, gs, seen, stride, constants, part),
                });
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
        let c = constants[0].len();
        let mut from = 0;
        while from < c {
            from += match c - from {
                16.. => gradient_sums_of::<F, T, A, 16>(gs, xs, constants, sums, from),
                _ => gradient_sums_of::<F, T, A, 1>(gs, xs, constants, sums, from),
            };
        }
    }
}

/// The sums of `N` channels, which stay in registers.
#[inline(always)]
fn gradient_sums_of<F: Fma, T: Real, const A: u8, const N: usize>(
    gs: &[T],
    xs: &[T],
    constants: [&[T]; 5],
    sums: &mut [T],
    from: usize,
) -> usize {
    let c = constants[0].len();
    let [times, plus, scale, shift, mean] = constants.map(|it| some::<T, N>(it, from));
    let (mut d_sum, mut dx_sum) = ([T::ZERO; N], [T::ZERO; N]);
    for (gs, xs) in gs.chunks_exact(c).zip(xs.chunks_exact(c)) {
        let (gs, xs) = (some::<T, N>(gs, from), some::<T, N>(xs, from));
        for idx in 0..N {
            let d = T::fma::<F>(gs[idx], times[idx], plus[idx]);
            let d = d * slope_at::<F, T, A>(T::fma::<F>(xs[idx], scale[idx], shift[idx]));
            d_sum[idx] += d;
            dx_sum[idx] = T::fma::<F>(d, xs[idx] - mean[idx], dx_sum[idx]);
        }
    }
    for idx in 0..N {
        sums[from + idx] += d_sum[idx];
        sums[c + from + idx] += dx_sum[idx];
    }
    N
}

/// `N` numbers from a position on.
#[inline(always)]
fn some<T: Real, const N: usize>(xs: &[T], from: usize) -> [T; N] {
    xs[from..from + N].try_into().expect("as many as asked for")
}

kernel! {
    /// See [`View::look_back`].
    fn look_back<F, T, const A: u8, const GATED: bool>(
        zs: &[T], gs: &mut [T], seen: &mut [T], stride: usize, constants: [&[T]; 4],
        sums: &mut [T],
    ) {
        let c = constants[0].len();
        let mut from = 0;
        while from < c {
            from += match c - from {
                16.. => {
                    look_back_of::<F, T, A, GATED, 16>(zs, gs, seen, stride, constants, sums, from)
                }
                _ => look_back_of::<F, T, A, GATED, 1>(zs, gs, seen, stride, constants, sums, from),
            };
        }
    }
}

/// A step back of `N` channels, whose sums stay in registers.
#[inline(always)]
fn look_back_of<F: Fma, T: Real, const A: u8, const GATED: bool, const N: usize>(
    zs: &[T],
    gs: &mut [T],
    seen: &mut [T],
    stride: usize,
    constants: [&[T]; 4],
    sums: &mut [T],
    from: usize,
) -> usize {
    let c = constants[0].len();
    let [scale, shift, center, gates] = constants.map(|it| some::<T, N>(it, from));
    let mut parts = [[T::ZERO; N]; 5];
    for (row, (zs, gs)) in zs.chunks_exact(c).zip(gs.chunks_exact_mut(c)).enumerate() {
        let (zs, at) = (some::<T, N>(zs, from), some::<T, N>(gs, from));
        let (mut ys, mut ds) = ([T::ZERO; N], [T::ZERO; N]);
        for idx in 0..N {
            let (g, z) = (at[idx], zs[idx] - center[idx]);
            let (y, slope) = both_at::<F, T, A>(T::fma::<F>(zs[idx], scale[idx], shift[idx]));
            let d = g * slope;
            ys[idx] = y * gates[idx];
            ds[idx] = d;
            parts[0][idx] += d;
            parts[1][idx] = T::fma::<F>(d, z, parts[1][idx]);
            if GATED {
                parts[2][idx] = T::fma::<F>(g, y, parts[2][idx]);
                parts[3][idx] += slope;
                parts[4][idx] = T::fma::<F>(slope, z, parts[4][idx]);
            }
        }
        if !GATED {
            gs[from..from + N].copy_from_slice(&ds);
        }
        if stride > 0 {
            seen[row * stride + from..][..N].copy_from_slice(&ys);
        }
    }
    let [d, d_z, g_y, slope, slope_z] = parts;
    let kinds: &[[T; N]] = if GATED { &[g_y, d, d_z, slope, slope_z] } else { &[d, d_z] };
    for (sums, part) in sums.chunks_exact_mut(c).zip(kinds) {
        for (sum, &it) in sums[from..from + N].iter_mut().zip(part) {
            *sum += it;
        }
    }
    N
}
