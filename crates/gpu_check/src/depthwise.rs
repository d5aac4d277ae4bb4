//! Depthwise convolutions against plain loops in f64: every kernel and stride that has tiles, and the plain kernels.
//!
//! A result may be as far off as its terms allow: a sum of K products in f32 errs by at most (K + 2)·2⁻²⁴ of their
//! absolute sum, numbers that are read through a prologue by the fast exponential's 5e-6, and the result was rounded.

use gpu::{
    Buffer, Result, Storage,
    depthwise::{Depthwise, Gradients, backward, forward},
    parts::PartsKind,
    prologue::Activation,
};

use crate::{
    case::List,
    check::Check,
    prologue::{Of, PlainPrologue},
};

/// A sum of products with a bound of its error.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    absolute: f64,
    count: f64,
}

impl Sum {
    fn add(&mut self, a: f64, b: f64) {
        self.value += a * b;
        self.absolute += a.abs() * b.abs() + 1e-1 * b.abs().min(1.0);
        self.count += 1.0;
    }

    fn bound(&self) -> f64 {
        ((self.count + 2.0) * 2f64.powi(-24) + 1e-5) * self.absolute + 1e-7
    }
}

/// What the convolution is of.
#[derive(Debug, Clone, Copy)]
struct Layer {
    of: Depthwise,
    activation: Activation,
    reads_through: bool,
    has_gate: bool,
}

/// `SAME` padding: TensorFlow's, with an odd zero at the right and the bottom.
fn same(
    storage: Storage,
    images: usize,
    size: [usize; 2],
    k: usize,
    stride: usize,
    c: usize,
) -> Depthwise {
    let out = size.map(|it| it.div_ceil(stride));
    let axis = |axis: usize| ((out[axis] - 1) * stride + k).saturating_sub(size[axis]) / 2;
    Depthwise { storage, images, size, out, kernel: [k, k], stride, before: [axis(0), axis(1)], c }
}

/// PyTorch's padding: (k - 1) / 2 on both sides.
fn symmetric(
    storage: Storage,
    images: usize,
    size: [usize; 2],
    k: usize,
    stride: usize,
    c: usize,
) -> Depthwise {
    let out = size.map(|it| (it + (k - 1) / 2 * 2 - k) / stride + 1);
    let before = [(k - 1) / 2; 2];
    Depthwise { storage, images, size, out, kernel: [k, k], stride, before, c }
}

impl Layer {
    /// All products: which number of y, of x, and which tap.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let Depthwise {
            images,
            size: [h, w],
            out: [oh, ow],
            kernel: [kh, kw],
            stride,
            before,
            c,
            ..
        } = self.of;
        for position in 0..images * oh * ow {
            let (image, y, x) = (position / (oh * ow), position / ow % oh, position % ow);
            for tap in 0..kh * kw {
                let row = (y * stride + tap / kw).checked_sub(before[0]);
                let col = (x * stride + tap % kw).checked_sub(before[1]);
                let (Some(row), Some(col)) = (row, col) else { continue };
                if row >= h || col >= w {
                    continue;
                }
                for channel in 0..c {
                    f(
                        position * c + channel,
                        ((image * h + row) * w + col) * c + channel,
                        tap * c + channel,
                    );
                }
            }
        }
    }

    /// What distinguishes it from others.
    fn name(&self) -> String {
        let Depthwise { images, size: [h, w], kernel: [kh, kw], stride, c, .. } = self.of;
        let mut name = format!("{images}x{h}x{w}x{c}, {kh}x{kw}/{stride}");
        if self.reads_through {
            name += &format!(", {:?}", self.activation);
        }
        if self.has_gate {
            name += ", gate";
        }
        name
    }

    fn check(&self, check: &mut Check) -> Result<()> {
        let of = self.of;
        let Depthwise { storage, images, c, .. } = of;
        let x_of = Of { storage, images, area: of.size[0] * of.size[1], c };
        let y_of = Of { area: of.out[0] * of.out[1], ..x_of };
        let n_taps = of.kernel[0] * of.kernel[1] * c;
        let (x, z) = check.random(storage, x_of.n())?;
        let (g, stored_g) = check.random(storage, y_of.n())?;
        let (weight, taps) = check.random(storage, n_taps)?;
        let (bias, biases) = check.uniform(Storage::F32, c, -1.0, 1.0)?;
        let (mut by_x, mut by_g) = (PlainPrologue::default(), PlainPrologue::default());
        if self.reads_through {
            by_x = PlainPrologue::norm(check, x_of, self.activation)?;
            by_g = PlainPrologue::of_gradient(check, y_of, self.activation)?
                .with_images(check, y_of)?;
        }
        if self.has_gate {
            by_x = by_x.gated(check, x_of)?;
        }
        let (xs, gs) = (by_x.read(x_of, &z), by_g.read_gradient(y_of, &stored_g));
        let mut ys = vec![Sum::default(); y_of.n()];
        let (mut dxs, mut dws) = (vec![Sum::default(); x_of.n()], vec![Sum::default(); n_taps]);
        self.each(|y, x, tap| {
            ys[y].add(xs[x], taps[tap]);
            dxs[x].add(gs[y], taps[tap]);
            dws[tap].add(gs[y], xs[x]);
        });
        let unit = storage.unit();

        // Forward, twice.
        let run = |y: &mut Buffer| {
            let bias = self.reads_through.then_some(&bias);
            forward(check.device(), &of, (&x, &by_x.prologue()), &weight, bias, y, true)
        };
        let (mut y, mut again) = (check.alloc(storage, y_of.n())?, check.alloc(storage, y_of.n())?);
        let (parts, second) = (run(&mut y)?, run(&mut again)?);
        let bias = |idx: usize| if self.reads_through { biases[idx % c] } else { 0.0 };
        let want: Vec<f64> = ys.iter().enumerate().map(|(idx, it)| it.value + bias(idx)).collect();
        let bound = |it: &Sum, want: f64| it.bound() + unit * (want.abs() + it.bound());
        let bounds: Vec<f64> = ys.iter().zip(&want).map(|(it, want)| bound(it, *want)).collect();
        let got = check.get(&y, storage)?;
        check.within(&format!("y of {self:?}"), &got, &want, &bounds);
        check.same(&format!("y of {self:?}"), &y, &again)?;
        let what = format!("moments of {self:?}");
        check.holds(&what, parts.is_some(), || "there are none".into());
        if let Some((parts, second)) = parts.zip(second) {
            check.moments(&what, &parts, &got, false)?;
            check.same(&what, &parts.buffer, &second.buffer)?;
        }

        // Backward, twice, and each gradient alone.
        let needs_sums = self.reads_through && !self.has_gate;
        let run = |dx: Option<&mut Buffer>, dw: Option<&mut Buffer>| {
            let needs_sums = needs_sums && dx.is_some();
            let into = Gradients { x: dx, weight: dw };
            let (x, g) = ((&x, &by_x.prologue()), (&g, &by_g.grad()));
            backward(check.device(), &of, x, g, &weight, into, needs_sums)
        };
        let dx_buffer = || check.alloc(storage, x_of.n());
        let dw_buffer = || check.alloc(Storage::F32, n_taps);
        let (mut dx, mut dw, mut dx_alone, mut dw_alone) =
            (dx_buffer()?, dw_buffer()?, dx_buffer()?, dw_buffer()?);
        let sums = run(Some(&mut dx), Some(&mut dw))?;
        let sums_alone = run(Some(&mut dx_alone), None)?;
        let none = run(None, Some(&mut dw_alone))?;
        check.holds("the weight's gradient alone", none.is_none(), || "it has sums".into());
        check.same(&format!("dx alone of {self:?}"), &dx, &dx_alone)?;
        check.same(&format!("dw alone of {self:?}"), &dw, &dw_alone)?;

        let want: Vec<f64> = dws.iter().map(|it| it.value).collect();
        let bounds: Vec<f64> = dws.iter().map(Sum::bound).collect();
        check.within(&format!("dw of {self:?}"), &check.list(&dw)?, &want, &bounds);

        let slope = |idx: usize| match self.reads_through && !self.has_gate {
            true => by_x.both(idx % c, z[idx]).1,
            false => 1.0,
        };
        let want: Vec<f64> =
            dxs.iter().enumerate().map(|(idx, it)| it.value * slope(idx)).collect();
        let bounds: Vec<f64> =
            dxs.iter().zip(&want).map(|(it, want)| 1.2 * bound(it, *want)).collect();
        let got = check.get(&dx, storage)?;
        check.within(&format!("dx of {self:?}"), &got, &want, &bounds);

        let what = format!("sums of {self:?}");
        check.holds(&what, sums.is_some() == needs_sums, || "there are none, or some".into());
        let Some((sums, alone)) = sums.zip(sums_alone) else { return Ok(()) };
        let is_right = (sums.kind, sums.c) == (PartsKind::Norm, c);
        if !check.holds(&what, is_right, || format!("{:?} of {} channels", sums.kind, sums.c)) {
            return Ok(());
        }
        check.same(&what, &sums.buffer, &alone.buffer)?;
        let (mut want, mut bounds, mut total) =
            (vec![0.0; 2 * c], vec![1e-6; 2 * c], vec![0.0; 2 * c]);
        for (idx, d) in got.iter().enumerate() {
            for (kind, term) in [*d, d * by_x.apart(idx % c, z[idx])].into_iter().enumerate() {
                want[kind * c + idx % c] += term;
                bounds[kind * c + idx % c] += 1e-6 * term.abs();
            }
        }
        let found = check.list(&sums.buffer)?;
        found.iter().enumerate().for_each(|(idx, it)| total[idx % (2 * c)] += it);
        check.within(&what, &total, &want, &bounds);
        Ok(())
    }
}

/// Kernels with tiles.
pub(crate) fn tiled(list: &mut List) {
    let (activation, reads_through) = (Activation::Silu, true);
    for storage in Storage::ALL {
        for k in [3, 5, 7] {
            for stride in [1, 2] {
                // 40 channels: a whole block of 32, and one of 8.
                let of = same(storage, 2, [9, 10], k, stride, 40);
                add(list, Layer { of, activation, reads_through, has_gate: false });
            }
        }
    }
    for (k, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (7, 2)] {
        for size in [[1, 1], [2, 5], [7, 7], [8, 17], [19, 15]] {
            plain(list, symmetric(Storage::Bf16, 1, size, k, stride, 8));
            plain(list, same(Storage::F32, 3, size, k, stride, 16));
            if list.is_whole {
                plain(list, symmetric(Storage::F16, 2, size, k, stride, 24));
            }
        }
    }
    for stride in [1, 2] {
        let activation = Activation::Relu;
        let of = symmetric(Storage::F16, 1, [33, 45], 5, stride, 8);
        add(list, Layer { of, activation, reads_through, has_gate: false });
        // 40 groups of channels leave 25 blocks for the 27 tiles of each.
        let of = symmetric(Storage::Bf16, 27, [2, 3], 3, stride, 1280);
        add(list, Layer { of, activation, reads_through, has_gate: false });
    }
    for activation in Activation::ALL {
        for stride in [1, 2] {
            for has_gate in [true, false] {
                let of = same(Storage::F16, 3, [5, 6], 3, stride, 24);
                add(list, Layer { of, activation, reads_through, has_gate });
            }
        }
    }
}

/// The plain kernels.
pub(crate) fn untiled(list: &mut List) {
    for storage in Storage::ALL {
        // Three channels of the image, an even kernel, a long one, a stride of 3, no padding.
        let base = same(storage, 2, [6, 7], 3, 1, 3);
        let long = Depthwise { kernel: [1, 4], out: [6, 5], before: [0, 1], c: 37, ..base };
        let wide = Depthwise { stride: 3, out: [2, 2], before: [0, 0], c: 8, ..base };
        for of in [base, same(storage, 2, [5, 4], 2, 2, 11), long, wide] {
            for has_gate in [false, true] {
                let activation = Activation::Gelu;
                add(list, Layer { of, activation, reads_through: true, has_gate });
            }
            plain(list, of);
        }
    }
}

fn plain(list: &mut List, of: Depthwise) {
    let activation = Activation::None;
    add(list, Layer { of, activation, reads_through: false, has_gate: false });
}

fn add(list: &mut List, layer: Layer) {
    list.add(layer.of.storage, layer.name(), move |check| layer.check(check));
}
