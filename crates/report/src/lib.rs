//! The report of runs: [`Contents`] is everything on its page, collected from predictions.
//!
//! [`Collector`] takes predictions one by one and keeps sums and a few numbers of each image; what it returns has no
//! images yet, only which of them to show. [`verdict()`] puts the numbers into sentences, each by a stated rule, and
//! [`html()`] makes the page.

mod attributes;
mod classes;
mod collector;
mod contents;
mod gallery;
mod labels;
mod page;
mod test_scores;
#[cfg(test)]
mod testing;
mod verdict;

pub use attributes::AttributeOf;
pub use collector::{Collected, Collector, Record};
pub use contents::*;
pub use gallery::{Gallery, GalleryPair, Limits};
pub use labels::label_errors;
pub use page::{HEAD, PageError, html, is_page};
pub use test_scores::{TestSums, test_scores};
pub use verdict::{Basis, Grounds, verdict};
