//! From RGB8 images to the input of a network: mixed samples are rendered and normalised; and images are enlarged.
//!
//! z = (x / 255 - mean) / std for each colour, y = (1 - s) z + s z' where a layer of opacity s covers an image, and
//! then the erased areas, in order. On the CPU this is `normalise` of `ops`, whose description of a row is
//! `base::mix::MixedSample`; here it has no pointers.

use cudarc::driver::DeviceRepr;

use crate::{
    Buffer, Device, Error, Ptx, Result, Slice, Storage,
    prologue::count,
    rows::{THREADS, has, number_of},
};

static PTX: Ptx = crate::ptx::ptx!("image");

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Area {
    /// Its first row.
    pub top: u32,
    /// Its first column.
    pub left: u32,
    /// Its rows.
    pub height: u32,
    /// Its columns.
    pub width: u32,
}

/// How a row of a batch is rendered: an image, perhaps a layer of another one on top, and erased areas.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The image that fills the row.
    pub image: usize,
    /// A layer on top of it.
    pub over: Option<Layer>,
    /// The areas that are erased after normalisation, in order.
    pub erased: Vec<Erased>,
}

/// A part of an image that is visible in a row of another image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layer {
    /// The image.
    pub image: usize,
    /// The area of the row that it covers.
    pub area: Area,
    /// Row and column of the image at the area's upper left corner.
    pub from: [u32; 2],
    /// Its opacity, from 0 to 1.
    pub share: f64,
}

/// An erased area.
#[derive(Debug, Clone, PartialEq)]
pub struct Erased {
    /// The area.
    pub area: Area,
    /// Its new content.
    pub fill: Fill,
}

/// The content of an erased area, as normalised colours.
#[derive(Debug, Clone, PartialEq)]
pub enum Fill {
    /// One colour.
    Colour([f32; 3]),
    /// The area's pixels, `[height, width, 3]`.
    Pixels(Vec<f32>),
}

/// Images on the device and what is made of them.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// `[m, h, w, 3]`, RGB8.
    pub pixels: Slice<'a>,
    /// The number of images, m.
    pub n: usize,
    /// `[h, w]` of every image.
    pub size: [usize; 2],
    /// The mean of each colour, in units where 1 is the maximum.
    pub mean: [f64; 3],
    /// The standard deviation of each colour, in the same units.
    pub std: [f64; 3],
}

/// z = x·scale + shift: `Affine` of `kernels/image.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Affine {
    scale: [f32; 3],
    shift: [f32; 3],
}

/// `Sample` of `kernels/image.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct RawSample {
    image: u32,
    over: u32,
    area: Area,
    from: [u32; 2],
    first_erased: u32,
    n_erased: u32,
    keep: f32,
    affine: Affine,
    padding: u32,
}

/// `Erased` of `kernels/image.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct RawErased {
    area: Area,
    pixels: u64,
    colour: [f32; 3],
    padding: u32,
}

/// `Between` of `kernels/image.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Between {
    first: u32,
    second: u32,
    part: i32,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of numbers, without a gap, in the order of the device's struct.
unsafe impl DeviceRepr for Affine {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: as above.
unsafe impl DeviceRepr for RawSample {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: as above.
unsafe impl DeviceRepr for RawErased {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: as above.
unsafe impl DeviceRepr for Between {}

/// No layer.
const NO_IMAGE: u32 = u32::MAX;
/// No pixels, but a colour.
const NO_PIXELS: u64 = u64::MAX;

impl Images<'_> {
    fn affine(&self, share: f64) -> Affine {
        let Self { mean, std, .. } = self;
        Affine {
            scale: std::array::from_fn(|at| (share / (255.0 * std[at])) as f32),
            shift: std::array::from_fn(|at| (-share * mean[at] / std[at]) as f32),
        }
    }

    /// The problem of a sample that refers to an image or an area that does not exist.
    fn misfit(&self, sample: &Sample) -> Option<String> {
        let fits = |area: &Area, top: u32, left: u32| {
            top as usize + area.height as usize <= self.size[0]
                && left as usize + area.width as usize <= self.size[1]
        };
        let layer = sample.over.iter();
        let absent =
            layer.clone().map(|it| it.image).chain([sample.image]).find(|it| *it >= self.n);
        if let Some(idx) = absent {
            return Some(format!("a row refers to image {idx}, there are {}", self.n));
        }
        let erased = sample.erased.iter().map(|it| (it.area, it.area.top, it.area.left));
        let layer = layer.flat_map(|it| {
            [(it.area, it.from[0], it.from[1]), (it.area, it.area.top, it.area.left)]
        });
        if let Some((area, ..)) =
            layer.chain(erased).find(|(area, top, left)| !fits(area, *top, *left))
        {
            return Some(format!(
                "{area:?} is not within an image of {}x{}",
                self.size[0], self.size[1]
            ));
        }
        let is_short = |it: &&Erased| match &it.fill {
            Fill::Colour(_) => false,
            Fill::Pixels(xs) => xs.len() != it.area.height as usize * it.area.width as usize * 3,
        };
        sample
            .erased
            .iter()
            .find(is_short)
            .map(|it| format!("pixels that do not fill {:?}", it.area))
    }
}

/// Renders and normalises the rows of a batch.
///
/// - `ys`: `[samples, h, w, channels]`, where channels beyond the third, up to the eighth, are zeros.
///
/// # Errors
/// If the sizes do not fit, or a sample refers to an image or an area that does not exist.
#[expect(unsafe_code, reason = "a launch")]
pub fn normalise(
    device: &Device,
    images: &Images<'_>,
    samples: &[Sample],
    storage: Storage,
    channels: usize,
    ys: &mut Buffer,
) -> Result<()> {
    let at = "image::normalise";
    let [h, w] = images.size;
    let area = count(at, "pixels of an image", h * w)?;
    if !(3..=8).contains(&channels) {
        return Err(Error::arguments(at, format!("{channels} channels; from 3 to 8 are possible")));
    }
    let bytes = images.n * h * w * 3;
    if images.pixels.bytes() < bytes {
        let what = format!("`pixels` has {} bytes, and needs {bytes}", images.pixels.bytes());
        return Err(Error::arguments(at, what));
    }
    has(at, "ys", ys, samples.len() * h * w * channels * storage.bytes())?;
    if let Some(misfit) = samples.iter().find_map(|it| images.misfit(it)) {
        return Err(Error::arguments(at, misfit));
    }
    let (mut rows, mut erased, mut fills) = (Vec::new(), Vec::new(), Vec::new());
    let of = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    for sample in samples {
        let layer = sample.over.unwrap_or(Layer {
            image: NO_IMAGE as usize,
            area: Area::default(),
            from: [0, 0],
            share: 0.0,
        });
        rows.push(RawSample {
            image: of(sample.image),
            over: of(layer.image),
            area: layer.area,
            from: layer.from,
            first_erased: of(erased.len()),
            n_erased: of(sample.erased.len()),
            keep: (1.0 - layer.share) as f32,
            affine: images.affine(layer.share),
            padding: 0,
        });
        for Erased { area, fill } in &sample.erased {
            let (pixels, colour) = match fill {
                Fill::Colour(it) => (NO_PIXELS, *it),
                Fill::Pixels(it) => {
                    fills.extend_from_slice(it);
                    ((fills.len() - it.len()) as u64, [0.0; 3])
                }
            };
            erased.push(RawErased { area: *area, pixels, colour, padding: 0 });
        }
    }
    let rows = upload(device, &rows)?;
    let (erased, fills) = (upload(device, &erased)?, upload(device, &fills)?);
    let n_blocks = area.div_ceil(THREADS);
    let launch = device.launch(&PTX, "normalise");
    let launch = launch.grid(samples.len() * n_blocks as usize, 1, 1).block(THREADS);
    let launch =
        launch.arg(images.pixels).arg(rows.as_ref()).arg(erased.as_ref()).arg(fills.as_ref());
    let launch =
        launch.value(&images.affine(1.0)).arg(ys).arg(number_of(storage)).arg(of(channels));
    let launch = launch.arg(of(h)).arg(of(w)).arg(n_blocks);
    let n_pixels = samples.len() * h * w;
    // SAFETY: the sizes of all buffers were checked above, and that samples lie within the images.
    unsafe { launch.cost(n_pixels * (3 + channels * storage.bytes()), 6 * n_pixels).run() }
}

/// A copy of a list whose length is another in every batch, in a buffer of few sizes, which the cache can serve again.
fn upload<T: DeviceRepr + Copy>(device: &Device, list: &[T]) -> Result<Option<Buffer>> {
    if list.is_empty() {
        return Ok(None);
    }
    let mut buffer = device.alloc(size_of_val(list).next_power_of_two())?;
    buffer.write(list)?;
    Ok(Some(buffer))
}

/// The part of a line of pixels, or of a column, that is enlarged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// The pixels of the line.
    pub n: usize,
    /// Where the part begins.
    pub start: f64,
    /// Its length.
    pub length: f64,
    /// The pixels that it is enlarged to.
    pub size: usize,
}

/// Steps between two pixels: 2⁻¹⁵.
const STEP_BITS: u32 = 15;

impl Stretch {
    /// Pixel i is centred at p = start + (i + 1/2)·length/size - 1/2, in steps of 2⁻¹⁵.
    fn places(&self) -> Vec<Between> {
        let place = |idx: usize| {
            let place = self.start + (idx as f64 + 0.5) * self.length / self.size as f64 - 0.5;
            let steps = place.clamp(0.0, (self.n - 1) as f64) * f64::from(1 << STEP_BITS);
            let steps = steps.round() as u32;
            let (first, part) = (steps >> STEP_BITS, steps % (1 << STEP_BITS));
            // The last pixel has no next pixel, and needs none.
            Between { first, second: first + u32::from(part > 0), part: part.cast_signed() }
        };
        (0..self.size).map(place).collect()
    }
}

/// Enlarges one axis of RGB8 images bilinearly, bit for bit as `upsample_columns` and `upsample_rows` of `ops` do.
///
/// - `from`: `[outer, n, inner]` bytes; `to`: `[outer, size, inner]`. For columns `outer` are the lines and `inner` is
///   3, for rows `inner` is a line's bytes.
///
/// # Errors
/// If the sizes do not fit, or the part is not within the line or has more pixels than it is enlarged to.
#[expect(unsafe_code, reason = "a launch")]
pub fn upsample(
    device: &Device,
    stretch: &Stretch,
    (outer, inner): (usize, usize),
    from: &Buffer,
    to: &mut Buffer,
) -> Result<()> {
    let at = "image::upsample";
    let Stretch { n, start, length, size } = *stretch;
    let n_to = count(at, "bytes", outer * size * inner)?;
    let n_from = count(at, "bytes", outer * n * inner)?;
    if n > 1 << 16
        || !(0.0..=n as f64).contains(&start)
        || start + length > n as f64
        || length > size as f64
    {
        return Err(Error::arguments(
            at,
            format!("{stretch:?} is not a part of a line, or is no enlargement"),
        ));
    }
    has(at, "from", from, n_from as usize)?;
    has(at, "to", to, n_to as usize)?;
    let places = upload(device, &stretch.places())?;
    let launch =
        device.launch(&PTX, "upsample").grid(n_to.div_ceil(THREADS) as usize, 1, 1).block(THREADS);
    let of = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let launch = launch
        .arg(from)
        .arg(places.as_ref())
        .arg(to)
        .arg(of(n))
        .arg(of(size))
        .arg(of(inner))
        .arg(n_to);
    // SAFETY: the sizes of both buffers were checked above, and places lie within a line.
    unsafe { launch.cost((n_from + n_to) as usize, 3 * n_to as usize).run() }
}
