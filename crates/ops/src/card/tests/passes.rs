//! Inference, frozen parameters, images, loss scales, accumulation and errors on the emulated card.

use std::{collections::HashSet, rc::Rc};

use base::mix::{Area, Erased, Fill, Layer, MixedSample};
use candle::{Device, Result, Tensor};
use gpu::Storage;
use testkit::{check_close_slices, numbers};

use super::harness::{Params, on_card};
use crate::{
    Activation, CardRows, Epilogue, Padding, Pass, Prepacked, Rows, Tape, Value, Window,
    batch_norm, conv2d, depthwise, expand_depthwise, global_avg_pool, linear, normalise,
    normalise_on_card,
};

fn list(it: &Tensor) -> Result<Vec<f64>> {
    it.to_dtype(candle::DType::F64)?.flatten_all()?.to_vec1::<f64>()
}

/// A norm's epilogue at inference.
fn norm(p: &Params, name: &str, c: usize, of: Activation, pass: &Pass<'_>) -> Result<Epilogue> {
    let (gamma, beta) = (p.gamma(name, c, pass), p.bias(&format!("{name}.beta"), c, pass));
    let mean = p.var(&format!("{name}.mean"), &[c], 0.1, 0.3);
    let variance = p.var(&format!("{name}.variance"), &[c], 1.0, 0.5);
    Epilogue::norm(&gamma, &beta, (mean.as_tensor(), variance.as_tensor()), 1e-3, of)
}

/// Every kind of epilogue.
fn network(p: &Params, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
    let same = Window::square(3, 1, Padding::Same);
    let silu = Activation::Silu;
    let stem = p.weight("stem", &[8, 3, 3, 3], pass);
    let bias = p.var("late bias", &[8], 0.0, 0.4);
    let then = norm(p, "norm0", 8, silu, pass)?.after_bias(&bias)?;
    let xs = conv2d(xs, &stem, same, Some(&then))?;
    let (expand, single) =
        (p.weight("expand", &[24, 1, 1, 8], pass), p.taps("k", &[3, 3, 24], pass));
    let (a, b) = (norm(p, "norm1", 24, silu, pass)?, norm(p, "norm2", 24, silu, pass)?);
    let ys = expand_depthwise(&xs, (&expand, &a), &single, same, &b)?;
    let then = norm(p, "norm3", 8, Activation::Relu, pass)?.plus(&xs);
    let ys = linear(&ys, &p.weight("project", &[8, 1, 1, 24], pass), None, Some(&then))?;
    let then = Epilogue::line(8, None, None, Activation::Gelu)?;
    let bias = p.bias("bias", 8, pass);
    let ys = linear(&ys, &p.weight("gelu", &[8, 8], pass), Some(&bias), Some(&then))?;
    let then = norm(p, "norm4", 8, silu, pass)?;
    let ys = linear(&ys, &p.weight("both", &[8, 8], pass), Some(&bias), Some(&then))?;
    let then = norm(p, "norm5", 8, Activation::Relu6, pass)?.plus(&ys);
    let ys = depthwise(&ys, &p.taps("last", &[3, 3, 8], pass), same, Some(&then))?;
    global_avg_pool(&ys)
}

#[test]
fn inference_with_epilogues_agrees_with_the_cpu() -> Result<()> {
    let params = Params::default();
    let images = params.var("images", &[2, 7, 6, 3], 0.2, 1.0).as_tensor().clone();
    let run = |packed: &Prepacked| {
        let pass = Pass::Eval(packed);
        pass.export(&network(&params, &Value::constant(images.clone()), &pass)?)
    };
    let want = list(&run(&Prepacked::default())?)?;
    let largest = want.iter().fold(0.0, |best: f64, it| best.max(it.abs()));
    for (storage, band) in [(Storage::F32, 1e-5), (Storage::Bf16, 2e-2), (Storage::F16, 3e-3)] {
        on_card(storage, |card| {
            let packed = Prepacked::on_card(card);
            card.device().reset_meter();
            let got = list(&run(&packed)?)?;
            assert_eq!(card.device().read_meter().synchronisations, 1);
            check_close_slices(&got, &want, band * largest);
            assert_eq!(list(&run(&packed)?)?, got);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn images_are_rendered_as_on_the_cpu() -> Result<()> {
    let (size, mean, std) = ([6, 5], [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]);
    let bytes: Vec<u8> =
        numbers("bytes", 3 * 6 * 5 * 3).iter().map(|it| (127.5 * (it + 1.0)) as u8).collect();
    let area = |top, left, height, width| Area { top, left, height, width };
    let over = Layer { image: 2, area: area(1, 0, 4, 3), from: [2, 1], share: 0.3 };
    let pixels = (0..12).map(|it| it as f32).collect();
    let samples = [
        MixedSample::of(1),
        MixedSample { over: Some(over), ..MixedSample::of(0) },
        MixedSample {
            erased: vec![
                Erased { area: area(0, 1, 2, 2), fill: Fill::Pixels(pixels) },
                Erased { area: area(5, 0, 1, 5), fill: Fill::Colour([1.0, 2.0, 3.0]) },
            ],
            ..MixedSample::of(2)
        },
    ];
    let rows = Rows { images: &bytes, size, samples: &samples };
    let want = list(&normalise(rows, mean, std, &Device::Cpu)?)?;
    on_card(Storage::F32, |card| {
        let images = card.device().upload(&bytes).expect("an upload");
        let rows = CardRows { images: images.whole(), size, samples: &samples };
        let got = normalise_on_card(card, rows, mean, std)?;
        assert_eq!(got.dims(), [3, 6, 5, 3]);
        check_close_slices(&list(&got.tensor()?)?, &want, 1e-6);
        let short = images.slice(0, 89).expect("a slice");
        let rows = CardRows { images: short, size, samples: &samples };
        let err = normalise_on_card(card, rows, mean, std).err().unwrap().to_string();
        assert!(err.contains("not a whole number of images"), "{err}");
        Ok(())
    })
}

/// y = x Wᵀ + b, and its loss Σ y.
fn line(p: &Params, tape: &Tape) -> Result<Tensor> {
    let images = Value::constant(p.var("images", &[3, 4], 0.0, 1.0).as_tensor().clone());
    let (weight, bias) = (p.var("weight", &[2, 4], 0.0, 1.0), p.var("bias", &[2], 0.0, 1.0));
    let ys = linear(&images, &tape.leaf(&weight), Some(&tape.leaf(&bias)), None)?;
    tape.export(&ys)?.sum_all()
}

#[test]
fn a_loss_scale_multiplies_all_gradients() -> Result<()> {
    on_card(Storage::F16, |card| {
        let (p, tape) = (Params::default(), Tape::on_card(card, Rc::default()));
        let scale = card.device().upload(&[1024f32]).expect("an upload");
        let loss = line(&p, &tape)?;
        let grads = tape.backward_times(&loss, Some(scale.whole()))?;
        // The gradient of the bias is the number of rows, times the scale.
        let bias = p.var("bias", &[2], 0.0, 1.0);
        assert_eq!(list(&grads.download(&bias)?.unwrap())?, [3.0 * 1024.0; 2]);
        assert!(grads.get(&bias).is_none() && grads.on_card(&bias).is_some());

        let tape = Tape::default();
        let loss = line(&p, &tape)?;
        let err = tape.backward_times(&loss, Some(scale.whole())).err().unwrap().to_string();
        assert!(err.contains("on a card"), "{err}");
        Ok(())
    })
}

#[test]
fn gradients_accumulate_on_the_card() -> Result<()> {
    on_card(Storage::Bf16, |card| {
        let (p, mut all) = (Params::default(), crate::Gradients::default());
        for _ in 0..3 {
            let tape = Tape::on_card(card, Rc::default());
            let loss = line(&p, &tape)?;
            all.add(tape.backward(&loss)?)?;
        }
        let bias = p.var("bias", &[2], 0.0, 1.0);
        assert_eq!(list(&all.download(&bias)?.unwrap())?, [9.0; 2]);
        Ok(())
    })
}

#[test]
fn a_frozen_parameter_has_no_gradient_and_its_numbers_follow_the_host() -> Result<()> {
    on_card(Storage::Bf16, |card| {
        let p = Params::default();
        let (weight, bias) = (p.var("weight", &[2, 4], 0.0, 1.0), p.var("bias", &[2], 0.0, 1.0));
        let frozen = Rc::new(HashSet::from([weight.id()]));
        let tape = Tape::on_card(card, Rc::clone(&frozen));
        let first = line(&p, &tape)?;
        let grads = tape.backward(&first)?;
        assert!(!grads.has(&weight) && grads.has(&bias));

        // The card has its own numbers until the host's are copied there.
        bias.set(&Tensor::new(&[50f32, 50.0], &Device::Cpu)?)?;
        let loss = || line(&p, &Tape::on_card(card, Rc::clone(&frozen)))?.to_scalar::<f32>();
        assert_eq!(loss()?, first.to_scalar::<f32>()?);
        card.copy_over(&bias)?;
        assert!(loss()? > 280.0);
        bias.set(&Tensor::new(&[0f32, 0.0], &Device::Cpu)?)?;
        card.copy_back(&bias)?;
        assert_eq!(list(&bias)?, [50.0; 2]);
        Ok(())
    })
}

#[test]
fn what_a_card_cannot_do_is_an_error_that_names_it() -> Result<()> {
    on_card(Storage::F32, |card| {
        let (p, tape) = (Params::default(), Tape::on_card(card, Rc::default()));
        let xs = tape.leaf(&p.var("images", &[2, 3, 3, 4], 0.0, 1.0));
        let (gamma, beta) =
            (tape.leaf(&p.var("g", &[4], 1.0, 0.1)), tape.leaf(&p.var("b", &[4], 0.0, 0.1)));
        let err = batch_norm(&xs, &gamma, &beta, 1e-3, Activation::None).err().unwrap();
        assert!(err.to_string().contains("batch_norm_running"), "{err}");
        let err = xs.raw().err().unwrap().to_string();
        assert!(err.contains("passes.rs` has no version for a card"), "{err}");

        // A batch of a single value has no variance.
        let one = tape.leaf(&p.var("one", &[1, 4], 0.0, 1.0));
        let pass = Pass::Train(crate::Training {
            tape: &tape,
            seed: base::Seed(0),
            step: 0,
            first_row: 0,
            momentum: None,
        });
        let err = p.norm("norm", &one, Activation::None, &pass).err().unwrap().to_string();
        assert!(err.contains("more than one value"), "{err}");

        let then = norm(&p, "then", 3, Activation::None, &pass)?;
        let weight = tape.leaf(&p.var("w", &[3, 4], 0.0, 1.0));
        let err = linear(&xs, &weight, None, Some(&then)).err().unwrap().to_string();
        assert!(err.contains("no gradient"), "{err}");
        Ok(())
    })
}
