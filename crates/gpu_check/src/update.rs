//! Optimizer steps, loss scales and averages of weights, against the formulas in f64.
//!
//! Bounds: a step errs by some units of f32, 2⁻²⁴ relative to its terms, and four steps by four times as much; the
//! terms here are of the size of 1.

use std::sync::Arc;

use gpu::{
    Buffer, Result, Storage,
    average::Average,
    update::{Clip, Control, Parameter, Rows, Rule, Scaling, Turn, Updates},
};

use crate::{
    case::List,
    check::{Bound, Check},
    optimizer::{Model, step_all},
};

const BOUND: Bound = Bound { relative: 1e-5, absolute: 4e-6 };
const STEPS: usize = 4;
const BETAS: [f64; 2] = [0.9, 0.99];

/// Lengths, rows, how gradient and copy are stored, and whether adaptive clipping applies.
fn layout() -> Vec<(usize, Rows, Storage, Option<Storage>, bool)> {
    use Storage::{Bf16, F16, F32};
    vec![
        (5 * 7, Rows::First(5), F32, Some(Bf16), true),
        (9 * 19, Rows::Last(19), F32, Some(F16), true),
        (13, Rows::One, F32, None, true),
        (17 * 300, Rows::First(17), F32, Some(Bf16), true),
        (2 * 300, Rows::Last(300), F32, Some(F32), true),
        (4096, Rows::First(1), F32, Some(F16), false),
        (1, Rows::One, F32, Some(Bf16), false),
    ]
}

/// What a run leaves: bytes of masters, copies and states.
type Left = Vec<Vec<u8>>;

fn left(updates: &Updates, rule: &Rule) -> Result<Left> {
    let mut all = Vec::new();
    for (idx, it) in updates.parameters().iter().enumerate() {
        all.push(it.master.read()?);
        if let Some((copy, _)) = &it.copy {
            all.push(copy.read()?);
        }
        for state in (0..rule.states().len()).filter_map(|it| updates.state(idx, it)) {
            all.push(state.read()?);
        }
    }
    Ok(all)
}

/// The parameters on the device and in f64.
fn begin(
    check: &mut Check,
    rule: &Rule,
    scaling: Option<Scaling>,
) -> Result<(Updates, Vec<Model>)> {
    let mut parameters = Vec::new();
    for (len, rows, _, copy, is_clipped) in layout() {
        let copy = match copy {
            Some(it) => Some((Arc::new(check.alloc(it, len)?), it)),
            None => None,
        };
        let master = Arc::new(check.alloc(Storage::F32, len)?);
        parameters.push(Parameter { master, copy, len, rows, is_clipped });
    }
    let mut updates = Updates::new(check.device(), parameters, rule, scaling)?;
    let mut models = Vec::new();
    for (idx, (len, rows, _, _, is_clipped)) in layout().into_iter().enumerate() {
        let numbers = check.numbers(len, -1.0, 1.0);
        updates.set_parameter(idx, &numbers)?;
        let p = numbers.iter().map(|it| f64::from(*it)).collect();
        let mut state = vec![vec![0.0; len]; rule.states().len()];
        if matches!(rule, Rule::RmsProp { .. }) {
            state[0].fill(1.0);
        }
        models.push(Model { rows, is_clipped, p, state, n_steps: 0 });
    }
    Ok((updates, models))
}

/// Takes some steps on both sides and compares; parameter 2 is frozen in the second step.
fn steps(
    check: &mut Check,
    rule: &Rule,
    clip: Clip,
    grad_storage: Storage,
    scale: f32,
) -> Result<Left> {
    let scaling = (scale != 1.0).then(|| Scaling { initial: scale, ..Scaling::default() });
    let (mut updates, mut models) = begin(check, rule, scaling)?;
    for step in 0..STEPS {
        let (mut buffers, mut grads) = (Vec::new(), Vec::new());
        for (idx, (len, ..)) in layout().into_iter().enumerate() {
            let mut numbers = check.numbers(len, -1.0, 1.0);
            numbers[0] = 0.0;
            let numbers: Vec<f32> = numbers.iter().map(|it| it * scale).collect();
            let (buffer, stored) = check.put(grad_storage, &numbers)?;
            let is_frozen = step == 1 && idx == 2;
            let unscaled = stored.iter().map(|it| it / f64::from(scale)).collect();
            grads.push((!is_frozen).then_some(unscaled));
            buffers.push((!is_frozen).then_some(buffer));
        }
        // The third has no weight decay.
        let rate = |idx: usize| (0.01 * (idx + step + 1) as f64, if idx == 2 { 0.0 } else { 0.1 });
        let rates: Vec<_> = (0..models.len()).map(rate).collect();
        let norm = step_all(&mut models, rule, &grads, clip, &rates);
        let mut turns = Vec::new();
        for (grad, &(lr, decay)) in buffers.iter().zip(&rates) {
            turns.push(Turn { grad: grad.as_ref().map(|it| (it, grad_storage)), lr, decay });
        }
        updates.step(rule, &turns, clip, true)?;
        let control = updates.control()?;
        check.near("the norm", &[control.norm], &[norm], BOUND);
        let is_taken = (control.is_skipped, control.is_non_finite) == (0, 0);
        check.holds("the step", is_taken, || "it is skipped, or not finite".into());
    }
    let counts = updates.counts()?;
    check.holds("the counts", counts == [4, 4, 3, 4, 4, 4, 4], || format!("{counts:?}"));
    for (idx, (model, it)) in models.iter().zip(updates.parameters()).enumerate() {
        let what = format!("parameter {idx}");
        check.close(&what, &it.master, Storage::F32, &model.p, BOUND)?;
        for (state, name) in rule.states().iter().enumerate() {
            let what = format!("{name} of {what}");
            let got = updates.state(idx, state);
            check.holds(&what, got.is_some(), || "there is none".into());
            if let Some(got) = got {
                check.close(&what, got, Storage::F32, &model.state[state], BOUND)?;
            }
        }
        if let Some((copy, storage)) = &it.copy {
            let masters = check.list(&it.master)?;
            let round = |it: &f64| f64::from(storage.round(*it as f32));
            let want: Vec<f64> = masters.iter().map(round).collect();
            let got = check.get(copy, *storage)?;
            check.holds(&format!("the copy of {what}"), got == want, || "other numbers".into());
        }
    }
    left(&updates, rule)
}

/// Every rule, with the clippings and the loss scales that concern it.
pub(crate) fn optimizers(list: &mut List) {
    let (f32, bf16, f16) = (Storage::F32, Storage::Bf16, Storage::F16);
    let sgd = |momentum, dampening, nesterov| Rule::Sgd { momentum, dampening, nesterov };
    let adamp =
        |delta, nesterov| Rule::AdamP { betas: BETAS, eps: 1e-6, delta, wd_ratio: 0.1, nesterov };
    let adaptive = Clip::Adaptive { clip_factor: 0.3, eps: 1e-3 };
    let adam = Rule::Adam { betas: BETAS, eps: 1e-6 };
    let adamw = Rule::AdamW { betas: BETAS, eps: 1e-6 };
    let lamb = Rule::Lamb { betas: BETAS, eps: 1e-6, max_grad_norm: 1.0 };
    let rms_prop = Rule::RmsProp { alpha: 0.9, eps: 1e-3, momentum: 0.9 };
    for (rule, clip, storage, scale) in [
        (sgd(0.9, 0.0, false), Clip::Off, f32, 1.0),
        (sgd(0.9, 0.3, false), Clip::Off, f32, 1.0),
        (sgd(0.8, 0.0, true), Clip::Off, f32, 1.0),
        (sgd(0.9, 0.0, false), Clip::Off, bf16, 1.0),
        (sgd(0.9, 0.0, false), Clip::Norm(1.0), f16, 1024.0),
        (sgd(0.9, 0.0, false), Clip::Value(0.4), f32, 4096.0),
        (sgd(0.9, 0.0, false), adaptive, f32, 1024.0),
        (adam, Clip::Off, f32, 1.0),
        (adamw, Clip::Norm(2.0), f32, 1.0),
        (adamw, Clip::Value(0.5), bf16, 256.0),
        (Rule::Lion { betas: BETAS }, Clip::Off, f32, 1.0),
        (rms_prop, Clip::Norm(1e3), f32, 1.0),
        (lamb, Clip::Off, f32, 1.0),
        (lamb, Clip::Norm(0.5), f16, 512.0),
        (adamp(0.0, false), Clip::Norm(3.0), f32, 1.0),
        (adamp(1.0, true), Clip::Norm(3.0), f32, 1.0),
        (adamp(1.5, false), Clip::Norm(3.0), f32, 1.0),
        (adamp(100.0, true), Clip::Norm(3.0), f32, 1.0),
        (adamp(2.0, false), adaptive, f32, 64.0),
    ] {
        list.add(storage, format!("{rule:?}, clip {clip:?}, scale {scale}"), move |check| {
            steps(check, &rule, clip, storage, scale).map(drop)
        });
    }
    for (rule, clip) in [(lamb, Clip::Off), (adamp(1.5, false), Clip::Norm(3.0))] {
        list.add(f32, format!("{rule:?} twice"), move |check| {
            let first = steps(check, &rule, clip, f32, 1.0)?;
            let second = steps(&mut Check::new(check.device()), &rule, clip, f32, 1.0)?;
            check.holds("four steps", first == second, || "other bits the second time".into());
            Ok(())
        });
    }
    let rules = [sgd(0.9, 0.0, false), adamw, adamp(0.1, false), lamb, rms_prop];
    for rule in rules.into_iter().chain([Rule::Lion { betas: BETAS }]) {
        for (clip, bad) in [(Clip::Norm(1.0), f32::NAN), (Clip::Value(1.0), f32::NEG_INFINITY)] {
            let name = format!("{rule:?}, {bad} in a gradient");
            list.add(f16, name, move |check| skipped(check, &rule, clip, bad));
        }
    }
    list.add(f32, "NaN without a loss scale".into(), without_scale);
}

/// A step that is not finite changes only the loss scale.
fn skipped(check: &mut Check, rule: &Rule, clip: Clip, bad: f32) -> Result<()> {
    let scaling = Scaling { initial: 8.0, growth: 2.0, backoff: 0.5, interval: 2 };
    let (mut updates, _) = begin(check, rule, Some(scaling))?;
    let step = |check: &mut Check, updates: &mut Updates, bad: Option<f32>| -> Result<Control> {
        let mut buffers = Vec::new();
        for (idx, (len, ..)) in layout().into_iter().enumerate() {
            let mut numbers = check.numbers(len, -1.0, 1.0);
            if let (3, Some(bad)) = (idx, bad) {
                numbers[len - 1] = bad;
            }
            buffers.push(check.put(Storage::F16, &numbers)?.0);
        }
        updates.step(rule, &turns(&buffers, Storage::F16, 0.1), clip, false)?;
        updates.control()
    };
    // The very first step, then after good ones.
    let first = step(check, &mut updates, Some(f32::INFINITY))?;
    let is_right = (first.scale, first.skipped_steps, first.is_skipped) == (4.0, 1, 1);
    check.holds("the first step", is_right, || format!("{first:?}"));
    let counts = updates.counts()?;
    check.holds("counts at first", counts == [0; 7], || format!("{counts:?}"));
    let second = step(check, &mut updates, None)?;
    let is_right = (second.scale, second.unscale, second.good_steps) == (4.0, 0.25, 1);
    check.holds("the second step", is_right, || format!("{second:?}"));
    let third = step(check, &mut updates, None)?;
    let is_right = (third.scale, third.unscale, third.good_steps) == (8.0, 0.25, 0);
    check.holds("the third step", is_right, || format!("{third:?}"));
    let before = left(&updates, rule)?;
    let fourth = step(check, &mut updates, Some(bad))?;
    let is_right = (fourth.scale, fourth.skipped_steps, fourth.is_skipped) == (4.0, 2, 1);
    check.holds("the fourth step", is_right, || format!("{fourth:?}"));
    let is_same = left(&updates, rule)? == before;
    check.holds("the skipped step", is_same, || "it changed something".into());
    let counts = updates.counts()?;
    check.holds("counts", counts == [2; 7], || format!("{counts:?}"));
    let fifth = step(check, &mut updates, None)?;
    let is_right = (fifth.is_skipped, fifth.skipped_steps, fifth.good_steps) == (0, 2, 1);
    check.holds("the fifth step", is_right, || format!("{fifth:?}"));
    let is_other = left(&updates, rule)? != before;
    check.holds("the fifth step", is_other, || "it changed nothing".into());
    Ok(())
}

fn turns(grads: &[Buffer], storage: Storage, decay: f64) -> Vec<Turn<'_>> {
    grads.iter().map(|it| Turn { grad: Some((it, storage)), lr: 0.1, decay }).collect()
}

/// Without a loss scale a NaN is reported and taken.
fn without_scale(check: &mut Check) -> Result<()> {
    let rule = Rule::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false };
    let (mut updates, _) = begin(check, &rule, None)?;
    let mut buffers = Vec::new();
    for (len, ..) in layout() {
        buffers.push(check.put(Storage::F32, &vec![f32::NAN; len])?.0);
    }
    updates.step(&rule, &turns(&buffers, Storage::F32, 0.0), Clip::Off, true)?;
    let control = updates.control()?;
    let is_right = (control.is_non_finite, control.is_skipped, control.scale) == (1, 0, 1.0);
    check.holds("the step", is_right, || format!("{control:?}"));
    let masters = check.list(&updates.parameters()[0].master)?;
    check.holds("the weights", masters[0].is_nan(), || format!("{}", masters[0]));
    Ok(())
}

/// Averages of weights.
pub(crate) fn averages(list: &mut List) {
    list.add(Storage::F32, "13, 5000 and 8 weights".into(), averaged);
}

/// Averages move towards the weights, and the first update copies them.
fn averaged(check: &mut Check) -> Result<()> {
    let lengths = [13, 5000, 8];
    let (mut averages, mut weights, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for (idx, len) in lengths.into_iter().enumerate() {
        let (theirs, theirs_stored) = check.random(Storage::F32, len)?;
        let copy = match idx {
            2 => None,
            _ => Some((Arc::new(check.alloc(Storage::Bf16, len)?), Storage::Bf16)),
        };
        let master = Arc::new(check.alloc(Storage::F32, len)?);
        averages.push(Parameter { master, copy, len, rows: Rows::One, is_clipped: false });
        weights.push(Arc::new(theirs));
        all.push(theirs_stored);
    }
    let mut average = Average::new(check.device(), averages, weights)?;
    // The first update copies: nothing has been written before.
    average.update(1.0)?;
    for (it, want) in average.averages().iter().zip(&all) {
        let got = check.list(&it.master)?;
        check.holds("the first update", got == *want, || "other numbers".into());
    }
    let (mut parameters, mut stored) = (Vec::new(), Vec::new());
    for len in lengths {
        let (buffer, numbers) = check.random(Storage::F32, len)?;
        let (master, rows) = (Arc::new(buffer), Rows::One);
        parameters.push(Parameter { master, copy: None, len, rows, is_clipped: false });
        stored.push(numbers);
    }
    let others = average.averages().iter().map(|it| it.master.clone()).collect();
    let mut second = Average::new(check.device(), parameters, others)?;
    second.update(0.25)?;
    for ((it, ours), theirs) in second.averages().iter().zip(stored).zip(&all) {
        let want: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a + 0.25 * (b - a)).collect();
        let bound = Bound { relative: 1e-6, absolute: 1e-6 };
        check.close("average", &it.master, Storage::F32, &want, bound)?;
    }
    Ok(())
}
