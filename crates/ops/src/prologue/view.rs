//! Tensors and gradients read through their prologues, for kernels: any rows, on demand.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
};

use candle::{Result, Tensor};

use super::{
    deferred::{Grad, Prologue},
    kernels::{Rows, add_backward_step, add_gradient_sums, apply, backward, line},
};
use crate::{
    Activation,
    blocks::add_to,
    matmul::Layout,
    real::{Reading, Real, cast, copy_short, numbers},
};

/// A tensor read through its prologue, for kernels: rows of channels.
pub(crate) struct View<'a, T> {
    xs: Reading<'a>,
    through: Option<Through<T>>,
    pub(crate) n_rows: usize,
    pub(crate) c: usize,
    /// Rows of one image.
    area: usize,
}

struct Through<T> {
    scale: Vec<T>,
    shift: Vec<T>,
    center: Vec<T>,
    activation: Activation,
    gates: PerImage<T>,
}

/// A number for each channel of each image, or the same for all images.
struct PerImage<T> {
    values: Vec<T>,
    is_shared: bool,
}

impl<T: Real> PerImage<T> {
    fn of(tensor: Option<&Tensor>, default: T, c: usize) -> Result<PerImage<T>> {
        Ok(match tensor {
            Some(it) => PerImage { values: numbers(it)?, is_shared: false },
            None => PerImage { values: vec![default; c], is_shared: true },
        })
    }

    /// Each number scaled by a factor of its channel.
    fn scaled(&self, by: &[f64]) -> PerImage<T> {
        let scaled = self.values.iter().zip(by.iter().cycle()).map(|(it, by)| it.to_f64() * by);
        PerImage { values: scaled.map(T::of).collect(), is_shared: self.is_shared }
    }

    fn at(&self, image: usize, c: usize) -> &[T] {
        &self.values[if self.is_shared { 0 } else { image * c }..][..c]
    }
}

impl<'a, T: Real> View<'a, T> {
    /// - `xs`: `[n, …, c]`, contiguous.
    pub(crate) fn of(xs: &'a Tensor, prologue: Option<&Prologue>) -> Result<View<'a, T>> {
        let (n_rows, area, c) = rows_of(xs);
        let through = match prologue {
            None => None,
            Some(it) => Some(Through {
                scale: cast(&it.scale),
                shift: cast(&it.shift),
                center: cast(&it.center),
                activation: it.activation,
                gates: PerImage::of(it.gate.as_ref(), T::ONE, c)?,
            }),
        };
        let view = View { xs: Reading::of(xs), through, n_rows, c, area };
        view.xs.slice::<T>()?;
        Ok(view)
    }

    /// The numbers as they are stored.
    pub(crate) fn stored(&self) -> &[T] {
        self.xs.slice::<T>().expect("checked at construction")
    }

    /// Rows `first..first + n` as they are stored, or those of them that exist.
    pub(crate) fn rows(&self, first: usize, n: usize) -> &[T] {
        let end = (first + n).min(self.n_rows);
        &self.stored()[first.min(end) * self.c..end * self.c]
    }

    /// Rows `first..` as they are stored, if reading does not change them.
    pub(crate) fn plain(&self, first: usize, n: usize) -> Option<&[T]> {
        match self.through {
            None => Some(&self.stored()[first * self.c..(first + n) * self.c]),
            Some(_) => None,
        }
    }

    /// Reads rows `first..` into rows that begin `stride` apart; the gaps are not written.
    pub(crate) fn read(&self, first: usize, into: &mut [T], stride: usize) {
        self.read_channels(first, 0..self.c, into, stride);
    }

    /// Reads a range of channels of rows `first..`.
    pub(crate) fn read_channels(
        &self,
        first: usize,
        channels: Range<usize>,
        into: &mut [T],
        stride: usize,
    ) {
        self.read_laid(first, into.len().div_ceil(stride), channels, into, Layout::rows(stride));
    }

    /// Reads a range of channels of `n` rows, `first..`, into rows with this layout.
    pub(crate) fn read_laid(
        &self,
        first: usize,
        n: usize,
        channels: Range<usize>,
        into: &mut [T],
        layout: Layout,
    ) {
        let (c, xs) = (self.c, &self.stored()[first * self.c + channels.start..]);
        let Some(it) = &self.through else {
            return copy_channels((xs, c), n, channels.len(), into, layout);
        };
        by_images(first, n, self.area, |image, begin, n| {
            let gates = it.gates.at(image, c);
            let constants = [&it.scale, &it.shift, gates, gates, gates, gates];
            let rows = Rows::of_channels(n, c, channels.clone(), it.activation, constants);
            let into = &mut into[begin * layout.row..];
            apply(rows, !it.gates.is_shared, &xs[begin * c..], into, layout);
        });
    }
}

/// The sums of a backward pass: per channel, or with a gate per channel and image.
pub(crate) enum BackwardSums {
    Norm(Vec<f64>),
    /// By image.
    Gate(BTreeMap<usize, Vec<f64>>),
}

impl BackwardSums {
    /// Adds the sums of all blocks.
    pub(crate) fn join(parts: Vec<BackwardSums>) -> Option<BackwardSums> {
        parts.into_iter().reduce(|mut all, part| {
            let add = |to: &mut [f64], from: Vec<f64>| add_to(&from, to);
            match (&mut all, part) {
                (BackwardSums::Norm(all), BackwardSums::Norm(part)) => add(all, part),
                (BackwardSums::Gate(all), BackwardSums::Gate(part)) => {
                    for (image, part) in part {
                        match all.entry(image) {
                            Entry::Occupied(mut it) => add(it.get_mut(), part),
                            Entry::Vacant(it) => drop(it.insert(part)),
                        }
                    }
                }
                _ => unreachable!("all sums of a view are of the same kind"),
            }
            all
        })
    }
}

impl<T: Real> View<'_, T> {
    /// Zero sums for the backward pass of this prologue, if there is one.
    pub(crate) fn backward_sums(&self) -> Option<BackwardSums> {
        let it = self.through.as_ref()?;
        Some(match it.gates.is_shared {
            true => BackwardSums::Norm(vec![0.0; 2 * self.c]),
            false => BackwardSums::Gate(BTreeMap::new()),
        })
    }

    /// Runs one step of the backward pass for the gradients of some channels of rows `first..`, while they
    /// are in cache: `gs` begins with the first of these rows, and has rows of all channels.
    ///
    /// Adds to the sums, and without a gate replaces each gradient by the gradient before the activation.
    /// With `values`, a destination and its layout, also reads the rows into it.
    pub(crate) fn backward_step(
        &self,
        (first, n): (usize, usize),
        channels: Range<usize>,
        gs: &mut [T],
        mut values: Option<(&mut [T], Layout)>,
        sums: &mut BackwardSums,
    ) {
        let it = self.through.as_ref().expect("sums exist only with a prologue");
        let c = self.c;
        let mut done = 0;
        while done < n {
            let row = first + done;
            let (image, left) = (row / self.area, self.area - row % self.area);
            // Up to 256 rows are summed in `T`.
            let many = left.min(n - done).min(256);
            let zs = &self.stored()[row * c + channels.start..];
            let gates = it.gates.at(image, c);
            let constants = [&it.scale, &it.shift, gates, &it.center, gates, gates];
            let rows = Rows::of_channels(many, c, channels.clone(), it.activation, constants);
            let values =
                values.as_mut().map(|(it, layout)| (&mut it[done * layout.row..], *layout));
            let totals = match &mut *sums {
                BackwardSums::Norm(it) => it,
                BackwardSums::Gate(it) => it.entry(image).or_insert_with(|| vec![0.0; 5 * c]),
            };
            let gs = &mut gs[done * c..];
            let to = (&mut totals[..], c, channels.clone());
            add_backward_step(rows, !it.gates.is_shared, zs, gs, values, to);
            done += many;
        }
    }
}

/// Copies the first channels of `n` rows of `c`.
fn copy_channels<T: Real>(
    (from, c): (&[T], usize),
    n: usize,
    n_channels: usize,
    into: &mut [T],
    layout: Layout,
) {
    let panel = layout.panel.min(c);
    if (panel, layout.row, n_channels) == (c, c, c) {
        return into[..n * c].copy_from_slice(&from[..n * c]);
    }
    for (row, from) in from.chunks(c).take(n).enumerate() {
        for (idx, from) in from[..n_channels].chunks(panel).enumerate() {
            let at = row * layout.row + idx * layout.panel_stride;
            copy_short(from, &mut into[at..][..from.len()]);
        }
    }
}

/// Rows, rows of an image, and channels of a tensor `[n, …, c]`.
fn rows_of(xs: &Tensor) -> (usize, usize, usize) {
    let dims = xs.dims();
    let c = dims.last().copied().unwrap_or(1).max(1);
    let n_rows = xs.elem_count() / c;
    (n_rows, (n_rows / dims.first().copied().unwrap_or(1).max(1)).max(1), c)
}

/// Splits `n` rows, `first..`, at image boundaries: `f` gets the image, the index of its first row among
/// these, and its number of rows.
fn by_images(first: usize, n: usize, area: usize, mut f: impl FnMut(usize, usize, usize)) {
    let mut done = 0;
    while done < n {
        let row = first + done;
        let many = (area - row % area).min(n - done);
        f(row / area, done, many);
        done += many;
    }
}

/// A gradient read through its deferred backward steps, for kernels: rows of channels.
pub(crate) struct GradView<'a, T> {
    gs: Reading<'a>,
    times: PerImage<T>,
    plus: PerImage<T>,
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
    /// scale·times and scale·plus.
    times: PerImage<T>,
    plus: PerImage<T>,
    slope: Vec<T>,
    offset: Vec<T>,
}

impl<'a, T: Real> GradView<'a, T> {
    /// - `grad.tensor`: `[n, …, c]`, contiguous.
    pub(crate) fn of(grad: &'a Grad) -> Result<GradView<'a, T>> {
        let (n_rows, area, c) = rows_of(&grad.tensor);
        let times = PerImage::of(grad.times.as_ref(), T::ONE, c)?;
        let plus = PerImage::of(grad.plus.as_ref(), T::ZERO, c)?;
        let norm = grad.norm.as_ref().map(|it| NormView {
            xs: Reading::of(&it.xs),
            activation: it.activation,
            scale: cast(&it.scale),
            shift: cast(&it.shift),
            times: times.scaled(&it.scale),
            plus: plus.scaled(&it.scale),
            slope: cast(&it.slope),
            offset: cast(&it.offset),
        });
        let view = GradView {
            gs: Reading::of(&grad.tensor),
            times,
            plus,
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
        self.gs.slice::<T>().expect("checked at construction")
    }

    /// Rows `first..first + n`, or those of them that exist, of all that is read of them: the gradient, and the
    /// input of the norm.
    pub(crate) fn rows(&self, first: usize, n: usize) -> [&[T]; 2] {
        let end = (first + n).min(self.n_rows);
        let rows = first.min(end) * self.c..end * self.c;
        let norm =
            self.norm.as_ref().map(|it| it.xs.slice::<T>().expect("checked at construction"));
        [&self.stored()[rows.clone()], norm.map_or(&[], |it| &it[rows])]
    }

    /// Rows `first..` as they are stored, if reading does not change them.
    pub(crate) fn plain(&self, first: usize, n: usize) -> Option<&[T]> {
        self.is_plain.then(|| &self.stored()[first * self.c..(first + n) * self.c])
    }

    /// Reads rows `first..` into rows that begin `stride` apart; the gaps are not written.
    pub(crate) fn read(&self, first: usize, into: &mut [T], stride: usize) {
        self.read_channels(first, 0..self.c, into, stride);
    }

    /// Reads a range of channels of rows `first..`.
    pub(crate) fn read_channels(
        &self,
        first: usize,
        channels: Range<usize>,
        into: &mut [T],
        stride: usize,
    ) {
        let (c, gs) = (self.c, &self.stored()[first * self.c + channels.start..]);
        if self.is_plain {
            let (n, layout) = (into.len().div_ceil(stride), Layout::rows(stride));
            return copy_channels((gs, c), n, channels.len(), into, layout);
        }
        by_images(first, into.len().div_ceil(stride), self.area, |image, begin, n| {
            let end = into.len().min((begin + n) * stride);
            let (gs, into) = (&gs[begin * c..], &mut into[begin * stride..end]);
            let Some(it) = &self.norm else {
                let (times, plus) = (self.times.at(image, c), self.plus.at(image, c));
                let (times, plus) = (&times[channels.clone()], &plus[channels.clone()]);
                return line::<T>(gs, c, times, plus, into, stride);
            };
            let (times, plus) = (it.times.at(image, c), it.plus.at(image, c));
            let xs = it.xs.slice::<T>().expect("checked at construction");
            let xs = &xs[(first + begin) * c + channels.start..];
            let constants = [&it.scale, &it.shift, times, plus, &it.slope, &it.offset];
            let rows = Rows::of_channels(n, c, channels.clone(), it.activation, constants);
            backward(rows, gs, xs, into, stride);
        });
    }

    /// Adds Σ d and Σ d·(z - mean) of rows `first..first + n` to sums `[2, c]`, where
    /// d = (g·times + plus)·act'(scale·z + shift).
    pub(crate) fn add_sums(
        &self,
        first: usize,
        n: usize,
        xs: &[T],
        prologue: (&[T], &[T], Activation),
        mean: &[T],
        sums: &mut [T],
    ) {
        let (c, gs) = (self.c, &self.stored()[first * self.c..]);
        let (scale, shift, activation) = prologue;
        let mut done = 0;
        while done < n {
            let row = first + done;
            let many = (self.area - row % self.area).min(n - done);
            let image = row / self.area;
            let (times, plus) = (self.times.at(image, c), self.plus.at(image, c));
            let part = done * c..(done + many) * c;
            let (gs, xs) = (&gs[part.clone()], &xs[(first + done) * c..][..many * c]);
            let constants = [scale, shift, times, plus, mean, mean];
            let rows = Rows { n: many, c, apart: c, activation, constants };
            add_gradient_sums(rows, gs, xs, sums);
            done += many;
        }
    }
}
