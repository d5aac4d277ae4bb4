//! `device check`, on the emulated driver and without one.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use emulator::client::Emulator;
use serde_json::Value;

use crate::{
    bench::{Bench, SMALL, text},
    runs::signal,
};

/// `device check` with the emulated driver, which leaves what it found in the file `emulator`.
pub(crate) fn emulated(bench: &Bench, args: &[&str]) -> Command {
    on_emulator(bench, &[&["device", "check"], args].concat())
}

/// A command with the emulated driver.
fn on_emulator(bench: &Bench, args: &[&str]) -> Command {
    let mut command = bench.command(args);
    command.env("LD_PRELOAD", Emulator::load().path());
    command.env("EMULATOR_REPORT", bench.path("emulator"));
    command
}

#[test]
fn a_card_that_is_not_there_is_an_error() {
    let bench = Bench::empty();
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(!bench.path("out").exists());
        text(&output.stderr)
    };
    let args = ["--device", "cuda:99", "-o", "out"];
    let err = refused(&mut bench.command(&[&["device", "check"], &args[..]].concat()));
    // Where a driver is installed, it has fewer cards.
    let no_driver = "error: the NVIDIA driver is not installed: the library `libcuda.so.1` is not found, or cannot \
                     be loaded; install the driver, add its folder to `LD_LIBRARY_PATH`, or train on the CPU \
                     (`--device cpu`)\n";
    assert!(err == no_driver || err.contains("there is no `cuda:99`"), "{err}");
    let err = refused(&mut emulated(&bench, &args));
    assert_eq!(err, "error: there is no `cuda:99`: the driver lists 8 cards, numbered from 0\n");
    let err = refused(&mut bench.command(&["device", "check", "--device", "cpu"]));
    assert!(err.contains("must be a card such as `cuda:0`"), "{err}");
}

/// Compiles a library with the driver's name in a bench of its own.
///
/// - `bodies`: functions that do more than fail, by name, with their parameters and what they do.
/// - `lacks`: the functions of the driver that it does not have.
fn driver(bodies: &[(&str, &str)], lacks: &[&str]) -> Bench {
    let bench = Bench::empty();
    let has = gpu::FUNCTIONS.iter().filter(|it| !lacks.contains(it));
    let source: String = has
        .map(|name| {
            let body =
                bodies.iter().find(|it| it.0 == *name).map_or("(void) { return 3; }", |it| it.1);
            format!("int {name}{body}\n")
        })
        .collect();
    fs::write(bench.path("driver.c"), format!("int nothing;\n{source}")).unwrap();
    let made = Command::new("gcc")
        .args(["-shared", "-fPIC", "-w", "-o"])
        .args([&bench.path("libcuda.so.1"), &bench.path("driver.c")])
        .status();
    assert!(made.unwrap().success(), "gcc, which Rust links with");
    bench
}

/// A command that finds the driver of a bench.
fn with_driver(bench: &Bench, args: &[&str]) -> Command {
    let mut command = bench.command(args);
    command.env("LD_LIBRARY_PATH", bench.path(""));
    command
}

/// What a driver does that fails when it starts, with an error that it has no name for.
const STARTS: [(&str, &str); 3] = [
    ("cuInit", "(unsigned x) { return 999; }"),
    ("cuDriverGetVersion", "(int *v) { *v = 13000; return 0; }"),
    ("cuGetErrorString", "(int code, const char **to) { *to = \"unknown error\"; return 0; }"),
];

#[test]
fn a_card_that_is_not_there_is_an_error_before_the_data_is_read() {
    let bench = Bench::empty();
    // Its data is not there.
    fs::write(bench.path("small.toml"), SMALL).unwrap();
    let device = ["--set", "device=cuda:99"];
    for args in [
        &["train", "small.toml"][..],
        &["train", "small.toml", "--fast"],
        &["train", "small.toml", "--overfit", "4"],
        &["kfold", "small.toml"],
        &["kfold", "plan", "small.toml"],
        &["lr-find", "small.toml"],
    ] {
        let output = on_emulator(&bench, &[args, &device].concat()).output().unwrap();
        let want = "error: at `device`: there is no `cuda:99`: the driver lists 8 cards, numbered from 0\n";
        assert_eq!(text(&output.stderr), want, "{args:?}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn a_driver_that_fails_is_named_and_training_goes_on_without_it() {
    let is_none = "the library `libcuda.so.1` that was found is not NVIDIA's driver: it has no";
    let (no_bodies, no_names): (&[(&str, &str)], &[&str]) = (&[], &[]);
    let old = [("cuDriverGetVersion", "(int *v) { *v = 10020; return 0; }")];
    for (bodies, lacks, want) in [
        (
            no_bodies,
            &gpu::FUNCTIONS[..],
            format!(
                "{is_none} `cuInit`, `cuDriverGetVersion`, `cuGetErrorString`, `cuDeviceGet`, `cuDeviceGetAttribute` \
                 and {} more; look for it",
                gpu::FUNCTIONS.len() - 5
            ),
        ),
        // Each that is called is looked for, also the one that is called last.
        (
            &STARTS[..],
            &["cuMemsetD8Async", "cuModuleUnload"][..],
            format!("{is_none} `cuMemsetD8Async`, `cuModuleUnload`; look for it"),
        ),
        (
            &old[..],
            &["cuDevicePrimaryCtxRelease_v2"][..],
            "the NVIDIA driver supports CUDA 10.2, and the kernels need 11.8".to_owned(),
        ),
        (
            &STARTS[..],
            no_names,
            "the NVIDIA driver does not start: CUDA_ERROR_UNKNOWN, unknown error; see whether `nvidia-smi`".to_owned(),
        ),
    ] {
        let bench = driver(bodies, lacks);
        let run = |args: &[&str]| {
            let output = with_driver(&bench, args).output().unwrap();
            (output.status.code(), text(&output.stderr))
        };
        let (code, err) = run(&["device", "check"]);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.starts_with(&format!("error: {want}")) && err.lines().count() == 1, "{err}");
        let people = ["data.source.n_people=30", "data.source.n_test=5", "train.total=\"1 steps\""];
        let sets: Vec<&str> = people.into_iter().flat_map(|it| ["--set", it]).collect();
        let (code, err) = run(&[&["train", "--set", "run.report=false"], &sets[..]].concat());
        assert_eq!(code, Some(0), "{err}");
        // Notes are wrapped.
        let words = err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("training on the CPU: {want}")), "{err}");
    }
}

#[test]
fn cards_that_the_environment_hides_are_the_reason_why_there_is_none() {
    // With all cards hidden, the driver starts with the error that there is none.
    let bodies = [("cuInit", "(unsigned x) { return 100; }"), STARTS[1], STARTS[2]];
    let bench = driver(&bodies, &[]);
    for (hidden, want) in
        [(Some("7"), "no card (`CUDA_VISIBLE_DEVICES` is `7`)"), (None, "no card")]
    {
        let mut command = with_driver(&bench, &["device", "check", "--device", "cuda:0"]);
        command.env_remove("CUDA_VISIBLE_DEVICES");
        if let Some(value) = hidden {
            command.env("CUDA_VISIBLE_DEVICES", value);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let want = format!("error: there is no `cuda:0`: the driver lists {want}\n");
        assert_eq!(text(&output.stderr), want);
    }
}

#[test]
fn kernels_are_compared_with_f64() {
    let bench = Bench::empty();
    let output = emulated(&bench, &["--only", "cast,concat", "-o", "out"]).output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let faults = fs::read_to_string(bench.path("emulator")).unwrap();
    let is_fault = |it: &str| it.starts_with("fault:") || it.starts_with("leak:");
    assert!(!faults.lines().any(is_fault) && faults.contains("kernel: concat"), "{faults}");

    let written = fs::read_to_string(bench.path("out/check.txt")).unwrap();
    assert!(out.starts_with(&written) && out.contains("out/check.json"), "{out}");
    assert!(out.lines().all(|it| it.chars().count() <= 80), "{out}");
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(
        lines[..2],
        ["cuda:0: Emulated H200", "compute capability 9.0, 132 multiprocessors, up to 1.98 GHz"]
    );
    let json = fs::read_to_string(bench.path("out/check.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["card"]["compute_capability"], "9.0");
    for (family, idx, n) in [("cast", 0, 36), ("concat", 1, 12)] {
        let row = lines.iter().find(|it| it.starts_with(family)).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells[..3], [family, &n.to_string(), "0"], "{row}");
        let found = &json["kernels"]["families"][idx];
        assert_eq!((found["cases"].as_u64(), found["failed"].as_u64()), (Some(n), Some(0)));
        let worst = found["worst"]["bf16"].as_f64().unwrap();
        assert!(worst <= 1.0 && (worst > 0.0) == (family == "concat"), "{worst}");
    }
    assert_eq!(json["kernels"]["cases"].as_array().map(Vec::len), Some(48));
    assert_eq!(json["kernels"]["failures"].as_array().map(Vec::len), Some(0));

    // A folder with files is never written to.
    let again = emulated(&bench, &["--only", "cast", "-o", "out"]).output().unwrap();
    assert!(text(&again.stderr).contains("already exists"), "{}", text(&again.stderr));
}

#[test]
fn ten_steps_are_compared_with_the_cpu() {
    let bench = Bench::empty();
    let output = emulated(&bench, &["--only", "steps", "-o", "out"]).output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(err, "ten steps: EfficientNet\n");
    let faults = fs::read_to_string(bench.path("emulator")).unwrap();
    let is_fault = |it: &str| it.starts_with("fault:") || it.starts_with("leak:");
    assert!(!faults.lines().any(is_fault) && faults.contains("kernel: sgd"), "{faults}");
    let rows = out.lines().filter(|it| it.starts_with("EfficientNet"));
    let rows: Vec<Vec<&str>> = rows.map(|it| it.split_whitespace().collect()).collect();
    let json = fs::read_to_string(bench.path("out/check.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json.get("kernels").is_none() && json.get("training").is_none());
    let steps = json["steps"].as_array().unwrap();
    assert_eq!((rows.len(), steps.len()), (3, 3), "{out}");
    for ((row, found), storage) in rows.iter().zip(steps).zip(["f32", "bf16", "f16"]) {
        assert_eq!((row.len(), row[1]), (5, storage), "{out}");
        assert_eq!(found["storage"], storage);
        let (apart, most) = (&found["changes"], &found["bounds"]["changes"]);
        let (apart, most) = (apart["weights"].as_f64().unwrap(), most.as_f64().unwrap());
        assert!(apart > 0.0 && apart <= most, "{found}");
        assert_eq!(found["failures"].as_array().map(Vec::len), Some(0));
    }
}

#[test]
fn ctrl_c_stops_it() {
    let bench = Bench::empty();
    let mut command = emulated(&bench, &["-o", "out"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("product: "));
    signal("-INT", child.id());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert_eq!(rest.last().unwrap(), "stopped: no file was written");
    assert!(!bench.path("out").exists());
}
