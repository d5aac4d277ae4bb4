//! The same settings give the same bits, for any number of threads and however often a run is stopped
//! and resumed.

use std::sync::Arc;

use candle::Device;
use data::{Load, Loader, SamplerConfig, SplitConfig, StratifiedKfold};
use trainer::{
    Ended, FitError, Plan, Run, fit,
    kfold::{KfoldEnded, kfold, with_folds},
};

use crate::small::{StopsAt, experiment, files, manifest, plan};

fn train(n_threads: usize, stops: &[usize]) -> Vec<(String, Vec<u8>)> {
    train_with(&[], n_threads, stops)
}

/// Trains on `n_threads` threads; stops after each number of steps in `stops` and resumes.
fn train_with(sets: &[&str], n_threads: usize, stops: &[usize]) -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
    let path = dir.path().join("run");
    pool.install(|| {
        // Settings without effect on results are set after the config is written, so that it is the same.
        let mut experiment = experiment(sets);
        let config = experiment.to_toml();
        experiment.data.num_workers = n_threads;
        drop(Run::create(&path, &config).unwrap());
        for &stop in stops {
            let run = Run::open(&path).unwrap();
            let ended = fit(&plan(&experiment), &run, &StopsAt::after(stop)).unwrap();
            assert!(matches!(ended, Ended::Stopped { .. }), "the run is longer than {stops:?}");
        }
        let run = Run::open(&path).unwrap();
        let ended = fit(&plan(&experiment), &run, &StopsAt::never()).unwrap();
        assert!(matches!(ended, Ended::Finished(_)));
    });
    files(&path)
}

#[track_caller]
fn check_same(a: &[(String, Vec<u8>)], b: &[(String, Vec<u8>)]) {
    let names = |of: &[(String, Vec<u8>)]| of.iter().map(|it| it.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(a), names(b));
    for ((name, a), (_, b)) in a.iter().zip(b) {
        assert!(a == b, "{name} differs");
    }
}

#[test]
fn number_of_threads_changes_nothing() {
    let one = train(1, &[]);
    assert!(one.iter().any(|(name, _)| name.ends_with(".safetensors")));
    check_same(&one, &train(3, &[]));
}

#[test]
fn stopped_and_resumed_run_gives_the_same_result() {
    let whole = train(2, &[]);
    // 7 steps per epoch: stops in the middle of an epoch, at its end, and several times.
    check_same(&whole, &train(2, &[3]));
    check_same(&whole, &train(2, &[7]));
    check_same(&whole, &train(2, &[1, 1, 8, 5]));
}

#[test]
fn run_with_epochs_of_different_lengths_resumes() {
    let sets = [
        "data.sampler={ kind = \"dynamic_balance\", over = \"mask\", exp_lambda = 0.5 }",
        "train.freeze=[{ layers = \"stem\", until = \"2 epochs\" }]",
        "schedule={ kind = \"exponential\", gamma = 0.5 }",
        "train.warmup=0 steps",
    ];
    let plan = plan(&experiment(&sets));
    // One class has 45, 20 and 13 images, the two others 9 each: 7, 4 and 3 steps of 8 images.
    let n_steps = [0, 1, 2].map(|it| plan.epochs.n_steps(it));
    assert_eq!((n_steps, plan.epochs.total()), ([7, 4, 3], 14));
    let whole = train_with(&sets, 2, &[]);
    let table = |name: &str| {
        let file = whole.iter().find(|it| it.0 == name).expect("a table");
        let rows = std::str::from_utf8(&file.1).unwrap().lines().skip(1);
        rows.map(|it| it.split(',').map(str::to_owned).collect()).collect::<Vec<Vec<String>>>()
    };
    let evaluated: Vec<String> = table("epochs.csv").iter().map(|it| it[..2].join(" ")).collect();
    assert_eq!(evaluated, ["7 1", "11 2", "14 3"]);
    let rates: Vec<f64> = table("steps.csv").iter().map(|it| it[3].parse().unwrap()).collect();
    let halves: Vec<f64> = rates.iter().map(|it| (rates[0] / it).log2()).collect();
    assert_eq!(halves, [[0.0; 7].as_slice(), &[1.0; 4], &[2.0; 3]].concat());
    check_same(&whole, &train_with(&sets, 3, &[9]));
    check_same(&whole, &train_with(&sets, 1, &[7, 3, 2]));
}

#[test]
fn every_sampler_gives_the_same_batches_for_any_number_of_workers() {
    for (kind, _) in SamplerConfig::zoo() {
        let set = format!("data.sampler={{ kind = \"{kind}\" }}");
        let plan = plan(&experiment(&[&set]));
        let batches = |n_threads| {
            let load = Load {
                cache: None,
                pack: None,
                images: Arc::clone(&plan.images),
                batches: plan.batches(0),
                pipeline: Arc::clone(&plan.train_pipeline),
                mixing: plan.phases[0].mixing.clone(),
                seed: plan.seed(),
                stream: "augment/0".to_owned(),
                first_batch: 0,
                n_threads,
                prefetch: 3,
            };
            Loader::start(load).map(Result::unwrap).collect::<Vec<_>>()
        };
        let one = batches(1);
        assert_eq!(one.len(), plan.epochs.n_steps(0), "{kind}");
        assert!(one == batches(4), "{kind}");
        let loaded = one.iter().flat_map(|it| &it.examples);
        assert!(loaded.clone().all(|it| plan.sides.train.contains(it)), "{kind}");
        assert_eq!(loaded.count(), plan.class_counts(0).iter().sum::<usize>(), "{kind}");
    }
}

#[test]
fn mixing_is_a_function_of_the_step() {
    let mix = "augment.mix=[{ kind = \"half_cutmix\", p = 0.4, per = \"example\", \
               from = { factor = \"gender\", level = \"female\" } }, { kind = \"cutmix\", p = 0.5 }, \
               { kind = \"mixup\", alpha = 0.4, per = \"example\", partner = \"any\", until = \"90 %\" }, \
               { kind = \"random_erasing\", fill = \"pixel\", until = \"10 steps\" }]";
    let whole = train_with(&[mix], 1, &[]);
    check_same(&whole, &train_with(&[mix], 4, &[3, 8]));
    let same = |name: &str, with: &[(String, Vec<u8>)]| {
        let of =
            |files: &[(String, Vec<u8>)]| files.iter().find(|it| it.0 == name).unwrap().1.clone();
        of(&whole) == of(with)
    };
    assert!(!same("steps.csv", &train(1, &[])), "mixing has no effect");
}

#[test]
fn run_does_not_resume_with_other_groups() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let begun = experiment(&[]);
    let run = Run::create(&path, &begun.to_toml()).unwrap();
    fit(&plan(&begun), &run, &StopsAt::after(2)).unwrap();
    let before = files(&path);
    let mut others = plan(&experiment(&["data.split.ratio=0.5"]));
    others.allow_changes = true;
    let err = fit(&others, &run, &StopsAt::never()).err().unwrap().to_string();
    assert!(err.contains("on another side: `") && err.contains("start a new run"), "{err}");
    check_same(&before, &files(&path));
}

#[test]
fn killed_run_resumes_from_its_last_checkpoint() {
    let whole = train(2, &[]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let experiment = experiment(&[]);
    drop(Run::create(&path, &experiment.to_toml()).unwrap());
    let resume =
        |callback: &StopsAt| fit(&plan(&experiment), &Run::open(&path).unwrap(), callback).unwrap();
    // The checkpoint of step 7 with the tables of step 10, as after a kill at step 10; in addition half
    // a row, and partly written weights of a bundle.
    resume(&StopsAt::after(7));
    let checkpoint = files(&path.join("checkpoints"));
    resume(&StopsAt::after(3));
    std::fs::remove_dir_all(path.join("checkpoints")).unwrap();
    std::fs::create_dir(path.join("checkpoints")).unwrap();
    for (name, bytes) in checkpoint {
        std::fs::write(path.join("checkpoints").join(name), bytes).unwrap();
    }
    let steps = std::fs::read_to_string(path.join("steps.csv")).unwrap();
    assert_eq!(steps.lines().count(), 11);
    std::fs::write(path.join("steps.csv"), steps + "11,1.57,0.").unwrap();
    std::fs::write(path.join("best/weights-0-14.safetensors"), b"half").unwrap();
    resume(&StopsAt::never());
    check_same(&whole, &files(&path));
}

/// A checkpoint contains the state of averages, sizes, accumulation and patience.
#[test]
fn runs_with_averages_sizes_and_accumulation_resume() {
    let ema = "average={ kind = \"ema\", decay = 0.9 }";
    let swa = "average={ kind = \"swa\", from = \"30 %\", every = \"3 steps\" }";
    let sizes = "train.sizes=[{ until = \"2 epochs\", size = [24, 20], batch_size = 12 }]";
    for sets in [[ema, "train.accumulate=3"], [swa, sizes]] {
        let whole = train_with(&sets, 2, &[]);
        check_same(&whole, &train_with(&sets, 1, &[3, 8]));
        let best = |files: &[(String, Vec<u8>)]| {
            files.iter().filter(|it| it.0.starts_with("best")).cloned().collect::<Vec<_>>()
        };
        assert!(best(&whole) != best(&train(2, &[])), "{sets:?} change nothing");
    }
}

#[test]
fn runs_with_plateau_or_fine_tune_resume() {
    // No evaluation is ten times as good as the best before, so that each except the first halves the
    // rate.
    let plateau = "schedule={ kind = \"plateau\", factor = 0.5, patience = 0, threshold = 9.0 }";
    let fine_tune = "schedule={ kind = \"fine_tune\", frozen = \"5 steps\" }";
    for (schedule, last) in [(plateau, 2e-3 / 32.0), (fine_tune, 1.955e-5)] {
        let sets = [schedule, "eval.every=3 steps", "train.warmup=0 steps"];
        let whole = train_with(&sets, 2, &[]);
        check_same(&whole, &train_with(&sets, 1, &[4, 10]));
        let steps = whole.iter().find(|it| it.0 == "steps.csv").unwrap();
        let steps = String::from_utf8(steps.1.clone()).unwrap();
        let lr: f64 = steps.trim_end().rsplit(',').next().unwrap().parse().unwrap();
        assert!((lr / last - 1.0).abs() < 0.01, "{schedule}: {lr}, not {last}");
    }
}

#[test]
fn fine_tune_freezes_the_backbone_for_the_given_steps() {
    // After a warm-up of 2 steps.
    let fine_tune = "schedule={ kind = \"fine_tune\", frozen = \"3 steps\" }";
    let sets = [fine_tune, "train.warmup=2 steps", "checkpoint.every=1 steps"];
    let plan = plan(&experiment(&sets));
    let fresh = plan.model().unwrap().0;
    for (n_steps, is_trainable) in [(5, false), (6, true)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let run = Run::create(&path, "").unwrap();
        fit(&plan, &run, &StopsAt::after(n_steps)).unwrap();
        let file = path.join(format!("checkpoints/{n_steps:08}.safetensors"));
        let tensors = candle::safetensors::load(file, &Device::Cpu).unwrap();
        for (name, param) in fresh.params().to_file().unwrap() {
            let numbers = |it: &candle::Tensor| it.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let is_fresh = numbers(&param) == numbers(&tensors[&format!("model.{name}")]);
            let is_frozen = !is_trainable && !name.starts_with("head.");
            assert!(is_fresh || !is_frozen, "{name} changed in {n_steps} steps");
            assert!(!is_fresh || name != "conv_stem.weight" || is_frozen, "{name} did not change");
        }
    }
}

#[test]
fn progressive_resizing_starts_with_smaller_images_and_larger_batches() {
    let sizes = "train.sizes=[{ until = \"40 %\", size = [24, 20], batch_size = 12 }]";
    let plan = plan(&experiment(&[sizes]));
    // 63 images: 5 batches of 12 in the first epoch (40 % of 3 is nearest to 1), then 7 of 8.
    assert_eq!([0, 1, 2].map(|it| plan.epochs.n_steps(it)), [5, 7, 7]);
    for (step, n, size) in [(0, 12, [24, 20]), (4, 12, [24, 20]), (5, 8, [32, 28])] {
        let batch = trainer::load_epoch(&plan, step).next().unwrap().unwrap();
        assert_eq!((batch.examples.len(), batch.size), (n, size), "step {step}");
    }
}

/// With frozen norms, a step with gradient accumulation equals the step of the whole batch.
#[test]
fn micro_batches_add_up_to_the_batch() {
    let losses = |n_parts: usize| {
        let sets = [
            &format!("train.accumulate={n_parts}"),
            "train.freeze=[{ layers = \"backbone\", until = \"3 epochs\" }]",
            "loss={ kind = \"cross_entropy\", weights = { kind = \"inverse\" } }",
            "augment.mix=[{ kind = \"mixup\", p = 0.5 }]",
        ];
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(&dir.path().join("run"), "").unwrap();
        let callback = StopsAt::never();
        fit(&plan(&experiment(&sets)), &run, &callback).unwrap();
        callback.losses.into_inner().unwrap()
    };
    let whole = losses(1);
    for n_parts in [2, 3, 4] {
        for (step, (a, b)) in whole.iter().zip(losses(n_parts)).enumerate() {
            assert!((a - b).abs() < 1e-5 * a, "{n_parts} parts, step {step}: {b}, not {a}");
        }
    }
}

#[test]
fn run_without_progress_stops_early() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(&dir.path().join("run"), "").unwrap();
    // The weights do not change, so that no evaluation is better than the first.
    let sets = ["train.patience=2", "train.total=9 epochs", "optim.lr=1e-30"];
    let Ended::Finished(outcome) = fit(&plan(&experiment(&sets)), &run, &StopsAt::never()).unwrap()
    else {
        panic!("stopped unexpectedly")
    };
    assert!(outcome.steps < 9 * 7, "{}", outcome.steps);
    assert_eq!((outcome.steps - outcome.best_step), 2 * 7);
}

#[test]
fn run_resumes_with_other_settings_only_if_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let begun = experiment(&[]);
    let run = Run::create(&path, &begun.to_toml()).unwrap();
    fit(&plan(&begun), &run, &StopsAt::after(2)).unwrap();
    let before = files(&path);
    // Settings without effect on results may change.
    let harmless = experiment(&["checkpoint.keep=3", "data.prefetch=1", "run.name=other"]);
    fit(&plan(&harmless), &run, &StopsAt::after(1)).unwrap();
    assert!(before != files(&path));

    let before = files(&path);
    let mut other = plan(&experiment(&["optim.lr=0.5", "average={ kind = \"none\" }"]));
    let err = fit(&other, &run, &StopsAt::never()).err().unwrap().to_string();
    assert!(err.contains("optim.lr was 0.002, now 0.5"), "{err}");
    check_same(&before, &files(&path));
    other.allow_changes = true;
    fit(&other, &run, &StopsAt::after(1)).unwrap();
    let kept = std::fs::read_to_string(path.join("config-until-3.toml")).unwrap();
    assert_eq!(kept, begun.to_toml());
    assert!(std::fs::read_to_string(path.join("config.toml")).unwrap().contains("lr = 0.5"));
    // The state does not fit another optimizer, and the run has taken more than two steps.
    for (set, want) in
        [("optim.kind=sgd", "optim.kind was \"adamw\""), ("train.total=2 steps", "train.total")]
    {
        let mut misfit = plan(&experiment(&["optim.lr=0.5", "average={ kind = \"none\" }", set]));
        misfit.allow_changes = true;
        let err = fit(&misfit, &run, &StopsAt::never()).err().unwrap();
        assert!(err.is_refusal() && err.to_string().contains(want), "{err}");
    }
    // From then on, these are the settings of the run.
    other.allow_changes = false;
    fit(&other, &run, &StopsAt::after(1)).unwrap();
}

/// A run that is resumed with other settings, and killed before it has a checkpoint of its own.
#[test]
fn earlier_settings_are_kept_however_often_a_change_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let begun = experiment(&[]);
    let run = Run::create(&path, &begun.to_toml()).unwrap();
    let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
    // Without a checkpoint, the settings of the run are those in its folder.
    let mut other = plan(&experiment(&["optim.lr=0.5"]));
    let err = fit(&other, &run, &StopsAt::never()).err().unwrap().to_string();
    assert!(err.contains("optim.lr was 0.002, now 0.5"), "{err}");

    fit(&plan(&begun), &run, &StopsAt::after(2)).unwrap();
    let checkpoints = files(&path.join("checkpoints"));
    let kill = || {
        std::fs::remove_dir_all(path.join("checkpoints")).unwrap();
        std::fs::create_dir(path.join("checkpoints")).unwrap();
        let put_back = |(name, bytes): &(String, Vec<u8>)| {
            std::fs::write(path.join("checkpoints").join(name), bytes).unwrap();
        };
        checkpoints.iter().for_each(put_back);
    };
    other.allow_changes = true;
    for _ in 0..2 {
        fit(&other, &run, &StopsAt::after(1)).unwrap();
        kill();
        assert_eq!(read("config-until-2.toml"), begun.to_toml());
        assert!(read("config.toml").contains("lr = 0.5"));
    }
    // With the change reverted, the folder has the settings that the run resumes with.
    fit(&plan(&begun), &run, &StopsAt::after(1)).unwrap();
    assert_eq!(read("config.toml"), begun.to_toml());
}

/// A loss that is not finite takes no step: the weights before it are kept.
#[test]
fn loss_that_is_not_finite_ends_the_run_without_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = Run::create(&path, &experiment(&[]).to_toml()).unwrap();
    fit(&plan(&experiment(&[])), &run, &StopsAt::after(3)).unwrap();
    let before = files(&path.join("checkpoints"));
    // The first rate makes weights infinite at once, the second so large that a loss is not finite.
    for (lr, n_images) in [("1e39", None), ("1e30", Some(8))] {
        let mut other = plan(&experiment(&[&format!("optim.lr={lr}"), "checkpoint.every=2 steps"]));
        other.allow_changes = true;
        let err = fit(&other, &run, &StopsAt::never()).err().unwrap();
        let FitError::NotFinite { images, .. } = &err else { panic!("{err}") };
        if let Some(n) = n_images {
            assert_eq!(images.len(), n, "{err}");
        } else {
            check_same(&before, &files(&path.join("checkpoints")));
        }
    }
}

#[test]
fn stopped_cross_validation_resumes_with_the_remaining_folds() {
    let experiment = with_folds(&experiment(&["train.total=1 epochs"]), Some(3));
    let split = StratifiedKfold { n_folds: 3, repeats: 1 };
    assert_eq!(experiment.data.split, SplitConfig::StratifiedKfold(split));
    let manifest = manifest(&experiment);
    let cross_validate = |stops: &[usize]| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let run = Run::create(&path, &experiment.to_toml()).unwrap();
        let fold = |callback: &StopsAt| {
            kfold(&experiment, &manifest, &run, &Device::Cpu, callback, |_, _, _, _| {}).unwrap()
        };
        for &stop in stops {
            let ended = fold(&StopsAt::after(stop));
            assert!(matches!(ended, KfoldEnded::Stopped { .. }));
        }
        let KfoldEnded::Finished(outcome) = fold(&StopsAt::never()) else { panic!("unfinished") };
        assert_eq!(outcome.folds.len(), 3);
        assert_eq!(outcome.joined.n_groups, 12);
        files(&path)
    };
    let whole = cross_validate(&[]);
    // 7 steps per fold: stops in the second, and again in the third.
    check_same(&whole, &cross_validate(&[9, 6]));
}

/// Every tracker that needs no server.
const LOCAL: &str =
    r#"track=[{ kind = "csv" }, { kind = "jsonl" }, { kind = "tensorboard" }, { kind = "wandb" }]"#;

#[test]
fn trackers_do_not_change_a_run() {
    let tracked = train_with(&[LOCAL], 2, &[]);
    check_same(&tracked, &train_with(&[LOCAL], 2, &[3, 9]));
    let results = |files: Vec<(String, Vec<u8>)>| -> Vec<_> {
        let is_result = |it: &String| it != "config.toml" && !it.starts_with("metrics.");
        files.into_iter().filter(|it| is_result(&it.0)).collect()
    };
    check_same(&results(tracked), &results(train_with(&["track=[]"], 2, &[])));
}

#[test]
fn metrics_csv_agrees_with_the_other_tables() {
    let files = train(2, &[]);
    let table = |name: &str| -> Vec<Vec<String>> {
        let (_, bytes) = files.iter().find(|it| it.0 == name).expect(name);
        let text = String::from_utf8(bytes.clone()).unwrap();
        text.lines().map(|it| it.split(',').map(str::to_owned).collect()).collect()
    };
    let column = |name: &str, of: &str| -> Vec<String> {
        let table = table(name);
        let idx = table[0].iter().position(|it| it == of).unwrap_or_else(|| panic!("no {of}"));
        table[1..].iter().map(|it| it[idx].clone()).filter(|it| !it.is_empty()).collect()
    };
    for (ours, theirs) in [("step", "step"), ("loss", "loss"), ("learning_rate", "lr")] {
        assert_eq!(column("metrics.csv", ours), column("steps.csv", theirs));
    }
    for (ours, theirs) in [
        ("val_loss", "joint_log_loss"),
        ("val_acc", "joint_accuracy"),
        ("val_f1_score", "joint_macro_f1"),
        ("val_age_f1_score", "age_macro_f1"),
    ] {
        assert_eq!(column("metrics.csv", ours), column("epochs.csv", theirs));
    }
    for name in ["acc", "f1_score"] {
        let shares: Vec<f64> =
            column("metrics.csv", name).iter().map(|it| it.parse().unwrap()).collect();
        assert_eq!(shares.len(), 21);
        assert!(shares.iter().all(|it| (0.0..=1.0).contains(it)), "{shares:?}");
        assert!(shares.iter().any(|it| *it > 0.0), "{shares:?}");
    }
}

#[test]
fn folds_are_tracked_as_runs_of_a_group() {
    let sets = ["train.total=1 epochs", "track=[{ kind = \"wandb\" }]"];
    let experiment = with_folds(&experiment(&sets), Some(2));
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(&dir.path().join("folds"), &experiment.to_toml()).unwrap();
    let (manifest, callback) = (manifest(&experiment), StopsAt::never());
    kfold(&experiment, &manifest, &run, &Device::Cpu, &callback, |_, _, _, _| {}).unwrap();
    for fold in ["fold-0", "fold-1"] {
        let logs = std::fs::read_dir(run.dir().join(fold).join("wandb")).unwrap();
        let [log] = logs.map(|it| it.unwrap().path()).collect::<Vec<_>>().try_into().unwrap();
        let id = log.to_string_lossy().rsplit_once('-').unwrap().1.to_owned();
        let bytes = std::fs::read(log.join(format!("run-{id}.wandb"))).unwrap();
        // The group is field 6, the name is 8.
        let want = [&b"\x32\x05folds\x42\x0c"[..], b"folds/", fold.as_bytes()].concat();
        assert!(bytes.windows(want.len()).any(|it| it == want), "{fold}");
    }
}

#[test]
fn every_group_is_held_out_once_and_never_on_both_sides() {
    let experiment = with_folds(&experiment(&[]), Some(4));
    let manifest = manifest(&experiment);
    let mut held_out = vec![0; manifest.groups.len()];
    for sides in experiment.data.split.sides(&manifest, experiment.data.split_seed).unwrap() {
        let groups = |side: &[usize]| {
            side.iter()
                .map(|&it| manifest.examples[it].group)
                .collect::<std::collections::BTreeSet<_>>()
        };
        let (train, valid) = (groups(&sides.train), groups(&sides.valid));
        assert!(train.is_disjoint(&valid));
        valid.iter().for_each(|&it| held_out[it] += 1);
    }
    assert_eq!(held_out[..12], [1; 12]);
    assert_eq!(held_out[12..], [0; 4], "groups to score on are neither held out nor trained on");
}

/// The small experiment's groups, and a share of other groups who are only trained on.
const WITH_EXTRAS: &str = r#"data.source={ kind = "several", roots = [
    { source = { kind = "synthetic_people", n_people = 12, n_test = 4, size = [40, 32], wrong_labels = 0.1, seed = 5 } },
    { source = { kind = "synthetic_people", n_people = 6, n_test = 2, size = [48, 40], seed = 6 }, name = "extra", share = 0.5, use = "train" },
] }"#;

#[test]
fn extra_groups_are_trained_on_in_every_fold_and_never_held_out_or_scored() {
    let sets = ["train.total=1 epochs"];
    let plain = with_folds(&experiment(&sets), Some(3));
    let experiment = with_folds(&experiment(&[&sets[..], &[WITH_EXTRAS]].concat()), Some(3));
    let (manifest, plain_manifest) = (manifest(&experiment), manifest(&plain));
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(&dir.path().join("run"), &experiment.to_toml()).unwrap();
    let mut n_begun = 0;
    let begin = |fold_idx: usize, _: usize, it: &Plan, _: &Run| {
        n_begun += 1;
        let callback = StopsAt::never();
        let plain = Plan::new(&plain, &plain_manifest, fold_idx, &Device::Cpu, &callback).unwrap();
        let names = |of: &Plan, side: &[usize]| -> Vec<String> {
            side.iter().map(|&it| of.images[it].0.clone()).collect()
        };
        // The validation and the scored groups are the same as without the extra groups.
        assert_eq!(names(it, &it.sides.valid), names(&plain, &plain.sides.valid));
        assert_eq!(names(it, &it.test), names(&plain, &plain.test));
        let (own, extra): (Vec<String>, Vec<String>) =
            names(it, &it.sides.train).into_iter().partition(|it| !it.starts_with("extra/"));
        assert_eq!(own, names(&plain, &plain.sides.train));
        assert_eq!(extra.len(), 3 * 7);
        // The groups of loss and sampler include them, and so does an epoch.
        assert_eq!(it.phases[0].by_class.n_examples(), own.len() + extra.len());
        let epoch: Vec<usize> = it.batches(0).concat();
        assert!(epoch.iter().any(|&at| it.images[at].0.starts_with("extra/")));
    };
    let ended = kfold(&experiment, &manifest, &run, &Device::Cpu, &StopsAt::never(), begin);
    let KfoldEnded::Finished(outcome) = ended.unwrap() else { panic!("unfinished") };
    assert_eq!((n_begun, outcome.joined.n_groups), (3, 12));
    let oof = run.read("oof.csv").unwrap();
    assert_eq!(oof.lines().count(), 1 + 12 * 7);
    let test = run.read("test.csv").unwrap();
    assert!(!oof.contains("extra/") && !test.contains("extra/"));
    for fold_idx in 0..3 {
        let split = run.read(&format!("fold-{fold_idx}/split.csv")).unwrap();
        let extras: Vec<&str> = split.lines().filter(|it| it.starts_with("extra/")).collect();
        assert_eq!(extras.len(), 3);
        assert!(extras.iter().all(|it| it.ends_with(",train")), "{extras:?}");
    }
}

#[test]
fn run_on_several_roots_is_the_same_for_any_number_of_threads() {
    let sets = [WITH_EXTRAS, "train.total=1 epochs"];
    check_same(&train_with(&sets, 1, &[]), &train_with(&sets, 3, &[4]));
}
