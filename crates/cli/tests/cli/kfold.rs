//! Cross-validations in steps, by several processes, and from several places.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use expect_test::expect;
use unicode_width::UnicodeWidthStr as _;

use crate::{
    bench::{Bench, lasting, text},
    runs::{signal, wait_for},
};

/// Long enough to be interrupted in any fold.
const LONG: &str = "train.total=6 epochs";
const FAST: &str = "train.total=2 steps";

fn spawn(bench: &Bench, args: &[&str]) -> Child {
    let mut command = bench.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for a program that must succeed, and returns its output.
#[track_caller]
fn finish(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{all}");
    all
}

/// Checks that two cross-validations of three folds have the same bytes.
#[track_caller]
fn check_same(a: &Path, b: &Path) {
    for name in ["report.toml", "oof.csv", "data.csv", "folds.csv"] {
        let read = |run: &Path| fs::read(run.join(name)).unwrap();
        assert!(read(a) == read(b), "{name} differs");
    }
    for fold in 0..3 {
        let of = |run: &Path| {
            let dir = run.join(format!("fold-{fold}"));
            let weights = fs::read_dir(dir.join("best")).unwrap().map(|it| it.unwrap().path());
            let weights = weights.filter(|it| it.extension().is_some_and(|it| it == "safetensors"));
            let mut weights: Vec<Vec<u8>> = weights.map(|it| fs::read(it).unwrap()).collect();
            weights.sort();
            (lasting(&dir), weights)
        };
        assert!(of(a) == of(b), "fold {fold} differs");
    }
    let left = |run: &Path| run.join("claims").exists();
    assert!(!left(a) && !left(b), "claims are left");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn folds_are_planned_trained_and_joined_in_steps_from_different_places() {
    let bench = Bench::new();
    let common = ["small.toml", "--folds", "3", "--set", FAST, "--set"];
    bench.ok(&[&["kfold"], &common[..], &["run.name=whole"]].concat());
    let out = bench.ok(&[&["kfold", "plan"], &common[..], &["run.name=parts"]].concat());
    assert!(
        out.contains("balance: the images of a class deviate") && out.contains("SHA-256"),
        "{out}"
    );
    let table = fs::read_to_string(bench.path("runs/parts/folds.csv")).unwrap();
    assert!(bench.ok(&["runs"]).contains("0 of 3 folds"));
    assert!(table.starts_with("fold,repeat,groups,images,deviation,class\n0,0,"), "{table}");
    assert_eq!(table.lines().count(), 4);
    for (command, want) in [
        (
            &["kfold", "plan"][..],
            expect![
                "error: runs/parts: a cross-validation of this name exists: continue it with `maskfit kfold run runs/parts`, or choose another name with `--set run.name=NAME`"
            ],
        ),
        (
            &["kfold"][..],
            expect![
                "error: runs/parts: a cross-validation of this name exists: continue it with `maskfit kfold --resume runs/parts`, or choose another name with `--set run.name=NAME`"
            ],
        ),
    ] {
        bench.fails(&[command, &common[..], &["run.name=parts"]].concat(), want);
    }
    bench.fails(
        &[&["kfold", "plan"], &common[..], &["run.name=whole"]].concat(),
        expect!["error: runs/whole: a run of this name exists: choose another name with `--set run.name=NAME`"],
    );
    bench.fails(
        &["kfold", "join", "runs/parts"],
        expect!["error: runs/parts: folds 0, 1, 2 are not finished: train them with `kfold run`, then join"],
    );
    bench.fails(
        &["kfold", "run", "runs/parts", "--folds", "0,3"],
        expect!["error: --folds: there is no fold 3: folds are numbered from 0 to 2"],
    );
    bench.fails(
        &["kfold", "run", "runs/parts", "--set", "optim.lr=1e-5"],
        expect!["error: --set: a cross-validation keeps its settings: set only `data.source.root`, and settings that do not change results, such as `threads`"],
    );
    // From another working directory, by another path.
    let elsewhere = Bench::empty();
    std::os::unix::fs::symlink(bench.path(""), elsewhere.path("mount")).unwrap();
    let out =
        elsewhere.ok(&["kfold", "run", "mount/runs/parts", "--folds", "2,0", "--set", "threads=1"]);
    assert!(out.contains("2 of 3 folds are finished"), "{out}");
    assert!(bench.path("runs/parts/fold-2").is_dir() && !bench.path("runs/parts/fold-1").exists());
    // On another machine: a copy, with its data in another place.
    let other = elsewhere.path("other");
    copy(&bench.path("runs/parts"), &other.join("runs/parts"));
    copy(&bench.path("people"), &elsewhere.path("data/people"));
    let err = text(&elsewhere.run(&["kfold", "run", "other/runs/parts"]).stderr);
    assert!(err.contains("`data.source.root` is `people/train`, which does not exist"), "{err}");
    assert!(
        err.contains("or `kfold run` with `--set data.source.root=DIR` if it has moved"),
        "{err}"
    );
    let root = "data.source.root=data/people/train";
    elsewhere.ok(&["kfold", "run", "other/runs/parts", "--folds", "1", "--set", root]);
    copy(&other.join("runs/parts/fold-1"), &bench.path("runs/parts/fold-1"));
    let out = bench.ok(&["kfold", "join", "parts"]);
    assert!(out.contains("fold 0: macro F1") && !out.contains("fold 3"), "{out}");
    check_same(&bench.path("runs/whole"), &bench.path("runs/parts"));
    let config = |run: &str| fs::read_to_string(bench.path(run).join("config.toml")).unwrap();
    for fold in ["", "/fold-0", "/fold-1"] {
        let [whole, parts] = ["whole", "parts"].map(|it| config(&format!("runs/{it}{fold}")));
        assert_eq!(whole.replace("name = \"whole\"", "name = \"parts\""), parts);
    }
    bench.ok(&["submit", "runs/parts", "--images", "people/eval"]);
}

#[test]
fn no_absolute_path_is_stored() {
    let bench = Bench::new();
    fs::create_dir(bench.path("shared")).unwrap();
    fs::rename(bench.path("people"), bench.path("shared/people")).unwrap();
    let root = bench.path("shared/people/train");
    let root = format!("data.source.root={}", root.display());
    let runs = format!("run.dir={}", bench.path("shared/runs").display());
    let plan = ["kfold", "plan", "small.toml", "--folds", "3", "--set", FAST, "--set", &root];
    bench.ok(&[&plan[..], &["--set", &runs, "--set", "run.name=a"]].concat());
    let dir = bench.path("shared/runs/a");
    for name in ["config.toml", "data.csv", "folds.csv"] {
        let file = fs::read_to_string(dir.join(name)).unwrap();
        let place = bench.path("");
        assert!(!file.contains(place.to_str().unwrap().trim_end_matches('/')), "{name}: {file}");
    }
    let config = fs::read_to_string(dir.join("config.toml")).unwrap();
    assert!(
        config.contains("root = \"people/train\"") && config.contains("dir = \"runs\""),
        "{config}"
    );
    // The shared folder is found in another place.
    fs::rename(bench.path("shared"), bench.path("mounted")).unwrap();
    bench.ok(&["kfold", "run", "mounted/runs/a", "--folds", "0"]);
}

#[test]
fn a_killed_process_is_replaced_by_another_that_works_on_the_same_folder() {
    let bench = Bench::new();
    let common = ["small.toml", "--folds", "3", "--set", LONG, "--set"];
    bench.ok(&[&["kfold"], &common[..], &["run.name=whole"]].concat());
    bench.ok(&[&["kfold", "plan"], &common[..], &["run.name=shared"]].concat());
    let run = bench.path("runs/shared");
    let mut killed = spawn(&bench, &["kfold", "run", "runs/shared"]);
    wait_for(&run.join("claims/fold-0.1.run/best/bundle.toml"));
    // It is kept in its fold until it is killed.
    signal("-STOP", killed.id());
    let other = spawn(&bench, &["kfold", "run", "runs/shared"]);
    // It trains the next fold meanwhile.
    wait_for(&run.join("claims/fold-1.1.run/config.toml"));
    let id = killed.id();
    signal("-KILL", id);
    killed.wait().unwrap();
    assert!(run.join("claims/fold-0.1.run").exists(), "the fold finished before it was killed");
    let out = finish(other);
    assert!(out.contains("3 of 3 folds are finished"), "{out}");
    let line = out.split_once("fold 0: taken over from ").map_or("", |it| it.1);
    let words = line.split_whitespace().take(20).collect::<Vec<_>>().join(" ");
    let owner = format!("process {id} on ");
    assert!(words.starts_with(&owner), "{out}");
    assert!(words.contains(", which has ended, with its checkpoint of step "), "{out}");
    // A fold is not trained where it stays.
    assert!(out.contains("run:   runs/shared\n") && !out.contains("claims"), "{out}");
    // By a new claim, with the steps of the old one.
    assert!(run.join("claims/fold-0.2").is_file() && out.contains("resuming after step"), "{out}");
    bench.ok(&["kfold", "join", "runs/shared"]);
    check_same(&bench.path("runs/whole"), &run);
}

#[test]
fn a_process_that_was_suspended_publishes_nothing_when_it_wakes() {
    let bench = Bench::new();
    let common = ["small.toml", "--folds", "3", "--set", LONG, "--set"];
    bench.ok(&[&["kfold"], &common[..], &["run.name=whole"]].concat());
    bench.ok(&[&["kfold", "plan"], &common[..], &["run.name=shared"]].concat());
    let run = bench.path("runs/shared");
    let work = ["kfold", "run", "runs/shared", "--claim-timeout", "0.6"];
    let stale = spawn(&bench, &work);
    wait_for(&run.join("claims/fold-0.1.run/best/bundle.toml"));
    signal("-STOP", stale.id());
    let begun = Instant::now();
    bench.ok(&work);
    assert!(begun.elapsed() > Duration::from_millis(500));
    assert!(run.join("claims/fold-0.2").is_file(), "the fold finished before it was suspended");
    bench.ok(&["kfold", "join", "runs/shared"]);
    let before = bench.names();
    signal("-CONT", stale.id());
    let out = finish(stale);
    assert!(out.contains("fold 0: another process has taken it over"), "{out}");
    let is_new = |it: &PathBuf| !before.contains(it) && it.is_file();
    let new: Vec<PathBuf> = bench.names().into_iter().filter(is_new).collect();
    assert!(new.is_empty(), "{new:?}");
    drop(fs::remove_dir(run.join("claims")));
    check_same(&bench.path("runs/whole"), &run);
}

#[test]
fn processes_that_start_together_share_the_folds() {
    let bench = Bench::new();
    let common = ["small.toml", "--folds", "3", "--set", FAST, "--set"];
    bench.ok(&[&["kfold"], &common[..], &["run.name=whole"]].concat());
    bench.ok(&[&["kfold", "plan"], &common[..], &["run.name=shared"]].concat());
    // All of them do everything; the last ones also join.
    let all: Vec<Child> =
        (0..3).map(|_| spawn(&bench, &["kfold", "--resume", "runs/shared"])).collect();
    for child in all {
        assert!(finish(child).contains("out-of-fold, all folds"));
    }
    thread::sleep(Duration::from_millis(10));
    check_same(&bench.path("runs/whole"), &bench.path("runs/shared"));
}

/// The probabilities of a table of predictions, by image.
fn probabilities(path: &Path) -> Vec<(String, Vec<f64>)> {
    let text = fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        (fields[0].to_owned(), fields[4..].iter().map(|it| it.parse().unwrap()).collect())
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn repeats_are_other_partitions_and_their_predictions_are_averaged() {
    let bench = Bench::new();
    let split = "data.split={ kind = \"stratified_kfold\", n_folds = 2, repeats = 2 }";
    let args = ["kfold", "small.toml", "--set", FAST, "--set", split, "--set", "run.name=a"];
    let (out, err) = bench.both(&args);
    assert!(err.contains("fold 3 (4 of 4), repeat 1"), "{err}");
    assert!(out.contains("out-of-fold, repeat 1: macro F1"), "{out}");
    assert!(out.contains("out-of-fold, mean of 2 repeats:"), "{out}");
    assert!(out.lines().all(|it| it.width() <= 80), "{out}");
    let run = bench.path("runs/a");
    let [mean, first, second] =
        ["oof.csv", "oof-0.csv", "oof-1.csv"].map(|it| probabilities(&run.join(it)));
    assert_eq!(mean.len(), 56);
    for ((mean, first), second) in mean.iter().zip(&first).zip(&second) {
        assert!(mean.0 == first.0 && mean.0 == second.0);
        for ((mean, a), b) in mean.1.iter().zip(&first.1).zip(&second.1) {
            assert!((mean - (a + b) / 2.0).abs() < 1e-8);
        }
    }
    let data = fs::read_to_string(run.join("data.csv")).unwrap();
    assert!(data.contains(",fold 0; fold 3\n") || data.contains(",fold 0; fold 2\n"), "{data}");
    let report = fs::read_to_string(run.join("report.toml")).unwrap();
    assert!(report.contains("\nrepeats = ["), "{report}");
    bench.ok(&["submit", "runs/a", "--images", "people/eval"]);
    bench.ok(&["compare", "runs/a", "runs/a"]);
}

#[test]
fn folds_are_not_trained_on_other_files_than_those_of_the_plan() {
    let bench = Bench::new();
    let plan = ["kfold", "plan", "small.toml", "--folds", "2", "--set", FAST];
    bench.ok(&[&plan[..], &["--set", "run.name=k"]].concat());
    fs::copy(bench.image(0, "mask2.jpg"), bench.image(0, "mask1.jpg")).unwrap();
    let run = ["kfold", "run", "runs/k", "--folds", "0"];
    let output = bench.run(&run);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(
        err.contains("\n  1 image whose file has changed: `") && err.contains("mask1.jpg` ("),
        "{err}"
    );

    // A table of an earlier version has no hashes.
    let path = bench.path("runs/k/data.csv");
    let table = fs::read_to_string(&path).unwrap();
    let at = table.lines().next().unwrap().split(',').position(|it| it == "hash").unwrap();
    let without = |line: &str| {
        let fields = line.split(',').enumerate().filter(|it| it.0 != at).map(|it| it.1);
        fields.collect::<Vec<_>>().join(",") + "\n"
    };
    fs::write(&path, table.lines().map(without).collect::<String>()).unwrap();
    bench.ok(&run);
}

#[test]
fn each_group_is_left_out_once() {
    let bench = Bench::new();
    let split = "data.split={ kind = \"leave_one_group_out\" }";
    let args = ["kfold", "small.toml", "--set", FAST, "--set", split, "--set", "run.name=a"];
    let out = bench.ok(&args);
    assert!(out.contains("fold 7: macro F1"), "{out}");
    let run = bench.path("runs/a");
    let report = fs::read_to_string(run.join("report.toml")).unwrap();
    assert!(!report.contains("NaN"), "{report}");
    assert_eq!(probabilities(&run.join("oof.csv")).len(), 56);
    let folds = fs::read_to_string(run.join("folds.csv")).unwrap();
    assert!(folds.lines().skip(1).all(|it| it.contains(",0,1,7,")), "{folds}");
}

#[test]
fn classes_that_are_rarer_than_folds_are_named() {
    let bench = Bench::new();
    let plan = ["kfold", "plan", "small.toml", "--folds", "5", "--set", FAST];
    let mut command: Command = bench.command(&plan);
    let err = text(&command.output().unwrap().stderr);
    let err = err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(err.contains("in fewer people than there are folds"), "{err}");
    assert!(bench.names().iter().any(|it| it.ends_with("folds.csv")));
}
