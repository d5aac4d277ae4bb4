//! `bundle.toml`: what a bundle is, without the values of its weights.
//!
//! It may have been edited, or come from an untrusted source: everything in it is checked before a file that it
//! names is opened.

use std::{
    fs, io,
    path::{Component, Path},
};

use augment::{Pipeline, Step, ViewsConfig};
use base::{
    MissingFactor, Task,
    config::{ConfigError, Layer, load},
};
use ensemble::{CalibrationConfig, CombineConfig, Conformal, Decision};
use models::ModelSpec;
use serde::{Deserialize, Serialize};

use super::error::BundleError;

/// The name of the description in a bundle's folder.
pub(super) const FILE: &str = "bundle.toml";

/// The format that is written. Format 2 has neither checksums nor anything but the mean of members of one task.
pub(super) const VERSION: u32 = 3;
const OLDEST: u32 = 2;

/// `bundle.toml`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    /// The version of this format.
    pub(super) version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) inputs: Vec<usize>,
    pub(super) task: Task,
    #[serde(default)]
    pub(super) combine: CombineConfig,
    #[serde(default)]
    pub(super) calibration: CalibrationConfig,
    #[serde(default)]
    pub(super) decision: Decision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) conformal: Option<Conformal>,
    pub(super) members: Vec<MemberDescription>,
}

/// A member, without the values of its weights.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberDescription {
    /// The name of a file in the same folder.
    pub(super) weights: String,
    /// The SHA-256 of that file, in lowercase hexadecimal digits; none in format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
    /// The factors and classes that the member predicts, if they are not those of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) task: Option<Task>,
    pub(super) model: ModelSpec,
    pub(super) pipeline: Pipeline,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) train: Vec<Step>,
    #[serde(default)]
    pub(super) views: ViewsConfig,
}

/// The description of a staged bundle, not committed yet.
pub(super) fn staged(tag: &str) -> String {
    format!("bundle-{tag}.toml")
}

/// Returns whether a name is a plain file name, not a path.
fn is_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

/// Returns whether a name is that of a file in `dir` itself, not a symbolic link; the file may be missing.
fn is_in_folder(dir: &Path, name: &str) -> bool {
    is_name(name) && !dir.join(name).is_symlink()
}

impl Description {
    /// Returns the weights files that a description names, only those in its own folder, because callers
    /// remove files; `None` if it cannot be read.
    pub(super) fn weights(path: &Path) -> Option<Vec<String>> {
        let text = fs::read_to_string(path).ok()?;
        let description: Description = toml::from_str(&text).ok()?;
        let names = description.members.into_iter().map(|it| it.weights);
        Some(names.filter(|it| is_name(it)).collect())
    }

    /// Reads and checks the description of the bundle in a folder.
    pub(super) fn read(dir: &Path) -> Result<Description, BundleError> {
        let path = dir.join(FILE);
        let text = base::text::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                BundleError::NoBundle { path: dir.to_owned() }
            }
            _ => BundleError::Io { path: path.clone(), source },
        })?;
        let unclear = |reason: String| BundleError::Description { path: path.clone(), reason };
        let name = path.display().to_string();
        let table: toml::Table = text.parse().map_err(|source| ConfigError::Syntax {
            name: name.clone(),
            source: Box::new(source),
        })?;
        // First, because other versions have other keys.
        let version = table.get("version").and_then(toml::Value::as_integer);
        let is_known = |it: &i64| (i64::from(OLDEST)..=i64::from(VERSION)).contains(it);
        if let Some(version) = version.filter(|it| !is_known(it)) {
            let reason = format!(
                "the bundle has format {version}, but this version of maskfit reads formats {OLDEST} to \
                 {VERSION}: train it again, or use the version that wrote it"
            );
            return Err(unclear(reason));
        }
        let layer = Layer::new(name, table);
        let description: Description = load(&layer, &[])?;
        let has_no_hash = |it: &MemberDescription| it.sha256.is_none();
        let bare = description.members.iter().position(has_no_hash);
        let no_hash = bare
            .filter(|_| version != Some(OLDEST.into()))
            .map(|idx| format!("at `members[{idx}]`: `sha256` is missing: copy the bundle again"));
        match description.problem(dir).or(no_hash) {
            None => Ok(description),
            Some(reason) => Err(unclear(reason)),
        }
    }

    /// Returns what is wrong with a description, if anything.
    ///
    /// - `dir`: the folder of the bundle.
    pub(super) fn problem(&self, dir: &Path) -> Option<String> {
        let at = |place: &str, it: Option<String>| it.map(|it| format!("at `{place}`: {it}"));
        if let Some(problem) = at("task", self.task.problem()) {
            return Some(problem);
        }
        if self.members.is_empty() {
            return Some("it has no members".to_owned());
        }
        let of_member = |(idx, it): (usize, &MemberDescription)| {
            at(&format!("members[{idx}]"), it.problem(&self.task, dir))
        };
        if let Some(problem) = self.members.iter().enumerate().find_map(of_member) {
            return Some(problem);
        }
        let (n_inputs, n_classes) = (self.n_inputs(), self.task.n_classes());
        None.or_else(|| at("members", self.problem_of_factors()))
            .or_else(|| at("inputs", self.problem_of_inputs()))
            .or_else(|| at("combine", self.combine.get().problem(n_inputs, n_classes)))
            .or_else(|| at("combine", self.problem_of_combine()))
            .or_else(|| at("calibration", self.calibration.get().problem(n_classes)))
            .or_else(|| at("decision", self.decision.problem(&self.task)))
            .or_else(|| at("conformal", self.problem_of_conformal()))
    }

    fn n_inputs(&self) -> usize {
        if self.inputs.is_empty() { self.members.len() } else { self.inputs.len() }
    }

    fn problem_of_factors(&self) -> Option<String> {
        let has = |name: &str| {
            let task = |it: &MemberDescription| match &it.task {
                Some(own) => own.factors.iter().any(|it| it.name == name),
                None => true,
            };
            self.members.iter().any(task)
        };
        let missing = self.task.factors.iter().find(|it| !has(&it.name))?;
        let factor = missing.name.clone();
        Some(MissingFactor { factor }.to_string())
    }

    fn problem_of_inputs(&self) -> Option<String> {
        let n = self.inputs.iter().try_fold(0_usize, |n, it| n.checked_add(*it));
        let is_fine = self.inputs.is_empty()
            || n == Some(self.members.len()) && self.inputs.iter().all(|it| *it > 0);
        (!is_fine).then(|| {
            format!(
                "must be the number of members of each input, above 0, which add up to all {}, not {:?}",
                self.members.len(),
                self.inputs
            )
        })
    }

    /// Returns the first member that predicts only some factors, which has no probabilities of the joint
    /// classes.
    fn first_partial(&self) -> Option<usize> {
        let is_whole = |own: &Task| own.factors.len() == self.task.factors.len();
        self.members.iter().position(|it| !it.task.as_ref().is_none_or(is_whole))
    }

    fn problem_of_combine(&self) -> Option<String> {
        let is_mean = matches!(self.combine, CombineConfig::SoftVote(_));
        let partial = self.first_partial().filter(|_| !is_mean)?;
        Some(format!(
            "`{}` needs members that predict every factor, but members[{partial}] does not: use `soft_vote`",
            self.combine.kind()
        ))
    }

    fn problem_of_conformal(&self) -> Option<String> {
        let conformal = self.conformal.as_ref()?;
        let of_folds = || {
            let n = conformal.folds.len();
            if self.inputs.is_empty() || self.inputs.iter().any(|it| *it != n) {
                return Some(format!(
                    "has {n} folds, but not every one of `inputs` ({:?}) has a member for each",
                    self.inputs
                ));
            }
            let partial = self.first_partial()?;
            Some(format!(
                "scores of several folds need members that predict every factor, but members[{partial}] does not"
            ))
        };
        let problem = conformal.problem();
        problem.or_else(|| if conformal.is_cv_plus() { of_folds() } else { None })
    }
}

impl MemberDescription {
    /// - `task`: that of the bundle.
    fn problem(&self, task: &Task, dir: &Path) -> Option<String> {
        let own = self.task.as_ref().unwrap_or(task);
        let named = |name: &str, it: Option<String>| it.map(|it| format!("`{name}`: {it}"));
        let is_elsewhere = !is_in_folder(dir, &self.weights);
        let elsewhere = || {
            let name = &self.weights;
            format!("`weights` must be a file in the bundle's own folder, not `{name}`")
        };
        let views = || self.views.get().views(&self.pipeline, &self.train).err();
        let train = || self.train.iter().find_map(Step::problem);
        None.or_else(|| named("task", own.problem().or_else(|| task.places(own).err())))
            .or_else(|| named("model", self.model.problem(own)))
            .or_else(|| named("pipeline", self.pipeline.problem()))
            .or_else(|| named("train", train()))
            .or_else(|| named("views", views()))
            .or_else(|| is_elsewhere.then(elsewhere))
            .or_else(|| named("sha256", self.sha256.as_ref().and_then(|it| problem_of_sha256(it))))
    }
}

fn problem_of_sha256(text: &str) -> Option<String> {
    let is_digit = |it| matches!(it, b'0'..=b'9' | b'a'..=b'f');
    let is_fine = text.len() == 64 && text.bytes().all(is_digit);
    (!is_fine).then(|| "must be the SHA-256 of the weights, 64 hexadecimal digits".to_owned())
}
