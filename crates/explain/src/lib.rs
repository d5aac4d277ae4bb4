//! Explanations: heat maps of the parts of an image that a prediction depends on.
//!
//! A heat map shows which parts raise the score of a class in this network. It is no segmentation, and no proof
//! that the prediction is right; occlusion, which needs no gradient, is the check of the other methods.
//!
//! ```ignore
//! let explainer = Explainer::new(&bundle, 0)?;
//! let target = Target::parse(explainer.task(), Some("mask"), Some("worn"))?;
//! let it = explainer.explain(&bytes, &target, Method::GradCam, None)?;
//! it.overlay(ColourMap::Viridis, 0.5).save("overlay.png")?;
//! ```

mod cam;
mod colours;
mod error;
mod explainer;
mod explanation;
mod heatmap;
mod method;
mod occlusion;
mod score;
mod target;

pub use colours::ColourMap;
pub use error::ExplainError;
pub use explainer::Explainer;
pub use explanation::Explanation;
pub use heatmap::Heatmap;
pub use method::Method;
pub use target::Target;
