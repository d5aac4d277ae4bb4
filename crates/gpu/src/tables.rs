//! What the kernels over all parameters read: the mirrors of the structs of `kernels/update.cuh`.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use crate::{
    Address, Buffer, Device, Error, Result, Storage,
    prologue::count,
    rows::{has, number_of},
};

/// Numbers of a parameter that a block works on.
const CHUNK: u32 = 4096;

/// A parameter: f32 numbers, and perhaps a copy of them in another storage.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// f32 `[len]`.
    pub master: Arc<Buffer>,
    /// `[len]`: what the network computes with.
    pub copy: Option<(Arc<Buffer>, Storage)>,
    /// How many numbers it has.
    pub len: usize,
    /// The numbers that belong to one output of its layer.
    pub rows: Rows,
    /// Whether [adaptive clipping](crate::update::Clip::Adaptive) applies to it: not to the head's.
    pub is_clipped: bool,
}

/// How the numbers of a parameter are divided into the outputs of its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Not at all: a bias, or a norm's scale.
    One,
    /// So many rows of neighbouring numbers.
    First(usize),
    /// So many rows, each of every n-th number: a depthwise weight `[h, w, n]`.
    Last(usize),
}

/// `Parameter` of `kernels/update.cuh`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct RawParameter {
    pub(crate) master: Address,
    pub(crate) copy: Address,
    pub(crate) state: [Address; 3],
    pub(crate) len: u32,
    pub(crate) copy_stored: u32,
    pub(crate) n_rows: u32,
    pub(crate) first_row: u32,
    pub(crate) first_chunk: u32,
    pub(crate) is_matrix: u32,
    pub(crate) is_last_axis: u32,
    pub(crate) padding: u32,
}

/// `Turn` of `kernels/update.cuh`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct RawTurn {
    pub(crate) grad: Address,
    pub(crate) stored: u32,
    pub(crate) padding: u32,
    pub(crate) lr: f64,
    pub(crate) decay: f64,
}

/// `Chunk` and `Rows` of `kernels/update.cuh`: a parameter, and the part of it or its first row.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct RawChunk {
    parameter: u32,
    idx: u32,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of addresses and numbers, without a gap, in the order of the device's struct.
unsafe impl DeviceRepr for RawParameter {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: as above.
unsafe impl DeviceRepr for RawTurn {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: as above.
unsafe impl DeviceRepr for RawChunk {}

/// The tables of some parameters on the device.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) parameters: Buffer,
    pub(crate) chunks: Buffer,
    pub(crate) n_chunks: usize,
    /// Blocks of rows of all parameters.
    pub(crate) rows: Buffer,
    pub(crate) n_row_blocks: usize,
    /// The same of those that adaptive clipping applies to.
    pub(crate) clipped: Option<Buffer>,
    pub(crate) n_clipped_blocks: usize,
    pub(crate) n_rows: usize,
    /// The numbers of all parameters.
    pub(crate) n_numbers: usize,
}

impl Tables {
    /// Makes the tables.
    ///
    /// - `states`: the state tensors of each parameter, f32 of its size; as many for each, at most three.
    pub(crate) fn new(
        at: &str,
        device: &Device,
        parameters: &[Parameter],
        states: &[Vec<Address>],
    ) -> Result<Self> {
        let (mut raw, mut chunks, mut rows, mut clipped) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut n_rows, mut n_numbers) = (0, 0);
        for (parameter, states) in parameters.iter().zip(states) {
            let len = count(at, "numbers of a parameter", parameter.len)?;
            check(at, parameter)?;
            let (own_rows, is_matrix, is_last_axis) = match parameter.rows {
                Rows::One => (1, 0, 0),
                Rows::First(n) => (count(at, "rows", n)?, 1, 0),
                Rows::Last(n) => (count(at, "rows", n)?, 1, 1),
            };
            let mut state = [Address::NULL; 3];
            for (to, from) in state.iter_mut().zip(states) {
                *to = *from;
            }
            let idx = count(at, "parameters", raw.len() + 1)? - 1;
            let first_chunk = count(at, "chunks", chunks.len() + 1)? - 1;
            raw.push(RawParameter {
                master: parameter.master.address(),
                copy: Address::of(parameter.copy.as_ref().map(|(it, _)| &**it)),
                state,
                len,
                copy_stored: parameter.copy.as_ref().map_or(0, |(_, it)| number_of(*it)),
                n_rows: own_rows,
                first_row: count(at, "rows", n_rows + 1)? - 1,
                first_chunk,
                is_matrix,
                is_last_axis,
                padding: 0,
            });
            chunks.extend(
                (0..len.div_ceil(CHUNK)).map(|part| RawChunk { parameter: idx, idx: part }),
            );
            let together = if is_last_axis == 1 { 256 } else { 8 };
            let blocks = (0..own_rows)
                .step_by(together)
                .map(|first| RawChunk { parameter: idx, idx: first });
            if parameter.is_clipped {
                clipped.extend(blocks.clone());
            }
            rows.extend(blocks);
            n_rows += own_rows as usize;
            n_numbers += parameter.len;
        }
        Ok(Self {
            parameters: device.upload(&raw)?,
            n_chunks: chunks.len(),
            chunks: device.upload(&chunks)?,
            n_row_blocks: rows.len(),
            rows: device.upload(&rows)?,
            n_clipped_blocks: clipped.len(),
            clipped: if clipped.is_empty() { None } else { Some(device.upload(&clipped)?) },
            n_rows,
            n_numbers,
        })
    }
}

/// Checks that the buffers of a parameter are as long as it says.
fn check(at: &str, it: &Parameter) -> Result<()> {
    has(at, "master", &it.master, it.len * 4)?;
    if let Some((copy, storage)) = &it.copy {
        has(at, "copy", copy, it.len * storage.bytes())?;
    }
    match it.rows {
        Rows::First(n) | Rows::Last(n) if n == 0 || !it.len.is_multiple_of(n) => {
            Err(Error::arguments(at, format!("{} numbers are not {n} rows", it.len)))
        }
        _ => Ok(()),
    }
}
