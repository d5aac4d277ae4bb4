//! Value and gradient of every loss against PyTorch, timm, and explicit formulas: see losses.py.

use std::collections::BTreeSet;

use base::{
    Clock, Task,
    mix::{Part, Row},
    task::Scope,
};
use candle::{DType, Device, Result, Tensor, Var};
use losses::{Counts, Criterion, HeadOutput, Labels, LossConfig, Targets};
use ops::{Decide, Form, Output};
use testkit::{check_close, numbers};

use super::golden;

const ROWS: usize = 7;

#[test]
fn every_loss_agrees_with_its_reference() -> Result<()> {
    let golden = golden("losses");
    let task = Task::mask_gender_age();
    let counts = Counts {
        classes: golden.at("training").to("classes"),
        numbers: golden.at("training").to("ages"),
    };
    let (classes, ages): (Vec<usize>, Vec<f64>) = (golden.to("classes"), golden.to("ages"));
    let shares: [f32; 2] = golden.to("shares");
    let mut visited = BTreeSet::new();
    for case in golden.at("cases").list() {
        let settings: String = case.to("settings");
        let config: LossConfig = toml::from_str(&settings).expect("settings");
        assert_eq!(config.get().problem(), None, "{settings}");
        visited.insert(config.kind());
        let scope = match case.to::<i32>("scope") {
            -1 => Scope::Joint,
            factor => Scope::Factor(factor as usize),
        };
        let n: usize = case.to("n");
        let form = match case.to::<String>("form").as_str() {
            "classes" => Form::Classes,
            "cosines" => Form::Cosines { scale: 30.0 },
            "independent" => Form::Independent,
            "bins" => Form::Bins { min: 0, decide: Decide::Mass, cuts: vec![30.0, 60.0] },
            _ => Form::Number { scale: 10.0, center: 40.0, cuts: None },
        };
        let is_soft: bool = case.to("soft");
        // Hard rows are the images of even position.
        let images = |row: usize| -> Row {
            let part = |(k, &weight): (usize, &f32)| Part { image: 2 * row + k, weight };
            match is_soft {
                true => shares.iter().enumerate().map(part).collect(),
                false => vec![part((0, &1.0))],
            }
        };
        let rows: Vec<Row> = (0..ROWS).map(images).collect();
        let labels = Labels {
            classes: classes.clone(),
            numbers: ages.iter().copied().map(Some).collect(),
            weights: case.to("weights"),
            ..Labels::default()
        };
        let targets = Targets::new(&task, labels, &rows, DType::F64, &Device::Cpu);
        let head_output = HeadOutput::new(&task, scope, &form, n, &counts);
        let criterion = Criterion::new(&config, &[head_output]).expect(&settings);

        let scale = match form {
            Form::Cosines { .. } | Form::Number { .. } => 1.0,
            _ => 5.0,
        };
        let xs =
            Tensor::from_vec(numbers(&format!("numbers/{n}"), ROWS * n), (ROWS, n), &Device::Cpu)?;
        let var = Var::from_tensor(&(xs * scale)?)?;
        let progress: f64 = case.to("progress");
        let clock = Clock { step: (100.0 * progress) as usize, total: 100, epoch: 0.0 };
        let output = Output::new(scope, form, var.as_tensor().clone());
        let mean = criterion.compute(&[output], &targets, &clock)?.mean()?;
        let want: f64 = case.to("loss");
        eprintln!("{settings}{scope:?}");
        // The shares of a row, and so the targets, are f32.
        check_close(&mean, &[want], 1e-7 * want.max(1.0));
        let grad = mean.backward()?;
        let grad = grad.get(&var).expect("a gradient");
        check_close(grad, &case.to::<Vec<f64>>("gradient"), 1e-7 * want.max(1.0));
    }
    for (kind, _) in LossConfig::KINDS {
        assert!(visited.contains(kind), "{kind} has no golden numbers");
    }
    Ok(())
}
