//! C = A·B, or C += A·B, on one thread: a safe face for the `gemm` crate.

use crate::real::Real;

/// A matrix somewhere in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    data: &'a [T],
    n_rows: usize,
    n_cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Real> Matrix<'a, T> {
    /// Rows one after the other.
    pub(crate) fn new(data: &'a [T], n_rows: usize, n_cols: usize) -> Matrix<'a, T> {
        assert_eq!(data.len(), n_rows * n_cols, "a matrix of another size");
        Matrix { data, n_rows, n_cols, row_stride: n_cols, col_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub(crate) fn t(self) -> Matrix<'a, T> {
        Matrix {
            n_rows: self.n_cols,
            n_cols: self.n_rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// C = A·B; with `onto`, C += A·B. `c` holds rows one after the other.
pub(crate) fn matmul<T: Real>(a: Matrix<'_, T>, b: Matrix<'_, T>, c: &mut [T], onto: bool) {
    assert_eq!(a.n_cols, b.n_rows, "matrices that do not fit");
    assert_eq!(c.len(), a.n_rows * b.n_cols, "a result of another size");
    // SAFETY: `Matrix::new` checked that every (row, column) of `a` and `b` lies in its slice,
    // and `c` was just checked; `c` is borrowed mutably, so it overlaps neither.
    unsafe {
        gemm::gemm(
            a.n_rows,
            b.n_cols,
            a.n_cols,
            c.as_mut_ptr(),
            1,
            b.n_cols as isize,
            onto,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{Matrix, matmul};

    #[test]
    fn multiplies_transposes_and_adds() {
        // [1 2; 3 4]·[5 6; 7 8] = [19 22; 43 50], and with the left one transposed
        // [1 3; 2 4]·[5 6; 7 8] = [26 30; 38 44].
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        let (a, b) = (Matrix::new(&a, 2, 2), Matrix::new(&b, 2, 2));
        let mut c = [f64::NAN; 4];
        matmul(a, b, &mut c, false);
        assert_eq!(c, [19.0, 22.0, 43.0, 50.0]);
        matmul(a.t(), b, &mut c, true);
        assert_eq!(c, [45.0, 52.0, 81.0, 94.0]);
    }
}
