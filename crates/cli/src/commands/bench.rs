//! `maskfit bench`: how fast this machine trains and answers, on random pixels.

use std::{fs, time::Instant};

use anyhow::Context as _;
use base::{Clock, Seed, Task, mix::unmixed, task::Factor};
use candle::Device;
use losses::{Counts, Labels, LossConfig, Targets};
use models::{BackboneConfig, EfficientNet, HeadConfig, Model, ModelSpec, Variant};
use ops::{Padding, Pass, Rows, Tape, Training};
use serde::Deserialize as _;
use trainer::{OptimConfig, Rates};

use super::use_threads;
use crate::{End, args::BenchCommand};

pub(crate) fn bench(command: &BenchCommand) -> anyhow::Result<End> {
    let BenchCommand::Train { model, batch, size, steps, threads } = command;
    use_threads(*threads)?;
    let names: Vec<String> = (0..18).map(|it| it.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let task = Task { factors: vec![Factor::new("class", &names)] };
    let spec = ModelSpec { backbone: backbone(model)?, head: HeadConfig::default() };
    let net = Model::fresh(&spec, &task, Seed(0), &Device::Cpu)?;
    let mut optimizer = OptimConfig::default().get().build(net.params());
    let loss = LossConfig::default().get().bind(&task, &Counts(vec![1; 18]));

    let [h, w] = *size;
    let pictures: Vec<u8> = (0..batch * h * w * 3).map(|it| (it * 7919 % 251) as u8).collect();
    let rows = unmixed(*batch);
    let xs = ops::normalise(
        Rows { pictures: &pictures, size: *size, rows: &rows },
        [0.5; 3],
        [0.25; 3],
        &Device::Cpu,
    )?;
    let labels =
        Labels { classes: (0..*batch).map(|it| it % 18).collect(), ages: vec![None; *batch] };
    let targets = Targets::new(&task, labels, &rows, candle::DType::F32, &Device::Cpu);
    let mut step = |idx: usize| -> anyhow::Result<()> {
        let tape = Tape::default();
        let pass = Training { tape: &tape, seed: Seed(0), step: idx, first_row: 0 };
        let logits = net.forward(&xs, &Pass::Train(pass))?;
        let clock = Clock { step: idx, total: 1000, steps_per_epoch: 100 };
        let gradients = tape.backward(&loss.judge(&logits, &targets, &clock)?.mean()?)?;
        Ok(optimizer.step(&gradients, Rates { lr: 0.1 })?)
    };
    let train = median(*steps, &mut step)?;
    let peak = peak_mib();
    let infer = median(*steps, &mut |_| {
        net.forward(&xs, &Pass::Eval)?;
        Ok(())
    })?;
    say!("training  {:>8.1} ms a step, {:>7.2} img/s", train * 1e3, *batch as f64 / train);
    say!("answering {:>8.1} ms a batch, {:>6.2} img/s", infer * 1e3, *batch as f64 / infer);
    let line = serde_json::json!({
        "peer": format!("maskfit {}", env!("CARGO_PKG_VERSION")),
        "model": model, "batch": batch, "size": size, "dtype": "f32",
        "isa": ops::Isa::chosen().name(),
        "train_img_s": round(*batch as f64 / train),
        "infer_img_s": round(*batch as f64 / infer),
        "train_peak_mib": peak,
    });
    say!("{line}");
    Ok(End::Done)
}

/// Hundredths are all that a measurement is worth.
fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

/// The median seconds of `n` runs, after three to warm up.
fn median(n: usize, run: &mut dyn FnMut(usize) -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for idx in 0..n.max(1) + 3 {
        let began = Instant::now();
        run(idx)?;
        times.push(began.elapsed().as_secs_f64());
    }
    let times = &mut times[3..];
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// The most memory that this process has had, in MiB; `None` where the system does not say.
fn peak_mib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024)
}

/// A network by timm's name.
fn backbone(name: &str) -> anyhow::Result<BackboneConfig> {
    let unknown = || {
        format!(
            "there is no model `{name}`: write efficientnet_b0 … b7, efficientnet_lite0 … lite4, or tf_ before them"
        )
    };
    let (is_tf, rest) = match name.strip_prefix("tf_") {
        Some(it) => (true, it),
        None => (false, name),
    };
    let variant = rest.strip_prefix("efficientnet_").with_context(unknown)?;
    let variant = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(variant);
    let variant = Variant::deserialize(variant).ok().with_context(unknown)?;
    let padding = is_tf.then_some(Padding::Same);
    let norm_eps = is_tf.then_some(1e-3);
    Ok(BackboneConfig::EfficientNet(EfficientNet {
        variant,
        padding,
        norm_eps,
        drop_path: 0.0,
        ..EfficientNet::default()
    }))
}
