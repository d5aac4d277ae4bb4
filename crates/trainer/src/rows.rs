//! What belongs to one output of a layer: the rows of its weight.

use candle::{CpuStorage, Result, Storage, Tensor, bail};
use models::Param;

/// How the numbers of a parameter, as they lie in memory, fall into rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rows {
    n: usize,
    /// Numbers of one row follow each other; else each row has every n-th.
    is_first_axis: bool,
}

impl Rows {
    /// One row for each output.
    pub(crate) fn of(param: &Param) -> Rows {
        let axis = param.kind.output_axis();
        Rows { n: param.var.dims()[axis], is_first_axis: axis == 0 }
    }

    /// All in one.
    pub(crate) fn whole() -> Rows {
        Rows { n: 1, is_first_axis: true }
    }

    /// How many there are.
    pub(crate) fn n(self) -> usize {
        self.n
    }

    /// The sum over each row of `f` of two numbers, one of each list.
    pub(crate) fn sums(self, xs: &[f32], ys: &[f32], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.n];
        self.visit(xs.len(), |row, idx| sums[row] += f(f64::from(xs[idx]), f64::from(ys[idx])));
        sums
    }

    /// Calls `f` with the row and the position of each of `len` numbers, in their order.
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

/// Looks at the numbers of a tensor as they lie in memory.
///
/// # Errors
/// A tensor that is not f32, or not on the CPU.
pub(crate) fn read<R>(tensor: &Tensor, look: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(CpuStorage::F32(xs)) = &*storage else {
        bail!("parameters and gradients are f32, and on the CPU");
    };
    let (from, to) = layout.contiguous_offsets().expect("made contiguous above");
    Ok(look(&xs[from..to]))
}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn rows_lie_one_after_the_other_or_interleaved() {
        let (xs, ones) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0; 6]);
        let sums = |n, is_first_axis| Rows { n, is_first_axis }.sums(&xs, &ones, |x, y| x * y);
        assert_eq!(sums(2, true), [6.0, 15.0]);
        assert_eq!(sums(2, false), [9.0, 12.0]);
        assert_eq!(Rows::whole().sums(&xs, &xs, |x, y| x * y), [91.0]);
    }
}
