//! The tags of a TIFF file: they describe the kinds that the `image` crate does not read, and those that it would read
//! with much more memory than the image needs.

use std::collections::HashSet;

use crate::{DecodeError, exif::Tags};

/// Returns what is unusual about a TIFF.
pub(crate) fn kind(bytes: &[u8]) -> String {
    let Some(tags) = Tags::read(bytes) else { return "a BigTIFF".to_owned() };
    // The values of the standard, with its defaults.
    let [photometric, samples] = [262, 277].map(|it| tags.number(it).unwrap_or(1));
    let [bits, format] = [258, 339].map(|it| tags.number(it).unwrap_or(1));
    match (photometric, format, samples) {
        (_, 3, _) => format!("{bits}-bit floats"),
        (_, 2, _) => format!("{bits}-bit signed integers"),
        (3, ..) => "palette colours".to_owned(),
        (4, ..) => "a transparency mask".to_owned(),
        (6, ..) => "YCbCr".to_owned(),
        (8..=10, ..) => "CIE Lab".to_owned(),
        (0 | 1, _, 2) => "greyscale with alpha".to_owned(),
        _ => format!(
            "{samples} samples of {bits} bits, compression {}",
            tags.number(259).unwrap_or(1)
        ),
    }
}

/// Refuses files whose parts are much larger than the image: a decoder allocates a row as wide as a tile with all
/// its samples, and decodes a JPEG within a TIFF whatever size that has.
///
/// - `max_alloc`: the most bytes that are allocated for pixels.
///
/// # Errors
/// Such files, and those whose tags may be read in two ways.
pub(crate) fn check(bytes: &[u8], max_alloc: u64) -> Result<(), DecodeError> {
    // The decoder reports what is missing.
    let Some(tags) = Tags::read(bytes) else { return Ok(()) };
    let mut present = HashSet::new();
    if let Some(twice) = tags.all().find(|it| !present.insert(*it)) {
        return Err(DecodeError::Damaged(format!("it has the tag {twice} twice")));
    }
    let number = |tag: u32, default: u64| match tags.number(tag) {
        Some(it) => Ok(u64::from(it)),
        None if !present.contains(&tag) => Ok(default),
        None => Err(DecodeError::Damaged(format!("its tag {tag} has no integer"))),
    };
    let unsupported = |what: String| Err(DecodeError::Unsupported { format: "TIFF", what });
    if number(259, 1)? == 7 {
        return unsupported("JPEG compression".to_owned());
    }
    let (width, height) = (number(256, 0)?, number(257, 0)?);
    let (bits, samples) = (number(258, 1)?, number(277, 1)?);
    let row = number(322, 0)?.max(width).saturating_mul(samples).saturating_mul(bits).div_ceil(8);
    // Twice, for 32-bit floats.
    match row.saturating_mul(height) > max_alloc.saturating_mul(2) {
        true => unsupported(format!("{samples} samples of {bits} bits, {row} bytes for a row")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::check;
    use crate::{DecodeError, read_size, verify};

    /// A TIFF of 3x2 pixels with additional or other tags, each of one SHORT.
    fn tiff(more: &[(u16, u16)], n_bytes: u16) -> Vec<u8> {
        let mut tags = vec![(256, 3), (257, 2), (259, 1), (278, 2), (279, n_bytes)];
        tags.retain(|it| more.iter().all(|more| more.0 != it.0));
        tags.extend(more);
        let end = 8 + 2 + 12 * (tags.len() as u16 + 1) + 4;
        tags.push((273, end));
        tags.sort_unstable();
        let mut bytes = b"II*\0\x08\0\0\0".to_vec();
        bytes.extend((tags.len() as u16).to_le_bytes());
        for (tag, value) in tags {
            for number in [tag, 3, 1, 0, value, 0] {
                bytes.extend(number.to_le_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.resize(bytes.len() + usize::from(n_bytes), 7);
        bytes
    }

    #[test]
    fn parts_that_are_much_larger_than_the_image_are_refused() {
        let rgb =
            |more: &[(u16, u16)]| tiff(&[&[(258, 8), (262, 2), (277, 3)][..], more].concat(), 18);
        assert_eq!(verify(&rgb(&[]), 100), Ok(()));
        let unsupported = |bytes: &[u8], what: &str| {
            let what = what.to_owned();
            assert_eq!(check(bytes, 1000), Err(DecodeError::Unsupported { format: "TIFF", what }));
        };
        unsupported(&rgb(&[(322, 60_000)]), "3 samples of 8 bits, 180000 bytes for a row");
        let many = tiff(&[(258, 8), (262, 2), (277, 60_000)], 18);
        unsupported(&many, "60000 samples of 8 bits, 180000 bytes for a row");
        unsupported(&rgb(&[(259, 7)]), "JPEG compression");
        // One reader would go by the first of them, and another by the last.
        let twice = Err(DecodeError::Damaged("it has the tag 322 twice".to_owned()));
        assert_eq!(check(&rgb(&[(322, 4), (322, 60_000)]), 1000), twice);
        // A type that is no integer.
        let mut text = rgb(&[]);
        let at = text.windows(4).position(|it| it == [0x03, 0x01, 3, 0]).unwrap();
        text[at + 2] = 2;
        let damaged = Err(DecodeError::Damaged("its tag 259 has no integer".to_owned()));
        assert_eq!(check(&text, 1000), damaged);
    }

    #[test]
    fn an_unsupported_kind_is_described() {
        let grey = tiff(&[(258, 8), (262, 1), (277, 1)], 6);
        assert_eq!(verify(&grey, 100), Ok(()));
        for (tags, n_bytes, what) in [
            (&[(258, 8), (262, 3), (277, 1)][..], 6, "palette colours"),
            (&[(258, 8), (262, 6), (277, 3)], 18, "YCbCr"),
            (&[(258, 8), (262, 1), (277, 2), (338, 2)], 12, "greyscale with alpha"),
            (&[(258, 32), (262, 1), (277, 1), (339, 3)], 24, "32-bit floats"),
            (&[(258, 16), (262, 1), (277, 1), (339, 2)], 12, "16-bit signed integers"),
            (&[(258, 8), (262, 8), (277, 3)], 18, "CIE Lab"),
        ] {
            let bytes = tiff(tags, n_bytes);
            let want = DecodeError::Unsupported { format: "TIFF", what: what.to_owned() };
            assert!(
                want.to_string()
                    .ends_with(&format!("TIFF is not supported ({what}): save it as PNG"))
            );
            assert_eq!(verify(&bytes, 100), Err(want.clone()), "{what}");
            let size = read_size(Cursor::new(&bytes)).unwrap();
            assert!(size == Ok([2, 3]) || size == Err(want), "{what}: {size:?}");
        }
    }
}
