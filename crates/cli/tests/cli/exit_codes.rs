//! The exit codes that the help lists, each provoked; that of a bug in a unit test of `main.rs`.

use std::{fs, process::Stdio};

use crate::{
    bench::{Bench, TRAIN, text},
    runs::{signal, wait_for},
};

#[test]
fn every_documented_exit_code_is_returned() {
    let bench = Bench::new();
    let help = bench.ok(&["--help"]);
    let table = help.split_once("Exit codes:\n").unwrap().1;
    let codes: Vec<i32> =
        table.lines().map(|it| it.split_whitespace().next().unwrap().parse().unwrap()).collect();
    assert_eq!(codes, [0, 1, 2, 130]);
    let code = |args: &[&str]| bench.run(args).status.code();

    for args in [&["list", "heads"][..], &["--help"], &["train", "-h"], &["--version"]] {
        assert_eq!(code(args), Some(0), "{args:?}");
    }
    // Wrong arguments, a wrong setting, data that is not there, and a value of the environment.
    for args in [
        &["cheeses"][..],
        &["train", "--fats"],
        &["list", "cheeses"],
        &["train", "small.toml", "--set", "optim.lr=-1"],
        &["train", "small.toml", "--set", "data.source.root=nowhere"],
    ] {
        assert_eq!(code(args), Some(1), "{args:?}");
    }
    let mut list = bench.command(&["list", "heads"]);
    assert_eq!(list.env("MASKFIT_ISA", "cheese").output().unwrap().status.code(), Some(1));
    // Some images are predicted, and others cannot be.
    bench.ok(&[&TRAIN[..], &["--set", "run.name=a", "--set", "train.total=1 steps"]].concat());
    fs::create_dir(bench.path("in")).unwrap();
    fs::copy(bench.image(0, "mask1.jpg"), bench.path("in/a.jpg")).unwrap();
    fs::write(bench.path("in/b.jpg"), b"").unwrap();
    assert_eq!(code(&["predict", "runs/a", "--images", "in"]), Some(1));
    assert!(bench.path("probabilities.csv").exists());

    // Ctrl-C and SIGTERM.
    for (run, sent) in [("b", "-INT"), ("c", "-TERM")] {
        let name = format!("run.name={run}");
        let long = [&TRAIN[..], &["--set", "train.total=5000 steps", "--set", &name]].concat();
        let mut command = bench.command(&long);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(&bench.path("runs").join(run).join("best/bundle.toml"));
        signal(sent, child.id());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    }
}
