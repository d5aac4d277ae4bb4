//! `maskfit bench train`, `infer` and `ops`: speed and time profile of training steps and inference on random
//! pixels.

use std::{fs, path::Path, rc::Rc, time::Instant};

use anyhow::Context as _;
use augment::Pipeline;
use base::{
    Clock, Seed, Task,
    mix::{unmixed, whole},
    task::{Factor, Scope},
};
use candle::{Device, Tensor};
use infer::{Bundle, Member};
use losses::{Counts, Criterion, HeadOutput, Labels, LossConfig, Targets};
use models::{HeadConfig, Model, ModelSpec, published};
use ops::{Form, Pass, Prepacked, Roofline, Rows, Tape, Training, profile};
use serde_json::Value;
use trainer::{OptimConfig, Optimizer, ParamGroups, Rates};

use super::{
    case::Case,
    program::{last_line, own},
    table::{StepProfile, by_kind, by_shape},
    timing::{median_of, round},
};
use crate::{End, args::NetworkArgs, preparation::use_threads};

/// Number of classes: the 18 of the competition.
const N_CLASSES: usize = 18;

/// The pipeline of the bundle that is opened; no image passes through it.
const PIPELINE: &str = "ops = [{ kind = \"center_crop\", size = [224, 224] }]
statistics = { mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25] }
max_pixels = 1000000";

pub(super) fn train(case: &Case<'_>) -> anyhow::Result<Value> {
    use_threads(case.threads)?;
    let mut bench = Bench::new(case)?;
    let seconds = median_of(case.steps, || bench.step())?;
    let train_peak = mib("VmHWM:");
    let profile = profile_of(case.steps, || bench.step())?;
    let packed = Prepacked::default();
    let infer = median_of(case.steps, || bench.network.infer(&packed))?;
    say!("{}", by_kind(&profile, Roofline::measure()));
    let rate = case.batch_size as f64 / seconds;
    let infer_rate = case.batch_size as f64 / infer;
    say!("training  {:>8.1} ms/step,  {rate:>7.2} images/s", seconds * 1e3);
    say!("inference {:>8.1} ms/batch, {infer_rate:>7.2} images/s", infer * 1e3);
    let mut line = case.line();
    line["train_img_s"] = round(rate).into();
    line["infer_img_s"] = round(infer_rate).into();
    line["train_peak_mib"] = train_peak.into();
    Ok(line)
}

/// Times opening a bundle and inference. The bundle is written by another process, whose memory would otherwise
/// be part of this one's.
pub(super) fn infer(case: &Case<'_>) -> anyhow::Result<Value> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().to_str().context("the path of temporary files is not UTF-8")?;
    last_line(own()?, &["bench", "fresh", case.model, folder])?;
    use_threads(case.threads)?;
    let began = Instant::now();
    let model = open(dir.path())?;
    let open_ms = began.elapsed().as_secs_f64() * 1e3;
    let open_mib = mib("VmRSS:");
    drop(dir);
    let (network, packed) = (Network::new(model, case)?, Prepacked::default());
    let began = Instant::now();
    network.infer(&packed)?;
    let first_ms = began.elapsed().as_secs_f64() * 1e3;
    let seconds = median_of(case.steps, || network.infer(&packed))?;
    let peak = mib("VmHWM:");
    let profile = profile_of(case.steps, || network.infer(&packed))?;
    say!("{}", by_kind(&profile, Roofline::measure()));
    let rate = case.batch_size as f64 / seconds;
    let memory = |it: Option<u64>| it.map_or("?".to_owned(), |it| it.to_string());
    say!("opening   {open_ms:>8.1} ms,       {:>7} MiB afterwards", memory(open_mib));
    say!("first     {first_ms:>8.1} ms/batch");
    say!("inference {:>8.1} ms/batch, {rate:>7.2} images/s", seconds * 1e3);
    say!("peak memory {:>24} MiB", memory(peak));
    let mut line = case.line();
    line["infer_img_s"] = round(rate).into();
    line["open_ms"] = round(open_ms).into();
    line["first_ms"] = round(first_ms).into();
    line["open_mib"] = open_mib.into();
    line["infer_peak_mib"] = peak.into();
    Ok(line)
}

pub(super) fn ops(args: &NetworkArgs) -> anyhow::Result<End> {
    let cases = Case::all(args)?;
    use_threads(args.threads)?;
    let roofline = Roofline::measure();
    for case in &cases {
        let mut bench = Bench::new(case)?;
        median_of(1, || bench.step())?;
        let profile = profile_of(case.steps, || bench.step())?;
        say!("{}, batch {}", case.model, case.batch_size);
        say!("{}", by_shape(&profile, roofline));
    }
    say!(
        "peak of this machine: {:.0} GFLOP/s in registers, {:.1} GB/s of copying ({})",
        roofline.flops / 1e9,
        roofline.bytes / 1e9,
        ops::Isa::chosen().name(),
    );
    Ok(End::Done)
}

/// Writes a bundle of a network with random weights, and prints its number of weights.
pub(super) fn write_fresh(model: &str, dir: &Path) -> anyhow::Result<End> {
    let model = Rc::new(fresh(model)?);
    let n = model.params().n_trainable();
    let pipeline: Pipeline = toml::from_str(PIPELINE)?;
    Bundle::new(task(), vec![Member::new(model, task(), pipeline)]).save(dir, "fresh")?;
    say!("{}", serde_json::json!({ "weights": n }));
    Ok(End::Done)
}

fn task() -> Task {
    let names: Vec<String> = (0..N_CLASSES).map(|it| it.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Task::new(vec![Factor::new("class", &names)])
}

/// Returns a network with random weights.
fn fresh(model: &str) -> anyhow::Result<Model> {
    let known = published().into_iter().find(|it| it.name == model);
    let backbone = known.with_context(|| format!("there is no `{model}`"))?.backbone;
    let spec = ModelSpec { backbone, head: HeadConfig::default() };
    Ok(Model::fresh(&spec, &task(), Seed(0), &Device::Cpu)?)
}

/// Opens a bundle for inference, as `maskfit predict` does.
fn open(dir: &Path) -> anyhow::Result<Rc<Model>> {
    let bundle = Bundle::open(dir, &Device::Cpu)?;
    Ok(Rc::clone(&bundle.members[0].model))
}

/// A network with input.
struct Network {
    model: Rc<Model>,
    pixels: Tensor,
}

impl Network {
    fn new(model: Rc<Model>, case: &Case<'_>) -> anyhow::Result<Network> {
        let &Case { batch_size, size: [h, w], .. } = case;
        let images: Vec<u8> =
            (0..batch_size * h * w * 3).map(|it| (it * 7919 % 251) as u8).collect();
        let rows = Rows { images: &images, size: [h, w], samples: &whole(batch_size) };
        let pixels = ops::normalise(rows, [0.5; 3], [0.25; 3], &Device::Cpu)?;
        Ok(Network { model, pixels })
    }

    /// Runs the forward pass of inference. The first with `packed` also packs the weights.
    fn infer(&self, packed: &Prepacked) -> anyhow::Result<()> {
        self.model.forward(&self.pixels, &Pass::Eval(packed))?;
        Ok(())
    }
}

/// A network with input, targets and an optimizer.
struct Bench {
    network: Network,
    targets: Targets,
    loss: Criterion,
    optimizer: Box<dyn Optimizer>,
    n_done: usize,
}

impl Bench {
    fn new(case: &Case<'_>) -> anyhow::Result<Bench> {
        let (task, batch_size) = (task(), case.batch_size);
        let model = Rc::new(fresh(case.model)?);
        let optimizer = OptimConfig::default().get().build(model.params(), &ParamGroups::default());
        let counts = Counts::default();
        let output = HeadOutput::new(&task, Scope::Joint, &Form::Classes, N_CLASSES, &counts);
        let loss = Criterion::new(&LossConfig::default(), &[output]).map_err(anyhow::Error::msg)?;
        let network = Network::new(model, case)?;
        let classes = (0..batch_size).map(|it| it % N_CLASSES).collect();
        let labels = Labels { classes, ..Labels::default() };
        let targets =
            Targets::new(&task, labels, &unmixed(batch_size), candle::DType::F32, &Device::Cpu);
        Ok(Bench { network, targets, loss, optimizer, n_done: 0 })
    }

    /// Runs the forward pass, the backward pass and an optimizer step.
    fn step(&mut self) -> anyhow::Result<()> {
        let tape = Tape::default();
        let pass = Training {
            tape: &tape,
            seed: Seed(0),
            step: self.n_done,
            first_row: 0,
            momentum: None,
        };
        let outputs = self.network.model.forward(&self.network.pixels, &Pass::Train(pass))?;
        let clock = Clock { step: self.n_done, total: 1000, epoch: self.n_done as f64 / 100.0 };
        let loss = self.loss.compute(&outputs, &self.targets, &clock)?.mean()?;
        let gradients = tape.backward(&loss)?;
        self.optimizer.step(&gradients, Rates::of(1e-4))?;
        self.n_done += 1;
        Ok(())
    }
}

/// Profiles `n` steps.
fn profile_of(
    n: usize,
    mut step: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<StepProfile> {
    let began = Instant::now();
    let (done, totals) = profile(|| (0..n).try_for_each(|_| step()));
    done?;
    Ok(StepProfile { totals, n_steps: n, seconds: began.elapsed().as_secs_f64() })
}

/// Returns a size of this process in MiB, `VmHWM:` (peak memory) or `VmRSS:`; `None` if the system does not
/// report it.
fn mib(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix(name))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024)
}
