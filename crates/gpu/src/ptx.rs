//! The PTX of a family of kernels, as the program holds it: in a tenth of the bytes of its text.
//!
//! Most of PTX is numbers of registers and of labels, which nvcc counts up over a kernel, so that lines that do the
//! same differ in every number. `build.rs` writes each number as how recently it was used instead: lines that do the
//! same become equal, and the text is deflated to half of what it would be. [`Ptx::text`] undoes both.
//!
//! A name is a class, `%r` or `$L__BB3_`, and a number. Its class has a list of the numbers used in this kernel, the
//! last used first. In the packed text, the class is followed by the number's place in that list, from which it moves
//! to the front; or, for a new number, by `#` and its distance from the last new one of the class, unless that is 1.
//! (Bentley et al., "A Locally Adaptive Data Compression Scheme", 1986, for the list.)

mod class;

use std::{collections::HashMap, io::Read as _};

use flate2::read::DeflateDecoder;

use self::class::class_bytes;
use crate::error::{Error, Result};

/// The PTX of a family of kernels.
#[derive(Debug)]
pub struct Ptx {
    name: &'static str,
    text: Text,
}

#[derive(Debug)]
enum Text {
    Plain(&'static str),
    Packed(&'static [u8]),
}

/// The PTX of a file of `kernels`, by its name without the extension: `static PTX: Ptx = ptx!("pool");`.
macro_rules! ptx {
    ($name:literal) => {
        $crate::Ptx::packed($name, include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".ptx.z")))
    };
}
pub(crate) use ptx;

impl Ptx {
    /// The family's name and its text.
    #[must_use]
    pub const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text: Text::Plain(text) }
    }

    /// The family's name and its text, packed by `build.rs`.
    pub(crate) const fn packed(name: &'static str, text: &'static [u8]) -> Self {
        Self { name, text: Text::Packed(text) }
    }

    /// The family's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The text.
    pub(crate) fn text(&self) -> Result<String> {
        let damaged = |why: &str| Error::arguments(self.name, format!("its PTX is damaged: {why}"));
        match self.text {
            Text::Plain(text) => Ok(text.to_owned()),
            Text::Packed(bytes) => {
                let mut text = String::new();
                let read = DeflateDecoder::new(bytes).read_to_string(&mut text);
                read.map_err(|err| damaged(&err.to_string()))?;
                unpack(&text).ok_or_else(|| damaged("a number that was never used"))
            }
        }
    }
}

/// The numbers of a class in the kernel at hand.
#[derive(Default)]
struct Numbers {
    /// The last used first.
    recent: Vec<i64>,
    last_new: i64,
}

/// The text with the numbers of registers and labels.
fn unpack(packed: &str) -> Option<String> {
    let mut text = String::with_capacity(2 * packed.len());
    let mut classes = HashMap::<&str, Numbers>::new();
    for line in packed.split_inclusive('\n') {
        if line.contains(".entry") {
            classes.clear();
        }
        let mut rest = line;
        while let Some(at) = rest.find(['%', '$']) {
            let (class, after) = rest[at..].split_at(class_bytes(&rest[at..]));
            text += &rest[..at];
            text += class;
            rest = after;
            let is_new = after.starts_with('#');
            let digits = after.strip_prefix('#').unwrap_or(after);
            let minus = usize::from(is_new && digits.starts_with('-'));
            let n = digits.bytes().skip(minus).take_while(u8::is_ascii_digit).count();
            if !is_new && n == 0 {
                continue;
            }
            let (number, after) = digits.split_at(if n == 0 { 0 } else { minus + n });
            rest = after;
            let numbers = classes.entry(class).or_default();
            if is_new {
                numbers.last_new += if number.is_empty() { 1 } else { number.parse().ok()? };
                numbers.recent.insert(0, numbers.last_new);
            } else {
                let place = number.parse::<usize>().ok().filter(|it| *it < numbers.recent.len())?;
                numbers.recent[..=place].rotate_right(1);
            }
            text += &numbers.recent[0].to_string();
        }
        text += rest;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_their_places() {
        let packed = ".entry a(\nadd %r#5, %r#, %r1;\n@%p#-2 bra $L__BB0_#12;\nmov %r#-4, %tid.x+8;\nld [%r2+4];\n\
                      .entry b(\nmov %r#, $L__BB0_;";
        // 5, then 6; the second of these is 5. -4 from 6 is 2; then the list is 2, 5, 6.
        let want = ".entry a(\nadd %r5, %r6, %r5;\n@%p-2 bra $L__BB0_12;\nmov %r2, %tid.x+8;\nld [%r6+4];\n\
                    .entry b(\nmov %r1, $L__BB0_;";
        assert_eq!(unpack(packed).as_deref(), Some(want));
        assert_eq!(unpack("mov %r0;"), None);
        assert_eq!(unpack("mov %r#x; %r1"), None);
    }

    #[test]
    fn the_packed_text_is_that_of_the_file() {
        let mut bytes = [0, 0];
        macro_rules! check {
            ($($name:literal),*) => {$(
                let text = include_str!(concat!("../kernels/", $name, ".ptx"));
                let ptx = ptx!($name);
                assert!(ptx.text().unwrap() == text, "{} is another text", $name);
                let Text::Packed(packed) = ptx.text else { unreachable!("it is packed") };
                bytes[0] += packed.len();
                bytes[1] += text.len();
            )*};
        }
        check!(
            "cast",
            "concat",
            "conv",
            "depthwise",
            "depthwise_any",
            "dropout",
            "elementwise",
            "few",
            "image",
            "l2_normalise",
            "layer_norm",
            "norm",
            "pool",
            "product",
            "step",
            "update",
            "weight_rows"
        );
        assert!(bytes[0] * 9 < bytes[1], "{} bytes of {}", bytes[0], bytes[1]);
    }
}
