//! Which kernel computes a product, by which tiles, and how large they are.

use crate::{
    Error, Result, Storage,
    prologue::{Extent, count},
};

/// What a kernel computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    Forward,
    Input,
    Weight,
}

/// A window on a map, and the rows that it makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct RawWindow {
    pub(crate) h: u32,
    pub(crate) w: u32,
    pub(crate) oh: u32,
    pub(crate) ow: u32,
    pub(crate) kh: u32,
    pub(crate) kw: u32,
    pub(crate) stride: u32,
    pub(crate) top: u32,
    pub(crate) left: u32,
}

/// The sizes of a product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) storage: Storage,
    pub(crate) images: usize,
    /// Rows of an image of X, and of Y.
    pub(crate) area_in: usize,
    pub(crate) area_out: usize,
    pub(crate) n_in: usize,
    pub(crate) n_out: usize,
    pub(crate) groups: usize,
    /// None: a 1x1 product of rows.
    pub(crate) window: Option<RawWindow>,
    /// None: chosen by the sizes.
    pub(crate) tile: Option<Tile>,
}

/// The results that a block of threads computes, in the forward pass and for the input's gradient. Where channels are
/// no multiples of 8, f32 is stored, or the tile is not one of the kernels', the small one is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// 128 rows of 128 columns, by 256 threads.
    Large,
    /// 128 rows of 32 columns, by 128 threads.
    Narrow,
    /// 64 rows of 64 columns, by 128 threads.
    Small,
}

/// The buffers that tiles go through.
const STAGES: usize = 3;

/// The kernel that is launched, and its tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) tile: Tile,
    /// Of `product.cu`, otherwise of `conv.cu`.
    pub(crate) is_product: bool,
    /// Neighbouring groups that are one product.
    pub(crate) merged: usize,
}

impl Sizes {
    pub(crate) fn extent_in(&self) -> Extent {
        Extent { storage: self.storage, images: self.images, area: self.area_in, c: self.n_in }
    }

    pub(crate) fn extent_out(&self) -> Extent {
        Extent { storage: self.storage, images: self.images, area: self.area_out, c: self.n_out }
    }

    pub(crate) fn taps(&self) -> usize {
        self.window.map_or(1, |it| it.kh as usize * it.kw as usize)
    }

    pub(crate) fn bytes_of_result(&self, pass: Pass) -> usize {
        match pass {
            Pass::Forward => self.extent_out().bytes(),
            Pass::Input => self.extent_in().bytes(),
            Pass::Weight => self.weights() * 4,
        }
    }

    /// Numbers of the weight.
    pub(crate) fn weights(&self) -> usize {
        self.n_out * self.taps() * (self.n_in / self.groups.max(1))
    }

    pub(crate) fn check(&self, at: &str) -> Result<()> {
        count(at, "images", self.images)?;
        count(at, "input channels", self.n_in)?;
        count(at, "output channels", self.n_out)?;
        count(at, "rows of the input", self.images * self.area_in)?;
        count(at, "rows of the output", self.images * self.area_out)?;
        count(at, "columns of the weight", self.taps() * self.n_in)?;
        if self.groups == 0
            || !self.n_in.is_multiple_of(self.groups)
            || !self.n_out.is_multiple_of(self.groups)
        {
            let text = format!(
                "{} and {} channels are not {} equal groups",
                self.n_in, self.n_out, self.groups
            );
            return Err(Error::arguments(at, text));
        }
        Ok(())
    }

    /// The kernel and the tile of a pass.
    pub(crate) fn plan(&self, pass: Pass, multiprocessors: usize) -> Plan {
        let (group_in, group_out) = (self.n_in / self.groups, self.n_out / self.groups);
        let whole = |c: usize| c.is_multiple_of(8);
        let is_two = self.storage != Storage::F32;
        // Merged groups have at most as many channels as a small tile has columns.
        let widest = group_in.max(group_out);
        let merged = (1..=self.groups)
            .filter(|n| self.groups.is_multiple_of(*n) && n * widest <= Tile::Small.columns())
            .max()
            .unwrap_or(1);
        let is_whole = is_two && whole(group_in) && whole(group_out);
        let rows = self.images * self.area_out;
        let columns = match pass {
            Pass::Forward => merged * group_out,
            Pass::Input => merged * group_in,
            Pass::Weight => self.taps() * merged * group_in,
        };
        let padded = |tile: Tile| columns.next_multiple_of(tile.columns());
        let blocks = |tile: Tile| {
            rows.div_ceil(tile.rows()) * columns.div_ceil(tile.columns()) * self.groups / merged
        };
        let is_product = is_whole && self.window.is_none();
        let is_large = padded(Tile::Large) <= padded(Tile::Small)
            && blocks(Tile::Large) >= 2 * multiprocessors;
        let tile = match (pass, self.tile) {
            _ if !is_whole => Tile::Small,
            (Pass::Weight, Some(Tile::Large)) if is_product => Tile::Large,
            (Pass::Weight, None) if is_product && columns > 64 && group_out > 64 => Tile::Large,
            (Pass::Weight, _) => Tile::Small,
            (_, Some(Tile::Large)) => Tile::Large,
            (_, Some(Tile::Narrow)) if is_product => Tile::Narrow,
            (_, Some(_)) => Tile::Small,
            _ if is_product && columns <= Tile::Narrow.columns() => Tile::Narrow,
            _ if is_large => Tile::Large,
            _ => Tile::Small,
        };
        Plan { tile, is_product, merged }
    }
}

impl Tile {
    pub(crate) fn rows(self) -> usize {
        match self {
            Self::Large | Self::Narrow => 128,
            Self::Small => 64,
        }
    }

    pub(crate) fn columns(self) -> usize {
        match self {
            Self::Large => 128,
            Self::Narrow => 32,
            Self::Small => 64,
        }
    }

    pub(crate) fn threads(self) -> usize {
        if self == Self::Large { 256 } else { 128 }
    }
}

impl Plan {
    pub(crate) fn kernel(&self, pass: Pass, storage: Storage) -> String {
        let pass = match pass {
            Pass::Forward => "forward",
            Pass::Input => "input",
            Pass::Weight => "weight",
        };
        let (rows, columns) = (self.tile.rows(), self.tile.columns());
        match (storage, self.is_product, self.tile) {
            (_, true, _) => format!("product_{pass}_{rows}x{columns}"),
            (Storage::F32, ..) => format!("conv_{pass}_f32"),
            (_, _, Tile::Large) => format!("conv_{pass}_{rows}x{columns}"),
            _ => format!("conv_{pass}_any"),
        }
    }

    /// Bytes of shared memory: the buffers of the tiles, or the results that later lie in their place.
    pub(crate) fn shared(&self, pass: Pass, storage: Storage, has_z: bool) -> usize {
        let size = storage.bytes();
        let (k, pad) = (if storage == Storage::F32 { 16 } else { 32 }, 16 / size);
        let bytes = |is_last: bool, outer: usize| match is_last {
            true => outer * (k + pad) * size,
            false => k * (outer + pad) * size,
        };
        let a = bytes(pass != Pass::Weight, self.tile.rows());
        let b = bytes(pass == Pass::Forward, self.tile.columns());
        let tiles = STAGES * (a + b + if has_z { a } else { 0 });
        let results = self.tile.rows() * (self.tile.columns() + 4) * 4;
        let sums = 5 * self.tile.threads() * 8 * 4;
        let table =
            if !self.is_product && pass != Pass::Weight { self.tile.rows() * 16 } else { 0 };
        table + tiles.max(results).max(sums)
    }
}

/// Parts of the rows that a weight's gradient sums over, and the rows of each: enough blocks for the whole card, unless
/// a part would have fewer rows than are worth a block.
pub(crate) fn splits(n_rows: usize, wanted: usize, blocks: usize) -> (usize, usize) {
    let most = n_rows.div_ceil(256).max(1);
    let n = wanted.div_ceil(blocks).clamp(1, most.min(512));
    let rows = n_rows.div_ceil(n).next_multiple_of(32);
    (n_rows.div_ceil(rows), rows)
}
