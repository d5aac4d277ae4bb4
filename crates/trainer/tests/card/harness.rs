//! A tiny experiment of [`check`], and its training on the CPU and on a card of the emulator.

use std::{
    iter,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use emulator::client::{Claim, Emulator};
use gpu::{Meter, Storage};
use trainer::{
    Callback, EpochReport, Experiment, Plan, Range, StepReport,
    check::{self, Agreement, Bounds, Network, Taken, take},
    lr_find,
};

/// The tiny experiment on a device, with further settings.
pub(crate) fn experiment(device: &str, sets: &[&str]) -> Experiment {
    let device = format!("device={device}");
    let sets: Vec<&str> = iter::once(device.as_str()).chain(sets.iter().copied()).collect();
    check::experiment(&check::EFFICIENTNET, &sets).expect("settings that fit")
}

pub(crate) fn plan(experiment: &Experiment) -> Plan {
    check::plan(experiment).expect("a plan")
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

/// The steps of a tiny run on an emulated card.
pub(crate) fn taken(network: &Network, sets: &[&str], storage: Storage) -> Taken {
    on_card(|_, claim| {
        let device = gpu::Device::open(claim.card()).expect("an emulated card");
        take(network, sets, Some((&device, storage))).expect("finite losses")
    })
}

/// Checks that steps on a card are no further from the CPU's than rounding explains.
#[track_caller]
pub(crate) fn check_agreement(what: &str, agreement: &Agreement, bounds: &Bounds) {
    let problems = agreement.problems(bounds);
    assert!(problems.is_empty(), "{what}:\n  {}\n{agreement:?}", problems.join("\n  "));
}
