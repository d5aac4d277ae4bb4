//! Batch norm: moments, the affine function that they define, and its backward pass.
//!
//! y = γ (z - μ) / √(σ² + ε) + β = scale·z + shift for each channel, with the batch's mean and biased variance, or with
//! given ones. The result of the forward pass is four numbers a channel, which [`Prologue`] applies when z is read; that of
//! the backward pass is two more, which [`GradPrologue`] applies when the gradient is read.
//!
//! Ioffe & Szegedy, "Batch Normalization", 2015, <https://arxiv.org/abs/1502.03167>. As in PyTorch, the running
//! variance is updated with the unbiased variance. Twin of `ops::batch_norm`; what is f64 there is f32 here.

use cudarc::driver::DeviceRepr;

use crate::{
    Address, Buffer, Device, Error, Result, Storage,
    parts::{Parts, PartsKind},
    prologue::{Activation, Extent, GradPrologue, Prologue, count},
    rows::{Kind, Shape, THREADS, has},
    split::{MOST_PARTS, Split},
    sums::{ACROSS, MERGERS, PTX, fewer, fewer_of, first_sums},
};

/// A norm as an affine function of each channel; all are f32 `[c]`.
#[derive(Debug)]
pub struct Norm {
    /// γ / √(σ² + ε).
    pub scale: Buffer,
    /// β - scale·μ.
    pub shift: Buffer,
    /// μ.
    pub center: Buffer,
    /// 1 / √(σ² + ε).
    pub inverse: Buffer,
}

impl Norm {
    fn alloc(device: &Device, c: usize) -> Result<Self> {
        let list = || device.alloc(c * 4);
        Ok(Self { scale: list()?, shift: list()?, center: list()?, inverse: list()? })
    }

    /// How the normed tensor is read, with the activation after it.
    #[must_use]
    pub fn prologue(&self, activation: Activation) -> Prologue<'_> {
        Prologue {
            scale: Some(&self.scale),
            shift: Some(&self.shift),
            center: Some(&self.center),
            gate: None,
            activation,
        }
    }
}

/// The running statistics of a norm, f32 `[c]` each: (1 - momentum)·old + momentum·new. The kernel writes them, as an
/// optimizer does its parameters; their owner lets it.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// The mean.
    pub mean: &'a Buffer,
    /// The unbiased variance.
    pub variance: &'a Buffer,
    /// The weight of this batch.
    pub momentum: f32,
}

/// What the backward pass of a norm needs of its forward pass, and where its results go; all f32 `[c]`.
#[derive(Debug, Default)]
pub struct Backward<'a> {
    /// The norm's scale.
    pub scale: Option<&'a Buffer>,
    /// 1 / √(σ² + ε); 1 if absent, as for a scale without a norm.
    pub inverse: Option<&'a Buffer>,
    /// The gradient of γ.
    pub d_gamma: Option<&'a mut Buffer>,
    /// The gradient of β.
    pub d_beta: Option<&'a mut Buffer>,
    /// With statistics of a batch: rows of the tensor.
    pub rows: Option<usize>,
}

/// What the gradient of a batch's statistics adds: slope·(z - center) + at_mean; f32 `[c]` each.
#[derive(Debug)]
pub struct Line {
    /// See above.
    pub slope: Buffer,
    /// See above.
    pub at_mean: Buffer,
}

/// `Norm` of `kernels/norm.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct RawNorm {
    gamma: Address,
    beta: Address,
    scale: Address,
    shift: Address,
    center: Address,
    inverse: Address,
    running_mean: Address,
    running_variance: Address,
    eps: f32,
    momentum: f32,
}

/// `NormBackward` of `kernels/norm.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct RawBackward {
    scale: Address,
    inverse: Address,
    d_gamma: Address,
    d_beta: Address,
    slope: Address,
    at_mean: Address,
    count: f32,
    unused: u32,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of addresses and numbers, without a gap, in the order of the device's struct.
unsafe impl DeviceRepr for RawNorm {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: as above; the last number is the padding of the device's struct.
unsafe impl DeviceRepr for RawBackward {}

/// The moments of each channel of a tensor, if its producer has not computed them.
///
/// # Errors
/// If a size does not fit, or if the card has no room.
#[expect(unsafe_code, reason = "a launch")]
pub fn moments(device: &Device, shape: Shape, z: &Buffer) -> Result<Parts> {
    let at = "norm::moments";
    has(at, "z", z, shape.bytes())?;
    let split = Split::of_rows(at, shape)?;
    let mut parts = Parts::alloc(device, PartsKind::Moments, split.n_parts(), shape.c)?;
    let launch = device
        .launch(&PTX, "moments")
        .grid(split.n_blocks(), 1, 1)
        .block(THREADS)
        .arg(z)
        .arg(&mut parts.buffer)
        .value(&Kind::new(at, shape.storage, shape.c)?)
        .value(&split)
        .cost(shape.bytes(), 4 * shape.n_rows() * shape.c);
    // SAFETY: `z` holds the tensor, and `parts` was allocated for the split.
    unsafe { launch.run() }?;
    Ok(parts)
}

/// The norm of a batch from its moments, which also updates running statistics.
///
/// - `gamma`, `beta`: f32 `[c]`; 1 and 0 if absent.
///
/// # Errors
/// If a size does not fit, or if the card has no room. The batch must have at least two rows: its caller checks that.
#[expect(unsafe_code, reason = "a launch")]
pub fn batch(
    device: &Device,
    parts: &Parts,
    gamma: Option<&Buffer>,
    beta: Option<&Buffer>,
    eps: f32,
    running: Option<Running<'_>>,
) -> Result<Norm> {
    let at = "norm::batch";
    check_kind(at, parts, PartsKind::Moments)?;
    let c = parts.c;
    let running = match running {
        Some(it) => {
            has_channels(at, "running.mean", Some(it.mean), c)?;
            has_channels(at, "running.variance", Some(it.variance), c)?;
            (it.mean.address(), it.variance.address(), it.momentum)
        }
        None => (Address::NULL, Address::NULL, 0.0),
    };
    let (norm, raw) = prepare(device, at, c, gamma, beta, eps, running)?;
    let fewer = match parts.n > MOST_PARTS {
        true => Some(merge(device, parts)?),
        false => None,
    };
    let parts = fewer.as_ref().unwrap_or(parts);
    let launch = device
        .launch(&PTX, "norm_of_batch")
        .grid(c.div_ceil(ACROSS), 1, 1)
        .block(MERGERS)
        .arg(&parts.buffer)
        .arg(count(at, "parts", parts.n)?)
        .arg(count(at, "channels", c)?)
        .value(&raw);
    // SAFETY: the parts are as long as their number says, and all lists were checked or allocated for `c` channels.
    unsafe { launch.run() }?;
    Ok(norm)
}

/// The norm of given statistics: f32 `[c]` each.
///
/// # Errors
/// If a size does not fit, or if the card has no room.
#[expect(unsafe_code, reason = "a launch")]
pub fn fixed(
    device: &Device,
    c: usize,
    (mean, variance): (&Buffer, &Buffer),
    gamma: Option<&Buffer>,
    beta: Option<&Buffer>,
    eps: f32,
) -> Result<Norm> {
    let at = "norm::fixed";
    has_channels(at, "mean", Some(mean), c)?;
    has_channels(at, "variance", Some(variance), c)?;
    let given = (mean.address(), variance.address(), 0.0);
    let (norm, raw) = prepare(device, at, c, gamma, beta, eps, given)?;
    let launch = device
        .launch(&PTX, "norm_of_running")
        .grid(c.div_ceil(256), 1, 1)
        .block(256)
        .value(&raw)
        .arg(count(at, "channels", c)?);
    // SAFETY: all lists were checked or allocated for `c` channels.
    unsafe { launch.run() }?;
    Ok(norm)
}

/// Σ d and Σ d·(z - center) of each channel, d = (g·times + plus)·act'(scale·z + shift), if the producer of g has not
/// computed them.
///
/// - `grad`: only `times` and `plus` are used.
/// - `prologue`: how z is read; its gate is not used.
///
/// # Errors
/// If a size does not fit, or if the card has no room.
#[expect(unsafe_code, reason = "a launch")]
pub fn sums(
    device: &Device,
    shape: Shape,
    (g, grad): (&Buffer, &GradPrologue<'_>),
    (z, prologue): (&Buffer, &Prologue<'_>),
) -> Result<Parts> {
    let at = "norm::sums";
    has(at, "g", g, shape.bytes())?;
    has(at, "z", z, shape.bytes())?;
    let split = Split::of_rows(at, shape)?;
    let mut parts = Parts::alloc(device, PartsKind::Norm, split.n_parts(), shape.c)?;
    let launch = device
        .launch(&PTX, "norm_sums")
        .grid(split.n_blocks(), 1, 1)
        .block(THREADS)
        .arg(g)
        .value(&grad.raw(at, shape.extent())?)
        .arg(z)
        .value(&prologue.raw(at, shape.extent())?)
        .arg(&mut parts.buffer)
        .value(&Kind::new(at, shape.storage, shape.c)?)
        .value(&split)
        .cost(2 * shape.bytes(), 12 * shape.n_rows() * shape.c);
    // SAFETY: all buffers hold the tensor or its parts, which was checked, and `parts` was allocated for the split.
    unsafe { launch.run() }?;
    Ok(parts)
}

/// The five sums of a gate's backward pass, for each image: see [`PartsKind::Gate`].
///
/// - `prologue`: how z is read before the gate; its gate is not used.
///
/// # Errors
/// If a size does not fit, or if the card has no room.
#[expect(unsafe_code, reason = "a launch")]
pub fn gate_sums(
    device: &Device,
    shape: Shape,
    g: &Buffer,
    (z, prologue): (&Buffer, &Prologue<'_>),
) -> Result<Parts> {
    let at = "norm::gate_sums";
    has(at, "g", g, shape.bytes())?;
    has(at, "z", z, shape.bytes())?;
    let split = Split::of_images(at, shape)?;
    let kind = PartsKind::Gate { images: shape.images };
    let mut parts = Parts::alloc(device, kind, split.n_parts(), shape.c)?;
    let launch = device
        .launch(&PTX, "gate_sums")
        .grid(split.n_blocks(), 1, 1)
        .block(THREADS)
        .arg(g)
        .arg(z)
        .value(&prologue.raw(at, shape.extent())?)
        .arg(&mut parts.buffer)
        .value(&Kind::new(at, shape.storage, shape.c)?)
        .value(&split)
        .cost(2 * shape.bytes(), 20 * shape.n_rows() * shape.c);
    // SAFETY: all buffers hold the tensor, which was checked, and `parts` was allocated for the split.
    unsafe { launch.run() }?;
    Ok(parts)
}

/// The backward pass of a norm from Σ d and Σ d·(z - center): dγ, dβ, and the line that the gradient of the batch's
/// statistics adds, if there was a batch.
///
/// # Errors
/// If a size does not fit, or if the card has no room.
#[expect(unsafe_code, reason = "a launch")]
pub fn backward(device: &Device, parts: &Parts, of: Backward<'_>) -> Result<Option<Line>> {
    let at = "norm::backward";
    check_kind(at, parts, PartsKind::Norm)?;
    let c = parts.c;
    let (line, raw) = prepare_backward(device, at, c, &of)?;
    let fewer = fewer(device, &parts.buffer, parts.n, 2 * c)?;
    let (buffer, n) = fewer.as_ref().map_or((&parts.buffer, parts.n), |(buffer, n)| (buffer, *n));
    let launch = device
        .launch(&PTX, "norm_backward")
        .grid(c.div_ceil(ACROSS), 1, 1)
        .block(MERGERS)
        .arg(buffer)
        .arg(count(at, "parts", n)?)
        .arg(count(at, "channels", c)?)
        .value(&raw);
    // SAFETY: the parts are as long as their number says, and all lists were checked or allocated for `c` channels.
    unsafe { launch.run() }?;
    Ok(line)
}

/// The same from the sums of a gate, and what the gate's backward pass made of the gradient: d = (g·times +
/// plus)·act'(scale·z + shift).
///
/// - `times`, `plus`: `[images, c]`; 1 and 0 if absent.
///
/// # Errors
/// If a size does not fit, or if the card has no room.
#[expect(unsafe_code, reason = "a launch")]
pub fn backward_gated(
    device: &Device,
    storage: Storage,
    parts: &Parts,
    (times, plus): (Option<&Buffer>, Option<&Buffer>),
    of: Backward<'_>,
) -> Result<Option<Line>> {
    let at = "norm::backward_gated";
    let (images, per_image) = images_of(at, parts)?;
    let c = parts.c;
    for (name, list) in [("times", times), ("plus", plus)] {
        if let Some(list) = list {
            has(at, name, list, images * c * storage.bytes())?;
        }
    }
    let (line, raw) = prepare_backward(device, at, c, &of)?;
    let launch = device
        .launch(&PTX, "norm_backward_gated")
        .grid(c.div_ceil(ACROSS), 1, 1)
        .block(MERGERS)
        .arg(&parts.buffer)
        .arg(count(at, "images", images)?)
        .arg(count(at, "parts", per_image)?)
        .value(&Kind::new(at, storage, c)?)
        .arg(times)
        .arg(plus)
        .value(&raw);
    // SAFETY: the parts are as long as their number says, and all lists were checked or allocated for `c` channels.
    unsafe { launch.run() }?;
    Ok(line)
}

/// The gradient of the gates from the sums of a gate: `[images, c]`.
///
/// # Errors
/// If a size does not fit.
pub fn gate_gradient(
    device: &Device,
    storage: Storage,
    parts: &Parts,
    out: &mut Buffer,
) -> Result<()> {
    let (images, per_image) = images_of("norm::gate_gradient", parts)?;
    let of = Extent { storage, images, area: per_image, c: parts.c };
    first_sums(device, "norm::gate_gradient", of, (&parts.buffer, 5), 1.0, out)
}

/// Parts of moments, merged to fewer.
#[expect(unsafe_code, reason = "a launch")]
fn merge(device: &Device, parts: &Parts) -> Result<Parts> {
    let at = "norm::merge";
    let (n, per_part) = fewer_of(parts.n);
    let mut fewer = Parts::alloc(device, PartsKind::Moments, n, parts.c)?;
    let launch = device
        .launch(&PTX, "merge_moments")
        .grid(parts.c.div_ceil(ACROSS), n, 1)
        .block(MERGERS)
        .arg(&parts.buffer)
        .arg(&mut fewer.buffer)
        .arg(count(at, "parts", parts.n)?)
        .arg(count(at, "channels", parts.c)?)
        .arg(count(at, "parts", per_part)?)
        .cost(parts.buffer.bytes(), 8 * parts.n * parts.c);
    // SAFETY: both are as long as their number of parts says.
    unsafe { launch.run() }?;
    Ok(fewer)
}

fn check_kind(at: &str, parts: &Parts, kind: PartsKind) -> Result<()> {
    match parts.kind == kind {
        true => Ok(()),
        false => Err(Error::arguments(
            at,
            format!("the parts are {:?}, and must be {kind:?}", parts.kind),
        )),
    }
}

/// The images of the sums of a gate, and the parts of each.
fn images_of(at: &str, parts: &Parts) -> Result<(usize, usize)> {
    match parts.kind {
        PartsKind::Gate { images } if images > 0 && parts.n.is_multiple_of(images) => {
            Ok((images, parts.n / images))
        }
        _ => Err(Error::arguments(
            at,
            format!("the parts are {:?}, and must be a gate's", parts.kind),
        )),
    }
}

/// Checks an optional list of f32 by channel.
fn has_channels(at: &str, name: &str, list: Option<&Buffer>, c: usize) -> Result<()> {
    list.map_or(Ok(()), |it| has(at, name, it, c * 4))
}

/// A norm's forward pass: the buffers of its result, and the parameters of its kernel.
fn prepare(
    device: &Device,
    at: &str,
    c: usize,
    gamma: Option<&Buffer>,
    beta: Option<&Buffer>,
    eps: f32,
    (running_mean, running_variance, momentum): (Address, Address, f32),
) -> Result<(Norm, RawNorm)> {
    has_channels(at, "gamma", gamma, c)?;
    has_channels(at, "beta", beta, c)?;
    let norm = Norm::alloc(device, c)?;
    let raw = RawNorm {
        gamma: Address::of(gamma),
        beta: Address::of(beta),
        scale: norm.scale.address(),
        shift: norm.shift.address(),
        center: norm.center.address(),
        inverse: norm.inverse.address(),
        running_mean,
        running_variance,
        eps,
        momentum,
    };
    Ok((norm, raw))
}

/// A norm's backward pass: the buffers of its result, and the parameters of its kernel.
fn prepare_backward(
    device: &Device,
    at: &str,
    c: usize,
    of: &Backward<'_>,
) -> Result<(Option<Line>, RawBackward)> {
    has_channels(at, "scale", of.scale, c)?;
    has_channels(at, "inverse", of.inverse, c)?;
    has_channels(at, "d_gamma", of.d_gamma.as_deref(), c)?;
    has_channels(at, "d_beta", of.d_beta.as_deref(), c)?;
    if of.rows.is_some() && of.scale.is_none() {
        return Err(Error::arguments(at, "the norm of a batch has a scale".to_owned()));
    }
    let line = match of.rows {
        Some(_) => Some(Line { slope: device.alloc(c * 4)?, at_mean: device.alloc(c * 4)? }),
        None => None,
    };
    let raw = RawBackward {
        scale: Address::of(of.scale),
        inverse: Address::of(of.inverse),
        d_gamma: Address::of(of.d_gamma.as_deref()),
        d_beta: Address::of(of.d_beta.as_deref()),
        slope: Address::of(line.as_ref().map(|it| &it.slope)),
        at_mean: Address::of(line.as_ref().map(|it| &it.at_mean)),
        count: of.rows.unwrap_or(1) as f32,
        unused: 0,
    };
    Ok((line, raw))
}
