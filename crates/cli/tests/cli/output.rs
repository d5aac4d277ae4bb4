//! Colours, and how much is printed, on which stream.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
};

use expect_test::expect;
use unicode_width::UnicodeWidthStr as _;

use crate::bench::{Bench, TRAIN, text};

const ESCAPE: char = '\u{1b}';

/// The small experiment in one step.
const SHORT: [&str; 6] =
    [TRAIN[0], TRAIN[1], "--set", "train.total=1 steps", "--set", "run.name=a"];

#[test]
fn pipes_get_colours_only_if_asked_for() {
    let bench = Bench::empty();
    let styled = |args: &[&str], variable: Option<(&str, &str)>| {
        let mut command = bench.command(args);
        command.envs(variable);
        let output = command.output().unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(out.is_empty(), !err.is_empty(), "{out}{err}");
        (out + &err).contains(ESCAPE)
    };
    // A result, an error of ours, and one of clap's.
    for args in [&["list", "heads"][..], &["list", "cheeses"], &["cheeses"]] {
        let with = |colour| [args, &["--color", colour]].concat();
        assert!(!styled(args, None), "{args:?}");
        assert!(!styled(&with("auto"), None), "{args:?}");
        assert!(!styled(&with("never"), Some(("CLICOLOR_FORCE", "1"))), "{args:?}");
        assert!(!styled(args, Some(("NO_COLOR", "1"))), "{args:?}");
        assert!(styled(&with("always"), None), "{args:?}");
        assert!(styled(args, Some(("CLICOLOR_FORCE", "1"))), "{args:?}");
    }
    let output = bench.run(&["list", "cheeses", "--color", "always"]);
    assert!(text(&output.stderr).starts_with("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m there is"));
    let output = bench.run(&["list", "--color", "blue"]);
    assert_eq!(output.status.code(), Some(1));
}

#[cfg(target_os = "linux")]
#[test]
fn terminals_get_colours_unless_a_variable_turns_them_off() {
    let bench = Bench::empty();
    let styled = |variables: &[(&str, &str)], args: &str| {
        // `script` runs the program in a pseudo-terminal.
        let program = format!("{} {args} list heads", env!("CARGO_BIN_EXE_maskfit"));
        let mut shell = Command::new("script");
        shell.args(["-qec", &program, "/dev/null"]).current_dir(bench.path("."));
        for name in ["CI", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            shell.env_remove(name);
        }
        shell.env("TERM", "xterm");
        shell.envs(variables.iter().copied());
        match shell.output() {
            Ok(it) => Some(text(&it.stdout).contains(ESCAPE)),
            Err(_) => None,
        }
    };
    if styled(&[], "").is_none() {
        println!("skipped: there is no program `script`");
        return;
    }
    assert_eq!(styled(&[], ""), Some(true));
    assert_eq!(styled(&[("NO_COLOR", "1")], ""), Some(false));
    assert_eq!(styled(&[("TERM", "dumb")], ""), Some(false));
    assert_eq!(styled(&[("TERM", "dumb"), ("CI", "1")], ""), Some(false));
    assert_eq!(styled(&[], "--color never"), Some(false));
    assert_eq!(styled(&[("NO_COLOR", "1")], "--color always"), Some(true));
}

#[cfg(target_os = "linux")]
#[test]
fn progress_is_complete_and_fits_the_terminal() {
    let bench = Bench::new();
    let train = format!("stty cols 80; {} train small.toml", env!("CARGO_BIN_EXE_maskfit"));
    let mut shell = Command::new("script");
    shell.args(["-qec", &train, "/dev/null"]).current_dir(bench.path("."));
    shell.env("TERM", "xterm").env("MASKFIT_CACHE", bench.path("cache"));
    let Ok(output) = shell.output() else {
        println!("skipped: there is no program `script`");
        return;
    };
    let text = text(&output.stdout);
    let text = anstream::adapter::strip_str(&text).to_string();
    let is_frame = |it: &&str| it.contains(['━', '╸']) || it.contains(", data wait ");
    let frames: Vec<&str> = text.split(['\r', '\n']).filter(is_frame).collect();
    if frames.is_empty() {
        println!("skipped: the terminal shows no progress, or the run was too short");
    }
    for frame in frames {
        assert!(frame.width() <= 80, "{frame}");
        assert!(!frame.starts_with([' ', '━', '╸']) || frame.contains("ing "), "{frame}");
        assert!(!frame.trim_end().ends_with(','), "{frame}");
    }
}

#[test]
fn results_go_to_stdout_and_progress_and_notes_to_stderr() {
    let bench = Bench::new();
    let (out, err) = bench.both(&SHORT);
    assert!(out.starts_with("\nvalidation set: 14 images of 2 people\n"), "{out}");
    assert!(out.ends_with("bundle: runs/a/best\n"), "{out}");
    for line in [
        "run:   runs/a\n",
        "data:  training set    42 images of 6 people\n       validation set  14 images of 2 people\n",
        "model: efficientnet, depth = 0.3, variant = \"lite0\", width = 0.25,\n       with head `factored`\n",
        "plan:  0.20 epochs, 1 step of 8 images of 32x24, 5 per epoch\n",
        "epoch    loss    loss  accuracy      F1      F1      F1      F1     time\n",
        "\nfinished in ",
        "\nnext: maskfit predict runs/a --images DIR -o FILE\n",
    ] {
        assert!(err.contains(line) && !out.contains(line), "{line}: {err}");
    }
    for line in out.lines().chain(err.lines().skip_while(|it| !it.starts_with("run:"))) {
        assert!(line.width() <= 80, "{line}");
    }
    fs::remove_dir_all(bench.path("runs")).unwrap();

    let (quiet, err) = bench.both(&[&SHORT[..], &["-q"]].concat());
    assert_eq!((quiet.as_str(), err.as_str()), (out.as_str(), ""));
    fs::remove_dir_all(bench.path("runs")).unwrap();

    let (verbose, err) = bench.both(&[&["-v"], &SHORT[..]].concat());
    assert_eq!(verbose, out);
    let layers = "settings: configs/default.toml, then small.toml, then --set train.total=1 steps, then \
                  --set run.name=a\n";
    for line in ["instruction set: ", layers, "activity "] {
        assert!(err.contains(line), "{line}: {err}");
    }
    // Errors are printed in any case.
    bench.fails(
        &["--quiet", "list", "cheeses"],
        expect!["error: there is no registry `cheeses`: expected one of: sources, splits, samplers, transforms, mixes, statistics, views, models, heads, losses, class-weights, optimizers, stage-rates, schedules, averages, clips, metrics, submissions, trackers, combinations, calibrations, recipes"],
    );
    bench.fails(
        &["-q", "-v", "list"],
        expect![[r#"
            error: the argument '--quiet' cannot be used with '--verbose'

            Usage: maskfit --quiet <COMMAND>

            For more information, try '--help'."#]],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_printed_are_an_error_but_not_a_reader_that_ends() {
    let bench = Bench::empty();
    for args in [&["list", "heads"][..], &["--help"], &["train", "--help"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = bench.command(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let err = text(&output.stderr);
        assert_eq!(err, "error: stdout: No space left on device (os error 28)\n", "{args:?}");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
    }
    // As `| head` with nothing to read.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut list = bench.command(&["list", "heads"]);
    let output = list.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}
