//! The parts of a batch, of which each is a pass of its own: gradient accumulation.

use std::ops::Range;

/// Divides rows into parts of nearly equal size, none of them empty.
pub(crate) fn parts_of(n_rows: usize, n_parts: usize) -> Vec<Range<usize>> {
    let n_parts = n_parts.clamp(1, n_rows.max(1));
    (0..n_parts).map(|it| it * n_rows / n_parts..(it + 1) * n_rows / n_parts).collect()
}

#[cfg(test)]
mod tests {
    use super::parts_of;

    #[test]
    fn parts_are_nearly_equal() {
        assert_eq!(parts_of(4, 2), [0..2, 2..4]);
        assert_eq!(parts_of(8, 3), [0..2, 2..5, 5..8]);
        assert_eq!(parts_of(2, 4), [0..1, 1..2]);
    }
}
