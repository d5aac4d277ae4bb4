//! A network run on the CPU and on the emulated card, and the comparison of all that it makes.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use base::Seed;
use candle::{Device, Result, Tensor, Var};
use emulator::client::{Claim, Emulator};
use gpu::{Meter, Storage};
use testkit::numbers;

use crate::{Card, Pass, RunningStatistics, Tape, Training, Value};

/// Runs a test on a card of its own, and looks for faults and leaks.
pub(super) fn on_card(storage: Storage, test: impl FnOnce(&Card) -> Result<()>) -> Result<()> {
    on_card_with(storage, false, test)
}

/// - `is_cached`: whether freed buffers are used again; without it the emulator sees reads of freed memory.
pub(super) fn on_card_with(
    storage: Storage,
    is_cached: bool,
    test: impl FnOnce(&Card) -> Result<()>,
) -> Result<()> {
    on_emulator(storage, is_cached, |card, _| test(card))
}

/// The same for a test that asks the emulator what it counted.
pub(super) fn on_emulator(
    storage: Storage,
    is_cached: bool,
    test: impl FnOnce(&Card, &Claim) -> Result<()>,
) -> Result<()> {
    let claim: Claim = Emulator::load().claim();
    {
        let device = gpu::Device::open(claim.card()).expect("a card");
        device.set_caching(is_cached).expect("a cache or none");
        test(&Card::new(&device, storage), &claim)?;
    }
    let (faults, leaks) = (claim.faults(), claim.leaks());
    assert!(faults.is_empty(), "the emulator found:\n  {}", faults.join("\n  "));
    assert!(leaks.is_empty(), "not freed:\n  {}", leaks.join("\n  "));
    Ok(())
}

/// The parameters of a network, made when they are first asked for; equal for equal names.
#[derive(Default)]
pub(super) struct Params(RefCell<BTreeMap<String, Var>>);

impl Params {
    /// Uniform numbers around `center`, with a spread.
    pub(super) fn var(&self, name: &str, dims: &[usize], center: f64, spread: f64) -> Var {
        let mut all = self.0.borrow_mut();
        let make = || {
            let xs = numbers(name, dims.iter().product());
            let xs: Vec<f32> = xs.into_iter().map(|it| (center + spread * it) as f32).collect();
            Var::from_vec(xs, dims, &Device::Cpu).expect("a variable")
        };
        all.entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// A weight of a layer that keeps the size of numbers.
    pub(super) fn weight(&self, name: &str, dims: &[usize], pass: &Pass<'_>) -> Value {
        let fan_in: usize = dims[1..].iter().product();
        pass.param(&self.var(name, dims, 0.0, (3.0 / fan_in as f64).sqrt()))
    }

    /// A depthwise weight `[kh, kw, c]`.
    pub(super) fn taps(&self, name: &str, dims: &[usize], pass: &Pass<'_>) -> Value {
        let fan_in: usize = dims[..2].iter().product();
        pass.param(&self.var(name, dims, 0.0, (3.0 / fan_in as f64).sqrt()))
    }

    /// A bias, or a norm's β.
    pub(super) fn bias(&self, name: &str, c: usize, pass: &Pass<'_>) -> Value {
        pass.param(&self.var(name, &[c], 0.0, 0.3))
    }

    /// A norm's γ.
    pub(super) fn gamma(&self, name: &str, c: usize, pass: &Pass<'_>) -> Value {
        pass.param(&self.var(name, &[c], 1.0, 0.4))
    }

    /// A batch norm in training, with its activation.
    pub(super) fn norm(
        &self,
        name: &str,
        xs: &Value,
        activation: crate::Activation,
        pass: &Pass<'_>,
    ) -> Result<Value> {
        let c = xs.dims().last().copied().unwrap_or(1);
        let (gamma, beta) = (
            self.gamma(&format!("{name}.gamma"), c, pass),
            self.bias(&format!("{name}.beta"), c, pass),
        );
        let mean = self.var(&format!("{name}.running_mean"), &[c], 0.0, 0.1);
        let variance = self.var(&format!("{name}.running_variance"), &[c], 1.0, 0.1);
        let running = RunningStatistics { mean: &mean, variance: &variance, momentum: 0.3 };
        crate::batch_norm_running(xs, &gamma, &beta, running, 1e-3, activation)
    }
}

/// A network: from its parameters, an image batch and a pass to an output.
pub(super) type Network<'a> = &'a dyn Fn(&Params, &Value, &Pass<'_>) -> Result<Value>;

/// All that a step makes.
pub(super) struct Outcome {
    /// By name: the output, each gradient, each running statistic.
    pub(super) tensors: BTreeMap<String, Vec<f64>>,
    /// Synchronisations and driver allocations, and launches.
    pub(super) meter: Option<Meter>,
}

/// A training step on images `[n, h, w, c]`, whose gradient is measured too.
pub(super) fn step(
    card: Option<&Card>,
    params: &Params,
    network: Network<'_>,
    dims: &[usize],
) -> Result<Outcome> {
    let frozen = Rc::default();
    let tape = match card {
        Some(card) => Tape::on_card(card, frozen),
        None => Tape::freezing(frozen),
    };
    let training = Training { tape: &tape, seed: Seed(1), step: 3, first_row: 0, momentum: None };
    let pass = Pass::Train(training);
    let images = params.var("images", dims, 0.2, 1.0);
    let meter = || card.map(|it| it.device().read_meter());
    if let Some(card) = card {
        card.device().reset_meter();
    }
    let ys = network(params, &tape.leaf(&images), &pass)?;
    if let Some(it) = meter() {
        assert_eq!(it.synchronisations, 0, "the forward pass waits for the card");
    }
    let ys = pass.export(&ys)?;
    let weights = numbers("loss", ys.elem_count());
    let weights: Vec<f32> = weights.into_iter().map(|it| it as f32).collect();
    let weights = Tensor::from_vec(weights, ys.dims(), &Device::Cpu)?;
    let grads = tape.backward(&(&ys * weights)?.sum_all()?)?;
    let meter = meter();
    if let Some(it) = &meter {
        assert_eq!(it.synchronisations, 1, "only the export waits for the card");
    }
    let list = |it: &Tensor| -> Result<Vec<f64>> {
        it.to_dtype(candle::DType::F64)?.flatten_all()?.to_vec1::<f64>()
    };
    let mut tensors = BTreeMap::from([("the output".to_owned(), list(&ys)?)]);
    for (name, var) in params.0.borrow().iter() {
        if name.contains("running") {
            if let Some(card) = card {
                card.copy_back(var)?;
            }
            tensors.insert(name.clone(), list(var.as_tensor())?);
        } else {
            let grad = grads.download(var)?;
            assert!(grads.has(var) && grad.is_some(), "`{name}` has no gradient");
            let grad = grad.expect("it was just checked");
            assert_eq!(grad.dims(), var.dims(), "{name}");
            tensors.insert(format!("the gradient of {name}"), list(&grad)?);
        }
    }
    Ok(Outcome { tensors, meter })
}

/// How far each tensor may be from the CPU's: see [`distance`].
pub(super) fn band(storage: Storage) -> f64 {
    match storage {
        Storage::F32 => 1e-4,
        Storage::Bf16 => 1e-1,
        Storage::F16 => 2e-2,
    }
}

fn largest(xs: impl Iterator<Item = f64>) -> f64 {
    xs.fold(0.0, |best: f64, it| if it.is_nan() { f64::INFINITY } else { best.max(it.abs()) })
}

fn norm(xs: impl Iterator<Item = f64>) -> f64 {
    xs.map(|it| it * it).sum::<f64>().sqrt()
}

/// The difference of two lists, relative to the second: by the largest numbers in f32, and by norms in two bytes,
/// where rounding may turn a ReLU off or move a maximum.
///
/// - `floor`: of a number of the second: a gradient may vanish but for the rounding, as that of a bias before a norm.
fn distance(got: &[f64], want: &[f64], floor: f64, storage: Storage) -> f64 {
    assert_eq!(got.len(), want.len());
    let apart = got.iter().zip(want).map(|(a, b)| a - b);
    match storage {
        Storage::F32 => largest(apart) / largest(want.iter().copied()).max(floor),
        _ => norm(apart) / norm(want.iter().copied()).max(floor * (want.len() as f64).sqrt()),
    }
}

/// Checks all tensors of a step.
#[track_caller]
pub(super) fn check(what: &str, got: &Outcome, want: &Outcome, storage: Storage) {
    let gradients = want.tensors.iter().filter(|(name, _)| name.contains("gradient"));
    let floor = 0.02 * largest(gradients.flat_map(|(_, xs)| xs.iter().copied()));
    let far: Vec<(String, f64)> = got
        .tensors
        .iter()
        .map(|(name, xs)| (name.clone(), distance(xs, &want.tensors[name], floor, storage)))
        .collect();
    let far = far.into_iter().filter(|(_, it)| it.is_nan() || *it > band(storage));
    let far: Vec<String> = far.map(|(name, it)| format!("{name}: {it:.2e}")).collect();
    assert!(far.is_empty(), "{what}, too far from the CPU's:\n  {}", far.join("\n  "));
}

/// Runs a step on the CPU and on cards of the storages, twice each for the bits, and compares.
#[track_caller]
pub(super) fn agrees(what: &str, network: Network<'_>, dims: &[usize], storages: &[Storage]) {
    let want = step(None, &Params::default(), network, dims).expect("a step on the CPU");
    for &storage in storages {
        let ran = on_card(storage, |card| {
            let got = step(Some(card), &Params::default(), network, dims)?;
            check(&format!("{what} in {}", storage.name()), &got, &want, storage);
            let again = step(Some(card), &Params::default(), network, dims)?;
            assert!(got.tensors == again.tensors, "{what}: other bits in the second run");
            Ok(())
        });
        ran.unwrap_or_else(|err| panic!("{what} in {}: {err}", storage.name()));
    }
}
