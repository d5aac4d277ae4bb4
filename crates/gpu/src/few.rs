//! Linear layers of few rows, whose tiles would be too few for the card: see `kernels/few.cu`.

use cudarc::driver::DeviceRepr;

use crate::{
    Buffer, Device, Error, Ptx, Result,
    job::Operands,
    parts::{Parts, PartsKind},
    plan::{Pass, Sizes},
    prologue::count,
    rows::number_of,
};

static PTX: Ptx = crate::ptx::ptx!("few");

/// Rows up to which these kernels are used.
const MOST_ROWS: usize = 512;

/// Weights up to which each row's reading of them all is cheap.
const MOST_WEIGHTS: usize = 1 << 19;

/// Gradients of a row that shared memory holds.
const MOST_OUTPUTS: usize = 8192;

/// `Layer` of `kernels/few.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Layer {
    rows: u32,
    n_in: u32,
    n_out: u32,
    storage: u32,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of numbers, in the order of the device's struct.
unsafe impl DeviceRepr for Layer {}

/// Whether a pass is for these kernels.
pub(crate) fn fits(sizes: &Sizes, pass: Pass, with: &Operands<'_>) -> bool {
    let needs_tiles = match pass {
        Pass::Forward => with.needs_moments,
        Pass::Input => with.prologue.gate.is_some(),
        Pass::Weight => false,
    };
    sizes.window.is_none()
        && sizes.tile.is_none()
        && !needs_tiles
        && sizes.images * sizes.area_out <= MOST_ROWS
        && sizes.n_out <= MOST_OUTPUTS
        && sizes.weights() <= MOST_WEIGHTS
}

/// Launches a pass whose buffers were checked.
///
/// # Errors
/// If the driver fails.
pub(crate) fn run(
    at: &str,
    device: &Device,
    sizes: &Sizes,
    pass: Pass,
    with: &Operands<'_>,
    out: &mut Buffer,
) -> Result<Option<Parts>> {
    let &Sizes { storage, images, area_out, n_in, n_out, .. } = sizes;
    let rows = images * area_out;
    let layer = Layer {
        rows: count(at, "rows", rows)?,
        n_in: count(at, "input channels", n_in)?,
        n_out: count(at, "output channels", n_out)?,
        storage: number_of(storage),
    };
    let prologue = with.prologue.raw(at, sizes.extent_in())?;
    let grad = with.grad.raw(at, sizes.extent_out())?;
    let there = |it: Option<&Buffer>| usize::from(it.is_some());
    let of_in = 1 + there(with.before.plus);
    let of_out = 1 + there(with.grad.z) + there(with.then.plus);
    let bytes = (rows * (of_in * n_in + of_out * n_out) + n_in * n_out) * storage.bytes();
    let launch = |name| device.launch(&PTX, name).cost(bytes, 2 * rows * n_in * n_out);
    let given = |name: &str, buffer| {
        let missing = || Error::arguments(at, format!("`{name}` is not given"));
        Option::<&Buffer>::ok_or_else(buffer, missing)
    };
    let (launch, parts) = match pass {
        Pass::Forward => {
            let then = &with.then;
            let launch = launch("few_forward")
                .grid(rows, n_out.div_ceil(16), 1)
                .block(128)
                .arg(given("x", with.x)?)
                .value(&prologue)
                .arg(given("weight", with.weight)?)
                .arg(then.scale)
                .arg(then.shift)
                .arg(then.plus)
                .arg(&mut *out)
                .arg(then.activation as u32);
            (launch, None)
        }
        Pass::Input => {
            let chunks = n_in.div_ceil(8).min(256);
            let shared = (n_out.next_multiple_of(8) + 256 / chunks * chunks * 8) * 4;
            let mut parts = match with.before.needs_sums {
                true => Some(Parts::alloc(device, PartsKind::Norm, rows, n_in)?),
                false => None,
            };
            let launch = launch("few_input")
                .grid(rows, n_in.div_ceil(8).div_ceil(chunks), 1)
                .block(256)
                .shared(shared)
                .arg(given("g", with.g)?)
                .value(&grad)
                .arg(given("weight", with.weight)?)
                .arg(with.x)
                .value(&prologue)
                .arg(with.before.plus)
                .arg(&mut *out)
                .arg(parts.as_mut().map(|it| &mut it.buffer));
            (launch, parts)
        }
        Pass::Weight => {
            let launch = launch("few_weight")
                .grid(n_in.div_ceil(128), n_out.div_ceil(16), 1)
                .block(256)
                .arg(given("g", with.g)?)
                .value(&grad)
                .arg(given("x", with.x)?)
                .value(&prologue)
                .arg(&mut *out);
            (launch, None)
        }
    };
    let launch = launch.value(&layer);
    #[expect(unsafe_code, reason = "a launch")]
    // SAFETY: the caller has checked the sizes of all buffers; they are borrowed until the launch, and the stream orders
    // it before whatever reuses them. `out` is borrowed mutably.
    unsafe {
        launch.run()?;
    }
    Ok(parts)
}
