//! Phases: each has its own settings and images, layers are restored, and a run stopped in any of them gives the
//! same bits.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use candle::{Device, Tensor};
use trainer::{
    Ended, FitError, Outcome, Plan, Run, fit,
    kfold::{check, with_folds},
};

use crate::small::{StopsAt, experiment, files, manifest, plan};

/// The head alone, then all layers on all images, then the head as it was. 7 steps per epoch of the 63 training
/// images, 10 of all 84.
const PHASES: &str = r#"phase=[
    { name = "head", total = "2 epochs", lr = 1e-2, freeze = [{ layers = "backbone" }], schedule = { kind = "restart", every = "1 epochs" } },
    { name = "body", total = "12 steps", data = "all", keep_optimizer = true, sizes = [{ until = "1 epochs", size = [24, 20] }] },
    { name = "put back", total = "0 steps", restore = [{ layers = "head", phase = "head" }] },
]"#;

/// Trains in a folder; stops after each number of steps in `stops` and resumes.
fn train_in(path: &Path, sets: &[&str], stops: &[usize]) -> Outcome {
    let experiment = experiment(sets);
    drop(Run::create(path, &experiment.to_toml()).unwrap());
    let go_on = |watch: &StopsAt| {
        let run = Run::open(path).unwrap();
        fit(&plan(&experiment), &run, watch).unwrap()
    };
    for &stop in stops {
        let ended = go_on(&StopsAt::after(stop));
        assert!(matches!(ended, Ended::Stopped { .. }), "the run is longer than {stops:?}");
    }
    match go_on(&StopsAt::never()) {
        Ended::Finished(it) => *it,
        Ended::Stopped { step } => panic!("stopped after step {step}"),
    }
}

fn train(sets: &[&str], stops: &[usize]) -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    train_in(&path, sets, stops);
    files(&path)
}

/// The rows of a table of a run, without the header.
fn table(path: &Path, name: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path.join(name)).unwrap();
    let rows = text.lines().skip(1);
    rows.map(|it| it.split(',').map(str::to_owned).collect()).collect()
}

/// The tensors of a checkpoint.
fn checkpoint(path: &Path, step: usize) -> BTreeMap<String, Tensor> {
    let file = path.join(format!("checkpoints/{step:08}.safetensors"));
    candle::safetensors::load(file, &Device::Cpu).unwrap().into_iter().collect()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn run_stopped_in_any_phase_gives_the_same_result() {
    for average in ["average={ kind = \"none\" }", "average={ kind = \"ema\", decay = 0.9 }"] {
        let sets = [PHASES, average];
        let whole = train(&sets, &[]);
        // Within the phases, at their ends, and before the head is put back.
        for stops in [&[3][..], &[14], &[20], &[26], &[7, 7, 1, 10, 1]] {
            let stopped = train(&sets, stops);
            assert_eq!(whole.len(), stopped.len());
            for (a, b) in whole.iter().zip(&stopped) {
                assert!(a == b, "{stops:?}: {} and {} differ", a.0, b.0);
            }
        }
    }
}

#[test]
fn restored_head_is_that_of_the_best_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let sets = [PHASES, "checkpoint.keep=99"];
    let experiment = experiment(&sets);
    drop(Run::create(&path, &experiment.to_toml()).unwrap());
    let go_on =
        |watch: &StopsAt| fit(&plan(&experiment), &Run::open(&path).unwrap(), watch).unwrap();
    go_on(&StopsAt::after(26));
    let body = checkpoint(&path, 26);
    let Ended::Finished(outcome) = go_on(&StopsAt::never()) else { panic!("unfinished") };
    assert_eq!((outcome.steps, outcome.best_step), (26, 26));
    let evaluated = table(&path, "epochs.csv");
    let best = evaluated.iter().take(2).rfind(|it| it[4] == "true").unwrap();
    let best = checkpoint(&path, best[0].parse().unwrap());
    let last = checkpoint(&path, 26);
    let (mut n_changed, mut n_head) = (0, 0);
    for (name, it) in last.iter().filter(|it| it.0.starts_with("model.")) {
        let is_head = name.starts_with("model.head.");
        let want = if is_head { &best } else { &body };
        assert!(numbers(it) == numbers(&want[name]), "{name}");
        n_changed += usize::from(is_head && numbers(it) != numbers(&body[name]));
        n_head += usize::from(is_head);
    }
    assert!(n_head > 0 && n_changed > 0, "the head did not change in between");
    // The bundle is that of the restored network.
    let bundle = infer::Bundle::open(&path.join("best"), &Device::Cpu).unwrap();
    for (name, it) in bundle.members[0].model.params().to_file().unwrap() {
        assert!(numbers(&it) == numbers(&last[&format!("model.{name}")]), "{name}");
    }
}

#[test]
fn layers_are_restored_as_they_were_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let phases = r#"phase=[
        { name = "a", total = "1 epochs" },
        { name = "b", total = "1 epochs" },
        { name = "c", total = "0 epochs", restore = [{ layers = "stem..stage1", phase = "a", at = "end" }, { layers = "head", phase = "b", at = "end" }] },
    ]"#;
    train_in(&path, &[phases, "checkpoint.keep=99"], &[]);
    let [first, last] = [7, 14].map(|it| checkpoint(&path, it));
    let is_same = |name: &str| numbers(&first[name]) == numbers(&last[name]);
    let fresh = plan(&experiment(&[phases])).model().unwrap().0;
    for (name, param) in fresh.params().named().filter(|it| it.1.kind.is_trainable()) {
        let is_restored = param.stage <= 1;
        assert_eq!(is_same(&format!("model.{name}")), is_restored, "{name}");
    }
}

#[test]
fn phase_on_all_data_is_trained_on_the_validation_set() {
    let settings = experiment(&[PHASES]);
    let mut manifest = manifest(&settings);
    let watch = StopsAt::never();
    let make = |manifest: &data::Manifest| {
        Plan::new(&settings, manifest, 0, &Device::Cpu, &watch).unwrap()
    };
    let plan = make(&manifest);
    let (train, valid) = (plan.sides.train.clone(), plan.sides.valid.clone());
    let set = |of: &[usize]| of.iter().copied().collect::<BTreeSet<usize>>();
    let all: BTreeSet<usize> = set(&[train.as_slice(), &valid].concat());
    assert_eq!((train.len(), valid.len(), all.len()), (63, 21, 84));
    assert_eq!(plan.phases.iter().map(|it| it.span.start).collect::<Vec<_>>(), [0, 14, 26]);
    assert_eq!([0, 1, 2, 3].map(|it| plan.epochs.n_steps(it)), [7, 7, 10, 2]);
    for epoch_idx in 0..2 {
        assert!(set(&plan.batches(epoch_idx).concat()).is_subset(&set(&train)));
    }
    let batches = plan.batches(2);
    assert_eq!(batches.len(), 10);
    let trained_on = set(&batches.concat());
    assert!(trained_on.is_subset(&all) && trained_on.len() == 80);
    assert_eq!(set(&plan.phases[1].train), all);
    // The sets themselves are the same, and so is what is validated.
    assert_eq!(plan.phases[0].train, train);
    // The epoch that the phase cuts short has only the batches that are trained on, on larger images.
    assert_eq!(plan.batches(3).len(), 2);
    let size = |epoch_idx| plan.pipeline_at(epoch_idx).0.size().unwrap();
    assert_eq!([1, 2, 3].map(size), [[32, 28], [24, 20], [32, 28]]);
    // Images that must not be trained on are not, wherever they are.
    manifest.examples[valid[0]].weight = 0.0;
    let without = make(&manifest);
    assert!(!without.phases[1].train.contains(&valid[0]) && without.sides.valid == valid);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let outcome = train_in(&path, &[PHASES], &[]);
    assert!(outcome.trained_on_valid);
    let report = std::fs::read_to_string(path.join("report.toml")).unwrap();
    assert!(report.contains("\ntrained_on_valid = true\n"), "{report}");
    // From then on, each evaluation counts as the best.
    let best: Vec<String> = table(&path, "epochs.csv").iter().map(|it| it[4].clone()).collect();
    assert_eq!(best[2..], ["true", "true"]);
}

#[test]
fn a_phase_is_like_a_run() {
    let constant = ["schedule={ kind = \"constant\" }", "train.warmup=0 steps"];
    let steps = |further: &[&str]| {
        let files = train(&[&constant, further].concat(), &[]);
        files.into_iter().find(|it| it.0 == "steps.csv").unwrap().1
    };
    let phases = |of_second: &str| {
        format!(
            "phase=[{{ name = \"a\", total = \"1 epochs\" }}, {{ name = \"b\", total = \"1 epochs\"{of_second} }}]"
        )
    };
    let whole = steps(&["train.total=2 epochs"]);
    assert!(steps(&["phase=[{ name = \"only\", total = \"2 epochs\" }]"]) == whole);
    // With the optimizer's state, two phases of the same settings are one.
    assert!(steps(&[&phases(", keep_optimizer = true")]) == whole);
    assert!(steps(&[&phases("")]) != whole, "the optimizer does not begin anew");
    // A phase has its own rates, in its own epochs.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let two = r#"phase=[
        { name = "a", total = "1 epochs", warmup = "2 steps" },
        { name = "b", total = "2 epochs", lr = 4e-3, schedule = { kind = "exponential", gamma = 0.5 } },
    ]"#;
    train_in(&path, &[&constant[..], &[two]].concat(), &[]);
    let rates: Vec<f64> =
        table(&path, "steps.csv").iter().map(|it| it[3].parse().unwrap()).collect();
    let want = [&[1e-3][..], &[2e-3; 6], &[4e-3; 7], &[2e-3; 7]].concat();
    assert_eq!(rates, want);
}

#[test]
fn run_without_progress_continues_with_the_next_phase() {
    let phases = r#"phase=[
        { name = "a", total = "5 epochs", lr = 1e-30, freeze = [{ layers = "norm" }] },
        { name = "b", total = "1 epochs" },
    ]"#;
    let sets = [phases, "train.patience=1"];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let outcome = train_in(&path, &sets, &[]);
    // Without any change, the second evaluation is no better than the first.
    assert_eq!((outcome.steps, outcome.best_step), (42, 42));
    let steps = table(&path, "steps.csv").into_iter().map(|it| it[0].parse::<usize>().unwrap());
    assert!(steps.eq((1..=14).chain(36..=42)));
    let whole = files(&path);
    for stops in [&[14][..], &[3, 11, 2]] {
        assert!(train(&sets, stops) == whole, "{stops:?}");
    }
}

#[test]
fn fast_run_takes_steps_of_each_phase() {
    let mut plan = plan(&experiment(&[PHASES]));
    assert_eq!((plan.epochs.total(), plan.phases.len()), (26, 3));
    let summary = plan.shorten().unwrap();
    let steps = "of 26 steps only 1 (phase `head`), 2 (after `train.warmup`), 14, 15 (phase `body`), \
                 16 (after `train.warmup`), 25 (after `phase[1].sizes[0]`), 26,";
    assert!(summary.contains(steps), "{summary}");
    let starts: Vec<usize> = plan.phases.iter().map(|it| it.span.start).collect();
    assert_eq!((plan.epochs.total(), starts), (7, vec![0, 3, 7]));
    let size = |epoch_idx| plan.pipeline_at(epoch_idx).0.size().unwrap();
    assert_eq!([2, 3, 5, 6].map(size), [[32, 28], [24, 20], [32, 28], [32, 28]]);
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(&dir.path().join("run"), "").unwrap();
    let ended = fit(&plan, &run, &StopsAt::never());
    assert!(matches!(ended, Ok(Ended::Finished(it)) if it.steps == 7));
    assert_eq!(run.read("epochs.csv").unwrap().lines().count(), 1 + 7);
}

#[test]
fn problems_of_phases_are_found_before_the_first_step() {
    let err = |phases: &str| {
        let experiment = experiment(&[&format!("phase=[{phases}]")]);
        let (manifest, watch) = (manifest(&experiment), StopsAt::never());
        let plan = Plan::new(&experiment, &manifest, 0, &Device::Cpu, &watch);
        plan.err().expect("no plan").to_string()
    };
    let first = "{ name = \"a\", total = \"1 epochs\" }";
    let restore =
        "{ name = \"b\", total = \"1 epochs\", restore = [{ layers = \"haed\", phase = \"a\" }] }";
    for (phases, want) in [
        (
            format!("{first}, {restore}"),
            "at `phase[1].restore[0].layers`: there is no `haed`: use `head`",
        ),
        (
            "{ name = \"a\", total = \"1 epochs\", warmup = \"9 steps\" }".to_owned(),
            "at `phase[0].warmup`: 9 steps are more than the run's 7",
        ),
        (
            format!(
                "{first}, {{ name = \"b\", total = \"1 epochs\", freeze = [{{ layers = \"stme\" }}] }}"
            ),
            "at `phase[1].freeze`: there is no `stme`",
        ),
        (
            format!(
                "{first}, {{ name = \"b\", total = \"3 steps\", sizes = [{{ until = \"40 %\", size = [8, 8] }}] }}"
            ),
            "at `phase[1].sizes`: a percentage needs whole epochs",
        ),
    ] {
        let err = err(&phases);
        assert!(err.starts_with(want), "{err}");
    }
    let folds = check(&with_folds(&experiment(&[PHASES]), None)).unwrap_err().to_string();
    assert!(folds.starts_with("at `phase[1].data`: \"all\" trains on the images"), "{folds}");
}

#[test]
fn run_does_not_resume_in_another_phase() {
    let phases = |n_epochs: usize| {
        format!(
            "phase=[{{ name = \"a\", total = \"{n_epochs} epochs\" }}, {{ name = \"b\", total = \"1 epochs\" }}]"
        )
    };
    let begun = experiment(&[&phases(1)]);
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(&dir.path().join("run"), &begun.to_toml()).unwrap();
    fit(&plan(&begun), &run, &StopsAt::after(9)).unwrap();
    for other in [phases(2), "phase=[{ name = \"a\", total = \"9 epochs\" }]".to_owned()] {
        let mut other = plan(&experiment(&[&other]));
        other.allow_changes = true;
        let err = fit(&other, &run, &StopsAt::never()).err().unwrap();
        assert!(err.is_refusal() && matches!(err, FitError::OtherPhases { .. }), "{err}");
        assert!(err.to_string().contains("9 steps are done and phase 2 has begun"), "{err}");
    }
    // The phase itself may be longer.
    let longer = phases(1).replace("\"b\", total = \"1", "\"b\", total = \"2");
    let mut longer = plan(&experiment(&[&longer]));
    longer.allow_changes = true;
    let Ended::Finished(outcome) = fit(&longer, &run, &StopsAt::never()).unwrap() else {
        panic!("unfinished")
    };
    assert_eq!(outcome.steps, 21);
}
