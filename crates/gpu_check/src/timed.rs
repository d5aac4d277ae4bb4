//! Layers to time: those of EfficientNet B0, and of other networks where B0 has none of a family.
//!
//! A large tensor repeats a pattern of random numbers: zeros would need less power, and let the card run faster than it
//! does in training.

use std::sync::Arc;

use gpu::{
    Result, Shape, Storage,
    average::Average,
    cast,
    concat::concat,
    conv::Window,
    depthwise::{self, Depthwise, Gradients},
    dropout, elementwise,
    image::{Images, Sample, normalise},
    l2_normalise::l2_normalise,
    layer_norm::{layer_norm, layer_norm_backward},
    norm,
    pool::{Pooling, Windows, max_pool},
    prologue::{Activation, GradPrologue, Prologue},
    update::{Clip, Parameter, Rows, Rule, Turn, Updates},
};

use crate::{
    check::Check,
    layer::{Each, Layer},
    prologue::{Of, PlainPrologue, Read},
};

/// A layer to time.
pub struct TimedLayer {
    /// The family of its kernels.
    pub family: &'static str,
    /// Its sizes.
    pub name: String,
    passes: Box<Passes>,
}

type Passes = dyn Fn(&mut Check, Storage, Each<'_>) -> Result<()>;

impl TimedLayer {
    /// Hands each pass to `each` with its name, as something that can be run again and again.
    ///
    /// - `check`: made by [`Check::without_reference`].
    ///
    /// # Errors
    /// If the card has no room, or `each` fails.
    pub fn passes(&self, check: &mut Check, storage: Storage, each: Each<'_>) -> Result<()> {
        (self.passes)(check, storage, each)
    }
}

/// The layers of a batch.
///
/// - `n`: the number of images.
/// - `side`: the height and width of the images, a multiple of 32.
#[must_use]
pub fn timed_layers(n: usize, side: usize) -> Vec<TimedLayer> {
    let mut all = Vec::new();
    let mut add = |family, name: String, passes: Box<Passes>| {
        all.push(TimedLayer { family, name, passes });
    };
    let [half, quarter, eighth, part, least] = [2, 4, 8, 16, 32].map(|it| side / it);
    let reads = |it: Layer, x, g| Layer { x, g, activation: Activation::Silu, tile: None, ..it };

    for (size, n_in, n_out, x) in [
        (half, 32, 16, Read::Gate),
        (half, 16, 96, Read::Norm),
        (quarter, 144, 24, Read::Gate),
        (part, 112, 672, Read::Norm),
        (part, 672, 112, Read::Gate),
        (least, 320, 1280, Read::Norm),
    ] {
        let layer = Layer::product(Storage::F32, [n, size * size, n_in, n_out]);
        let name = format!("{size}x{size}, {n_in}->{n_out}");
        add("product", name, of_layer(reads(layer, x, Read::Norm)));
    }
    // Square and large: what the product kernel reaches where operations bind.
    let (n_rows, wide) = (32 * n, 16 * side);
    let layer = Layer { tile: None, ..Layer::product(Storage::F32, [1, n_rows, wide, wide]) };
    add("product", format!("{n_rows} rows, {wide}->{wide}"), of_layer(layer));
    for (n_in, n_out) in [(672, 28), (28, 672), (1280, 18)] {
        let layer = Layer::product(Storage::F32, [n, 1, n_in, n_out]);
        let layer = Layer { is_few: true, ..reads(layer, Read::Plain, Read::Plain) };
        add("few-rows", format!("{n_in}->{n_out}"), of_layer(layer));
    }
    for (family, size, stride, n_in, n_out, groups) in [
        ("conv", side, 2, 3, 32, 1),
        ("conv", quarter, 1, 64, 64, 1),
        ("grouped-conv", quarter, 1, 128, 128, 32),
    ] {
        let window =
            Window { size: [size; 2], kernel: [3; 2], stride, before: [1; 2], after: [1; 2] };
        let layer = Layer::conv(Storage::F32, [n, n_in, n_out, groups], window);
        let x = if n_in == 3 { Read::Plain } else { Read::Norm };
        let groups = if groups > 1 { format!(", {groups} groups") } else { String::new() };
        let name = format!("{size}x{size}, 3x3/{stride}, {n_in}->{n_out}{groups}");
        add(family, name, of_layer(reads(layer, x, Read::Norm)));
    }
    for (family, size, k, stride, c) in [
        ("depthwise", half, 3, 1, 32),
        ("depthwise", half, 3, 2, 96),
        ("depthwise", quarter, 5, 2, 144),
        ("depthwise", part, 5, 1, 672),
        ("depthwise", least, 3, 1, 1152),
        ("any-depthwise", quarter, 3, 1, 3),
    ] {
        let name = format!("{size}x{size}x{c}, {k}x{k}/{stride}");
        let of = move |storage| Depthwise {
            storage,
            images: n,
            size: [size; 2],
            out: [size.div_ceil(stride); 2],
            kernel: [k; 2],
            stride,
            before: [(k - 1) / 2; 2],
            c,
        };
        add(family, name, Box::new(move |check, storage, each| windows(check, of(storage), each)));
    }
    let of = move |storage, size: usize, c| Of { storage, images: n, area: size * size, c };
    add(
        "norm",
        format!("{half}x{half}x96"),
        Box::new(move |check, storage, each| norms(check, of(storage, half, 96), each)),
    );
    add(
        "layer-norm",
        format!("{quarter}x{quarter}x96"),
        Box::new(move |check, storage, each| rows(check, of(storage, quarter, 96).shape(), each)),
    );
    add(
        "l2-normalise",
        format!("{n}x512"),
        Box::new(move |check, storage, each| {
            let shape = Shape { storage, images: n, area: 1, c: 512 };
            let (x, mut y) =
                (check.random(storage, shape.len())?.0, check.alloc(storage, shape.len())?);
            each("forward", &mut || l2_normalise(check.device(), shape, &x, 30.0, &mut y))
        }),
    );
    add(
        "elementwise",
        format!("{eighth}x{eighth}x240"),
        Box::new(move |check, storage, each| elements(check, of(storage, eighth, 240), each)),
    );
    add(
        "pool",
        format!("max 3x3/2, {half}x{half}x64"),
        Box::new(move |check, storage, each| pools(check, storage, [n, half, 64], each)),
    );
    add(
        "concat",
        format!("{quarter}x{quarter}, 64 of 96"),
        Box::new(move |check, storage, each| {
            let (part, whole) = (of(storage, quarter, 64), of(storage, quarter, 96));
            let (x, mut y) = (check.random(storage, part.n())?.0, check.alloc(storage, whole.n())?);
            let shapes = (part.shape(), whole.shape());
            let plain = Prologue::default();
            each("forward", &mut || concat(check.device(), shapes, 32, &x, &plain, &mut y))
        }),
    );
    add(
        "dropout",
        format!("{least}x{least}x1280"),
        Box::new(move |check, storage, each| {
            let len = of(storage, least, 1280).n();
            let mask = check.put_plain(&dropout::mask((0..len).map(|it| it % 5 > 0)))?;
            let (x, mut y) = (check.random(storage, len)?.0, check.alloc(storage, len)?);
            let (device, mask) = (check.device(), (&mask, 1.25));
            each("forward", &mut || dropout::dropout(device, (len, storage), &x, mask, &mut y))
        }),
    );
    add("image", format!("{side}x{side}"), {
        Box::new(move |check, storage, each| images(check, storage, [n, side], each))
    });
    // As many weights as B0 has, in tensors of the size of its larger ones, and in proportion for smaller images.
    let (n_tensors, len) = (213, (25_000 * side * side / (224 * 224)).max(8));
    let name = format!("{n_tensors} tensors of {len}");
    add("cast", format!("{} f32", n_tensors * len), {
        Box::new(move |check, storage, each| {
            let len = n_tensors * len;
            let x = check.random(Storage::F32, len)?.0;
            let (x, mut y) = ((&x, Storage::F32), check.alloc(storage, len)?);
            each("forward", &mut || cast::cast(check.device(), len, x, (&mut y, storage)))
        })
    });
    add("optimizer", name.clone(), {
        Box::new(move |check, storage, each| optimizer(check, storage, [n_tensors, len], each))
    });
    add("average", name, {
        Box::new(move |check, storage, each| {
            let weights = parameters(check, storage, [n_tensors, len])?;
            let masters = weights.iter().map(|it| it.master.clone()).collect();
            let averages = parameters(check, storage, [n_tensors, len])?;
            let mut average = Average::new(check.device(), averages, masters)?;
            each("update", &mut || average.update(0.001))
        })
    });
    all
}

fn of_layer(layer: Layer) -> Box<Passes> {
    Box::new(move |check, storage, each| Layer { storage, ..layer }.passes(check, each))
}

fn windows(check: &mut Check, of: Depthwise, each: Each<'_>) -> Result<()> {
    let Depthwise { storage, images, size, out, kernel, c, .. } = of;
    let of_x = Of { storage, images, area: size[0] * size[1], c };
    let of_y = Of { area: out[0] * out[1], ..of_x };
    let n_taps = kernel[0] * kernel[1] * c;
    let by_x = PlainPrologue::norm(check, of_x, Activation::Silu)?;
    let by_g = PlainPrologue::of_gradient(check, of_y, Activation::Silu)?;
    let (x, g) = (check.random(storage, of_x.n())?.0, check.random(storage, of_y.n())?.0);
    let weight = check.random(storage, n_taps)?.0;
    let mut y = check.alloc(storage, of_y.n())?;
    let mut dx = check.alloc(storage, of_x.n())?;
    let mut dw = check.alloc(Storage::F32, n_taps)?;
    let (device, by_x, by_g) = (check.device(), by_x.prologue(), by_g.grad());
    let x = (&x, &by_x);
    each("forward", &mut || {
        depthwise::forward(device, &of, x, &weight, None, &mut y, true).map(drop)
    })?;
    each("backward", &mut || {
        let into = Gradients { x: Some(&mut dx), weight: Some(&mut dw) };
        depthwise::backward(device, &of, x, (&g, &by_g), &weight, into, true).map(drop)
    })
}

fn norms(check: &mut Check, of: Of, each: Each<'_>) -> Result<()> {
    let by = PlainPrologue::norm(check, of, Activation::Silu)?;
    let (z, g) = (check.random(of.storage, of.n())?.0, check.random(of.storage, of.n())?.0);
    let (device, shape, none) = (check.device(), of.shape(), GradPrologue::default());
    let by = by.prologue();
    each("forward", &mut || {
        let parts = norm::moments(device, shape, &z)?;
        norm::batch(device, &parts, None, None, 1e-3, None).map(drop)
    })?;
    each("sums of the backward pass", &mut || {
        norm::sums(device, shape, (&g, &none), (&z, &by)).map(drop)
    })?;
    each("sums of a gate", &mut || norm::gate_sums(device, shape, &g, (&z, &by)).map(drop))
}

fn rows(check: &mut Check, shape: Shape, each: Each<'_>) -> Result<()> {
    let Shape { storage, c, .. } = shape;
    let (x, g) = (check.random(storage, shape.len())?.0, check.random(storage, shape.len())?.0);
    let gamma = check.uniform(Storage::F32, c, 0.5, 1.5)?.0;
    let mut y = check.alloc(storage, shape.len())?;
    let mut stats = check.alloc(Storage::F32, 2 * shape.n_rows())?;
    let mut sums = check.alloc(Storage::F32, 2 * c)?;
    let device = check.device();
    each("forward", &mut || {
        layer_norm(device, shape, &x, (&gamma, &gamma), 1e-6, &mut y, &mut stats)
    })?;
    each("backward", &mut || {
        layer_norm_backward(device, shape, (&x, &g), (&gamma, &stats), &mut y, &mut sums)
    })
}

fn elements(check: &mut Check, of: Of, each: Each<'_>) -> Result<()> {
    let by = PlainPrologue::norm(check, of, Activation::Silu)?;
    let of_g = PlainPrologue::of_gradient(check, of, Activation::Silu)?;
    let (x, y) = (check.random(of.storage, of.n())?.0, check.random(of.storage, of.n())?.0);
    let mut out = check.alloc(of.storage, of.n())?;
    let (device, shape, by, of_g) = (check.device(), of.shape(), by.prologue(), of_g.grad());
    let (plain, none) = (Prologue::default(), GradPrologue::default());
    each("norm and SiLU", &mut || elementwise::apply(device, shape, (&x, &by), &mut out))?;
    each("residual", &mut || {
        elementwise::add(device, shape, (&x, &by), (&y, &plain), &mut out, true).map(drop)
    })?;
    each("gradient", &mut || {
        let before = Some((&y, &by));
        elementwise::gradient(device, shape, (&x, &none), None, before, &mut out, true).map(drop)
    })?;
    each("means by image", &mut || elementwise::average(device, shape, (&x, &by), &mut out))?;
    each("sums by channel", &mut || elementwise::column_sums(device, shape, (&x, &of_g), &mut out))
}

fn pools(
    check: &mut Check,
    storage: Storage,
    [images, side, c]: [usize; 3],
    each: Each<'_>,
) -> Result<()> {
    let windows = Windows::Sliding { kernel: [3; 2], stride: 2, before: [1; 2] };
    let out = [(side - 1) / 2 + 1; 2];
    let it = Pooling { storage, images, size: [side; 2], out, c, windows };
    let x = check.random(storage, images * side * side * c)?.0;
    let mut y = check.alloc(storage, it.n_taps())?;
    let mut taps = check.device().alloc(it.n_taps())?;
    let (device, plain) = (check.device(), Prologue::default());
    each("forward", &mut || max_pool(device, &it, &x, &plain, &mut y, &mut taps))
}

fn images(
    check: &mut Check,
    storage: Storage,
    [n, side]: [usize; 2],
    each: Each<'_>,
) -> Result<()> {
    let pixels = check.put_plain(&vec![120_u8; n * side * side * 3])?;
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let images = Images { pixels: pixels.whole(), n, size: [side; 2], mean, std };
    let samples: Vec<Sample> =
        (0..n).map(|image| Sample { image, over: None, erased: Vec::new() }).collect();
    let mut ys = check.alloc(storage, n * side * side * 3)?;
    let device = check.device();
    each("normalise", &mut || normalise(device, &images, &samples, storage, 3, &mut ys))
}

fn parameters(check: &mut Check, storage: Storage, [n, len]: [usize; 2]) -> Result<Vec<Parameter>> {
    let mut all = Vec::new();
    for _ in 0..n {
        let master = Arc::new(check.random(Storage::F32, len)?.0);
        let copy = Some((Arc::new(check.alloc(storage, len)?), storage));
        all.push(Parameter { master, copy, len, rows: Rows::One, is_clipped: false });
    }
    Ok(all)
}

fn optimizer(check: &mut Check, storage: Storage, sizes: [usize; 2], each: Each<'_>) -> Result<()> {
    let rule = Rule::AdamW { betas: [0.9, 0.999], eps: 1e-8 };
    let parameters = parameters(check, storage, sizes)?;
    let mut updates = Updates::new(check.device(), parameters, &rule, None)?;
    let grad = check.random(Storage::F32, sizes[1])?.0;
    let turn = || Turn { grad: Some((&grad, Storage::F32)), lr: 1e-3, decay: 0.01 };
    let turns: Vec<Turn<'_>> = (0..sizes[0]).map(|_| turn()).collect();
    each("AdamW", &mut || updates.step(&rule, &turns, Clip::Norm(1.0), true))
}
