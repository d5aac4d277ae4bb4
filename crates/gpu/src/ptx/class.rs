//! The classes of registers and labels in PTX, whose numbers are packed: for `build.rs`, which packs, and `ptx.rs`.

/// The bytes of the class that a text begins with: `%` and small letters, or `$` and all up to the last `_`.
pub(crate) fn class_bytes(text: &str) -> usize {
    let name = &text.as_bytes()[1..];
    match text.as_bytes()[0] {
        b'%' => 1 + name.iter().take_while(|it| it.is_ascii_lowercase()).count(),
        _ => {
            let n = name.iter().take_while(|it| it.is_ascii_alphanumeric() || **it == b'_').count();
            1 + name[..n].iter().rposition(|it| *it == b'_').map_or(0, |it| it + 1)
        }
    }
}
