//! `maskfit evaluate`: what it scores, and what it refuses.

use std::fs;

use expect_test::expect;

use crate::{
    bench::{Bench, SMALL, edit, text, unwrapped},
    files::differences,
};

#[test]
fn evaluations_are_compared_like_runs() {
    let bench = Bench::new();
    let source =
        "data.source={kind = \"synthetic_people\", n_people = 8, n_test = 3, size = [40, 32]}";
    let short = ["--set", "train.total=2 steps", "--set", source, "--set"];
    for name in ["run.name=a", "run.name=b"] {
        let seed = ["--set", if name == "run.name=a" { "seed=0" } else { "seed=1" }];
        bench.ok(&[&["train", "small.toml"][..], &short, &[name], &seed].concat());
    }
    let read = |name: &str| fs::read_to_string(bench.path(name)).unwrap();

    // A run's own bundle predicts what the run wrote.
    let (out, err) = bench.both(&["evaluate", "runs/a", "-o", "test"]);
    let found = differences(&bench.path("test"), &["Evaluation"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert_eq!(read("test/test.csv"), read("runs/a/test.csv"));
    assert_eq!(read("test/test_classes.csv"), read("runs/a/test_classes.csv"));
    assert!(out.starts_with("\ntest set: 21 images of 3 people\n"), "{out}");
    assert!(out.contains("\ntest set: macro F1 0."), "{out}");
    assert!(out.ends_with("predictions: test/test.csv\n"), "{out}");
    assert!(err.contains("next: maskfit compare --test test OTHER"), "{err}");
    assert!(!err.contains("optimistically biased"), "{err}");
    let err = bench.notes(&["evaluate", "runs/a", "--side", "valid", "-o", "valid"]);
    let note = "note: runs/a/best: an epoch was selected on 2 of these 2 people: the score is optimistically biased";
    assert!(unwrapped(&err).iter().any(|it| it == note), "{err}");
    assert_eq!(read("valid/valid.csv"), read("runs/a/valid.csv"));
    let report: toml::Table = read("valid/report.toml").parse().unwrap();
    let of_run: toml::Table = read("runs/a/report.toml").parse().unwrap();
    assert_eq!(
        report["valid"]["scores"]["joint"]["macro_f1"],
        of_run["valid"]["scores"]["joint"]["macro_f1"]
    );
    assert_eq!(report["models"][0].as_str(), Some("runs/a"));

    // Several models are averaged; folders and runs are compared.
    bench.ok(&["evaluate", "runs/a", "runs/b", "-o", "both"]);
    let out = bench.ok(&["compare", "--test", "test", "runs/a", "both"]);
    assert!(out.contains("A: test\nB: runs/a\n") && out.contains("A: test\nB: both\n"), "{out}");
    assert!(out.contains("  +0.0000  ") && out.contains("  [+0.0000, +0.0000]\n"), "{out}");
    bench.ok(&["compare", "valid", "runs/b"]);
    bench.fails(
        &["compare", "test", "runs/a"],
        expect!["error: test: there is no valid.csv: it has those of a test set: add --test"],
    );
    bench.fails(
        &["compare", "valid", "runs/a", "--test"],
        expect![
            "error: valid: there is no test.csv: it has those of a validation set: leave out --test"
        ],
    );

    // People whom the run trained on.
    let before = bench.names();
    let output = bench.run(&["evaluate", "runs/a", "--side", "all", "-o", "all"]);
    let err = text(&output.stderr);
    assert_eq!((output.status.code(), bench.names()), (Some(1), before), "{err}");
    assert!(err.contains("error: runs/a/best: was trained on 6 of these 11 people: `"), "{err}");
    assert!(err.contains("` and 1 more\nits score there says nothing about new people: "), "{err}");
    // The data is not what it was: another image of the same name has another label.
    let whole = read("runs/a/data.csv");
    let other = |_: &str| "worn male unknown".to_owned();
    let image = edit(&bench.path("runs/a/data.csv"), 3, other, |it| it.ends_with(",valid"));
    let own = bench.run(&["evaluate", "runs/a", "--side", "valid", "-o", "changed"]);
    let err = text(&own.stderr);
    let count = "1 image has another label or group than in the run's `data.csv`: ";
    assert!(err.contains(&format!("error: runs/a/best: {count}`{image}` (")), "{err}");
    assert!(
        own.status.code() == Some(1) && err.contains("name the new one with `--config`"),
        "{err}"
    );
    // With other settings that may be on purpose.
    let set = ["--set", "threads=1"];
    let err =
        bench.notes(&[&["evaluate", "runs/a", "--side", "valid", "-o", "b"], &set[..]].concat());
    let note = format!("note: runs/a/best: {count}`{image}` (");
    assert!(unwrapped(&err).iter().any(|it| it.contains(&note)), "{err}");
    let args = [&["evaluate", "runs/a", "--side", "all", "-o", "all"], &set[..]].concat();
    let err = text(&bench.run(&args).stderr);
    assert!(
        err.contains(&format!("; {count}`{image}`")) && err.contains("name of its own"),
        "{err}"
    );
    fs::write(bench.path("runs/a/data.csv"), whole).unwrap();

    // Other people of the same names: only a file that was trained on shows that they are not.
    let people = ["data", "synthetic-people", "namesakes", "--people", "8", "--test", "0"];
    bench.ok(&[&people[..], &["--size", "40x32", "--seed", "9"]].concat());
    let small = SMALL.replace("people/train", "namesakes/train");
    fs::write(bench.path("new.toml"), small).unwrap();
    bench.ok(&["train", "small.toml", "--set", "train.total=2 steps", "--set", "run.name=c"]);
    let split = read("runs/c/split.csv");
    let known = split.lines().find_map(|it| it.strip_suffix(",train")).unwrap();
    let of_new = fs::read_dir(bench.path("namesakes/train/images")).unwrap().next().unwrap();
    let new = of_new.unwrap().file_name().into_string().unwrap();
    fs::write(bench.path("runs/c/split.csv"), split.replace(known, &new)).unwrap();
    let args = ["evaluate", "runs/c", "--config", "new.toml", "--side", "all", "-o", "strangers"];
    let err = text(&bench.run(&args).stderr);
    assert!(err.contains("was trained on 1 of these 8 people: `"), "{err}");
    assert!(err.contains("known by name only: ") && err.contains("`--new-groups`"), "{err}");
    let err = bench.notes(&[&args[..], &["--new-groups"]].concat());
    let note = "note: runs/c/best: 1 of these people have names of people that it was trained on, ";
    assert!(unwrapped(&err).iter().any(|it| it.starts_with(note)), "{err}");
    fs::write(bench.path("runs/c/split.csv"), &split).unwrap();
    let same = ["--config", "small.toml", "--side", "all", "--new-groups", "-o", "same"];
    let err = text(&bench.run(&[&["evaluate", "runs/c"][..], &same].concat()).stderr);
    let files = "error: runs/c/best: was trained on the files of ";
    assert!(err.contains(files) && err.contains(" of these 56 images: `"), "{err}");

    // Of other people there is nothing known.
    fs::remove_file(bench.path("runs/b/split.csv")).unwrap();
    let config = ["--config", "small.toml", "--side", "all", "-o", "others"];
    let err = bench.notes(&[&["evaluate", "runs/b"][..], &config].concat());
    assert!(err.contains("note: runs/b/best: what it was trained on is unknown"), "{err}");
    assert_eq!(read("others/test.csv").lines().count(), 57);
    // The model has its own preprocessing: no image is too small for that of the settings.
    let large = "augment.train=[{ kind = \"center_crop\", size = [500, 500] }]";
    let config = ["--config", "small.toml", "--side", "all", "--set", large, "-o", "cropped"];
    bench.ok(&[&["evaluate", "runs/b"][..], &config].concat());
    assert_eq!(read("cropped/test.csv"), read("others/test.csv"));

    bench.fails(
        &["evaluate", "runs/a", "-o", "test"],
        expect!["error: test: already exists: choose a new folder with `-o`"],
    );
    bench.fails(
        &["evaluate", "runs/a/best", "-o", "new"],
        expect![
            "error: runs/a/best: a bundle has no data: name an experiment file with `--config`"
        ],
    );
    bench.fails(
        &["evaluate", "runs/a", "--config", "small.toml", "-o", "new"],
        expect![
            "error: the data has no test set: name another `--side`, or other data with `--config`"
        ],
    );
    bench.fails(
        &["compare", "runs/a/best", "runs/b"],
        expect!["error: runs/a/best: there is no valid.csv: a bundle has no held-out predictions: name its run, or predict labelled images with `maskfit evaluate`"],
    );
}
