//! Convolutions with a dense window, also in groups, without an im2col buffer: the rows of a product are gathered while
//! they are read.
//!
//! y[n, i, j, o] = Σ_{u, v, c} x[n, i·s + u - top, j·s + v - left, c]·w[o, u, v, c].
//!
//! The gradient of the input gathers too: the positions of a phase, `s` apart in both directions, see the same taps, and
//! each phase is a product of its own. Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014,
//! <https://arxiv.org/abs/1410.0759>. Twin of `ops::conv2d`.

use crate::{
    Buffer, Device, Error, Result, Storage,
    job::{self, Operands},
    parts::Parts,
    plan::{Pass, RawWindow, Sizes},
    prologue::{GradPrologue, Prologue, count},
};

pub use crate::{
    job::{Before, Epilogue},
    plan::Tile,
};

/// A window on a map of known size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the map.
    pub size: [usize; 2],
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// The stride, in both directions.
    pub stride: usize,
    /// Zeros above and to the left.
    pub before: [usize; 2],
    /// Zeros below and to the right.
    pub after: [usize; 2],
}

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// How x, y, the weight and their gradients but the weight's are stored.
    pub storage: Storage,
    /// Images.
    pub images: usize,
    /// Channels of x.
    pub n_in: usize,
    /// Channels of y.
    pub n_out: usize,
    /// Groups of channels; an output depends on its own group alone.
    pub groups: usize,
    /// The window.
    pub window: Window,
    /// The tile of a block; `None` chooses by the sizes.
    pub tile: Option<Tile>,
}

impl Window {
    /// Height and width of the output.
    ///
    /// # Errors
    /// If the window does not fit the map.
    pub fn out(&self) -> Result<[usize; 2]> {
        let axis = |idx: usize| {
            let size = self.size[idx] + self.before[idx] + self.after[idx];
            let fits = self.size[idx] > 0
                && self.kernel[idx] > 0
                && self.stride > 0
                && self.kernel[idx] <= size;
            fits.then(|| (size - self.kernel[idx]) / self.stride + 1)
        };
        match (axis(0), axis(1)) {
            (Some(h), Some(w)) => Ok([h, w]),
            _ => {
                Err(Error::arguments("conv", format!("the window does not fit the map: {self:?}")))
            }
        }
    }

    fn raw(&self) -> Result<RawWindow> {
        let ([h, w], [oh, ow], [kh, kw]) = (self.size, self.out()?, self.kernel);
        let of = |name: &str, n: usize| count("conv", name, n);
        let zeros = |n: usize| if n == 0 { Ok(0) } else { of("zeros before the map", n) };
        Ok(RawWindow {
            h: of("lines", h)?,
            w: of("columns", w)?,
            oh: of("lines", oh)?,
            ow: of("columns", ow)?,
            kh: of("taps", kh)?,
            kw: of("taps", kw)?,
            stride: of("steps", self.stride)?,
            top: zeros(self.before[0])?,
            left: zeros(self.before[1])?,
        })
    }
}

impl Conv {
    fn sizes(&self) -> Result<Sizes> {
        let [h, w] = self.window.size;
        let [oh, ow] = self.window.out()?;
        Ok(Sizes {
            storage: self.storage,
            images: self.images,
            area_in: h * w,
            area_out: oh * ow,
            n_in: self.n_in,
            n_out: self.n_out,
            groups: self.groups,
            window: Some(self.window.raw()?),
            tile: self.tile,
        })
    }

    /// y = act(scale·conv(prologue(x)) + shift + plus), and its moments by channel if they are asked for.
    ///
    /// - `x`: `[images, h, w, n_in]`, and its prologue; the padding is of zeros after the prologue.
    /// - `weight`: `[n_out, kh, kw, n_in / groups]`.
    /// - `y`: `[images, oh, ow, n_out]`.
    ///
    /// # Errors
    /// If the window does not fit, if a buffer is too short, or if the driver fails.
    pub fn forward(
        &self,
        device: &Device,
        (x, prologue): (&Buffer, Prologue<'_>),
        weight: &Buffer,
        then: Epilogue<'_>,
        needs_moments: bool,
        y: &mut Buffer,
    ) -> Result<Option<Parts>> {
        let with = Operands {
            x: Some(x),
            prologue,
            weight: Some(weight),
            then,
            needs_moments,
            ..Operands::default()
        };
        job::run("conv::forward", device, &self.sizes()?, Pass::Forward, &with, y)
    }

    /// The gradient of x, as [`Linear::input_gradient`](crate::product::Linear::input_gradient).
    ///
    /// - `g`: `[images, oh, ow, n_out]`, and its prologue.
    /// - `weight`: `[n_out, kh, kw, n_in / groups]`.
    /// - `x`: z, and its prologue; `None` if x is read as it is.
    /// - `dx`: `[images, h, w, n_in]`.
    /// - returns: the sums, if they are asked for.
    ///
    /// # Errors
    /// If the window does not fit, if a buffer is too short, or if the driver fails.
    pub fn input_gradient(
        &self,
        device: &Device,
        (g, grad): (&Buffer, GradPrologue<'_>),
        weight: &Buffer,
        x: Option<(&Buffer, Prologue<'_>)>,
        before: Before<'_>,
        dx: &mut Buffer,
    ) -> Result<Option<Parts>> {
        let (z, prologue) = x.unzip();
        let prologue = prologue.unwrap_or_default();
        let with = Operands {
            x: z,
            prologue,
            g: Some(g),
            grad,
            weight: Some(weight),
            before,
            ..Operands::default()
        };
        job::run("conv::input_gradient", device, &self.sizes()?, Pass::Input, &with, dx)
    }

    /// The gradient of the weight, f32 `[n_out, kh, kw, n_in / groups]`.
    ///
    /// - `g`: `[images, oh, ow, n_out]`, and its prologue.
    /// - `x`: `[images, h, w, n_in]`, and its prologue.
    ///
    /// # Errors
    /// If the window does not fit, if a buffer is too short, if the card has no room for the partial sums, or if the
    /// driver fails.
    pub fn weight_gradient(
        &self,
        device: &Device,
        (g, grad): (&Buffer, GradPrologue<'_>),
        (x, prologue): (&Buffer, Prologue<'_>),
        dw: &mut Buffer,
    ) -> Result<()> {
        let with = Operands { x: Some(x), prologue, g: Some(g), grad, ..Operands::default() };
        job::run("conv::weight_gradient", device, &self.sizes()?, Pass::Weight, &with, dw).map(drop)
    }
}
