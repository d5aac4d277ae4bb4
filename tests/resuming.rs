//! A run resumes with the data and settings that it began with, or reports the differences.

use std::{fs, path::Path};

use candle::Device;
use data::{Manifest, Use};
use infer::Bundle;
use trainer::{
    Callback, Ended, EpochReport, Experiment, FitError, Ingredient, Outcome, Plan, Run, StepReport,
    fit,
    kfold::{KfoldEnded, kfold, with_folds},
};

use crate::small::{StopsAt, experiment, files, manifest};

fn plan_of(experiment: &Experiment, manifest: &Manifest, allow_changes: bool) -> Plan {
    let callback = StopsAt::never();
    let mut plan = Plan::new(experiment, manifest, 0, &Device::Cpu, &callback).unwrap();
    plan.allow_changes = allow_changes;
    plan
}

/// The position of an image on a side of the split of unchanged data.
fn of_side(experiment: &Experiment, manifest: &Manifest, is_valid: bool) -> usize {
    let sides = plan_of(experiment, manifest, false).sides;
    if is_valid { sides.valid[0] } else { sides.train[0] }
}

fn finished(ended: Ended) -> Outcome {
    match ended {
        Ended::Finished(it) => *it,
        Ended::Stopped { step } => panic!("stopped after step {step}"),
    }
}

/// A run that has been stopped after some steps.
fn begun(path: &Path, experiment: &Experiment, manifest: &Manifest, n_steps: usize) -> Run {
    let run = Run::create(path, &experiment.to_toml()).unwrap();
    let callback = StopsAt::after(n_steps);
    let ended = fit(&plan_of(experiment, manifest, false), &run, &callback).unwrap();
    assert!(matches!(ended, Ended::Stopped { .. }));
    run
}

fn relabel(manifest: &mut Manifest, at: usize) {
    let n_classes = manifest.task.n_classes();
    manifest.examples[at].class = (manifest.examples[at].class + 6) % n_classes;
}

#[test]
fn run_resumes_with_other_data_only_if_allowed() {
    let experiment = experiment(&[]);
    let original = manifest(&experiment);
    let at = of_side(&experiment, &original, false);
    let name = original.examples[at].name.clone();
    type Change = fn(&mut Manifest, usize);
    let changes: [(&str, Change); 4] = [
        ("1 image relabelled: `", relabel),
        ("1 image reweighted: `", |it, at| it.examples[at].weight = 0.5),
        ("1 image removed: `", |it, at| drop(it.examples.remove(at))),
        ("1 image with a different use: `", |it, at| it.examples[at].usage = Use::Train),
    ];
    for (want, change) in changes {
        let dir = tempfile::tempdir().unwrap();
        let run = begun(&dir.path().join("run"), &experiment, &original, 2);
        let before = files(run.dir());
        let mut changed = original.clone();
        change(&mut changed, at);
        let resume = |allow_changes: bool, callback: &StopsAt| {
            fit(&plan_of(&experiment, &changed, allow_changes), &run, callback)
        };
        let err = resume(false, &StopsAt::never()).err().unwrap();
        assert!(err.is_refusal() && matches!(err, FitError::OtherData { .. }), "{err}");
        assert!(err.to_string().contains(&format!("{want}{name}`")), "{err}");
        assert!(before == files(run.dir()), "a refused resume changes the run");

        let callback = StopsAt::after(1);
        resume(true, &callback).unwrap();
        let notes = callback.notes.lock().unwrap().join("\n");
        assert!(notes.contains(&format!("changed: {want}{name}`")), "{notes}");
        assert!(!notes.contains("are reset"), "the validation set is the same: {notes}");
        let until = fs::read(run.dir().join("data-until-2.csv")).unwrap();
        let first = before.iter().find(|it| it.0 == "data.csv").unwrap();
        assert!(until == first.1);
        // From the next checkpoint on, this is the data of the run, and the original data is a change.
        resume(false, &StopsAt::after(1)).unwrap();
        let back = plan_of(&experiment, &original, false);
        assert!(matches!(fit(&back, &run, &StopsAt::never()), Err(FitError::OtherData { .. })));
    }
}

/// A kill right after a change was allowed: the checkpoint still belongs to the earlier data.
#[test]
fn change_without_a_step_is_reported_again() {
    let experiment = experiment(&[]);
    let original = manifest(&experiment);
    let dir = tempfile::tempdir().unwrap();
    let run = begun(&dir.path().join("run"), &experiment, &original, 2);
    let checkpoints = files(&run.checkpoints());
    let at = of_side(&experiment, &original, false);
    let mut changed = original.clone();
    for _ in 0..2 {
        relabel(&mut changed, at);
        fit(&plan_of(&experiment, &changed, true), &run, &StopsAt::after(1)).unwrap();
        fs::remove_dir_all(run.checkpoints()).unwrap();
        fs::create_dir(run.checkpoints()).unwrap();
        for (name, bytes) in &checkpoints {
            fs::write(run.checkpoints().join(name), bytes).unwrap();
        }
        let err = fit(&plan_of(&experiment, &changed, false), &run, &StopsAt::never());
        let err = err.err().unwrap().to_string();
        assert!(err.contains("1 image relabelled"), "{err}");
    }
    // The data that the run began with is not a change.
    fit(&plan_of(&experiment, &original, false), &run, &StopsAt::after(1)).unwrap();
}

#[test]
fn groups_never_change_sides_even_if_changes_are_allowed() {
    let begins = experiment(&[]);
    let original = manifest(&begins);
    let dir = tempfile::tempdir().unwrap();
    let run = begun(&dir.path().join("run"), &begins, &original, 2);
    let other = experiment(&["data.split_seed=7"]);
    for allow_changes in [false, true] {
        let err = fit(&plan_of(&other, &original, allow_changes), &run, &StopsAt::never());
        let err = err.err().unwrap();
        assert!(err.is_refusal() && matches!(err, FitError::OtherSides { .. }), "{err}");
        let text = err.to_string();
        assert!(text.contains("on another side: `") && text.contains("data.split_seed"), "{text}");
    }
}

#[test]
fn data_change_is_reported_without_a_valid_data_csv() {
    let experiment = experiment(&[]);
    let original = manifest(&experiment);
    let dir = tempfile::tempdir().unwrap();
    let run = begun(&dir.path().join("run"), &experiment, &original, 2);
    let mut changed = original.clone();
    relabel(&mut changed, of_side(&experiment, &original, false));
    let text = run.read("data.csv").unwrap();
    run.write("data.csv", &text.replace(",pool,", ",score,")).unwrap();
    let err = fit(&plan_of(&experiment, &changed, true), &run, &StopsAt::never());
    let err = err.err().unwrap().to_string();
    assert!(err.contains("data.csv: the data is not what this run started with"), "{err}");
}

const BY_LOSS: &str = "eval.best_by={ kind = \"log_loss\" }";

#[test]
fn best_starts_anew_where_scores_are_not_comparable() {
    let begins = experiment(&[]);
    let original = manifest(&begins);
    let valid = of_side(&begins, &original, true);
    let mut relabelled = original.clone();
    relabel(&mut relabelled, valid);
    let by_loss = experiment(&[BY_LOSS]);
    for (why, experiment, changed) in [
        ("`eval.best_by` has changed", &by_loss, &original),
        ("the validation set has changed", &begins, &relabelled),
    ] {
        // 7 steps per epoch: the best so far is a macro F1 below 1, and no log loss is lower.
        let dir = tempfile::tempdir().unwrap();
        let run = begun(&dir.path().join("run"), &begins, &original, 8);
        let callback = StopsAt::never();
        let outcome = finished(fit(&plan_of(experiment, changed, true), &run, &callback).unwrap());
        let notes = callback.notes.lock().unwrap().join("\n");
        assert!(notes.contains(why) && notes.contains("are reset"), "{notes}");
        let epochs = run.read("epochs.csv").unwrap();
        let best: Vec<&str> =
            epochs.lines().skip(1).map(|it| it.split(',').nth(4).unwrap()).collect();
        assert_eq!(best[..2], ["true", "true"], "{epochs}");
        assert!(outcome.best_step >= 14, "{}", outcome.best_step);
    }
}

/// Steps are shorter here than writing takes.
#[test]
fn which_checkpoints_are_kept_is_a_function_of_the_settings() {
    let kept = |sets: &[&str], stops: &[usize]| {
        let sets = [&["train.total=2 epochs", "checkpoint.keep=4"], sets].concat();
        let experiment = experiment(&sets);
        let plan = plan_of(&experiment, &manifest(&experiment), false);
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(&dir.path().join("run"), &experiment.to_toml()).unwrap();
        for &stop in stops {
            let ended = fit(&plan, &run, &StopsAt::after(stop)).unwrap();
            assert!(matches!(ended, Ended::Stopped { .. }), "the run is longer than {stops:?}");
        }
        finished(fit(&plan, &run, &StopsAt::never()).unwrap());
        files(&run.checkpoints())
    };
    // By the clock after each step, too.
    let clock = "checkpoint.minutes=1e-9";
    // 7 steps per epoch, each with an evaluation.
    for (every, want) in [("1 steps", [11, 12, 13, 14]), ("3 steps", [7, 9, 12, 14])] {
        let every = format!("checkpoint.every={every}");
        let first = kept(&[&every], &[]);
        let names: Vec<&str> = first.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(names, want.map(|it| format!("{it:08}.safetensors")));
        for (sets, stops) in [
            (&[every.as_str()][..], &[][..]),
            (&[&every, clock], &[]),
            (&[&every], &[5, 3, 5]),
            (&[&every, clock], &[1, 6, 6]),
        ] {
            assert!(kept(sets, stops) == first, "{sets:?}, {stops:?}");
        }
    }
    // A soup takes none that an interruption asked for.
    let stopped = experiment(&["checkpoint.every=3 steps"]);
    let dir = tempfile::tempdir().unwrap();
    let run = begun(&dir.path().join("run"), &stopped, &manifest(&stopped), 5);
    assert_eq!(files(&run.checkpoints()).len(), 2);
    let last = Ingredient::last(run.dir(), 1).unwrap();
    assert!(last[0].to_string().ends_with(", step 3"), "{}", last[0]);
}

/// The owner of a fold that another process has taken over.
struct Overtaken(StopsAt);

impl Callback for Overtaken {
    fn progress(&self, _: &str, _: usize, _: usize) {}

    fn note(&self, text: &str) {
        self.0.note(text);
    }

    fn step(&self, report: &StepReport) {
        self.0.step(report);
    }

    fn epoch(&self, _: &EpochReport) {}

    fn should_stop(&self) -> bool {
        false
    }

    fn is_taken_over(&self) -> bool {
        true
    }
}

#[test]
fn evaluations_of_a_fold_that_was_taken_over_are_not_logged() {
    let experiment = experiment(&["train.total=2 epochs", "track=[{ kind = \"jsonl\" }]"]);
    let plan = plan_of(&experiment, &manifest(&experiment), false);
    let dir = tempfile::tempdir().unwrap();
    let logged = |name: &str, callback: &dyn Callback| {
        let run = Run::create(&dir.path().join(name), &experiment.to_toml()).unwrap();
        finished(fit(&plan, &run, callback).unwrap());
        let rows = run.read("metrics.jsonl").unwrap();
        (rows.lines().count(), rows.matches("\"val_loss\"").count())
    };
    assert_eq!(logged("own", &StopsAt::never()), (14, 2));
    assert_eq!(logged("stale", &Overtaken(StopsAt::never())), (12, 0));
}

/// A kill after the last step, before the final scores.
#[test]
fn run_without_steps_left_is_scored_by_the_new_metric() {
    let sets = ["train.total=1 epochs"];
    let begins = experiment(&sets);
    let original = manifest(&begins);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = Run::create(&path, &begins.to_toml()).unwrap();
    finished(fit(&plan_of(&begins, &original, false), &run, &StopsAt::never()).unwrap());
    fs::remove_file(path.join("report.toml")).unwrap();
    let other = experiment(&[sets[0], BY_LOSS]);
    let outcome = fit(&plan_of(&other, &original, true), &run, &StopsAt::never()).unwrap();
    assert_eq!(finished(outcome).best_step, 7);
    assert_eq!(Bundle::tag(&run.best()).unwrap(), "7");
}

/// A run of 14 steps whose later checkpoints are lost: it resumes from step 7.
#[test]
fn bundle_of_discarded_steps_is_not_the_best() {
    // With these settings, each evaluation is better than the one before.
    let sets = [BY_LOSS, "optim.lr=1e-3", "checkpoint.keep=9"];
    let begins = experiment(&sets);
    let original = manifest(&begins);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = begun(&path, &begins, &original, 14);
    let step = Bundle::tag(&run.best()).unwrap();
    fs::remove_file(run.checkpoints().join("00000014.safetensors")).unwrap();
    // With the same settings, the same steps lead to the same bundle.
    let whole = dir.path().join("whole");
    let other = Run::create(&whole, &begins.to_toml()).unwrap();
    let plan = plan_of(&begins, &original, false);
    finished(fit(&plan, &other, &StopsAt::never()).unwrap());
    assert_eq!(step, "14", "the bundle is not newer than the checkpoint");
    let copied = dir.path().join("copied");
    copy(&path, &copied);
    let run_again = Run::open(&copied).unwrap();
    let callback = StopsAt::never();
    finished(fit(&plan, &run_again, &callback).unwrap());
    assert!(!callback.notes.lock().unwrap().join("\n").contains("are reset"));
    assert!(files(&whole.join("best")) == files(&copied.join("best")));
    // With a tiny learning rate and frozen norms, no step is better than step 7.
    let frozen_norms = "train.freeze=[{ layers = \"norm\" }]";
    let slow = experiment(&[BY_LOSS, "optim.lr=1e-12", "checkpoint.keep=9", frozen_norms]);
    let callback = StopsAt::never();
    let outcome = finished(fit(&plan_of(&slow, &original, true), &run, &callback).unwrap());
    let notes = callback.notes.lock().unwrap().join("\n");
    assert!(
        notes.contains("the best bundle so far was that of step 7, but this is that of step 14"),
        "{notes}"
    );
    assert_eq!(Bundle::tag(&run.best()).unwrap(), outcome.best_step.to_string());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// A kill between a bundle and the checkpoint that refers to it, and one right after the checkpoint.
#[test]
fn staged_bundle_is_installed_with_its_checkpoint() {
    let begins = experiment(&[BY_LOSS]);
    let original = manifest(&begins);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = begun(&path, &begins, &original, 8);
    assert_eq!(Bundle::tag(&run.best()).unwrap(), "7");
    let of_seven = files(&run.best());
    // A bundle staged by discarded steps is not installed.
    let bundle = Bundle::open(&run.best(), &Device::Cpu).unwrap();
    bundle.stage(&run.best(), "14").unwrap();
    fit(&plan_of(&begins, &original, false), &run, &StopsAt::after(1)).unwrap();
    assert!(files(&run.best()) == of_seven);
    // The one that the newest checkpoint refers to is.
    fs::remove_dir_all(run.best()).unwrap();
    bundle.stage(&run.best(), "7").unwrap();
    fit(&plan_of(&begins, &original, false), &run, &StopsAt::after(1)).unwrap();
    assert!(files(&run.best()) == of_seven);
}

#[test]
fn cross_validation_does_not_resume_with_other_data() {
    let experiment = with_folds(&experiment(&["train.total=1 epochs"]), Some(3));
    let original = manifest(&experiment);
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(&dir.path().join("run"), &experiment.to_toml()).unwrap();
    let resume = |manifest: &Manifest, callback: &StopsAt| {
        kfold(&experiment, manifest, &run, &Device::Cpu, callback, |_, _, _, _| {})
    };
    let ended = resume(&original, &StopsAt::after(9)).unwrap();
    assert!(matches!(ended, KfoldEnded::Stopped { fold_idx: 1 }));
    let table = run.read("data.csv").unwrap();
    let folds: Vec<&str> = table.lines().skip(1).map(|it| it.rsplit(',').next().unwrap()).collect();
    let of = |side: &str| folds.iter().filter(|it| **it == side).count();
    assert_eq!([of("fold 0"), of("fold 1"), of("fold 2"), of("test")], [28, 28, 28, 28], "{table}");
    let mut changed = original.clone();
    relabel(&mut changed, 3);
    let err = resume(&changed, &StopsAt::never()).err().unwrap();
    assert!(err.is_refusal() && matches!(err, FitError::OtherFolds { .. }), "{err}");
    assert!(err.to_string().contains("1 image relabelled: `"), "{err}");
    resume(&original, &StopsAt::never()).unwrap();
}

#[test]
fn folds_are_joined_only_if_each_image_is_held_out_once() {
    let experiment = with_folds(&experiment(&["train.total=1 epochs"]), Some(2));
    let original = manifest(&experiment);
    let dir = tempfile::tempdir().unwrap();
    let run = Run::create(&dir.path().join("run"), &experiment.to_toml()).unwrap();
    let join = || {
        let callback = StopsAt::never();
        kfold(&experiment, &original, &run, &Device::Cpu, &callback, |_, _, _, _| {})
    };
    join().unwrap();
    let names: Vec<String> = [0, 1].map(|it| format!("fold-{it}/valid.csv")).into();
    let tables: Vec<String> = names.iter().map(|it| run.read(it).unwrap()).collect();
    let (first, rest) = tables[0].trim_end().rsplit_once('\n').unwrap();
    let image = rest.split(',').next().unwrap();
    for (name, text, want) in [
        (0, format!("{first}\n"), format!("1 missing: `{image}`")),
        (1, format!("{}{rest}\n", tables[1]), format!("1 duplicated: `{image}`")),
        (0, tables[0].replace(image, "nobody/x.jpg"), "1 not in the data: `nobody/x.jpg`".into()),
    ] {
        run.write(&names[name], &text).unwrap();
        let err = join().err().unwrap().to_string();
        assert!(err.contains(&want), "{err}");
        run.write(&names[name], &tables[name]).unwrap();
    }
    join().unwrap();
}

/// Frozen norms keep their running statistics, and so does the average of the weights.
#[test]
fn average_has_the_statistics_of_frozen_norms() {
    let experiment = experiment(&[
        "average={ kind = \"swa\", from = \"2 epochs\" }",
        "train.freeze=[{ layers = \"norm\", from = \"1 epochs\" }]",
    ]);
    let original = manifest(&experiment);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let run = Run::create(&path, &experiment.to_toml()).unwrap();
    finished(fit(&plan_of(&experiment, &original, false), &run, &StopsAt::never()).unwrap());
    let file = path.join("checkpoints/00000021.safetensors");
    let tensors = candle::safetensors::load(file, &Device::Cpu).unwrap();
    let numbers = |name: &str| tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let mut n_frozen = 0;
    for name in tensors.keys().filter_map(|it| it.strip_prefix("model.")) {
        if name.ends_with(".running_mean") || name.ends_with(".running_var") {
            let (ours, average) =
                (numbers(&format!("model.{name}")), numbers(&format!("average.{name}")));
            assert!(ours == average, "{name}: {:?}, not {:?}", average[0], ours[0]);
            assert!(
                ours.iter().any(|it| *it != 0.0 && *it != 1.0),
                "{name} has its initial values"
            );
            n_frozen += 1;
        }
    }
    assert!(n_frozen > 0);
}
