//! What is printed fits a terminal of 80 columns.

use std::fs;

use unicode_width::UnicodeWidthStr as _;

use crate::bench::{Bench, TRAIN};

/// Runs a command, and checks the lines of its results, notes and status.
#[track_caller]
fn fits(bench: &Bench, args: &[&str]) {
    let (out, err) = bench.both(args);
    for line in out.lines().chain(err.lines()) {
        // Commands and addresses are to be pasted.
        let is_whole = line.starts_with("next: ") || line.contains("://");
        assert!(line.width() <= 80 || is_whole, "{args:?}: {} columns: {line}", line.width());
    }
}

#[test]
fn tables_and_notes_are_at_most_80_columns_wide() {
    let bench = Bench::new();
    for (name, lr) in [("first", "1e-3"), ("a-second-one-with-a-longer-name", "2e-3")] {
        let (name, lr) = (format!("run.name={name}"), format!("optim.lr={lr}"));
        fits(&bench, &[&TRAIN[..], &["--set", &name, "--set", &lr, "--profile"]].concat());
    }
    let folds = ["kfold", "small.toml", "--folds", "2", "--set", "run.name=folds"];
    fits(&bench, &folds);
    let lr = ["--set", "optim.lr=3e-3", "--set", "run.name=all"];
    fits(&bench, &[&["train", "small.toml", "--all-data", "runs/folds"][..], &lr].concat());
    for args in [
        &["runs"][..],
        &["compare", "runs/first", "runs/a-second-one-with-a-longer-name"],
        &["compare", "runs/first", "runs/first", "--by", "balanced_accuracy"],
        &["compare", "runs/first", "runs/first", "--by", "expected_calibration_error"],
        &["labels", "runs/folds", "-o", "issues"],
        &["export", "runs/folds", "--preprocessing"],
        &["explain", "runs/first", "--images", "people/eval/images", "-o", "maps"],
        &["data", "check", "small.toml"],
        &["init", "people"],
        &["list"],
        &["list", "models"],
        &["list", "recipes"],
    ] {
        fits(&bench, args);
    }
    // Pairs of duplicates, and images with the same problem.
    fs::copy(bench.image(0, "mask1.jpg"), bench.image(1, "mask1.jpg")).unwrap();
    fs::copy(bench.image(0, "normal.jpg"), bench.image(0, "incorrect_mask.jpg")).unwrap();
    for name in ["mask1", "mask2", "mask3", "mask4", "mask5"] {
        fs::write(bench.image(2, &format!("{name}.jpg")), "a text file").unwrap();
    }
    fits(&bench, &["eda", "people", "-o", "look"]);
}

#[test]
fn notes_on_pseudo_labels_are_at_most_80_columns_wide() {
    let bench = Bench::new();
    bench.ok(&[&TRAIN[..], &["--set", "run.name=a"]].concat());
    let images = ["--images", "people/eval/images"];
    let table = ["--top", "0.5", "-o", "pseudo-labels-of-the-images-of-the-test-set.csv"];
    fits(&bench, &[&["pseudo", "runs/a/best"][..], &images, &table].concat());
    let file = format!("data.pseudo.file={}", table[3]);
    let sets = ["--set", "run.name=b", "--set", &file, "--set"];
    fits(&bench, &[&TRAIN[..], &sets, &["data.pseudo.images=people/eval/images"]].concat());
}
