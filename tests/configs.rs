//! Every file of `configs/` loads, and a resolved config loads as the same experiment.

use std::{fs, path::Path};

use base::config::Layer;
use data::Fixes;
use trainer::{DEFAULT, Experiment, Plan};

use crate::small;

fn configs() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()).collect();
    files.retain(|it| it.extension().is_some_and(|it| it == "toml"));
    files.sort();
    let text = |path: &std::path::PathBuf| fs::read_to_string(path).unwrap();
    files
        .iter()
        .map(|it| (it.file_stem().unwrap().to_string_lossy().into_owned(), text(it)))
        .collect()
}

#[test]
fn every_experiment_loads_and_has_no_problems() {
    for (name, text) in configs().into_iter().filter(|(name, _)| !name.starts_with("label_fixes")) {
        let experiment = Experiment::load(&[Layer::from_toml(&name, &text).unwrap()]);
        let experiment = experiment.unwrap_or_else(|err| panic!("{err}"));
        assert_eq!(experiment.problems(), Vec::<String>::new(), "{name}");
        assert!(text.starts_with('#'), "{name} does not begin with a comment on its purpose");
    }
}

#[test]
fn resolved_config_is_the_same_experiment() {
    for (name, text) in configs().into_iter().filter(|(name, _)| !name.starts_with("label_fixes")) {
        let experiment = Experiment::load(&[Layer::from_toml(&name, &text).unwrap()]).unwrap();
        let resolved = Layer::from_toml("config.toml", &experiment.to_toml()).unwrap();
        assert_eq!(Experiment::load(&[resolved]).unwrap(), experiment, "{name}");
    }
}

#[test]
fn default_toml_contains_every_setting() {
    // No setting may be left to a default of serde: one that is missing in `default.toml` is an error.
    let default: toml::Table = DEFAULT.parse().unwrap();
    let resolved: toml::Table = Experiment::load(&[]).unwrap().to_toml().parse().unwrap();
    for (section, value) in &resolved {
        let Some(table) = value.as_table() else { continue };
        for key in table.keys() {
            assert!(
                default[section].get(key).is_some(),
                "default.toml does not contain {section}.{key}"
            );
        }
    }
}

#[test]
fn every_list_of_label_fixes_loads() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    for (name, _) in configs().into_iter().filter(|(name, _)| name.starts_with("label_fixes")) {
        Fixes::read(&dir.join(format!("{name}.toml"))).unwrap_or_else(|err| panic!("{err}"));
    }
}

#[test]
fn fast_run_takes_one_step_of_each_phase_of_the_full_run() {
    // 63 images in batches of 16, then of 8: 3 steps in each of two epochs, then 7.
    let experiment = small::experiment(&[
        "train.total=8 epochs",
        "train.warmup=2 steps",
        "schedule={ kind = \"fine_tune\", frozen = \"1 epochs\" }",
        "train.sizes=[{ until = \"2 epochs\", size = [24, 20], batch_size = 16 }]",
        "train.freeze=[{ layers = \"stem\", from = \"3 epochs\", until = \"50 %\" }]",
        "augment.mix=[{ kind = \"mixup\", until = \"30 steps\" }]",
        "average={ kind = \"swa\", from = \"75 %\" }",
        "eval.every=8 epochs",
        "train.patience=1",
    ]);
    let (manifest, callback) = (small::manifest(&experiment), small::StopsAt::never());
    let mut plan =
        Plan::new(&experiment, &manifest, 0, &candle::Device::Cpu, &callback).expect("a plan");
    assert_eq!(plan.epochs.total(), 48);
    let summary = plan.shorten().expect("settings that fit the full run fit a shorter one");
    let steps = "of 48 steps only 1, 3 (after `train.warmup`), 6 (the backbone unfreezes, by `schedule`), \
                 7 (after `train.sizes[0]`), 14 (`train.freeze[0]` begins), 25 (`train.freeze[0]` ends), \
                 31 (after `augment.mix[0]`), 37 (`average` has begun), 48,";
    assert!(summary.contains(steps), "{summary}");
    assert_eq!(plan.epochs.total(), 9);
    let sizes = (0..9).map(|it| {
        (plan.batches(it).len(), plan.batches(it)[0].len(), plan.pipeline_at(it).0.size())
    });
    let (small, large) = ((1, 16, Ok([24, 20])), (1, 8, Ok([32, 28])));
    let want = [small.clone(), small.clone(), small, large.clone()];
    assert_eq!(sizes.take(4).collect::<Vec<_>>(), want);
    let dir = tempfile::tempdir().unwrap();
    let run = trainer::Run::create(&dir.path().join("run"), "").unwrap();
    let ended = trainer::fit(&plan, &run, &callback);
    assert!(matches!(ended, Ok(trainer::Ended::Finished(it)) if it.steps == 9));
    // Each step is evaluated.
    assert_eq!(run.read("epochs.csv").unwrap().lines().count(), 1 + 9);
    // A setting that does not fit the full run is still an error.
    let late = small::experiment(&["average={ kind = \"swa\", from = \"9 epochs\" }"]);
    assert!(Plan::new(&late, &manifest, 0, &candle::Device::Cpu, &callback).is_err());
}

#[test]
fn last_batch_that_cannot_be_trained_on_is_reported_before_the_first_step() {
    // 63 images in batches of 31 leave a batch of one image, whose last feature maps are a single pixel.
    let experiment = small::experiment(&["train.batch_size=31", "train.drop_last=false"]);
    let (manifest, callback) = (small::manifest(&experiment), small::StopsAt::never());
    let plan = Plan::new(&experiment, &manifest, 0, &candle::Device::Cpu, &callback);
    let err = plan.err().expect("no plan").to_string();
    assert!(
        err.contains("`train.batch_size`") && err.contains("more than one value per channel"),
        "{err}"
    );
}

#[test]
fn settings_beyond_the_run_are_noted() {
    let notes = |sets: &[&str]| {
        let experiment = small::experiment(sets);
        let (manifest, callback) = (small::manifest(&experiment), small::StopsAt::never());
        Plan::new(&experiment, &manifest, 0, &candle::Device::Cpu, &callback).expect("a plan");
        callback.notes.into_inner().unwrap().join("\n")
    };
    // 63 images and three epochs.
    let sizes =
        |until: &str| format!("train.sizes=[{{ until = \"{until} epochs\", size = [32, 28] }}]");
    assert_eq!(notes(&["train.batch_size=63", &sizes("3")]), "");
    let batch = notes(&["train.batch_size=64"]);
    assert!(batch.starts_with("`train.batch_size`: the first epoch has only 63 images"), "{batch}");
    let size = notes(&[&sizes("4")]);
    assert!(size.starts_with("`train.sizes[0]`: the run ends before `until = \"4"), "{size}");
}

#[test]
fn invalid_mixing_is_reported_before_the_first_step() {
    let check = |mix: &str, want: &str| {
        let experiment =
            small::experiment(&[&format!("augment.mix=[{{ kind = \"mixup\" }}, {mix}]")]);
        let (manifest, callback) = (small::manifest(&experiment), small::StopsAt::never());
        let plan = Plan::new(&experiment, &manifest, 0, &candle::Device::Cpu, &callback);
        let err = plan.err().expect("no plan").to_string();
        assert!(err.contains("at `augment.mix[1]`: ") && err.contains(want), "{err}");
    };
    let from = |factor: &str, level: &str| {
        format!(
            "{{ kind = \"half_cutmix\", from = {{ factor = \"{factor}\", level = \"{level}\" }} }}"
        )
    };
    check(&from("aeg", ">=60"), "`from`: unknown factor `aeg`: did you mean `age`?");
    check(&from("age", "61"), "`age` has no level `61`: expected one of: <30, 30-59, >=60");
    check(&from("joint", "worn female >=60"), "no training image is `worn female >=60`");
    check("{ kind = \"cutmix\", alpha = 0.0 }", "`alpha` must be from 0.01");
    check("{ kind = \"mixup\", per = \"pair\" }", "`partner = \"flipped\"`");
    check("{ kind = \"mixup\", until = \"0 %\" }", "`until` must be greater than 0");
    check("{ kind = \"random_erasing\", area = [0.5, 0.1] }", "`area` must be");
    check("{ kind = \"random_erasing\", aspect = 0.0 }", "`aspect` must be");
}

#[test]
fn numeric_heads_are_refused_where_a_number_is_missing() {
    for (kind, is_refused) in [("bins", true), ("regression", true), ("factored", false)] {
        let experiment = small::experiment(&[&format!("head.kind={kind}")]);
        let (mut manifest, callback) = (small::manifest(&experiment), small::StopsAt::never());
        let check = |manifest: &data::Manifest, want: &str| {
            let plan = Plan::new(&experiment, manifest, 0, &candle::Device::Cpu, &callback);
            match plan.err().map(|it| it.to_string()) {
                Some(err) => assert!(is_refused && err.contains(want), "{kind}: {err}"),
                None => assert!(!is_refused, "{kind} has a plan"),
            }
        };
        manifest.examples.iter_mut().for_each(|it| it.numbers.clear());
        check(&manifest, "has none: choose another head");
        manifest.task.factors[2].cuts.clear();
        check(&manifest, "this data has no numeric factor");
    }
}
