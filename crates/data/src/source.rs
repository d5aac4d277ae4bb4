//! Sources: where examples come from. One file a source.

pub(crate) mod mask_profiles;
mod several;
mod synthetic_people;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use mask_profiles::MaskProfiles;
pub use several::{Purpose, Root, Several};
pub use synthetic_people::SyntheticPeople;

use crate::{Findings, Manifest};

base::choice! {
    /// `[data] source`: where examples come from.
    pub enum SourceConfig: dyn Source {
        /// Synthetic people: portraits made up by the program, for trying it without a data set.
        "synthetic_people" => SyntheticPeople(SyntheticPeople),
        /// The mask competition's layout: `train.csv` and seven images a person under `images/`.
        "mask_profiles" => MaskProfiles(MaskProfiles),
        /// Several of the others: each of `roots` has a `source`, and may have a `name`, a `share` of its
        /// people, `use = "train"` to be trained on in every fold and nothing else, and `same_people`.
        "several" => Several(Several),
    }
}

/// Where examples come from.
pub trait Source {
    /// Lists all examples, and what does not fit; opens no image.
    ///
    /// # Errors
    /// Files or folders without which there is nothing to list, or settings that make no sense.
    fn list(&self, context: &Context<'_>) -> Result<(Manifest, Findings), SourceError>;

    /// Lists and checks all examples.
    ///
    /// # Errors
    /// Everything that is wrong with the data, at once.
    fn read(&self, context: &Context<'_>) -> Result<Manifest, SourceError>;
}

/// What reading a source may use.
pub struct Context<'a> {
    /// A folder to remember checked files in.
    pub cache: Option<&'a Path>,
    /// Images with more pixels are refused.
    pub max_pixels: u64,
    /// Is told now and then how many images of how many are done.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or folder that must be there cannot be opened.
    #[error("{}: {source}: {remedy}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The settings make no sense.
    #[error("{0}")]
    Settings(String),
    /// The data itself has faults.
    #[error("{}: {findings}", root.display())]
    Findings {
        /// The data's folder.
        root: PathBuf,
        /// All faults.
        findings: Findings,
    },
    /// Roots of several cannot be read: what each says.
    #[error("{}", .0.join("\n"))]
    Roots(Vec<String>),
}
