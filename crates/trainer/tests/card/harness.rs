//! A tiny experiment, and its training on the CPU and on a card of the emulator.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use base::config::Layer;
use candle::Device;
use data::{Context, Manifest};
use emulator::client::{Claim, Emulator};
use gpu::Meter;
use trainer::{Callback, EpochReport, Experiment, Plan, Range, StepReport, lr_find};

/// The settings that differ from the defaults.
const SETTINGS: &str = r#"
[data]
source = { kind = "synthetic_people", n_people = 4, n_test = 0, size = [40, 36], wrong_labels = 0.0, seed = 5 }
split = { kind = "profile", ratio = 0.25 }

[augment]
train = [{ kind = "random_crop", size = [36, 32] }, { kind = "horizontal_flip" }]
eval = [{ kind = "center_crop", size = [36, 32] }]

[train]
total = "2 epochs"
batch_size = 6

[run]
check_memory = false
report = false
"#;

pub(crate) const EFFICIENTNET: &str = "model.backbone={ kind = \"efficientnet\", variant = \"b0\", width = 0.25, depth = 0.1, drop_path = 0.1 }";
pub(crate) const RESNET: &str =
    "model.backbone={ kind = \"resnet\", depth = 18, width = 0.125, drop_path = 0.1 }";
pub(crate) const CONVNEXT: &str =
    "model.backbone={ kind = \"convnext\", size = \"tiny\", width = 0.125, layer_scale = 0.1 }";

/// The tiny experiment on a device, with further settings.
pub(crate) fn experiment(device: &str, sets: &[&str]) -> Experiment {
    let device = format!("device={device}");
    let mut layers = vec![Layer::from_toml("tiny", SETTINGS).expect("TOML")];
    let sets = [EFFICIENTNET, &device].into_iter().chain(sets.iter().copied());
    let sets: Vec<String> = sets.map(str::to_owned).collect();
    layers.extend(Layer::from_sets(&sets).expect("assignments"));
    Experiment::load(&layers).expect("settings that fit")
}

fn manifest(experiment: &Experiment) -> Manifest {
    let context =
        Context { cache: None, max_pixels: experiment.data.max_pixels, progress: &|_, _| {} };
    experiment.manifest(&context).expect("synthetic people have no faults")
}

pub(crate) fn plan(experiment: &Experiment) -> Plan {
    let callback = Steps::new(None);
    Plan::new(experiment, &manifest(experiment), 0, &Device::Cpu, &callback).expect("a plan")
}

/// Records what happens in each step, and stops after some.
pub(crate) struct Steps {
    n_left: AtomicUsize,
    device: Option<gpu::Device>,
    began: Mutex<Instant>,
    /// What the card did in each step, and the seconds.
    pub(crate) meters: Mutex<Vec<(Meter, f64)>>,
    pub(crate) notes: Mutex<Vec<String>>,
}

impl Steps {
    pub(crate) fn new(device: Option<&gpu::Device>) -> Steps {
        Steps::until(usize::MAX, device)
    }

    pub(crate) fn until(n: usize, device: Option<&gpu::Device>) -> Steps {
        Steps {
            n_left: AtomicUsize::new(n),
            device: device.cloned(),
            began: Mutex::new(Instant::now()),
            meters: Mutex::default(),
            notes: Mutex::default(),
        }
    }

    pub(crate) fn notes(&self) -> String {
        self.notes.lock().expect("no panic").join("\n")
    }
}

impl Callback for Steps {
    fn progress(&self, _: &str, _: usize, _: usize) {}

    fn note(&self, text: &str) {
        self.notes.lock().expect("no panic").push(text.to_owned());
    }

    fn step(&self, _: &StepReport) {
        self.n_left.fetch_sub(1, Ordering::Relaxed);
        if let Some(it) = &self.device {
            let mut began = self.began.lock().expect("no panic");
            let seconds = began.elapsed().as_secs_f64();
            *began = Instant::now();
            self.meters.lock().expect("no panic").push((it.read_meter(), seconds));
            it.reset_meter();
        }
    }

    fn epoch(&self, _: &EpochReport) {}

    fn should_stop(&self) -> bool {
        self.n_left.load(Ordering::Relaxed) == 0
    }
}

/// Runs a test with a card of its own, and looks for faults and leaks.
pub(crate) fn on_card<T>(test: impl FnOnce(&str, &Claim) -> T) -> T {
    let claim = Emulator::load().claim();
    let result = test(&format!("cuda:{}", claim.card()), &claim);
    let (faults, leaks) = (claim.faults(), claim.leaks());
    assert!(faults.is_empty(), "the emulator found:\n  {}", faults.join("\n  "));
    assert!(leaks.is_empty(), "not freed:\n  {}", leaks.join("\n  "));
    result
}

/// The losses of `n` steps at one learning rate, and what the card did in each.
pub(crate) fn losses(device: &str, sets: &[&str], n: usize) -> (Vec<f64>, Vec<(Meter, f64)>) {
    let plan = plan(&experiment(device, sets));
    let callback = Steps::new(plan.card().expect("a device"));
    let lr = plan.experiment.optim.get().lr();
    let curve = lr_find(&plan, None, Range { from: lr, to: lr, n_steps: n }, &callback);
    let losses = curve.expect("finite losses").expect("nobody stops it").raw;
    (losses, callback.meters.into_inner().expect("no panic"))
}

/// Checks that losses differ by no more than a share of the CPU's.
#[track_caller]
pub(crate) fn check_losses(what: &str, got: &[f64], want: &[f64], share: f64) {
    assert_eq!(got.len(), want.len(), "{what}: another number of steps");
    for (step, (got, want)) in got.iter().zip(want).enumerate() {
        let apart = (got - want).abs() / want;
        assert!(apart <= share, "{what}: step {step}: {got}, not {want}: {apart:.1e} apart");
    }
}
