//! File names as unique text, and detection of names that look the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fmt::Write as _,
    fs, io,
    path::Path,
};

use unicode_normalization::UnicodeNormalization as _;

/// Returns a name as text. Bytes that are not UTF-8 become `\xE9`, and in such a name a backslash becomes
/// `\\`; any other name is unchanged.
pub fn text_of(name: &OsStr) -> String {
    if let Some(name) = name.to_str() {
        return name.to_owned();
    }
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text += &chunk.valid().replace('\\', r"\\");
        for byte in chunk.invalid() {
            write!(text, r"\x{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    text
}

/// Returns the composed form (NFC) of a name, which is the same for names that look the same: in NFC, as on
/// Windows and Linux, or in NFD, as on macOS.
pub fn composed(name: &str) -> String {
    match name.is_ascii() {
        true => name.to_owned(),
        false => name.nfc().collect(),
    }
}

/// The names in a folder, by their composed form.
#[derive(Clone, Debug, Default)]
pub struct ComposedNames {
    names: BTreeMap<String, Vec<String>>,
    /// Names that are not UTF-8, as [`text_of`] writes them.
    pub not_utf8: Vec<String>,
}

impl ComposedNames {
    /// Returns the names of a folder's direct entries.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn of_folder(dir: &Path) -> io::Result<ComposedNames> {
        let mut by_form = ComposedNames::default();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            match name.to_str() {
                Some(name) => by_form.add(name),
                None => by_form.not_utf8.push(text_of(&name)),
            }
        }
        by_form.not_utf8.sort();
        Ok(by_form)
    }

    /// Adds a name.
    pub fn add(&mut self, name: &str) {
        self.names.entry(composed(name)).or_default().push(name.to_owned());
    }

    /// Returns the names that look like `name`.
    pub fn like(&self, name: &str) -> &[String] {
        self.names.get(&composed(name)).map_or(&[], Vec::as_slice)
    }
}

/// Returns the composed forms that several of the names share, in order.
pub fn lookalikes<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    // An ASCII name has only one form.
    let names: BTreeSet<&str> = names.filter(|it| !it.is_ascii()).collect();
    let mut by_form = ComposedNames::default();
    names.iter().for_each(|it| by_form.add(it));
    by_form.names.retain(|_, names| names.len() > 1);
    by_form.names.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::{ComposedNames, composed, lookalikes};

    #[test]
    #[cfg(unix)]
    fn names_that_are_not_utf8_remain_distinct() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        let text = |bytes: &[u8]| super::text_of(OsStr::from_bytes(bytes));
        assert_eq!(text("사진 1.jpg".as_bytes()), "사진 1.jpg");
        assert_eq!(text(b"a\\b.jpg"), r"a\b.jpg");
        assert_eq!(text(b"caf\xE9.jpg"), r"caf\xE9.jpg");
        assert_eq!(text(b"caf\xE8.jpg"), r"caf\xE8.jpg");
        assert_eq!(text(b"a\\xE9\xE9"), r"a\\xE9\xE9");
        // A truncated character, and 사진 in CP949.
        assert_eq!(text(b"\xEC\x82.jpg"), r"\xEC\x82.jpg");
        assert_eq!(text(b"\xBB\xE7\xC1\xF8.jpg"), r"\xBB\xE7\xC1\xF8.jpg");
    }

    #[test]
    fn names_in_nfc_and_nfd_look_the_same() {
        let (nfc, nfd) = ("ni\u{f1}o.jpg", "nin\u{303}o.jpg");
        assert_eq!(composed(nfd), nfc);
        // Hangul syllables, and their letters.
        assert_eq!(composed("\u{1112}\u{1161}\u{11ab}.jpg"), "\u{d55c}.jpg");
        let mut by_form = ComposedNames::default();
        by_form.add(nfd);
        assert_eq!(by_form.like(nfc), [nfd]);
        assert!(by_form.like("nino.jpg").is_empty());
        assert_eq!(lookalikes([nfc, "a.jpg", nfd, "\u{d55c}"].into_iter()), [nfc]);
    }
}
