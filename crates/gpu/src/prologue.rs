//! Prologues: how a kernel reads a tensor or a gradient. The mirrors of the structs in `kernels/device.cuh`.
//!
//! y = act(scale·z + shift)·gate, and the gradient of z from the gradient g of y:
//!
//! d = (g·times + plus)·act'(scale·z + shift), dz = scale·d + slope·(z - center) + at_mean.
//!
//! Every part is optional.
//! On the CPU these are `Prologue` and `Grad` of `ops`; there slope·(z - center) + at_mean is slope·z + offset, which
//! needs f64.

use cudarc::driver::DeviceRepr;

use crate::{Address, Buffer, Error, Result, Storage};

/// The elementwise function after a layer, numbered as in `kernels/device.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum Activation {
    /// The identity.
    #[default]
    None = 0,
    /// max(x, 0).
    Relu = 1,
    /// min(max(x, 0), 6).
    Relu6 = 2,
    /// x·sigmoid(x).
    Silu = 3,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid = 4,
    /// x·Φ(x), without the tanh approximation.
    Gelu = 5,
}

impl Activation {
    /// All of them, for tests and tables.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Relu, Self::Relu6, Self::Silu, Self::Sigmoid, Self::Gelu];
}

/// How a tensor z, `[images, …, c]`, is read. The default is as it is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prologue<'a> {
    /// f32 `[c]`; 1 if absent.
    pub scale: Option<&'a Buffer>,
    /// f32 `[c]`; 0 if absent.
    pub shift: Option<&'a Buffer>,
    /// f32 `[c]`: the approximate mean of z, which sums of the backward pass are relative to; 0 if absent.
    pub center: Option<&'a Buffer>,
    /// `[images, c]`, stored as z is.
    pub gate: Option<&'a Buffer>,
    /// Applied to scale·z + shift.
    pub activation: Activation,
}

/// How a gradient g, `[images, …, c]`, is read. The default is as it is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct GradPrologue<'a> {
    /// `[images, c]`, stored as g is.
    pub times: Option<&'a Buffer>,
    /// `[images, c]`, stored as g is.
    pub plus: Option<&'a Buffer>,
    /// What the norm was applied to, of the shape of g. Without it all that follows is not used.
    pub z: Option<&'a Buffer>,
    /// f32 `[c]`; 1 if absent.
    pub scale: Option<&'a Buffer>,
    /// f32 `[c]`; 0 if absent.
    pub shift: Option<&'a Buffer>,
    /// f32 `[c]`; 0 if absent.
    pub slope: Option<&'a Buffer>,
    /// f32 `[c]`; 0 if absent.
    pub center: Option<&'a Buffer>,
    /// f32 `[c]`; 0 if absent.
    pub at_mean: Option<&'a Buffer>,
    /// Whose derivative at scale·z + shift is a factor of g.
    pub activation: Activation,
}

/// `Prologue` of `kernels/device.cuh`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct RawPrologue {
    scale: Address,
    shift: Address,
    center: Address,
    gate: Address,
    activation: u32,
    area: u32,
}

/// `GradPrologue` of `kernels/device.cuh`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct RawGradPrologue {
    times: Address,
    plus: Address,
    z: Address,
    scale: Address,
    shift: Address,
    slope: Address,
    center: Address,
    at_mean: Address,
    activation: u32,
    area: u32,
}

/// `Divisor` of `kernels/device.cuh`: n / by for n < 2³¹ is (n·times) >> (32 + shift).
///
/// Granlund & Montgomery, "Division by Invariant Integers using Multiplication", 1994.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Divisor {
    by: u32,
    times: u32,
    shift: u32,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of addresses and numbers, without a gap, in the order of the device's struct.
unsafe impl DeviceRepr for RawPrologue {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: as above.
unsafe impl DeviceRepr for RawGradPrologue {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: as above.
unsafe impl DeviceRepr for Divisor {}

/// A tensor of rows of channels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) storage: Storage,
    pub(crate) images: usize,
    /// Rows of an image.
    pub(crate) area: usize,
    pub(crate) c: usize,
}

impl Extent {
    /// Bytes of the tensor.
    pub(crate) fn bytes(self) -> usize {
        self.images * self.area * self.c * self.storage.bytes()
    }

    /// Checks the size of an optional buffer.
    fn has(self, at: &str, name: &str, buffer: Option<&Buffer>, bytes: usize) -> Result<()> {
        match buffer {
            Some(it) if it.bytes() < bytes => Err(Error::arguments(
                at,
                format!(
                    "`{name}` has {} bytes, and {} images of {} rows of {} channels need {bytes}",
                    it.bytes(),
                    self.images,
                    self.area,
                    self.c
                ),
            )),
            _ => Ok(()),
        }
    }
}

impl Prologue<'_> {
    /// Whether reading changes nothing.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.scale.is_none()
            && self.shift.is_none()
            && self.gate.is_none()
            && self.activation == Activation::None
    }

    /// The kernels' struct, if the sizes fit the tensor.
    ///
    /// # Errors
    /// If a part is too short.
    pub(crate) fn raw(&self, at: &str, of: Extent) -> Result<RawPrologue> {
        let by_channel = of.c * 4;
        of.has(at, "prologue.scale", self.scale, by_channel)?;
        of.has(at, "prologue.shift", self.shift, by_channel)?;
        of.has(at, "prologue.center", self.center, by_channel)?;
        of.has(at, "prologue.gate", self.gate, of.images * of.c * of.storage.bytes())?;
        Ok(RawPrologue {
            scale: Address::of(self.scale),
            shift: Address::of(self.shift),
            center: Address::of(self.center),
            gate: Address::of(self.gate),
            activation: self.activation as u32,
            area: count(at, "rows of an image", of.area)?,
        })
    }
}

impl GradPrologue<'_> {
    /// Whether reading changes nothing.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.times.is_none() && self.plus.is_none() && self.z.is_none()
    }

    /// The kernels' struct, if the sizes fit the tensor.
    ///
    /// # Errors
    /// If a part is too short.
    pub(crate) fn raw(&self, at: &str, of: Extent) -> Result<RawGradPrologue> {
        let (by_channel, by_image) = (of.c * 4, of.images * of.c * of.storage.bytes());
        of.has(at, "grad.times", self.times, by_image)?;
        of.has(at, "grad.plus", self.plus, by_image)?;
        of.has(at, "grad.z", self.z, of.bytes())?;
        for (name, part) in [
            ("grad.scale", self.scale),
            ("grad.shift", self.shift),
            ("grad.slope", self.slope),
            ("grad.center", self.center),
            ("grad.at_mean", self.at_mean),
        ] {
            of.has(at, name, part, by_channel)?;
        }
        Ok(RawGradPrologue {
            times: Address::of(self.times),
            plus: Address::of(self.plus),
            z: Address::of(self.z),
            scale: Address::of(self.scale),
            shift: Address::of(self.shift),
            slope: Address::of(self.slope),
            center: Address::of(self.center),
            at_mean: Address::of(self.at_mean),
            activation: self.activation as u32,
            area: count(at, "rows of an image", of.area)?,
        })
    }
}

impl Divisor {
    /// The division by `by`, from 1 to 2³¹ - 1.
    pub(crate) fn of(by: u32) -> Self {
        if by <= 1 {
            return Self { by: 1, times: 0, shift: 0 };
        }
        // With 2^shift < by <= 2^(shift + 1) and times = ⌈2^(32 + shift) / by⌉ < 2³², times·by exceeds 2^(32 + shift) by
        // less than 2^(shift + 1), and n is below 2³¹: the quotient is exact.
        let shift = 31 - (by - 1).leading_zeros();
        let times = (1u64 << (32 + shift)).div_ceil(u64::from(by));
        Self { by, times: u32::try_from(times).unwrap_or(u32::MAX), shift }
    }
}

/// A count as the kernels take it, below 2³¹.
///
/// # Errors
/// If it is larger, or 0.
pub(crate) fn count(at: &str, name: &str, n: usize) -> Result<u32> {
    match u32::try_from(n) {
        Ok(n) if n > 0 && n < 1 << 31 => Ok(n),
        Ok(0) => Err(Error::arguments(at, format!("there are no {name}"))),
        _ => Err(Error::arguments(at, format!("{n} {name} are more than 2^31 - 1"))),
    }
}

#[cfg(test)]
mod tests {
    use super::Divisor;

    #[test]
    fn dividing_by_multiplying_is_exact() {
        let of = |n: u32, by: u32| {
            let it = Divisor::of(by);
            if it.times == 0 {
                n
            } else {
                ((u64::from(n) * u64::from(it.times)) >> 32 >> it.shift) as u32
            }
        };
        let most = (1u32 << 31) - 1;
        for by in (1..70).chain([112 * 112, 65_535, 65_536, 65_537, 1 << 30, most - 1, most]) {
            for n in
                (0..200).chain([most, most - 1, most / 2, by - 1, by.saturating_mul(2).min(most)])
            {
                assert_eq!(of(n, by), n / by, "{n} / {by}");
            }
            for multiple in (by..most).step_by((by as usize).max(1 << 24)) {
                let multiple = multiple / by * by;
                assert_eq!(
                    (of(multiple, by), of(multiple - 1, by)),
                    (multiple / by, multiple / by - 1)
                );
            }
        }
    }
}
