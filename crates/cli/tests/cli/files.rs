//! The files of a run and of predictions are those of `docs/src/reference/files.md`, with exactly its columns.

use std::{fs, path::Path};

use crate::bench::Bench;

/// A file of the page: its name and its columns, patterns both.
struct Documented {
    section: String,
    name: String,
    columns: Vec<String>,
}

fn documented() -> Vec<Documented> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/files.md");
    let (mut files, mut section) = (Vec::<Documented>::new(), String::new());
    for line in fs::read_to_string(page).unwrap().lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_owned();
        } else if let Some(names) = line.strip_prefix("### `") {
            for name in names.trim_end_matches('`').split(", ") {
                let (name, section) = (name.to_owned(), section.clone());
                files.push(Documented { section, name, columns: Vec::new() });
            }
        } else if let Some(row) = line.strip_prefix("| `") {
            let column = row.split('`').next().unwrap().to_owned();
            files.last_mut().unwrap().columns.push(column);
        }
    }
    files
}

/// Whether a text fits a pattern with at most two `{...}`.
fn fits(text: &str, pattern: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('{') else { return text == pattern };
    let (_, after) = rest.split_once('}').unwrap();
    let Some(text) = text.strip_prefix(before) else { return false };
    let mut ends = text.char_indices().map(|it| it.0).chain([text.len()]);
    ends.any(|end| fits(&text[end..], after))
}

/// Returns what differs between the files of a run and the page.
pub(crate) fn differences(run: &Path, sections: &[&str]) -> Vec<String> {
    let documented = documented();
    let mut wrong = Vec::new();
    let mut todo = vec![run.to_owned()];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|it| it.unwrap().path()));
            continue;
        }
        let name = path.strip_prefix(run).unwrap().to_str().unwrap();
        let mut of_name = documented.iter().filter(|it| sections.contains(&it.section.as_str()));
        let Some(file) = of_name.find(|it| fits(name, &it.name)) else {
            wrong.push(format!("{name} is not on the page"));
            continue;
        };
        if file.columns.is_empty() {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
        let pattern = |column: &String| column.trim_end_matches('?').to_owned();
        for column in &header {
            if !file.columns.iter().any(|it| fits(column, &pattern(it))) {
                wrong.push(format!("{name}: the column `{column}` is not on the page"));
            }
        }
        for column in &file.columns {
            if !column.ends_with('?') && !header.iter().any(|it| fits(it, &pattern(column))) {
                wrong.push(format!("{name}: the column `{column}` of the page is not in the file"));
            }
        }
    }
    wrong
}

#[test]
fn a_run_leaves_the_documented_files_with_the_documented_columns() {
    let bench = Bench::new();
    let track = "track=[{kind = \"csv\"}, {kind = \"jsonl\"}, {kind = \"tensorboard\"}, {kind = \"wandb\"}]";
    let source =
        "data.source={kind = \"synthetic_people\", n_people = 8, n_test = 3, size = [40, 32]}";
    let small = ["small.toml", "--set", "train.total=1 epochs", "--set", source, "--set", track];
    let args = [&["train"], &small[..], &["--set", "run.name=a", "--set", "head.kind=regression"]]
        .concat();
    bench.ok(&args);
    let found = differences(&bench.path("runs/a"), &["Run", "Trackers"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(bench.path("runs/a/test_confusions.csv").is_file());
    fs::create_dir(bench.path("predicted")).unwrap();
    for (command, output) in [("submit", "output.csv"), ("predict", "probabilities.csv")] {
        let to = format!("predicted/{output}");
        bench.ok(&[command, "runs/a", "--images", "people/eval/images", "-o", &to]);
    }
    let found = differences(&bench.path("predicted"), &["Predictions"]);
    assert!(found.is_empty(), "{}", found.join("\n"));

    let source =
        "data.source={kind = \"synthetic_people\", n_people = 18, n_test = 3, size = [40, 32]}";
    let args =
        ["kfold", "small.toml", "--folds", "2", "--set", source, "--set", "train.total=2 steps"];
    bench.ok(&[&args[..], &["--set", "run.name=folds", "--set", "track=[]"]].concat());
    let folds = bench.path("runs/folds");
    let found = [
        differences(&folds, &["Cross-validation", "Run"]),
        differences(&folds.join("fold-0"), &["Run"]),
    ]
    .concat();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
