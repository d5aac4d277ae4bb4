//! The size of an image, from its header alone.
//!
//! Only the bytes before the pixels are read, so that reading the sizes of a million files takes as long as
//! opening them.

use std::io::{self, BufRead, Cursor, Read as _, Seek, SeekFrom};

use image::{ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, metadata::Orientation};

use crate::{
    DecodeError, exif,
    png::{self, Extent},
    sniff::{Sniffed, sniff},
    tiff, webp,
};

/// The size and orientation in the header of an image.
pub(crate) struct Size {
    /// `[height, width]`, as stored.
    pub(crate) stored: [usize; 2],
    pub(crate) orientation: Orientation,
}

impl Size {
    /// Returns `[height, width]` after applying the orientation.
    pub(crate) fn upright(&self) -> [usize; 2] {
        let [h, w] = self.stored;
        if is_turned(self.orientation) { [w, h] } else { [h, w] }
    }
}

/// Returns whether rows are stored as columns.
pub(crate) fn is_turned(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// Returns the `[height, width]` of the image that [`decode`](fn@crate::decode) returns, with the orientation
/// applied, from its header: nothing is decoded, and only the necessary bytes are read.
///
/// [`Pipeline::check_size`](crate::Pipeline::check_size) checks whether a pipeline accepts it.
///
/// # Errors
/// Reading fails. Inner: the first bytes are not those of an image, or its header is damaged.
pub fn read_size(mut from: impl BufRead + Seek) -> io::Result<Result<[usize; 2], DecodeError>> {
    let start = from.stream_position()?;
    let mut head = Vec::new();
    from.by_ref().take(64).read_to_end(&mut head)?;
    from.seek(SeekFrom::Start(start))?;
    let format = match format_of(&head) {
        Ok(it) => it,
        Err(err) => return Ok(Err(err)),
    };
    let size = match format {
        ImageFormat::Jpeg => match jpeg(from)? {
            Some(it) => Ok(it),
            None => Err(DecodeError::Damaged("its header is truncated".to_owned())),
        },
        format => {
            match header(&mut from, format, Limits::no_limits()) {
                Ok(size) => Ok(size),
                Err(ImageError::IoError(err)) if err.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(err);
                }
                Err(err) => {
                    // Determining the reason may take all bytes.
                    let mut bytes = Vec::new();
                    from.seek(SeekFrom::Start(start))?;
                    from.read_to_end(&mut bytes)?;
                    Err(failed(err, format, &bytes))
                }
            }
        }
    };
    Ok(size.map(|it| it.upright()))
}

/// Returns the format of an image, from its first bytes.
pub(crate) fn format_of(bytes: &[u8]) -> Result<ImageFormat, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    match image::guess_format(bytes) {
        Ok(format @ (Jpeg | Png | WebP | Gif | Bmp | Tiff)) => Ok(format),
        _ => Err(match sniff(bytes) {
            Sniffed::Foreign(format) => DecodeError::Foreign(format),
            Sniffed::Image | Sniffed::Other => DecodeError::NotAnImage,
        }),
    }
}

/// Returns the error of an image that a decoder of the `image` library failed on.
pub(crate) fn failed(err: ImageError, format: ImageFormat, bytes: &[u8]) -> DecodeError {
    match (err, format) {
        (ImageError::Unsupported(_), ImageFormat::Tiff) => {
            DecodeError::Unsupported { format: "TIFF", what: tiff::kind(bytes) }
        }
        (ImageError::Unsupported(err), format) => DecodeError::Unsupported {
            format: match format {
                ImageFormat::Png => "PNG",
                ImageFormat::WebP => "WebP",
                ImageFormat::Gif => "GIF",
                _ => "BMP",
            },
            what: err.to_string(),
        },
        // Some decoders end their messages with a line break.
        (err, _) => DecodeError::Damaged(err.to_string().trim().to_owned()),
    }
}

/// Opens a decoder of the `image` library, which reads the header.
pub(crate) fn open<'a>(
    from: impl BufRead + Seek + 'a,
    format: ImageFormat,
    extent: Extent,
    limits: Limits,
) -> Result<Box<dyn ImageDecoder + 'a>, ImageError> {
    match format {
        ImageFormat::Png => decoder(Cursor::new(png::essential(from, extent)?), format, limits),
        _ => decoder(from, format, limits),
    }
}

fn decoder<'a>(
    from: impl BufRead + Seek + 'a,
    format: ImageFormat,
    limits: Limits,
) -> Result<Box<dyn ImageDecoder + 'a>, ImageError> {
    let mut reader = ImageReader::with_format(from, format);
    reader.limits(limits);
    Ok(Box::new(reader.into_decoder()?))
}

/// Reads the size and orientation in the header of another format than JPEG.
pub(crate) fn header(
    mut from: impl BufRead + Seek,
    format: ImageFormat,
    limits: Limits,
) -> Result<Size, ImageError> {
    // The decoder would allocate whatever the file states as its length.
    let of_webp = match format {
        ImageFormat::WebP => {
            let start = from.stream_position()?;
            let exif = webp::exif(&mut from)?;
            from.seek(SeekFrom::Start(start))?;
            Some(exif.unwrap_or_default())
        }
        _ => None,
    };
    let mut decoder = open(from, format, Extent::Header, limits)?;
    let (w, h) = decoder.dimensions();
    let exif = match of_webp {
        Some(exif) => Some(exif),
        None => decoder.exif_metadata()?,
    };
    let orientation = match exif {
        Some(it) => exif::orientation(&it),
        // A TIFF contains it among its own tags.
        None => decoder.orientation()?,
    };
    Ok(Size { stored: [h as usize, w as usize], orientation })
}

/// Reads the frame and the EXIF orientation from a JPEG's segments before the coded data; `None` if it is
/// truncated.
fn jpeg(mut from: impl BufRead + Seek) -> io::Result<Option<Size>> {
    let walked = walk(&mut from);
    match walked {
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        walked => walked,
    }
}

fn walk(from: &mut (impl BufRead + Seek)) -> io::Result<Option<Size>> {
    fn next<const N: usize>(from: &mut impl BufRead) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        from.read_exact(&mut bytes)?;
        Ok(bytes)
    }
    let (mut stored, mut orientation) = (None, None);
    from.seek_relative(2)?;
    loop {
        let [ff] = next(from)?;
        if ff != 0xff {
            continue;
        }
        let mut marker = 0xff;
        while marker == 0xff {
            [marker] = next(from)?;
        }
        if matches!(marker, 0x00 | 0x01 | 0xd0..=0xd8) {
            continue;
        }
        if matches!(marker, 0xd9 | 0xda) {
            let orientation = orientation.unwrap_or(Orientation::NoTransforms);
            return Ok(stored.map(|stored| Size { stored, orientation }));
        }
        let length = u16::from_be_bytes(next(from)?);
        let mut left = i64::from(length.max(2)) - 2;
        match marker {
            // A frame of any coding, but not the tables of Huffman or arithmetic codes.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) && left >= 5 => {
                let [_, h1, h0, w1, w0] = next(from)?;
                left -= 5;
                stored.get_or_insert([[h1, h0], [w1, w0]].map(|it| u16::from_be_bytes(it).into()));
            }
            0xe1 if orientation.is_none() => {
                let mut exif = Vec::new();
                from.by_ref().take(left as u64).read_to_end(&mut exif)?;
                left -= exif.len() as i64;
                orientation = exif.strip_prefix(b"Exif\0\0").map(exif::orientation);
            }
            _ => {}
        }
        from.seek_relative(left)?;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        fs,
        io::{self, BufReader, Cursor, Read, Seek, SeekFrom},
        path::Path,
    };

    use image::{DynamicImage, ImageFormat, RgbImage};

    use super::read_size;
    use crate::{DecodeError, decode};

    /// Returns an encoded black image.
    pub(crate) fn encoded(format: ImageFormat, w: u32, h: u32) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(RgbImage::new(w, h)).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn size(bytes: &[u8]) -> Result<[usize; 2], DecodeError> {
        read_size(Cursor::new(bytes)).unwrap()
    }

    /// The checksum of PNG chunks.
    pub(crate) fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc: u32, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
            })
        })
    }

    /// Counts the bytes that are read.
    struct Counted<'a> {
        file: Cursor<&'a [u8]>,
        n_read: &'a mut usize,
    }

    impl Read for Counted<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let n = self.file.read(to)?;
            *self.n_read += n;
            Ok(n)
        }
    }

    impl Seek for Counted<'_> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.file.seek(to)
        }
    }

    /// All supported formats.
    pub(crate) const FORMATS: [ImageFormat; 6] = [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ];

    #[test]
    fn size_is_read_from_the_header_of_every_format() {
        for format in FORMATS {
            for (w, h) in [(70, 30), (1, 1), (3, 200)] {
                let bytes = encoded(format, w, h);
                assert_eq!(size(&bytes), Ok([h as usize, w as usize]), "{format:?}");
            }
        }
    }

    #[test]
    fn size_is_that_of_the_decoded_image() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
        let mut n = 0;
        for dir in ["images", "jpeg"] {
            for entry in fs::read_dir(root.join(dir)).unwrap() {
                let path = entry.unwrap().path();
                let bytes = fs::read(&path).unwrap();
                if let Ok(image) = decode(&bytes, 1 << 20) {
                    let want = [image.height() as usize, image.width() as usize];
                    assert_eq!(size(&bytes), Ok(want), "{}", path.display());
                    n += 1;
                }
            }
        }
        assert!(n > 50, "{n}");
    }

    #[test]
    fn only_the_header_of_a_large_file_is_read() {
        let segment = [&[0xff, 0xe2, 0xff, 0xff][..], &[7; 65_533]].concat();
        for format in FORMATS {
            let mut bytes = encoded(format, 900, 700);
            if format == ImageFormat::Jpeg {
                // Such as a colour profile in twenty segments.
                bytes.splice(2..2, segment.repeat(20));
            }
            let len = bytes.len();
            let mut n_read = 0;
            let file = Counted { file: Cursor::new(&bytes), n_read: &mut n_read };
            let got = read_size(BufReader::with_capacity(1024, file)).unwrap();
            assert_eq!(got, Ok([700, 900]), "{format:?}");
            let most = if format == ImageFormat::Jpeg { 30_000 } else { 10_000 };
            assert!(n_read < most, "{format:?}: {n_read} of {len} bytes");
        }
    }

    #[test]
    fn non_images_and_truncated_headers_are_reported() {
        assert_eq!(size(b""), Err(DecodeError::Empty));
        assert_eq!(size(b"hello, I am a text file"), Err(DecodeError::NotAnImage));
        assert_eq!(size(b"\0\0\0\x1cftypavif\0\0\0\0"), Err(DecodeError::Foreign("AVIF")));
        for format in FORMATS {
            let bytes = encoded(format, 8, 8);
            for n in 0..20 {
                assert!(size(&bytes[..n]).is_err(), "{format:?} cut to {n}");
            }
        }
    }

    #[test]
    fn read_error_is_not_reported_as_a_damaged_image() {
        /// Fails after the first bytes.
        struct Broken(Cursor<Vec<u8>>);
        impl Read for Broken {
            fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
                match self.0.read(to)? {
                    0 => Err(io::Error::other("the disk is gone")),
                    n => Ok(n),
                }
            }
        }
        impl Seek for Broken {
            fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
                self.0.seek(to)
            }
        }
        for format in FORMATS {
            let bytes = encoded(format, 8, 8)[..20].to_vec();
            let err = read_size(BufReader::new(Broken(Cursor::new(bytes)))).unwrap_err();
            assert!(err.to_string().contains("the disk is gone"), "{format:?}: {err}");
        }
    }
}
