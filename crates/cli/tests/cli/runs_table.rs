//! `runs` and `runs rm`.

use std::{fs, process::Stdio, time::Duration};

use expect_test::expect;
use unicode_width::UnicodeWidthStr as _;

use crate::{
    bench::{Bench, TRAIN, text},
    runs::wait_for,
};

/// Replaces times, which differ from run to run, and the last digits of a loss, which depend on the instruction set.
fn timeless(table: &str) -> String {
    let line = |line: &str| {
        let rounded = line.split_once("  log_loss").map(|(before, after)| {
            let (kept, _) = before.split_at(before.len() - 2);
            format!("{kept}..  log_loss{after}")
        });
        let line = rounded.as_deref().unwrap_or(line);
        // When a run was started is last in its row; how long it took is first in the lines below.
        if let Some(at) = line.find(" 20") {
            return format!("{} TIME", &line[..at]);
        }
        match line.split_once(", ") {
            Some((time, rest)) if time.ends_with(" s") => format!("    TIME, {rest}"),
            _ => line.to_owned(),
        }
    };
    let lines: Vec<String> = table.lines().map(line).collect();
    lines.join("\n")
}

#[test]
fn runs_are_listed_with_their_scores_and_settings() {
    let bench = Bench::new();
    bench.fails(
        &["runs"],
        expect!["error: runs: there is no such folder: train first, or name a folder by `--dir`"],
    );
    fs::create_dir(bench.path("runs")).unwrap();
    assert_eq!(bench.ok(&["runs"]), "runs: there are no runs yet\n");
    let set = |set: &[&str]| {
        let set = set.iter().flat_map(|it| ["--set", it]);
        let args: Vec<&str> = TRAIN.into_iter().chain(set).collect();
        bench.ok(&args);
        // Runs are sorted by the time of their start.
        std::thread::sleep(Duration::from_millis(20));
    };
    set(&["run.name=first"]);
    set(&["run.name=마스크", "loss.kind=focal", "optim.lr=1e-3"]);
    set(&["run.name=third", "eval.best_by.kind=log_loss", "train.total=3 steps"]);
    bench.ok(&["kfold", "small.toml", "--folds", "2", "--set", "run.name=folds"]);
    // A run that was stopped, a damaged one, one of another version, and a folder of something else.
    fs::remove_file(bench.path("runs/first/report.toml")).unwrap();
    for (name, config) in
        [("damaged", &b"# maskfit run, format 3\nseed = \xff"[..]), ("old", b"seed = 0")]
    {
        fs::create_dir(bench.path("runs").join(name)).unwrap();
        fs::write(bench.path("runs").join(name).join("config.toml"), config).unwrap();
    }
    fs::create_dir(bench.path("runs/notes")).unwrap();
    let out = bench.ok(&["runs"]);
    assert!(out.lines().all(|it| it.width() <= 80), "{out}");
    expect![[r#"
        run     state     done            score  metric    started
        first   stopped   2 of 2 epochs  0.0877  macro_f1  TIME
            TIME, data.split.ratio=0.3, train.total=2 epochs
        마스크  finished  2 of 2 epochs  0.0877  macro_f1  TIME
            TIME, 95 % CI 0.000 to 0.278, data.split.ratio=0.3, loss=focal,
            optim.lr=0.001, train.total=2 epochs
        third   finished  3 of 3 steps   2.76..  log_loss  TIME
            TIME, data.split.ratio=0.3, eval.best_by=log_loss, train.total=3 steps
        folds   finished  2 of 2 folds   0.0219  macro_f1  TIME
            TIME, 95 % CI 0.000 to 0.071, data.split=stratified_kfold,
            train.total=2 epochs
        all of them: augment.eval, augment.train, data.source=mask_profiles,
                     model.backbone.depth=0.3, model.backbone.drop_path=0.2,
                     model.backbone.width=0.25, train.batch_size=8
        damaged
          unreadable: config.toml: this looks like windows-1252, not UTF-8 (line 2):
          save it as UTF-8
        notes
          unreadable: it has no config.toml: this is not a run
        old
          unreadable: config.toml: its first line is not `# maskfit run, format 3`, so
          another version of maskfit wrote this run: start a new run, or use that
          version"#]]
    .assert_eq(&timeless(out.trim_end()));
}

#[test]
fn a_hundred_runs_are_listed() {
    let bench = Bench::new();
    bench.ok(&[&TRAIN[..], &["--set", "run.name=000"]].concat());
    for idx in 1..100 {
        let dir = bench.path(&format!("runs/{idx:03}"));
        fs::create_dir(&dir).unwrap();
        for name in ["config.toml", "report.toml", "epochs.csv", "timing.csv", "steps.csv"] {
            fs::copy(bench.path("runs/000").join(name), dir.join(name)).unwrap();
        }
    }
    let out = bench.ok(&["runs"]);
    let n_runs = out.lines().filter(|it| it.contains("  finished  2 of 2 epochs")).count();
    assert_eq!(n_runs, 100, "{out}");
    // A row and a line below it for each run, the header, and what they have in common.
    assert!(out.lines().count() < 210, "{out}");
}

#[test]
fn only_idle_runs_are_removed_and_only_if_confirmed() {
    let bench = Bench::new();
    for name in ["a", "b"] {
        bench.ok(&[&TRAIN[..], &["--set", &format!("run.name={name}")]].concat());
    }
    bench.ok(&["kfold", "small.toml", "--folds", "2", "--set", "run.name=folds"]);
    bench.fails(
        &["runs", "rm", "a"],
        expect!["error: `runs rm` asks on a terminal, and there is none: confirm with `--yes`"],
    );
    bench.fails(
        &["runs", "rm", "a", "people", "--yes"],
        expect!["error: people: this is not a run's folder: nothing is removed"],
    );
    bench.fails(
        &["runs", "rm", "absent", "--yes"],
        expect!["error: absent: there is no such folder: see `maskfit runs`"],
    );
    bench.fails(
        &["runs", "rm", "latest", "--yes"],
        expect!["error: latest: name the run that is to be removed"],
    );
    bench.fails(&["runs", "rm", "runs/folds/fold-0", "--yes"], expect!["error: runs/folds/fold-0: this is a fold of a cross-validation: name the cross-validation"]);
    bench.fails(
        &["runs", "rm", "runs", "-y"],
        expect!["error: runs: this is not a run's folder: nothing is removed"],
    );
    fs::create_dir(bench.path("mine")).unwrap();
    for name in ["config.toml", "lock"] {
        fs::write(bench.path("mine").join(name), "seed = 0").unwrap();
    }
    bench.fails(
        &["runs", "rm", "mine", "-y"],
        expect!["error: mine: this is not a run's folder: nothing is removed"],
    );

    let mut child = bench
        .command(&[
            "train",
            "small.toml",
            "--set",
            "run.name=busy",
            "--set",
            "train.total=5000 epochs",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&bench.path("runs/busy/steps.csv"));
    let listed = bench.ok(&["runs"]);
    assert!(listed.lines().any(|it| it.starts_with("busy   running")), "{listed}");
    let output = bench.run(&["runs", "rm", "a", "busy", "--yes"]);
    assert_eq!(output.status.code(), Some(1));
    expect![[r#"
        error: runs/busy: another program is working on this run: wait for it, or stop it first
    "#]]
    .assert_eq(&text(&output.stderr));
    child.kill().unwrap();
    child.wait().unwrap();

    assert_eq!(
        bench.ok(&["runs", "rm", "a", "runs/busy", "a", "--yes"]),
        "removed: a\nremoved: busy\n"
    );
    assert_eq!(bench.ok(&["runs", "rm", "folds", "-y"]), "removed: folds\n");
    let left: Vec<_> =
        fs::read_dir(bench.path("runs")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["b"]);
}
