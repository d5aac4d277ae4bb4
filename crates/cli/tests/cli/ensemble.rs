//! `maskfit ensemble`: what it writes and prints, and what it refuses.

use std::{fmt::Write as _, fs, path::Path};

use expect_test::expect;
use unicode_width::UnicodeWidthStr as _;

use crate::{
    bench::{Bench, SMALL, edit, text, unwrapped},
    files::differences,
};

/// Trains the small experiment for a few steps.
fn train(bench: &Bench, command: &[&str], name: &str, seed: &str) {
    let (name, seed) = (format!("run.name={name}"), format!("seed={seed}"));
    let sets = ["--set", "train.total=2 steps", "--set", &name, "--set", &seed];
    bench.ok(&[command, &["small.toml"], &sets].concat());
}

fn table(path: &Path) -> toml::Table {
    fs::read_to_string(path).unwrap().parse().unwrap()
}

/// Returns the lines of a table, sorted.
fn rows(path: &Path) -> Vec<String> {
    let mut rows: Vec<String> =
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    rows.sort();
    rows
}

#[test]
fn cross_validations_become_one_bundle() {
    let bench = Bench::new();
    let kfold = ["kfold", "--folds", "2"];
    train(&bench, &kfold, "k0", "0");
    train(&bench, &kfold, "k1", "1");
    let fit = ["--weights", "fit", "--by", "log_loss", "--calibrate", "temperature"];
    let more = ["--tune", "thresholds,classes", "--sets", "-o", "best"];
    let (out, err) = bench.both(&[&["ensemble", "runs/k0", "runs/k1"][..], &fit, &more].concat());
    assert!(out.starts_with("56 images of 8 people\n"), "{out}");
    for want in [
        "\n1  runs/k0 (2 folds)  ",
        "\n2  runs/k1 (2 folds)  ",
        "\ncorrelation of errors\n",
        "\nmean ",
        "\nsoft vote fitted ",
        "\nsoft vote nested ",
        "\ntemperature nested ",
        "\ndecision nested ",
        "\nECE, nested: ",
        "\nECE: of the joint classes on the held-out images, ",
        "\n--sets 0.9 ",
        "CV+",
    ] {
        assert!(out.contains(want), "{want}: {out}");
    }
    assert!(out.ends_with("\nbundle: best\n"), "{out}");
    assert!(out.lines().all(|it| it.width() <= 80), "{out}");
    assert!(err.contains("next: maskfit predict best --images DIR"), "{err}");
    assert!(
        err.contains("note: the calibration is fitted on predictions of single folds"),
        "{err}"
    );

    let found = differences(&bench.path("best"), &["Ensemble"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let report = table(&bench.path("best/report.toml"));
    assert_eq!(report["combine"].as_str(), Some("soft_vote"));
    assert_eq!(report["fit_on"].as_str(), Some("held_out"));
    // The data has no test set.
    let note = report["notes"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(note.ends_with("`maskfit evaluate` on images that no fold was trained on"), "{note}");
    let members = report["members"].as_array().unwrap();
    let weights: f64 = members.iter().map(|it| it["weight"].as_float().unwrap()).sum();
    assert!((weights - 1.0).abs() < 1e-9, "{report}");
    assert_eq!(members[0]["run"].as_str(), Some("runs/k0"));
    assert_eq!(report["steps"].as_array().unwrap().len(), 4);
    assert_eq!(report["sets"].as_array().unwrap().len(), 3);
    // The scores are those of the table.
    let table = fs::read_to_string(bench.path("best/oof.csv")).unwrap();
    assert_eq!(table.lines().count(), 57);
    assert_eq!(report["nested"]["images"].as_integer(), Some(56));
    let bundle = fs::read_to_string(bench.path("best/bundle.toml")).unwrap();
    assert!(bundle.contains("inputs = [2, 2]"), "{bundle}");

    let out = bench.ok(&["compare", "runs/k0", "best"]);
    assert!(out.starts_with("56 images of 8 people\n\nA: runs/k0\nB: best\n"), "{out}");
    assert_eq!(bench.ok(&["submit", "best", "--images", "people/eval"]), "21 rows: output.csv\n");

    // Eight people are enough for sets of level 0.8, not of 0.9.
    let sets = |level: &str| {
        let images = ["--images", "people/eval/images", "-o", "sets.csv"];
        let err = bench.notes(&[&["predict", "best", "--sets", level][..], &images].concat());
        let table = fs::read_to_string(bench.path("sets.csv")).unwrap();
        assert!(table.starts_with("image,predicted,class,set,worn male <30,"), "{table}");
        let size = |row: &str| row.split(',').nth(3).unwrap().split(';').count();
        (unwrapped(&err).join("\n"), table.lines().skip(1).map(size).collect::<Vec<_>>())
    };
    let (err, sizes) = sets("0.9");
    assert!(err.contains("they take 9 people held out, not 8"), "{err}");
    assert_eq!(sizes, [18; 21]);
    let (err, sizes) = sets("0.8");
    assert!(
        !err.contains("hold every class") && err.contains("0.60 (CV+) would be proven"),
        "{err}"
    );
    assert!(sizes.iter().all(|it| (1..=18).contains(it)), "{sizes:?}");
    bench.fails(
        &["predict", "runs/k0", "--images", "people/eval/images", "--sets", "0.9"],
        expect!["error: --sets 0.9: the bundle has no scores of held-out images, from which sets follow: make one with `maskfit ensemble RUNS --sets`"],
    );

    // Everybody was trained on by one of the folds.
    let config = ["--config", "small.toml", "--side", "valid", "-o", "scores"];
    let err = text(&bench.run(&[&["evaluate", "best"][..], &config].concat()).stderr);
    assert!(err.contains("error: best: was trained on 2 of these 2 people: `"), "{err}");

    for (kind, name) in [("stack", "stack nested"), ("rank_average", "rank average nested")] {
        let out = bench.ok(&["ensemble", "runs/k0", "runs/k1", "--combine", kind, "-o", kind]);
        assert!(out.contains(&format!("\n{name} ")), "{out}");
        assert!(out.lines().all(|it| it.width() <= 80), "{out}");
        bench.ok(&["predict", kind, "--images", "people/eval/images", "-o", "p.csv"]);
    }
    let hard = ["--combine", "{ kind = \"hard_vote\", weights = [1.0, 3.0] }", "-o", "hard"];
    let out = bench.ok(&[&["ensemble", "runs/k0", "runs/k1"][..], &hard].concat());
    assert!(out.contains("  0.250  ") && out.contains("  0.750  "), "{out}");
    let hard = ["ensemble", "runs/k0", "runs/k1", "--combine", "hard_vote", "--sets", "-o"];
    bench.ok(&[&hard[..], &["votes"]].concat());
    bench.fails(
        &[&hard[..], &["calibrated", "--calibrate", "temperature"]].concat(),
        expect!["error: --sets: a calibrated `hard_vote` cannot order the classes without a vote: leave out --calibrate, or combine by `soft_vote`"],
    );
}

#[test]
fn a_test_set_is_fitted_on_as_the_bundle_predicts_it() {
    let bench = Bench::new();
    let source =
        "data.source={kind = \"synthetic_people\", n_people = 8, n_test = 3, size = [40, 32]}";
    let kfold = ["kfold", "--folds", "2", "--set", source];
    train(&bench, &kfold, "k0", "0");
    train(&bench, &kfold, "k1", "1");
    // Nothing is fitted: these are the predictions of all folds.
    let on_test = ["ensemble", "runs/k0", "--fit-on", "test", "-o"];
    let out = bench.ok(&[&on_test[..], &["plain"]].concat());
    assert!(out.starts_with("21 images of 3 people of the test set\n"), "{out}");
    assert_eq!(rows(&bench.path("plain/test.csv")), rows(&bench.path("runs/k0/test.csv")));
    bench.fails(
        &["compare", "runs/k0", "plain"],
        expect!["error: plain: there is no valid.csv: it has those of a test set: add --test"],
    );

    // With other views they are predicted as the bundle predicts them. Its test set is none any more.
    bench.ok(&[&on_test[..], &["flipped", "--views", "flip"]].concat());
    let evaluate =
        ["evaluate", "flipped", "--config", "small.toml", "--set", source, "-o", "scores"];
    let err = text(&bench.run(&evaluate).stderr);
    assert!(err.contains("error: flipped: was fitted on 3 of these 3 people: `"), "{err}");
    fs::remove_file(bench.path("flipped/split.csv")).unwrap();
    bench.ok(&evaluate);
    let flipped = rows(&bench.path("flipped/test.csv"));
    assert_eq!(rows(&bench.path("scores/test.csv")), flipped);
    assert_ne!(flipped, rows(&bench.path("plain/test.csv")));

    let fit = ["--weights", "fit", "--by", "log_loss", "--calibrate", "temperature", "--sets"];
    let both = ["ensemble", "runs/k0", "runs/k1", "--fit-on", "test", "-o", "best"];
    let (out, err) = bench.both(&[&both[..], &fit].concat());
    for want in [
        "\nsoft vote nested ",
        "\ntemperature nested ",
        "positive is better",
        "\nfitted: scored on the test set it was fitted on: optimistic, and no test score\n",
    ] {
        assert!(out.contains(want), "{want}: {out}");
    }
    // Nobody of the test set is known to any fold.
    assert!(out.contains("\n--sets 0.9 ") && !out.contains("CV+"), "{out}");
    assert!(out.lines().all(|it| it.width() <= 80), "{out}");
    assert!(err.contains("note: the test set is now used for fitting: "), "{err}");
    assert!(!err.contains("single folds"), "{err}");
    let found = differences(&bench.path("best"), &["Ensemble"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let report = table(&bench.path("best/report.toml"));
    assert_eq!(report["fit_on"].as_str(), Some("test"));
    let note = report["notes"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(note.starts_with("the test set is now used for fitting: only the nested "), "{note}");
    assert_eq!(report["nested"]["images"].as_integer(), Some(21));
    let out = bench.ok(&["compare", "--test", "runs/k0", "best"]);
    assert!(out.contains("A: runs/k0\nB: best\n"), "{out}");

    // What is fitted on single folds leaves their mean underconfident.
    let out_of_fold = ["ensemble", "runs/k0", "--calibrate", "temperature", "-o", "out_of_fold"];
    let err = bench.notes(&out_of_fold);
    assert!(
        err.contains("note: the calibration is fitted on predictions of single folds"),
        "{err}"
    );
    assert!(err.contains("`--fit-on test`"), "{err}");
}

#[test]
fn held_out_predictions_are_those_of_the_bundle() {
    let bench = Bench::new();
    train(&bench, &["train"], "a", "0");
    bench.ok(&["ensemble", "runs/a", "-o", "one"]);
    assert_eq!(rows(&bench.path("one/oof.csv")), rows(&bench.path("runs/a/valid.csv")));
    let flip = ["--views", "flip", "--calibrate", "temperature", "-o", "flipped"];
    bench.ok(&[&["ensemble", "runs/a"][..], &flip].concat());
    let scored = |bundle: &str, to: &str| {
        let config = ["--config", "small.toml", "--side", "valid", "-o", to];
        bench.ok(&[&["evaluate", bundle][..], &config].concat());
        rows(&bench.path(to).join("valid.csv"))
    };
    assert_eq!(scored("one", "e1"), rows(&bench.path("one/oof.csv")));
    bench.ok(&["ensemble", "runs/a", "--views", "flip", "-o", "plain"]);
    assert_eq!(scored("plain", "e2"), rows(&bench.path("plain/oof.csv")));
    // What was fitted on people is not scored on them.
    let config = ["--config", "small.toml", "--side", "valid", "-o", "e3"];
    let err = text(&bench.run(&[&["evaluate", "flipped"][..], &config].concat()).stderr);
    assert!(err.contains("error: flipped: was fitted on 2 of these 2 people: `"), "{err}");

    bench.fails(
        &["ensemble", "runs/a", "runs/a/best", "-o", "two"],
        expect!["error: runs/a/best: is named twice: name it once"],
    );
    bench.fails(
        &["ensemble", "one", "-o", "two"],
        expect!["error: one: a bundle has no held-out predictions of its own: name the runs that it was made of"],
    );
    bench.fails(
        &["ensemble", "runs/a", "--fit-on", "test", "-o", "two"],
        expect!["error: runs/a: there is no test.csv, the predictions for a test set: name runs whose data has one, or leave out `--fit-on test`"],
    );
    bench.fails(
        &["ensemble", "runs/a", "-o", "one"],
        expect!["error: one: already exists: choose a new folder with `-o`"],
    );
    bench.fails(
        &["ensemble", "runs/a", "--weights", "1,2", "-o", "two"],
        expect!["error: --weights: one number is needed for each run, 1 in all, not 2"],
    );
    let error = |args: &[&str]| {
        let before = bench.names();
        let output = bench.run(&[&["ensemble"], args, &["-o", "two"]].concat());
        assert_eq!((output.status.code(), bench.names()), (Some(1), before), "{args:?}");
        text(&output.stderr)
    };
    // Everything that is wrong at once.
    let err = error(&["people", "runs/a", "absent", "runs/a"]);
    assert!(err.contains("error: these runs cannot be combined:\n  people: "), "{err}");
    assert!(err.contains("\n  absent: ") && err.contains("\n  runs/a: is named twice"), "{err}");
    bench.ok(&["train", "small.toml", "--set", "run.name=b", "--set", "data.split.ratio=0.5"]);
    let err = error(&["runs/a", "runs/b"]);
    let begin = "runs/a and runs/b do not hold out the same images: only in the first: ";
    assert!(err.contains(begin) && err.contains("`data.split_seed`"), "{err}");
    for (args, want) in [
        (["--combine", "cheese"], "unknown kind `cheese`"),
        (["--weights", "best"], "must be equal, fit, greedy"),
        (["--calibrate", "platt"], "must be one of none, temperature"),
        (["--tune", "cuts"], "must be classes, thresholds"),
        (["--views", "{ kind = \"crops\", n = 7 }"], "n"),
    ] {
        let err = error(&[&["runs/a"][..], &args].concat());
        assert!(err.contains(want), "{args:?}: {err}");
    }
}

#[test]
fn tables_with_other_labels_or_impossible_probabilities_are_refused() {
    let bench = Bench::new();
    train(&bench, &["train"], "a", "0");
    train(&bench, &["train"], "b", "1");
    let table = bench.path("runs/b/valid.csv");
    let whole = fs::read_to_string(&table).unwrap();
    let error = |args: &[&str]| {
        let output = bench.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        text(&output.stderr)
    };
    let combine = ["ensemble", "runs/a", "runs/b", "-o", "both"];
    let other = |it: &str| if it == "0" { "1".to_owned() } else { "0".to_owned() };
    let image = edit(&table, 2, other, |_| true);
    let err = error(&combine);
    let want = "error: runs/b: images have other labels than in the runs before it: 1 (";
    assert!(err.contains(&format!("{want}`{image}`): combine runs of the same data")), "{err}");

    fs::write(&table, whole).unwrap();
    edit(&table, 4, |it| (it.parse::<f64>().unwrap() + 0.5).to_string(), |_| true);
    for args in
        [&combine[..], &["compare", "runs/a", "runs/b"], &["labels", "runs/b", "-o", "l.csv"]]
    {
        let err = error(args);
        assert!(err.contains("runs/b/valid.csv: line 2: the probabilities sum to 1.5"), "{err}");
        assert!(err.contains("make it anew") && err.contains("`maskfit evaluate`"), "{err}");
    }
}

#[test]
fn runs_for_different_factors_are_multiplied() {
    let bench = Bench::new();
    let mut labels = "file,person,mask,gender,use\n".to_owned();
    for person in 0..8 {
        for image in ["normal.jpg", "incorrect_mask.jpg", "mask1.jpg", "mask2.jpg"] {
            let path = bench.image(person, image);
            let name = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
            let gender = name.split('_').nth(1).unwrap();
            let mask = image.split(['.', '1', '2']).next().unwrap();
            let side = if person < 6 { "train" } else { "val" };
            writeln!(labels, "{name}/{image},{name},{mask},{gender},{side}").unwrap();
        }
    }
    fs::write(bench.path("labels.csv"), labels).unwrap();
    for factor in ["mask", "gender"] {
        let source = format!(
            "{{ kind = \"table\", csv = \"labels.csv\", images = \"people/train/images\", image = \"file\", \
             group = \"person\", split = \"use\", labels = [{{ column = \"{factor}\" }}] }}"
        );
        let profiles = "{ kind = \"mask_profiles\", root = \"people/train\" }";
        let config = SMALL.replace(profiles, &source);
        fs::write(bench.path("small.toml"), config + "\n[head]\nkind = \"joint\"\n").unwrap();
        train(&bench, &["train"], factor, "0");
    }
    // Nothing in bundles shows that their factors are those of one task.
    let images = ["--images", "people/eval/images", "-o", "p.csv"];
    for command in ["predict", "submit", "pseudo"] {
        bench.fails(
            &[&[command, "runs/mask", "runs/gender"][..], &images].concat(),
            expect![[r#"
                error: the models predict different factors, and none of them predicts all:
                  runs/mask/best: `mask`
                  runs/gender/best: `gender`
                if these are factors of one task, such as the mask and the age of a person, multiply their probabilities with `--join-factors`; otherwise predict with each model alone"#]],
        );
    }
    let both = ["predict", "runs/mask", "runs/gender", "--join-factors"];
    bench.ok(&[&both[..], &images].concat());
    let joined = fs::read_to_string(bench.path("p.csv")).unwrap();
    let pseudo = ["pseudo", "runs/mask", "runs/gender", "--join-factors", "--top", "1"];
    bench.ok(&[&pseudo[..], &images[..2]].concat());
    let labels = fs::read_to_string(bench.path("pseudo.csv")).unwrap();
    assert!(labels.starts_with("image,group,mask,gender,confidence,weight\n"), "{labels}");
    let runs = ["ensemble", "runs/mask", "runs/gender"];
    let out = bench.ok(&[&runs[..], &["--calibrate", "temperature", "-o", "both"]].concat());
    assert!(out.starts_with("8 images of 2 groups\n"), "{out}");
    let header = fs::read_to_string(bench.path("both/oof.csv")).unwrap();
    let classes =
        "incorrect_mask female,incorrect_mask male,mask female,mask male,normal female,normal male";
    assert!(header.starts_with(&format!("image,group,truth,predicted,{classes}\n")), "{header}");
    assert!(joined.starts_with(&format!("image,predicted,class,{classes}\n")), "{joined}");
    // One of these predicts all factors.
    bench.ok(&["ensemble", "runs/mask", "runs/gender", "-o", "pair"]);
    bench.ok(&[&["predict", "pair", "runs/mask"][..], &images].concat());
    bench.ok(&["predict", "both", "--images", "people/eval/images", "-o", "p.csv"]);
    bench.fails(
        &[&runs[..], &["--weights", "fit", "-o", "fitted"]].concat(),
        expect!["error: the runs predict different factors, so they can only be combined by `soft_vote` with equal or given weights: leave out --combine, and --weights `fit` and `greedy`"],
    );
}
