//! The bundle: a self-contained folder with everything needed for inference.
//!
//! `bundle.toml` contains the task and, for each member of the ensemble, its architecture, its pipeline with
//! its statistics, and the name of its weights file. It is written last, so that replacing a bundle is
//! atomic: whenever the process ends, the folder holds either the old bundle or the new one.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    rc::Rc,
};

use augment::Pipeline;
use base::{Seed, Task, files::write_atomic};
use candle::Device;
use models::{Model, ModelSpec, WeightsError, read_weights};
use serde::{Deserialize, Serialize};

/// Everything needed for inference: a task and one or more models.
#[derive(Clone)]
pub struct Bundle {
    /// The factors and classes that are predicted.
    pub task: Task,
    /// The models, each with the pipeline that it was validated with.
    pub members: Vec<Member>,
}

/// A model and its image pipeline.
#[derive(Clone)]
pub struct Member {
    /// The network with its weights.
    pub model: Rc<Model>,
    /// Decodes and transforms an image file's bytes into an image.
    pub pipeline: Pipeline,
}

/// Why a bundle could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder is not a bundle.
    #[error("{}: this is not a bundle: name the folder of a `bundle.toml`, or a run", path.display())]
    NoBundle {
        /// The folder.
        path: PathBuf,
    },
    /// `bundle.toml` is not valid.
    #[error("{}: {reason}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The weights cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The weights do not fit the network of the description.
    #[error("{}: {source}", path.display())]
    OtherWeights {
        /// The file.
        path: PathBuf,
        /// The difference.
        source: WeightsError,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

const FILE: &str = "bundle.toml";
const VERSION: u32 = 2;

/// `bundle.toml`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    /// The version of this format.
    version: u32,
    task: Task,
    members: Vec<MemberDescription>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberDescription {
    /// The name of a file in the same folder.
    weights: String,
    model: ModelSpec,
    pipeline: Pipeline,
}

/// The description of a staged bundle, not committed yet.
fn staged(tag: &str) -> String {
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
    fn weights(path: &Path) -> Option<Vec<String>> {
        let text = fs::read_to_string(path).ok()?;
        let description: Description = toml::from_str(&text).ok()?;
        let names = description.members.into_iter().map(|it| it.weights);
        Some(names.filter(|it| is_name(it)).collect())
    }

    fn read(dir: &Path) -> Result<Description, BundleError> {
        let path = dir.join(FILE);
        let text = base::text::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                BundleError::NoBundle { path: dir.to_owned() }
            }
            _ => BundleError::Io { path: path.clone(), source },
        })?;
        let unclear = |reason: String| BundleError::Description { path: path.clone(), reason };
        let table: toml::Table =
            toml::from_str(&text).map_err(|err| unclear(err.message().to_owned()))?;
        // First, because other versions have other keys.
        let version = table.get("version").and_then(toml::Value::as_integer);
        if let Some(version) = version.filter(|&it| it != i64::from(VERSION)) {
            let reason = format!(
                "the bundle has format {version}, but this version of maskfit reads format {VERSION}: train it \
                 again, or use the version that wrote it"
            );
            return Err(unclear(reason));
        }
        let description: Description =
            table.try_into().map_err(|err: toml::de::Error| unclear(err.message().to_owned()))?;
        match description.problem(dir) {
            None => Ok(description),
            Some(reason) => Err(unclear(reason)),
        }
    }

    /// Returns what is wrong with a description, if anything: it may have been edited, or come from an
    /// untrusted source.
    fn problem(&self, dir: &Path) -> Option<String> {
        let of_member = |(idx, it): (usize, &MemberDescription)| {
            let place = format!("members[{idx}]");
            let weights = || {
                (!is_in_folder(dir, &it.weights)).then(|| {
                    let name = &it.weights;
                    format!("`weights` must be a file in the bundle's own folder, not `{name}`")
                })
            };
            let model = it.model.problem(&self.task).map(|it| format!("`model`: {it}"));
            let pipeline = || it.pipeline.problem().map(|it| format!("`pipeline`: {it}"));
            let problem = model.or_else(pipeline).or_else(weights)?;
            Some(format!("at `{place}`: {problem}"))
        };
        let task = self.task.problem().map(|it| format!("at `task`: {it}"));
        let is_empty = self.members.is_empty().then(|| "it has no members".to_owned());
        task.or(is_empty).or_else(|| self.members.iter().enumerate().find_map(of_member))
    }
}

impl Bundle {
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
    /// I/O errors.
    pub fn stage(&self, dir: &Path, tag: &str) -> Result<(), BundleError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| BundleError::Io { path, source }
        };
        fs::create_dir_all(dir).map_err(io(dir))?;
        let mut members = Vec::new();
        for (idx, member) in self.members.iter().enumerate() {
            let weights = format!("weights-{idx}-{tag}.safetensors");
            let path = dir.join(&weights);
            let tensors = member.model.params().to_file()?;
            let bytes = safetensors::serialize(tensors, None).map_err(candle::Error::wrap)?;
            write_atomic(&path, &bytes).map_err(io(&path))?;
            let (model, pipeline) = (member.model.spec().clone(), member.pipeline.clone());
            members.push(MemberDescription { weights, model, pipeline });
        }
        let description = Description { version: VERSION, task: self.task.clone(), members };
        let text = toml::to_string(&description).expect("a description serializes to TOML");
        let path = dir.join(staged(tag));
        write_atomic(&path, text.as_bytes()).map_err(io(&path))
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
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| BundleError::Io { path, source }
        };
        base::files::replace(&staged, &path).map_err(io(&path))?;
        for name in before.iter().filter(|it| !now.contains(it)) {
            let path = dir.join(name);
            match fs::remove_file(&path) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(io(&path)(err)),
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

    /// Returns the factor whose number every member predicts, if there is one.
    pub fn number(&self) -> Option<usize> {
        let mut of = self.members.iter().map(|it| it.model.spec().head.get().number(&self.task));
        let first = of.next()?;
        first.filter(|_| of.all(|it| it == first))
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
        let description = Description::read(dir)?;
        let mut members = Vec::new();
        for member in description.members {
            let path = dir.join(&member.weights);
            let tensors = read_weights(&path)?;
            let misfit = |source| BundleError::OtherWeights { path: path.clone(), source };
            // Checked first: a description may specify a network that does not fit into memory.
            member.model.params(&description.task)?.check_shapes(&tensors).map_err(misfit)?;
            // The fresh weights are all replaced.
            let model = Model::fresh(&member.model, &description.task, Seed(0), device)?;
            model.params().load(&tensors).map_err(misfit)?;
            members.push(Member { model: Rc::new(model), pipeline: member.pipeline });
        }
        Ok(Bundle { task: description.task, members })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, rc::Rc};

    use augment::{Pipeline, StatisticsConfig, TransformConfig};
    use base::{Seed, Task};
    use candle::Device;
    use models::{BackboneConfig, EfficientNet, HeadConfig, Model, ModelSpec};

    use super::{Bundle, Member};

    fn bundle(seed: u64) -> Bundle {
        let backbone = EfficientNet { width: 0.25, depth: 0.3, ..EfficientNet::default() };
        let backbone = BackboneConfig::EfficientNet(backbone);
        let spec = ModelSpec { backbone, head: HeadConfig::default() };
        let task = Task::mask_gender_age();
        let model = Model::fresh(&spec, &task, Seed(seed), &Device::Cpu).unwrap();
        let statistics = StatisticsConfig::default().get().known().unwrap();
        let ops = vec![TransformConfig::default().into()];
        let pipeline = Pipeline { ops, statistics, max_pixels: 1000 };
        Bundle { task, members: vec![Member { model: Rc::new(model), pipeline }] }
    }

    fn numbers(bundle: &Bundle) -> Vec<(String, Vec<f32>)> {
        let all = bundle.members[0].model.params().to_file().unwrap().into_iter();
        all.map(|(name, it)| (name, it.flatten_all().unwrap().to_vec1().unwrap())).collect()
    }

    #[test]
    fn a_saved_bundle_opens_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let saved = bundle(1);
        saved.save(dir.path(), "7").unwrap();
        let opened = Bundle::open(dir.path(), &Device::Cpu).unwrap();
        assert_eq!(opened.task, saved.task);
        assert_eq!(opened.members[0].pipeline, saved.members[0].pipeline);
        assert_eq!(opened.members[0].model.spec(), saved.members[0].model.spec());
        assert!(numbers(&opened) == numbers(&saved));
    }

    #[test]
    fn a_staged_bundle_is_opened_after_commit() {
        let dir = tempfile::tempdir().unwrap();
        let opened = || numbers(&Bundle::open(dir.path(), &Device::Cpu).unwrap());
        bundle(1).save(dir.path(), "1").unwrap();
        bundle(2).stage(dir.path(), "2").unwrap();
        bundle(3).stage(dir.path(), "3").unwrap();
        assert!(opened() == numbers(&bundle(1)) && Bundle::tag(dir.path()).unwrap() == "1");
        Bundle::commit(dir.path(), "2").unwrap();
        Bundle::commit(dir.path(), "9").unwrap();
        assert!(opened() == numbers(&bundle(2)) && Bundle::tag(dir.path()).unwrap() == "2");
        // The third bundle stays until staged bundles are discarded.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
        Bundle::discard_staged(dir.path());
        assert!(opened() == numbers(&bundle(2)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_newer_bundle_replaces_the_older_one_entirely() {
        let dir = tempfile::tempdir().unwrap();
        bundle(1).save(dir.path(), "1").unwrap();
        bundle(2).save(dir.path(), "2").unwrap();
        let opened = Bundle::open(dir.path(), &Device::Cpu).unwrap();
        assert!(numbers(&opened) == numbers(&bundle(2)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn damage_to_a_bundle_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let err = || Bundle::open(dir.path(), &Device::Cpu).err().unwrap().to_string();
        assert!(err().contains("this is not a bundle"), "{}", err());

        bundle(1).save(dir.path(), "1").unwrap();
        let weights = dir.path().join("weights-0-1.safetensors");
        let whole = fs::read(&weights).unwrap();
        fs::write(&weights, &whole[..whole.len() - 100]).unwrap();
        assert!(err().contains("weights-0-1.safetensors: this is not a complete"), "{}", err());
        fs::remove_file(&weights).unwrap();
        assert!(err().contains("No such file"), "{}", err());

        fs::write(&weights, whole).unwrap();
        let text = fs::read_to_string(dir.path().join("bundle.toml")).unwrap();
        let other = text.replace("width = 0.25", "width = 0.5");
        assert_ne!(text, other);
        fs::write(dir.path().join("bundle.toml"), other).unwrap();
        assert!(err().contains("has shape"), "{}", err());
        fs::write(
            dir.path().join("bundle.toml"),
            text.replace("version = 2", "version = 1\nanswers = 3"),
        )
        .unwrap();
        assert!(err().contains("has format 1"), "{}", err());
    }

    #[test]
    fn shapes_of_a_huge_network_are_checked_before_it_is_built() {
        let dir = tempfile::tempdir().unwrap();
        bundle(1).save(dir.path(), "1").unwrap();
        let path = dir.path().join("bundle.toml");
        let whole: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let backbones = [
            "kind = \"vgg\"\nhidden = 65536\nwidth = 16.0",
            "kind = \"efficientnet\"\nvariant = \"v2l\"\nwidth = 16.0\ndepth = 16.0",
            "kind = \"resnet\"\ndepth = 152\ngroups = 4096\ngroup_width = 4096\nwidth = 16.0",
            "kind = \"xresnet\"\ndepth = 152\nwidth = 16.0",
            "kind = \"densenet\"\ndepth = 201\nwidth = 16.0",
            "kind = \"convnext\"\nsize = \"base\"\nwidth = 16.0",
        ];
        let backbones = backbones.map(|it| ("backbone", it.to_owned()));
        let heads = ["joint", "factored", "branched", "bins", "regression", "sigmoid"];
        let heads = heads.map(|it| ("head", format!("kind = \"{it}\"\ndepth = 16\nwidth = 65536")));
        for (section, huge) in backbones.into_iter().chain(heads) {
            let mut edited = whole.clone();
            let model = edited["members"][0]["model"].as_table_mut().unwrap();
            let huge: toml::Table = huge.parse().unwrap();
            model.insert(section.to_owned(), toml::Value::Table(huge));
            fs::write(&path, edited.to_string()).unwrap();
            let err = Bundle::open(dir.path(), &Device::Cpu).err().unwrap().to_string();
            assert!(err.contains("weights-0-1.safetensors: `"), "{section}: {err}");
        }
    }

    #[test]
    fn edited_description_is_validated_like_a_config() {
        let dir = tempfile::tempdir().unwrap();
        bundle(1).save(dir.path(), "1").unwrap();
        let path = dir.path().join("bundle.toml");
        let text = fs::read_to_string(&path).unwrap();
        // The same file, outside the bundle's folder.
        let outside = tempfile::tempdir().unwrap();
        let file = outside.path().join("w.safetensors");
        fs::copy(dir.path().join("weights-0-1.safetensors"), &file).unwrap();
        std::os::unix::fs::symlink(&file, dir.path().join("link.safetensors")).unwrap();
        let far = format!("weights = \"{}\"", file.display());
        let ours = "weights = \"weights-0-1.safetensors\"";
        let elsewhere = "`weights` must be a file in the bundle's own folder";
        for (from, to, want) in [
            (ours, far.as_str(), elsewhere),
            (ours, "weights = \"../best/weights-0-1.safetensors\"", elsewhere),
            (ours, "weights = \"./../w.safetensors\"", elsewhere),
            (ours, "weights = \"\"", elsewhere),
            (ours, "weights = \"link.safetensors\"", elsewhere),
            ("width = 0.25", "width = 1e9", "`width` is above 0 and at most 16"),
            ("width = 0.25", "width = nan", "`width` is above 0 and at most 16"),
            ("depth = 0.3", "depth = 0.0", "`depth` is above 0 and at most 16"),
            ("\">=60\"", "\">=60\", \"old\"", "has 4 levels, which take 3 rising cuts"),
            ("cuts = [30.0, 60.0]", "cuts = [60.0, 30.0]", "rising cuts"),
            ("\"male\", \"female\"", "", "has no levels"),
            ("std = [0.229", "std = [0.0", "every `std` must be above 0"),
        ] {
            let edited = text.replacen(from, to, 1);
            assert_ne!(edited, text, "{from} is not in {text}");
            fs::write(&path, edited).unwrap();
            let err = Bundle::open(dir.path(), &Device::Cpu).err();
            let err = err.unwrap_or_else(|| panic!("{to} is opened")).to_string();
            assert!(err.contains(want), "{to}: {err}");
        }
        fs::write(&path, &text).unwrap();
        assert!(Bundle::open(dir.path(), &Device::Cpu).is_ok());

        // A file outside the folder that such a description names is not removed either.
        fs::write(&path, text.replace(ours, &far)).unwrap();
        bundle(2).save(dir.path(), "2").unwrap();
        assert!(file.is_file());
    }
}
