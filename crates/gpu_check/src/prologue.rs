//! Prologues in f64, as the kernels should apply them: random ones on the device, and what they read.

use gpu::{
    Buffer, Result, Storage,
    prologue::{Activation, GradPrologue, Prologue},
};

use crate::check::Check;

/// How x or g is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// As it is stored.
    Plain,
    /// Through a norm and an activation.
    Norm,
    /// Through a norm, an activation and a gate.
    Gate,
    /// Only the gate, or g·times + plus.
    GateAlone,
}

/// A list on the device, and what it stores.
type Both = (Buffer, Vec<f64>);

pub(crate) fn act(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Gelu => x * normal_cdf(x),
    }
}

pub(crate) fn act_slope(activation: Activation, x: f64) -> f64 {
    let s = 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::None => 1.0,
        Activation::Relu => f64::from(u8::from(x > 0.0)),
        Activation::Relu6 => f64::from(u8::from(x > 0.0 && x < 6.0)),
        Activation::Silu => s + x * s * (1.0 - s),
        Activation::Sigmoid => s * (1.0 - s),
        Activation::Gelu => {
            normal_cdf(x) + x * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
        }
    }
}

/// Φ(x) = 1/2 + φ(x)·(x + x³/3 + x⁵/(3·5) + …): Marsaglia, "Evaluating the Normal Distribution", 2004.
fn normal_cdf(x: f64) -> f64 {
    if x.abs() > 12.0 {
        return f64::from(u8::from(x > 0.0));
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while (sum + term) != sum {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The shape of a tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Of {
    pub(crate) storage: Storage,
    pub(crate) images: usize,
    pub(crate) area: usize,
    pub(crate) c: usize,
}

/// How a tensor, or a gradient, is read.
#[derive(Default)]
pub(crate) struct PlainPrologue {
    pub(crate) scale: Option<Both>,
    pub(crate) shift: Option<Both>,
    pub(crate) center: Option<Both>,
    pub(crate) slope: Option<Both>,
    pub(crate) at_mean: Option<Both>,
    /// `times` of a gradient.
    pub(crate) gate: Option<Both>,
    pub(crate) plus: Option<Both>,
    pub(crate) z: Option<Both>,
    pub(crate) activation: Activation,
}

impl Of {
    pub(crate) fn n(&self) -> usize {
        self.images * self.area * self.c
    }

    pub(crate) fn shape(&self) -> gpu::Shape {
        let &Self { storage, images, area, c } = self;
        gpu::Shape { storage, images, area, c }
    }

    /// The shape in words: `2x41x264`.
    pub(crate) fn name(&self) -> String {
        format!("{}x{}x{}", self.images, self.area, self.c)
    }

    /// The channel, and the place in a list by image, of a number.
    fn places(&self, idx: usize) -> (usize, usize) {
        (idx % self.c, idx / self.c / self.area * self.c + idx % self.c)
    }

    fn by_channel(&self, check: &mut Check, low: f32, high: f32) -> Result<Option<Both>> {
        check.uniform(Storage::F32, self.c, low, high).map(Some)
    }

    fn by_image(&self, check: &mut Check) -> Result<Option<Both>> {
        check.uniform(self.storage, self.images * self.c, 0.1, 1.0).map(Some)
    }
}

fn at(list: Option<&Both>, idx: usize, otherwise: f64) -> f64 {
    list.map_or(otherwise, |it| it.1[idx])
}

impl PlainPrologue {
    /// Of x, or of a gradient.
    pub(crate) fn of(
        check: &mut Check,
        of: Of,
        read: Read,
        activation: Activation,
        is_gradient: bool,
    ) -> Result<Self> {
        let mut it = match read {
            Read::Norm | Read::Gate => Self::norm(check, of, activation)?,
            Read::Plain | Read::GateAlone => Self::default(),
        };
        if is_gradient && matches!(read, Read::Norm | Read::Gate) {
            it = it.before_norm(check, of)?;
        }
        match read {
            Read::Plain | Read::Norm => Ok(it),
            Read::Gate | Read::GateAlone if is_gradient => it.with_images(check, of),
            Read::Gate | Read::GateAlone => it.gated(check, of),
        }
    }

    /// A norm and an activation.
    pub(crate) fn norm(check: &mut Check, of: Of, activation: Activation) -> Result<Self> {
        Ok(Self {
            scale: of.by_channel(check, 0.5, 1.5)?,
            shift: of.by_channel(check, -0.5, 0.5)?,
            center: of.by_channel(check, -0.5, 0.5)?,
            activation,
            ..Self::default()
        })
    }

    /// Also a gate.
    pub(crate) fn gated(self, check: &mut Check, of: Of) -> Result<Self> {
        Ok(Self { gate: of.by_image(check)?, ..self })
    }

    /// The backward pass of a norm.
    pub(crate) fn of_gradient(check: &mut Check, of: Of, activation: Activation) -> Result<Self> {
        Self::norm(check, of, activation)?.before_norm(check, of)
    }

    /// Also what the backward pass of a norm adds.
    fn before_norm(self, check: &mut Check, of: Of) -> Result<Self> {
        Ok(Self {
            slope: of.by_channel(check, -0.2, 0.2)?,
            at_mean: of.by_channel(check, -0.2, 0.2)?,
            z: Some(check.random(of.storage, of.n())?),
            ..self
        })
    }

    /// Also what the backward pass of a gate and of a pooling leave.
    pub(crate) fn with_images(self, check: &mut Check, of: Of) -> Result<Self> {
        Ok(Self { gate: of.by_image(check)?, plus: of.by_image(check)?, ..self })
    }

    pub(crate) fn prologue(&self) -> Prologue<'_> {
        Prologue {
            scale: self.scale.as_ref().map(|it| &it.0),
            shift: self.shift.as_ref().map(|it| &it.0),
            center: self.center.as_ref().map(|it| &it.0),
            gate: self.gate.as_ref().map(|it| &it.0),
            activation: self.activation,
        }
    }

    pub(crate) fn grad(&self) -> GradPrologue<'_> {
        GradPrologue {
            times: self.gate.as_ref().map(|it| &it.0),
            plus: self.plus.as_ref().map(|it| &it.0),
            z: self.z.as_ref().map(|it| &it.0),
            scale: self.scale.as_ref().map(|it| &it.0),
            shift: self.shift.as_ref().map(|it| &it.0),
            slope: self.slope.as_ref().map(|it| &it.0),
            center: self.center.as_ref().map(|it| &it.0),
            at_mean: self.at_mean.as_ref().map(|it| &it.0),
            activation: self.activation,
        }
    }

    /// scale·z + shift.
    pub(crate) fn line(&self, channel: usize, z: f64) -> f64 {
        at(self.scale.as_ref(), channel, 1.0) * z + at(self.shift.as_ref(), channel, 0.0)
    }

    /// act and act' of scale·z + shift.
    pub(crate) fn both(&self, channel: usize, z: f64) -> (f64, f64) {
        let u = self.line(channel, z);
        (act(self.activation, u), act_slope(self.activation, u))
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.scale.is_none() && self.gate.is_none()
    }

    pub(crate) fn apart(&self, channel: usize, z: f64) -> f64 {
        z - at(self.center.as_ref(), channel, 0.0)
    }

    /// A tensor as it is read.
    pub(crate) fn read(&self, of: Of, stored: &[f64]) -> Vec<f64> {
        let one = |(idx, &z): (usize, &f64)| {
            let (channel, by_image) = of.places(idx);
            self.both(channel, z).0 * at(self.gate.as_ref(), by_image, 1.0)
        };
        stored.iter().enumerate().map(one).collect()
    }

    /// g·times + plus.
    pub(crate) fn through_gate(&self, of: Of, stored: &[f64]) -> Vec<f64> {
        let one = |(idx, &g): (usize, &f64)| {
            let by_image = of.places(idx).1;
            g * at(self.gate.as_ref(), by_image, 1.0) + at(self.plus.as_ref(), by_image, 0.0)
        };
        stored.iter().enumerate().map(one).collect()
    }

    /// A gradient as it is read.
    pub(crate) fn read_gradient(&self, of: Of, stored: &[f64]) -> Vec<f64> {
        let gated = self.through_gate(of, stored);
        let Some((_, zs)) = &self.z else { return gated };
        let one = |(idx, (d, &z)): (usize, (f64, &f64))| {
            let channel = idx % of.c;
            at(self.scale.as_ref(), channel, 1.0) * d * self.both(channel, z).1
                + at(self.slope.as_ref(), channel, 0.0) * self.apart(channel, z)
                + at(self.at_mean.as_ref(), channel, 0.0)
        };
        gated.into_iter().zip(zs).enumerate().map(one).collect()
    }
}
