//! A step of each optimizer in f64, number by number, with the clipping before it.

use gpu::update::{Clip, Rows, Rule};

/// A parameter in f64.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) rows: Rows,
    /// Whether adaptive clipping applies.
    pub(crate) is_clipped: bool,
    pub(crate) p: Vec<f64>,
    pub(crate) state: Vec<Vec<f64>>,
    pub(crate) n_steps: i32,
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
pub(crate) fn step_all(
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
