//! The learning rates of the backbone's stages, as multiples of the optimizer's. One file per rule.

mod given;
mod layer_decay;
mod same;
mod slice;

base::choice! {
    /// `[groups] stage_lr`
    pub enum StageLrConfig: dyn StageLr {
        /// The same learning rate for all stages.
        "same" => Same(same::Same),
        /// Discriminative rates, geometrically spaced up to the head (Howard & Ruder, 2018; fastai's slice).
        "slice" => Slice(slice::Slice),
        /// Layer-wise decay: each stage's rate is a fixed share of the next one's (timm's layer decay).
        "layer_decay" => LayerDecay(layer_decay::LayerDecay),
        /// A given multiple for each stage.
        "given" => Given(given::Given),
    }
}

/// A rule for the learning rates of stages.
pub trait StageLr {
    /// Returns the multiple of each stage, in order.
    ///
    /// - `stages`: the names of the backbone's stages in order, without the head, which follows them.
    ///
    /// # Errors
    /// The settings do not match the stages.
    fn scales(&self, stages: &[&str]) -> Result<Vec<f64>, String>;

    /// Returns the first invalid setting as a message, if there is one.
    fn problem(&self) -> Option<String> {
        None
    }
}
