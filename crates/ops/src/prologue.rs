//! The prologue: a deferred batch norm, activation and gate, fused into the operation that reads the
//! tensor before them.
//!
//! A convolution's output z is stored once. Norm, activation and gate are an elementwise function,
//!
//! y = act(scale·z + shift)·gate,
//!
//! with scale and shift per channel and gate per channel and image, so that the next operation, which is
//! memory-bound, computes y while it reads z, block by block in cache.
//!
//! The backward pass is symmetric. The gradient g of y is stored as its producer computes it, and the
//! gradient of z,
//!
//! dz = scale·(g·times + plus)·act'(scale·z + shift) + slope·z + offset,
//!
//! is computed while the convolution's backward pass reads g and z: times is the gate, plus the gradient
//! through a pooling, slope and offset are those of the batch statistics.

mod kernels;
mod view;

use std::{ops::Range, rc::Rc};

use candle::{DType, Result, Tensor};

pub(crate) use view::{BackSums, GradView, View};

use crate::{
    Activation,
    blocks::{overwrite, rows_per_block},
    real::{Reading, Real, by_dtype, tensor},
    sum::add,
};

/// The function applied to each number of a tensor `[n, …, c]` when it is read.
#[derive(Clone)]
pub(crate) struct Prologue {
    /// `[c]` each.
    pub(crate) scale: Rc<[f64]>,
    pub(crate) shift: Rc<[f64]>,
    /// The approximate mean of the numbers: sums are taken relative to it.
    pub(crate) center: Rc<[f64]>,
    pub(crate) activation: Activation,
    /// `[n, c]`.
    pub(crate) gate: Option<Tensor>,
}

/// A gradient, and the deferred steps of its backward pass.
#[derive(Clone)]
pub(crate) struct Grad {
    pub(crate) tensor: Tensor,
    /// `[n, c]` each.
    pub(crate) times: Option<Tensor>,
    pub(crate) plus: Option<Tensor>,
    pub(crate) norm: Option<Rc<NormBack>>,
    /// Set if the producer has applied the derivative of the activation: `tensor` is d = g·act'.
    pub(crate) before: Option<Rc<Before>>,
    /// Σ d and Σ d·(z - center) of each channel, if the producer has computed them.
    pub(crate) sums: Option<Vec<f64>>,
    /// The sums that the producer has computed for a gate and the norm before it.
    pub(crate) gate_sums: Option<Rc<GateSums>>,
}

/// The tensor and the prologue whose backward pass a gradient has completed up to the norm.
pub(crate) struct Before {
    pub(crate) xs: Tensor,
    pub(crate) prologue: Prologue,
}

/// With y = act(u)·gate and u = scale·z + shift: for each channel of each image the sums
/// Σ g·act(u), Σ g·act'(u), Σ g·act'(u)·(z - center), Σ act'(u) and Σ act'(u)·(z - center).
///
/// They determine the norm's sums for any factor and offset of g in the backward pass of the gate.
pub(crate) struct GateSums {
    /// `[n, 5, c]`.
    pub(crate) sums: Vec<f64>,
    pub(crate) c: usize,
}

impl GateSums {
    /// The sums of one image.
    fn of(&self, image: usize) -> [&[f64]; 5] {
        let all = &self.sums[image * 5 * self.c..][..5 * self.c];
        std::array::from_fn(|idx| &all[idx * self.c..][..self.c])
    }

    /// Σ g·act(u): the gradient of the gates, `[n, c]`.
    pub(crate) fn of_gates(&self) -> Vec<f64> {
        let images = 0..self.sums.len() / (5 * self.c).max(1);
        images.map(|image| self.of(image)[0]).collect::<Vec<_>>().concat()
    }

    /// Σ d and Σ d·(z - center) of each channel, where d = (g·times + plus)·act'(u).
    pub(crate) fn of_norm(&self, times: &[f64], plus: Option<&[f64]>) -> Vec<f64> {
        let mut totals = vec![0.0; 2 * self.c];
        for (image, times) in times.chunks_exact(self.c).enumerate() {
            let [_, g, g_z, one, one_z] = self.of(image);
            let plus = plus.map(|it| &it[image * self.c..]);
            for (idx, &times) in times.iter().enumerate() {
                let plus = plus.map_or(0.0, |it| it[idx]);
                totals[idx] += times * g[idx] + plus * one[idx];
                totals[self.c + idx] += times * g_z[idx] + plus * one_z[idx];
            }
        }
        totals
    }
}

/// The backward pass of a norm and its activation.
pub(crate) struct NormBack {
    /// z.
    pub(crate) xs: Tensor,
    pub(crate) activation: Activation,
    /// `[c]` each.
    pub(crate) scale: Rc<[f64]>,
    pub(crate) shift: Rc<[f64]>,
    pub(crate) slope: Vec<f64>,
    pub(crate) offset: Vec<f64>,
}

impl NormBack {
    /// The backward pass of a prologue with constant scale and shift.
    pub(crate) fn through(xs: Tensor, prologue: Prologue) -> NormBack {
        let Prologue { scale, shift, activation, .. } = prologue;
        let (slope, offset) = (vec![0.0; scale.len()], vec![0.0; scale.len()]);
        NormBack { xs, activation, scale, shift, slope, offset }
    }
}

impl Prologue {
    /// The identity.
    pub(crate) fn none(c: usize) -> Prologue {
        Prologue {
            scale: vec![1.0; c].into(),
            shift: vec![0.0; c].into(),
            center: vec![0.0; c].into(),
            activation: Activation::None,
            gate: None,
        }
    }
}

impl Grad {
    /// A gradient without deferred steps.
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

    /// The count of stored numbers read per number of the gradient.
    pub(crate) fn reads(&self) -> usize {
        1 + usize::from(self.norm.is_some())
    }

    /// The gradient with the sums computed by [`View::look_back`] through the prologue on `xs`.
    pub(crate) fn summed(
        self,
        sums: Option<BackSums>,
        xs: &Tensor,
        prologue: Option<&Prologue>,
    ) -> Grad {
        let c = prologue.map_or(0, |it| it.scale.len());
        match (sums, prologue) {
            (Some(BackSums::Norm(sums)), Some(prologue)) => {
                let before = Before { xs: xs.clone(), prologue: prologue.clone() };
                Grad { before: Some(Rc::new(before)), sums: Some(sums), ..self }
            }
            (Some(BackSums::Gate(images)), _) => {
                let sums = images.into_values().collect::<Vec<_>>().concat();
                Grad { gate_sums: Some(Rc::new(GateSums { sums, c })), ..self }
            }
            _ => self,
        }
    }

    /// The sum of two gradients of the same value.
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

    /// Applies the backward steps that another gradient of the same value has completed.
    fn go_before(self, before: &Before) -> Result<Grad> {
        let grad = self.settle()?;
        let summed = by_dtype!("gradient", grad, T => {
            let view = View::<T>::of(&before.xs, Some(&before.prologue))?;
            let from = Reading::of(&grad);
            let (from, c) = (from.slice::<T>()?, view.c);
            let write = |rows: Range<usize>, block: &mut [T]| {
                block.copy_from_slice(&from[rows.start * c..rows.end * c]);
                let mut sums = view.back_sums().expect("a prologue has sums");
                view.look_back((rows.start, rows.len()), 0..c, block, None, &mut sums);
                sums
            };
            let per_block = rows_per_block(view.n_rows, c);
            // SAFETY: each block is copied before it is read.
            let (ds, sums) = unsafe { overwrite(view.n_rows, c, per_block, write) };
            Ok::<_, candle::Error>((tensor(ds, grad.dims())?, BackSums::join(sums)))
        })?;
        let (tensor, sums) = summed;
        Ok(Grad::plain(tensor).summed(sums, &before.xs, Some(&before.prologue)))
    }

    /// Applies the deferred steps and returns the gradient as a tensor.
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

    /// The gradient without a deferred norm, as the backward pass of another norm needs it.
    pub(crate) fn before_norm(self) -> Result<Grad> {
        if self.norm.is_none() { Ok(self) } else { Ok(Grad::plain(self.settle()?)) }
    }
}

/// Applies a prologue to a whole tensor.
pub(crate) fn settle(xs: &Tensor, prologue: Option<&Prologue>) -> Result<Tensor> {
    let Some(prologue) = prologue else { return xs.contiguous() };
    let xs = xs.contiguous()?;
    by_dtype!("prologue", xs, T => {
        let view = View::<T>::of(&xs, Some(prologue))?;
        tensor(whole(view.n_rows, view.c, |first, ys| view.read(first, ys, view.c)), xs.dims())
    })
}

fn whole<T: Real>(n_rows: usize, c: usize, read: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    let write = |rows: Range<usize>, block: &mut [T]| read(rows.start, block);
    // SAFETY: both kinds of view write every number of the destination.
    unsafe { overwrite(n_rows, c, rows_per_block(n_rows, c), write) }.0
}

pub(crate) fn cast<T: Real>(xs: &[f64]) -> Vec<T> {
    xs.iter().map(|&it| T::of(it)).collect()
}

/// Copies the numbers of a small tensor.
fn numbers<T: Real>(it: &Tensor) -> Result<Vec<T>> {
    Ok(cast(&it.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?))
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
            sum(&product(&ys, &v[3], None, None)?, &product(&ys, &v[4], None, None)?)
        });
    }

    #[test]
    fn readers_with_different_backward_passes_may_be_mixed() {
        let window = Window::square(3, 1, Padding::Symmetric);
        check(&[&[2, 3, 2, 5], &[5], &[5], &[5, 5], &[3, 3, 5]], |v| {
            let ys = normed(&v[0], &v[1], &v[2])?;
            let branch =
                sum(&product(&ys, &v[3], None, None)?, &depthwise(&ys, &v[4], window, None)?)?;
            sum(&ys, &branch)
        });
        // In the opposite order in the backward pass.
        check(&[&[2, 3, 2, 5], &[5], &[5], &[5, 5]], |v| {
            let ys = normed(&v[0], &v[1], &v[2])?;
            let doubled = sum(&ys, &ys)?;
            sum(&product(&ys, &v[3], None, None)?, &doubled)
        });
    }

    #[test]
    fn a_gate_may_depend_on_what_it_gates() {
        for width in [5, 17] {
            check(&[&[2, 2, 3, width], &[width], &[width], &[width, width], &[3, width]], |v| {
                let ys = normed(&v[0], &v[1], &v[2])?;
                let gates = product(&global_avg_pool(&ys)?, &v[3], None, None)?;
                let gated = gate(&ys, &activate(&gates, Activation::Sigmoid)?)?;
                product(&gated, &v[4], None, None)
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
