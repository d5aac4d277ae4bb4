//! A row of a batch: which pictures it is made of, and how much of each.
//!
//! One-hot labels, mixup, cutmix and pseudo labels are all such lists.

/// One picture's share of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// The position of the picture in its batch.
    pub picture: usize,
    /// Its share, in 0..=1; the shares of a row sum to 1.
    pub weight: f32,
}

/// The pictures that one row of a batch is blended from.
pub type Row = Vec<Part>;

/// Rows that are one whole picture each.
pub fn unmixed(n: usize) -> Vec<Row> {
    (0..n).map(|picture| vec![Part { picture, weight: 1.0 }]).collect()
}
