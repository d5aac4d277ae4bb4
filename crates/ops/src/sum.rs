//! x + y, element by element: the residual connection.

use candle::{Result, Tensor, bail};

use crate::{
    Value,
    blocks::{overwrite, rows_per_block},
    isa::kernel,
    meter::{Job, Way, watch},
    prologue::{Grad, View},
    real::{Real as _, by_dtype, tensor},
};

/// Adds two values of the same shape.
pub fn sum(xs: &Value, ys: &Value) -> Result<Value> {
    if xs.dims() != ys.dims() {
        bail!("sum: {:?} and {:?} differ", xs.dims(), ys.dims());
    }
    let _watch = watch(|| {
        let n = xs.dims().iter().product();
        Job { flops: n, numbers: 3 * n, ..Job::new("sum", Way::Forward) }
    });
    let (x, y) = (xs.raw()?, ys.raw()?);
    let total = by_dtype!("sum", x, T => {
        let (a, b) = (View::<T>::of(&x, xs.prologue())?, View::<T>::of(&y, ys.prologue())?);
        let per_block = rows_per_block(a.n_rows, a.c);
        let write = |rows: std::ops::Range<usize>, block: &mut [T]| {
            a.read(rows.start, block, a.c);
            match b.plain(rows.start, rows.len()) {
                Some(ys) => add_to(ys, block),
                None => T::with_scratch(block.len(), |ys| {
                    b.read(rows.start, ys, b.c);
                    add_to(ys, block);
                }),
            }
        };
        // SAFETY: `read` writes the whole block.
        let (total, _) = unsafe { overwrite(a.n_rows, a.c, per_block, write) };
        tensor(total, x.dims())
    })?;
    let (x_slot, y_slot) = (xs.slot(), ys.slot());
    Value::record(&[xs, ys], total, move |grad, slots| {
        let grad = grad.settle()?;
        slots.give(x_slot, || Ok(Grad::plain(grad.clone())))?;
        slots.give(y_slot, || Ok(Grad::plain(grad)))
    })
}

/// The sum of two tensors of the same shape.
pub(crate) fn add(xs: &Tensor, ys: &Tensor) -> Result<Tensor> {
    sum(&Value::constant(xs.clone()), &Value::constant(ys.clone()))?.tensor()
}

kernel! {
    /// Adds each number to its sum.
    pub(crate) fn add_to<F, T>(xs: &[T], sums: &mut [T]) {
        for (sum, &x) in sums.iter_mut().zip(xs) {
            *sum += x;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{check::check, sum};

    #[test]
    fn gradients_are_correct() {
        check(&[&[2, 3], &[2, 3]], |it| sum(&it[0], &it[1]));
    }
}
