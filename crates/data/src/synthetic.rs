//! Synthetic people: portraits for trying the program without a data set.
//!
//! Every person is a function of a seed and a number: skin, hair, face, glasses, clothes, background,
//! light. The visual cues of gender and age overlap: the apparent age is the true one plus noise, and
//! hair, hairline, wrinkles and clothes depend on the apparent one. Ages are distributed as in the mask
//! competition. Each person has the competition's seven images: five with a mask worn, one with a mask
//! worn incorrectly, one without.

mod brush;
mod person;
mod portrait;

pub use person::{Gender, Person};
pub use portrait::{Shot, draw, mask_area};
