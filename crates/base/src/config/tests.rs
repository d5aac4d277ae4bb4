use expect_test::{Expect, expect};
use serde::Deserialize;

use super::{ConfigError, Layer, load};

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
        /// The usual one.
        "cross_entropy" => CrossEntropy(CrossEntropy),
        /// The one that looks away.
        "focal" => Focal(Focal),
    }
}

/// Loads `file` and `sets` over [`DEFAULT`] and compares what a user would see.
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
fn a_registry_knows_its_docs() {
    assert_eq!(Loss::KINDS[1], ("focal", " The one that looks away.\n"));
    assert_eq!(Loss::zoo().len(), Loss::KINDS.len());
    assert_eq!((Loss::default().kind(), Loss::default().get().is_plain()), ("cross_entropy", true));
}

#[test]
fn a_set_wins_over_the_file() {
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
fn a_kind_named_again_starts_from_its_own_defaults_too() {
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
            "error: configs/mine.toml: at `loss.gama`: unknown field `gama`, expected `gamma` (these are of kind `focal`)"
        ],
    );
}

#[test]
fn an_unknown_kind_lists_the_known_ones() {
    check(
        "",
        &["loss.kind=focl"],
        expect![
            "error: --set loss.kind=focl: at `loss.kind`: there is no `focl`, but: `cross_entropy`, `focal`"
        ],
    );
}

#[test]
fn the_layer_that_breaks_the_config_is_blamed() {
    check(
        "[loss]\nkind = \"focal\"\ngama = 2.0",
        &["loss.gamma=3.0", "optim.lr=1e-2"],
        expect![
            "error: configs/mine.toml: at `loss.gama`: unknown field `gama`, expected `gamma` (these are of kind `focal`)"
        ],
    );
}

#[test]
fn a_setting_of_a_kind_comes_after_the_kind() {
    check(
        "",
        &["loss.gamma=3.0", "loss.kind=focal"],
        expect![
            "error: --set loss.gamma=3.0: at `loss.gamma`: unknown field `gamma`, expected `smoothing` (these are of kind `cross_entropy`)"
        ],
    );
}

#[test]
fn a_set_without_a_value_says_how_to_write_one() {
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
