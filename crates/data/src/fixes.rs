//! Label fixes: corrections of a published data set's labels, in a separate file.
//!
//! ```toml
//! [[fix]]
//! ids = ["006359", "006360"]
//! gender = { from = "female", to = "male" }
//!
//! [[fix]]
//! ids = ["000020"]
//! swap = ["normal", "incorrect_mask"]   # The labels of the two files are exchanged.
//!
//! [[fix]]
//! ids = ["000645"]
//! relabel = { incorrect_mask = "mask" } # The file shows a correctly worn mask.
//!
//! [[fix]]
//! ids = ["001009"]
//! age = 29                              # The person's age becomes 29.
//!
//! [[fix]]
//! ids = ["003399"]
//! ignore = true                         # Left out entirely.
//!
//! [[fix]]
//! ids = ["004281"]
//! weight = 0.5                          # Sample weight in training; 0: not trained on.
//! ```
//!
//! An id is that of the `id` column of `train.csv`, or, where two people share one, the name of the folder.

use std::{collections::BTreeMap, path::Path};

use base::text;
use serde::Deserialize;

use crate::synthetic::Gender;

/// The fixes of one file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixes {
    /// The fixes, in the order of the file.
    #[serde(default)]
    pub(crate) fix: Vec<Fix>,
}

/// One correction of the labels of one or more people.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fix {
    pub(crate) ids: Vec<String>,
    #[serde(default)]
    pub(crate) gender: Option<GenderFix>,
    #[serde(default)]
    pub(crate) age: Option<f64>,
    #[serde(default)]
    pub(crate) swap: Option<[String; 2]>,
    #[serde(default)]
    pub(crate) relabel: BTreeMap<String, MaskName>,
    #[serde(default)]
    pub(crate) ignore: bool,
    #[serde(default)]
    pub(crate) weight: Option<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GenderFix {
    pub(crate) from: Gender,
    pub(crate) to: Gender,
}

/// How a mask is worn, as named in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MaskName {
    Mask,
    IncorrectMask,
    Normal,
}

impl MaskName {
    /// Returns the label of a file name without extension; `None` if it is not one of the seven names.
    pub(crate) fn of_file(stem: &str) -> Option<MaskName> {
        match stem {
            "mask1" | "mask2" | "mask3" | "mask4" | "mask5" => Some(MaskName::Mask),
            "incorrect_mask" => Some(MaskName::IncorrectMask),
            "normal" => Some(MaskName::Normal),
            _ => None,
        }
    }

    /// Returns the level of the task's mask factor.
    pub(crate) fn level(self) -> usize {
        self as usize
    }
}

impl Fixes {
    /// Reads a file of fixes.
    ///
    /// # Errors
    /// A file that cannot be read, or is not a list of fixes; the message names the file.
    pub fn read(path: &Path) -> Result<Fixes, String> {
        let text = text::read(path).map_err(|err| {
            format!("{}: {err}: `label_fixes` names files of label fixes", path.display())
        })?;
        let fixes: Fixes =
            toml::from_str(&text).map_err(|err| format!("{}: {err}", path.display()))?;
        for fix in &fixes.fix {
            if let Some(weight) = fix.weight.filter(|it| !(0.0..=1.0).contains(it)) {
                return Err(format!(
                    "{}: `weight` must be from 0 to 1, not {weight}",
                    path.display()
                ));
            }
            let names = fix.swap.iter().flatten().chain(fix.relabel.keys());
            if let Some(name) = names.into_iter().find(|it| MaskName::of_file(it).is_none()) {
                let files = "`mask1` to `mask5`, `incorrect_mask` and `normal`";
                return Err(format!("{}: `{name}` is not one of {files}", path.display()));
            }
        }
        Ok(fixes)
    }
}
