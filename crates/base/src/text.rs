//! Reading of user-written text: every file of settings, labels or names is read here.
//!
//! The text must be UTF-8, with or without a byte order mark. Anything else is rejected with the detected
//! encoding, and never decoded silently: a wrong guess would give a wrong name.

use std::{fs, io, path::Path, str};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};

/// Reads a file, without its byte order mark.
///
/// # Errors
/// Any I/O error; and [`io::ErrorKind::InvalidData`] if the file is not UTF-8, with the detected encoding
/// and how to fix it.
pub fn read(path: &Path) -> io::Result<String> {
    decode(fs::read(path)?).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
}

/// Decodes the bytes of a file, without its byte order mark.
///
/// # Errors
/// Bytes that are not UTF-8: the detected encoding, and how to fix it.
pub fn decode(bytes: Vec<u8>) -> Result<String, NotText> {
    match String::from_utf8(bytes) {
        Ok(text) => match text.strip_prefix('\u{feff}') {
            // UTF-16 of ASCII characters is also valid UTF-8, with null bytes.
            _ if text.contains('\0') => Err(NotText::of(text.as_bytes())),
            Some(text) => Ok(text.to_owned()),
            None => Ok(text),
        },
        Err(err) => Err(NotText::of(err.as_bytes())),
    }
}

/// The bytes are not UTF-8.
#[derive(Debug, thiserror::Error)]
#[error("{problem}: {remedy}")]
pub struct NotText {
    /// The detected encoding or kind of data.
    pub problem: String,
    /// How to fix it.
    pub remedy: &'static str,
}

impl NotText {
    fn of(bytes: &[u8]) -> NotText {
        let remedy = "save it as UTF-8";
        if let Some(name) = wide(bytes) {
            return NotText { problem: format!("this looks like {name}, not UTF-8"), remedy };
        }
        if bytes.contains(&0) {
            let problem = "this is binary data, not text".to_owned();
            return NotText { problem, remedy: "name another file, or save it as UTF-8" };
        }
        let (mut n_valid, mut n_invalid) = (0, 0);
        for chunk in bytes.utf8_chunks() {
            n_valid += chunk.valid().chars().filter(|it| !it.is_ascii()).count();
            n_invalid += usize::from(!chunk.invalid().is_empty());
        }
        let whole = bytes.utf8_chunks().next().map_or("", |it| it.valid());
        let line = 1 + whole.bytes().filter(|&it| it == b'\n').count();
        if n_valid > n_invalid {
            let problem = format!("line {line} is not UTF-8, though the rest is");
            return NotText { problem, remedy: "correct the line, and save it as UTF-8" };
        }
        let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
        detector.feed(bytes, true);
        let name = match detector.guess(None, Utf8Detection::Deny).name() {
            "EUC-KR" => "CP949 (EUC-KR)",
            "Shift_JIS" => "Shift_JIS (CP932)",
            "GBK" => "GBK (CP936)",
            "Big5" => "Big5 (CP950)",
            other => other,
        };
        NotText { problem: format!("this looks like {name}, not UTF-8 (line {line})"), remedy }
    }
}

/// Detects an encoding of two or four bytes per character, by its byte order mark or by the positions of
/// zero bytes.
fn wide(bytes: &[u8]) -> Option<&'static str> {
    const MARKS: [(&[u8], &str); 4] = [
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ];
    if let Some((_, name)) = MARKS.iter().find(|it| bytes.starts_with(it.0)) {
        return Some(name);
    }
    // Without a mark, the zero upper bytes of Latin letters identify UTF-16.
    let zeros = |parity: usize| {
        let all = bytes.iter().skip(parity).step_by(2);
        (all.clone().filter(|&&it| it == 0).count(), all.len())
    };
    let [(even, n_even), (odd, n_odd)] = [zeros(0), zeros(1)];
    let is_half = |zeros: usize, n: usize, others: usize| 3 * zeros > n && others == 0;
    (is_half(even, n_even, odd) || is_half(odd, n_odd, even)).then_some("UTF-16")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::decode;

    #[track_caller]
    fn check(bytes: &[u8], want: Expect) {
        want.assert_eq(&match decode(bytes.to_owned()) {
            Ok(text) => format!("text: {text}"),
            Err(err) => err.to_string(),
        });
    }

    fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn utf8_is_read_with_and_without_a_mark() {
        check("마스크".as_bytes(), expect!["text: 마스크"]);
        check("\u{feff}[마스크]".as_bytes(), expect!["text: [마스크]"]);
        check(b"", expect!["text: "]);
    }

    #[test]
    fn another_encoding_is_named() {
        let settings = "# 마스크 실험\n[data]\n";
        check(
            &utf16(&format!("\u{feff}{settings}"), u16::to_le_bytes),
            expect!["this looks like UTF-16, not UTF-8: save it as UTF-8"],
        );
        check(
            &utf16(&format!("\u{feff}{settings}"), u16::to_be_bytes),
            expect!["this looks like UTF-16, not UTF-8: save it as UTF-8"],
        );
        for order in [u16::to_le_bytes, u16::to_be_bytes] {
            check(
                &utf16("[data]\n", order),
                expect!["this looks like UTF-16, not UTF-8: save it as UTF-8"],
            );
        }
        // "# 마스크 실험" in CP949, on the second line; in Shift_JIS "ImageID\nマスク写真\n".
        check(
            b"[data]\n# \xb8\xb6\xbd\xba\xc5\xa9 \xbd\xc7\xc7\xe8\n",
            expect!["this looks like CP949 (EUC-KR), not UTF-8 (line 2): save it as UTF-8"],
        );
        check(
            b"ImageID\n\x83\x7d\x83\x58\x83\x4e\x8e\xca\x90\x5e\n",
            expect!["this looks like Shift_JIS (CP932), not UTF-8 (line 2): save it as UTF-8"],
        );
        // "口罩照片的目录" in GBK, and "Größe: müde Köpfe" in windows-1252.
        check(
            b"\xbf\xda\xd5\xd6\xd5\xd5\xc6\xac\xb5\xc4\xc4\xbf\xc2\xbc\n",
            expect!["this looks like GBK (CP936), not UTF-8 (line 1): save it as UTF-8"],
        );
        check(
            b"Gr\xf6\xdfe: m\xfcde K\xf6pfe\n",
            expect!["this looks like windows-1252, not UTF-8 (line 1): save it as UTF-8"],
        );
    }

    #[test]
    fn damaged_text_and_binary_data_are_distinguished_from_another_encoding() {
        check(
            "a\n마스크 실험\n"
                .as_bytes()
                .iter()
                .chain(b"\xff\n")
                .copied()
                .collect::<Vec<_>>()
                .as_slice(),
            expect![
                "line 3 is not UTF-8, though the rest is: correct the line, and save it as UTF-8"
            ],
        );
        check(
            b"PK\x03\x04\0\0\x08\x08\0\0\0\0\xff\xfe",
            expect!["this is binary data, not text: name another file, or save it as UTF-8"],
        );
    }
}
