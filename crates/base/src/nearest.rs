//! Suggestions for a name that does not exist: the most similar of those that do, by Damerau and Levenshtein's
//! distance, relative to the longer name, of the letters and digits.

/// The least similarity of a suggestion, from 0 to 1.
const SIMILAR: f64 = 0.6;
/// Maximum number of names to list where none is similar.
const LISTED: usize = 30;
/// Of more names, how many to list.
const SOME: usize = 8;

/// What a value is called elsewhere, such as in PyTorch, where that is not similar to its name here.
const SYNONYMS: [(&str, &str); 5] =
    [("float16", "f16"), ("half", "f16"), ("bfloat16", "bf16"), ("float32", "off"), ("f32", "off")];

/// Returns the most similar of several names, by their letters and digits; `None` if none is similar.
pub fn nearest<'a>(name: &str, among: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |it: &str| -> String {
        it.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let name = letters(name);
    if name.is_empty() {
        return None;
    }
    let similarity = |it: &str| strsim::normalized_damerau_levenshtein(&name, &letters(it));
    let rated = among.into_iter().map(|it| (similarity(it), it)).filter(|it| it.0 >= SIMILAR);
    rated.reduce(|best, it| if it.0 > best.0 { it } else { best }).map(|it| it.1)
}

/// Returns what to write in place of an unknown name: the similar one, or all that there are.
pub fn hint(name: &str, known: &[&str]) -> String {
    match (nearest(name, known.iter().copied()), known.len()) {
        (Some(it), _) => format!("did you mean `{it}`?"),
        (None, ..=LISTED) => format!("expected one of: {}", known.join(", ")),
        (None, n) => format!("there are {n}, such as: {}", known[..SOME].join(", ")),
    }
}

/// Adds the similar name, or ours for one of [`SYNONYMS`], to a message of the form "unknown field `rat`, expected
/// one of `rate`, `size`".
pub(crate) fn suggested(message: &str) -> String {
    let name = ["unknown field `", "unknown value `", "unknown kind `"];
    let name = name.iter().find_map(|it| message.strip_prefix(it)?.split_once("`, expected "));
    let found = name.and_then(|(name, known)| {
        let among = || known.split('`').skip(1).step_by(2);
        let synonyms = SYNONYMS.iter().filter(|it| it.0.eq_ignore_ascii_case(name));
        let ours = synonyms.map(|it| it.1).find(|ours| among().any(|it| it == *ours));
        let near = ours.or_else(|| nearest(name, among()))?;
        let begin = message.strip_suffix(known)?.strip_suffix(", expected ")?;
        Some(format!("{begin}: did you mean `{near}`? Expected {known}"))
    });
    found.unwrap_or_else(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{hint, nearest, suggested};

    #[test]
    fn near_misses_are_suggested() {
        let among = ["golden_retriever", "beagle", "푸들", "c10", "?"];
        assert_eq!(nearest("Golden Retriever", among), Some("golden_retriever"));
        assert_eq!(nearest("beagel", among), Some("beagle"));
        assert_eq!(nearest("c01", among), Some("c10"));
        assert_eq!(nearest("husky", among), None);
        assert_eq!(nearest("!", among), None);
        assert_eq!(nearest("beagle", []), None);
    }

    #[test]
    fn an_unknown_name_is_answered_with_a_similar_one_or_with_all() {
        assert_eq!(hint("masks", &["mask", "age"]), "did you mean `mask`?");
        assert_eq!(hint("hat", &["mask", "age"]), "expected one of: mask, age");
        assert_eq!(
            hint("x", &["name"; 31]),
            format!("there are 31, such as: {}", ["name"; 8].join(", "))
        );
    }

    #[test]
    fn for_names_of_pytorch_ours_are_suggested() {
        let expected = "expected one of `off`, `bf16`, `f16`";
        for (name, want) in [
            ("float16", Some("f16")),
            ("half", Some("f16")),
            ("fp16", Some("f16")),
            ("bfloat16", Some("bf16")),
            ("BFloat16", Some("bf16")),
            ("float32", Some("off")),
            ("int8", None),
        ] {
            let got = suggested(&format!("unknown value `{name}`, {expected}"));
            let begin = got.split_once("? ").map(|it| it.0);
            let want = want.map(|it| format!("unknown value `{name}`: did you mean `{it}`"));
            assert_eq!(begin.map(str::to_owned), want);
        }
        // Only where there is such a value.
        let other = "unknown value `half`, expected `whole`";
        assert_eq!(suggested(other), other);
    }

    #[test]
    fn messages_of_serde_name_the_similar_field() {
        for (message, want) in [
            (
                "unknown field `optm`, expected one of `run`, `optim`",
                "unknown field `optm`: did you mean `optim`? Expected one of `run`, `optim`",
            ),
            (
                "unknown kind `finetune`, expected `fine_tune`",
                "unknown kind `finetune`: did you mean `fine_tune`? Expected `fine_tune`",
            ),
        ] {
            assert_eq!(suggested(message), want);
            // Once is enough.
            assert_eq!(suggested(want), want);
        }
        for message in ["unknown field `a`, expected `b`", "unknown field `a`", "invalid type: map"]
        {
            assert_eq!(suggested(message), message);
        }
    }
}
