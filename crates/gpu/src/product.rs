//! Products of rows of channels and a weight: a linear layer, and a 1x1 convolution, which in channels-last layout is
//! the same thing over all positions of all images.
//!
//! Y = prologue(X)·Wᵀ + bias, dX = prologue(G)·W, dW = prologue(G)ᵀ·prologue(X); the gradient of the bias, Σ prologue(G), is
//! [`elementwise::column_sums`](crate::elementwise::column_sums).
//!
//! A prologue is applied once for each tile of columns. Where g is read through a norm and the weight has many columns,
//! it pays to apply it once and for all, with [`elementwise::gradient`](crate::elementwise::gradient).
//!
//! Two-byte numbers are multiplied by the matrix units and summed in f32; f32 is multiplied and summed in f32, without
//! TF32. Twin of `ops::linear`.

use crate::{
    Buffer, Device, Result, Storage, few,
    job::{self, Operands},
    parts::Parts,
    plan::{Pass, Sizes},
    prologue::{GradPrologue, Prologue},
};

pub use crate::{
    job::{Before, Epilogue},
    plan::Tile,
};

/// The sizes of a product of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// How x, y, the weight and their gradients but the weight's are stored.
    pub storage: Storage,
    /// Images: what gates belong to.
    pub images: usize,
    /// Rows of an image.
    pub area: usize,
    /// Channels of x.
    pub n_in: usize,
    /// Channels of y.
    pub n_out: usize,
    /// The tile of a block; `None` chooses by the sizes.
    pub tile: Option<Tile>,
}

impl Linear {
    fn sizes(&self) -> Sizes {
        Sizes {
            storage: self.storage,
            images: self.images,
            area_in: self.area,
            area_out: self.area,
            n_in: self.n_in,
            n_out: self.n_out,
            groups: 1,
            window: None,
            tile: self.tile,
        }
    }

    /// Few rows have kernels of their own.
    fn run(
        &self,
        at: &str,
        device: &Device,
        pass: Pass,
        with: &Operands<'_>,
        out: &mut Buffer,
    ) -> Result<Option<Parts>> {
        let sizes = self.sizes();
        if !few::fits(&sizes, pass, with) {
            return job::run(at, device, &sizes, pass, with, out);
        }
        job::check(at, &sizes, pass, with, out)?;
        few::run(at, device, &sizes, pass, with, out)
    }

    /// y = act(scale·(prologue(x)·Wᵀ) + shift + plus), and its moments by channel if they are asked for.
    ///
    /// - `x`: `[images, area, n_in]`, and its prologue.
    /// - `weight`: `[n_out, n_in]`.
    /// - `y`: `[images, area, n_out]`.
    ///
    /// # Errors
    /// If a buffer is too short, or if the driver fails.
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
        self.run("product::forward", device, Pass::Forward, &with, y)
    }

    /// The gradient of x, sent back through x's prologue as far as a norm: d = (prologue(g)·W + plus)·act'(scale·z + shift).
    /// With a gate it is stored as prologue(g)·W + plus, since the gate's own gradient comes first.
    ///
    /// - `g`: `[images, area, n_out]`, and its prologue.
    /// - `weight`: `[n_out, n_in]`.
    /// - `x`: z, and its prologue; `None` if x is read as it is.
    /// - `dx`: `[images, area, n_in]`.
    /// - returns: the sums, if they are asked for.
    ///
    /// # Errors
    /// If a buffer is too short, or if the driver fails.
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
        self.run("product::input_gradient", device, Pass::Input, &with, dx)
    }

    /// dW = prologue(g)ᵀ·prologue(x), f32 `[n_out, n_in]`.
    ///
    /// - `g`: `[images, area, n_out]`, and its prologue.
    /// - `x`: `[images, area, n_in]`, and its prologue.
    ///
    /// # Errors
    /// If a buffer is too short, if the card has no room for the partial sums, or if the driver fails.
    pub fn weight_gradient(
        &self,
        device: &Device,
        (g, grad): (&Buffer, GradPrologue<'_>),
        (x, prologue): (&Buffer, Prologue<'_>),
        dw: &mut Buffer,
    ) -> Result<()> {
        let with = Operands { x: Some(x), prologue, g: Some(g), grad, ..Operands::default() };
        self.run("product::weight_gradient", device, Pass::Weight, &with, dw).map(drop)
    }
}
