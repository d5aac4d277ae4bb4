//! Describes the kind of a TIFF file, for those that the `image` crate does not read.

use crate::exif::Tags;

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

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use crate::{DecodeError, read_size, verify};

    /// A TIFF of 3x2 pixels with additional tags, each of one SHORT.
    fn tiff(more: &[(u16, u16)], n_bytes: u16) -> Vec<u8> {
        let mut tags = vec![(256, 3), (257, 2), (259, 1), (278, 2), (279, n_bytes)];
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
