//! `maskfit report`, and the page at the end of `train` and `kfold`.

use std::{fmt::Write as _, fs};

use expect_test::expect;

use crate::bench::{Bench, SMALL, unwrapped};

const SHORT: [&str; 4] = ["train", "small.toml", "--set", "train.total=2 steps"];

/// Reads a page, with the slashes that templates escape.
fn page(bench: &Bench, path: &str) -> String {
    fs::read_to_string(bench.path(path)).unwrap().replace("&#x2f;", "/")
}

/// Whether a page reads anything else.
#[track_caller]
fn check_alone(page: &str) {
    for outside in ["src=\"http", "src='http", "<link", "url(http", "@import", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("data:image/jpeg;base64,"));
}

#[test]
fn a_run_ends_with_its_page_unless_it_is_told_otherwise() {
    let bench = Bench::new();
    let (out, err) = bench.both(&[&SHORT[..], &["--set", "run.name=a"]].concat());
    assert!(out.contains("\nreport: runs/a/report.html\n"), "{out}");
    assert!(!err.contains("the report was not made"), "{err}");
    assert!(unwrapped(&err).iter().any(|it| it.contains("B in ") && it.ends_with(" s")), "{err}");
    let made = page(&bench, "runs/a/report.html");
    check_alone(&made);
    assert!(made.contains("on the validation set (14 images of 2 people)"), "{made}");
    assert!(made.contains("optimistically biased"));
    assert!(
        made.contains("incorrect")
            && made.contains("maskfit train runs/a/config.toml --set run.name=a-again")
    );

    let out =
        bench.ok(&[&SHORT[..], &["--set", "run.name=b", "--set", "run.report=false"]].concat());
    assert!(!out.contains("report: ") && !bench.path("runs/b/report.html").exists(), "{out}");
    // It affects no result.
    let read = |run: &str| fs::read(bench.path(run).join("valid.csv")).unwrap();
    assert!(read("runs/a") == read("runs/b"));

    // Asked for, it is written to the run, or elsewhere.
    let out = bench.ok(&["report", "runs/b"]);
    assert_eq!(out, "report: runs/b/report.html\n");
    // A page is replaced, any other file is not.
    bench.ok(&["report", "runs/b", "-o", "runs/a/report.html"]);
    let own = fs::read(bench.path("runs/b/report.toml")).unwrap();
    bench.fails(
        &["report", "runs/b", "-o", "runs/b/report.toml"],
        expect![
            "error: runs/b/report.toml: already exists, and is not a report: name another file with `-o`, or remove it"
        ],
    );
    assert!(fs::read(bench.path("runs/b/report.toml")).unwrap() == own);
    fs::write(bench.path("runs/b/report.html"), "<!DOCTYPE html><title>mine</title>").unwrap();
    bench.fails(
        &["report", "runs/b"],
        expect![
            "error: runs/b/report.html: already exists, and is not a report: name another file with `-o`, or remove it"
        ],
    );
    let out = bench.ok(&["report", "latest", "-o", "page.html", "-q"]);
    assert_eq!(out, "report: page.html\n");
    let (stdout, err) = bench.both(&["report", "runs/a", "-o", "-"]);
    assert!(stdout.trim_start().starts_with("<!") && err.contains("report: stdout"), "{err}");
    check_alone(&stdout.replace("&#x2f;", "/"));
}

#[test]
fn what_is_missing_is_a_note_on_the_page() {
    let bench = Bench::new();
    bench.ok(&[&SHORT[..], &["--set", "run.name=a", "--set", "run.report=false"]].concat());
    // An evaluation does not name its data.
    bench.ok(&["evaluate", "runs/a", "--side", "valid", "-o", "valid"]);
    assert_eq!(bench.ok(&["report", "valid"]), "report: valid/report.html\n");
    assert!(page(&bench, "valid/report.html").contains("There are no images and no attributes"));
    // An image of the validation set is damaged.
    let table = page(&bench, "runs/a/valid.csv");
    let names: Vec<&str> = table.lines().skip(1).map(|it| it.split(',').next().unwrap()).collect();
    let image = |name: &str| bench.path("people/train/images").join(name);
    fs::write(image(names[0]), "no image").unwrap();
    let err = bench.notes(&["report", "runs/a"]);
    let is_note = |it: &String| it.starts_with("note: 1 image is missing or cannot be read");
    assert!(unwrapped(&err).iter().any(is_note), "{err}");
    let made = page(&bench, "runs/a/report.html");
    assert!(
        made.contains("1 image is missing or cannot be read, and shown by name only"),
        "{made}"
    );
    check_alone(&made);
    // All data is gone: the scores remain.
    fs::rename(bench.path("people"), bench.path("moved")).unwrap();
    let err = bench.notes(&["report", "runs/a"]);
    let is_note = |it: &String| it.starts_with("note: There are no images and no attributes: ");
    assert!(unwrapped(&err).iter().any(is_note), "{err}");
    let made = page(&bench, "runs/a/report.html");
    assert!(made.contains("There are no images and no attributes"), "{made}");
    assert!(made.contains("on the validation set (14 images of 2 people)"), "{made}");
    assert!(!made.contains("data:image/jpeg"));
}

#[test]
fn names_of_values_and_classes_are_text() {
    let bench = Bench::new();
    let mut table = "file,person,mask,site,use,camera\n".to_owned();
    for person in 0..8 {
        for image in ["normal.jpg", "incorrect_mask.jpg", "mask1.jpg", "mask2.jpg"] {
            let path = bench.image(person, image);
            let name = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            let mask = ["<script>", "\"마스크, 착용\""][usize::from(image.starts_with("mask"))];
            let site = ["<b>north</b>", "\"남쪽, \"\"1\"\"\""][person % 2];
            let side = if person < 4 { "train" } else { "val" };
            writeln!(table, "{name}/{image},{name},{mask},{site},{side},one").unwrap();
        }
    }
    fs::write(bench.path("labels.csv"), table).unwrap();
    let source = "{ kind = \"table\", csv = \"labels.csv\", images = \"people/train/images\", image = \"file\", \
                  group = \"person\", label = \"mask\", attributes = [\"site\", \"camera\"], split = \"use\" }";
    let profiles = "{ kind = \"mask_profiles\", root = \"people/train\" }";
    let config = SMALL.replace(profiles, source) + "\n[head]\nkind = \"joint\"\n";
    fs::write(bench.path("small.toml"), config).unwrap();
    bench.ok(&[&SHORT[..], &["--set", "run.name=a"]].concat());
    let made = page(&bench, "runs/a/report.html");
    check_alone(&made);
    for name in
        ["&lt;script&gt;", "마스크, 착용", "&lt;b&gt;north&lt;/b&gt;", "남쪽, &quot;1&quot;"]
    {
        assert!(made.contains(name), "{name}");
    }
    assert!(made.contains("permutation of the values over"), "{made}");
    let note =
        "There are no scores by <code>camera</code>: it has one value in all of these images.";
    assert!(made.contains(note), "{made}");
}

#[test]
fn several_runs_are_side_by_side() {
    let bench = Bench::new();
    for name in ["a", "b"] {
        let name = format!("run.name={name}");
        let seed = if name.ends_with('a') { "seed=0" } else { "seed=1" };
        bench
            .ok(&[&SHORT[..], &["--set", &name, "--set", seed, "--set", "run.report=false"]]
                .concat());
    }
    let out = bench.ok(&["report", "runs/a", "runs/b", "-o", "both.html"]);
    assert_eq!(out, "report: both.html\n");
    let made = page(&bench, "both.html");
    check_alone(&made);
    assert!(made.contains("runs/b/config.toml") && made.contains("runs/a/config.toml"));
    // Another validation set: scores, but no differences.
    bench.ok(&[
        &SHORT[..],
        &["--set", "run.name=c", "--set", "data.split_seed=7", "--set", "run.report=false"],
        &["--set", "data.split.ratio=0.5"],
    ]
    .concat());
    bench.ok(&["report", "runs/a", "runs/c", "-o", "other.html"]);
    let made = page(&bench, "other.html");
    assert!(made.contains("is not compared: it predicted other images"), "{made}");
    assert_eq!(made.matches(">other images</td>").count(), 12, "{made}");
    check_own_scores(&made);
    bench.fails(
        &["report", "runs/a", "runs/b"],
        expect!["error: 2 runs are named: name the page with `-o FILE`, so that it does not replace the page of the first run"],
    );
    // Other classes too: of one factor, so there are only scores of the joint classes.
    let mut table = "file,person,mask\n".to_owned();
    for person in 0..8 {
        for image in ["normal.jpg", "mask1.jpg", "mask2.jpg"] {
            let path = bench.image(person, image);
            let name = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            writeln!(table, "{name}/{image},{name},{}", image.starts_with("mask")).unwrap();
        }
    }
    fs::write(bench.path("labels.csv"), table).unwrap();
    let source = "{ kind = \"table\", csv = \"labels.csv\", images = \"people/train/images\", image = \"file\", \
                  group = \"person\", label = \"mask\" }";
    let profiles = "{ kind = \"mask_profiles\", root = \"people/train\" }";
    let config = SMALL.replace(profiles, source) + "\n[head]\nkind = \"joint\"\n";
    fs::write(bench.path("small.toml"), config).unwrap();
    bench.ok(&[&SHORT[..], &["--set", "run.name=d", "--set", "run.report=false"]].concat());
    bench.ok(&["report", "runs/a", "runs/d", "-o", "classes.html"]);
    let made = page(&bench, "classes.html");
    assert!(made.contains("has other classes than"), "{made}");
    assert_eq!(made.matches(">other classes</td>").count(), 12, "{made}");
    let without = "<td class=\"num\">–</td><td class=\"num\">–</td><td class=\"num\">–</td>";
    assert_eq!(made.matches(without).count(), 9, "{made}");
    check_own_scores(&made);
}

/// Whether every score of the comparison is defined: those of runs that are not compared too.
#[track_caller]
fn check_own_scores(made: &str) {
    let compared = made.split("id=\"comparison\"").nth(1).unwrap();
    let compared = compared.split("</section>").next().unwrap();
    assert!(!compared.contains("undefined"), "{compared}");
}

#[test]
fn an_ensemble_of_runs_is_scored_on_the_images_they_were_selected_on() {
    let bench = Bench::new();
    for (name, seed) in [("a", 0), ("b", 1)] {
        let set = [format!("run.name={name}"), format!("seed={seed}")];
        let more = ["--set", &set[0], "--set", &set[1], "--set", "run.report=false"];
        bench.ok(&[&SHORT[..], &more].concat());
    }
    bench.ok(&["ensemble", "runs/a", "runs/b", "-o", "both"]);
    assert_eq!(bench.ok(&["report", "both"]), "report: both/report.html\n");
    let made = page(&bench, "both/report.html");
    assert!(made.contains("on the validation set (14 images of 2 people)"), "{made}");
    assert!(made.contains("selected on these images, so the score is optimistically biased"));
}

#[test]
fn a_cross_validation_ends_with_its_page() {
    let bench = Bench::new();
    let out = bench.ok(&[
        "kfold",
        "small.toml",
        "--folds",
        "2",
        "--set",
        "train.total=2 steps",
        "--set",
        "run.name=folds",
    ]);
    assert!(out.contains("\nreport: runs/folds/report.html\n"), "{out}");
    let made = page(&bench, "runs/folds/report.html");
    check_alone(&made);
    assert!(made.contains("on the out-of-fold predictions (56 images of 8 people)"), "{made}");
    let repeated = "maskfit kfold runs/folds/config.toml --set run.name=folds-again";
    assert!(made.contains(repeated), "{made}");
    assert!(made.contains("slightly optimistically biased") && made.contains("fold 1"), "{made}");
    // The folds have none of their own.
    assert!(!bench.path("runs/folds/fold-0/report.html").exists());
}

#[test]
fn the_test_scores_of_a_cross_validation_are_beside_the_others() {
    let bench = Bench::new();
    let source =
        "data.source={kind = \"synthetic_people\", n_people = 18, n_test = 3, size = [40, 32]}";
    let args = ["kfold", "small.toml", "--folds", "2", "--set", source, "--set", "run.name=folds"];
    bench.ok(&[&args[..], &["--set", "train.total=2 steps"]].concat());
    let made = page(&bench, "runs/folds/report.html");
    for want in [
        "on the out-of-fold predictions (126 images of 18 people)",
        "On the test set (21 images of 3 people), macro F1 is ",
        " for the models of all folds together, and ",
        " for a single model (mean of 2 folds). The test score is the one that counts",
        "Scores on the test set (21 images of 3 people)",
        "Macro F1, mean of 2 folds",
    ] {
        assert!(made.contains(want), "{want}: {made}");
    }
    // Another image in the table of a fold.
    let table = bench.path("runs/folds/fold-1/test.csv");
    let text = fs::read_to_string(&table).unwrap();
    let first = text.lines().nth(1).unwrap().split(',').next().unwrap();
    fs::write(&table, text.replacen(first, "other.jpg", 1)).unwrap();
    let err = bench.notes(&["report", "runs/folds"]);
    let want =
        "note: The test scores are left out: runs/folds/fold-1/test.csv: it has other images";
    assert!(unwrapped(&err).iter().any(|it| it.starts_with(want)), "{err}");
    assert!(!page(&bench, "runs/folds/report.html").contains("Scores on the test set"));
}

#[test]
fn folders_without_predictions_are_refused() {
    let bench = Bench::new();
    bench.ok(&[&SHORT[..], &["--set", "run.name=a", "--set", "run.report=false"]].concat());
    bench.fails(
        &["report", "people"],
        expect!["error: people: there is no valid.csv: this is not a finished run: name a folder of `runs/`, or resume it with `--resume`"],
    );
    bench.fails(
        &["report", "small.toml"],
        expect!["error: small.toml: this is a file: name the folder of a run or a bundle"],
    );
    bench.fails(
        &["report", "runs/a", "./runs/a"],
        expect!["error: ./runs/a: is named twice: name each run once"],
    );
    bench.fails(
        &["report", "runs/a", "-o", "missing/page.html"],
        expect!["error: --output missing/page.html: folder missing does not exist: create it"],
    );
    fs::remove_file(bench.path("runs/a/report.toml")).unwrap();
    bench.fails(
        &["report", "runs/a"],
        expect!["error: runs/a: this run is not finished: resume it with `maskfit train --resume runs/a`, or report on another"],
    );
}
