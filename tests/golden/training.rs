//! Optimizers against PyTorch: see training.py.

use std::collections::BTreeMap;

use base::Seed;
use candle::{DType, Device, Result, Tensor};
use models::{Init, Kind, Param, Params};
use ops::{Gradients, Tape, Value};
use testkit::{check_close, numbers};

use super::golden;
use trainer::{ClipConfig, OptimConfig, ParamGroups, Rates};

/// The parameters of the golden script, in the file layout.
const SHAPES: [(Kind, &[usize]); 3] =
    [(Kind::Matrix, &[3, 4]), (Kind::Vector, &[5]), (Kind::Depthwise, &[4, 1, 3, 3])];

/// Numbers generated in the file layout, converted to the memory layout.
fn generated(name: &str, k: usize, scale: f64) -> Result<Tensor> {
    let (kind, dims) = SHAPES[k];
    let xs = numbers(name, dims.iter().product()).into_iter().map(|x| (x * scale) as f32).collect();
    kind.from_file(&Tensor::from_vec(xs, dims, &Device::Cpu)?)
}

/// The parameters; the last belongs to the second stage.
fn params() -> Result<Params> {
    let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
    for (k, (kind, _)) in SHAPES.into_iter().enumerate() {
        let xs = generated(&format!("param/{k}"), k, 1.0)?;
        let mut builder = params.builder_of(k / 2);
        builder.param(&k.to_string(), kind, xs.dims(), Init::Constant(0.0))?.set(&xs)?;
    }
    Ok(params)
}

/// The gradients of one step; with `skips`, the second parameter has none in every third step.
fn gradients(params: &Params, step: usize, skips: bool) -> Result<Gradients> {
    let tape = Tape::default();
    let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    for (k, (_, param)) in params.trainable().enumerate() {
        if skips && k == 1 && step % 3 == 2 {
            continue;
        }
        let g = generated(&format!("grad/{k}/{step}"), k, 10f64.powi(-(k as i32)))?;
        let leaf: Value = tape.leaf(&param.var);
        loss = (loss + (tape.export(&leaf)? * g)?.sum_all()?)?;
    }
    tape.backward(&loss)
}

/// Checks a tensor of a parameter against the script's.
fn check_param(kind: Kind, tensor: &Tensor, want: &[f64]) {
    check_close(&kind.to_file(tensor).unwrap(), want, 1e-6);
}

#[test]
fn every_optimizer_agrees_with_pytorch_and_resumes_from_its_state() -> Result<()> {
    let golden = golden("training").at("optimizers");
    let settings: BTreeMap<&str, &str> = BTreeMap::from([
        ("adam", ""),
        ("adam_decay", "betas = [0.8, 0.99]\neps = 1e-6\nweight_decay = 0.1"),
        ("adamw", ""),
        ("adamw_decay", "betas = [0.8, 0.99]\neps = 1e-6\nweight_decay = 0.5"),
        ("sgd", ""),
        ("sgd_plain", "momentum = 0.0\nweight_decay = 0.0"),
        ("sgd_dampened", "momentum = 0.8\ndampening = 0.3\nweight_decay = 0.1"),
        ("sgd_nesterov", "momentum = 0.8\nnesterov = true\nweight_decay = 0.1"),
        ("adamp", ""),
        ("adamp_projected", "delta = 1.5\nweight_decay = 0.5"),
        ("adamp_nesterov", "delta = 3.0\nwd_ratio = 0.3\nweight_decay = 0.5\nnesterov = true"),
        ("rmsprop", ""),
        ("rmsprop_decay", "alpha = 0.8\neps = 1e-6\nmomentum = 0.5\nweight_decay = 0.1"),
        ("lamb", ""),
        ("lamb_plain", "betas = [0.8, 0.99]\nweight_decay = 0.0\nmax_grad_norm = 100.0"),
        ("lion", ""),
        ("lion_decay", "betas = [0.8, 0.9]\nweight_decay = 0.5"),
    ]);
    for (kind, _) in OptimConfig::KINDS {
        assert!(golden.keys().iter().any(|it| it == kind), "{kind} has no golden numbers");
    }
    for name in golden.keys() {
        // Shown if the test fails.
        eprintln!("{name}");
        let kind = name.split('_').next().unwrap_or_default();
        let settings = format!("kind = \"{kind}\"\n{}", settings[name.as_str()]);
        let config: OptimConfig = toml::from_str(&settings).expect("settings");
        let (params, groups) = (params()?, ParamGroups::default());
        let mut optimizer = config.get().build(&params, &groups);
        let want: Vec<Vec<Vec<f64>>> = golden.to(&name);
        for step in 0..20 {
            if step == 10 {
                // Save and load of the state must not change the result.
                let state: BTreeMap<String, Tensor> = optimizer.state()?.into_iter().collect();
                optimizer = config.get().build(&params, &groups);
                optimizer.load(&state)?;
            }
            // The script's rate is 1e-2 · (1 - step / 40), and ours a fraction of the settings' rate.
            let lr = 1e-2 * (1.0 - step as f64 / 40.0);
            let gradients = gradients(&params, step, kind != "lamb")?;
            optimizer.step(&gradients, Rates::of(lr / config.get().lr()))?;
            if step == 9 || step == 19 {
                let want = &want[usize::from(step == 19)];
                for ((_, it), want) in params.trainable().zip(want) {
                    check_param(it.kind, it.var.as_tensor(), want);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_clipping_agrees_with_pytorch_and_timm() -> Result<()> {
    let golden = golden("training").at("clips");
    // Settings, and the position of the head's stage.
    let settings: BTreeMap<&str, (&str, usize)> = BTreeMap::from([
        ("none", ("", 1)),
        ("norm", ("max_norm = 0.7", 1)),
        ("norm_small", ("max_norm = 70.0", 1)),
        ("value", ("limit = 0.02", 1)),
        ("adaptive", ("clip_factor = 0.05", 1)),
        ("adaptive_head", ("clip_factor = 0.005", 2)),
    ]);
    for (kind, _) in ClipConfig::KINDS {
        assert!(golden.keys().iter().any(|it| it == kind), "{kind} has no golden numbers");
    }
    for name in golden.keys() {
        // Shown if the test fails.
        eprintln!("{name}");
        let kind = name.split('_').next().unwrap_or_default();
        let (settings, head) = settings[name.as_str()];
        let settings = format!("kind = \"{kind}\"\n{settings}");
        let config: ClipConfig = toml::from_str(&settings).expect("settings");
        let params = params()?;
        let mut gradients = gradients(&params, 0, true)?;
        let list: Vec<&Param> = params.trainable().map(|it| it.1).collect();
        config.get().clip(&mut gradients, &list, head)?;
        for (it, want) in list.iter().zip(golden.to::<Vec<Vec<f64>>>(&name)) {
            check_param(it.kind, gradients.get(&it.var).unwrap(), &want);
        }
    }
    Ok(())
}
