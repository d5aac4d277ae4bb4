//! Reads JSON from a request. Errors are in plain words, not in those of serde: where something is wrong, what, and how
//! to fix it.

use base::hint;
use serde::de::DeserializeOwned;
use serde_json::{Deserializer, Error, error::Category};

use crate::error::ApiError;

/// Parses a JSON body.
///
/// # Errors
/// 400, with the place of what is wrong.
pub(crate) fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut from = Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut from)
        .map_err(|err| wrong(&err.path().to_string(), err.inner()))?;
    from.end().map_err(|err| wrong(".", &err))?;
    Ok(parsed)
}

/// - `path`: where a value is wrong; `.` for the whole.
fn wrong(path: &str, err: &Error) -> ApiError {
    let (line, column) = (err.line(), err.column());
    let text = err.to_string();
    let position = format!(" at line {line} column {column}");
    let reason = text.strip_suffix(position.as_str()).unwrap_or(&text);
    let place = match (err.classify(), path) {
        (Category::Data, ".") => "in the JSON".to_owned(),
        (Category::Data, path) => format!("at `{path}`"),
        _ => format!("at line {line}, column {column}"),
    };
    let what = match err.classify() {
        Category::Data => difference(reason),
        Category::Eof => "the JSON ends before it is complete: send all of it".to_owned(),
        Category::Syntax | Category::Io => format!("this is not JSON: {}", syntax(reason)),
    };
    ApiError::bad(format!("{place}: {what}"))
}

/// Describes how a value differs from what is expected, and what to write instead.
fn difference(reason: &str) -> String {
    let field = |before: &str| reason.strip_prefix(before)?.strip_suffix('`');
    if let Some(name) = field("missing field `") {
        return format!("there is no field `{name}`: add it");
    }
    if let Some(name) = field("duplicate field `") {
        return format!("there are two fields `{name}`: remove one");
    }
    let unknown = reason.strip_prefix("unknown field `");
    if let Some((name, known)) = unknown.and_then(|it| it.rsplit_once("`, expected ")) {
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        return format!("there is no such field: {}", hint(name, &known));
    }
    let invalid = reason.strip_prefix("invalid ");
    match invalid.and_then(|it| it.rsplit_once(", expected ")) {
        Some((found, expected)) => format!("expected {}, not {}", kind(expected), value(found)),
        None => reason.to_owned(),
    }
}

/// Names an expected type.
fn kind(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list",
        "f64" => "a number",
        "usize" => "a whole number from 0",
        it if it.starts_with("struct ") => "an object",
        it => it,
    }
}

/// Names a value that was found: ``type: integer `3` `` is `3`.
fn value(found: &str) -> String {
    if let Some(n) = found.strip_prefix("length ") {
        return format!("a list of length {n}");
    }
    let value = found.split_once(": ").map_or(found, |it| it.1);
    match value {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        "null" => "`null`".to_owned(),
        it if it.starts_with("string ") => format!("the {it}"),
        it => it.find('`').map_or(it, |at| &it[at..]).to_owned(),
    }
}

/// Describes what keeps a text from being JSON.
fn syntax(reason: &str) -> &str {
    match reason {
        "expected ident" | "expected value" => "expected a value",
        "trailing characters" => "nothing may follow the value",
        "trailing comma" => "remove the comma before the closing bracket",
        "key must be a string" => "write the name of a field in double quotes",
        "recursion limit exceeded" => "it is nested too deeply",
        it => it,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::from_json;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        names: Vec<String>,
        #[serde(default)]
        level: f64,
        #[serde(default)]
        shape: Vec<usize>,
    }

    /// Compares the whole message.
    #[track_caller]
    fn check(body: &str, want: &str) {
        let err = from_json::<Body>(body.as_bytes()).unwrap_err();
        assert_eq!((err.status.as_u16(), err.message.as_str()), (400, want), "{body}");
    }

    #[test]
    fn a_field_that_is_unknown_missing_or_doubled_is_named() {
        let body = Body { names: vec!["a".to_owned()], level: 0.5, shape: vec![1] };
        let text = br#" {"names": ["a"], "level": 0.5, "shape": [1]} "#;
        assert_eq!(from_json::<Body>(text).unwrap(), body);
        check(r#"{"name": ["a"]}"#, "at `name`: there is no such field: did you mean `names`?");
        check(
            r#"{"names": [], "hat": 1}"#,
            "at `hat`: there is no such field: expected one of: names, level, shape",
        );
        check(r#"{"level": 1}"#, "in the JSON: there is no field `names`: add it");
        check(
            r#"{"names": [], "names": []}"#,
            "in the JSON: there are two fields `names`: remove one",
        );
    }

    #[test]
    fn a_value_of_another_type_is_named_with_its_place() {
        for (value, found) in [
            ("3", "`3`"),
            ("-0.5", "`-0.5`"),
            ("true", "`true`"),
            ("null", "`null`"),
            ("[]", "a list"),
            ("{}", "an object"),
        ] {
            let body = format!("{{\"names\": [\"a\", {value}]}}");
            check(&body, &format!("at `names[1]`: expected a string, not {found}"));
        }
        check(r#"{"names": "a: b"}"#, "at `names`: expected a list, not the string \"a: b\"");
        check(
            r#"{"names": [], "level": "high"}"#,
            "at `level`: expected a number, not the string \"high\"",
        );
        for wrong in ["-1", "1.5"] {
            check(
                &format!("{{\"names\": [], \"shape\": [{wrong}]}}"),
                &format!("at `shape[0]`: expected a whole number from 0, not `{wrong}`"),
            );
        }
        check("7", "in the JSON: expected an object, not `7`");
        check("[]", "in the JSON: expected an object, not a list of length 0");
    }

    #[test]
    fn what_is_not_json_is_an_error_with_line_and_column() {
        let ends = "the JSON ends before it is complete: send all of it";
        check("{\"names\": [", &format!("at line 1, column 11: {ends}"));
        check("{\n\"names\": [\"a", &format!("at line 2, column 12: {ends}"));
        for (body, want) in [
            ("", ends),
            ("no", "expected a value"),
            (
                "{\"names\": []} 1",
                "at line 1, column 15: this is not JSON: nothing may follow the value",
            ),
            ("{\"names\": [\"a\",]}", "remove the comma before the closing bracket"),
            ("{names: []}", "write the name of a field in double quotes"),
            ("{\"names\": [\"a\" \"b\"]}", "this is not JSON: expected `,` or `]`"),
        ] {
            let message = from_json::<Body>(body.as_bytes()).unwrap_err().message;
            assert!(message.starts_with("at line 1, ") && message.ends_with(want), "{message}");
        }
        let deep = "[".repeat(100_000);
        let message = from_json::<serde_json::Value>(deep.as_bytes()).unwrap_err().message;
        assert!(message.ends_with("this is not JSON: it is nested too deeply"), "{message}");
    }
}
