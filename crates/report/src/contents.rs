//! Everything that is on a report's page, in its order: numbers, names and embedded images, without any formatting.
//!
//! A number that is undefined is `None`, never NaN. Names are as in the data, and are escaped by the page. Lists that
//! could grow with the data are cut, and say how long they were.

mod attributes;
mod compared;
mod curves;
mod estimate;
mod images;
mod scores;
mod setup;
mod test_scores;

use serde::{Deserialize, Serialize};

pub use self::{
    attributes::*, compared::*, curves::*, estimate::*, images::*, scores::*, setup::*,
    test_scores::*,
};

/// A page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// The names of the runs, joined by commas.
    pub title: String,
    /// When it was made, as `2026-11-29 22:04 UTC`.
    pub made: String,
    /// Several runs side by side; `None` for one.
    pub comparison: Option<Compared>,
    /// The runs, each with all its sections.
    pub runs: Vec<RunReport>,
}

/// A run, a cross-validation, or a folder of `maskfit evaluate` or `maskfit ensemble`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The folder's name.
    pub name: String,
    /// `run`, `cross-validation`, `ensemble` or `evaluation`.
    pub kind: String,
    /// The images that everything is about, such as `test set` or `out-of-fold predictions`.
    pub set: String,
    /// The verdict: sentences, which form one paragraph.
    pub verdict: Vec<String>,
    /// What could not be shown, such as images that are missing.
    pub notes: Vec<String>,
    /// The scores: of the joint classes, then of each factor.
    pub scores: Vec<ScopeScores>,
    /// Of a cross-validation with a test set: the scores on it, beside those of the out-of-fold predictions.
    pub test: Option<TestScores>,
    /// The learning curves: one, or one for each fold; empty where nothing was trained.
    pub curves: Vec<Curve>,
    /// The confusion matrices: of the joint classes, then of each factor.
    pub confusions: Vec<ConfusionMatrix>,
    /// The classes: the joint ones, then those of each factor.
    pub classes: Vec<ClassTable>,
    /// The images with the lowest probability of their true class.
    pub top_losses: Vec<Shown>,
    /// The most confused pairs of classes.
    pub confused: Vec<ConfusedPair>,
    /// The images with the lowest probability of the predicted class.
    pub least_certain: Vec<Shown>,
    /// Confidence beside accuracy.
    pub reliability: Vec<ReliabilityOf>,
    /// The scores by the values of each attribute; empty where the data has none.
    pub attributes: Vec<AttributeScores>,
    /// Likely label errors.
    pub labels: LabelErrors,
    /// Grad-CAM of some images: right and wrong ones in turn.
    pub maps: Vec<MapShown>,
    /// What the maps show, such as the factor and the stage.
    pub maps_of: String,
    /// The data.
    pub data: DataFacts,
    /// The settings, versions and machine.
    pub setup: Setup,
}
