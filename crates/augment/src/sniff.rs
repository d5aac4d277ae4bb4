//! The type of a file by its first bytes, regardless of its extension.

use image::ImageFormat;

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// An image of a supported format.
    Image,
    /// An image of an unsupported format of this name.
    Foreign(&'static str),
    /// Not a known image format.
    Other,
}

/// Number of first bytes that are sufficient for [`sniff`].
pub const SNIFFED: usize = 32;

/// Returns the type of a file, by its first [`SNIFFED`] bytes, or by all if it has fewer.
pub fn sniff(head: &[u8]) -> Sniffed {
    let at = |from: usize, what: &[u8]| head.get(from..).is_some_and(|it| it.starts_with(what));
    let is_tiff = || at(0, b"II*\0") || at(0, b"MM\0*");
    // A camera's raw file may be a TIFF whose image is a thumbnail.
    if is_tiff() && at(8, b"CR") || at(0, b"IIRO") || at(0, b"IIU\0") || at(0, b"FUJIFILMCCD-RAW") {
        return Sniffed::Foreign("a camera's raw format");
    }
    match image::guess_format(head) {
        // A text may start with the same two letters: in a BMP the length of its second header follows here.
        Ok(ImageFormat::Bmp) => match head.get(14..18) {
            Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]) => Sniffed::Image,
            _ => Sniffed::Other,
        },
        Ok(
            ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Gif
            | ImageFormat::Tiff,
        ) => Sniffed::Image,
        _ if at(4, b"ftyp") => match head.get(8..12) {
            Some(b"avif" | b"avis") => Sniffed::Foreign("AVIF"),
            Some(b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1") => {
                Sniffed::Foreign("HEIC")
            }
            Some(b"crx ") => Sniffed::Foreign("a camera's raw format"),
            _ => Sniffed::Other,
        },
        _ if at(4, b"jP  \r\n") || at(0, b"\xFF\x4F\xFF\x51") => Sniffed::Foreign("JPEG 2000"),
        _ if at(4, b"JXL \r\n") || at(0, b"\xFF\x0A") => Sniffed::Foreign("JPEG XL"),
        _ if at(0, b"II+\0") || at(0, b"MM\0+") => Sniffed::Foreign("BigTIFF"),
        _ => Sniffed::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::{SNIFFED, Sniffed, sniff};
    use crate::size::tests::{FORMATS, encoded};

    #[test]
    fn every_supported_format_is_an_image() {
        for format in FORMATS {
            assert_eq!(sniff(&encoded(format, 9, 9)[..SNIFFED]), Sniffed::Image, "{format:?}");
        }
    }

    #[test]
    fn non_images_are_other() {
        for text in
            [&b""[..], b"BM", b"BMW, a car, and other notes of mine", b"P5", b"\0\0\0\x18ftypmp42"]
        {
            assert_eq!(sniff(text), Sniffed::Other, "{text:?}");
        }
    }

    #[test]
    fn unsupported_formats_are_named() {
        for (head, name) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0"[..], "HEIC"),
            (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
            (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
            (b"\xFF\x0A\0\0", "JPEG XL"),
            (b"II*\0\x10\0\0\0CR\x02\0", "a camera's raw format"),
        ] {
            assert_eq!(sniff(head), Sniffed::Foreign(name));
        }
    }
}
