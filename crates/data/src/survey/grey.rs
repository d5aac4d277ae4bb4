//! The grey level of a colour.

/// Returns 1000 times the grey level of a colour, or of a sum of colours: luma of ITU-R BT.601.
pub(super) fn grey([r, g, b]: [u64; 3]) -> u64 {
    299 * r + 587 * g + 114 * b
}
