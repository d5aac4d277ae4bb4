//! How a tensor or a gradient is read, by plain formulas in f64.

use gpu::{
    Buffer, Storage,
    prologue::{Activation, GradPrologue, Prologue},
};

use crate::harness::Test;

/// How x or g is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Plain,
    Norm,
    Gate,
    /// Only the gate, or g·times + plus.
    GateAlone,
}

/// A tensor on the device, and what it stores.
pub(crate) type Both = (Buffer, Vec<f64>);

/// The parts of a prologue, by channel or by image and channel.
pub(crate) struct Side {
    pub(crate) scale: Option<Both>,
    pub(crate) shift: Option<Both>,
    pub(crate) center: Option<Both>,
    pub(crate) slope: Option<Both>,
    pub(crate) at_mean: Option<Both>,
    pub(crate) gate: Option<Both>,
    pub(crate) plus: Option<Both>,
    pub(crate) z: Option<Both>,
    pub(crate) activation: Activation,
}

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

pub(crate) fn at(part: Option<&Both>, idx: usize, otherwise: f64) -> f64 {
    part.map_or(otherwise, |it| it.1[idx])
}

impl Side {
    pub(crate) fn of(
        test: &mut Test,
        (storage, images, activation): (Storage, usize, Activation),
        read: Read,
        c: usize,
        rows: usize,
        is_gradient: bool,
    ) -> Side {
        let by_channel = |test: &mut Test, low: f32, high: f32| {
            let numbers = test.numbers(c, low, high);
            Some(test.put(Storage::F32, &numbers))
        };
        let by_image = |test: &mut Test| {
            let numbers = test.numbers(images * c, 0.1, 1.0);
            Some(test.put(storage, &numbers))
        };
        let (norm, gate) =
            (matches!(read, Read::Norm | Read::Gate), matches!(read, Read::Gate | Read::GateAlone));
        let mut side = Side {
            scale: None,
            shift: None,
            center: None,
            slope: None,
            at_mean: None,
            gate: None,
            plus: None,
            z: None,
            activation: Activation::None,
        };
        if norm {
            side.scale = by_channel(test, 0.5, 1.5);
            side.shift = by_channel(test, -0.5, 0.5);
            side.center = by_channel(test, -0.5, 0.5);
            side.activation = activation;
        }
        if norm && is_gradient {
            side.slope = by_channel(test, -0.2, 0.2);
            side.at_mean = by_channel(test, -0.2, 0.2);
            side.z = Some(test.random(storage, rows * c));
        }
        if gate {
            side.gate = by_image(test);
            side.plus = by_image(test).filter(|_| is_gradient);
        }
        side
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

    pub(crate) fn line(&self, channel: usize, z: f64) -> f64 {
        at(self.scale.as_ref(), channel, 1.0) * z + at(self.shift.as_ref(), channel, 0.0)
    }

    /// Numbers as they are read, `[images, area, c]`.
    pub(crate) fn read(&self, stored: &[f64], c: usize, area: usize) -> Vec<f64> {
        let one = |(idx, &z): (usize, &f64)| {
            let (channel, image) = (idx % c, idx / c / area);
            act(self.activation, self.line(channel, z))
                * at(self.gate.as_ref(), image * c + channel, 1.0)
        };
        stored.iter().enumerate().map(one).collect()
    }

    pub(crate) fn read_gradient(&self, stored: &[f64], c: usize, area: usize) -> Vec<f64> {
        let one = |(idx, &g): (usize, &f64)| {
            let (channel, image) = (idx % c, idx / c / area);
            let by_image = image * c + channel;
            let d =
                g * at(self.gate.as_ref(), by_image, 1.0) + at(self.plus.as_ref(), by_image, 0.0);
            let Some((_, z)) = &self.z else { return d };
            let d = d * act_slope(self.activation, self.line(channel, z[idx]));
            let center = at(self.center.as_ref(), channel, 0.0);
            at(self.scale.as_ref(), channel, 1.0) * d
                + at(self.slope.as_ref(), channel, 0.0) * (z[idx] - center)
                + at(self.at_mean.as_ref(), channel, 0.0)
        };
        stored.iter().enumerate().map(one).collect()
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.scale.is_none() && self.gate.is_none()
    }
}
