//! Continuing from a bundle of one's own.

use std::fs;

use expect_test::expect;

use crate::{
    bench::{Bench, SMALL, text, unwrapped},
    files::differences,
};

/// Trains the small experiment for a few steps, and returns the notes.
fn train(bench: &Bench, config: &str, sets: &[&str]) -> Vec<String> {
    let mut args = vec!["train", config, "--set", "train.total=2 steps"];
    args.extend(sets.iter().flat_map(|it| ["--set", it]));
    unwrapped(&bench.notes(&args))
}

fn line<'a>(lines: &'a [String], begin: &str) -> &'a str {
    let line = lines.iter().find(|it| it.starts_with(begin));
    line.unwrap_or_else(|| panic!("no `{begin}`: {lines:#?}"))
}

fn read(bench: &Bench, path: &str) -> String {
    fs::read_to_string(bench.path(path)).unwrap()
}

#[test]
fn a_run_continues_from_another_and_repeats_without_it() {
    let bench = Bench::new();
    train(&bench, "small.toml", &["run.name=a"]);
    // The same split: nobody changes sides.
    let notes = train(&bench, "small.toml", &["run.name=b", "model.pretrained=runs/a"]);
    line(&notes, "continuing from runs/a/best");
    let loaded = line(&notes, "pretrained weights: ");
    assert!(
        loaded.ends_with(
            " tensors of the backbone; the classifier of `mask` is kept (3 classes); the classifier of `gender` is \
             kept (2 classes); the classifier of `age` is kept (3 classes)"
        ),
        "{loaded}"
    );
    assert!(!notes.iter().any(|it| it.starts_with("warning")), "{notes:#?}");
    let found = differences(&bench.path("runs/b"), &["Run", "Trackers"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let origin: toml::Table = read(&bench, "runs/b/pretrained/origin.toml").parse().unwrap();
    assert_eq!(origin["bundle"].as_str(), Some("runs/a/best"));
    assert_eq!(origin["of_validation"].as_integer(), Some(0));

    // Another split: people that the bundle was trained on are validated on.
    let sets = ["run.name=c", "data.split_seed=5", "model.pretrained=runs/a/best"];
    let notes = train(&bench, "small.toml", &sets);
    let warning = line(&notes, "warning: runs/a/best, which this continues from, was trained on ");
    assert!(warning.contains("`data.split_seed`"), "{warning}");
    let page = read(&bench, "runs/c/report.html");
    assert!(page.contains("The bundle that the model continued from was trained on "));
    // The same people under other names.
    let size = ["--people", "8", "--test", "3", "--size", "40x32"];
    bench.ok(&[&["data", "synthetic-people", "renamed"][..], &size].concat());
    let mut table = read(&bench, "renamed/train/train.csv");
    for it in fs::read_dir(bench.path("renamed/train/images")).unwrap() {
        let path = it.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let new = format!("9{}", &name[1..]);
        table = table.replace(name, &new);
        fs::rename(&path, path.with_file_name(new)).unwrap();
    }
    fs::write(bench.path("renamed/train/train.csv"), table).unwrap();
    let root = "data.source.root=\"renamed/train\"";
    let sets = ["run.name=e", "data.split_seed=5", root, "model.pretrained=runs/a/best"];
    let notes = train(&bench, "small.toml", &sets);
    line(&notes, "warning: runs/a/best, which this continues from, was trained on ");
    // What a run was trained on includes what its bundle was.
    let out = bench.run(&["evaluate", "runs/c", "--side", "valid", "-o", "out"]);
    let err = text(&out.stderr);
    assert!(!out.status.success() && err.contains("runs/c/best: was trained on"), "{err}");

    // The settings name the copy, so the run repeats when the bundle is gone.
    fs::remove_dir_all(bench.path("runs/a")).unwrap();
    train(&bench, "runs/b/config.toml", &["run.name=d"]);
    assert_eq!(read(&bench, "runs/d/steps.csv"), read(&bench, "runs/b/steps.csv"));
    assert!(read(&bench, "runs/d/config.toml").contains("pretrained = \"runs/d/pretrained\""));
    // A run without a checkpoint begins again from the copy.
    fs::remove_dir_all(bench.path("runs/d/checkpoints")).unwrap();
    fs::remove_file(bench.path("runs/d/report.toml")).unwrap();
    bench.ok(&["train", "--resume", "runs/d"]);
    assert_eq!(read(&bench, "runs/d/steps.csv"), read(&bench, "runs/b/steps.csv"));
    // Copies in two places are one common start.
    let notes = bench.notes(&["soup", "runs/b", "runs/d", "-o", "soup"]);
    assert!(!notes.contains("began from different weights"), "{notes}");
}

#[test]
fn settings_that_are_left_out_are_the_bundles() {
    let bench = Bench::new();
    let head = "head={kind = \"cosine\", scale = 20}";
    train(&bench, "small.toml", &["run.name=a", head]);
    let (data, _) = SMALL.split_once("[augment]").unwrap();
    fs::write(bench.path("bare.toml"), format!("{data}[train]\nbatch_size = 8\n")).unwrap();
    // Valid over the bundle's head only.
    let sets = ["run.name=b", "model.pretrained=runs/a", "head.dropout=0.1", "head.by=\"joint\""];
    let notes = train(&bench, "bare.toml", &sets);
    expect!["settings of the bundle, as they are left out: `model.backbone`, `augment.train`, `augment.eval`, `augment.statistics`"]
        .assert_eq(line(&notes, "settings of the bundle"));
    let [a, b] = ["a", "b"].map(|it| -> toml::Table {
        read(&bench, &format!("runs/{it}/config.toml")).parse().unwrap()
    });
    assert_eq!(a["model"]["backbone"], b["model"]["backbone"]);
    assert_eq!(b["head"]["scale"].as_float(), Some(20.0));
    for name in ["train", "eval"] {
        assert_eq!(a["augment"][name], b["augment"][name]);
    }
    assert_eq!(b["augment"]["statistics"]["kind"].as_str(), Some("given"));
    let shown = bench.ok(&["config", "show", "bare.toml", "--set", "model.pretrained=runs/a"]);
    assert!(
        shown.lines().any(|it| it.starts_with("scale ") && it.ends_with("# weights")),
        "{shown}"
    );
}

#[test]
fn classes_are_kept_by_name() {
    let bench = Bench::new();
    for (root, classes) in [
        ("three", &["apple", "pear", "plum"][..]),
        ("five", &["apple", "fig", "lime", "pear", "plum"][..]),
    ] {
        for (idx, class) in classes.iter().enumerate() {
            let dir = bench.path(root).join(class);
            fs::create_dir_all(&dir).unwrap();
            for (person, image) in (0..8).zip(["normal.jpg", "mask1.jpg"].iter().cycle()) {
                let to = dir.join(format!("{person}-{idx}.jpg"));
                fs::copy(bench.image((person + idx) % 8, image), to).unwrap();
            }
        }
        let source = format!("{{ kind = \"folders\", root = \"{root}\" }}");
        let profiles = "{ kind = \"mask_profiles\", root = \"people/train\" }";
        let config = SMALL.replace(profiles, &source) + "\n[head]\nkind = \"joint\"\n";
        fs::write(bench.path(&format!("{root}.toml")), config).unwrap();
    }
    train(&bench, "three.toml", &["run.name=a"]);
    let notes = train(&bench, "five.toml", &["run.name=b", "model.pretrained=runs/a"]);
    let loaded = line(&notes, "pretrained weights: ").split_once("; ").unwrap().1.to_owned();
    expect![
        "of the classifier 3 of 5 classes are kept by name, and 2 (`fig`, `lime`) newly initialised"
    ]
    .assert_eq(&loaded);

    // Models of other classes are neither averaged nor compared.
    let differ = "the levels of the factor `class` differ, only in runs/b";
    let predict = ["predict", "runs/a", "runs/b", "--images", "three", "-o", "p.csv"];
    for command in [&predict[..], &["compare", "runs/a", "runs/b"]] {
        let output = bench.run(command);
        let err = text(&output.stderr);
        assert!(output.status.code() == Some(1) && err.contains(differ), "{err}");
        assert!(err.contains(": `fig`, `lime`: "), "{err}");
    }
}

#[test]
fn what_cannot_be_continued_from_is_refused() {
    let bench = Bench::new();
    train(&bench, "small.toml", &["run.name=a"]);
    train(&bench, "small.toml", &["run.name=b", "seed=1"]);
    bench.ok(&["ensemble", "runs/a", "runs/b", "-o", "both"]);
    let small = ["train", "small.toml", "--set"];
    bench.fails(&[&small[..], &["model.pretrained=both"]].concat(), expect!["error: `model.pretrained`: both: this bundle is an ensemble of 2 models, and training continues from one: name one of them: runs/a, runs/b"]);
    bench.fails(&[&small[..], &["model.pretrained=people"]].concat(), expect!["error: `model.pretrained`: people: this is not a bundle: name the folder of a `bundle.toml`, or a run"]);
    bench.fails(&[&small[..], &["model.pretrained=runs/missing"]].concat(), expect!["error: `model.pretrained`: runs/missing: there is no such file (and MASKFIT_WEIGHTS does not name a folder of weights): name a file, a place on the hub as `hf:owner/name`, or the folder of a run, a fold or a bundle (there are runs/b, runs/a)"]);
    let other = ["model.pretrained=runs/a", "--set", "model.backbone.variant=b0"];
    let err = text(&bench.run(&[&small[..], &other].concat()).stderr);
    let err = unwrapped(&err).pop().unwrap();
    assert!(
        err.starts_with(
            "error: `model.pretrained`: runs/a/best: the bundle's backbone is another one than that of the settings ("
        ) && err.contains("`variant` is \"lite0\", not \"b0\""),
        "{err}"
    );
    assert!(!bench.path("runs/c").exists());

    // A damaged bundle.
    let weights = fs::read_dir(bench.path("runs/a/best")).unwrap().map(|it| it.unwrap().path());
    let weights = weights.filter(|it| it.extension().is_some_and(|it| it == "safetensors"));
    let path = weights.last().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
    let err = text(&bench.run(&[&small[..], &["model.pretrained=runs/a"]].concat()).stderr);
    assert!(err.contains("its SHA-256 is not the one in `bundle.toml`"), "{err}");
}

#[test]
fn a_fold_can_be_continued_from_and_its_training_people_are_named() {
    let bench = Bench::new();
    let kfold = ["kfold", "small.toml", "--folds", "2", "--set", "train.total=1 steps", "--set"];
    bench.ok(&[&kfold[..], &["run.name=k"]].concat());
    let small = ["train", "small.toml", "--set"];
    bench.fails(&[&small[..], &["model.pretrained=runs/k"]].concat(), expect!["error: `model.pretrained`: runs/k: this is a cross-validation, and training continues from one model: name a fold, such as runs/k/fold-0"]);
    let more = ["run.name=again", "--set", "model.pretrained=runs/k/fold-0"];
    let notes = unwrapped(&bench.notes(&[&kfold[..], &more].concat()));
    let warning = line(&notes, "warning: ");
    assert!(
        warning.starts_with(
            "warning: runs/k/fold-0/best, which this continues from, was trained on 4 of the 8 people of the \
             validation sets of the folds: out-of-fold scores are too good: "
        ),
        "{warning}"
    );
    let found = differences(&bench.path("runs/again"), &["Run", "Cross-validation"]);
    let found: Vec<String> = found.into_iter().filter(|it| it.contains("pretrained")).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    let config = read(&bench, "runs/again/fold-1/config.toml");
    assert!(config.contains("pretrained = \"runs/again/pretrained\""), "{config}");
}
