//! An image on its way through the operations, and what is still to be done to it.
//!
//! Cropping, resizing, flipping and warping are only noted down, and done all at once when an
//! operation asks for the pixels: so that of a resized image only the part is made that a crop leaves,
//! several warps resample once, and of a JPEG not more is decoded than what is seen of it. The
//! result is what doing them one by one gives, to rounding, but for that: two resamplings in a row are
//! one, which is sharper.

use std::ops::Range;

use image::GrayImage;

use crate::{
    DecodeError, Image, Memory, Projection,
    cutout::Cutout,
    decode::{Encoded, Part},
    face::{self, CREDIBLE, Face},
    memory::Memories,
    sample::{Border, project, sample},
    transform::Filter,
};

/// An image, and what is still to be done to it.
pub struct Canvas<'a> {
    source: Source<'a>,
    /// What is seen of the source: rows, then columns.
    view: [Side; 2],
    /// How the view is resampled.
    filter: Filter,
    /// What is done to the view.
    warp: Option<Warp>,
    /// What is remembered of the source, while it is the image as it is in its file.
    memories: Option<Memories<'a>>,
    /// The face in the source, once it is known whether there is one.
    face: Option<Option<Face>>,
    /// Whether a face was found that was looked for.
    found: Option<bool>,
}

enum Source<'a> {
    Encoded(Encoded<'a>),
    Pixels(Image),
}

/// One side of a view: a part of the source, mirrored or not, in so many pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Side {
    start: f64,
    length: f64,
    is_mirrored: bool,
    size: usize,
    /// From where to where pixels count: what was cut off before it was resampled does not.
    within: [f64; 2],
}

struct Warp {
    /// From places in the result to places in the view.
    map: Projection,
    size: [usize; 2],
    border: Border,
    /// By how much the result was made smaller since, rows and columns, and with what.
    shrunk: Option<([f64; 2], Filter)>,
    /// Whether a part was cut out since: beyond its edges another warp sees a border.
    is_cropped: bool,
}

/// Why an operation was not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OpError {
    /// The bytes are no image after all.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The operation cannot be applied to this image; the text says why, and what to do.
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

    /// The pixels of a source of so many that count.
    fn seen(&self, filter: Filter, n: usize) -> Range<usize> {
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
        let [h, w] = size_of(&image);
        Canvas {
            source: Source::Pixels(image),
            view: [Side::whole(h), Side::whole(w)],
            filter: Filter::Bilinear,
            warp: None,
            memories: None,
            face: None,
            found: None,
        }
    }
}

impl Source<'_> {
    /// All pixels, decoded if they are not yet.
    fn decoded(&mut self) -> Result<&mut Image, DecodeError> {
        if let Source::Encoded(encoded) = self {
            *self = Source::Pixels(encoded.decode()?);
        }
        match self {
            Source::Pixels(image) => Ok(image),
            Source::Encoded(_) => unreachable!("decoded"),
        }
    }

    /// What somebody sees in all pixels. They are not kept: what is seen of the result must not
    /// depend on whether anybody had to look.
    fn shown<T>(&self, see: impl FnOnce(&Image) -> T) -> Result<T, DecodeError> {
        match self {
            Source::Encoded(encoded) => Ok(see(&encoded.decode()?)),
            Source::Pixels(image) => Ok(see(image)),
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
    /// An image that is decoded when its pixels are asked for.
    ///
    /// # Errors
    /// Bytes that do not begin like an image, or like one of more than `max_pixels` pixels.
    pub fn open(bytes: &'a [u8], max_pixels: u64) -> Result<Canvas<'a>, DecodeError> {
        let encoded = Encoded::open(bytes, max_pixels)?;
        let [h, w] = encoded.size();
        Ok(Canvas {
            source: Source::Encoded(encoded),
            view: [Side::whole(h), Side::whole(w)],
            filter: Filter::Bilinear,
            warp: None,
            memories: None,
            face: None,
            found: None,
        })
    }

    /// The same, with a memory of what was worked out of these bytes before.
    #[must_use]
    pub fn remembering(mut self, memory: &'a dyn Memory) -> Canvas<'a> {
        if let Source::Encoded(encoded) = &self.source {
            self.memories = Some(Memories::new(memory, encoded.bytes()));
        }
        self
    }

    /// Whether nothing has been noted down.
    pub(crate) fn is_bare(&self) -> bool {
        let whole = self.source.size().map(Side::whole);
        self.warp.is_none() && self.view == whole
    }

    /// The face in the image as it is before what has been noted down, in its pixels, if it is
    /// sure enough that there is one.
    pub(crate) fn face(&mut self, min_score: f64) -> Result<Option<Face>, DecodeError> {
        let face = match self.face {
            Some(it) => it,
            None => {
                let size = self.source.size();
                let make = || self.source.shown(face::find);
                match &self.memories {
                    Some(it) => {
                        it.recall_or("face-3", |it| Face::read(it, size), Face::write, make)
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

    /// Whether every face that was looked for was found, if one was.
    pub(crate) fn found(&self) -> Option<bool> {
        self.found
    }

    /// 255 where the person is in the image as it is before what has been noted down, 0 elsewhere.
    pub(crate) fn cutout(&mut self) -> Result<GrayImage, DecodeError> {
        // Whoever asks is going to change them all.
        self.source.decoded()?;
        let size = self.source.size();
        let cutout = match self.face(CREDIBLE)? {
            None => Cutout::typical(size),
            Some(face) => {
                let make = || self.source.shown(|it| Cutout::of(it, &face));
                match &self.memories {
                    Some(it) => {
                        it.recall_or("cutout-3", |it| Cutout::read(it, size), Cutout::write, make)
                    }
                    None => make(),
                }?
            }
        };
        Ok(cutout.mask(size))
    }

    /// The pixels as they are before what has been noted down, to change their colours: where its face
    /// was is still known.
    pub(crate) fn original(&mut self) -> Result<&mut Image, DecodeError> {
        self.memories = None;
        self.source.decoded()
    }

    /// `[height, width]` after all that has been noted down.
    pub fn size(&self) -> [usize; 2] {
        match &self.warp {
            Some(warp) => warp.size,
            None => self.view.map(|it| it.size),
        }
    }

    /// Keeps the part of `size` whose upper left corner is at `[top, left]`; it lies within the image.
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

    /// Changes both sides to `size`, antialiased.
    ///
    /// # Errors
    /// What is still to be done first could not be.
    pub fn resize(&mut self, size: [usize; 2], filter: Filter) -> Result<(), DecodeError> {
        let now = self.size();
        if size == now {
            return Ok(());
        }
        let factors = [0, 1].map(|it| now[it] as f64 / size[it] as f64);
        let shrinks = factors.iter().all(|&it| it >= 1.0);
        let is_alike = match &self.warp {
            Some(Warp { shrunk: Some((_, other)), .. }) => *other == filter,
            _ => self.filter == filter || !self.view.iter().any(Side::is_resampled),
        };
        let is_resampled = self.warp.is_some() || self.view.iter().any(Side::is_resampled);
        // Making it larger again is not the same as never having made it smaller.
        if is_resampled && !(is_alike && shrinks) {
            self.settle()?;
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

    /// Exchanges top and bottom (`side` 0), or left and right (1).
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

    /// Shows, at each place of an image of `size`, what is at the place that `map` names, resampled
    /// bilinearly. Where that is outside of the image, `border` is seen.
    ///
    /// # Errors
    /// What is still to be done first could not be.
    pub fn warp(
        &mut self,
        map: Projection,
        size: [usize; 2],
        border: Border,
    ) -> Result<(), DecodeError> {
        let is_open = |it: &Warp| it.border == border && !it.is_cropped && it.shrunk.is_none();
        if self.warp.as_ref().is_some_and(|it| !is_open(it)) {
            self.settle()?;
        }
        let before = self.warp.take().map_or(Projection::IDENTITY, |it| it.map);
        let map = map.then(&before);
        self.warp = Some(Warp { map, size, border, shrunk: None, is_cropped: false });
        Ok(())
    }

    /// As [`warp`](Self::warp) to the same size, with any map: `place` has the place that is seen at
    /// another, both as (x, y). It is done at once.
    ///
    /// # Errors
    /// What is still to be done first could not be.
    pub fn displace(
        &mut self,
        border: Border,
        place: impl Fn(f64, f64) -> (f64, f64),
    ) -> Result<(), DecodeError> {
        let size = self.size();
        // What has been noted down as one more warp is looked through with the same glance.
        self.warp(Projection::IDENTITY, size, border)?;
        let map = self.warp.take().map_or(Projection::IDENTITY, |it| it.map);
        let image = self.pixels()?;
        *image = sample(image, size, border, |column, row| {
            let (x, y) = place(column as f64 + 0.5, row as f64 + 0.5);
            map.at(x, y)
        });
        self.look_at_all();
        Ok(())
    }

    /// The pixels, with all done to them that has been noted down.
    ///
    /// # Errors
    /// Bytes that are no image.
    pub fn pixels(&mut self) -> Result<&mut Image, DecodeError> {
        self.settle()?;
        self.source.decoded()
    }

    /// Puts another image in the place of this one.
    pub fn replace(&mut self, image: Image) {
        *self = Canvas::from(image);
    }

    /// The finished image.
    ///
    /// # Errors
    /// Bytes that are no image.
    pub fn finish(mut self) -> Result<Image, DecodeError> {
        Ok(std::mem::take(self.pixels()?))
    }

    /// Does what has been noted down.
    fn settle(&mut self) -> Result<(), DecodeError> {
        let mut warp = self.warp.take();
        if let Some(warp) = &mut warp {
            self.shrink_before(warp);
        }
        (self.memories, self.face) = (None, None);
        if let Source::Encoded(encoded) = &self.source {
            let at_most = self.view.map(|it| it.length / it.size as f64);
            let [h, w] = encoded.size();
            let seen = [self.view[0].seen(self.filter, h), self.view[1].seen(self.filter, w)];
            let Part { image, reduction, origin } = encoded.decode_part(at_most, seen)?;
            let size = size_of(&image);
            for (it, side) in self.view.iter_mut().enumerate() {
                let place = |at: f64| at / reduction as f64 - origin[it];
                (side.start, side.length) = (place(side.start), side.length / reduction as f64);
                side.within = side.within.map(|at| place(at).clamp(0.0, size[it] as f64));
            }
            self.source = Source::Pixels(image);
        }
        let image = self.source.decoded()?;
        let seen = view(std::mem::take(image), self.view, self.filter);
        *image = match warp {
            Some(Warp { map, size, border, .. }) => project(&seen, size, border, &map),
            None => seen,
        };
        self.look_at_all();
        Ok(())
    }

    /// Makes the view smaller before it is warped, instead of the result afterwards: what is not seen
    /// is not warped, and a warp that skips pixels would alias.
    fn shrink_before(&mut self, warp: &mut Warp) {
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

    /// Sees all of a source of pixels.
    fn look_at_all(&mut self) {
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

/// What is seen of an image.
fn view(image: Image, [rows, columns]: [Side; 2], filter: Filter) -> Image {
    let mut seen = filter.resample(
        image,
        [rows.start, columns.start],
        [rows.length, columns.length],
        [rows.size, columns.size],
        [rows.within, columns.within],
    );
    if columns.is_mirrored {
        image::imageops::flip_horizontal_in_place(&mut seen);
    }
    if rows.is_mirrored {
        image::imageops::flip_vertical_in_place(&mut seen);
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::Canvas;
    use crate::{Border, Image, Projection, transform::Filter};

    fn drawn(w: u32, h: u32) -> Image {
        let wave = |a: u32, b: u32| {
            (128.0 + 120.0 * (f64::from(a) / 9.0 + f64::from(b) / 31.0).sin()) as u8
        };
        Image::from_fn(w, h, |x, y| image::Rgb([wave(x, y), wave(y, x), wave(x * 2, y)]))
    }

    type Change = fn(&mut Canvas<'static>);

    /// Some changes noted down and done at once, and one by one.
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
    fn a_part_of_a_resized_image_is_made_as_if_all_of_it_were() {
        let resize: [Change; 4] = [
            |it| it.resize([64, 48], Filter::Bilinear).unwrap(),
            |it| it.resize([300, 400], Filter::Bilinear).unwrap(),
            |it| it.resize([203, 97], Filter::Bicubic).unwrap(),
            |it| it.resize([300, 500], Filter::Lanczos).unwrap(),
        ];
        for resize in resize {
            let crop: Change = |it| it.crop([13, 8], [40, 35]);
            let again: Change = |it| it.crop([1, 3], [31, 29]);
            let [apart, at_once] = both_ways(
                &drawn(151, 207),
                &[resize, |it| it.flip(1), crop, |it| it.flip(0), again],
            );
            // The weights are rounded together, so some pixels are off by one.
            let worst = apart.iter().zip(at_once.iter()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(1), "{worst:?}");
        }
    }

    #[test]
    fn what_was_cut_off_is_not_seen_by_a_resize() {
        use Filter::{Bilinear, Lanczos};
        let cases = [([64, 48], Lanczos), ([13, 11], Lanczos), ([9, 60], Lanczos)];
        for (size, filter) in cases.into_iter().chain([([40, 61], Bilinear), ([9, 60], Bilinear)]) {
            let mut images = [false, true].map(|at_once| {
                let mut canvas = Canvas::from(drawn(60, 50));
                canvas.crop([11, 17], [20, 30]);
                canvas.flip(1);
                if !at_once {
                    canvas.pixels().unwrap();
                }
                canvas.resize(size, filter).unwrap();
                canvas.crop([1, 2], [8, 9]);
                canvas.finish().unwrap()
            });
            let [apart, at_once] = &mut images;
            let worst = apart.iter().zip(at_once.iter()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(1), "{size:?}, {filter:?}: {worst:?}");
        }
    }

    #[test]
    fn crops_and_flips_move_bytes_alone() {
        let changes: [Change; 5] = [
            |it| it.flip(1),
            |it| it.crop([3, 2], [20, 20]),
            |it| it.flip(0),
            |it| it.crop([0, 5], [7, 9]),
            |it| it.flip(1),
        ];
        let [apart, at_once] = both_ways(&drawn(30, 40), &changes);
        assert!(apart == at_once);
        // Row 3 + 19 of the source is the first after both flips, column 30 - 1 - 2 - 5 - 8 likewise.
        assert_eq!(at_once.get_pixel(0, 0), drawn(30, 40).get_pixel(14, 22));
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
        let mut canvas = Canvas::from(drawn(40, 30));
        turn(&mut canvas, 0.3);
        turn(&mut canvas, -0.3);
        assert_eq!(canvas.finish().unwrap(), drawn(40, 30), "there and back is nothing");
    }

    #[test]
    fn what_follows_a_warp_goes_with_it() {
        let warp: Change = |it| {
            let map = Projection([[0.9, 0.2, 3.0], [-0.1, 1.1, 2.0], [0.0, 0.0, 1.0]]);
            it.warp(map, [60, 80], Border::Reflect).unwrap();
        };
        let changes: [Change; 4] =
            [warp, |it| it.flip(1), |it| it.crop([5, 7], [50, 60]), |it| it.flip(0)];
        let [apart, at_once] = both_ways(&drawn(80, 60), &changes);
        assert!(apart == at_once);
        // Made smaller before instead of after: about the same, without aliasing.
        let [apart, at_once] = both_ways(
            &drawn(80, 60),
            &[warp, |it| {
                it.resize([20, 27], Filter::Bilinear).unwrap();
            }],
        );
        let off = apart.iter().zip(at_once.iter()).map(|(a, b)| u32::from(a.abs_diff(*b)));
        let mean = off.sum::<u32>() as f64 / (20.0 * 27.0 * 3.0);
        assert!(mean < 4.0, "{mean}");
    }

    #[test]
    fn a_cut_edge_is_a_border_to_the_next_warp() {
        let white = Image::from_pixel(20, 20, image::Rgb([255; 3]));
        let shift: Change =
            |it| it.warp(Projection::shift(5.0, 0.0), it.size(), Border::default()).unwrap();
        let changes: [Change; 3] = [
            |it| it.warp(Projection::IDENTITY, [20, 20], Border::default()).unwrap(),
            |it| it.crop([0, 0], [20, 10]),
            shift,
        ];
        let [apart, at_once] = both_ways(&white, &changes);
        assert!(apart == at_once);
        assert_eq!(at_once.get_pixel(9, 0).0, [0; 3]);
    }

    #[test]
    fn smaller_and_larger_again_is_not_nothing() {
        let changes: [Change; 2] = [
            |it| it.resize([5, 5], Filter::Bilinear).unwrap(),
            |it| it.resize([50, 50], Filter::Bilinear).unwrap(),
        ];
        let [apart, at_once] = both_ways(&drawn(50, 50), &changes);
        assert!(apart == at_once);
        assert_ne!(at_once, drawn(50, 50));
    }
}
