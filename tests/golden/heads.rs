//! Heads, and ages cut into ranges, against PyTorch: see heads.py.

use std::collections::BTreeMap;

use base::{
    Seed, Task,
    task::{Factor, Scope},
};
use candle::{DType, Device, Result, Tensor, Var};
use models::{HeadConfig, HeadInput, Params};
use ops::{Decide, Form, Output, Pass, Tape, Training};
use testkit::{check_close, numbers};

use super::golden;

fn tensor(name: &str, dims: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(numbers(name, dims.iter().product()), dims, &Device::Cpu)
}

#[test]
fn heads_agree_with_pytorch() -> Result<()> {
    let golden = golden("heads").at("heads");
    for (name, settings) in [
        ("mlp", "kind = \"joint\"\ndepth = 2\nwidth = 5\ndropout = 0.0\nactivation = \"silu\""),
        ("cosine", "kind = \"cosine\"\ndropout = 0.0"),
    ] {
        let case = golden.at(name);
        let head: HeadConfig = toml::from_str(settings).expect("settings");
        let mut params = Params::fresh(Seed(0), DType::F64, &Device::Cpu);
        let heads = head.get().build(
            HeadInput { n_features: 6, last: &[] },
            &Task::mask_gender_age(),
            params.builder(),
        )?;
        for (name, param) in params.named() {
            param.var.set(&tensor(name, param.var.dims())?)?;
        }
        let features = Var::from_tensor(&tensor("features", &[4, 6])?)?;
        let tape = Tape::default();
        let pass = Training { tape: &tape, seed: Seed(0), step: 0, first_row: 0, momentum: None };
        let outputs = heads.outputs(&tape.leaf(&features), &Pass::Train(pass))?;
        let [output] = outputs.as_slice() else { panic!("{name}: one output") };
        let mut numbers = tape.export(&output.numbers)?;
        if let Form::Cosines { scale } = output.form {
            numbers = (numbers * scale)?;
        }
        check_close(&numbers, &case.to::<Vec<f64>>("outputs"), 1e-9);

        let r = tensor("projection", numbers.dims())?;
        let grads = tape.backward(&(&numbers * r)?.sum_all()?)?;
        let want: BTreeMap<String, Vec<f64>> = case.to("gradients");
        assert_eq!(want.len(), params.trainable().count(), "{name}");
        for (path, param) in params.trainable() {
            check_close(grads.get(&param.var).expect("a gradient"), &want[path], 1e-9);
        }
        let got = grads.get(&features).expect("a gradient");
        check_close(got, &case.to::<Vec<f64>>("features"), 1e-9);
    }
    Ok(())
}

#[test]
fn ages_are_cut_as_in_pytorch() -> Result<()> {
    let golden = golden("heads").at("decisions");
    let cuts = vec![31.0, 59.0];
    let rows = (tensor("decisions", &[40, 61])? * 4.0)?.to_vec2::<f64>()?;
    let hill = |(row, xs): (usize, Vec<f64>)| {
        let top = 15.0 + 2.0 * row as f64;
        let lowered = |(year, x): (usize, f64)| x - (year as f64 - top).powi(2) / 100.0;
        xs.into_iter().enumerate().map(lowered).collect::<Vec<f64>>()
    };
    let rows: Vec<f64> = rows.into_iter().enumerate().flat_map(hill).collect();
    let rows = Tensor::from_vec(rows, (40, 61), &Device::Cpu)?;
    let probabilities = |decide| -> Result<Vec<Vec<f64>>> {
        let form = Form::Bins { min: 0, decide, cuts: cuts.clone() };
        let predictions = Output::new(Scope::Factor(2), form, rows.clone()).predictions()?;
        Ok(predictions.expect("predictions").into_iter().map(|it| it.probabilities).collect())
    };
    let mass = probabilities(Decide::Mass)?;
    testkit::check_close_slices(&mass.concat(), &golden.to::<Vec<f64>>("mass"), 1e-12);
    for (name, decide) in [("likeliest", Decide::Likeliest), ("expected", Decide::Expected)] {
        let levels: Vec<usize> = golden.to(name);
        // All levels occur, and not all are the level of the largest mass.
        assert!((0..3).all(|level| levels.contains(&level)), "{name}");
        let (mut n_others, sorted) = (0, |p: &[f64]| {
            let mut p = p.to_vec();
            p.sort_by(f64::total_cmp);
            p
        });
        for ((p, mass), &level) in probabilities(decide)?.iter().zip(&mass).zip(&levels) {
            assert!(p.iter().all(|&it| it <= p[level]), "{name}: {p:?} does not predict {level}");
            assert_eq!(sorted(p), sorted(mass), "{name}");
            n_others += usize::from(p != mass);
        }
        assert!(n_others > 0, "{name}");
    }
    assert_eq!(Factor::level_of(31.0, &cuts), 1);
    Ok(())
}
