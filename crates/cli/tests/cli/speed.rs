//! `bench`: its arguments, its file of measurements, its comparisons and its neighbours.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use expect_test::expect;

use crate::bench::{Bench, text};

/// The arguments of a small measurement.
const TINY: [&str; 8] =
    ["--model", "tf_efficientnet_lite0", "--size", "32", "--steps", "1", "--threads", "1"];

fn tiny<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["bench", command], &TINY[..], more].concat()
}

/// Writes `older`, a script in the place of an older build.
fn write_program(bench: &Bench, script: &str) {
    let program = bench.path("older");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Returns whether each key of a line of JSON is there once.
fn has_keys(line: &str, keys: &[&str]) -> bool {
    keys.iter().all(|it| line.matches(&format!("\"{it}\":")).count() == 1)
}

#[test]
fn wrong_arguments_are_refused_before_anything_is_measured() {
    let bench = Bench::empty();
    let line = r#"{"model":"resnet18","batch":16,"size":[224,224],"train_img_s":1.0}"#;
    fs::write(bench.path("lines.json"), line).unwrap();
    fs::write(bench.path("notes.txt"), "fast").unwrap();
    let compare = |args: &[&str], want| bench.fails(&[&["bench", "compare"], args].concat(), want);
    compare(
        &["--before", "nowhere"],
        expect!["error: --before: nowhere: No such file or directory (os error 2)"],
    );
    compare(
        &["--before", "notes.txt"],
        expect!["error: --before: notes.txt: is neither a program nor a file of `--save`"],
    );
    compare(
        &["--before", "lines.json", "--rounds", "4"],
        expect!["error: --rounds: `--before` needs at least 5"],
    );
    compare(
        &["--peer", "true", "--size", "32x48"],
        expect!["error: --size: the other program takes one number: write 32 instead of 32x48"],
    );
    compare(&["--peer", ""], expect!["error: --peer: name a command"]);
    compare(
        &["--before", "lines.json", "--peer", "true"],
        expect![[r#"
        error: the argument '--before <PROGRAM|FILE>' cannot be used with '--peer <COMMAND>'

        Usage: maskfit bench compare --quiet <--before <PROGRAM|FILE>|--peer <COMMAND>>

        For more information, try '--help'."#]],
    );
    compare(
        &[],
        expect![[r#"
        error: the following required arguments were not provided:
          <--before <PROGRAM|FILE>|--peer <COMMAND>>

        Usage: maskfit bench compare --quiet <--before <PROGRAM|FILE>|--peer <COMMAND>>

        For more information, try '--help'."#]],
    );
    bench.fails(
        &["bench", "infer", "--batch-size", "1,0"],
        expect![[r#"
        error: invalid value '0' for '--batch-size <N>': must be an integer from 1 to 1000000

        For more information, try '--help'."#]],
    );
    bench.fails(
        &["bench", "infer", "--busy", "2000"],
        expect![[r#"
        error: invalid value '2000' for '--busy <N>': 2000 is not in 0..=1024

        For more information, try '--help'."#]],
    );
    bench.fails(
        &["bench", "infer", "--save", "nowhere/lines.json"],
        expect!["error: --save: nowhere/lines.json: its folder does not exist"],
    );
    // The machine is part of this message.
    let args = ["bench", "compare", "--before", "lines.json", "--model", "resnet18"];
    let output = bench.run(&[&args[..], &["--batch-size", "4"]].concat());
    let err = text(&output.stderr);
    let want = "error: --before: the file has no line of `bench train` with model \"resnet18\", batch 4, size [224,224],";
    assert!(err.starts_with(want), "{err}");
}

#[test]
fn measurements_are_saved_and_compared() {
    let bench = Bench::empty();
    let out =
        bench.ok(&tiny("infer", &["--batch-size", "1,2", "--save", "lines.json", "--busy", "1"]));
    let saved = fs::read_to_string(bench.path("lines.json")).unwrap();
    assert_eq!(out, saved);
    assert_eq!(saved.lines().count(), 2);
    let keys = [
        "version",
        "isa",
        "threads",
        "busy",
        "infer_img_s",
        "open_ms",
        "first_ms",
        "open_mib",
        "infer_peak_mib",
    ];
    for (line, n) in saved.lines().zip([1, 2]) {
        assert!(has_keys(line, &keys), "{line}");
        assert!(line.contains(&format!("\"batch\":{n},")), "{line}");
        assert!(line.contains("\"busy\":1,"), "{line}");
    }
    // Without neighbours it is another measurement.
    let compare = tiny("compare", &["--infer", "--batch-size", "2", "--before", "lines.json"]);
    assert_eq!(bench.run(&compare).status.code(), Some(1));
    let out = bench.ok(&[&compare[..], &["--busy", "1", "--save", "lines.json"]].concat());
    assert_eq!(out.lines().filter(|it| it.starts_with("round ")).count(), 5);
    for title in ["inference, images/s", "opening, ms", "first pass, ms", "peak memory, MiB"] {
        let row = format!("tf_efficientnet_lite0     2  {title}");
        assert!(out.lines().any(|it| it.starts_with(&row)), "{out}");
    }
    let saved = fs::read_to_string(bench.path("lines.json")).unwrap();
    assert_eq!(saved.lines().count(), 7);
}

#[test]
fn an_older_build_gets_the_same_arguments_and_its_figures_are_compared() {
    let bench = Bench::empty();
    write_program(
        &bench,
        "#!/bin/sh\necho \"$@\" >> calls\necho '{\"train_img_s\": 1, \"infer_img_s\": 2}'\n",
    );
    let out = bench.ok(&tiny("compare", &["--infer", "--batch-size", "1,2", "--before", "older"]));
    let calls = fs::read_to_string(bench.path("calls")).unwrap();
    let mut calls: Vec<&str> = calls.lines().collect();
    assert_eq!(calls.len(), 10);
    calls.sort_unstable();
    calls.dedup();
    let want = [1, 2].map(|n| {
        format!("bench infer --model tf_efficientnet_lite0 --batch-size {n} --size 32 --steps 1 --threads 1")
    });
    assert_eq!(calls, want);
    // Training was not measured here, and opening not there.
    let titles: Vec<&str> =
        out.lines().filter_map(|it| it.strip_prefix("tf_efficientnet_lite0 ")).collect();
    assert_eq!(titles.len(), 2, "{out}");
    for (row, start) in
        titles.iter().zip(["    1  inference, images/s", "    2  inference, images/s"])
    {
        assert!(row.starts_with(start), "{out}");
        assert!(row.contains(" 2.00 (2.00 to 2.00) "), "{out}");
    }
}

/// The end of a neighbour's command line.
const SPIN: &str = "bench\0spin\0";

/// Returns the processes that `parent` started for `--busy`.
fn neighbours(parent: u32) -> Vec<String> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|it| it.ok()?.file_name().into_string().ok());
    let is_one = |pid: &String| {
        let read = |name: &str| fs::read_to_string(Path::new("/proc").join(pid).join(name));
        let is_child = read("status").is_ok_and(|it| it.contains(&format!("PPid:\t{parent}\n")));
        is_child && read("cmdline").is_ok_and(|it| it.ends_with(SPIN))
    };
    pids.filter(is_one).collect()
}

/// Waits until `is_so`, or a minute.
#[track_caller]
fn wait(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "it takes too long");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a program has two neighbours, does something to it, and waits until it and they have ended.
#[track_caller]
fn check_that_neighbours_end(mut program: Child, end: impl FnOnce(&mut Child)) -> ExitStatus {
    let mut pids = Vec::new();
    wait(|| {
        pids = neighbours(program.id());
        pids.len() == 2
    });
    end(&mut program);
    let status = program.wait().unwrap();
    let is_there = |pid: &String| {
        let words = fs::read_to_string(Path::new("/proc").join(pid).join("cmdline"));
        words.is_ok_and(|it| it.ends_with(SPIN))
    };
    wait(|| !pids.iter().any(is_there));
    status
}

#[test]
fn neighbours_end_with_the_program_even_if_it_is_killed() {
    let bench = Bench::empty();
    let args = ["bench", "infer", "--size", "32", "--steps", "1000000", "--busy", "2"];
    // A killed program leaves its temporary files.
    let mut command = bench.command(&args);
    command.env("TMPDIR", bench.path(""));
    let program = command.stdout(Stdio::null()).spawn().unwrap();
    check_that_neighbours_end(program, |it| it.kill().unwrap());
}

#[test]
fn neighbours_end_after_an_error() {
    let bench = Bench::empty();
    write_program(&bench, "#!/bin/sh\nuntil [ -e go ]; do sleep 0.02; done\nexit 1\n");
    let args = tiny("compare", &["--infer", "--before", "older", "--busy", "2"]);
    let mut command = bench.command(&args);
    let program = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = check_that_neighbours_end(program, |_| fs::write(bench.path("go"), "").unwrap());
    assert_eq!(status.code(), Some(1));
}
