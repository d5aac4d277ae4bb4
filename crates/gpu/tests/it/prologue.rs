//! Prologues in f64, as the kernels should apply them: random ones on the device, and what they read.

use gpu::{
    Buffer, Storage,
    prologue::{Activation, GradPrologue, Prologue},
};

use crate::{
    harness::Test,
    reading::{act, act_slope},
};

/// A list on the device, and what it stores.
type Both = (Buffer, Vec<f64>);

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

    /// The channel, and the place in a list by image, of a number.
    fn places(&self, idx: usize) -> (usize, usize) {
        (idx % self.c, idx / self.c / self.area * self.c + idx % self.c)
    }

    fn by_channel(&self, test: &mut Test, low: f32, high: f32) -> Option<Both> {
        let numbers = test.numbers(self.c, low, high);
        Some(test.put(Storage::F32, &numbers))
    }

    fn by_image(&self, test: &mut Test) -> Option<Both> {
        let numbers = test.numbers(self.images * self.c, 0.1, 1.0);
        Some(test.put(self.storage, &numbers))
    }
}

fn at(list: Option<&Both>, idx: usize, otherwise: f64) -> f64 {
    list.map_or(otherwise, |it| it.1[idx])
}

impl PlainPrologue {
    /// A norm and an activation.
    pub(crate) fn norm(test: &mut Test, of: Of, activation: Activation) -> Self {
        Self {
            scale: of.by_channel(test, 0.5, 1.5),
            shift: of.by_channel(test, -0.5, 0.5),
            center: of.by_channel(test, -0.5, 0.5),
            activation,
            ..Self::default()
        }
    }

    /// Also a gate.
    pub(crate) fn gated(self, test: &mut Test, of: Of) -> Self {
        Self { gate: of.by_image(test), ..self }
    }

    /// The backward pass of a norm.
    pub(crate) fn of_gradient(test: &mut Test, of: Of, activation: Activation) -> Self {
        Self {
            slope: of.by_channel(test, -0.2, 0.2),
            at_mean: of.by_channel(test, -0.2, 0.2),
            z: Some(test.random(of.storage, of.n())),
            ..Self::norm(test, of, activation)
        }
    }

    /// Also what the backward pass of a gate and of a pooling leave.
    pub(crate) fn with_images(self, test: &mut Test, of: Of) -> Self {
        Self { gate: of.by_image(test), plus: of.by_image(test), ..self }
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
