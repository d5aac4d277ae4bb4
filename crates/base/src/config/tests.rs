use std::path::PathBuf;

use expect_test::{Expect, expect};
use serde::Deserialize;

use super::{ConfigError, Layer, load};
use crate::Length;

const DEFAULT: &str = r#"
[optim]
lr = 1e-3

[loss]
kind = "cross_entropy"
smoothing = 0.1
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read through Debug")]
struct Experiment {
    optim: Optim,
    loss: Loss,
}

/// The places where a setting that expects text may occur.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read through Debug")]
struct Names {
    name: String,
    dir: PathBuf,
    files: Vec<PathBuf>,
    total: Length,
    count: usize,
    by: Mode,
    source: Source,
    trackers: Vec<Source>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "is a word or a number")]
#[expect(dead_code, reason = "read through Debug")]
enum Mode {
    Number(usize),
    Word(String),
}

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Folder {
    root: PathBuf,
    tags: Vec<String>,
    share: f64,
    is_there: bool,
}

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Several {
    roots: Vec<Source>,
}

trait AnySource {}

impl AnySource for Folder {}

impl AnySource for Several {}

crate::choice! {
    enum Source: dyn AnySource {
        /// One.
        "folder" => Folder(Folder),
        /// Many.
        "several" => Several(Several),
    }
}

const NAMES: &str = r#"
name = ""
dir = "runs"
files = []
total = "1 epochs"
count = 1
by = 1
source = { kind = "folder" }
trackers = []
"#;

/// Loads `file` and `sets` over [`NAMES`].
fn names(file: &str, sets: &[&str]) -> Result<Names, ConfigError> {
    let mut layers = vec![Layer::from_toml("mine.toml", file)?];
    for arg in sets {
        layers.push(Layer::from_set(arg)?);
    }
    load(&Layer::from_toml("default.toml", NAMES)?, &layers)
}

#[test]
fn a_text_setting_is_the_literal_text() {
    for text in [
        "2021",
        "2024_01_02",
        "true",
        "1e3",
        "007",
        "0x10",
        "2024-01-02",
        "nan",
        "inf",
        "-1",
        "+1",
        "1_0.5",
        "07:30:00",
        "2024-01-02T07:30:00Z",
        "[1]",
        "{}",
        "[a, b]",
        "{ a = 1 }",
        "a b",
        "Kim, Min-su",
        "실험 1",
        "",
        "a=b",
        "#1",
        "\\d",
        "1 # one",
    ] {
        assert_eq!(names("", &[&format!("name={text}")]).unwrap().name, text);
        let root = |it: &Names| format!("{:?}", it.source);
        let wanted = format!("root: {text:?}, ");
        let got = names("", &[&format!("source.root={text}")]).unwrap();
        assert!(root(&got).contains(&wanted), "{got:?}");
        assert_eq!(got.dir, PathBuf::from("runs"));
    }
    // Quoted values are parsed as TOML.
    for (text, name) in [("\"2021\"", "2021"), ("'1e3'", "1e3"), ("\"a\\tb\"", "a\tb")] {
        assert_eq!(names("", &[&format!("name={text}")]).unwrap().name, name);
    }
}

#[test]
fn text_needs_no_quotes_in_lists_and_in_tables_with_a_kind() {
    let got = names(
        "",
        &[
            "files=[2021, 007, a b.csv, \"c, d.csv\", 1e3]",
            "trackers=[{ kind = folder, tags = [2024, true, x], share = 1 }, { kind = several, roots = [{ kind = folder, root = 0x10 }] }]",
            "source={ kind = several, roots = [{ kind = folder, root = 2024-01-02, is_there = true }] }",
        ],
    );
    expect![[r#"
        Names {
            name: "",
            dir: "runs",
            files: [
                "2021",
                "007",
                "a b.csv",
                "c, d.csv",
                "1e3",
            ],
            total: Epochs(
                1.0,
            ),
            count: 1,
            by: Number(
                1,
            ),
            source: Several(
                Several {
                    roots: [
                        Folder(
                            Folder {
                                root: "2024-01-02",
                                tags: [],
                                share: 0.0,
                                is_there: true,
                            },
                        ),
                    ],
                },
            ),
            trackers: [
                Folder(
                    Folder {
                        root: "",
                        tags: [
                            "2024",
                            "true",
                            "x",
                        ],
                        share: 1.0,
                        is_there: false,
                    },
                ),
                Several(
                    Several {
                        roots: [
                            Folder(
                                Folder {
                                    root: "0x10",
                                    tags: [],
                                    share: 0.0,
                                    is_there: false,
                                },
                            ),
                        ],
                    },
                ),
            ],
        }
    "#]]
    .assert_debug_eq(&got.as_ref().unwrap());
    let source = got.unwrap().source;
    let _: &dyn AnySource = source.get();
    assert_eq!((source.kind(), Source::KINDS.len()), ("several", 2));
}

#[test]
fn a_value_that_may_be_a_number_is_a_number() {
    let mode = |set: &str| format!("{:?}", names("", &[set]).unwrap().by);
    assert_eq!(
        [mode("by=10"), mode("by=0x10"), mode("by=most"), mode("by=1e3")],
        ["Number(10)", "Number(16)", "Word(\"most\")", "Word(\"1e3\")"]
    );
}

#[test]
fn the_error_names_the_expected_type() {
    let error = |file: &str, sets: &[&str]| names(file, sets).unwrap_err().to_string();
    expect![[r#"--set count=2024-01-02: at `count`: invalid type: string "2024-01-02", expected a whole number from 0"#]].assert_eq(&error("", &["count=2024-01-02"]));
    expect![
        "--set count=true: at `count`: invalid type: boolean `true`, expected a whole number from 0"
    ]
    .assert_eq(&error("", &["count=true"]));
    expect![
        "--set count=-1: at `count`: invalid value: integer `-1`, expected a whole number from 0"
    ]
    .assert_eq(&error("", &["count=-1"]));
    expect!["--set files=2021: at `files`: invalid type: integer `2021`, expected a list"]
        .assert_eq(&error("", &["files=2021"]));
    expect![[r#"--set files=[a: at `files`: invalid type: string "[a", expected a list"#]]
        .assert_eq(&error("", &["files=[a"]));
    // A number is not a length, but a string may be one.
    expect![[
        r#"--set total=3: at `total`: `3` is not a length: write "3 epochs", "500 steps" or "5 %""#
    ]]
    .assert_eq(&error("", &["total=3"]));
    expect!["--set source.kind=7: at `source.kind`: unknown kind `7`, expected one of `folder`, `several`"]
        .assert_eq(&error("", &["source.kind=7"]));
    expect!["--set source.rot=2021: at `source.rot`: unknown field `rot`: did you mean `root`? Expected one of `root`, `tags`, `share`, `is_there` (these are of kind `folder`)"].assert_eq(&error("", &["source.rot=2021"]));
    // Of two values, the error names the invalid one and its layer.
    expect![[r#"--set source={ kind = folder, root = 1, share = x }: at `source.share`: invalid type: string "x", expected a number"#]].assert_eq(&error("", &["name=1", "source={ kind = folder, root = 1, share = x }"]));
}

#[test]
fn text_in_a_file_needs_quotes() {
    let error = |file: &str| names(file, &["name=1"]).unwrap_err().to_string();
    expect![[r#"mine.toml: at `name`: invalid type: integer `2021`, expected a string: write text in quotes, `"..."`"#]].assert_eq(&error("name = 2021"));
    expect![[r#"mine.toml: at `source.root`: invalid type: floating point `1000.0`, expected a path: write text in quotes, `"..."`"#]].assert_eq(&error("[source]\nroot = 1e3"));
    expect![[r#"mine.toml: at `files[1]`: invalid type: boolean `true`, expected a path: write text in quotes, `"..."`"#]].assert_eq(&error("files = [\"a\", true]"));
    // A TOML date is the text as written.
    assert_eq!(names("name = 2024-01-02", &[]).unwrap().name, "2024-01-02");
    expect![[r#"mine.toml: at `total`: invalid type: integer `3`, expected a string: write text in quotes, `"..."`"#]].assert_eq(&error("total = 3"));
    expect!["mine.toml: at `count`: invalid type: boolean `true`, expected a whole number from 0"]
        .assert_eq(&error("count = true"));
    expect!["mine.toml: at `name`: invalid type: a list, expected a string"]
        .assert_eq(&error("name = [1]"));
    expect![[r#"mine.toml: at `count`: invalid type: string "2024-01-02", expected a whole number from 0"#]].assert_eq(&error("count = 2024-01-02"));
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read through Debug")]
struct Optim {
    lr: f64,
}

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CrossEntropy {
    smoothing: f64,
}

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Focal {
    gamma: f64,
}

trait AnyLoss {
    fn is_plain(&self) -> bool;
}

impl AnyLoss for CrossEntropy {
    fn is_plain(&self) -> bool {
        true
    }
}

impl AnyLoss for Focal {
    fn is_plain(&self) -> bool {
        false
    }
}

crate::choice! {
    enum Loss: dyn AnyLoss {
        /// The usual loss.
        "cross_entropy" => CrossEntropy(CrossEntropy),
        /// The loss that down-weights easy examples.
        "focal" => Focal(Focal),
    }
}

/// Loads `file` and `sets` over [`DEFAULT`] and compares the result, or the error, with `want`.
#[track_caller]
fn check(file: &str, sets: &[&str], want: Expect) {
    let run = || -> Result<Experiment, ConfigError> {
        let mut layers = vec![Layer::from_toml("configs/mine.toml", file)?];
        for arg in sets {
            layers.push(Layer::from_set(arg)?);
        }
        load(&Layer::from_toml("default.toml", DEFAULT)?, &layers)
    };
    let got = match run() {
        Ok(experiment) => format!("{experiment:?}"),
        Err(err) => format!("error: {err}"),
    };
    want.assert_eq(&got);
}

#[test]
fn the_default_alone_is_complete() {
    check(
        "",
        &[],
        expect![
            "Experiment { optim: Optim { lr: 0.001 }, loss: CrossEntropy(CrossEntropy { smoothing: 0.1 }) }"
        ],
    );
}

#[test]
fn a_registry_contains_its_docs() {
    assert_eq!(Loss::KINDS[1], ("focal", " The loss that down-weights easy examples.\n"));
    assert_eq!(Loss::zoo().len(), Loss::KINDS.len());
    assert_eq!((Loss::default().kind(), Loss::default().get().is_plain()), ("cross_entropy", true));
}

#[test]
fn a_set_overrides_the_file() {
    check(
        "[optim]\nlr = 0.1",
        &["optim.lr=3e-4"],
        expect![
            "Experiment { optim: Optim { lr: 0.0003 }, loss: CrossEntropy(CrossEntropy { smoothing: 0.1 }) }"
        ],
    );
}

#[test]
fn a_new_kind_starts_from_its_own_defaults() {
    check(
        "",
        &["loss.kind=focal"],
        expect!["Experiment { optim: Optim { lr: 0.001 }, loss: Focal(Focal { gamma: 0.0 }) }"],
    );
}

#[test]
fn setting_the_same_kind_again_also_starts_from_its_own_defaults() {
    check(
        "[loss]\nkind = \"cross_entropy\"",
        &[],
        expect![
            "Experiment { optim: Optim { lr: 0.001 }, loss: CrossEntropy(CrossEntropy { smoothing: 0.0 }) }"
        ],
    );
}

#[test]
fn a_kind_and_its_settings_may_be_set_together() {
    check(
        "",
        &["loss.kind=focal", "loss.gamma=3.0"],
        expect!["Experiment { optim: Optim { lr: 0.001 }, loss: Focal(Focal { gamma: 3.0 }) }"],
    );
}

#[test]
fn a_misspelled_key_is_an_error_that_names_its_file() {
    check(
        "[optim]\nrl = 0.1",
        &[],
        expect!["error: configs/mine.toml: at `optim.rl`: unknown field `rl`, expected `lr`"],
    );
}

#[test]
fn a_misspelled_key_of_a_kind_is_an_error() {
    check(
        "[loss]\nkind = \"focal\"\ngama = 2.0",
        &[],
        expect![
            "error: configs/mine.toml: at `loss.gama`: unknown field `gama`: did you mean `gamma`? Expected `gamma` (these are of kind `focal`)"
        ],
    );
}

#[test]
fn an_unknown_kind_lists_the_known_ones() {
    check(
        "",
        &["loss.kind=focl"],
        expect![
            "error: --set loss.kind=focl: at `loss.kind`: unknown kind `focl`: did you mean `focal`? Expected one of `cross_entropy`, `focal`"
        ],
    );
}

#[test]
fn the_error_names_the_layer_that_breaks_the_config() {
    check(
        "[loss]\nkind = \"focal\"\ngama = 2.0",
        &["loss.gamma=3.0", "optim.lr=1e-2"],
        expect![
            "error: configs/mine.toml: at `loss.gama`: unknown field `gama`: did you mean `gamma`? Expected `gamma` (these are of kind `focal`)"
        ],
    );
}

#[test]
fn a_setting_of_a_kind_must_follow_the_kind() {
    check(
        "",
        &["loss.gamma=3.0", "loss.kind=focal"],
        expect![
            "error: --set loss.gamma=3.0: at `loss.gamma`: unknown field `gamma`, expected `smoothing` (these are of kind `cross_entropy`)"
        ],
    );
}

#[test]
fn a_set_without_a_value_reports_how_to_write_one() {
    check(
        "",
        &["optim.lr"],
        expect!["error: `--set optim.lr` sets nothing: write `--set path.to.key=value`"],
    );
}

#[test]
fn a_wrong_type_is_an_error() {
    check(
        "",
        &["optim.lr=fast"],
        expect![[
            r#"error: --set optim.lr=fast: at `optim.lr`: invalid type: string "fast", expected a number"#
        ]],
    );
}

#[test]
fn an_integer_is_a_float() {
    check(
        "",
        &["optim.lr=1"],
        expect![
            "Experiment { optim: Optim { lr: 1.0 }, loss: CrossEntropy(CrossEntropy { smoothing: 0.1 }) }"
        ],
    );
}

#[test]
fn broken_toml_shows_the_line() {
    check(
        "[optim\nlr = 1",
        &[],
        expect![[r#"
        error: configs/mine.toml is not valid TOML
        TOML parse error at line 1, column 7
          |
        1 | [optim
          |       ^
        unclosed table, expected `]`
    "#]],
    );
}

#[test]
fn a_layer_knows_what_it_gives() {
    let layer = Layer::from_toml("a", "[a]\nb = { c = 1 }\n[d]").unwrap();
    let given = |path: &str| layer.gives(path);
    assert!(["a", "a.b", "a.b.c", "d"].into_iter().all(given));
    assert!(!["b", "c", "a.c", "a.b.c.d", "d.a", ""].into_iter().any(given));
    assert!(Layer::from_set("a.b.c=1").unwrap().gives("a.b"));
}

#[test]
fn a_kind_without_a_table_is_an_error_with_the_spelling() {
    check(
        "loss = \"focal\"",
        &[],
        expect![
            "error: configs/mine.toml: at `loss`: must be a table with a `kind`: write `{ kind = \"focal\" }`, or set its `kind`"
        ],
    );
    check(
        "",
        &["loss=3"],
        expect![
            "error: --set loss=3: at `loss`: must be a table with a `kind`, one of `cross_entropy`, `focal`; not \"3\""
        ],
    );
}
