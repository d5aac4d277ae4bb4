//! Optimizers against PyTorch: see training.py.

use std::collections::BTreeMap;

use base::Seed;
use candle::{DType, Device, Result, Tensor, Var};
use models::{Init, Kind, Params};
use ops::{Gradients, Tape, Value};
use testkit::{check_close, numbers};

use super::golden;
use trainer::{OptimConfig, Rates};

/// The gradients of the golden script for one step.
fn gradients(vars: &[Var], step: usize) -> Result<Gradients> {
    let tape = Tape::default();
    let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    for (k, var) in vars.iter().enumerate() {
        let g = numbers(&format!("grad/{k}/{step}"), var.elem_count());
        let g = g.iter().map(|x| (x * 10f64.powi(-(k as i32))) as f32).collect();
        let g = Tensor::from_vec(g, var.shape(), &Device::Cpu)?;
        let leaf: Value = tape.leaf(var);
        loss = (loss + (tape.export(&leaf)? * g)?.sum_all()?)?;
    }
    tape.backward(&loss)
}

#[test]
fn every_optimizer_agrees_with_pytorch_and_goes_on_from_its_state() -> Result<()> {
    let golden = golden("training").at("optimizers");
    let decay = "betas = [0.8, 0.99]\neps = 1e-6\nweight_decay = ";
    let settings: BTreeMap<&str, String> = BTreeMap::from([
        ("adam", "kind = \"adam\"\n".to_owned()),
        ("adam_decay", format!("kind = \"adam\"\n{decay}0.1\n")),
        ("adamw", "kind = \"adamw\"\n".to_owned()),
        ("adamw_decay", format!("kind = \"adamw\"\n{decay}0.5\n")),
    ]);
    for (kind, _) in OptimConfig::KINDS {
        assert!(settings.contains_key(kind), "{kind} has no golden numbers");
    }
    for name in golden.keys() {
        let config: OptimConfig = toml::from_str(&settings[name.as_str()]).expect("settings");
        let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
        let shapes: [&[usize]; 2] = [&[3, 4], &[5]];
        let mut vars = Vec::new();
        for (k, shape) in shapes.iter().enumerate() {
            let kind = if shape.len() == 2 { Kind::Matrix } else { Kind::Vector };
            let var = params.builder().param(&k.to_string(), kind, shape, Init::Constant(0.0))?;
            let xs = numbers(&format!("param/{k}"), var.elem_count());
            var.set(&Tensor::from_vec(xs, *shape, &Device::Cpu)?.to_dtype(DType::F32)?)?;
            vars.push(var);
        }
        let mut optimizer = config.get().build(&params);
        let want: Vec<Vec<Vec<f64>>> = golden.to(&name);
        for step in 0..20 {
            if step == 10 {
                // Whoever stops here goes on as if nothing had been.
                let state: BTreeMap<String, Tensor> = optimizer.state()?.into_iter().collect();
                optimizer = config.get().build(&params);
                optimizer.load(&state)?;
            }
            // The script's rate is 1e-2 · (1 - step / 40), the settings' 1e-3.
            let rates = Rates::of(10.0 * (1.0 - step as f64 / 40.0));
            optimizer.step(&gradients(&vars, step)?, rates)?;
            if step == 9 || step == 19 {
                for (var, want) in vars.iter().zip(&want[usize::from(step == 19)]) {
                    check_close(var, want, 1e-6);
                }
            }
        }
    }
    Ok(())
}
