//! A minimal encoder and decoder of the protocol buffers wire format: a few messages do not need a schema
//! compiler.
//!
//! A field is a key, number · 8 + wire type, and a value: a varint in groups of 7 bits (type 0), 8 bytes
//! (1), a length and bytes (2), or 4 bytes (5).
//! Source: protobuf.dev, "Encoding". Unlike there, zero and empty values are written too.

/// An encoded message, built field by field.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn new() -> Message {
        Message::default()
    }

    /// Appends a varint: an unsigned integer, an enum or a bool.
    pub(crate) fn whole(self, field: u32, value: u64) -> Message {
        self.raw(u64::from(field) << 3).raw(value)
    }

    pub(crate) fn double(self, field: u32, value: f64) -> Message {
        self.raw(u64::from(field) << 3 | 1).append(&value.to_le_bytes())
    }

    pub(crate) fn float(self, field: u32, value: f32) -> Message {
        self.raw(u64::from(field) << 3 | 5).append(&value.to_le_bytes())
    }

    pub(crate) fn bytes(self, field: u32, value: &[u8]) -> Message {
        self.raw(u64::from(field) << 3 | 2).raw(value.len() as u64).append(value)
    }

    pub(crate) fn text(self, field: u32, value: &str) -> Message {
        self.bytes(field, value.as_bytes())
    }

    pub(crate) fn message(self, field: u32, value: &Message) -> Message {
        self.bytes(field, &value.0)
    }

    /// Appends a packed list of doubles.
    pub(crate) fn doubles(self, field: u32, values: &[f64]) -> Message {
        let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        self.bytes(field, &bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends a varint: seven bits per byte, lowest first; the eighth bit is set in all bytes but the last.
    fn raw(mut self, mut value: u64) -> Message {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn append(mut self, bytes: &[u8]) -> Message {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// The value of a field; numbers of 4 and 8 bytes as bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field<'a> {
    Whole(u64),
    Bytes(&'a [u8]),
}

/// Returns the first field with this number in a message; `None` if there is none, or the message is
/// damaged.
pub(crate) fn find(message: &[u8], field: u32) -> Option<Field<'_>> {
    fields(message).find(|it| it.0 == field).map(|it| it.1)
}

/// Iterates over the fields of a message with their numbers, up to the first damaged one.
pub(crate) fn fields(message: &[u8]) -> impl Iterator<Item = (u32, Field<'_>)> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let key = take_whole(&mut rest)?;
        let found = match key & 7 {
            0 => Field::Whole(take_whole(&mut rest)?),
            kind => {
                let n = match kind {
                    1 => 8,
                    2 => usize::try_from(take_whole(&mut rest)?).ok()?,
                    5 => 4,
                    _ => return None,
                };
                Field::Bytes(rest.split_off(..n)?)
            }
        };
        Some((u32::try_from(key >> 3).ok()?, found))
    })
}

fn take_whole(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Field, Message, find};

    #[test]
    fn encodings_match_the_specification() {
        // The specification's examples: 150 in field 1, "testing" in field 2, and the first in field 3.
        let number = Message::new().whole(1, 150);
        assert_eq!(number.as_bytes(), [0x08, 0x96, 0x01]);
        let text = Message::new().text(2, "testing");
        assert_eq!(text.as_bytes(), b"\x12\x07testing");
        let nested = Message::new().message(3, &number);
        assert_eq!(nested.as_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Message::new().float(21, 1.0).as_bytes(), [0xad, 0x01, 0, 0, 0x80, 0x3f]);
    }

    #[test]
    fn fields_are_found_after_others() {
        let inner = Message::new().whole(1, 1 << 40);
        let message = Message::new().double(1, 0.5).float(2, 0.5).text(3, "a").message(200, &inner);
        let Some(Field::Bytes(found)) = find(message.as_bytes(), 200) else { panic!("not found") };
        assert_eq!(find(found, 1), Some(Field::Whole(1 << 40)));
        assert_eq!(find(message.as_bytes(), 4), None);
        let bytes = message.as_bytes();
        assert_eq!(find(&bytes[..bytes.len() - 1], 200), None);
    }
}
