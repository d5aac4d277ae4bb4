//! An image with pending operations, which are applied lazily.
//!
//! Crops, resizes, flips and warps are only recorded, and applied together when an operation needs the
//! pixels. So only the part of a resized image that a later crop keeps is computed, several warps resample
//! once, and no more of a JPEG is decoded than is needed. The result equals that of applying the operations
//! one by one, up to rounding, with one exception: two resamplings in a row become one, which is sharper.

use std::ops::Range;

use image::GrayImage;

use crate::{
    Cache, DecodeError, Image, Projection,
    cache::ImageCache,
    cutout::Cutout,
    decode::{Encoded, Part},
    face::{self, DEFAULT_MIN_SCORE, Face},
    filter::Filter,
    sample::{Border, project, sample},
    shared::{Opened, Shared},
};

/// An image with pending operations.
pub struct Canvas<'a> {
    source: Source<'a>,
    /// The visible part of the source: rows, then columns.
    view: [Side; 2],
    /// The filter with which the view is resampled.
    filter: Filter,
    /// The warp applied to the view.
    warp: Option<Warp>,
    /// The cache entries of the source, as long as it is the original image file.
    cache: Option<ImageCache<'a>>,
    /// The face in the source, once detection has run; `Some(None)` if there is none.
    face: Option<Option<Face>>,
    /// Whether every face that was searched was found; `None` if none was searched.
    found: Option<bool>,
}

enum Source<'a> {
    Encoded(Opened<'a>),
    Pixels(Image),
}

/// One axis of a view: a part of the source, optionally mirrored, resampled to `size` pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Side {
    start: f64,
    length: f64,
    is_mirrored: bool,
    size: usize,
    /// The range of pixels that may be read: pixels cropped away before resampling are excluded.
    within: [f64; 2],
}

struct Warp {
    /// From output to view coordinates.
    map: Projection,
    size: [usize; 2],
    border: Border,
    /// The factors by which the output was shrunk afterwards, rows and columns, and the filter.
    shrunk: Option<([f64; 2], Filter)>,
    /// Whether the output was cropped afterwards: beyond the crop, another warp reads the border.
    is_cropped: bool,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OpError {
    /// The bytes are not an image.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The operation cannot be applied to this image; the message says why, and how to fix it.
    #[error("{0}")]
    Unfit(String),
}

impl Side {
    fn whole(size: usize) -> Side {
        Side {
            start: 0.0,
            length: size as f64,
            is_mirrored: false,
            size,
            within: [0.0, size as f64],
        }
    }

    fn is_resampled(&self) -> bool {
        self.length != self.size as f64 || self.start.fract() != 0.0
    }

    /// The pixels that are read from a source of `n`.
    fn needed(&self, filter: Filter, n: usize) -> Range<usize> {
        let reach = filter.reach(self.length / self.size as f64);
        let start = (self.start - reach).max(self.within[0]).floor().max(0.0) as usize;
        let end = (self.start + self.length + reach).min(self.within[1]).ceil() as usize;
        start..end.min(n)
    }

    fn resize(&mut self, size: usize) {
        if !self.is_resampled() {
            self.within = [self.start, self.start + self.length];
        }
        self.size = size;
    }

    fn crop(&mut self, start: usize, size: usize) {
        let start = if self.is_mirrored { self.size - start - size } else { start };
        let scale = self.length / self.size as f64;
        self.start += start as f64 * scale;
        self.length = size as f64 * scale;
        self.size = size;
    }
}

impl From<Image> for Canvas<'static> {
    fn from(image: Image) -> Canvas<'static> {
        Canvas::of(Source::Pixels(image))
    }
}

impl Source<'_> {
    /// Returns all pixels, decoding them if necessary.
    fn decoded(&mut self) -> Result<&mut Image, DecodeError> {
        if let Source::Encoded(encoded) = self {
            *self = Source::Pixels(encoded.decode()?);
        }
        match self {
            Source::Pixels(image) => Ok(image),
            Source::Encoded(_) => unreachable!("decoded"),
        }
    }

    /// Applies `f` to all pixels. Decoded pixels are not kept: the final result must not depend on whether
    /// they were needed here.
    fn with_pixels<T>(&self, f: impl FnOnce(&Image) -> T) -> Result<T, DecodeError> {
        match self {
            Source::Encoded(encoded) => Ok(f(&encoded.decode()?)),
            Source::Pixels(image) => Ok(f(image)),
        }
    }

    /// `[height, width]`.
    fn size(&self) -> [usize; 2] {
        match self {
            Source::Encoded(encoded) => encoded.size(),
            Source::Pixels(image) => size_of(image),
        }
    }
}

impl<'a> Canvas<'a> {
    /// Opens an encoded image, which is decoded when its pixels are needed.
    ///
    /// # Errors
    /// If the bytes do not begin like an image, or it has more than `max_pixels` pixels.
    pub fn open(bytes: &'a [u8], max_pixels: u64) -> Result<Canvas<'a>, DecodeError> {
        Ok(Canvas::of(Source::Encoded(Opened::One(Encoded::open(bytes, max_pixels)?))))
    }

    /// Opens an image that other canvases read too. As long as its pixels are not decoded, what needs them
    /// fails with `DecodeError::Deferred`.
    pub(crate) fn shared(shared: &'a Shared<'a>) -> Canvas<'a> {
        Canvas::of(Source::Encoded(Opened::Shared(shared)))
    }

    fn of(source: Source<'a>) -> Canvas<'a> {
        Canvas {
            view: source.size().map(Side::whole),
            source,
            filter: Filter::Bilinear,
            warp: None,
            cache: None,
            face: None,
            found: None,
        }
    }

    /// Adds a cache of values computed from the image file.
    #[must_use]
    pub fn with_cache(mut self, cache: &'a dyn Cache) -> Canvas<'a> {
        if let Source::Encoded(encoded) = &self.source {
            self.cache = Some(ImageCache::new(cache, encoded.bytes()));
        }
        self
    }

    /// Whether no operations are pending.
    pub(crate) fn is_unmodified(&self) -> bool {
        let whole = self.source.size().map(Side::whole);
        self.warp.is_none() && self.view == whole
    }

    /// Returns the face in the image before the pending operations, in its pixels, if its score is at least
    /// `min_score`.
    pub(crate) fn face(&mut self, min_score: f64) -> Result<Option<Face>, DecodeError> {
        let face = match self.face {
            Some(it) => it,
            None => {
                let size = self.source.size();
                let make = || self.source.with_pixels(face::find);
                match &self.cache {
                    Some(it) => {
                        it.get_or_compute("face-3", |it| Face::read(it, size), Face::write, make)
                    }
                    None => make(),
                }?
            }
        };
        self.face = Some(face);
        let face = face.filter(|it| it.score >= min_score);
        self.found = Some(face.is_some() && self.found != Some(false));
        Ok(face)
    }

    /// Whether every face that was searched was found; `None` if none was searched.
    pub(crate) fn found(&self) -> Option<bool> {
        self.found
    }

    /// Returns the mask of the person in the image before the pending operations: 255 for the person, 0
    /// elsewhere.
    pub(crate) fn cutout(&mut self) -> Result<GrayImage, DecodeError> {
        // The caller changes all pixels, so all are decoded.
        self.source.decoded()?;
        let size = self.source.size();
        let cutout = match self.face(DEFAULT_MIN_SCORE)? {
            None => Cutout::typical(size),
            Some(face) => {
                let make = || self.source.with_pixels(|it| Cutout::of(it, &face));
                match &self.cache {
                    Some(it) => it.get_or_compute(
                        "cutout-3",
                        |it| Cutout::read(it, size),
                        Cutout::write,
                        make,
                    ),
                    None => make(),
                }?
            }
        };
        Ok(cutout.mask(size))
    }

    /// Returns the pixels before the pending operations, to change their colours; the position of the face
    /// stays valid.
    pub(crate) fn original(&mut self) -> Result<&mut Image, DecodeError> {
        self.cache = None;
        self.source.decoded()
    }

    /// `[height, width]` after the pending operations.
    pub fn size(&self) -> [usize; 2] {
        match &self.warp {
            Some(warp) => warp.size,
            None => self.view.map(|it| it.size),
        }
    }

    /// Crops to the part of `size` whose upper left corner is at `[top, left]`; it must be within the image.
    pub fn crop(&mut self, [top, left]: [usize; 2], size: [usize; 2]) {
        match &mut self.warp {
            Some(warp) => {
                warp.map = Projection::shift(left as f64, top as f64).then(&warp.map);
                warp.is_cropped |= warp.size != size;
                warp.size = size;
            }
            None => {
                self.view[0].crop(top, size[0]);
                self.view[1].crop(left, size[1]);
            }
        }
    }

    /// Resizes to `size`, antialiased.
    ///
    /// # Errors
    /// If pending operations fail.
    pub fn resize(&mut self, size: [usize; 2], filter: Filter) -> Result<(), DecodeError> {
        let now = self.size();
        if size == now {
            return Ok(());
        }
        let factors = [0, 1].map(|it| now[it] as f64 / size[it] as f64);
        let shrinks = factors.iter().all(|&it| it >= 1.0);
        let is_same_filter = match &self.warp {
            Some(Warp { shrunk: Some((_, other)), .. }) => *other == filter,
            _ => self.filter == filter || !self.view.iter().any(Side::is_resampled),
        };
        let is_resampled = self.warp.is_some() || self.view.iter().any(Side::is_resampled);
        // Enlarging again after shrinking is not the identity.
        if is_resampled && !(is_same_filter && shrinks) {
            self.apply_pending()?;
        }
        match &mut self.warp {
            Some(warp) => {
                warp.map = Projection::scale(factors[1], factors[0]).then(&warp.map);
                let so_far = warp.shrunk.map_or([1.0; 2], |it| it.0);
                warp.shrunk = Some(([0, 1].map(|it| so_far[it] * factors[it]), filter));
                warp.size = size;
            }
            None => {
                self.filter = filter;
                for (side, size) in self.view.iter_mut().zip(size) {
                    side.resize(size);
                }
            }
        }
        Ok(())
    }

    /// Flips vertically (`side` 0) or horizontally (1).
    pub fn flip(&mut self, side: usize) {
        match &mut self.warp {
            Some(warp) => {
                let length = warp.size[side] as f64;
                let back = match side {
                    0 => Projection::scale(1.0, -1.0).then(&Projection::shift(0.0, length)),
                    _ => Projection::scale(-1.0, 1.0).then(&Projection::shift(length, 0.0)),
                };
                warp.map = back.then(&warp.map);
            }
            None => self.view[side].is_mirrored ^= true,
        }
    }

    /// Warps to an image of `size`: each output point shows the source point given by `map`, resampled
    /// bilinearly. Points outside of the image show `border`.
    ///
    /// # Errors
    /// If pending operations fail.
    pub fn warp(
        &mut self,
        map: Projection,
        size: [usize; 2],
        border: Border,
    ) -> Result<(), DecodeError> {
        let is_open = |it: &Warp| it.border == border && !it.is_cropped && it.shrunk.is_none();
        if self.warp.as_ref().is_some_and(|it| !is_open(it)) {
            self.apply_pending()?;
        }
        let before = self.warp.take().map_or(Projection::IDENTITY, |it| it.map);
        let map = map.then(&before);
        self.warp = Some(Warp { map, size, border, shrunk: None, is_cropped: false });
        Ok(())
    }

    /// Like [`warp`](Self::warp) to the same size, with any map: `place` gives the source point (x, y) of an
    /// output point. It is applied immediately.
    ///
    /// # Errors
    /// If pending operations fail.
    pub fn displace(
        &mut self,
        border: Border,
        place: impl Fn(f64, f64) -> (f64, f64),
    ) -> Result<(), DecodeError> {
        let size = self.size();
        // A pending warp is composed with this one, and resampled once.
        self.warp(Projection::IDENTITY, size, border)?;
        let map = self.warp.take().map_or(Projection::IDENTITY, |it| it.map);
        let image = self.pixels()?;
        *image = sample(image, size, border, |column, row| {
            let (x, y) = place(column as f64 + 0.5, row as f64 + 0.5);
            map.at(x, y)
        });
        self.reset_view();
        Ok(())
    }

    /// Applies the pending operations and returns the pixels.
    ///
    /// # Errors
    /// If the bytes are not an image.
    pub fn pixels(&mut self) -> Result<&mut Image, DecodeError> {
        self.apply_pending()?;
        self.source.decoded()
    }

    /// Replaces the image.
    pub fn replace(&mut self, image: Image) {
        *self = Canvas::from(image);
    }

    /// Returns the final image.
    ///
    /// # Errors
    /// If the bytes are not an image.
    pub fn finish(mut self) -> Result<Image, DecodeError> {
        Ok(std::mem::take(self.pixels()?))
    }

    /// Applies the pending operations.
    fn apply_pending(&mut self) -> Result<(), DecodeError> {
        let mut warp = self.warp.take();
        if let Some(warp) = &mut warp {
            self.shrink_before_warp(warp);
        }
        (self.cache, self.face) = (None, None);
        if let Source::Encoded(encoded) = &self.source {
            let at_most = self.view.map(|it| it.length / it.size as f64);
            let [h, w] = encoded.size();
            let needed = [self.view[0].needed(self.filter, h), self.view[1].needed(self.filter, w)];
            let Part { image, reduction, origin } = encoded.decode_part(at_most, needed)?;
            let size = size_of(&image);
            for (it, side) in self.view.iter_mut().enumerate() {
                let place = |at: f64| at / reduction as f64 - origin[it];
                (side.start, side.length) = (place(side.start), side.length / reduction as f64);
                side.within = side.within.map(|at| place(at).clamp(0.0, size[it] as f64));
            }
            self.source = Source::Pixels(image);
        }
        let image = self.source.decoded()?;
        let viewed = view(std::mem::take(image), self.view, self.filter);
        *image = match warp {
            Some(Warp { map, size, border, .. }) => project(&viewed, size, border, &map),
            None => viewed,
        };
        self.reset_view();
        Ok(())
    }

    /// Shrinks the view before it is warped instead of the result afterwards: discarded pixels are not
    /// computed, and a warp that skips pixels would alias.
    fn shrink_before_warp(&mut self, warp: &mut Warp) {
        let Some((factors, filter)) = warp.shrunk else { return };
        self.filter = filter;
        let mut scales = [1.0; 2];
        for (it, side) in self.view.iter_mut().enumerate() {
            let size = ((side.size as f64 / factors[it]).round() as usize).max(1);
            scales[it] = size as f64 / side.size as f64;
            side.resize(size);
        }
        warp.map = warp.map.then(&Projection::scale(scales[1], scales[0]));
    }

    /// Resets the view to all of a decoded source.
    fn reset_view(&mut self) {
        if let Source::Pixels(image) = &self.source {
            self.view = size_of(image).map(Side::whole);
            self.filter = Filter::Bilinear;
        }
    }
}

/// `[height, width]`.
fn size_of(image: &Image) -> [usize; 2] {
    [image.height() as usize, image.width() as usize]
}

/// Returns the visible part of an image.
fn view(image: Image, [rows, columns]: [Side; 2], filter: Filter) -> Image {
    let mut resampled = filter.resample(
        image,
        [rows.start, columns.start],
        [rows.length, columns.length],
        [rows.size, columns.size],
        [rows.within, columns.within],
    );
    if columns.is_mirrored {
        image::imageops::flip_horizontal_in_place(&mut resampled);
    }
    if rows.is_mirrored {
        image::imageops::flip_vertical_in_place(&mut resampled);
    }
    resampled
}

#[cfg(test)]
mod tests {
    use super::Canvas;
    use crate::{Border, Image, Projection, filter::Filter};

    fn test_image(w: u32, h: u32) -> Image {
        let wave = |a: u32, b: u32| {
            (128.0 + 120.0 * (f64::from(a) / 9.0 + f64::from(b) / 31.0).sin()) as u8
        };
        Image::from_fn(w, h, |x, y| image::Rgb([wave(x, y), wave(y, x), wave(x * 2, y)]))
    }

    type Change = fn(&mut Canvas<'static>);

    /// Applies some changes lazily all at once, and one by one.
    fn both_ways(image: &Image, changes: &[Change]) -> [Image; 2] {
        [false, true].map(|at_once| {
            let mut canvas = Canvas::from(image.clone());
            for change in changes {
                change(&mut canvas);
                if !at_once {
                    canvas.pixels().unwrap();
                }
            }
            canvas.finish().unwrap()
        })
    }

    #[test]
    fn a_crop_of_a_resized_image_equals_resizing_all_of_it() {
        let resize: [Change; 4] = [
            |it| it.resize([64, 48], Filter::Bilinear).unwrap(),
            |it| it.resize([300, 400], Filter::Bilinear).unwrap(),
            |it| it.resize([203, 97], Filter::Bicubic).unwrap(),
            |it| it.resize([300, 500], Filter::Lanczos).unwrap(),
        ];
        for resize in resize {
            let crop: Change = |it| it.crop([13, 8], [40, 35]);
            let again: Change = |it| it.crop([1, 3], [31, 29]);
            let [one_by_one, at_once] = both_ways(
                &test_image(151, 207),
                &[resize, |it| it.flip(1), crop, |it| it.flip(0), again],
            );
            // The weights are rounded together, so some pixels are off by one.
            let worst = one_by_one.iter().zip(at_once.iter()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(1), "{worst:?}");
        }
    }

    #[test]
    fn a_resize_does_not_read_cropped_pixels() {
        use Filter::{Bilinear, Lanczos};
        let cases = [([64, 48], Lanczos), ([13, 11], Lanczos), ([9, 60], Lanczos)];
        for (size, filter) in cases.into_iter().chain([([40, 61], Bilinear), ([9, 60], Bilinear)]) {
            let mut images = [false, true].map(|at_once| {
                let mut canvas = Canvas::from(test_image(60, 50));
                canvas.crop([11, 17], [20, 30]);
                canvas.flip(1);
                if !at_once {
                    canvas.pixels().unwrap();
                }
                canvas.resize(size, filter).unwrap();
                canvas.crop([1, 2], [8, 9]);
                canvas.finish().unwrap()
            });
            let [one_by_one, at_once] = &mut images;
            let worst = one_by_one.iter().zip(at_once.iter()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(1), "{size:?}, {filter:?}: {worst:?}");
        }
    }

    #[test]
    fn crops_and_flips_only_move_bytes() {
        let changes: [Change; 5] = [
            |it| it.flip(1),
            |it| it.crop([3, 2], [20, 20]),
            |it| it.flip(0),
            |it| it.crop([0, 5], [7, 9]),
            |it| it.flip(1),
        ];
        let [one_by_one, at_once] = both_ways(&test_image(30, 40), &changes);
        assert!(one_by_one == at_once);
        // Row 3 + 19 of the source is the first after both flips, column 30 - 1 - 2 - 5 - 8 likewise.
        assert_eq!(at_once.get_pixel(0, 0), test_image(30, 40).get_pixel(14, 22));
    }

    #[test]
    fn warps_in_a_row_resample_once() {
        let turn = |it: &mut Canvas<'static>, angle: f64| {
            let (sin, cos) = angle.sin_cos();
            let map = Projection::shift(-20.0, -15.0)
                .then(&Projection([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]))
                .then(&Projection::shift(20.0, 15.0));
            it.warp(map, [30, 40], Border::default()).unwrap();
        };
        let mut canvas = Canvas::from(test_image(40, 30));
        turn(&mut canvas, 0.3);
        turn(&mut canvas, -0.3);
        assert_eq!(
            canvas.finish().unwrap(),
            test_image(40, 30),
            "a rotation and its inverse are the identity"
        );
    }

    #[test]
    fn operations_after_a_warp_are_merged_into_it() {
        let warp: Change = |it| {
            let map = Projection([[0.9, 0.2, 3.0], [-0.1, 1.1, 2.0], [0.0, 0.0, 1.0]]);
            it.warp(map, [60, 80], Border::Reflect).unwrap();
        };
        let changes: [Change; 4] =
            [warp, |it| it.flip(1), |it| it.crop([5, 7], [50, 60]), |it| it.flip(0)];
        let [one_by_one, at_once] = both_ways(&test_image(80, 60), &changes);
        assert!(one_by_one == at_once);
        // Shrunk before instead of after the warp: about the same, without aliasing.
        let [one_by_one, at_once] = both_ways(
            &test_image(80, 60),
            &[warp, |it| {
                it.resize([20, 27], Filter::Bilinear).unwrap();
            }],
        );
        let off = one_by_one.iter().zip(at_once.iter()).map(|(a, b)| u32::from(a.abs_diff(*b)));
        let mean = off.sum::<u32>() as f64 / (20.0 * 27.0 * 3.0);
        assert!(mean < 4.0, "{mean}");
    }

    #[test]
    fn a_cropped_edge_is_a_border_to_the_next_warp() {
        let white = Image::from_pixel(20, 20, image::Rgb([255; 3]));
        let shift: Change =
            |it| it.warp(Projection::shift(5.0, 0.0), it.size(), Border::default()).unwrap();
        let changes: [Change; 3] = [
            |it| it.warp(Projection::IDENTITY, [20, 20], Border::default()).unwrap(),
            |it| it.crop([0, 0], [20, 10]),
            shift,
        ];
        let [one_by_one, at_once] = both_ways(&white, &changes);
        assert!(one_by_one == at_once);
        assert_eq!(at_once.get_pixel(9, 0).0, [0; 3]);
    }

    #[test]
    fn shrinking_and_enlarging_is_not_the_identity() {
        let changes: [Change; 2] = [
            |it| it.resize([5, 5], Filter::Bilinear).unwrap(),
            |it| it.resize([50, 50], Filter::Bilinear).unwrap(),
        ];
        let [one_by_one, at_once] = both_ways(&test_image(50, 50), &changes);
        assert!(one_by_one == at_once);
        assert_ne!(at_once, test_image(50, 50));
    }
}
