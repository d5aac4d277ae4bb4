//! Optimizer steps against the formulas in f64, number by number.
//!
//! Bounds: a step errs by some units of f32, 2⁻²⁴ relative to its terms, and four steps by four times as much; the
//! terms here are of the size of 1.

use std::sync::Arc;

use gpu::{
    Storage,
    average::Average,
    update::{Clip, Control, Parameter, Rows, Rule, Scaling, Turn, Updates},
};

use crate::harness::{Bound, Test, close};

const BOUND: Bound = Bound { relative: 1e-5, absolute: 4e-6 };
const STEPS: usize = 4;

/// A parameter in f64.
#[derive(Clone)]
struct Model {
    rows: Rows,
    is_clipped: bool,
    p: Vec<f64>,
    state: Vec<Vec<f64>>,
    n_steps: i32,
}

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

impl Model {
    /// The row of each number.
    fn rows(&self) -> Vec<usize> {
        let len = self.p.len();
        (0..len)
            .map(|idx| match self.rows {
                Rows::One => 0,
                Rows::First(n) => idx / (len / n),
                Rows::Last(n) => idx % n,
            })
            .collect()
    }

    /// Σ x·y of each row.
    fn row_sums(&self, xs: &[f64], ys: &[f64]) -> Vec<f64> {
        let rows = self.rows();
        let mut sums = vec![0.0; rows.iter().max().map_or(0, |it| it + 1)];
        rows.iter().zip(xs.iter().zip(ys)).for_each(|(row, (x, y))| sums[*row] += x * y);
        sums
    }

    fn clip_rows(&self, gs: &mut [f64], clip_factor: f64, eps: f64) {
        let weights = self.row_sums(&self.p, &self.p);
        let norms = self.row_sums(gs, gs);
        for (g, row) in gs.iter_mut().zip(self.rows()) {
            let (most, norm) = (clip_factor * weights[row].sqrt().max(eps), norms[row].sqrt());
            if norm >= most {
                *g *= most / norm.max(1e-6);
            }
        }
    }

    /// The factor by which the weights are projected out of AdamP's step, for each number.
    fn outward(&self, gs: &[f64], us: &[f64], delta: f64, eps: f64) -> Option<Vec<f64>> {
        let whole = Model { rows: Rows::One, ..self.clone() };
        [self, &whole].into_iter().filter(|_| self.rows != Rows::One).find_map(|it| {
            let (pg, pp, gg) =
                (it.row_sums(&it.p, gs), it.row_sums(&it.p, &it.p), it.row_sums(gs, gs));
            let cosine =
                |row: usize| (pg[row] / (pp[row].sqrt().max(eps) * gg[row].sqrt().max(eps))).abs();
            let most = (0..pg.len()).map(cosine).fold(0.0, f64::max);
            let size = (it.p.len() / pg.len()) as f64;
            let dots = it.row_sums(&it.p, us);
            let of = |row: usize| dots[row] / (pp[row].sqrt() + eps).powi(2);
            (most < delta / size.sqrt()).then(|| it.rows().into_iter().map(of).collect())
        })
    }

    /// A step with the clipped gradient.
    fn step(&mut self, rule: &Rule, gs: &[f64], share: f64, lr: f64, decay: f64) {
        self.n_steps += 1;
        let n = self.n_steps;
        let running = |s: &mut Vec<f64>, beta: f64, f: &dyn Fn(usize) -> f64| {
            s.iter_mut().enumerate().for_each(|(i, s)| *s = beta * *s + (1.0 - beta) * f(i));
        };
        let old = self.p.clone();
        match *rule {
            Rule::Sgd { momentum, dampening, nesterov } => {
                let taken = if n == 1 { 1.0 } else { 1.0 - dampening };
                for (i, p) in self.p.iter_mut().enumerate() {
                    let g = gs[i] + decay * *p;
                    let v = &mut self.state[0][i];
                    *v = momentum * *v + taken * g;
                    *p -= lr * if nesterov { g + momentum * *v } else { *v };
                }
            }
            Rule::Adam { betas, eps } | Rule::AdamW { betas, eps } => {
                let l2 = if matches!(rule, Rule::Adam { .. }) { decay } else { 0.0 };
                let decoupled = decay - l2;
                let g = |i: usize| gs[i] + l2 * old[i];
                running(&mut self.state[0], betas[0], &g);
                running(&mut self.state[1], betas[1], &|i| g(i).powi(2));
                let [first, second] = betas.map(|it| 1.0 - it.powi(n));
                for (i, p) in self.p.iter_mut().enumerate() {
                    let (m, v) = (self.state[0][i] / first, self.state[1][i] / second);
                    *p = (1.0 - lr * decoupled) * *p - lr * m / (v.sqrt() + eps);
                }
            }
            Rule::AdamP { betas, eps, delta, wd_ratio, nesterov } => {
                running(&mut self.state[0], betas[0], &|i| gs[i]);
                running(&mut self.state[1], betas[1], &|i| gs[i].powi(2));
                let [first, second] = betas.map(|it| 1.0 - it.powi(n));
                let along = |i: usize| {
                    let m = self.state[0][i];
                    let m = if nesterov { betas[0] * m + (1.0 - betas[0]) * gs[i] } else { m };
                    m / ((self.state[1][i] / second).sqrt() + eps)
                };
                let us: Vec<f64> = (0..gs.len()).map(along).collect();
                let outward = self.outward(gs, &us, delta, eps);
                let decay = decay * if outward.is_some() { wd_ratio } else { 1.0 };
                for (i, p) in self.p.iter_mut().enumerate() {
                    let out = outward.as_ref().map_or(0.0, |it| it[i]);
                    *p = (1.0 - lr * decay) * *p - lr / first * (us[i] - out * *p);
                }
            }
            Rule::Lamb { betas, eps, .. } => {
                running(&mut self.state[0], betas[0], &|i| share * gs[i]);
                running(&mut self.state[1], betas[1], &|i| (share * gs[i]).powi(2));
                let [first, second] = betas.map(|it| 1.0 - it.powi(n));
                let (moments, us) = self.state.split_at_mut(2);
                for (i, u) in us[0].iter_mut().enumerate() {
                    let (m, v) = (moments[0][i] / first, moments[1][i] / second);
                    *u = m / (v.sqrt() + eps) + decay * old[i];
                }
                let norm = |xs: &[f64]| xs.iter().map(|x| x * x).sum::<f64>().sqrt();
                let (of_weights, of_step) = (norm(&old), norm(&self.state[2]));
                let is_scaled = decay != 0.0 && of_weights > 0.0 && of_step > 0.0;
                let size = lr * if is_scaled { of_weights / of_step } else { 1.0 };
                self.p.iter_mut().zip(&self.state[2]).for_each(|(p, u)| *p -= size * u);
            }
            Rule::Lion { betas } => {
                for (i, p) in self.p.iter_mut().enumerate() {
                    let along = betas[0] * self.state[0][i] + (1.0 - betas[0]) * gs[i];
                    let sign = if along == 0.0 { 0.0 } else { along.signum() };
                    *p = (1.0 - lr * decay) * *p - lr * sign;
                }
                running(&mut self.state[0], betas[1], &|i| gs[i]);
            }
            Rule::RmsProp { alpha, eps, momentum } => {
                let g = |i: usize| gs[i] + decay * old[i];
                running(&mut self.state[0], alpha, &|i| g(i).powi(2));
                for (i, p) in self.p.iter_mut().enumerate() {
                    let root = (self.state[0][i] + eps).sqrt();
                    let v = &mut self.state[1][i];
                    *v = momentum * *v + lr * g(i) / root;
                    *p -= *v;
                }
            }
        }
    }
}

/// A step of all parameters: clips, and returns the norm before clipping by it.
fn step_all(
    models: &mut [Model],
    rule: &Rule,
    grads: &[Option<Vec<f64>>],
    clip: Clip,
    rates: &[(f64, f64)],
) -> f64 {
    let mut grads = grads.to_vec();
    for (grad, model) in grads.iter_mut().zip(models.iter()) {
        let Some(grad) = grad else { continue };
        match clip {
            Clip::Value(limit) => {
                grad.iter_mut().for_each(|g| *g = g.clamp(f64::from(-limit), f64::from(limit)))
            }
            Clip::Adaptive { clip_factor, eps } if model.is_clipped => {
                model.clip_rows(grad, clip_factor, eps)
            }
            _ => {}
        }
    }
    let norm = grads.iter().flatten().flatten().map(|g| g * g).sum::<f64>().sqrt();
    let mut clipped = norm;
    if let Clip::Norm(most) = clip {
        let factor = (most / (norm + 1e-6)).min(1.0);
        grads.iter_mut().flatten().flatten().for_each(|g| *g *= factor);
        clipped *= factor;
    }
    let share = if let Rule::Lamb { max_grad_norm, .. } = rule {
        (max_grad_norm / clipped).min(1.0)
    } else {
        1.0
    };
    for ((model, grad), (lr, decay)) in models.iter_mut().zip(&grads).zip(rates) {
        if let Some(grad) = grad {
            model.step(rule, grad, share, *lr, *decay);
        }
    }
    norm
}

/// What a run leaves: bytes of masters, copies and states.
type Left = Vec<Vec<u8>>;

fn left(updates: &Updates, rule: &Rule) -> Left {
    let mut all = Vec::new();
    for (idx, it) in updates.parameters().iter().enumerate() {
        all.push(it.master.read().expect("it fits"));
        all.extend(it.copy.iter().map(|(copy, _)| copy.read().expect("it fits")));
        all.extend(
            (0..rule.states().len())
                .map(|state| updates.state(idx, state).expect("it fits").read().expect("it fits")),
        );
    }
    all
}

/// The parameters on the device and in f64.
fn begin(test: &mut Test, rule: &Rule, scaling: Option<Scaling>) -> (Updates, Vec<Model>) {
    let mut parameters = Vec::new();
    for (len, rows, _, copy, is_clipped) in layout() {
        parameters.push(Parameter {
            master: Arc::new(test.alloc(Storage::F32, len)),
            copy: copy.map(|it| (Arc::new(test.alloc(it, len)), it)),
            len,
            rows,
            is_clipped,
        });
    }
    let mut updates = Updates::new(test.device(), parameters, rule, scaling).expect("it fits");
    let mut models = Vec::new();
    for (idx, (len, rows, _, _, is_clipped)) in layout().into_iter().enumerate() {
        let numbers = test.numbers(len, -1.0, 1.0);
        updates.set_parameter(idx, &numbers).expect("it fits");
        let p = numbers.iter().map(|it| f64::from(*it)).collect();
        let mut state = vec![vec![0.0; len]; rule.states().len()];
        if matches!(rule, Rule::RmsProp { .. }) {
            state[0].fill(1.0);
        }
        models.push(Model { rows, is_clipped, p, state, n_steps: 0 });
    }
    (updates, models)
}

/// Takes some steps on both sides and compares; parameter 2 is frozen in the second step.
fn check(rule: &Rule, clip: Clip, grad_storage: Storage, scale: f32) -> Left {
    let mut test = Test::new();
    let scaling = (scale != 1.0).then(|| Scaling { initial: scale, ..Scaling::default() });
    let (mut updates, mut models) = begin(&mut test, rule, scaling);
    for step in 0..STEPS {
        let (mut buffers, mut grads) = (Vec::new(), Vec::new());
        for (idx, (len, ..)) in layout().into_iter().enumerate() {
            let mut numbers = test.numbers(len, -1.0, 1.0);
            numbers[0] = 0.0;
            let numbers: Vec<f32> = numbers.iter().map(|it| it * scale).collect();
            let (buffer, stored) = test.put(grad_storage, &numbers);
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
        updates.step(rule, &turns, clip, true).expect("it fits");
        let control = updates.control().expect("it fits");
        close("the norm", &[control.norm], &[norm], BOUND);
        assert_eq!((control.is_skipped, control.is_non_finite), (0, 0));
    }
    assert_eq!(updates.counts().expect("it fits"), [4, 4, 3, 4, 4, 4, 4]);
    for (idx, (model, it)) in models.iter().zip(updates.parameters()).enumerate() {
        let what = format!("parameter {idx}, {rule:?}, {clip:?}");
        test.close(&what, &it.master, Storage::F32, &model.p, BOUND);
        for (state, name) in rule.states().iter().enumerate() {
            let got = updates.state(idx, state).expect("it fits");
            test.close(&format!("{name} of {what}"), got, Storage::F32, &model.state[state], BOUND);
        }
        if let Some((copy, storage)) = &it.copy {
            let masters = test.get(&it.master, Storage::F32);
            let want: Vec<f64> =
                masters.iter().map(|it| f64::from(storage.round(*it as f32))).collect();
            assert_eq!(test.get(copy, *storage), want, "the copy of {what}");
        }
    }
    left(&updates, rule)
}

const BETAS: [f64; 2] = [0.9, 0.99];

#[test]
fn stochastic_gradient_descent_agrees_with_its_formula() {
    for (momentum, dampening, nesterov) in [(0.9, 0.0, false), (0.9, 0.3, false), (0.8, 0.0, true)]
    {
        check(&Rule::Sgd { momentum, dampening, nesterov }, Clip::Off, Storage::F32, 1.0);
    }
    let rule = Rule::Sgd { momentum: 0.9, dampening: 0.0, nesterov: false };
    check(&rule, Clip::Off, Storage::Bf16, 1.0);
    check(&rule, Clip::Norm(1.0), Storage::F16, 1024.0);
    check(&rule, Clip::Value(0.4), Storage::F32, 4096.0);
    check(&rule, Clip::Adaptive { clip_factor: 0.3, eps: 1e-3 }, Storage::F32, 1024.0);
}

#[test]
fn adam_adamw_lion_and_rmsprop_agree_with_their_formulas() {
    check(&Rule::Adam { betas: BETAS, eps: 1e-6 }, Clip::Off, Storage::F32, 1.0);
    check(&Rule::AdamW { betas: BETAS, eps: 1e-6 }, Clip::Norm(2.0), Storage::F32, 1.0);
    check(&Rule::AdamW { betas: BETAS, eps: 1e-6 }, Clip::Value(0.5), Storage::Bf16, 256.0);
    check(&Rule::Lion { betas: BETAS }, Clip::Off, Storage::F32, 1.0);
    check(
        &Rule::RmsProp { alpha: 0.9, eps: 1e-3, momentum: 0.9 },
        Clip::Norm(1e3),
        Storage::F32,
        1.0,
    );
}

#[test]
fn lamb_agrees_with_its_formula_and_has_the_same_bits_twice() {
    let rule = Rule::Lamb { betas: BETAS, eps: 1e-6, max_grad_norm: 1.0 };
    let first = check(&rule, Clip::Off, Storage::F32, 1.0);
    assert!(first == check(&rule, Clip::Off, Storage::F32, 1.0));
    check(&rule, Clip::Norm(0.5), Storage::F16, 512.0);
}

#[test]
fn adamp_agrees_with_its_formula_and_has_the_same_bits_twice() {
    for (delta, nesterov) in [(0.0, false), (1.0, true), (1.5, false), (100.0, true)] {
        let rule = Rule::AdamP { betas: BETAS, eps: 1e-6, delta, wd_ratio: 0.1, nesterov };
        let first = check(&rule, Clip::Norm(3.0), Storage::F32, 1.0);
        if delta == 1.5 {
            assert!(first == check(&rule, Clip::Norm(3.0), Storage::F32, 1.0));
        }
    }
    let rule = Rule::AdamP { betas: BETAS, eps: 1e-6, delta: 2.0, wd_ratio: 0.1, nesterov: false };
    check(&rule, Clip::Adaptive { clip_factor: 0.3, eps: 1e-3 }, Storage::F32, 64.0);
}

#[test]
fn a_step_that_is_not_finite_changes_only_the_loss_scale() {
    let rules = [
        Rule::Sgd { momentum: 0.9, dampening: 0.0, nesterov: false },
        Rule::AdamW { betas: BETAS, eps: 1e-6 },
        Rule::AdamP { betas: BETAS, eps: 1e-6, delta: 0.1, wd_ratio: 0.1, nesterov: false },
        Rule::Lamb { betas: BETAS, eps: 1e-6, max_grad_norm: 1.0 },
        Rule::Lion { betas: BETAS },
        Rule::RmsProp { alpha: 0.9, eps: 1e-3, momentum: 0.9 },
    ];
    for (idx, rule) in rules.iter().enumerate() {
        let mut test = Test::new();
        let scaling = Scaling { initial: 8.0, growth: 2.0, backoff: 0.5, interval: 2 };
        let (mut updates, _) = begin(&mut test, rule, Some(scaling));
        let mut step = |updates: &mut Updates, bad: Option<f32>| -> Control {
            let mut buffers = Vec::new();
            for (idx, (len, ..)) in layout().into_iter().enumerate() {
                let mut numbers = test.numbers(len, -1.0, 1.0);
                if let (3, Some(bad)) = (idx, bad) {
                    numbers[len - 1] = bad;
                }
                buffers.push(test.put(Storage::F16, &numbers).0);
            }
            let turn = |it| Turn { grad: Some((it, Storage::F16)), lr: 0.1, decay: 0.1 };
            let turns: Vec<_> = buffers.iter().map(turn).collect();
            let clip = if idx % 2 == 0 { Clip::Norm(1.0) } else { Clip::Value(1.0) };
            updates.step(rule, &turns, clip, false).unwrap();
            updates.control().unwrap()
        };
        // The very first step, then after good ones.
        let control = step(&mut updates, Some(f32::INFINITY));
        assert_eq!((control.scale, control.skipped_steps, control.is_skipped), (4.0, 1, 1));
        assert_eq!(updates.counts().unwrap(), [0; 7]);
        let control = step(&mut updates, None);
        assert_eq!((control.scale, control.unscale, control.good_steps), (4.0, 0.25, 1));
        let control = step(&mut updates, None);
        assert_eq!((control.scale, control.unscale, control.good_steps), (8.0, 0.25, 0));
        let before = left(&updates, rule);
        let control =
            step(&mut updates, Some(if idx % 2 == 0 { f32::NAN } else { f32::NEG_INFINITY }));
        assert_eq!((control.scale, control.skipped_steps, control.is_skipped), (4.0, 2, 1));
        assert!(left(&updates, rule) == before, "{rule:?} changed something");
        assert_eq!(updates.counts().unwrap(), [2; 7]);
        let control = step(&mut updates, None);
        assert_eq!((control.is_skipped, control.skipped_steps, control.good_steps), (0, 2, 1));
        assert!(left(&updates, rule) != before);
    }
}

#[test]
fn without_a_loss_scale_a_nan_is_reported_and_taken() {
    let mut test = Test::new();
    let rule = Rule::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false };
    let (mut updates, _) = begin(&mut test, &rule, None);
    let mut buffers = Vec::new();
    for (len, ..) in layout() {
        buffers.push(test.put(Storage::F32, &vec![f32::NAN; len]).0);
    }
    let turn = |it| Turn { grad: Some((it, Storage::F32)), lr: 0.1, decay: 0.0 };
    let turns: Vec<_> = buffers.iter().map(turn).collect();
    updates.step(&rule, &turns, Clip::Off, true).unwrap();
    let control = updates.control().unwrap();
    assert_eq!((control.is_non_finite, control.is_skipped, control.scale), (1, 0, 1.0));
    assert!(test.get(&updates.parameters()[0].master, Storage::F32)[0].is_nan());
}

#[test]
fn a_state_is_restored() {
    let mut test = Test::new();
    let rule = Rule::AdamW { betas: BETAS, eps: 1e-6 };
    let (mut updates, _) = begin(&mut test, &rule, None);
    updates.set_counts(&[5, 0, 1, 2, 3, 4, 6]).unwrap();
    assert_eq!(updates.counts().unwrap(), [5, 0, 1, 2, 3, 4, 6]);
    updates.set_state(2, 1, &[0.5; 13]).unwrap();
    assert_eq!(test.get(updates.state(2, 1).unwrap(), Storage::F32), [0.5; 13]);
    let control = Control { scale: 32.0, skipped_steps: 7, ..Control::default() };
    updates.set_control(&control).unwrap();
    assert_eq!(updates.control().unwrap(), control);
    assert!(updates.set_state(2, 2, &[0.5; 13]).is_err());
    assert!(updates.set_parameter(2, &[0.5; 12]).is_err());
    assert!(updates.set_counts(&[1]).is_err());
    assert!(updates.step(&rule, &[], Clip::Off, false).is_err());
    let err = updates.step(&Rule::Lion { betas: BETAS }, &[], Clip::Off, false).unwrap_err();
    assert!(err.to_string().contains("1 states for 7 parameters with 2 states"), "{err}");
}

#[test]
fn averages_move_towards_the_weights() {
    let mut test = Test::new();
    let prologue = [13, 5000, 8];
    let (mut averages, mut weights, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for (idx, len) in prologue.into_iter().enumerate() {
        let (theirs, theirs_stored) = test.random(Storage::F32, len);
        let copy = (idx != 2).then(|| (Arc::new(test.alloc(Storage::Bf16, len)), Storage::Bf16));
        let master = Arc::new(test.alloc(Storage::F32, len));
        averages.push(Parameter { master, copy, len, rows: Rows::One, is_clipped: false });
        weights.push(Arc::new(theirs));
        all.push(theirs_stored);
    }
    let mut average = Average::new(test.device(), averages, weights.clone()).unwrap();
    // The first update copies: nothing has been written before.
    average.update(1.0).unwrap();
    for (it, want) in average.averages().iter().zip(&all) {
        assert_eq!(test.get(&it.master, Storage::F32), *want);
    }
    let mut moved = Vec::new();
    for len in prologue {
        moved.push(test.random(Storage::F32, len));
    }
    let others = moved.iter().zip(average.averages()).map(|(_, it)| it.master.clone()).collect();
    let fresh = moved.into_iter().zip(prologue).map(|((buffer, stored), len)| {
        let master = Arc::new(buffer);
        (Parameter { master, copy: None, len, rows: Rows::One, is_clipped: false }, stored)
    });
    let (parameters, stored): (Vec<_>, Vec<_>) = fresh.unzip();
    let mut second = Average::new(test.device(), parameters, others).unwrap();
    second.update(0.25).unwrap();
    for ((it, ours), theirs) in second.averages().iter().zip(stored).zip(&all) {
        let want: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a + 0.25 * (b - a)).collect();
        test.close(
            "average",
            &it.master,
            Storage::F32,
            &want,
            Bound { relative: 1e-6, absolute: 1e-6 },
        );
    }
    let err = Average::new(test.device(), vec![], weights).unwrap_err();
    assert!(err.to_string().contains("0 averages of 3"), "{err}");
}
