//! Decoding of encoded bytes to RGB8, and detection of truncated and damaged files.
//!
//! Greyscale, palette, 16-bit, transparent and CMYK images are converted to RGB8 (transparency is dropped, as
//! by PIL's `convert("RGB")`), and EXIF orientation is applied.
//! If little of a JPEG is needed, it is decoded at a half, a quarter or an eighth, and only the needed part:
//! by our own decoder and no other, so that a file gives the same image whichever part is needed.
//!
//! Not every decoder reports a truncated file, so the end marker is checked explicitly.
//!
//! Nothing that a file states makes a decoder allocate more than a small multiple of the allowed pixels: metadata
//! are not read, but for the orientation (`png.rs`, `webp.rs`; the JPEG decoder skips them), and the parts that an
//! image is made of are compared with its size before (`webp.rs`, `tiff.rs`).

use std::{io::Cursor, ops::Range};

use image::{DynamicImage, ImageFormat, Limits, metadata::Orientation};

use crate::{
    DecodeError, Image,
    end::has_an_end,
    exif,
    jpeg::{self, Header},
    png::Extent,
    size::{self, Size, failed, format_of},
    tiff, webp,
};

#[cfg(test)]
std::thread_local! {
    /// The number of times that this thread has decoded an image, or a part of one.
    pub(crate) static N_DECODED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// An encoded image whose header has been read.
pub(crate) struct Encoded<'a> {
    bytes: &'a [u8],
    kind: Kind<'a>,
    /// The stored `[height, width]`, before orientation.
    stored: [usize; 2],
    orientation: Orientation,
    max_alloc: u64,
}

/// The decoder.
enum Kind<'a> {
    Jpeg(Box<Header<'a>>),
    /// That of the `image` crate.
    Other(ImageFormat),
}

/// A part of an image at some reduction.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    /// By how many times it is smaller.
    pub(crate) reduction: usize,
    /// Its rows and columns in the reduced image as stored, before orientation.
    pub(crate) part: [Range<usize>; 2],
    /// As that of [`Part`].
    origin: [f64; 2],
}

impl Region {
    /// Whether another region is a part of this one.
    pub(crate) fn contains(&self, other: &Region) -> bool {
        let is_inside = |it: usize| {
            let [all, part] = [self, other].map(|region| &region.part[it]);
            all.start <= part.start && part.end <= all.end
        };
        self.reduction == other.reduction && is_inside(0) && is_inside(1)
    }

    /// Extends it to the smallest rectangle that contains another region of the same reduction too.
    pub(crate) fn extend_to(&mut self, other: &Region) {
        for (all, part) in self.part.iter_mut().zip(&other.part) {
            *all = all.start.min(part.start)..all.end.max(part.end);
        }
    }
}

/// The decoded part of an image.
pub(crate) struct Part {
    pub(crate) image: Image,
    /// By how many times it is smaller.
    pub(crate) reduction: usize,
    /// Its first row and column in the whole image, in its own pixels. The last pixels of a reduced image may
    /// extend beyond the edge of the whole one; where it is mirrored, these are the first.
    pub(crate) origin: [f64; 2],
}

impl<'a> Encoded<'a> {
    /// Reads the header of an image of at most `max_pixels` pixels.
    pub(crate) fn open(bytes: &'a [u8], max_pixels: u64) -> Result<Encoded<'a>, DecodeError> {
        let format = format_of(bytes)?;
        // The pixels are counted below; 16 bits and four channels are the most.
        let max_alloc = max_pixels.saturating_mul(8).saturating_add(1 << 20);
        let (kind, size) = match format {
            ImageFormat::Jpeg => {
                let header = Header::read(bytes)?;
                let orientation = header.exif.map_or(Orientation::NoTransforms, exif::orientation);
                let size = Size { stored: header.size, orientation };
                (Kind::Jpeg(Box::new(header)), size)
            }
            other => {
                let size = size::header(Cursor::new(bytes), other, limits(max_alloc));
                (Kind::Other(other), size.map_err(|err| failed(err, other, bytes))?)
            }
        };
        check_pixels(size.upright(), max_pixels)?;
        match format {
            ImageFormat::Tiff => tiff::check(bytes, max_alloc)?,
            ImageFormat::WebP if !webp::has_consistent_frames(bytes, size.stored) => {
                let what = "one of its frames has another size than the image";
                return Err(DecodeError::Damaged(what.to_owned()));
            }
            _ => {}
        }
        Ok(Encoded { bytes, kind, stored: size.stored, orientation: size.orientation, max_alloc })
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// `[height, width]`, upright.
    pub(crate) fn size(&self) -> [usize; 2] {
        let [h, w] = self.stored;
        if self.is_turned() { [w, h] } else { [h, w] }
    }

    /// Whether rows are stored as columns.
    fn is_turned(&self) -> bool {
        size::is_turned(self.orientation)
    }

    /// Whether rows and columns are stored in reverse order.
    fn is_mirrored(&self) -> [bool; 2] {
        match self.orientation {
            Orientation::NoTransforms | Orientation::Rotate90FlipH => [false, false],
            Orientation::Rotate90 | Orientation::FlipVertical => [true, false],
            Orientation::Rotate270 | Orientation::FlipHorizontal => [false, true],
            Orientation::Rotate180 | Orientation::Rotate270FlipH => [true, true],
        }
    }

    /// Decodes all pixels.
    pub(crate) fn decode(&self) -> Result<Image, DecodeError> {
        let [h, w] = self.size();
        Ok(self.decode_part([1.0; 2], [0..h, 0..w])?.image)
    }

    /// Decodes the [`region`](Self::region) of these pixels.
    pub(crate) fn decode_part(
        &self,
        at_most: [f64; 2],
        needed: [Range<usize>; 2],
    ) -> Result<Part, DecodeError> {
        let region = self.region(at_most, needed);
        Ok(self.part(&region, self.decode_region(&region)?))
    }

    /// Returns what is decoded to get at least the rows and columns of `needed`: in this format, that may be a
    /// part, and reduced.
    ///
    /// - `at_most`: the factors by which the height and width will be reduced later.
    pub(crate) fn region(&self, at_most: [f64; 2], needed: [Range<usize>; 2]) -> Region {
        let fits = |&it: &usize| at_most.iter().all(|&most| it as f64 <= most);
        match &self.kind {
            Kind::Jpeg(_) => {
                let reduction = [8, 4, 2].into_iter().find(fits).unwrap_or(1);
                self.jpeg_region(reduction, needed)
            }
            Kind::Other(_) => {
                let part = self.stored.map(|it| 0..it);
                Region { reduction: 1, part, origin: [0.0; 2] }
            }
        }
    }

    /// Returns the needed pixels of a JPEG, reduced `reduction` times.
    fn jpeg_region(&self, reduction: usize, [rows, columns]: [Range<usize>; 2]) -> Region {
        let upright = if self.is_turned() { [columns, rows] } else { [rows, columns] };
        let is_mirrored = self.is_mirrored();
        // In rows and columns as stored.
        let mut origin = [0.0; 2];
        let part = [0, 1].map(|side| {
            let (Range { start, end }, size) = (upright[side].clone(), self.stored[side]);
            let [start, end] =
                if is_mirrored[side] { [size - end, size - start] } else { [start, end] };
            let part = start / reduction..end.div_ceil(reduction);
            origin[side] = match is_mirrored[side] {
                true => size as f64 / reduction as f64 - part.end as f64,
                false => part.start as f64,
            };
            part
        });
        if self.is_turned() {
            origin.reverse();
        }
        Region { reduction, part, origin }
    }

    /// Decodes a region, as stored; of another format than JPEG, that is always the whole image.
    pub(crate) fn decode_region(&self, region: &Region) -> Result<Image, DecodeError> {
        #[cfg(test)]
        N_DECODED.set(N_DECODED.get() + 1);
        match &self.kind {
            Kind::Jpeg(header) => jpeg::decode(header, region.reduction, region.part.clone()),
            Kind::Other(format) => {
                let from = Cursor::new(self.bytes);
                let opened = size::open(from, *format, Extent::Whole, limits(self.max_alloc));
                let decoded = opened.and_then(DynamicImage::from_decoder);
                Ok(decoded.map_err(|err| failed(err, *format, self.bytes))?.into_rgb8())
            }
        }
    }

    /// Returns the part of the image that is in a region.
    ///
    /// - `stored`: its pixels as stored, to which the orientation is applied.
    pub(crate) fn part(&self, region: &Region, stored: Image) -> Part {
        let mut image = DynamicImage::from(stored);
        image.apply_orientation(self.orientation);
        let Region { reduction, origin, .. } = *region;
        Part { image: image.into_rgb8(), reduction, origin }
    }
}

/// The limits of a decoder of the `image` crate.
fn limits(max_alloc: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(max_alloc);
    limits
}

/// Rejects an image of `[height, width]` without pixels, or with too many.
pub(crate) fn check_pixels(size: [usize; 2], max_pixels: u64) -> Result<(), DecodeError> {
    let [height, width] = size.map(|it| u32::try_from(it).unwrap_or(u32::MAX));
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(DecodeError::TooLarge { width, height, limit: max_pixels });
    }
    if width == 0 || height == 0 {
        return Err(DecodeError::Damaged("it has no pixels".to_owned()));
    }
    Ok(())
}

/// Decodes an image of at most `max_pixels` pixels.
///
/// # Errors
/// If the bytes cannot be decoded. A truncated JPEG is not detected: see [`verify`].
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Image, DecodeError> {
    Encoded::open(bytes, max_pixels)?.decode()
}

/// Decodes an image and checks that the file is complete.
///
/// # Errors
/// Those of [`decode`], and [`DecodeError::Truncated`].
pub fn decode_whole(bytes: &[u8], max_pixels: u64) -> Result<Image, DecodeError> {
    let decoded = decode(bytes, max_pixels);
    match (decoded, image::guess_format(bytes)) {
        // Decoders report a missing end as various errors.
        (Ok(_) | Err(DecodeError::Damaged(_)), Ok(format)) if !has_an_end(bytes, format) => {
            Err(DecodeError::Truncated)
        }
        (decoded, _) => decoded,
    }
}

/// Whether a file goes on to the end of its format: what [`verify`] checks beside decoding, in one pass over the
/// bytes. False for bytes that are not an image.
pub fn is_complete(bytes: &[u8]) -> bool {
    image::guess_format(bytes).is_ok_and(|format| has_an_end(bytes, format))
}

/// Checks that bytes are a complete image.
///
/// # Errors
/// Those of [`decode_whole`].
pub fn verify(bytes: &[u8], max_pixels: u64) -> Result<(), DecodeError> {
    decode_whole(bytes, max_pixels).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{io::Cursor, path::Path};

    use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};

    use super::{DecodeError, Encoded, decode, is_complete, verify};
    use crate::size::tests::crc32;

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 7) as u8, (y * 11) as u8, 128]))
    }

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn golden(name: &str) -> Vec<u8> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images");
        std::fs::read(dir.join(name)).unwrap()
    }

    #[test]
    fn truncation_at_every_byte_is_detected() {
        let image = DynamicImage::from(gradient(33, 21));
        for format in [
            ImageFormat::Jpeg,
            ImageFormat::Png,
            ImageFormat::Bmp,
            ImageFormat::Gif,
            ImageFormat::WebP,
        ] {
            let whole = encoded(&image, format);
            assert_eq!(verify(&whole, 1000), Ok(()), "{format:?}");
            for n in 0..whole.len() {
                // A GIF without its last byte, the trailer, still has all its pixels, and so has a WebP
                // without its padding.
                let is_harmless =
                    n + 1 == whole.len() && matches!(format, ImageFormat::Gif | ImageFormat::WebP);
                let cut = verify(&whole[..n], 1000);
                assert!(cut.is_err() || is_harmless, "{format:?} cut to {n} of {}", whole.len());
            }
        }
    }

    #[test]
    fn completeness_is_known_without_decoding() {
        let whole = encoded(&DynamicImage::from(gradient(33, 21)), ImageFormat::Jpeg);
        let before = super::N_DECODED.get();
        assert!(is_complete(&whole) && !is_complete(&whole[..whole.len() - 9]));
        assert!(!is_complete(b"") && !is_complete(b"text"));
        assert_eq!(super::N_DECODED.get(), before);
    }

    #[test]
    fn a_progressive_jpeg_with_a_thumbnail_is_complete() {
        let bytes = golden("progressive_thumbnail.jpg");
        assert_eq!(verify(&bytes, 10_000), Ok(()));
        assert_eq!(verify(&bytes[..bytes.len() - 20], 10_000), Err(DecodeError::Truncated));
    }

    #[test]
    fn non_image_is_reported() {
        assert_eq!(verify(b"", 100), Err(DecodeError::Empty));
        assert_eq!(verify(b"hello, I am a text file", 100), Err(DecodeError::NotAnImage));
    }

    #[test]
    fn a_decompression_bomb_is_rejected_before_decoding() {
        // 30,000 x 30,000 black pixels are a PNG of about a megabyte and 2.7 GB of memory; the header is
        // enough to reject it.
        let mut png = encoded(&DynamicImage::from(gradient(4, 4)), ImageFormat::Png);
        png[16..20].copy_from_slice(&30_000_u32.to_be_bytes());
        png[20..24].copy_from_slice(&30_000_u32.to_be_bytes());
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        let want = DecodeError::TooLarge { width: 30_000, height: 30_000, limit: 100 };
        assert_eq!(verify(&png, 100), Err(want));
    }

    #[test]
    fn a_reduced_jpeg_is_the_mean_of_blocks() {
        let wave = |x: u32, y: u32| {
            (128.0 + 100.0 * (f64::from(x) / 40.0 + f64::from(y) / 60.0).sin()) as u8
        };
        let image = RgbImage::from_fn(401, 299, |x, y| image::Rgb([wave(x, y), wave(y, x), 90]));
        let jpeg = encoded(&DynamicImage::from(image), ImageFormat::Jpeg);
        let open = Encoded::open(&jpeg, 1 << 20).unwrap();
        let decode = |at_most| {
            let part = open.decode_part(at_most, [0..299, 0..401]).unwrap();
            (part.image, part.reduction)
        };
        let (full, none) = decode([3.0, 1.9]);
        assert_eq!((full.dimensions(), none), ((401, 299), 1));
        for reduction in [2_usize, 4, 8] {
            let (small, got) = decode([reduction as f64, reduction as f64 + 0.9]);
            let n = reduction as u32;
            assert_eq!(
                (small.dimensions(), got),
                ((401_u32.div_ceil(n), 299_u32.div_ceil(n)), reduction)
            );
            let off = |(x, y): (u32, u32), c: usize| {
                let block =
                    (0..n * n).map(|it| full.get_pixel(x * n + it % n, y * n + it / n).0[c]);
                let mean = block.map(f64::from).sum::<f64>() / f64::from(n * n);
                (mean - f64::from(small.get_pixel(x, y).0[c])).abs()
            };
            let whole = (0..299 / n).flat_map(|y| (0..401 / n).map(move |x| (x, y)));
            let worst = whole.flat_map(|at| (0..3).map(move |c| off(at, c))).fold(0.0, f64::max);
            assert!(worst < 4.0, "{reduction}: {worst}");
        }
    }

    #[test]
    fn every_colour_type_is_converted_to_rgb8() {
        let rgb = gradient(9, 5);
        let grey = DynamicImage::from(rgb.clone()).into_luma8();
        let check = |image: DynamicImage, want: &RgbImage| {
            assert_eq!(&decode(&encoded(&image, ImageFormat::Png), 100).unwrap(), want);
        };
        check(DynamicImage::from(rgb.clone()), &rgb);
        check(DynamicImage::from(grey.clone()), &DynamicImage::from(grey).into_rgb8());
        check(DynamicImage::from(DynamicImage::from(rgb.clone()).into_rgb16()), &rgb);
        let half_transparent = RgbaImage::from_fn(9, 5, |x, y| {
            let [r, g, b] = rgb.get_pixel(x, y).0;
            image::Rgba([r, g, b, 128])
        });
        check(DynamicImage::from(half_transparent), &rgb);
    }

    #[test]
    fn images_are_decoded_as_by_pil() {
        // palette.png, cmyk.jpg, rotated.jpg (EXIF orientation 6) and grey16.png, each with PIL's result: see
        // images.py. JPEG decoders differ in rounding.
        for (name, tolerance) in [
            ("palette.png", 0),
            ("rotated.jpg", 4),
            ("cmyk.jpg", 4),
            ("grey16.png", 0),
            ("alpha.png", 0),
        ] {
            let got = decode(&golden(name), 10_000).unwrap();
            let want = decode(&golden(&format!("{name}.want.png")), 10_000).unwrap();
            assert_eq!(got.dimensions(), want.dimensions(), "{name}");
            let worst = got.iter().zip(want.iter()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(tolerance), "{name}: off by {worst:?}");
        }
    }
}
