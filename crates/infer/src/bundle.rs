//! The bundle: a self-contained folder with everything needed for inference.
//!
//! `bundle.toml` contains the task and, for each member of the ensemble, its architecture, its pipeline with
//! its statistics, its views, and the name and the SHA-256 of its weights file; and how a prediction follows from
//! those of the members: how they are combined, calibrated and decided. It is written last, so that replacing a
//! bundle is atomic: whenever the process ends, the folder holds either the old bundle or the new one.

mod description;
mod error;
mod join;

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    rc::Rc,
};

use augment::{Pipeline, Step, View, ViewsConfig};
use base::{Task, files::write_atomic};
use candle::Device;
use ensemble::{CalibrationConfig, CombineConfig, Conformal, Decision};
use models::{Model, WeightsError, read_weights};
use sha2::{Digest as _, Sha256};

use self::description::{Description, FILE, MemberDescription, VERSION, staged};
pub use self::error::BundleError;

/// Everything needed for inference: a task, one or more models, and how a prediction follows from theirs.
#[derive(Clone)]
pub struct Bundle {
    /// The factors and classes that are predicted.
    pub task: Task,
    /// The models.
    pub members: Vec<Member>,
    /// The inputs of `combine`: how many members, from the first on, are averaged to each. The members of a
    /// cross-validation, one for each fold, are one input. Empty where each member is one.
    pub inputs: Vec<usize>,
    /// How the inputs are combined to one prediction.
    pub combine: CombineConfig,
    /// The calibration of the combined prediction.
    pub calibration: CalibrationConfig,
    /// Which class is predicted for the calibrated probabilities.
    pub decision: Decision,
    /// The scores of held-out images that prediction sets follow from, if there are any. Of CV+, each input has
    /// a member for each fold, in their order.
    pub conformal: Option<Conformal>,
}

/// A model, and the pipeline that it was validated with.
#[derive(Clone)]
pub struct Member {
    /// The network with its weights.
    pub model: Rc<Model>,
    /// The factors and classes that the network predicts: those of the bundle, or some of its factors.
    pub task: Task,
    /// Decodes and transforms an image file's bytes into an image.
    pub pipeline: Pipeline,
    /// The test-time augmentation: the views of an image that are predicted and merged.
    pub views: ViewsConfig,
    /// The transforms of training, which some views need; empty if they are unknown.
    pub train: Vec<Step>,
}

impl Member {
    /// Returns a model as a member, without test-time augmentation.
    pub fn new(model: Rc<Model>, task: Task, pipeline: Pipeline) -> Member {
        Member { model, task, pipeline, views: ViewsConfig::default(), train: Vec::new() }
    }

    /// Returns the views of an image, at least one.
    ///
    /// # Errors
    /// The views do not fit the pipeline.
    pub fn views(&self) -> Result<Vec<View>, String> {
        self.views.get().views(&self.pipeline, &self.train)
    }

    /// Returns the factor of `task` whose number the member predicts, if it does.
    pub fn number(&self, task: &Task) -> Option<usize> {
        let own = self.model.spec().head.get().number(&self.task)?;
        task.places(&self.task).ok()?.get(own).copied()
    }
}

impl Bundle {
    /// Returns the bundle of members that count equally, and whose mean is the prediction.
    ///
    /// - `task`: that of the members, or the [product](Task::product) of theirs.
    pub fn new(task: Task, members: Vec<Member>) -> Bundle {
        Bundle {
            task,
            members,
            inputs: Vec::new(),
            combine: CombineConfig::default(),
            calibration: CalibrationConfig::default(),
            decision: Decision::default(),
            conformal: None,
        }
    }

    /// Returns the bundle with the same test-time augmentation for every member.
    ///
    /// # Errors
    /// The views do not fit a member's pipeline.
    pub fn with_views(mut self, views: &ViewsConfig) -> Result<Bundle, String> {
        for member in &mut self.members {
            member.views = views.clone();
            member.views()?;
        }
        Ok(self)
    }

    /// Returns the bundle without test-time augmentation.
    #[must_use]
    pub fn without_views(mut self) -> Bundle {
        self.members.iter_mut().for_each(|it| it.views = ViewsConfig::default());
        self
    }

    /// Returns what does not fit together, if anything.
    pub fn problem(&self) -> Option<String> {
        self.describe("0").problem(Path::new(""))
    }

    /// Returns the views of an image by all members, each once.
    ///
    /// # Errors
    /// The views of a member do not fit its pipeline.
    pub fn views(&self) -> Result<Vec<View>, String> {
        let mut all: Vec<View> = Vec::new();
        for member in &self.members {
            for view in member.views()? {
                if !all.iter().any(|it| it.gives_same(&view)) {
                    all.push(view);
                }
            }
        }
        Ok(all)
    }

    /// Saves the bundle to a folder, replacing the one that is there.
    ///
    /// `tag` distinguishes its weights from those of the earlier bundle, for example the step.
    ///
    /// # Errors
    /// I/O errors; the earlier bundle is then still intact.
    pub fn save(&self, dir: &Path, tag: &str) -> Result<(), BundleError> {
        self.stage(dir, tag)?;
        Bundle::commit(dir, tag)
    }

    /// Writes the bundle next to the one that is there, which is the one that is opened until
    /// [`Bundle::commit`].
    ///
    /// # Errors
    /// I/O errors; or members that do not fit together, before anything is written.
    pub fn stage(&self, dir: &Path, tag: &str) -> Result<(), BundleError> {
        let mut description = self.describe(tag);
        let path = dir.join(staged(tag));
        if let Some(reason) = description.problem(dir) {
            return Err(BundleError::Description { path, reason });
        }
        fs::create_dir_all(dir).map_err(io_at(dir))?;
        for (member, described) in self.members.iter().zip(&mut description.members) {
            let path = dir.join(&described.weights);
            let tensors = member.model.params().to_file()?;
            let bytes = safetensors::serialize(tensors, None).map_err(candle::Error::wrap)?;
            described.sha256 = Some(hexadecimal(&Sha256::digest(&bytes)));
            write_atomic(&path, &bytes).map_err(io_at(&path))?;
        }
        let text = toml::to_string(&description).expect("a description serializes to TOML");
        write_atomic(&path, text.as_bytes()).map_err(io_at(&path))
    }

    /// Describes the bundle, without the checksums of its weights.
    fn describe(&self, tag: &str) -> Description {
        let of_member = |(idx, it): (usize, &Member)| MemberDescription {
            weights: format!("weights-{idx}-{tag}.safetensors"),
            sha256: None,
            task: (it.task.factors != self.task.factors).then(|| it.task.clone()),
            model: it.model.spec().clone(),
            pipeline: it.pipeline.clone(),
            train: it.train.clone(),
            views: it.views.clone(),
        };
        Description {
            version: VERSION,
            inputs: self.inputs.clone(),
            task: self.task.clone(),
            combine: self.combine.clone(),
            calibration: self.calibration.clone(),
            decision: self.decision.clone(),
            conformal: self.conformal.clone(),
            members: self.members.iter().enumerate().map(of_member).collect(),
        }
    }

    /// Replaces the bundle that is there by the staged one with this tag; does nothing if there is none.
    ///
    /// # Errors
    /// I/O errors; the folder then holds one of the two.
    pub fn commit(dir: &Path, tag: &str) -> Result<(), BundleError> {
        let (path, staged) = (dir.join(FILE), dir.join(staged(tag)));
        if !staged.is_file() {
            return Ok(());
        }
        let weights = |path: &Path| Description::weights(path).unwrap_or_default();
        let (before, now) = (weights(&path), weights(&staged));
        base::files::replace(&staged, &path).map_err(io_at(&path))?;
        for name in before.iter().filter(|it| !now.contains(it)) {
            let path = dir.join(name);
            match fs::remove_file(&path) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(io_at(&path)(err)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes bundles that were staged and never committed, and weights that no description names. Only
    /// for a folder that no other process writes to; files that cannot be removed stay.
    pub fn discard_staged(dir: &Path) {
        let kept = Description::weights(&dir.join(FILE)).unwrap_or_default();
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_staged = name.starts_with("bundle-") && name.ends_with(".toml");
            if is_staged || name.starts_with("weights-") && !kept.contains(&name) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    /// Returns the tag of the bundle in a folder; `None` if there is no bundle, or it has no tag.
    pub fn tag(dir: &Path) -> Option<String> {
        let weights = Description::weights(&dir.join(FILE))?;
        let first = weights.first()?.strip_prefix("weights-0-")?;
        first.strip_suffix(".safetensors").map(str::to_owned)
    }

    /// Returns the factor whose number is predicted: every member that predicts the factor predicts its number.
    /// `None` if there is no such factor.
    pub fn number(&self) -> Option<usize> {
        let numbers: Vec<_> = self.members.iter().map(|it| it.number(&self.task)).collect();
        let first = numbers.iter().flatten().next().copied()?;
        let agrees = |(member, number): (&Member, &Option<usize>)| {
            let name = &self.task.factors[first].name;
            let has_factor = member.task.factors.iter().any(|it| it.name == *name);
            !has_factor || *number == Some(first)
        };
        self.members.iter().zip(&numbers).all(agrees).then_some(first)
    }

    /// Reads the task of a bundle, without its weights.
    ///
    /// # Errors
    /// A folder that is not a bundle.
    pub fn task(dir: &Path) -> Result<Task, BundleError> {
        Ok(Description::read(dir)?.task)
    }

    /// Loads a bundle from its folder.
    ///
    /// # Errors
    /// A folder that is not a bundle, or a damaged file in it.
    pub fn open(dir: &Path, device: &Device) -> Result<Bundle, BundleError> {
        let Description {
            task, members, inputs, combine, calibration, decision, conformal, ..
        } = Description::read(dir)?;
        let open = |it: MemberDescription| {
            let own = it.task.unwrap_or_else(|| task.clone());
            let path = dir.join(&it.weights);
            let tensors = read_weights(&path).map_err(unreadable)?;
            if let Some(saved) = it.sha256
                && saved != sha256_of(&path).map_err(io_at(&path))?
            {
                let reason = "its SHA-256 is not the one in `bundle.toml`".to_owned();
                return Err(BundleError::Damaged { path, reason });
            }
            let misfit = |source| BundleError::OtherWeights { path: path.clone(), source };
            // Checked first: a description may specify a network that does not fit into memory.
            it.model.params(&own)?.check_shapes(&tensors).map_err(misfit)?;
            let model = Model::zeros(&it.model, &own, device)?;
            model.params().load(&tensors).map_err(misfit)?;
            let (pipeline, views, train) = (it.pipeline, it.views, it.train);
            Ok(Member { model: Rc::new(model), task: own, pipeline, views, train })
        };
        let members = members.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Bundle { task, members, inputs, combine, calibration, decision, conformal })
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> BundleError {
    let path = path.to_owned();
    move |source| BundleError::Io { path, source }
}

/// Replaces the advice to download weights again: those of a bundle were not downloaded.
fn unreadable(err: WeightsError) -> BundleError {
    match err {
        WeightsError::Unreadable { path, reason } => match reason.strip_suffix(DOWNLOAD) {
            Some(it) => BundleError::Damaged { path, reason: it.to_owned() },
            None => WeightsError::Unreadable { path, reason }.into(),
        },
        other => other.into(),
    }
}

/// The advice in the errors of files that are not complete.
const DOWNLOAD: &str = ": download it again";

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

/// Returns the SHA-256 of a file, which is not held in memory.
fn sha256_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut bytes = vec![0; 1 << 20];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            n => hash.update(&bytes[..n]),
        }
    }
}

#[cfg(test)]
mod tests;
