//! `maskfit bench train`, `infer` and `ops`: speed and time profile of training steps and inference on random
//! pixels.

use std::{fs, time::Instant};

use anyhow::Context as _;
use base::{
    Clock, Seed, Task,
    mix::{unmixed, whole},
    task::{Factor, Scope},
};
use candle::{Device, Tensor};
use losses::{Counts, Criterion, HeadOutput, Labels, LossConfig, Targets};
use models::{HeadConfig, Model, ModelSpec, published};
use ops::{Form, Pass, Roofline, Rows, Tape, Training, profile};
use trainer::{OptimConfig, Optimizer, ParamGroups, Rates};

use super::{
    table::{StepProfile, by_kind, by_shape},
    timing::{median_of, round},
};
use crate::{End, args::NetworkArgs, preparation::use_threads};

/// Number of classes: the 18 of the competition.
const N_CLASSES: usize = 18;

pub(super) fn train(args: &NetworkArgs) -> anyhow::Result<End> {
    let mut bench = Bench::new(args)?;
    let seconds = median_of(args.steps, || bench.step())?;
    let train_peak = peak_mib();
    let profile = bench.profile(args.steps, Bench::step)?;
    let infer = median_of(args.steps, || bench.infer())?;
    say!("{}", by_kind(&profile, Roofline::measure()));
    let rate = args.batch_size as f64 / seconds;
    let infer_rate = args.batch_size as f64 / infer;
    say!("training  {:>8.1} ms/step,  {rate:>7.2} images/s", seconds * 1e3);
    say!("inference {:>8.1} ms/batch, {infer_rate:>7.2} images/s", infer * 1e3);
    let mut line = line(args);
    line["train_img_s"] = round(rate).into();
    line["infer_img_s"] = round(infer_rate).into();
    line["train_peak_mib"] = train_peak.into();
    say!("{line}");
    Ok(End::Done)
}

pub(super) fn infer(args: &NetworkArgs) -> anyhow::Result<End> {
    let mut bench = Bench::new(args)?;
    let seconds = median_of(args.steps, || bench.infer())?;
    let peak = peak_mib();
    let profile = bench.profile(args.steps, Bench::infer)?;
    say!("{}", by_kind(&profile, Roofline::measure()));
    let rate = args.batch_size as f64 / seconds;
    say!("inference {:>8.1} ms/batch, {rate:>7.2} images/s", seconds * 1e3);
    let mut line = line(args);
    line["infer_img_s"] = round(rate).into();
    line["infer_peak_mib"] = peak.into();
    say!("{line}");
    Ok(End::Done)
}

pub(super) fn ops(args: &NetworkArgs) -> anyhow::Result<End> {
    let mut bench = Bench::new(args)?;
    median_of(1, || bench.step())?;
    let profile = bench.profile(args.steps, Bench::step)?;
    let roofline = Roofline::measure();
    say!("{}", by_shape(&profile, roofline));
    say!(
        "peak of this machine: {:.0} GFLOP/s in registers, {:.1} GB/s of copying ({})",
        roofline.flops / 1e9,
        roofline.bytes / 1e9,
        ops::Isa::chosen().name(),
    );
    Ok(End::Done)
}

/// Returns the keys that all lines of JSON have.
fn line(args: &NetworkArgs) -> serde_json::Value {
    serde_json::json!({
        "peer": format!("maskfit {}", env!("CARGO_PKG_VERSION")),
        "model": args.model,
        "batch": args.batch_size,
        "size": args.size,
        "isa": ops::Isa::chosen().name(),
        "dtype": "f32",
    })
}

/// A network with input, targets and an optimizer.
struct Bench {
    net: Model,
    pixels: Tensor,
    targets: Targets,
    loss: Criterion,
    optimizer: Box<dyn Optimizer>,
    n_done: usize,
}

impl Bench {
    fn new(args: &NetworkArgs) -> anyhow::Result<Bench> {
        let NetworkArgs { model, batch_size, size, threads, .. } = args;
        use_threads(*threads)?;
        let names: Vec<String> = (0..N_CLASSES).map(|it| it.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let task = Task::new(vec![Factor::new("class", &names)]);
        let known = published();
        let names_of_all = || known.iter().map(|it| it.name).collect::<Vec<_>>().join(", ");
        let backbone = known.iter().find(|it| it.name == *model).map(|it| it.backbone.clone());
        let backbone = backbone.with_context(|| {
            format!("--model: there is no `{model}`: choose one of {}", names_of_all())
        })?;
        let spec = ModelSpec { backbone, head: HeadConfig::default() };
        let net = Model::fresh(&spec, &task, Seed(0), &Device::Cpu)?;
        let optimizer = OptimConfig::default().get().build(net.params(), &ParamGroups::default());
        let counts = Counts::default();
        let output = HeadOutput::new(&task, Scope::Joint, &Form::Classes, N_CLASSES, &counts);
        let loss = Criterion::new(&LossConfig::default(), &[output]).map_err(anyhow::Error::msg)?;
        let [h, w] = *size;
        let images: Vec<u8> =
            (0..batch_size * h * w * 3).map(|it| (it * 7919 % 251) as u8).collect();
        let rows_of = Rows { images: &images, size: *size, samples: &whole(*batch_size) };
        let pixels = ops::normalise(rows_of, [0.5; 3], [0.25; 3], &Device::Cpu)?;
        let classes = (0..*batch_size).map(|it| it % N_CLASSES).collect();
        let labels = Labels { classes, ..Labels::default() };
        let targets =
            Targets::new(&task, labels, &unmixed(*batch_size), candle::DType::F32, &Device::Cpu);
        Ok(Bench { net, pixels, targets, loss, optimizer, n_done: 0 })
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
        let outputs = self.net.forward(&self.pixels, &Pass::Train(pass))?;
        let clock = Clock { step: self.n_done, total: 1000, epoch: self.n_done as f64 / 100.0 };
        let loss = self.loss.compute(&outputs, &self.targets, &clock)?.mean()?;
        let gradients = tape.backward(&loss)?;
        self.optimizer.step(&gradients, Rates::of(1e-4))?;
        self.n_done += 1;
        Ok(())
    }

    fn infer(&mut self) -> anyhow::Result<()> {
        self.net.forward(&self.pixels, &Pass::Eval)?;
        Ok(())
    }

    /// Profiles `n` steps.
    fn profile(
        &mut self,
        n: usize,
        step: fn(&mut Bench) -> anyhow::Result<()>,
    ) -> anyhow::Result<StepProfile> {
        let began = Instant::now();
        let (done, totals) = profile(|| (0..n).try_for_each(|_| step(self)));
        done?;
        Ok(StepProfile { totals, n_steps: n, seconds: began.elapsed().as_secs_f64() })
    }
}

/// Returns the peak memory of this process in MiB; `None` if the system does not report it.
fn peak_mib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024)
}
