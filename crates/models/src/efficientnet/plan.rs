//! One block of an EfficientNet.

/// The specification of one block.
pub(super) struct BlockPlan {
    pub(super) stage: usize,
    pub(super) idx: usize,
    pub(super) n_in: usize,
    pub(super) n_out: usize,
    pub(super) expand: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) is_fused: bool,
    pub(super) drop_path: f64,
}
