//! Detects truncated files: finds the end of an encoded image, which lenient decoders do not check.

use image::ImageFormat;

/// Whether a file is complete up to the end marker of its format.
pub(crate) fn has_an_end(bytes: &[u8], format: ImageFormat) -> bool {
    match format {
        ImageFormat::Jpeg => jpeg_has_an_end(bytes),
        ImageFormat::Png => png_has_an_end(bytes),
        ImageFormat::Gif => gif_has_an_end(bytes).unwrap_or(false),
        ImageFormat::WebP => webp_has_an_end(bytes),
        // The decoders of the other formats report truncation themselves.
        _ => true,
    }
}

/// Checks a WebP's length field, which does not count the first eight bytes.
fn webp_has_an_end(bytes: &[u8]) -> bool {
    let length = bytes.get(4..8).and_then(|it| it.try_into().ok()).map(u32::from_le_bytes);
    length.is_some_and(|it| bytes.len() >= it as usize + 8)
}

/// Walks a JPEG's segments and scans to its end marker.
fn jpeg_has_an_end(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    const SCAN: u8 = 0xda;
    // After the start marker, two bytes.
    let mut at = 2;
    loop {
        // Markers may be preceded by any number of fill bytes.
        let Some(start) = bytes[at.min(bytes.len())..].iter().position(|&it| it != 0xff) else {
            return false;
        };
        let marker = bytes[at + start];
        if start == 0 {
            // No marker where one is required: the decoder has accepted it, so continue.
            at += 1;
            continue;
        }
        at += start + 1;
        match marker {
            END => return true,
            // Markers without a segment.
            0x01 | 0xd0..=0xd8 => {}
            _ => {
                let Some(length) = bytes.get(at..at + 2) else { return false };
                at += usize::from(u16::from_be_bytes([length[0], length[1]]));
                if marker == SCAN {
                    // Coded data: up to a marker that is neither an escaped 0xff nor a restart.
                    let is_marker =
                        |it: &[u8]| it[0] == 0xff && !matches!(it[1], 0x00 | 0xd0..=0xd7 | 0xff);
                    let rest = &bytes[at.min(bytes.len())..];
                    let Some(data) = rest.windows(2).position(is_marker) else { return false };
                    at += data;
                }
            }
        }
    }
}

/// Walks a GIF's blocks to its trailer.
fn gif_has_an_end(bytes: &[u8]) -> Option<bool> {
    /// The size of a colour table in bytes, from the packed flags.
    fn table(flags: u8) -> usize {
        if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
    }
    let mut at = 13 + table(*bytes.get(10)?);
    loop {
        match *bytes.get(at)? {
            0x3b => return Some(true),
            0x2c => at += 10 + table(*bytes.get(at + 9)?) + 1,
            0x21 => at += 2,
            _ => return Some(false),
        }
        // Data sub-blocks, each with its length, up to an empty one.
        loop {
            let length = usize::from(*bytes.get(at)?);
            at += 1 + length;
            if length == 0 {
                break;
            }
        }
    }
}

/// Walks a PNG's chunks to the last one.
fn png_has_an_end(bytes: &[u8]) -> bool {
    let mut at = 8;
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        // A chunk ends with four bytes of checksum.
        at += 8 + length + 4;
        if &head[4..] == b"IEND" {
            return at <= bytes.len();
        }
    }
    false
}
