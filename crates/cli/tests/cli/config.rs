//! `config show` and `config diff`.

use std::fs;

use expect_test::expect;

use crate::bench::{Bench, SMALL};

#[test]
fn resolved_settings_name_their_layers_and_resolve_to_themselves() {
    let bench = Bench::empty();
    fs::write(bench.path("small.toml"), SMALL).unwrap();
    let show = ["config", "show", "small.toml", "--set", "loss.kind=focal", "--set", "seed=7"];
    let shown = bench.ok(&show);
    let section = |name: &str| {
        let text = shown.split_once(&format!("[{name}]\n")).unwrap().1;
        text.split_once("\n\n").map_or(text, |it| it.0).to_owned()
    };
    let top = shown.split_once("\n\n").unwrap().0;
    expect![[r#"
        device = "auto"             # default
        phase = []                  # default
        seed = 7                    # --set
        threads = 0                 # default
        track = [{ kind = "csv" }]  # default"#]]
    .assert_eq(top);
    expect![[r#"
        gamma = 2.0          # default
        kind = "focal"       # --set
        weighting = "paper"  # default"#]]
    .assert_eq(&section("loss"));
    expect![[r#"
        accumulate = 1      # default
        batch_size = 8      # small.toml
        drop_last = true    # default
        freeze = []         # default
        patience = 0        # default
        sizes = []          # default
        total = "2 epochs"  # small.toml
        warmup = "5 %"      # default"#]]
    .assert_eq(&section("train"));
    expect![[r#"
        depth = 0.3            # small.toml
        drop_path = 0.2        # default
        kind = "efficientnet"  # small.toml
        variant = "lite0"      # small.toml
        width = 0.25           # small.toml"#]]
    .assert_eq(&section("model.backbone"));
    fs::write(bench.path("shown.toml"), &shown).unwrap();
    let values = |text: &str| {
        let lines = text.lines().map(|it| it.rsplit_once("  # ").map_or(it, |it| it.0).trim_end());
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let again = bench.ok(&["config", "show", "shown.toml"]);
    assert_eq!(values(&again), values(&shown));
    assert!(!again.contains("# default"), "{again}");
    assert_eq!(bench.ok(&["config", "diff", "shown.toml", "shown.toml"]), "no settings differ\n");
    // Without a config: the defaults.
    assert!(!bench.ok(&["config", "show"]).contains("toml"));
    bench.fails(
        &["config", "show", "absent"],
        expect!["error: absent: this is neither a config, a recipe nor a run: name one"],
    );
    bench.fails(&["config", "show", "--set", "optim.lr=fast"], expect![[r#"error: --set optim.lr=fast: at `optim.lr`: invalid type: string "fast", expected a number"#]]);
}

#[test]
fn settings_of_published_weights_are_marked() {
    let bench = Bench::empty();
    let text = "[model]\nbackbone = { kind = \"efficientnet\", variant = \"b0\" }\npretrained = \"b0.pth\"";
    fs::write(bench.path("b0.toml"), text).unwrap();
    let (shown, notes) = bench.both(&["config", "show", "b0.toml"]);
    assert!(notes.contains("note: the weights `b0.pth` are not on this machine"), "{notes}");
    let augment: Vec<&str> =
        shown.lines().skip_while(|it| *it != "[augment]").take_while(|it| !it.is_empty()).collect();
    expect![[r#"
        [augment]
        eval = [{ filter = "bicubic", kind = "resize_shorter", size = 256 }, { kind = "center_crop", size = [224, 224] }]  # weights
        mix = []  # default
        train = [{ filter = "bicubic", kind = "resize_shorter", size = 256 }, { kind = "random_crop", size = [224, 224] }, { kind = "horizontal_flip", p = 0.5 }]  # weights"#]].assert_eq(&augment.join("\n"));
}

#[test]
fn differing_settings_are_shown_side_by_side() {
    let bench = Bench::empty();
    fs::write(bench.path("small.toml"), SMALL).unwrap();
    let other =
        SMALL.replace("[32, 24] }]\neval", "[32, 20] }, { kind = \"horizontal_flip\" }]\neval");
    fs::write(bench.path("other.toml"), other.replace("2 epochs", "9 epochs")).unwrap();
    expect![[r#"
        setting                small.toml  other.toml
        augment.train[0].size  [32, 24]    [32, 20]
        augment.train[1].kind  -           "horizontal_flip"
        augment.train[1].p     -           0.5
        train.total            "2 epochs"  "9 epochs"
    "#]]
    .assert_eq(&bench.ok(&["config", "diff", "small.toml", "other.toml"]));
}
