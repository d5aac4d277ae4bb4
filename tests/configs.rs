//! Every file of `configs/` loads, and a resolved config is the experiment again.

use std::{fs, path::Path};

use base::config::Layer;
use data::Fixes;
use trainer::{DEFAULT, Experiment, Plan};

use crate::small;

fn configs() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let text = |path: &std::path::PathBuf| fs::read_to_string(path).unwrap();
    files
        .iter()
        .map(|it| (it.file_stem().unwrap().to_string_lossy().into_owned(), text(it)))
        .collect()
}

#[test]
fn every_experiment_loads_and_makes_sense() {
    for (name, text) in configs().into_iter().filter(|(name, _)| !name.starts_with("label_fixes")) {
        let experiment = Experiment::load(&[Layer::from_toml(&name, &text).unwrap()]);
        let experiment = experiment.unwrap_or_else(|err| panic!("{err}"));
        assert_eq!(experiment.problems(), Vec::<String>::new(), "{name}");
        assert!(text.starts_with('#'), "{name} does not open with a note on what it is for");
    }
}

#[test]
fn a_resolved_config_is_the_same_experiment() {
    for (name, text) in configs().into_iter().filter(|(name, _)| !name.starts_with("label_fixes")) {
        let experiment = Experiment::load(&[Layer::from_toml(&name, &text).unwrap()]).unwrap();
        let resolved = Layer::from_toml("config.toml", &experiment.to_toml()).unwrap();
        assert_eq!(Experiment::load(&[resolved]).unwrap(), experiment, "{name}");
    }
}

#[test]
fn the_default_says_every_setting() {
    // Nothing may be left to a default of serde's: what `default.toml` does not say is an error.
    let default: toml::Table = DEFAULT.parse().unwrap();
    let resolved: toml::Table = Experiment::load(&[]).unwrap().to_toml().parse().unwrap();
    for (section, value) in &resolved {
        let Some(table) = value.as_table() else { continue };
        for key in table.keys() {
            assert!(
                default[section].get(key).is_some(),
                "default.toml does not say {section}.{key}"
            );
        }
    }
}

#[test]
fn every_list_of_label_fixes_can_be_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    for (name, _) in configs().into_iter().filter(|(name, _)| name.starts_with("label_fixes")) {
        Fixes::read(&dir.join(format!("{name}.toml"))).unwrap_or_else(|err| panic!("{err}"));
    }
}

#[test]
fn a_fast_run_takes_a_step_of_each_stretch_of_the_whole_one() {
    // 63 images in batches of 8, and of 16 at first: 3 steps in each of two epochs, then 7.
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
    let (manifest, watch) = (small::manifest(&experiment), small::StopsAt::never());
    let mut plan =
        Plan::new(&experiment, &manifest, 0, &candle::Device::Cpu, &watch).expect("a plan");
    assert_eq!(plan.epochs.total(), 48);
    let said = plan.shorten().expect("what fits the whole run fits a part of it");
    let steps = "of 48 steps only 1, 3 (after `train.warmup`), 6 (the backbone learns, by `schedule`), \
                 7 (after `train.sizes[0]`), 14 (`train.freeze[0]` begins), 25 (`train.freeze[0]` ends), \
                 31 (after `augment.mix[0]`), 37 (`average` has begun), 48,";
    assert!(said.contains(steps), "{said}");
    assert_eq!(plan.epochs.total(), 9);
    let sizes = (0..9)
        .map(|it| (plan.batches(it).len(), plan.batches(it)[0].len(), plan.seen(it).0.size()));
    let (small, large) = ((1, 16, Ok([24, 20])), (1, 8, Ok([32, 28])));
    let want = [small.clone(), small.clone(), small, large.clone()];
    assert_eq!(sizes.take(4).collect::<Vec<_>>(), want);
    let dir = tempfile::tempdir().unwrap();
    let run = trainer::Run::create(&dir.path().join("run"), "").unwrap();
    let ended = trainer::fit(&plan, &run, &watch);
    assert!(matches!(ended, Ok(trainer::Ended::Finished(it)) if it.steps == 9));
    // Each is evaluated, and the last one kept.
    assert_eq!(run.read("epochs.csv").unwrap().lines().count(), 1 + 9);
    // What does not fit the whole run is said all the same.
    let late = small::experiment(&["average={ kind = \"swa\", from = \"9 epochs\" }"]);
    assert!(Plan::new(&late, &manifest, 0, &candle::Device::Cpu, &watch).is_err());
}

#[test]
fn a_last_batch_that_cannot_be_trained_on_is_said_before_the_first_step() {
    // 63 images in batches of 31 leave one, whose last maps have a single pixel.
    let experiment = small::experiment(&["train.batch_size=31", "train.drop_last=false"]);
    let (manifest, watch) = (small::manifest(&experiment), small::StopsAt::never());
    let plan = Plan::new(&experiment, &manifest, 0, &candle::Device::Cpu, &watch);
    let err = plan.err().expect("no plan").to_string();
    assert!(err.contains("`train.batch_size`") && err.contains("one value for each"), "{err}");
}

#[test]
fn what_a_run_has_less_of_than_was_asked_for_is_noted() {
    let notes = |sets: &[&str]| {
        let experiment = small::experiment(sets);
        let (manifest, watch) = (small::manifest(&experiment), small::StopsAt::never());
        Plan::new(&experiment, &manifest, 0, &candle::Device::Cpu, &watch).expect("a plan");
        watch.notes.into_inner().unwrap().join("\n")
    };
    // 63 images and three epochs.
    let sizes =
        |until: &str| format!("train.sizes=[{{ until = \"{until} epochs\", size = [32, 28] }}]");
    assert_eq!(notes(&["train.batch_size=63", &sizes("3")]), "");
    let batch = notes(&["train.batch_size=64"]);
    assert!(batch.starts_with("`train.batch_size`: the first epoch sees 63 images"), "{batch}");
    let size = notes(&[&sizes("4")]);
    assert!(size.starts_with("`train.sizes[0]`: the run is over before `until = \"4"), "{size}");
}

#[test]
fn a_mixing_that_makes_no_sense_is_said_before_the_first_step() {
    let check = |mix: &str, want: &str| {
        let experiment =
            small::experiment(&[&format!("augment.mix=[{{ kind = \"mixup\" }}, {mix}]")]);
        let (manifest, watch) = (small::manifest(&experiment), small::StopsAt::never());
        let plan = Plan::new(&experiment, &manifest, 0, &candle::Device::Cpu, &watch);
        let err = plan.err().expect("no plan").to_string();
        assert!(err.contains("at `augment.mix[1]`: ") && err.contains(want), "{err}");
    };
    let from = |factor: &str, level: &str| {
        format!(
            "{{ kind = \"half_cutmix\", from = {{ factor = \"{factor}\", level = \"{level}\" }} }}"
        )
    };
    check(&from("aeg", ">=60"), "`from`: there is no factor `aeg`, but: mask, gender, age, joint");
    check(&from("age", "61"), "`age` has no level `61`, but: <30, 30-59, >=60");
    check(&from("joint", "worn female >=60"), "no image that is trained on is `worn female >=60`");
    check("{ kind = \"cutmix\", alpha = 0.0 }", "`alpha` is from 0.01");
    check("{ kind = \"mixup\", per = \"pair\" }", "`partner = \"flipped\"`");
    check("{ kind = \"mixup\", until = \"0 %\" }", "`until` is longer than nothing");
    check("{ kind = \"random_erasing\", area = [0.5, 0.1] }", "`area` is");
    check("{ kind = \"random_erasing\", aspect = 0.0 }", "`aspect` is");
}

#[test]
fn a_head_that_learns_from_ages_is_refused_where_one_is_missing() {
    for (kind, is_refused) in [("age_bins", true), ("age_number", true), ("factored", false)] {
        let experiment = small::experiment(&[&format!("head.kind={kind}")]);
        let (mut manifest, watch) = (small::manifest(&experiment), small::StopsAt::never());
        let check = |manifest: &data::Manifest, want: &str| {
            let plan = Plan::new(&experiment, manifest, 0, &candle::Device::Cpu, &watch);
            match plan.err().map(|it| it.to_string()) {
                Some(err) => assert!(is_refused && err.contains(want), "{kind}: {err}"),
                None => assert!(!is_refused, "{kind} has a plan"),
            }
        };
        manifest.examples.iter_mut().for_each(|it| it.age = None);
        check(&manifest, "has none: choose another head");
        manifest.task.factors[2].cuts.clear();
        check(&manifest, "this data has no ages");
    }
}
