//! The value of one `--set` argument: TOML in which text needs no quotes.
//!
//! ```text
//! value = "text" | 'text' | [value, ...] | { key = value, ... } | bare
//! ```
//!
//! A bare value extends to the next `,` or bracket, and at the top level to the end. It is a number or a
//! boolean if TOML parses it as one, and text otherwise; a date is text too, since no setting is a date.
//! The literal text is stored next to every value, because only the schema determines whether a setting
//! expects `2021` as a number or as text.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// The literal text of each value, by the path of the value.
pub(super) type Typed = BTreeMap<String, String>;

/// Reads the value for the setting at `path`.
pub(super) fn read(path: &str, text: &str) -> (Value, Typed) {
    let mut reader = Reader { rest: text.trim(), typed: Typed::new() };
    let is_nested = reader.rest.starts_with(['[', '{']);
    let nested = if is_nested { reader.value(path, "") } else { None };
    let value = nested.filter(|_| reader.rest.is_empty()).unwrap_or_else(|| scalar(text));
    reader.typed.insert(path.to_owned(), text.to_owned());
    (value, reader.typed)
}

/// The text parsed as TOML, or the text itself if it is not valid TOML.
fn scalar(text: &str) -> Value {
    let value = format!("value = {text}").parse::<Table>().ok().filter(|it| it.len() == 1);
    match value.and_then(|mut it| it.remove("value")) {
        None | Some(Value::Datetime(_)) => Value::String(text.to_owned()),
        Some(value) => value,
    }
}

struct Reader<'a> {
    rest: &'a str,
    typed: Typed,
}

impl<'a> Reader<'a> {
    /// The next value, which ends before one of `ends`; `None` if brackets or quotes do not match.
    fn value(&mut self, path: &str, ends: &str) -> Option<Value> {
        let begin = self.rest;
        let value = match begin.chars().next()? {
            '[' => Value::Array(self.list(path)?),
            '{' => Value::Table(self.table(path)?),
            quote @ ('"' | '\'') => self.quoted(quote)?,
            _ => {
                let end = begin.find(|it| ends.contains(it)).unwrap_or(begin.len());
                self.rest = &begin[end..];
                let bare = begin[..end].trim();
                // Line breaks and comments are left to TOML itself.
                scalar(Some(bare).filter(|it| !it.is_empty() && !it.contains('\n'))?)
            }
        };
        let typed = begin[..begin.len() - self.rest.len()].trim();
        self.typed.insert(path.to_owned(), typed.to_owned());
        self.rest = self.rest.trim_start();
        Some(value)
    }

    fn list(&mut self, path: &str) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        self.rest = self.rest[1..].trim_start();
        while !self.take(']') {
            values.push(self.value(&format!("{path}[{}]", values.len()), ",]")?);
            self.separator(']')?;
        }
        Some(values)
    }

    fn table(&mut self, path: &str) -> Option<Table> {
        let mut table = Table::new();
        self.rest = self.rest[1..].trim_start();
        while !self.take('}') {
            let (key, rest) = self.rest.split_once('=')?;
            self.rest = rest.trim_start();
            let keys = keys(key)?;
            let value = self.value(&format!("{path}.{}", keys.join(".")), ",}")?;
            insert(&mut table, &keys, value)?;
            self.separator('}')?;
        }
        Some(table)
    }

    fn quoted(&mut self, quote: char) -> Option<Value> {
        let mut is_escaped = false;
        let end = self.rest.char_indices().skip(1).find(|&(_, it)| {
            let is_end = it == quote && !is_escaped;
            is_escaped = quote == '"' && it == '\\' && !is_escaped;
            is_end
        })?;
        let (text, rest) = self.rest.split_at(end.0 + 1);
        self.rest = rest;
        // Anything that TOML does not parse as text, such as the first half of `""" text """`, is rejected.
        Some(scalar(text)).filter(|it| it.as_str().is_some_and(|it| it != text))
    }

    fn take(&mut self, end: char) -> bool {
        let after = self.rest.strip_prefix(end);
        self.rest = after.map_or(self.rest, str::trim_start);
        after.is_some()
    }

    /// Consumes a comma; optional before the closing bracket, which is not consumed.
    fn separator(&mut self, end: char) -> Option<()> {
        (self.take(',') || self.rest.starts_with(end)).then_some(())
    }
}

/// The parts of a key, such as `a."b c"`.
fn keys(text: &str) -> Option<Vec<String>> {
    let mut table = format!("{text} = 0").parse::<Table>().ok()?;
    let mut keys = Vec::new();
    loop {
        let (key, value) = std::mem::take(&mut table).into_iter().next()?;
        keys.push(key);
        match value {
            Value::Table(inner) => table = inner,
            _ => return Some(keys),
        }
    }
}

/// Returns `None` if the key is already present.
fn insert(table: &mut Table, keys: &[String], value: Value) -> Option<()> {
    match keys {
        [] => None,
        [last] => table.insert(last.clone(), value).is_none().then_some(()),
        [first, rest @ ..] => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            insert(inner.as_table_mut()?, rest, value)
        }
    }
}

/// The value at a path such as `a.b[0].c`.
pub(super) fn at<'a>(table: &'a mut Table, path: &str) -> Option<&'a mut Value> {
    let mut steps = path.split(['.', '[']);
    let mut value = table.get_mut(steps.next()?)?;
    for step in steps {
        value = match step.strip_suffix(']') {
            Some(idx) => value.as_array_mut()?.get_mut(idx.parse::<usize>().ok()?)?,
            None => value.as_table_mut()?.get_mut(step)?,
        };
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use toml::Value;

    use super::read;

    /// Compares the parsed value, as TOML.
    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(read("it", text).0.to_string(), want, "{text}");
    }

    #[test]
    fn valid_toml_is_parsed_as_toml() {
        for text in [
            "1",
            "-1.5",
            "true",
            "\"a, b\"",
            "[1, 2]",
            "[]",
            "{ a = 1, b = { c = [\"x]\", \"y\"] } }",
            "[[1], [2, [3]]]",
            "[{ a = 1 }, { a = \"\\\"q\\\" }\" }]",
        ] {
            let toml: toml::Table = format!("it = {text}").parse().unwrap();
            assert_eq!(read("it", text).0, toml["it"], "{text}");
        }
        check("[1, # one\n 2]", "[1, 2]");
        check("{ a.b = 1, a.c = 2 }", "{ a = { b = 1, c = 2 } }");
        check("[\"\"\"a\"\"\"]", "[\"a\"]");
    }

    #[test]
    fn anything_else_is_text() {
        check("2024-01-02", "\"2024-01-02\"");
        check("007", "\"007\"");
        check("a, b", "\"a, b\"");
        check("[a", "\"[a\"");
        check("[a] b", "\"[a] b\"");
        check("[a,,b]", "\"[a,,b]\"");
        check("", "\"\"");
        assert_eq!(read("it", "1\nb = 2").0.as_str(), Some("1\nb = 2"));
        check("[runs/a b.csv, 7, 007,]", "[\"runs/a b.csv\", 7, \"007\"]");
        check("{ kind = wandb, tags = [x, 1e3] }", "{ kind = \"wandb\", tags = [\"x\", 1000.0] }");
        check("{ a = 1, a = 2 }", "\"{ a = 1, a = 2 }\"");
    }

    #[test]
    fn the_literal_text_of_every_value_is_recorded() {
        let (value, typed) = read("it", "{ root = 0x10, list = [ 1e3, {b = 'x' } ] }");
        assert!(value.is_table() && value["root"] == Value::Integer(16));
        let typed: Vec<_> = typed.iter().map(|(path, it)| (path.as_str(), it.as_str())).collect();
        assert_eq!(
            typed,
            [
                ("it", "{ root = 0x10, list = [ 1e3, {b = 'x' } ] }"),
                ("it.list", "[ 1e3, {b = 'x' } ]"),
                ("it.list[0]", "1e3"),
                ("it.list[1]", "{b = 'x' }"),
                ("it.list[1].b", "'x'"),
                ("it.root", "0x10"),
            ]
        );
    }
}
