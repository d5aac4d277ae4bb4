//! The file of `--save`: a line of JSON for each measurement.

use std::{fs::OpenOptions, io::Write as _, path::Path};

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// The keys that two measurements of the same thing agree in; older lines lack the last four.
const SAME: [&str; 7] = ["model", "batch", "size", "dtype", "isa", "threads", "busy"];
/// The number of those that a line must have.
const NEEDED: usize = 3;

/// Checks that lines can be appended to a file, before anything is measured; creates nothing.
pub(super) fn check(save: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = save else { return Ok(()) };
    if path.exists() {
        let opened = OpenOptions::new().append(true).open(path);
        opened.with_context(|| format!("--save: {}", path.display()))?;
    } else {
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        let has_folder = folder.is_none_or(Path::is_dir);
        ensure!(has_folder, "--save: {}: its folder does not exist", path.display());
    }
    Ok(())
}

/// Appends a line to a file, if there is one.
pub(super) fn store(save: Option<&Path>, line: &Value) -> anyhow::Result<()> {
    let Some(path) = save else { return Ok(()) };
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut it| it.write_all(format!("{line}\n").as_bytes()))
        .with_context(|| format!("--save: {}", path.display()))
}

/// Parses the lines of a file.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<Value>> {
    let lines = text.lines().enumerate().filter(|(_, it)| !it.trim().is_empty());
    let parse = |(idx, line): (usize, &str)| {
        let value: Option<Value> = serde_json::from_str(line).ok().filter(Value::is_object);
        value.with_context(|| format!("line {} is not an object of JSON", idx + 1))
    };
    lines.map(parse).collect()
}

/// Returns whether two lines measured the same under the same conditions, as far as they say so.
pub(super) fn is_same(a: &Value, b: &Value) -> bool {
    SAME.iter().enumerate().all(|(idx, &key)| match (a.get(key), b.get(key)) {
        (Some(a), Some(b)) => a == b,
        _ => idx >= NEEDED,
    })
}

/// Describes what a line measured.
pub(super) fn conditions(line: &Value) -> String {
    let of = |key: &&str| Some(format!("{key} {}", line.get(key)?));
    SAME.iter().filter_map(of).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::{check, conditions, is_same, parse, store};

    fn line() -> Value {
        json!({ "model": "a", "batch": 4, "size": [8, 8], "isa": "avx2", "threads": 2, "busy": 0 })
    }

    #[test]
    fn lines_are_appended_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines.json");
        let lines = [line(), json!({ "model": "b" })];
        check(Some(&path)).unwrap();
        assert!(!path.exists(), "a check creates nothing");
        lines.iter().for_each(|it| store(Some(&path), it).unwrap());
        check(Some(&path)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert_eq!(parse(&text).unwrap(), lines);
        assert_eq!(parse(&format!("\n{text}\n")).unwrap(), lines);
        let err = parse("{}\n\n3\n").unwrap_err().to_string();
        assert_eq!(err, "line 3 is not an object of JSON");
        assert!(check(Some(dir.path())).is_err());
        assert!(check(Some(&dir.path().join("none/lines.json"))).is_err());
    }

    #[test]
    fn only_measurements_of_the_same_are_compared() {
        let with = |key: &str, value: Value| {
            let mut line = line();
            line[key] = value;
            line
        };
        assert!(is_same(&line(), &with("infer_img_s", json!(3.0))));
        for (key, value) in [
            ("model", json!("b")),
            ("batch", json!(8)),
            ("size", json!([8, 9])),
            ("isa", json!("avx512")),
            ("threads", json!(1)),
            ("busy", json!(1)),
        ] {
            assert!(!is_same(&line(), &with(key, value)), "{key}");
        }
        // An older build's line has no threads and neighbours; one of `bench load` has no model.
        let old = json!({ "model": "a", "batch": 4, "size": [8, 8], "isa": "avx2" });
        assert!(is_same(&line(), &old) && is_same(&old, &line()));
        assert!(!is_same(&line(), &json!({ "load_img_s": 100.0 })));
        let want = r#"model "a", batch 4, size [8,8], isa "avx2", threads 2, busy 0"#;
        assert_eq!(conditions(&line()), want);
    }
}
