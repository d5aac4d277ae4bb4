//! What the decoder of WebP allocates without regard to the size of the image: its EXIF, by the length that the file
//! states, and a lossy frame, by the size that the frame states.
//!
//! A WebP is a RIFF file: a head of twelve bytes, and chunks with a kind, a length and padding to an even length.

use std::io::{self, Read, Seek};

/// Returns the EXIF block, as much of it as is there; `None` if there is none.
///
/// # Errors
/// Reading fails.
pub(crate) fn exif(mut from: impl Read + Seek) -> io::Result<Option<Vec<u8>>> {
    from.seek_relative(12)?;
    loop {
        let mut head = Vec::new();
        from.by_ref().take(8).read_to_end(&mut head)?;
        let Some((kind, length)) = parsed(&head) else { return Ok(None) };
        if kind == b"EXIF" {
            let mut exif = Vec::new();
            from.take(length).read_to_end(&mut exif)?;
            return Ok(Some(exif));
        }
        from.seek_relative((length + length % 2) as i64)?;
    }
}

/// Returns whether each lossy frame that a decoder may decode has the size that the file states: that of the image
/// (`[height, width]`), or of the first frame of an animation.
pub(crate) fn has_consistent_frames(bytes: &[u8], [height, width]: [usize; 2]) -> bool {
    let body = bytes.get(12..).unwrap_or_default();
    let first = chunks(body).find(|it| it.0 == b"ANMF");
    let of_animation = first.is_none_or(|(_, frame)| {
        // Its position, two numbers of three bytes; then its width and height, less one.
        let side = |at: usize| {
            let bytes = frame.get(at..at + 3)?;
            Some(bytes.iter().rev().fold(0, |side, &it| side << 8 | usize::from(it)) + 1)
        };
        let size = side(9).zip(side(6));
        let size = size.map(|(height, width)| [height, width]);
        size.is_some_and(|size| have_size(frame.get(16..).unwrap_or_default(), size))
    });
    of_animation && have_size(body, [height, width])
}

/// Whether all lossy frames among some chunks have a size.
fn have_size(chunks_of: &[u8], size: [usize; 2]) -> bool {
    let lossy = chunks(chunks_of).filter(|it| it.0 == b"VP8 ");
    lossy.map(|it| it.1).all(|frame| {
        // A tag and a start code, three bytes each; then width and height, of 14 bits each.
        let side = |at: usize| {
            let bytes = frame.get(at..at + 2)?;
            Some(usize::from(u16::from_le_bytes([bytes[0], bytes[1]]) & 0x3fff))
        };
        // A decoder reports a frame without a head.
        side(8).zip(side(6)).is_none_or(|(height, width)| [height, width] == size)
    })
}

/// The kind and the length of a chunk.
fn parsed(head: &[u8]) -> Option<(&[u8], u64)> {
    let (kind, length) = head.split_at_checked(4)?;
    let length = length.first_chunk::<4>().map(|it| u32::from_le_bytes(*it))?;
    Some((kind, length.into()))
}

/// The kind and the data of each chunk; those of the last may be cut.
fn chunks(mut rest: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (kind, length) = parsed(rest)?;
        let data = &rest[8..];
        let whole = data.len() as u64;
        rest = &data[(length + length % 2).min(whole) as usize..];
        Some((kind, &data[..length.min(whole) as usize]))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::ImageFormat;

    use super::{exif, has_consistent_frames};
    use crate::{DecodeError, decode, read_size, size::tests::encoded};

    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let padding = vec![0; data.len() % 2];
        [&kind[..], &(data.len() as u32).to_le_bytes(), data, &padding].concat()
    }

    fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
        let body = [&b"WEBP"[..], &chunks.concat()].concat();
        [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
    }

    /// A number of three bytes, less one.
    fn side(side: u32) -> [u8; 3] {
        let [a, b, c, _] = (side - 1).to_le_bytes();
        [a, b, c]
    }

    /// The header of an image of 9 x 7 pixels.
    fn extended(flags: u8) -> Vec<u8> {
        chunk(b"VP8X", &[&[flags, 0, 0, 0][..], &side(9), &side(7)].concat())
    }

    /// The head of a lossy frame.
    fn lossy(width: u16, height: u16) -> Vec<u8> {
        let sizes = [width.to_le_bytes(), height.to_le_bytes()].concat();
        chunk(b"VP8 ", &[&[0x10, 0, 0, 0x9d, 1, 0x2a][..], &sizes, &[0; 9]].concat())
    }

    #[test]
    fn an_exif_block_has_the_bytes_that_are_there_not_those_that_are_stated() {
        let mut all = riff(&[extended(8), lossy(9, 7), chunk(b"EXIF", b"exif")]);
        assert_eq!(exif(Cursor::new(&all)).unwrap().as_deref(), Some(&b"exif"[..]));
        // A length of 4 GiB.
        let at = all.len() - 8;
        all[at..at + 4].fill(0xff);
        assert_eq!(exif(Cursor::new(&all)).unwrap().as_deref(), Some(&b"exif"[..]));
        assert_eq!(read_size(Cursor::new(&all)).unwrap(), Ok([7, 9]));
        for bytes in [&all[..at - 8], &all[..20], b"RIFF", b""] {
            assert_eq!(exif(Cursor::new(bytes)).unwrap(), None);
        }
    }

    #[test]
    fn a_frame_that_is_larger_than_its_image_is_refused_before_it_is_decoded() {
        let animation = |frame: Vec<u8>| {
            let head = [&[0; 6][..], &side(9), &side(7), &[0; 4]].concat();
            riff(&[
                extended(2),
                chunk(b"ANIM", &[0; 6]),
                chunk(b"ANMF", &[&head[..], &chunk(b"ALPH", b"\0"), &frame].concat()),
            ])
        };
        let still = |frame: Vec<u8>| riff(&[extended(0), frame]);
        for (name, bytes) in [
            ("still", still(lossy(16_383, 16_383))),
            ("animated", animation(lossy(16_383, 16_383))),
        ] {
            assert!(!has_consistent_frames(&bytes, [7, 9]), "{name}");
            let want = "one of its frames has another size than the image".to_owned();
            assert_eq!(decode(&bytes, 100), Err(DecodeError::Damaged(want)), "{name}");
        }
        assert!(has_consistent_frames(&still(lossy(9, 7)), [7, 9]));
        assert!(has_consistent_frames(&animation(lossy(9, 7)), [7, 9]));
        let lossless = encoded(ImageFormat::WebP, 9, 7);
        assert!(has_consistent_frames(&lossless, [7, 9]) && decode(&lossless, 100).is_ok());
    }
}
