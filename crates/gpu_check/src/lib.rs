//! What NVIDIA's cards compute, against f64 on the CPU: cases with their references, and the time of typical layers.
//!
//! The tests of `gpu` run every case of the short list on the emulated driver, and `maskfit device check` on a card.
//! A case that fails is recorded with its numbers; nothing here panics or prints.

mod case;
mod check;
mod prologue;

mod layer;
mod reference;

mod cast;
mod concat;
mod conv;
mod depthwise;
mod elementwise;
mod image;
mod layer_norm;
mod norm;
mod optimizer;
mod pool;
mod product;
mod update;

mod timed;
mod timing;

use crate::case::List;
pub use crate::{
    case::Case,
    check::{Bound, Check, Outcome},
    layer::{Each, Layer},
    prologue::Read,
    timed::{TimedLayer, timed_layers},
    timing::{Limits, Time, Timer},
};

/// Lists the cases of a family.
type Family = (&'static str, fn(&mut List));

/// The families of kernels, in the order in which they are shown.
const FAMILIES: [Family; 17] = [
    ("product", product::cases),
    ("few-rows", product::few),
    ("conv", conv::cases),
    ("grouped-conv", conv::groups),
    ("depthwise", depthwise::tiled),
    ("any-depthwise", depthwise::untiled),
    ("norm", norm::cases),
    ("layer-norm", layer_norm::cases),
    ("l2-normalise", layer_norm::l2),
    ("elementwise", elementwise::cases),
    ("pool", pool::cases),
    ("concat", concat::cases),
    ("dropout", cast::dropouts),
    ("cast", cast::cases),
    ("image", image::cases),
    ("optimizer", update::optimizers),
    ("average", update::averages),
];

/// The names of all families.
pub fn families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|it| it.0)
}

/// The cases of these families.
///
/// - `is_whole`: every shape in every storage, and shapes of real networks; otherwise the list that the tests run.
pub fn cases<'a>(families: impl IntoIterator<Item = &'a str>, is_whole: bool) -> Vec<Case> {
    let mut all = Vec::new();
    for name in families {
        for &(family, fill) in FAMILIES.iter().filter(|it| it.0 == name) {
            let mut list = List { family, is_whole, cases: Vec::new() };
            fill(&mut list);
            all.append(&mut list.cases);
        }
    }
    all
}
