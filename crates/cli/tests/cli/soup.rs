//! `maskfit soup`, `train --all-data`, notes on unfinished runs, and the order of `--set`.

use std::fs::{self, File};

use expect_test::expect;

use crate::bench::{Bench, edit, lasting, text, unwrapped};

#[test]
fn a_soup_of_runs_predicts_like_any_bundle() {
    let bench = Bench::new();
    for (name, seed) in [("a", "seed=0"), ("b", "seed=1")] {
        let name = format!("run.name={name}");
        let sets = ["--set", "checkpoint.keep=2", "--set", seed, "--set", &name];
        bench.ok(&[&["train", "small.toml"][..], &sets].concat());
    }
    let (out, err) = bench.both(&["soup", "runs/a", "runs/b", "-o", "mean"]);
    assert!(out.contains("uniform soup of 2 of 2 models") && out.contains("held out: "), "{out}");
    assert!(err.contains("next: maskfit predict mean"), "{err}");
    let note = "note: the models began from different weights (runs/a: random ones of seed 0, runs/b: random \
                ones of seed 1)";
    assert!(unwrapped(&err).iter().any(|it| it.starts_with(note)), "{err}");
    bench.ok(&["predict", "mean", "--images", "people/eval/images", "-o", "p.csv"]);
    assert_eq!(fs::read_to_string(bench.path("p.csv")).unwrap().lines().count(), 22);
    let report = fs::read_to_string(bench.path("mean/report.toml")).unwrap();
    assert!(
        report.starts_with("kind = \"uniform\"\nmodels = [\"runs/a\", \"runs/b\"]"),
        "{report}"
    );

    // It has predictions of the images that both held out, and so compares like a run.
    assert!(bench.ok(&["compare", "runs/a", "mean"]).contains("mean"));

    let greedy = ["soup", "runs/a", "--last", "2", "--kind", "greedy", "-o", "last"];
    let (out, err) = bench.both(&greedy);
    assert!(!err.contains("different weights"), "{err}");
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    let biased = "); optimistically biased: selected on these images, no nested estimate bundle: ";
    assert!(out.contains("runs/a, step ") && words.contains(biased), "{out}");
    assert!(out.lines().all(|it| it.len() <= 80), "{out}");
    let report = fs::read_to_string(bench.path("last/report.toml")).unwrap();
    assert!(report.contains("there is no nested estimate"), "{report}");
    let members = ["soup", "runs/a", "--last", "2", "--kind", "ensemble", "-o", "members"];
    assert!(bench.ok(&members).contains("ensemble of 2 models"));
    bench.ok(&["ensemble", "members", "runs/b", "-o", "both"]);
    let bundle = fs::read_to_string(bench.path("both/bundle.toml")).unwrap();
    assert_eq!(bundle.matches("[[members]]").count(), 3, "{bundle}");
    bench.fails(
        &["soup", "runs/a", "runs/b", "-o", "mean"],
        expect!["error: mean: already exists: choose a new folder with `-o`"],
    );
    bench.fails(
        &["soup", "runs/a", "-o", "other"],
        expect!["error: a soup needs at least two models: name several runs, or use `--last`"],
    );
    bench.fails(
        &["soup", "runs/a", "mean", "runs/a", "-o", "other"],
        expect![[r#"
            error: mean: this is not a run, so what it was trained on is unknown: name runs or cross-validations
            runs/a: is named twice"#]],
    );

    // Other data with the same names.
    let other = |_: &str| "worn male unknown".to_owned();
    let image = edit(&bench.path("runs/b/data.csv"), 3, other, |_| true);
    let output = bench.run(&["soup", "runs/a", "runs/b", "-o", "other"]);
    let err = text(&output.stderr);
    let want = format!(
        "1 image has another label or group in runs/b than in runs/a: `{image}` (worn male unknown, "
    );
    assert!(output.status.code() == Some(1) && err.contains(&want), "{err}");
    assert!(err.contains("name runs of the same data and labels") && !bench.path("other").exists());
}

#[test]
fn training_on_all_the_data_takes_the_length_of_the_folds() {
    let bench = Bench::new();
    bench.ok(&["kfold", "small.toml", "--folds", "2", "--set", "run.name=folds"]);
    // A dry run of it leaves no file.
    let before = bench.names();
    let out = bench.ok(&["train", "--all-data", "runs/folds", "--fast"]);
    assert!(out.contains("length: ") && out.contains("of everything work"), "{out}");
    assert_eq!(bench.names(), before);
    let (out, err) = bench.both(&["train", "--all-data", "runs/folds", "--set", "run.name=all"]);
    // All images are trained on, in one phase; those that the first fold held out are scored too.
    let phase = "phase 1 of 1 `all the data`: ";
    for want in ["data:  training set    56 images of 8 people\n", ", in 1 phase\n", phase] {
        assert!(err.contains(want), "{want}: {err}");
    }
    assert!(
        err.contains("all 56 images of ") && err.contains(" people, also trained on\n"),
        "{err}"
    );
    assert!(out.contains("length: ") && out.contains(", the median of the folds' epochs"), "{out}");
    assert!(out.contains("meaningless: it was trained on these images"), "{out}");
    assert!(out.contains("estimate: the out-of-fold predictions of folds:"), "{out}");
    let read = |name: &str| fs::read_to_string(bench.path(name)).unwrap();
    let table = |name: &str| read(name).parse::<toml::Table>().unwrap();
    let (folds, all) = (table("runs/folds/report.toml"), table("runs/all/report.toml"));
    assert_eq!(all["estimate"]["macro_f1"], folds["joined"]["macro_f1"]);
    assert_eq!(all["trained_on_valid"].as_bool(), Some(true));
    assert!(read("runs/all/report.toml").contains("mean nothing"));

    let (out, err) = bench.both(&["soup", "runs/folds", "-o", "mean"]);
    let notes = unwrapped(&err);
    assert!(notes.iter().any(|it| it.contains("so there is no held-out score")), "{err}");
    assert!(out.contains("runs/folds/fold-1") && !out.contains("held out: "), "{out}");
    // The median of two folds is their mean, in epochs of each.
    let epochs = [0, 1].map(|it| {
        let fold = format!("runs/folds/fold-{it}");
        let best = table(&format!("{fold}/report.toml"))["best_step"].as_integer().unwrap();
        let rows = read(&format!("{fold}/epochs.csv"));
        let row = rows.lines().find(|it| it.starts_with(&format!("{best},"))).unwrap();
        row.split(',').nth(1).unwrap().parse::<f64>().unwrap()
    });
    let config = table("runs/all/config.toml");
    let phase = &config["phase"].as_array().unwrap()[0];
    assert_eq!(
        phase["total"].as_str(),
        Some(&*format!("{} epochs", (epochs[0] + epochs[1]) / 2.0))
    );
    assert_eq!(phase["data"].as_str(), Some("all"));

    // Its config repeats it.
    bench.ok(&["train", "runs/all/config.toml", "--set", "run.name=again"]);
    let [a, b] = ["all", "again"].map(|it| lasting(&bench.path("runs").join(it)));
    assert!(a[1..] == b[1..]);

    bench.fails(
        &["train", "small.toml", "--all-data", "runs/all"],
        expect!["error: runs/all: this is not a cross-validation: name a folder that `maskfit kfold` has written"],
    );
}

#[test]
fn an_unfinished_run_is_noted() {
    let bench = Bench::new();
    bench.ok(&["train", "small.toml", "--set", "run.name=a"]);
    fs::remove_file(bench.path("runs/a/report.toml")).unwrap();
    let note = "note: runs/a: this run was stopped before its end: its best evaluation so far is what is used";
    let notes = bench.notes(&["submit", "runs/a", "--images", "people/eval"]);
    assert!(unwrapped(&notes).iter().any(|it| it == note), "{notes}");
    let args = ["predict", "runs/a", "--images", "people/eval/images", "-o", "p.csv"];
    assert!(unwrapped(&bench.notes(&args)).iter().any(|it| it == note));

    // While its first evaluation is being saved, the description of the bundle has another name.
    let best = bench.path("runs/a/best");
    fs::rename(best.join("bundle.toml"), best.join("bundle-2.toml")).unwrap();
    let export = ["export", "runs/a"];
    bench.fails(&export, expect!["error: runs/a: no evaluation of this run is saved yet: resume it with `maskfit train --resume runs/a`"]);
    let err = text(&bench.run(&export).stderr);
    assert!(!err.contains("best evaluation so far"), "{err}");
    let lock = File::options().append(true).open(bench.path("runs/a/lock")).unwrap();
    lock.lock().unwrap();
    bench.fails(&["serve", "runs/a"], expect!["error: runs/a: no evaluation of this run is saved yet: try again after its first evaluation"]);
}

#[test]
fn a_kind_keeps_the_settings_beside_it() {
    let bench = Bench::new();
    for order in [["optim.lr=1e-4", "optim.kind=sgd"], ["optim.kind=sgd", "optim.lr=1e-4"]] {
        let out = bench.ok(&["config", "show", "small.toml", "--set", order[0], "--set", order[1]]);
        let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
        let has =
            |want: &str| lines.iter().any(|it| it.starts_with(want) && it.ends_with("# --set"));
        assert!(has("kind = \"sgd\"") && has("lr = 0.0001"), "{out}");
    }
}
