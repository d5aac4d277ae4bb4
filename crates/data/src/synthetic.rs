//! Synthetic people: portraits for trying the program without a data set.
//!
//! Every person is a function of a seed and a number: skin, hair, face, glasses, clothes, background,
//! light. Gender and age show in cues that overlap: an apparent age lies around the true one, and
//! hair, hairline, wrinkles and clothes follow the apparent one. Ages are spread as in the mask
//! competition. Each person has the competition's seven images: five with masks worn, one with a
//! mask worn wrongly, one without.

mod brush;
mod person;
mod portrait;

pub use person::{Gender, Person};
pub use portrait::{Shot, draw};
