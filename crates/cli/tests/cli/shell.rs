//! `maskfit completions` and `maskfit man`.

use std::{fs, process::Command};

use expect_test::expect;

use crate::bench::{Bench, text};

/// The commands that the help lists.
fn commands(bench: &Bench) -> Vec<String> {
    let help = bench.ok(&["-h"]);
    let listed = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    // Descriptions that are wrapped are indented further.
    let names =
        listed.lines().filter_map(|it| it.strip_prefix("  ")).filter(|it| !it.starts_with(' '));
    names.map(|it| it.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn completions_know_every_command() {
    let bench = Bench::empty();
    let commands = commands(&bench);
    assert!(commands.len() > 20 && commands.contains(&"lr-find".to_owned()), "{commands:?}");
    for (shell, start) in
        [("bash", "_maskfit() {"), ("zsh", "#compdef maskfit\n"), ("fish", "# Print an optspec")]
    {
        let script = bench.ok(&["completions", shell]);
        assert!(script.starts_with(start), "{shell}: {script}");
        for name in &commands {
            assert!(script.contains(name), "{shell}: {name}");
        }
        assert!(script.contains("--resume") || script.contains("-l resume"), "{shell}");
    }
    let err = text(&bench.run(&["completions", "tcsh"]).stderr);
    assert!(err.contains("invalid value 'tcsh' for '<SHELL>'") && err.contains("zsh"), "{err}");
}

#[cfg(target_os = "linux")]
#[test]
fn bash_completes_commands_and_arguments() {
    let bench = Bench::empty();
    fs::write(bench.path("maskfit.bash"), bench.ok(&["completions", "bash"])).unwrap();
    let complete = |words: &[&str]| {
        let (last, before) = words.split_last().unwrap();
        // As bash calls the function: the command, the word, and the word before it. Its `compopt` works only then.
        let script = format!(
            "source ./maskfit.bash; compopt() {{ :; }}; COMP_WORDS=({}); COMP_CWORD={}; _maskfit maskfit '{last}' '{}'; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len() - 1,
            before.last().unwrap()
        );
        let mut bash = Command::new("bash");
        let output = bash.args(["-c", &script]).current_dir(bench.path(".")).output().unwrap();
        let err = text(&output.stderr);
        assert!(err.is_empty(), "{err}");
        text(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete(&["maskfit", "kf"]), "kfold");
    assert_eq!(complete(&["maskfit", "kfold", "pl"]), "plan");
    assert_eq!(complete(&["maskfit", "train", "--res"]), "--resume");
    assert_eq!(complete(&["maskfit", "train", "--color", "al"]), "always");
    // Nothing of its own: bash goes on with files. A command's own words come first.
    assert_eq!(complete(&["maskfit", "train", ""]), "");
    assert!(complete(&["maskfit", "train", "-"]).contains("--resume"));
    assert!(complete(&["maskfit", "data", ""]).contains("check"));
    assert_eq!(complete(&["maskfit", "completions", "z"]), "zsh");
    // Files only where an option takes a file.
    assert_eq!(complete(&["maskfit", "predict", "--output", "mask"]), "maskfit.bash");
    assert_eq!(complete(&["maskfit", "predict", "--images", "mask"]), "maskfit.bash");
    for option in ["--device", "--batch-size"] {
        assert_eq!(complete(&["maskfit", "predict", option, ""]), "", "{option}");
    }
}

#[test]
fn every_command_has_a_man_page() {
    let bench = Bench::empty();
    let said = bench.ok(&["man", "-o", "man1"]);
    let mut pages: Vec<String> = fs::read_dir(bench.path("man1"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    assert_eq!(said, format!("{} pages: man1\n", pages.len()));
    for name in commands(&bench) {
        assert!(pages.contains(&format!("maskfit-{name}.1")), "{name}: {pages:?}");
    }
    for name in ["maskfit.1", "maskfit-kfold-plan.1", "maskfit-data-synthetic-people.1"] {
        assert!(pages.iter().any(|it| it == name), "{name}: {pages:?}");
    }
    let page = |name: &str| fs::read_to_string(bench.path("man1").join(name)).unwrap();
    // What is printed is what is written, and has the exit codes.
    assert_eq!(bench.ok(&["man"]), page("maskfit.1"));
    assert_eq!(bench.ok(&["man", "kfold", "plan"]), page("maskfit-kfold-plan.1"));
    assert!(page("maskfit.1").contains("\n  130  stopped by"), "{}", page("maskfit.1"));
    let plan = page("maskfit-kfold-plan.1");
    assert!(
        plan.contains(".TH maskfit-kfold-plan 1  \"maskfit ") && plan.contains("\\-\\-folds"),
        "{plan}"
    );
    // Options of the synopsis have their values.
    let synopsis = |name: &str| {
        let page = page(name);
        let (_, rest) = page.split_once(".SH SYNOPSIS\n").unwrap();
        rest.split_once(".SH ").unwrap().0.replace('\\', "")
    };
    let of_plan = synopsis("maskfit-kfold-plan.1");
    assert!(of_plan.trim_end().ends_with(" [OPTIONS] [CONFIG]"), "{of_plan}");
    let of_predict = synopsis("maskfit-predict.1");
    assert!(of_predict.contains("--images <PATH> <RUN>..."), "{of_predict}");

    // Pages are replaced, and nothing else is.
    fs::write(bench.path("man1/maskfit.1"), page("maskfit.1") + "old").unwrap();
    bench.ok(&["man", "-o", "man1"]);
    assert!(!page("maskfit.1").ends_with("old"));
    fs::write(bench.path("man1/maskfit-train.1"), "notes").unwrap();
    fs::remove_file(bench.path("man1/maskfit.1")).unwrap();
    bench.fails(&["man", "-o", "man1"], expect!["error: man1/maskfit-train.1: already exists, and is not a man page of maskfit: name another file with `-o`, or remove it"]);
    bench.fails(
        &["man", "kfold", "plant"],
        expect!["error: `maskfit kfold` has no command `plant`: choose one of plan, run, join"],
    );
    bench.fails(
        &["man", "train", "x"],
        expect!["error: `maskfit train` has no command `x`: it has none"],
    );
}
