//! The orientation of an image from its EXIF data.
//!
//! EXIF is a small TIFF file: a byte order, then a list of entries of twelve bytes (tag, type, count, value).
//! The orientation is an entry of the first list; the standard requires a SHORT, but some programs write
//! another integer type, which is accepted.

use image::metadata::Orientation;

/// Returns the orientation from an EXIF block, without the `Exif` and two zeros before it in a JPEG.
///
/// Invalid data counts as no orientation, as in other readers: cameras write malformed EXIF.
pub(crate) fn orientation(exif: &[u8]) -> Orientation {
    find(exif).and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Returns the orientation, 1 to 8, if there is one.
fn find(exif: &[u8]) -> Option<u8> {
    u8::try_from(Tags::read(exif)?.number(0x0112)?).ok()
}

/// The first list of entries (IFD) of a TIFF file.
pub(crate) struct Tags<'a> {
    bytes: &'a [u8],
    is_little: bool,
    list: usize,
}

impl<'a> Tags<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Tags<'a>> {
        let is_little = match bytes.first_chunk()? {
            b"II*\0" => true,
            b"MM\0*" => false,
            _ => return None,
        };
        let tags = Tags { bytes, is_little, list: 0 };
        let list = tags.at(4, 4)? as usize;
        Some(Tags { list, ..tags })
    }

    /// Reads an integer of `n` bytes.
    fn at(&self, at: usize, n: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(n)?)?;
        let push = |number: u32, &byte: &u8| number << 8 | u32::from(byte);
        Some(match self.is_little {
            true => bytes.iter().rev().fold(0, push),
            false => bytes.iter().fold(0, push),
        })
    }

    /// Returns all tags, in the order of the list.
    pub(crate) fn all(&self) -> impl Iterator<Item = u32> {
        let n_entries = self.at(self.list, 2).unwrap_or(0) as usize;
        (0..n_entries).map_while(move |it| self.at(self.list.checked_add(2 + 12 * it)?, 2))
    }

    /// Returns the first of a tag's integers.
    pub(crate) fn number(&self, tag: u32) -> Option<u32> {
        let n_entries = self.at(self.list, 2)? as usize;
        let entry = (0..n_entries)
            .map_while(|it| self.list.checked_add(2 + 12 * it))
            .find(|&it| self.at(it, 2) == Some(tag))?;
        // BYTE, SHORT, LONG, and their signed variants.
        let n_bytes = match self.at(entry + 2, 2)? {
            1 | 6 => 1,
            3 | 8 => 2,
            4 | 9 => 4,
            _ => return None,
        };
        // Values of more than four bytes are stored elsewhere.
        let n = self.at(entry + 4, 4)? as usize;
        let place = match n.saturating_mul(n_bytes) {
            0..=4 => entry + 8,
            _ => self.at(entry + 8, 4)? as usize,
        };
        self.at(place, n_bytes)
    }
}

#[cfg(test)]
mod tests {
    use image::metadata::Orientation;

    use super::orientation;

    /// EXIF with an entry of another tag, then the orientation: an integer of `n` bytes and type `kind`.
    fn exif(is_little: bool, kind: u16, n: usize, value: u32) -> Vec<u8> {
        let number = |value: u32, n: usize| match is_little {
            true => value.to_le_bytes()[..n].to_vec(),
            false => value.to_be_bytes()[4 - n..].to_vec(),
        };
        let mut bytes = if is_little { b"II*\0" } else { b"MM\0*" }.to_vec();
        bytes.extend(number(8, 4));
        bytes.extend(number(2, 2));
        for (tag, kind, n, value) in [(0x100, 3, 2, 99), (0x112, kind.into(), n, value)] {
            bytes
                .extend([number(tag, 2), number(kind, 2), number(1, 4), number(value, n)].concat());
            bytes.resize(bytes.len() + 4 - n, 0);
        }
        bytes
    }

    #[test]
    fn an_orientation_is_an_integer_of_any_type() {
        for is_little in [false, true] {
            for (kind, n) in [(1, 1), (3, 2), (4, 4), (6, 1), (8, 2), (9, 4)] {
                for value in 1..=8 {
                    let want = Orientation::from_exif(value).unwrap();
                    let got = orientation(&exif(is_little, kind, n, value.into()));
                    assert_eq!(got, want, "{is_little}, {kind}");
                }
            }
        }
    }

    #[test]
    fn invalid_exif_is_no_orientation() {
        let none = Orientation::NoTransforms;
        for (kind, n, value) in [(3, 2, 9), (3, 2, 0), (4, 4, 0x0001_0006), (2, 1, 6), (5, 4, 6)] {
            assert_eq!(orientation(&exif(true, kind, n, value)), none);
        }
        let whole = exif(true, 4, 4, 6);
        for n in 0..whole.len() {
            assert_eq!(orientation(&whole[..n]), none, "cut to {n}");
        }
        // A list far beyond the end.
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff"), none);
    }
}
