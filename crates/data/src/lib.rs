//! Data: sources of examples, train/validation splits by group, samplers, loading in batches, and
//! exploratory analysis of a data set.
//!
//! To add a source, a split or a sampler, write its file, declare it in `source.rs`, `split.rs` or
//! `sampler.rs`, and give it a line in the registry there. The zoo tests find it.

mod cache_dir;
mod files;
mod findings;
mod fixes;
mod folder;
mod load;
mod loader;
mod manifest;
mod measure;
pub mod names;
mod pack;
mod prepare;
mod pseudo;
mod review;
mod sampler;
mod sizes;
mod source;
mod split;
mod survey;
pub mod synthetic;
mod verified;

pub use cache_dir::CacheDir;
pub use files::Files;
pub use findings::{Finding, Findings};
pub use fixes::Fixes;
pub use folder::{Folder, Recognise, Skipped, has_image_ending, list_images};
pub use load::{Batch, Load, LoadBatches, LoadError, LoadViews};
pub use loader::Loader;
pub use manifest::{Attribute, Content, Example, Listed, Manifest, Use};
pub use measure::measure_statistics;
pub use pack::{Pack, PackError, Packs};
pub use prepare::{Prepared, prepare};
pub use pseudo::{
    Pseudo, PseudoImages, PseudoLabels, PseudoTable, copies, file_hashes, groups_in,
    held_out_copies,
};
pub use review::{Decision, Review, Reviewed};
pub use sampler::{ByClass, Sampler, SamplerConfig};
pub use sizes::{check_sizes, sizes_of};
pub use source::{
    Context, Folders, GroupBy, LabelColumn, MaskProfiles, NamePattern, Purpose, Root, Several,
    Source, SourceConfig, SourceError, SyntheticPeople, Table,
    mask_profiles::{Listing, from_names},
};
pub use split::{
    Balance, Candidate, FoldBalance, Folds, Sides, Split, SplitConfig, SplitError, StratifiedKfold,
};
pub use survey::{
    Brightness, ClassCount, Extreme, NEAR, NearDuplicate, NearDuplicates, NumberCount,
    NumberCounts, ScopeCount, Similarity, SizeCount, Survey, Unreadable, link_hashes, survey,
};
pub use verified::{check_images, remedy};
