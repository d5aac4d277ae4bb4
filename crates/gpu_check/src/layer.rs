//! A product or a convolution with its prologues: what it computes, and its three passes.

use gpu::{
    Buffer, Result, Storage,
    conv::{Before, Conv, Epilogue, Tile, Window},
    parts::Parts,
    product::Linear,
    prologue::{Activation, GradPrologue, Prologue},
};

use crate::{
    check::Check,
    prologue::{Of, PlainPrologue, Read},
};

/// What is done with a pass of a layer, which has a name and can be run again and again.
pub type Each<'a> = &'a mut dyn FnMut(&str, &mut dyn FnMut() -> Result<()>) -> Result<()>;

/// A product, or a convolution.
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    /// How x, y and the weight are stored.
    pub storage: Storage,
    /// The number of images.
    pub images: usize,
    /// The channels of x.
    pub n_in: usize,
    /// The channels of y.
    pub n_out: usize,
    /// The groups of channels.
    pub groups: usize,
    /// The window, and the map that it slides over.
    pub window: Window,
    /// Whether it is a product of rows, of a window of 1x1.
    pub is_product: bool,
    /// The tile of a block; `None` chooses by the sizes.
    pub tile: Option<Tile>,
    /// Whether the kernels of few rows are used, which compute no moments.
    pub is_few: bool,
    /// How x is read.
    pub x: Read,
    /// How the gradient of y is read.
    pub g: Read,
    /// The activation of both.
    pub activation: Activation,
    /// Whether a residual is added in both directions, with a bias (or a scale and a shift) in the forward pass.
    pub has_extras: bool,
}

impl Layer {
    /// A product of rows: `[images, area, n_in]` to `[images, area, n_out]`.
    #[must_use]
    pub fn product(storage: Storage, [images, area, n_in, n_out]: [usize; 4]) -> Self {
        let window =
            Window { size: [1, area], kernel: [1, 1], stride: 1, before: [0; 2], after: [0; 2] };
        Self { is_product: true, ..Self::conv(storage, [images, n_in, n_out, 1], window) }
    }

    /// A convolution: the images, the channels of x and y, and the groups.
    #[must_use]
    pub fn conv(
        storage: Storage,
        [images, n_in, n_out, groups]: [usize; 4],
        window: Window,
    ) -> Self {
        Self {
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

    /// What distinguishes it from others.
    pub(crate) fn name(&self) -> String {
        let &Self { images, n_in, n_out, groups, window, x, g, activation, .. } = self;
        let Window { size: [h, w], kernel: [kh, kw], stride, .. } = window;
        let tile = self.tile.filter(|_| !self.is_few);
        let mut name = match self.is_product {
            true => format!("{images}x{w} rows, {n_in}->{n_out}"),
            false => format!("{images}x{h}x{w}, {kh}x{kw}/{stride}, {n_in}->{n_out}"),
        };
        if groups > 1 {
            name += &format!(", {groups} groups");
        }
        if x != Read::Plain || g != Read::Plain {
            name += &format!(", x {x:?}, g {g:?}, {activation:?}");
        }
        if let Some(tile) = tile {
            name += &format!(", {tile:?}");
        }
        name
    }

    fn linear(&self) -> Linear {
        let &Self { storage, images, n_in, n_out, window, .. } = self;
        let tile = if self.is_few { None } else { self.tile };
        Linear { storage, images, area: window.size[0] * window.size[1], n_in, n_out, tile }
    }

    fn convolution(&self) -> Conv {
        let &Self { storage, images, n_in, n_out, groups, window, tile, .. } = self;
        Conv { storage, images, n_in, n_out, groups, window, tile }
    }

    /// The extent of x.
    pub(crate) fn of_x(&self) -> Of {
        let &Self { storage, images, n_in, window, .. } = self;
        Of { storage, images, area: window.size[0] * window.size[1], c: n_in }
    }

    /// The extent of y, of height and width `out`.
    pub(crate) fn of_y(&self, out: [usize; 2]) -> Of {
        let &Self { storage, images, n_out, .. } = self;
        Of { storage, images, area: out[0] * out[1], c: n_out }
    }

    /// All products: which element of Y, of X, of W. Y has the height and width `[oh, ow]`.
    pub(crate) fn each(&self, [oh, ow]: [usize; 2], mut f: impl FnMut(usize, usize, usize)) {
        let ([h, w], [kh, kw]) = (self.window.size, self.window.kernel);
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

    /// Hands each pass to `each` with its name, as something that can be run again and again; nothing is compared.
    ///
    /// # Errors
    /// If the card has no room, or `each` fails.
    pub fn passes(&self, check: &mut Check, each: Each<'_>) -> Result<()> {
        let (extent_x, extent_y) = (self.of_x(), self.of_y(self.window.out()?));
        let (x, _) = check.random(self.storage, extent_x.n())?;
        let (g, _) = check.random(self.storage, extent_y.n())?;
        let (w, _) = check.random(self.storage, self.n_weights())?;
        let of_x = PlainPrologue::of(check, extent_x, self.x, self.activation, false)?;
        let of_g = PlainPrologue::of(check, extent_y, self.g, self.activation, true)?;
        let mut y = check.alloc(self.storage, extent_y.n())?;
        let mut dx = check.alloc(self.storage, extent_x.n())?;
        let mut dw = check.alloc(Storage::F32, self.n_weights())?;
        let (x, grad) = ((&x, of_x.prologue()), (&g, of_g.grad()));
        let before = Before { plus: None, needs_sums: self.x != Read::Plain };
        let read = (self.x != Read::Plain).then_some(x);
        let none = Epilogue::default();
        each("forward", &mut || {
            self.forward_pass(check, x, &w, none, !self.is_few, &mut y).map(drop)
        })?;
        // The images have no gradient.
        if self.n_in > 3 {
            each("input gradient", &mut || {
                self.input_pass(check, grad, &w, read, before, &mut dx).map(drop)
            })?;
        }
        each("weight gradient", &mut || self.weight_pass(check, grad, x, &mut dw))
    }

    pub(crate) fn forward_pass(
        &self,
        check: &Check,
        x: (&Buffer, Prologue<'_>),
        w: &Buffer,
        then: Epilogue<'_>,
        needs_moments: bool,
        y: &mut Buffer,
    ) -> Result<Option<Parts>> {
        let device = check.device();
        match self.is_product {
            true => self.linear().forward(device, x, w, then, needs_moments, y),
            false => self.convolution().forward(device, x, w, then, needs_moments, y),
        }
    }

    pub(crate) fn input_pass(
        &self,
        check: &Check,
        g: (&Buffer, GradPrologue<'_>),
        w: &Buffer,
        x: Option<(&Buffer, Prologue<'_>)>,
        before: Before<'_>,
        dx: &mut Buffer,
    ) -> Result<Option<Parts>> {
        let device = check.device();
        match self.is_product {
            true => self.linear().input_gradient(device, g, w, x, before, dx),
            false => self.convolution().input_gradient(device, g, w, x, before, dx),
        }
    }

    pub(crate) fn weight_pass(
        &self,
        check: &Check,
        g: (&Buffer, GradPrologue<'_>),
        x: (&Buffer, Prologue<'_>),
        dw: &mut Buffer,
    ) -> Result<()> {
        match self.is_product {
            true => self.linear().weight_gradient(check.device(), g, x, dw),
            false => self.convolution().weight_gradient(check.device(), g, x, dw),
        }
    }

    pub(crate) fn n_weights(&self) -> usize {
        let [kh, kw] = self.window.kernel;
        self.n_out * kh * kw * self.n_in / self.groups
    }
}
