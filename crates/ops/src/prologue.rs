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

mod add;
mod deferred;
mod kernels;
mod step;
mod view;

use std::{ops::Range, rc::Rc};

use candle::{Result, Tensor};

pub(crate) use add::add;
pub(crate) use deferred::{Before, GateSums, Grad, NormBackward, Prologue};
pub(crate) use step::Step;
pub(crate) use view::{BackwardSums, GradView, View};

use crate::{
    blocks::{overwrite, rows_per_block},
    real::{Reading, Real, by_dtype, tensor},
};

impl Grad {
    /// The gradient with the sums computed by [`View::backward_step`] through the prologue on `xs`.
    pub(crate) fn summed(
        self,
        sums: Option<BackwardSums>,
        xs: &Tensor,
        prologue: Option<&Prologue>,
    ) -> Grad {
        let c = prologue.map_or(0, |it| it.scale.len());
        match (sums, prologue) {
            (Some(BackwardSums::Norm(sums)), Some(prologue)) => {
                let before = Before { xs: xs.clone(), prologue: prologue.clone() };
                Grad { before: Some(Rc::new(before)), sums: Some(sums), ..self }
            }
            (Some(BackwardSums::Gate(images)), _) => {
                let sums = images.into_values().collect::<Vec<_>>().concat();
                Grad { gate_sums: Some(Rc::new(GateSums { sums, c })), ..self }
            }
            _ => self,
        }
    }

    /// The sum of two gradients of the same value.
    pub(crate) fn add(self, other: Grad) -> Result<Grad> {
        let (a, b) = match (&self.before, &other.before) {
            (None, None) => {
                return Ok(Grad::plain(add(
                    (&self.materialise()?, None),
                    (&other.materialise()?, None),
                )?));
            }
            (Some(_), None) => return other.add(self),
            (None, Some(before)) => (self.apply_before(&before.clone())?, other),
            (Some(_), Some(_)) => (self, other),
        };
        let sums = match (a.sums, b.sums) {
            (Some(a), Some(b)) => Some(a.iter().zip(b).map(|(a, b)| a + b).collect()),
            _ => None,
        };
        Ok(Grad {
            before: b.before,
            sums,
            ..Grad::plain(add((&a.tensor, None), (&b.tensor, None))?)
        })
    }

    /// Applies the backward steps that another gradient of the same value has completed.
    fn apply_before(self, before: &Before) -> Result<Grad> {
        let grad = self.materialise()?;
        let summed = by_dtype!("gradient", grad, T => {
            let view = View::<T>::of(&before.xs, Some(&before.prologue))?;
            let from = Reading::of(&grad);
            let (from, c) = (from.slice::<T>()?, view.c);
            let write = |rows: Range<usize>, block: &mut [T]| {
                block.copy_from_slice(&from[rows.start * c..rows.end * c]);
                let mut sums = view.backward_sums().expect("a prologue has sums");
                view.backward_step((rows.start, rows.len()), 0..c, block, None, &mut sums);
                sums
            };
            let per_block = rows_per_block(view.n_rows, c);
            // SAFETY: each block is copied before it is read.
            let (ds, sums) = unsafe { overwrite(view.n_rows, c, per_block, write) };
            Ok::<_, candle::Error>((tensor(ds, grad.dims())?, BackwardSums::join(sums)))
        })?;
        let (tensor, sums) = summed;
        Ok(Grad::plain(tensor).summed(sums, &before.xs, Some(&before.prologue)))
    }

    /// Applies the deferred steps and returns the gradient as a tensor.
    pub(crate) fn materialise(self) -> Result<Tensor> {
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
        if self.norm.is_none() { Ok(self) } else { Ok(Grad::plain(self.materialise()?)) }
    }
}

/// Applies a prologue to a whole tensor.
pub(crate) fn materialise(xs: &Tensor, prologue: Option<&Prologue>) -> Result<Tensor> {
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

#[cfg(test)]
mod tests {
    use candle::Result;

    use crate::{
        Activation, Padding, Value, Window, activate, add, batch_norm, check::check, depthwise,
        gate, global_avg_pool, linear,
    };

    fn normed(xs: &Value, gamma: &Value, beta: &Value) -> Result<Value> {
        Ok(batch_norm(xs, gamma, beta, 1e-3, Activation::Silu)?.0)
    }

    #[test]
    fn a_normed_value_may_be_read_twice() {
        check(&[&[2, 2, 2, 5], &[5], &[5], &[3, 5], &[3, 5]], |v| {
            let ys = normed(&v[0], &v[1], &v[2])?;
            add(&linear(&ys, &v[3], None, None)?, &linear(&ys, &v[4], None, None)?)
        });
    }

    #[test]
    fn readers_with_different_backward_passes_may_be_mixed() {
        let window = Window::square(3, 1, Padding::Symmetric);
        check(&[&[2, 3, 2, 5], &[5], &[5], &[5, 5], &[3, 3, 5]], |v| {
            let ys = normed(&v[0], &v[1], &v[2])?;
            let branch =
                add(&linear(&ys, &v[3], None, None)?, &depthwise(&ys, &v[4], window, None)?)?;
            add(&ys, &branch)
        });
        // In the opposite order in the backward pass.
        check(&[&[2, 3, 2, 5], &[5], &[5], &[5, 5]], |v| {
            let ys = normed(&v[0], &v[1], &v[2])?;
            let doubled = add(&ys, &ys)?;
            add(&linear(&ys, &v[3], None, None)?, &doubled)
        });
    }

    #[test]
    fn a_gate_may_depend_on_what_it_gates() {
        for width in [5, 17] {
            check(&[&[2, 2, 3, width], &[width], &[width], &[width, width], &[3, width]], |v| {
                let ys = normed(&v[0], &v[1], &v[2])?;
                let gates = linear(&global_avg_pool(&ys)?, &v[3], None, None)?;
                let gated = gate(&ys, &activate(&gates, Activation::Sigmoid)?)?;
                linear(&gated, &v[4], None, None)
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
