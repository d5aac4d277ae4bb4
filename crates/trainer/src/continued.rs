//! Continuing from a bundle: which one it may be, the settings that it determines, and the model that starts from it.
//!
//! The backbone's weights are loaded, and those of the head for the classes of the same names
//! ([`Model::continue_from`]). Settings that are left out are the bundle's: the backbone, the head, and the
//! preprocessing that its model was validated with. What was fitted to the earlier model's predictions, such as a
//! calibration, is not taken over.

use std::{
    path::{Path, PathBuf},
    slice,
};

use augment::{Given, StatisticsConfig};
use base::{
    Task,
    config::{ConfigError, Layer, load},
};
use candle::Device;
use infer::{Bundle, BundleError, Member};
use models::{Continued, Model, WeightsError};
use toml::{Table, Value};

use crate::experiment::{DEFAULT, Experiment};

/// The folder in that of a run with a copy of the bundle that it continues from.
pub const FOLDER: &str = "pretrained";

/// A bundle that training continues from: its one model.
pub struct Earlier {
    bundle: Bundle,
    dir: PathBuf,
}

/// Why training cannot continue from a bundle.
#[derive(Debug, thiserror::Error)]
pub enum EarlierError {
    /// It cannot be opened.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// It is an ensemble.
    #[error(
        "{}: this bundle is an ensemble of {n} models, and training continues from one: name {}",
        path.display(),
        which(.members)
    )]
    Several {
        /// The bundle's folder.
        path: PathBuf,
        /// The number of its models.
        n: usize,
        /// The runs that they come from, if the folder tells.
        members: Vec<String>,
    },
    /// Its model does not fit.
    #[error("{}: {source}", path.display())]
    Weights {
        /// The bundle's folder.
        path: PathBuf,
        /// Why.
        source: WeightsError,
    },
    /// The settings are invalid together with those that the bundle determines.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

fn which(members: &[String]) -> String {
    match members {
        [] => "a run that one of them comes from".to_owned(),
        all => format!("one of them: {}", all.join(", ")),
    }
}

/// The settings that a bundle determines.
const DETERMINED: [&str; 5] =
    ["model.backbone", "head", "augment.train", "augment.eval", "augment.statistics"];

impl Earlier {
    /// Opens the bundle in a folder.
    ///
    /// # Errors
    /// No bundle, a damaged one, or one of several models.
    pub fn open(dir: &Path) -> Result<Earlier, EarlierError> {
        let bundle = Bundle::open(dir, &Device::Cpu)?;
        let n = bundle.members.len();
        if n > 1 {
            let (path, members) = (dir.to_owned(), runs_of(dir));
            return Err(EarlierError::Several { path, n, members });
        }
        Ok(Earlier { bundle, dir: dir.to_owned() })
    }

    /// The bundle's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The factors and classes that its model predicts.
    pub fn task(&self) -> &Task {
        &self.member().task
    }

    fn member(&self) -> &Member {
        &self.bundle.members[0]
    }

    /// Loads an experiment from `layers` over the settings that the bundle determines, and these over the default
    /// settings. Also returns notes: which settings are the bundle's, which differ, and what is not taken over.
    ///
    /// # Errors
    /// The first invalid layer, and where.
    pub fn experiment(&self, layers: &[Layer]) -> Result<(Experiment, Vec<String>), EarlierError> {
        let default = Layer::from_toml("configs/default.toml", DEFAULT)?;
        let own = Layer::new(self.dir.display().to_string(), self.settings());
        let experiment: Experiment = load(&default, &[slice::from_ref(&own), layers].concat())?;
        let left_out = |it: &&&str| own.gives(it) && !layers.iter().any(|layer| layer.gives(it));
        let taken: Vec<String> =
            DETERMINED.iter().filter(left_out).map(|it| format!("`{it}`")).collect();
        let mut notes = Vec::new();
        if !taken.is_empty() {
            notes.push(format!(
                "settings of the bundle, as they are left out: {}",
                taken.join(", ")
            ));
        }
        notes.extend(self.differences(&experiment));
        notes.extend(self.not_taken_over());
        Ok((experiment, notes))
    }

    /// Returns the settings that the bundle determines.
    fn settings(&self) -> Table {
        let Member { model, pipeline, train, .. } = self.member();
        let value = |it: Result<Value, toml::ser::Error>| it.expect("settings are TOML");
        let statistics = pipeline.statistics;
        let statistics =
            StatisticsConfig::Given(Given { mean: statistics.mean, std: statistics.std });
        let mut augment = Table::new();
        // Bundles of the first format do not have those of training.
        if !train.is_empty() {
            augment.insert("train".to_owned(), value(Value::try_from(train)));
        }
        augment.insert("eval".to_owned(), value(Value::try_from(&pipeline.ops)));
        augment.insert("statistics".to_owned(), value(Value::try_from(&statistics)));
        let backbone = value(Value::try_from(&model.spec().backbone));
        Table::from_iter([
            ("augment".to_owned(), Value::Table(augment)),
            ("head".to_owned(), value(Value::try_from(&model.spec().head))),
            (
                "model".to_owned(),
                Value::Table(Table::from_iter([("backbone".to_owned(), backbone)])),
            ),
        ])
    }

    /// Returns a note for each setting of the preprocessing that differs from the bundle's.
    fn differences(&self, experiment: &Experiment) -> Vec<String> {
        let pipeline = &self.member().pipeline;
        let list = |xs: [f64; 3]| xs.map(|x| x.to_string()).join(" ");
        let theirs = pipeline.statistics;
        let ours = experiment.augment.statistics.get().known();
        let mut notes = Vec::new();
        if ours.is_none_or(|it| it.mean != theirs.mean || it.std != theirs.std) {
            notes.push(format!(
                "note: `augment.statistics` differs from the bundle's: mean {}, std {} (leave the setting out to \
                 use these)",
                list(theirs.mean),
                list(theirs.std)
            ));
        }
        if experiment.augment.eval != pipeline.ops {
            let ops = Value::try_from(&pipeline.ops).expect("transforms are TOML");
            notes.push(format!("note: `augment.eval` differs from the bundle's: eval = {ops}"));
        }
        notes
    }

    /// Returns a note on what the bundle has beside its model, if it has any.
    fn not_taken_over(&self) -> Option<String> {
        let Bundle { calibration, decision, conformal, .. } = &self.bundle;
        let parts = [
            ("calibration", *calibration != Default::default()),
            ("decision", *decision != Default::default()),
            ("prediction sets", conformal.is_some()),
            ("test-time augmentation", self.member().views != Default::default()),
        ];
        let has: Vec<&str> = parts.iter().filter(|it| it.1).map(|it| it.0).collect();
        (!has.is_empty()).then(|| {
            format!(
                "note: not taken over from the bundle, since it was chosen for the earlier model: {} (`maskfit \
                 ensemble` fits a new one, `[tta]` sets views)",
                has.join(", ")
            )
        })
    }

    /// Loads the weights into a model.
    ///
    /// # Errors
    /// Another backbone, or another variant of it.
    pub fn load_into(&self, model: &Model, task: &Task) -> Result<Continued, EarlierError> {
        let continued = model.continue_from(task, &self.member().model, self.task());
        continued.map_err(|source| EarlierError::Weights { path: self.dir.clone(), source })
    }

    /// Copies the bundle to another folder.
    ///
    /// # Errors
    /// I/O errors.
    pub fn copy_to(&self, dir: &Path) -> Result<(), EarlierError> {
        let tag = Bundle::tag(&self.dir).unwrap_or_else(|| "0".to_owned());
        Ok(self.bundle.save(dir, &tag)?)
    }
}

/// Returns the runs that an ensemble in a folder was made of, by its report.
fn runs_of(dir: &Path) -> Vec<String> {
    let report = base::text::read(&dir.join("report.toml")).unwrap_or_default();
    let report: Table = report.parse().unwrap_or_default();
    let members = report.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
    let run = |it: &Value| Some(it.get("run")?.as_str()?.to_owned());
    members.iter().filter_map(run).collect()
}
