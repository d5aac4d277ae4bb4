//! The learning rates of the backbone's stages, as shares of the head's. One file a rule.

mod given;
mod layer_decay;
mod same;
mod slice;

base::choice! {
    /// `[groups] stage_lr`
    pub enum StageLrConfig: dyn StageLr {
        /// All stages learn as the head does.
        "same" => Same(same::Same),
        /// From the first stage to the head in equal factors (Howard & Ruder, 2018; fastai's slice).
        "slice" => Slice(slice::Slice),
        /// Each stage slower by a factor than the one after it (timm's layer decay).
        "layer_decay" => LayerDecay(layer_decay::LayerDecay),
        /// A number for each stage.
        "given" => Given(given::Given),
    }
}

/// A rule for the rates of stages.
pub trait StageLr {
    /// The multiple of each stage, in order.
    ///
    /// - `stages`: their names, from the first; the head, which comes after them, is not among them.
    ///
    /// # Errors
    /// Settings for other stages than there are.
    fn scales(&self, stages: &[&str]) -> Result<Vec<f64>, String>;

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String> {
        None
    }
}
