//! The rows of a weight: the elements that belong to one output of a layer.

use candle::{CpuStorage, Result, Storage, Tensor, bail};
use models::Param;

/// How the elements of a parameter in memory order are divided into rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rows {
    n: usize,
    /// Rows are contiguous; otherwise each row has every n-th element.
    is_first_axis: bool,
}

impl Rows {
    /// Returns one row for each output.
    pub(crate) fn of(param: &Param) -> Rows {
        let axis = param.kind.output_axis();
        Rows { n: param.var.dims()[axis], is_first_axis: axis == 0 }
    }

    /// Returns a single row.
    pub(crate) fn whole() -> Rows {
        Rows { n: 1, is_first_axis: true }
    }

    /// Returns the number of rows.
    pub(crate) fn n(self) -> usize {
        self.n
    }

    /// Returns the sum of `f(x, y)` over each row.
    pub(crate) fn sums(self, xs: &[f32], ys: &[f32], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.n];
        self.visit(xs.len(), |row, idx| sums[row] += f(f64::from(xs[idx]), f64::from(ys[idx])));
        sums
    }

    /// Calls `f` with the row and the index of each of `len` elements, in memory order.
    pub(crate) fn visit(self, len: usize, mut f: impl FnMut(usize, usize)) {
        match self.is_first_axis {
            true => {
                let n_each = len / self.n.max(1);
                for row in 0..self.n {
                    (row * n_each..(row + 1) * n_each).for_each(|idx| f(row, idx));
                }
            }
            false => {
                for begin in (0..len).step_by(self.n.max(1)) {
                    (0..self.n).for_each(|row| f(row, begin + row));
                }
            }
        }
    }
}

/// Calls `f` with the elements of a tensor in memory order.
///
/// # Errors
/// The tensor is not f32, or not on the CPU.
pub(crate) fn read<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(CpuStorage::F32(xs)) = &*storage else {
        bail!("parameters and gradients must be f32 and on the CPU");
    };
    let (from, to) = layout.contiguous_offsets().expect("made contiguous above");
    Ok(f(&xs[from..to]))
}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn rows_are_contiguous_or_interleaved() {
        let (xs, ones) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0; 6]);
        let sums = |n, is_first_axis| Rows { n, is_first_axis }.sums(&xs, &ones, |x, y| x * y);
        assert_eq!(sums(2, true), [6.0, 15.0]);
        assert_eq!(sums(2, false), [9.0, 12.0]);
        assert_eq!(Rows::whole().sums(&xs, &xs, |x, y| x * y), [91.0]);
    }
}
