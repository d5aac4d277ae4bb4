//! Training steps that check a card: whether they agree with the CPU's, and how long they take.
//!
//! They are those of a run, on networks and data that need no files: for `maskfit device check`, and for the tests of
//! training on a card.

mod agreement;
mod settings;
mod speed;

pub use agreement::{Agreement, Bounds, Change, Taken, take};
pub use settings::{B0, B3, B4, CONVNEXT, EFFICIENTNET, Network, RESNET, experiment, plan};
pub use speed::Training;
