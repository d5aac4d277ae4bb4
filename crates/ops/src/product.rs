//! y = x Wᵀ + b over the last dimension: a linear layer, and a 1x1 convolution, which in
//! channels-last layout is the same thing over `n·h·w` rows.

use candle::{Result, bail};

use crate::{
    Value,
    blocks::{build, reduce, rows_per_block},
    isa::kernel,
    matmul::{Matrix, matmul},
    real::{Reading, Real, by_dtype, tensor},
};

/// Multiplies every row by a matrix.
///
/// - `xs`: `[…, in]`.
/// - `weight`: `[out, in]`, or with ones between as 1x1 kernels have them, `[out, 1, 1, in]`.
/// - `bias`: `[out]`.
/// - returns: `[…, out]`.
pub fn product(xs: &Value, weight: &Value, bias: Option<&Value>) -> Result<Value> {
    let (dims, n_in) = split_last(xs.dims())?;
    let (n_out, n_rows) = (weight.dims()[0], dims.iter().product::<usize>());
    if weight.tensor().elem_count() != n_out * n_in {
        bail!("product: rows of {n_in} do not fit a weight of {:?}", weight.dims());
    }
    let out_dims: Vec<usize> = dims.iter().copied().chain([n_out]).collect();
    let (x, w) = (xs.tensor().contiguous()?, weight.tensor().contiguous()?);
    let b = bias.map(|it| it.tensor().contiguous()).transpose()?;
    let ys = by_dtype!("product", x, T => {
        let (x, w, b) = (Reading::of(&x), Reading::of(&w), b.as_ref().map(Reading::of));
        let b = b.as_ref().map(|it| it.slice::<T>()).transpose()?;
        let ys = forward(x.slice::<T>()?, w.slice()?, b, n_rows, n_in, n_out);
        tensor(ys, &out_dims)
    })?;

    let (x_slot, w_slot) = (xs.slot(), weight.slot());
    let b_slot = bias.map(Value::slot);
    let inputs: Vec<&Value> = [xs, weight].into_iter().chain(bias).collect();
    Value::record(&inputs, ys, move |grad, slots| {
        by_dtype!("product", x, T => {
            let grad = grad.contiguous()?;
            let gs = Reading::of(&grad);
            let gs = gs.slice::<T>()?;
            slots.give(w_slot, || {
                let x = Reading::of(&x);
                tensor(weight_gradient(x.slice()?, gs, n_rows, n_in, n_out), w.dims())
            })?;
            if let Some(b_slot) = b_slot {
                slots.give(b_slot, || tensor(column_sums(gs, n_rows, n_out), &[n_out]))?;
            }
            slots.give(x_slot, || {
                let w = Reading::of(&w);
                tensor(input_gradient(gs, w.slice()?, n_rows, n_in, n_out), x.dims())
            })
        })
    })
}

fn split_last(dims: &[usize]) -> Result<(&[usize], usize)> {
    match dims.split_last() {
        Some((&last, rest)) => Ok((rest, last)),
        None => bail!("product: a number has no rows"),
    }
}

fn forward<T: Real>(
    xs: &[T],
    w: &[T],
    bias: Option<&[T]>,
    n_rows: usize,
    n_in: usize,
    n_out: usize,
) -> Vec<T> {
    let per_block = rows_per_block(n_rows, n_in.max(n_out));
    build(n_rows, n_out, per_block, |first, ys: &mut [T]| {
        let n = ys.len() / n_out;
        if let Some(bias) = bias {
            ys.chunks_mut(n_out).for_each(|row| row.copy_from_slice(bias));
        }
        let xs = Matrix::new(&xs[first * n_in..][..n * n_in], n, n_in);
        matmul(xs, Matrix::new(w, n_out, n_in).t(), ys, bias.is_some());
    })
}

/// dX = G W.
fn input_gradient<T: Real>(gs: &[T], w: &[T], n_rows: usize, n_in: usize, n_out: usize) -> Vec<T> {
    let per_block = rows_per_block(n_rows, n_in.max(n_out));
    build(n_rows, n_in, per_block, |first, dx: &mut [T]| {
        let n = dx.len() / n_in;
        let gs = Matrix::new(&gs[first * n_out..][..n * n_out], n, n_out);
        matmul(gs, Matrix::new(w, n_out, n_in), dx, false);
    })
}

/// dW = Gᵀ X, in at most sixteen partial sums.
fn weight_gradient<T: Real>(
    xs: &[T],
    gs: &[T],
    n_rows: usize,
    n_in: usize,
    n_out: usize,
) -> Vec<T> {
    let per_block = n_rows.div_ceil(16).max(256);
    reduce(n_rows, per_block, n_out * n_in, |rows| {
        let mut dw = vec![T::ZERO; n_out * n_in];
        let xs = Matrix::new(&xs[rows.start * n_in..rows.end * n_in], rows.len(), n_in);
        let gs = Matrix::new(&gs[rows.start * n_out..rows.end * n_out], rows.len(), n_out);
        matmul(gs.t(), xs, &mut dw, false);
        dw
    })
}

/// The sum of each column of `n_rows` rows.
fn column_sums<T: Real>(xs: &[T], n_rows: usize, width: usize) -> Vec<T> {
    reduce(n_rows, rows_per_block(n_rows, width), width, |rows| {
        let mut sums = vec![T::ZERO; width];
        add_rows(&xs[rows.start * width..rows.end * width], &mut sums);
        sums
    })
}

kernel! {
    fn add_rows<F, T>(xs: &[T], sums: &mut [T]) {
        for row in xs.chunks_exact(sums.len()) {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close;

    use crate::{Value, check::check, product};

    #[test]
    fn is_the_textbook_product() -> Result<()> {
        let of = |xs: &[f64], dims: &[usize]| {
            Ok::<_, candle::Error>(Value::constant(Tensor::from_slice(xs, dims, &Device::Cpu)?))
        };
        let xs = of(&[1.0, 2.0, 3.0, 4.0], &[1, 2, 1, 2])?;
        let (w, b) = (of(&[1.0, 0.0, 0.5, -1.0, 2.0, 2.0], &[3, 2])?, of(&[0.0, 10.0, 0.0], &[3])?);
        let ys = product(&xs, &w, Some(&b))?;
        assert_eq!(ys.dims(), [1, 2, 1, 3]);
        check_close(ys.tensor(), &[1.0, 8.5, 6.0, 3.0, 7.5, 14.0], 1e-12);
        Ok(())
    }

    #[test]
    fn has_the_right_gradients() {
        check(&[&[2, 3, 1, 4], &[5, 4]], |it| product(&it[0], &it[1], None));
        check(&[&[3, 4], &[2, 4], &[2]], |it| product(&it[0], &it[1], Some(&it[2])));
    }
}
