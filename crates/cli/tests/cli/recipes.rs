//! The recipes: found by name, and each takes a few steps of everything, on tiny data in the layout it needs.

use std::fs;

use expect_test::expect;

use crate::bench::{Bench, unwrapped};

/// Generates eight people, and of their 56 images a table of three breeds and folders of three classes.
fn make_data(bench: &Bench) {
    let people =
        ["data", "synthetic-people", "people", "--people", "8", "--test", "2", "--size", "288x272"];
    bench.ok(&people);
    let mut images = Vec::new();
    for person in fs::read_dir(bench.path("people/train/images")).unwrap() {
        let person = fs::read_dir(person.unwrap().path()).unwrap();
        images.extend(person.map(|it| it.unwrap().path()));
    }
    images.sort();
    let mut images = images.into_iter();
    let mut put = |folder: &str, name: &str| {
        fs::create_dir_all(bench.path(folder)).unwrap();
        let path = bench.path(folder).join(name).with_extension("jpg");
        fs::copy(images.next().unwrap(), path).unwrap();
    };
    let mut table = "id,breed\n".to_owned();
    for n in 0..15 {
        put("breeds/train", &format!("{n:02}"));
        table += &format!("{n:02},{}\n", ["beagle", "boxer", "shiba"][n % 3]);
    }
    fs::write(bench.path("breeds/labels.csv"), table).unwrap();
    for class in ["church", "garbage truck", "tench"] {
        (0..4).for_each(|it| put(&format!("folders/train/{class}"), &it.to_string()));
        (0..2).for_each(|it| put(&format!("folders/val/{class}"), &it.to_string()));
    }
}

/// The names that `list recipes` prints.
fn names(bench: &Bench) -> Vec<String> {
    let listed = bench.ok(&["list", "recipes"]);
    let names = listed.lines().filter_map(|it| it.strip_prefix("  "));
    names.filter(|it| !it.starts_with(' ')).map(str::to_owned).collect()
}

#[test]
fn every_recipe_passes_a_fast_dry_run() {
    let bench = Bench::empty();
    make_data(&bench);
    let names = names(&bench);
    assert!(names.len() >= 21, "{names:?}");
    let before = bench.names();
    for name in &names {
        let settings = bench.ok(&["config", "show", name]);
        let backbone = settings.split("[model.backbone]").nth(1).unwrap();
        let has = |setting: &str| settings.contains(setting);
        let is_network = |kind: &str| backbone.contains(&format!("kind = \"{kind}\""));
        let root = match (has("kind = \"table\""), has("kind = \"folders\"")) {
            (true, _) => "breeds",
            (_, true) => "folders",
            _ => "people/train",
        };
        let mut sets = vec![format!("data.source.root={root}"), "model.pretrained=".to_owned()];
        // Else only the time changes: the recipes are the published ones, whose networks are large.
        sets.extend(["train.batch_size=2", "eval.batch_size=2"].map(str::to_owned));
        let smaller: &[&str] = match name.starts_with("write_up_") {
            true if is_network("efficientnet") => &["width=0.25", "depth=0.3"],
            true if is_network("vgg") => &["width=0.125", "hidden=64"],
            true => &["width=0.125"],
            false => &[],
        };
        sets.extend(smaller.iter().map(|it| format!("model.backbone.{it}")));
        let sets = sets.iter().flat_map(|it| ["--set", it.as_str()]);
        let args: Vec<&str> = ["train", name, "--fast"].into_iter().chain(sets).collect();
        let (result, out) = bench.both(&args);
        assert!(result.contains("of everything work"), "{name}: {result}");
        assert!(out.contains("fast: of "), "{name}: {out}");
        if name == "fine_tune" {
            let out = unwrapped(&out).join("\n");
            assert!(out.contains("(the backbone unfreezes, by `schedule`)"), "{out}");
        }
        assert_eq!(bench.names(), before, "{name} leaves files");
    }
    // The default settings are no recipe, but a config too.
    let few = ["--set", "data.source.n_people=20", "--set", "data.source.n_test=4"];
    let result = bench.ok(&[&["train", "--fast"][..], &few].concat());
    assert!(result.contains("of everything work"), "{result}");
}

#[test]
fn recipes_are_found_by_name_and_a_file_of_that_name_is_preferred() {
    let bench = Bench::empty();
    let shown = bench.ok(&["config", "show", "write_up_003_b4_ages"]);
    let cuts = shown.lines().find(|it| it.starts_with("cuts = [31.0, 59.0] ")).expect(&shown);
    assert!(cuts.ends_with("# write_up_003_b4_ages"), "{cuts}");
    let people = "data.source={ kind = \"synthetic_people\", n_people = 20, n_test = 0 }";
    let out = bench.ok(&["schedule", "write_up_001", "--set", people]);
    assert!(out.contains("plot: schedule.png"), "{out}");
    fs::write(bench.path("write_up_001"), "[train]\ntotal = \"3 epochs\"\n").unwrap();
    let shown = bench.ok(&["config", "show", "write_up_001"]);
    assert!(shown.contains("total = \"3 epochs\""), "{shown}");
    bench.fails(
        &["train", "write_up_01"],
        expect![
            "error: write_up_01: there is no such file: did you mean the recipe `write_up_001`?"
        ],
    );
    bench.fails(
        &["config", "show", "write_up_001_wieghted"],
        expect![
            "error: write_up_001_wieghted: this is neither a config, a recipe nor a run: did you mean the recipe `write_up_001_weighted`?"
        ],
    );
    bench.fails(
        &["list", "optimisers"],
        expect!["error: there is no registry `optimisers`: did you mean `optimizers`?"],
    );
    let listed = bench.ok(&["list", "recipes"]);
    expect![[r#"
        recipes (maskfit train NAME)
          fine_tune
              Fine-tuning as in fastai: the head alone for an epoch, then all stages at
              discriminative learning rates.
          imbalance
    "#]]
    .assert_eq(&(listed.lines().take(5).collect::<Vec<_>>().join("\n") + "\n"));
}

#[test]
fn a_variant_of_a_write_up_differs_from_it_only_where_it_says() {
    let bench = Bench::empty();
    for (of, name, sections) in [
        ("write_up_001", "weighted", &["data.sampler"][..]),
        ("write_up_001", "focal", &["loss"]),
        ("write_up_001", "ldam", &["loss", "head"]),
        ("write_up_001", "f1", &["loss"]),
        ("write_up_001", "label_smoothing", &["loss.label_smoothing"]),
        ("write_up_001", "regression", &["head"]),
        ("write_up_001", "multi_sample_dropout", &["head"]),
        ("write_up_001", "xavier", &["head.init"]),
        ("write_up_003", "b4", &["data.training_cuts"]),
        ("write_up_003", "b4_ages", &["data.training_cuts", "head"]),
        ("write_up_003", "b4_factored", &["data.training_cuts", "head"]),
        ("write_up_003", "b0_branched", &["data.training_cuts", "head", "model"]),
        ("write_up_003", "vgg19", &["data.training_cuts", "head", "model"]),
    ] {
        let out = bench.ok(&["config", "diff", of, &format!("{of}_{name}")]);
        let settings = out.lines().skip(1).map(|it| it.split(' ').next().unwrap());
        let is_stated = |it: &str| {
            sections.iter().any(|within| it == *within || it.starts_with(&format!("{within}.")))
        };
        let settings: Vec<&str> = settings.collect();
        assert!(!settings.is_empty(), "{name}");
        assert!(settings.iter().all(|it| is_stated(it)), "{name}: {out}");
    }
}
