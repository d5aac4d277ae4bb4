//! A small run shared by the tests: a few synthetic people and a tiny network.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use base::config::Layer;
use candle::Device;
use data::{Context, Manifest};
use trainer::{Callback, EpochReport, Experiment, Plan, StepReport};

/// The settings that differ from the defaults.
pub(crate) const SETTINGS: &str = r#"
[data]
source = { kind = "synthetic_people", n_people = 12, n_test = 4, size = [40, 32], wrong_labels = 0.1, seed = 5 }
split = { kind = "profile", ratio = 0.25 }

[augment]
train = [{ kind = "random_crop", size = [32, 28] }, { kind = "color_jitter" }, { kind = "horizontal_flip" }]
eval = [{ kind = "center_crop", size = [32, 28] }]

[model]
backbone = { kind = "efficientnet", variant = "b0", width = 0.25, depth = 0.3, drop_path = 0.1 }

[train]
total = "3 epochs"
batch_size = 8
"#;

/// The small experiment, with further settings on top.
pub(crate) fn experiment(sets: &[&str]) -> Experiment {
    with(SETTINGS, sets)
}

/// The default settings with a file and further settings on top.
pub(crate) fn with(file: &str, sets: &[&str]) -> Experiment {
    let mut layers = vec![Layer::from_toml("small", file).expect("TOML")];
    layers.extend(sets.iter().map(|it| Layer::from_set(it).expect("an assignment")));
    Experiment::load(&layers).expect("settings that fit")
}

pub(crate) fn manifest(experiment: &Experiment) -> Manifest {
    let context =
        Context { cache: None, max_pixels: experiment.data.max_pixels, progress: &|_, _| {} };
    experiment.manifest(&context).expect("synthetic people have no faults")
}

pub(crate) fn plan(experiment: &Experiment) -> Plan {
    let manifest = manifest(experiment);
    let callback = StopsAt::never();
    Plan::new(experiment, &manifest, 0, &Device::Cpu, &callback).expect("a plan")
}

/// A callback that stops the run after some steps, and records losses and notes.
pub(crate) struct StopsAt {
    n_left: AtomicUsize,
    pub(crate) losses: std::sync::Mutex<Vec<f64>>,
    pub(crate) notes: std::sync::Mutex<Vec<String>>,
}

impl StopsAt {
    pub(crate) fn never() -> StopsAt {
        StopsAt::after(usize::MAX)
    }

    pub(crate) fn after(n: usize) -> StopsAt {
        StopsAt {
            n_left: AtomicUsize::new(n),
            losses: Default::default(),
            notes: Default::default(),
        }
    }
}

impl Callback for StopsAt {
    fn progress(&self, _: &str, _: usize, _: usize) {}

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }

    fn step(&self, report: &StepReport) {
        self.n_left.fetch_sub(1, Ordering::Relaxed);
        self.losses.lock().unwrap().push(report.loss);
    }

    fn epoch(&self, _: &EpochReport) {}

    fn should_stop(&self) -> bool {
        self.n_left.load(Ordering::Relaxed) == 0
    }
}

/// All files below a folder by name, except those that contain durations or timestamps.
pub(crate) fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            if path.ends_with("tensorboard") || path.ends_with("wandb") {
                continue;
            }
            if path.is_dir() {
                todo.push(path);
            } else if !name.ends_with("timing.csv") && !name.ends_with("lock") {
                files.push((name, std::fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
