//! Products and convolutions with prologues by plain loops in f64, and the comparison of all three passes with them.
//!
//! A result may be as far off as its terms allow: a number that was read through a prologue was rounded to the storage
//! before it was multiplied, a sum of K products in f32 errs by at most K·2⁻²⁴ of their absolute sum, and the result was
//! rounded once more.

use gpu::{
    Buffer, Result, Storage,
    conv::{Before, Epilogue},
    parts::PartsKind,
};

use crate::{
    check::Check,
    layer::Layer,
    prologue::{PlainPrologue, Read, act, act_slope},
};

/// A sum of products, the error of its terms, and their absolute sum.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    error: f64,
    absolute: f64,
    count: f64,
}

impl Sum {
    fn add(&mut self, a: (f64, f64), b: (f64, f64)) {
        self.value += a.0 * b.0;
        self.error += a.1 * b.0.abs() + (a.0.abs() + a.1) * b.1;
        self.absolute += (a.0 * b.0).abs();
        self.count += 1.0;
    }

    fn bound(&self) -> f64 {
        self.error + (self.count + 2.0) * 2f64.powi(-24) * self.absolute
    }
}

impl Layer {
    /// Runs all passes, twice each, and compares them with plain loops.
    pub(crate) fn run(&self, check: &mut Check) -> Result<()> {
        let [oh, ow] = self.window.out()?;
        let (extent_x, extent_y) = (self.of_x(), self.of_y([oh, ow]));
        let (n_x, n_y, n_w) = (extent_x.n(), extent_y.n(), self.n_weights());
        let (x, x_stored) = check.random(self.storage, n_x)?;
        let (g, g_stored) = check.random(self.storage, n_y)?;
        let (w, w_stored) = check.random(self.storage, n_w)?;
        let of_x = PlainPrologue::of(check, extent_x, self.x, self.activation, false)?;
        let of_g = PlainPrologue::of(check, extent_y, self.g, self.activation, true)?;
        let unit = self.storage.unit();
        // Numbers as they are multiplied, and how far off they may be.
        let noisy = |values: Vec<f64>, is_plain: bool| -> Vec<(f64, f64)> {
            let error =
                |it: f64| if is_plain { 0.0 } else { unit * it.abs() + 5e-6 * (1.0 + it.abs()) };
            values.into_iter().map(|it| (it, error(it))).collect()
        };
        let xs = noisy(of_x.read(extent_x, &x_stored), of_x.is_plain());
        let gs = noisy(of_g.read_gradient(extent_y, &g_stored), of_g.is_plain());
        let (mut ys, mut dxs, mut dws) =
            (vec![Sum::default(); n_y], vec![Sum::default(); n_x], vec![Sum::default(); n_w]);
        self.each([oh, ow], |y, x, w| {
            ys[y].add(xs[x], (w_stored[w], 0.0));
            dxs[x].add(gs[y], (w_stored[w], 0.0));
            dws[w].add(gs[y], xs[x]);
        });
        self.forward(check, (&x, &of_x), (&w, &ys))?;
        self.input(check, (&g, &of_g), &w, (&x, &x_stored, &of_x), &dxs)?;
        // Of f32 the result, of sums over many rows.
        let weight =
            |dw: &mut Buffer| self.weight_pass(check, (&g, of_g.grad()), (&x, of_x.prologue()), dw);
        let mut dw = check.alloc(Storage::F32, n_w)?;
        weight(&mut dw)?;
        let want: Vec<f64> = dws.iter().map(|it| it.value).collect();
        let bounds: Vec<f64> = dws.iter().map(|it| it.bound() + 1e-6).collect();
        check.within(&format!("dW of {self:?}"), &check.list(&dw)?, &want, &bounds);
        let mut again = check.alloc(Storage::F32, n_w)?;
        weight(&mut again)?;
        check.same(&format!("dW of {self:?}"), &dw, &again)
    }

    fn forward(
        &self,
        check: &mut Check,
        (x, of_x): (&Buffer, &PlainPrologue),
        (w, sums): (&Buffer, &[Sum]),
    ) -> Result<()> {
        let (c, unit) = (self.n_out, self.storage.unit());
        let extras = self.has_extras.then(|| {
            let scale = check.uniform(Storage::F32, c, 0.5, 1.5)?;
            let shift = check.uniform(Storage::F32, c, -1.0, 1.0)?;
            Ok((scale, shift, check.random(self.storage, sums.len())?))
        });
        let extras = extras.transpose()?;
        let then = match &extras {
            Some((scale, shift, plus)) => Epilogue {
                scale: Some(&scale.0),
                shift: Some(&shift.0),
                plus: Some(&plus.0),
                activation: self.activation,
            },
            None => Epilogue::default(),
        };
        let run = |y: &mut Buffer| {
            self.forward_pass(check, (x, of_x.prologue()), w, then, !self.is_few, y)
        };
        let mut y = check.alloc(self.storage, sums.len())?;
        let parts = run(&mut y)?;
        let (mut want, mut bounds) = (Vec::new(), Vec::new());
        for (idx, sum) in sums.iter().enumerate() {
            let (mut value, mut bound) = (sum.value, sum.bound());
            if let Some((scale, shift, plus)) = &extras {
                let scale = scale.1[idx % c];
                value = act(self.activation, scale * value + shift.1[idx % c] + plus.1[idx]);
                // No activation is steeper than 1.13; the fast exponential errs by 2⁻²¹.
                bound = 1.2 * bound * scale + 5e-6 * (1.0 + sum.absolute.abs() * 2f64.powi(-3));
            }
            want.push(value);
            bounds.push(bound + unit * (value.abs() + bound) + 1e-7);
        }
        let got = check.get(&y, self.storage)?;
        check.within(&format!("Y of {self:?}"), &got, &want, &bounds);
        let mut again = check.alloc(self.storage, sums.len())?;
        let second = run(&mut again)?;
        check.same(&format!("Y of {self:?}"), &y, &again)?;
        let what = format!("moments of {self:?}");
        check.holds(&what, parts.is_none() == self.is_few, || "there are none, or some".into());
        let Some((parts, second)) = parts.zip(second) else { return Ok(()) };
        check.moments(&what, &parts, &got, self.has_extras)?;
        check.same(&what, &parts.buffer, &second.buffer)
    }

    fn input(
        &self,
        check: &mut Check,
        (g, of_g): (&Buffer, &PlainPrologue),
        w: &Buffer,
        (x, z, of_x): (&Buffer, &[f64], &PlainPrologue),
        sums: &[Sum],
    ) -> Result<()> {
        let (c, unit) = (self.n_in, self.storage.unit());
        let plus = self.has_extras.then(|| check.random(self.storage, sums.len())).transpose()?;
        let before =
            Before { plus: plus.as_ref().map(|it| &it.0), needs_sums: self.x != Read::Plain };
        let read = (self.x != Read::Plain).then(|| (x, of_x.prologue()));
        let run = |dx: &mut Buffer| self.input_pass(check, (g, of_g.grad()), w, read, before, dx);
        let mut dx = check.alloc(self.storage, sums.len())?;
        let parts = run(&mut dx)?;
        let is_gated = of_x.gate.is_some();
        let (mut want, mut bounds) = (Vec::new(), Vec::new());
        for (idx, sum) in sums.iter().enumerate() {
            let (mut value, mut bound) = (sum.value, sum.bound());
            if let Some((_, plus)) = &plus {
                value += plus[idx];
                bound += 2f64.powi(-23) * (value.abs() + plus[idx].abs());
            }
            if !is_gated && self.x != Read::Plain {
                let slope = act_slope(of_x.activation, of_x.line(idx % c, z[idx]));
                bound = bound * slope.abs() + 5e-6 * value.abs();
                value *= slope;
            }
            want.push(value);
            bounds.push(bound + unit * (value.abs() + bound) + 1e-7);
        }
        let got = check.get(&dx, self.storage)?;
        check.within(&format!("dX of {self:?}"), &got, &want, &bounds);
        let mut again = check.alloc(self.storage, sums.len())?;
        let second = run(&mut again)?;
        check.same(&format!("dX of {self:?}"), &dx, &again)?;
        let what = format!("sums of {self:?}");
        let is_there = parts.is_some() == before.needs_sums;
        check.holds(&what, is_there, || "there are none, or some".into());
        let Some((parts, second)) = parts.zip(second) else { return Ok(()) };
        check.same(&what, &parts.buffer, &second.buffer)?;
        let area = self.window.size[0] * self.window.size[1];
        let terms = |idx: usize| {
            let (u, apart) = (of_x.line(idx % c, z[idx]), of_x.apart(idx % c, z[idx]));
            let (y, slope, d) = (act(of_x.activation, u), act_slope(of_x.activation, u), got[idx]);
            match is_gated {
                true => vec![d * y, d * slope, d * slope * apart, slope, slope * apart],
                false => vec![d, d * apart],
            }
        };
        let (kinds, images, kind) = match is_gated {
            true => (5, self.images, PartsKind::Gate { images: self.images }),
            false => (2, 1, PartsKind::Norm),
        };
        let is_right = (parts.kind, parts.c) == (kind, c);
        if !check.holds(&what, is_right, || format!("{:?} of {} channels", parts.kind, parts.c)) {
            return Ok(());
        }
        let found = check.list(&parts.buffer)?;
        let (mut want, mut error) = (vec![0.0; images * kinds * c], vec![1e-6; images * kinds * c]);
        for (idx, d) in got.iter().enumerate() {
            let image = if is_gated { idx / c / area } else { 0 };
            for (kind, term) in terms(idx).into_iter().enumerate() {
                let to = (image * kinds + kind) * c + idx % c;
                want[to] += term;
                error[to] += 1e-5 * term.abs() + 2e-6 * (1.0 + d.abs());
            }
        }
        let per_image = parts.n / images;
        let mut total = vec![0.0; images * kinds * c];
        for (idx, it) in found.iter().enumerate() {
            let (image, rest) = (idx / (per_image * kinds * c), idx % (kinds * c));
            total[image * kinds * c + rest] += it;
        }
        check.within(&what, &total, &want, &error);
        Ok(())
    }
}
