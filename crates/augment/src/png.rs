//! The chunks of a PNG that its pixels and its orientation need.
//!
//! A colour profile (`iCCP`) or a text (`zTXt`, `iTXt`) inflates to up to a thousand times its size, whatever the
//! number of pixels, and decoders inflate a profile before they report the size. Neither is used, so a decoder reads
//! a file without them. What is left is bounded by the size of the file or by the number of pixels.

use std::io::{self, BufRead, Read as _, Seek};

/// How much of an image a decoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All before the pixels.
    Header,
    Whole,
}

/// Returns a PNG without the chunks that are not needed. What is missing at its end is missing in the result.
///
/// # Errors
/// Reading fails.
pub(crate) fn essential(mut from: impl BufRead + Seek, extent: Extent) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    // The signature.
    from.by_ref().take(8).read_to_end(&mut kept)?;
    loop {
        let start = kept.len();
        from.by_ref().take(8).read_to_end(&mut kept)?;
        let Some(&[l0, l1, l2, l3, k0, k1, k2, k3]) = kept[start..].first_chunk::<8>() else {
            return Ok(kept);
        };
        let kind = [k0, k1, k2, k3];
        if kind == *b"IDAT" && extent == Extent::Header {
            return Ok(kept);
        }
        // A checksum follows the data.
        let rest = u64::from(u32::from_be_bytes([l0, l1, l2, l3])) + 4;
        // A decoder must refuse a critical chunk that it does not know.
        let is_critical = k0 & 0x20 == 0;
        if is_critical || matches!(&kind, b"tRNS" | b"eXIf") {
            from.by_ref().take(rest).read_to_end(&mut kept)?;
        } else {
            kept.truncate(start);
            from.seek_relative(rest as i64)?;
        }
        if kind == *b"IEND" {
            return Ok(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::ImageFormat;

    use super::{Extent, essential};
    use crate::{
        decode, read_size,
        size::tests::{crc32, encoded},
    };

    /// A chunk with its length and checksum.
    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let body = [kind, data].concat();
        [&(data.len() as u32).to_be_bytes()[..], &body, &crc32(&body).to_be_bytes()].concat()
    }

    /// A PNG of 12x10 pixels with chunks before its pixels.
    fn with(chunks: &[Vec<u8>]) -> Vec<u8> {
        let mut png = encoded(ImageFormat::Png, 12, 10);
        // The signature, and `IHDR` with 13 bytes of data.
        let at = 8 + 8 + 13 + 4;
        png.splice(at..at, chunks.concat());
        png
    }

    #[test]
    fn only_what_pixels_and_orientation_need_is_kept() {
        let plain = encoded(ImageFormat::Png, 12, 10);
        let dropped =
            [b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"acTL", b"xyZw"].map(|it| chunk(it, b"data"));
        let all = essential(Cursor::new(with(&dropped)), Extent::Whole).unwrap();
        assert_eq!(all, plain);
        // As it is stored: turned by 90 degrees.
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let turned = with(&[chunk(b"eXIf", exif), dropped[0].clone()]);
        let kept = essential(Cursor::new(&turned), Extent::Whole).unwrap();
        assert_eq!(kept, with(&[chunk(b"eXIf", exif)]));
        assert_eq!(read_size(Cursor::new(&turned)).unwrap(), Ok([12, 10]));
        assert_eq!(decode(&turned, 1000).unwrap().dimensions(), (10, 12));
        // The header ends where the pixels begin.
        let header = essential(Cursor::new(&plain), Extent::Header).unwrap();
        assert!(header.ends_with(b"IDAT") && plain.starts_with(&header));
        for n in 0..plain.len() {
            assert_eq!(essential(Cursor::new(&plain[..n]), Extent::Whole).unwrap(), plain[..n]);
        }
    }

    #[test]
    fn a_profile_that_would_inflate_beyond_every_limit_is_not_inflated() {
        // Stored blocks of deflate (RFC 1951), 64 KiB of zeros each: a profile of 4 MiB, which a decoder with the limit
        // for 1000 pixels, about 1 MiB, refuses.
        let block = [&[0, 0xff, 0xff, 0, 0][..], &[0; 0xffff]].concat();
        let last = [1, 0, 0, 0xff, 0xff];
        let profile = [&b"name\0\0\x78\x01"[..], &block.repeat(64), &last, &[0; 4]].concat();
        let bomb = with(&[chunk(b"iCCP", &profile)]);
        assert_eq!(decode(&bomb, 1000).unwrap(), decode(&with(&[]), 1000).unwrap());
        assert_eq!(read_size(Cursor::new(&bomb)).unwrap(), Ok([10, 12]));
    }
}
