//! Optimizers: from gradients to new parameters. One file an optimizer.

mod adam;
mod adamw;

use std::collections::BTreeMap;

use candle::{Result, Tensor, Var};
use models::Params;
use ops::Gradients;

use crate::schedule::Rates;

base::choice! {
    /// The `[optim]` section of a config.
    pub enum OptimConfig: dyn Optim {
        /// Adam (Kingma & Ba, 2014): steps scaled by each gradient's own size.
        "adam" => Adam(adam::Adam),
        /// Adam with weight decay apart from the gradient (Loshchilov & Hutter, 2017).
        "adamw" => AdamW(adamw::AdamW),
    }
}

/// An optimizer's config, which knows how to build it.
pub trait Optim {
    /// The learning rate that schedules are shares of.
    fn lr(&self) -> f64;

    /// The optimizer of a model's parameters, without history.
    fn build(&self, params: &Params) -> Box<dyn Optimizer>;

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String>;
}

/// Changes parameters by their gradients.
pub trait Optimizer {
    /// Takes one step. A parameter without a gradient stays as it is.
    fn step(&mut self, gradients: &Gradients, rates: Rates) -> Result<()>;

    /// Everything that the next step depends on, by name; copies.
    fn state(&self) -> Result<Vec<(String, Tensor)>>;

    /// Goes on from a [state](Optimizer::state).
    ///
    /// # Errors
    /// A state of other parameters; then nothing has changed.
    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()>;
}

/// What Adam and AdamW share: two moving averages for each parameter, and the count of steps.
struct Moments {
    entries: Vec<Entry>,
    n_steps: u64,
}

struct Entry {
    name: String,
    var: Var,
    /// The average of gradients.
    m: Vec<f32>,
    /// The average of their squares.
    v: Vec<f32>,
}

/// Numbers of one step.
#[derive(Clone, Copy, Debug)]
struct AdamStep {
    lr: f64,
    betas: [f64; 2],
    eps: f64,
    /// Added to the gradient, times the parameter.
    l2: f64,
    /// Taken from the parameter, times lr and the parameter.
    decay: f64,
}

impl Moments {
    fn of(params: &Params) -> Moments {
        let entry = |(name, param): (&str, &models::Param)| {
            let n = param.var.elem_count();
            Entry {
                name: name.to_owned(),
                var: param.var.clone(),
                m: vec![0.0; n],
                v: vec![0.0; n],
            }
        };
        Moments { entries: params.trained().map(entry).collect(), n_steps: 0 }
    }

    /// With gradient g: m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g²,
    /// p ← p - lr · (m / (1-β₁ᵗ)) / (√(v / (1-β₂ᵗ)) + ε).
    fn step(&mut self, gradients: &Gradients, step: AdamStep) -> Result<()> {
        self.n_steps += 1;
        let t = i32::try_from(self.n_steps).unwrap_or(i32::MAX);
        let [beta1, beta2] = step.betas;
        let (correction1, correction2) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
        let size = (step.lr / correction1) as f32;
        let root = correction2.sqrt() as f32;
        let (l2, kept, eps) =
            (step.l2 as f32, (1.0 - step.lr * step.decay) as f32, step.eps as f32);
        let (keep1, take1) = (beta1 as f32, (1.0 - beta1) as f32);
        let (keep2, take2) = (beta2 as f32, (1.0 - beta2) as f32);
        for entry in &mut self.entries {
            let Some(grad) = gradients.get(&entry.var) else { continue };
            let state = [entry.m.as_mut_slice(), entry.v.as_mut_slice()];
            ops::update(&entry.var, grad, state, |params, grads, [m, v]| {
                for (((p, &g), m), v) in params.iter_mut().zip(grads).zip(m).zip(v) {
                    let g = g + l2 * *p;
                    *m = keep1 * *m + take1 * g;
                    *v = keep2 * *v + take2 * g * g;
                    *p = kept * *p - size * *m / (v.sqrt() / root + eps);
                }
            })?;
        }
        Ok(())
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let device = candle::Device::Cpu;
        let count = Tensor::from_slice(&[self.n_steps as i64], 1, &device)?;
        let mut state = vec![("n_steps".to_owned(), count)];
        for Entry { name, var, m, v } in &self.entries {
            for (what, values) in [("m", m), ("v", v)] {
                let tensor = Tensor::from_slice(values, var.shape(), &device)?;
                state.push((format!("{name}.{what}"), tensor));
            }
        }
        Ok(state)
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let get = |name: &str| {
            let missing = || candle::Error::Msg(format!("the optimizer's state lacks `{name}`"));
            state.get(name).ok_or_else(missing)
        };
        let numbers = |name: &str, n: usize| -> Result<Vec<f32>> {
            let values = get(name)?.flatten_all()?.to_vec1::<f32>()?;
            match values.len() == n {
                true => Ok(values),
                false => Err(candle::Error::Msg(format!("`{name}` has another size"))),
            }
        };
        let n_steps = get("n_steps")?.to_vec1::<i64>()?.first().copied().unwrap_or(0);
        let mut loaded = Vec::new();
        for Entry { name, m, .. } in &self.entries {
            let read = |what: &str| numbers(&format!("{name}.{what}"), m.len());
            loaded.push((read("m")?, read("v")?));
        }
        self.n_steps = u64::try_from(n_steps).unwrap_or(0);
        for (entry, (m, v)) in self.entries.iter_mut().zip(loaded) {
            (entry.m, entry.v) = (m, v);
        }
        Ok(())
    }
}

/// What is wrong with settings that every optimizer has, if anything is.
fn common_problem(lr: f64, betas: [f64; 2], eps: f64, weight_decay: f64) -> Option<String> {
    if !(lr > 0.0 && lr.is_finite()) {
        return Some(format!("`lr` is a number above 0, not {lr}"));
    }
    if betas.iter().any(|it| !(0.0..1.0).contains(it)) {
        return Some(format!("`betas` are two numbers from 0 to below 1, not {betas:?}"));
    }
    if !(eps >= 0.0 && eps.is_finite()) {
        return Some(format!("`eps` is 0 or more, not {eps}"));
    }
    if !(weight_decay >= 0.0 && weight_decay.is_finite()) {
        return Some(format!("`weight_decay` is 0 or more, not {weight_decay}"));
    }
    None
}
