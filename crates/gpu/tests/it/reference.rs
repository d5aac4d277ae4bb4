//! Products and convolutions with prologues by plain loops in f64, and the comparison of all three passes with them.
//!
//! A result may be as far off as its terms allow: a number that was read through a prologue was rounded to the storage
//! before it was multiplied, a sum of K products in f32 errs by at most K·2⁻²⁴ of their absolute sum, and the result was
//! rounded once more.

use emulator::counts::Counts;
use gpu::{
    Buffer, Result, Storage,
    conv::{Before, Conv, Epilogue, Tile, Window},
    parts::PartsKind,
    product::Linear,
    prologue::Activation,
};

use crate::{
    bounds::{check_moments, within},
    harness::Test,
    prologue::{Of, PlainPrologue, Read, act, act_slope},
};

/// A product, or a convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) storage: Storage,
    pub(crate) images: usize,
    pub(crate) n_in: usize,
    pub(crate) n_out: usize,
    pub(crate) groups: usize,
    pub(crate) window: Window,
    /// Whether it is a product of rows, of a window of 1x1.
    pub(crate) is_product: bool,
    pub(crate) tile: Option<Tile>,
    /// Whether the kernels of few rows are used, which compute no moments.
    pub(crate) is_few: bool,
    pub(crate) x: Read,
    pub(crate) g: Read,
    pub(crate) activation: Activation,
    /// Whether a residual is added in both directions, with a bias (or a scale and a shift) in the forward pass.
    pub(crate) has_extras: bool,
}

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

impl Case {
    /// A product of rows.
    pub(crate) fn product(storage: Storage, [images, area, n_in, n_out]: [usize; 4]) -> Case {
        let window =
            Window { size: [1, area], kernel: [1, 1], stride: 1, before: [0; 2], after: [0; 2] };
        Case { is_product: true, ..Case::conv(storage, [images, n_in, n_out, 1], window) }
    }

    pub(crate) fn conv(
        storage: Storage,
        [images, n_in, n_out, groups]: [usize; 4],
        window: Window,
    ) -> Case {
        Case {
            storage,
            images,
            n_in,
            n_out,
            groups,
            window,
            is_product: false,
            tile: Some(Tile::Small),
            is_few: false,
            x: Read::Plain,
            g: Read::Plain,
            activation: Activation::None,
            has_extras: false,
        }
    }

    fn linear(&self) -> Linear {
        let &Case { storage, images, n_in, n_out, window, .. } = self;
        let tile = if self.is_few { None } else { self.tile };
        Linear { storage, images, area: window.size[0] * window.size[1], n_in, n_out, tile }
    }

    fn convolution(&self) -> Conv {
        let &Case { storage, images, n_in, n_out, groups, window, tile, .. } = self;
        Conv { storage, images, n_in, n_out, groups, window, tile }
    }

    /// The extent of x.
    fn of_x(&self) -> Of {
        let &Case { storage, images, n_in, window, .. } = self;
        Of { storage, images, area: window.size[0] * window.size[1], c: n_in }
    }

    /// The extent of y, of height and width `out`.
    fn of_y(&self, out: [usize; 2]) -> Of {
        let &Case { storage, images, n_out, .. } = self;
        Of { storage, images, area: out[0] * out[1], c: n_out }
    }

    /// All products: which element of Y, of X, of W.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let ([h, w], [kh, kw], [oh, ow]) =
            (self.window.size, self.window.kernel, self.window.out().expect("the window fits"));
        let (group_in, group_out) = (self.n_in / self.groups, self.n_out / self.groups);
        for position in 0..self.images * oh * ow {
            let (image, y, x) = (position / (oh * ow), position / ow % oh, position % ow);
            for tap in 0..kh * kw {
                let row = (y * self.window.stride + tap / kw).checked_sub(self.window.before[0]);
                let col = (x * self.window.stride + tap % kw).checked_sub(self.window.before[1]);
                let (Some(row), Some(col)) = (row, col) else { continue };
                if row >= h || col >= w {
                    continue;
                }
                for out in 0..self.n_out {
                    for within in 0..group_in {
                        let channel = out / group_out * group_in + within;
                        f(
                            position * self.n_out + out,
                            ((image * h + row) * w + col) * self.n_in + channel,
                            (out * kh * kw + tap) * group_in + within,
                        );
                    }
                }
            }
        }
    }

    /// Runs each pass of a product once: its name, and what the emulator counted.
    pub(crate) fn costs(&self, test: &mut Test) -> Vec<(&'static str, Counts)> {
        let of = self.linear();
        let rows = self.images * of.area;
        let (n_x, n_y, n_w) = (rows * self.n_in, rows * self.n_out, self.n_in * self.n_out);
        let (x, _) = test.random(self.storage, n_x);
        let (g, _) = test.random(self.storage, n_y);
        let (w, _) = test.random(self.storage, n_w);
        let of_x = PlainPrologue::of(test, self.of_x(), self.x, self.activation, false);
        let of_g = PlainPrologue::of(test, self.of_y([1, of.area]), self.g, self.activation, true);
        let (mut y, mut dx) = (test.alloc(self.storage, n_y), test.alloc(self.storage, n_x));
        let mut dw = test.alloc(Storage::F32, n_w);
        let mut all = Vec::new();
        let mut counted = |name| {
            if let Some(claim) = test.claim() {
                let mut total = Counts::default();
                let counts = claim.counts().into_iter().filter(|(it, _)| it.contains("product_"));
                counts.for_each(|(_, it)| total += &it);
                all.push((name, total));
                claim.clear();
            }
        };
        counted("nothing");
        let (x, grad) = ((&x, of_x.prologue()), (&g, of_g.grad()));
        let device = test.device();
        of.forward(device, x, &w, Epilogue::default(), true, &mut y).expect("a launch");
        counted("forward");
        let before = Before { plus: None, needs_sums: true };
        of.input_gradient(device, grad, &w, Some(x), before, &mut dx).expect("a launch");
        counted("input");
        of.weight_gradient(device, grad, x, &mut dw).expect("a launch");
        counted("weight");
        all.into_iter().skip(1).collect()
    }

    /// Runs all passes, twice each, and compares them with plain loops.
    #[track_caller]
    pub(crate) fn check(&self, test: &mut Test) {
        self.run(test).unwrap_or_else(|err| panic!("{self:?}: {err}"));
    }

    fn run(&self, test: &mut Test) -> Result<()> {
        let [oh, ow] = self.window.out()?;
        let (area_in, area_out) = (self.window.size[0] * self.window.size[1], oh * ow);
        let (rows_in, rows_out) = (self.images * area_in, self.images * area_out);
        let (n_x, n_y) = (rows_in * self.n_in, rows_out * self.n_out);
        let n_w =
            self.n_out * self.window.kernel[0] * self.window.kernel[1] * self.n_in / self.groups;
        let (x, x_stored) = test.random(self.storage, n_x);
        let (g, g_stored) = test.random(self.storage, n_y);
        let (w, w_stored) = test.random(self.storage, n_w);
        let (extent_x, extent_y) = (self.of_x(), self.of_y([oh, ow]));
        let of_x = PlainPrologue::of(test, extent_x, self.x, self.activation, false);
        let of_g = PlainPrologue::of(test, extent_y, self.g, self.activation, true);
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
        self.each(|y, x, w| {
            ys[y].add(xs[x], (w_stored[w], 0.0));
            dxs[x].add(gs[y], (w_stored[w], 0.0));
            dws[w].add(gs[y], xs[x]);
        });
        self.forward(test, (&x, &of_x), (&w, &ys))?;
        self.input(test, (&g, &of_g), &w, (&x, &x_stored, &of_x), &dxs)?;
        // Of f32 the result, of sums over many rows.
        let weight = |dw: &mut Buffer| match self.is_product {
            true => self.linear().weight_gradient(
                test.device(),
                (&g, of_g.grad()),
                (&x, of_x.prologue()),
                dw,
            ),
            false => self.convolution().weight_gradient(
                test.device(),
                (&g, of_g.grad()),
                (&x, of_x.prologue()),
                dw,
            ),
        };
        let mut dw = test.alloc(Storage::F32, n_w);
        weight(&mut dw)?;
        let want: Vec<f64> = dws.iter().map(|it| it.value).collect();
        let bounds: Vec<f64> = dws.iter().map(|it| it.bound() + 1e-6).collect();
        within(&format!("dW of {self:?}"), &test.get(&dw, Storage::F32), &want, &bounds);
        let mut again = test.alloc(Storage::F32, n_w);
        weight(&mut again)?;
        assert!(
            test.bytes(&dw) == test.bytes(&again),
            "dW of {self:?} has other bits the second time"
        );
        Ok(())
    }

    fn forward(
        &self,
        test: &mut Test,
        (x, of_x): (&Buffer, &PlainPrologue),
        (w, sums): (&Buffer, &[Sum]),
    ) -> Result<()> {
        let (c, unit) = (self.n_out, self.storage.unit());
        let extras = self.has_extras.then(|| {
            let (scale, shift) = (test.numbers(c, 0.5, 1.5), test.numbers(c, -1.0, 1.0));
            let plus = test.random(self.storage, sums.len());
            (test.put(Storage::F32, &scale), test.put(Storage::F32, &shift), plus)
        });
        let then = match &extras {
            Some((scale, shift, plus)) => Epilogue {
                scale: Some(&scale.0),
                shift: Some(&shift.0),
                plus: Some(&plus.0),
                activation: self.activation,
            },
            None => Epilogue::default(),
        };
        let run = |y: &mut Buffer| match self.is_product {
            true => {
                self.linear().forward(test.device(), (x, of_x.prologue()), w, then, !self.is_few, y)
            }
            false => {
                self.convolution().forward(test.device(), (x, of_x.prologue()), w, then, true, y)
            }
        };
        let mut y = test.alloc(self.storage, sums.len());
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
        let got = test.get(&y, self.storage);
        within(&format!("Y of {self:?}"), &got, &want, &bounds);
        let mut again = test.alloc(self.storage, sums.len());
        let second = run(&mut again)?;
        assert!(
            test.bytes(&y) == test.bytes(&again),
            "Y of {self:?} has other bits the second time"
        );
        assert_eq!(parts.is_none(), self.is_few, "moments");
        let Some((parts, second)) = parts.zip(second) else { return Ok(()) };
        check_moments(
            &format!("{self:?}"),
            &test.get(&parts.buffer, Storage::F32),
            &parts,
            &got,
            self.has_extras,
        );
        assert!(
            test.bytes(&parts.buffer) == test.bytes(&second.buffer),
            "moments of {self:?} have other bits"
        );
        Ok(())
    }

    fn input(
        &self,
        test: &mut Test,
        (g, of_g): (&Buffer, &PlainPrologue),
        w: &Buffer,
        (x, z, of_x): (&Buffer, &[f64], &PlainPrologue),
        sums: &[Sum],
    ) -> Result<()> {
        let (c, unit) = (self.n_in, self.storage.unit());
        let plus = self.has_extras.then(|| test.random(self.storage, sums.len()));
        let before =
            Before { plus: plus.as_ref().map(|it| &it.0), needs_sums: self.x != Read::Plain };
        let read = (self.x != Read::Plain).then(|| (x, of_x.prologue()));
        let run = |dx: &mut Buffer| match self.is_product {
            true => {
                self.linear().input_gradient(test.device(), (g, of_g.grad()), w, read, before, dx)
            }
            false => self.convolution().input_gradient(
                test.device(),
                (g, of_g.grad()),
                w,
                read,
                before,
                dx,
            ),
        };
        let mut dx = test.alloc(self.storage, sums.len());
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
        let got = test.get(&dx, self.storage);
        within(&format!("dX of {self:?}"), &got, &want, &bounds);
        let mut again = test.alloc(self.storage, sums.len());
        let second = run(&mut again)?;
        assert!(
            test.bytes(&dx) == test.bytes(&again),
            "dX of {self:?} has other bits the second time"
        );
        let Some(parts) = parts else {
            assert!(self.x == Read::Plain, "no sums");
            return Ok(());
        };
        let second = second.expect("the same sums");
        assert!(
            test.bytes(&parts.buffer) == test.bytes(&second.buffer),
            "sums of {self:?} have other bits"
        );
        let found = test.get(&parts.buffer, Storage::F32);
        let area = self.window.size[0] * self.window.size[1];
        let terms = |idx: usize| {
            let (u, apart) = (of_x.line(idx % c, z[idx]), of_x.apart(idx % c, z[idx]));
            let (y, slope, d) = (act(of_x.activation, u), act_slope(of_x.activation, u), got[idx]);
            match is_gated {
                true => vec![d * y, d * slope, d * slope * apart, slope, slope * apart],
                false => vec![d, d * apart],
            }
        };
        let (kinds, images) = match parts.kind {
            PartsKind::Norm => (2, 1),
            PartsKind::Gate { images } => (5, images),
            PartsKind::Moments => panic!("moments of a gradient"),
        };
        assert_eq!((kinds == 5, parts.c), (is_gated, c));
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
        within(&format!("sums of {self:?}"), &total, &want, &error);
        Ok(())
    }
}
