//! Runs from start to end, the commands that use them, and interrupted runs.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use expect_test::expect;

use crate::bench::{Bench, SMALL, TRAIN, lasting, text};

#[test]
fn train_predict_and_submit_work_and_a_truncated_bundle_is_refused() {
    let bench = Bench::new();
    let out = bench.ok(&["train", "small.toml", "--set", "run.name=a"]);
    assert!(out.contains("macro F1") && out.contains("bundle: runs/a/best"), "{out}");
    for name in [
        "config.toml",
        "split.csv",
        "steps.csv",
        "epochs.csv",
        "timing.csv",
        "valid.csv",
        "report.toml",
    ] {
        assert!(bench.path("runs/a").join(name).is_file(), "{name}");
    }

    let out = bench.ok(&["submit", "runs/a", "--images", "people/eval"]);
    assert_eq!(out, "21 rows: output.csv\n");
    let (info, submission) = (
        fs::read_to_string(bench.path("people/eval/info.csv")).unwrap(),
        fs::read_to_string(bench.path("output.csv")).unwrap(),
    );
    let ids = |text: &str| {
        text.lines().map(|it| it.split(',').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&info), ids(&submission));
    assert!(
        submission
            .lines()
            .skip(1)
            .all(|it| it.split(',').nth(1).unwrap().parse::<u32>().unwrap() < 18)
    );

    bench.ok(&["predict", "latest", "--images", "people/eval/images", "-o", "p.csv"]);
    let table = fs::read_to_string(bench.path("p.csv")).unwrap();
    assert!(table.starts_with("image,predicted,class,worn male <30,worn male 30-59,"), "{table}");
    assert_eq!(table.lines().count(), 22);

    // The resolved config reproduces the run.
    bench.ok(&["train", "runs/a/config.toml", "--set", "run.name=b"]);
    for name in ["steps.csv", "epochs.csv", "valid.csv", "report.toml"] {
        let read = |run: &str| fs::read(bench.path(run).join(name)).unwrap();
        assert!(read("runs/a") == read("runs/b"), "{name} differs");
    }
    bench.fails(&["train", "small.toml", "--set", "run.name=a"], expect!["error: runs/a: a run of this name exists: choose another name with `--set run.name=NAME`, or resume it with `--resume runs/a`"]);
    // Before the data is read: there is none.
    let taken = ["--set", "run.name=a", "--set", "data.source.root=nowhere"];
    for command in ["train", "kfold"] {
        let err = text(&bench.run(&[&[command, "small.toml"][..], &taken].concat()).stderr);
        assert!(err.starts_with("error: runs/a: a run of this name exists: "), "{err}");
    }
    bench.fails(
        &["train", "small.toml", "--set", "train.batch_size=2", "--set", "train.accumulate=3"],
        expect!["error: at `train.accumulate`: must be at most 2, the smallest batch size"],
    );
    bench.fails(
        &["train", "--resume", "runs/a"],
        expect!["error: runs/a: this run is finished: to train longer, start a new one with a longer `train.total`"],
    );
    bench.fails(
        &["train", "--resume", "runs/absent"],
        expect!["error: runs/absent: there is no run here: name a folder of `runs/`, or `latest`"],
    );

    let best = bench.path("runs/a/best");
    let mut weights = fs::read_dir(&best).unwrap().map(|it| it.unwrap().path());
    let weights = weights.find(|it| it.extension().is_some_and(|it| it == "safetensors")).unwrap();
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    let output = bench.run(&["submit", "runs/a", "--images", "people/eval", "-o", "other.csv"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err.contains("weights-0-") && err.contains("this is not a complete `.safetensors`"),
        "{err}"
    );
    assert!(!bench.path("other.csv").exists());

    fs::write(&weights, whole).unwrap();
    bench.fails(&["submit", "runs/a", "--images", "absent"], expect!["error: absent: No such file or directory (os error 2): name an image, or a folder of images"]);
    bench.fails(
        &["submit", "people", "--images", "people/eval"],
        expect![
            "error: people: this is not a bundle: name the folder of a `bundle.toml`, or a run"
        ],
    );
}

#[test]
fn the_newest_run_is_that_of_the_folder_that_the_command_sets() {
    let bench = Bench::new();
    let set = ["--set", "run.dir=other"];
    let named = ["--set", "run.name=a", "--set", "train.total=1 steps"];
    bench.ok(&[&TRAIN[..], &set, &named].concat());
    bench.fails(
        &["predict", "latest", "--images", "people/eval/images"],
        expect!["error: latest: there are no runs in `runs`, the folder that `run.dir` sets: train first, or name the folder of a run"],
    );
    bench.fails(
        &["evaluate", "latest", "--config", "small.toml", "-o", "scores"],
        expect!["error: latest: there are no runs in `runs`, the folder that `run.dir` sets: train first, or name the folder of a run"],
    );
    for run in ["latest", "a"] {
        bench.fails(
            &[&["train", "--resume", run][..], &set].concat(),
            expect!["error: other/a: this run is finished: to train longer, start a new one with a longer `train.total`"],
        );
    }
    bench.fails(
        &[&["kfold", "run", "latest"][..], &set].concat(),
        expect![
            "error: other/a: this is a single run: resume it with `maskfit train --resume other/a`"
        ],
    );
    let config = SMALL.to_owned() + "\n[run]\ndir = \"other\"\n";
    fs::write(bench.path("other.toml"), config).unwrap();
    let side = ["--config", "other.toml", "--side", "valid", "-o", "scores"];
    bench.ok(&[&["evaluate", "latest"][..], &side].concat());
    let report = fs::read_to_string(bench.path("scores/report.toml")).unwrap();
    assert!(report.contains("\"other/a\""), "{report}");
}

/// Waits until a file is there.
pub(crate) fn wait_for(path: &Path) {
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < Duration::from_secs(120), "{} was never written", path.display());
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn signal(name: &str, id: u32) {
    let status = Command::new("kill").args([name, &id.to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn unnamed_runs_started_in_the_same_second_have_separate_folders() {
    let bench = Bench::new();
    let begin = || {
        let mut command = bench.command(&TRAIN);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // Started together, so that most of them start in the same second.
    let all: Vec<_> = (0..4).map(|_| begin()).collect();
    for child in all {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let runs: Vec<_> =
        fs::read_dir(bench.path("runs")).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(runs.len(), 4, "{runs:?}");
    assert!(runs.iter().all(|it| it.join("report.toml").is_file()), "{runs:?}");
}

#[test]
fn ctrl_c_stops_after_a_step_and_the_run_can_be_resumed() {
    let bench = Bench::new();
    let long = ["train", "small.toml", "--set", "train.total=12 epochs", "--set"];
    bench.ok(&[&long[..], &["run.name=whole"]].concat());
    let mut child = bench
        .command(&[&long[..], &["run.name=stopped"]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&bench.path("runs/stopped/best/bundle.toml"));
    signal("-INT", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(
        !bench.path("runs/stopped/report.toml").exists(),
        "the run finished before it was stopped"
    );
    bench.fails(
        &["train", "--resume", "runs/stopped", "--set", "run.name=elsewhere"],
        expect!["error: at `run.name`: a resumed run stays in its folder: leave it out of `--set`"],
    );
    bench.ok(&["train", "--resume", "runs/stopped"]);
    assert!(lasting(&bench.path("runs/whole")) == lasting(&bench.path("runs/stopped")));
}

#[test]
fn cross_validation_killed_in_its_second_fold_is_resumed_bit_exactly() {
    let bench = Bench::new();
    let args = ["kfold", "small.toml", "--folds", "3", "--set", "train.total=6 epochs", "--set"];
    bench.ok(&[&args[..], &["run.name=whole"]].concat());
    let mut child = bench
        .command(&[&args[..], &["run.name=killed"]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&bench.path("runs/killed/claims/fold-1.1.run/best/bundle.toml"));
    signal("-KILL", child.id());
    child.wait().unwrap();
    assert!(!bench.path("runs/killed/fold-1").exists(), "the fold finished before it was killed");
    bench.ok(&["kfold", "--resume", "runs/killed"]);
    for name in ["report.toml", "oof.csv"] {
        let read = |run: &str| fs::read(bench.path(run).join(name)).unwrap();
        assert!(read("runs/whole") == read("runs/killed"), "{name} differs");
    }
    for fold in 0..3 {
        let run = |name: &str| lasting(&bench.path(&format!("runs/{name}/fold-{fold}")));
        assert!(run("whole") == run("killed"), "fold {fold} differs");
    }
    // The predictions of all folds are averaged.
    bench.ok(&["submit", "runs/whole", "--images", "people/eval"]);
}

#[test]
fn mixed_batch_is_drawn() {
    let bench = Bench::new();
    let mix = "augment.mix=[{ kind = \"mixup\", at_least_half = true }]";
    let mixed = ["data", "mixed", "small.toml", "--set", mix, "-o", "sheet.png", "--step"];
    let out = bench.ok(&[&mixed[..], &["1"]].concat());
    assert_eq!(out.lines().filter(|it| it.contains(" + ")).count(), 8, "{out}");
    // Eight images in two rows, with numbers and labels below.
    let sheet = image::open(bench.path("sheet.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (1292, 660));
    fs::remove_file(bench.path("sheet.png")).unwrap();
    let late = [&mixed[..], &["99"]].concat();
    bench.fails(&late, expect!["error: --step: the run has steps 0 to 9, not 99"]);
}

#[test]
fn help_and_lists_are_complete() {
    let bench = Bench::empty();
    let help = bench.ok(&["--help"]);
    let commands = ["train", "kfold", "submit", "predict", "compare", "labels", "data", "list"];
    for command in commands.into_iter().chain(["weights", "bench"]) {
        assert!(help.contains(command), "{help}");
    }
    expect![[r#"
        heads (head)
          joint
              One linear classifier over the joint classes, with optional hidden layers.
              activation = "relu", depth = 0, dropout = 0.2, init = "default",
              width = 512
          factored
              One classifier per factor of the task; their probabilities are multiplied.
              activation = "relu", depth = 0, dropout = 0.2, init = "default",
              width = 512
          branched
              As `factored`, with a copy of the last convolution stage for each factor.
              activation = "relu", depth = 0, dropout = 0.2, init = "default",
              width = 512
          cosine
              Cosine similarity between the features and a weight vector per class; the
              losses `arcface` and `ldam`, which add the margins, need this head.
              by = "joint", dropout = 0.2, scale = 30.0
          bins
              As `factored`, with a numeric factor, such as an age, as a distribution
              over whole numbers, which is cut into ranges at inference.
              activation = "relu", cuts = [], decide = "mass", depth = 0, dropout = 0.2,
              factor = "", init = "default", max = 60, min = 0, width = 512
          regression
              As `factored`, with regression of the number of a numeric factor, such as
              an age: auxiliary to its ranges, or cut into them.
              activation = "relu", auxiliary = true, center = 40.0, cuts = [],
              depth = 0, dropout = 0.2, factor = "", init = "default", scale = 10.0,
              weight = 0.001, width = 512
          sigmoid
              One independent binary classifier per joint class.
              activation = "relu", depth = 0, dropout = 0.2, init = "default",
              width = 512
          multi_sample_dropout
              As `joint`, trained on several dropout masks at once (Inoue, 2019).
              dropout = 0.5, init = "default", mean = "loss", samples = 5
    "#]]
    .assert_eq(&bench.ok(&["list", "heads"]));
    assert!(bench.ok(&["list"]).contains("cross_entropy"));
    let metrics = bench.ok(&["list", "metrics"]);
    assert!(metrics.contains("absent = \"skip\"") && metrics.contains("bins = 15"), "{metrics}");
    let began = Instant::now();
    let models = bench.ok(&["list", "models"]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // Its weights are below a network.
    let network = |name: &str| {
        let lines = models.lines().skip_while(|it| !it.starts_with(name));
        lines.take(2).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        network("network, ").lines().next(),
        Some("network, weights         params  GMACs  size   crop  filter    mean/std")
    );
    expect![[r#"
        tf_efficientnet_lite0    4.65 M   0.39   224  0.875  bicubic   inception (0.5)
          in1k"#]]
    .assert_eq(&network("tf_efficientnet_lite0"));
    expect![[r#"
        efficientnet_b7         66.35 M  37.75   600  0.949  bicubic   imagenet
          none"#]]
    .assert_eq(&network("efficientnet_b7"));
    bench.fails(&["list", "cheeses"], expect!["error: there is no registry `cheeses`: expected one of: sources, splits, samplers, transforms, mixes, statistics, views, models, heads, losses, class-weights, optimizers, stage-rates, schedules, averages, clips, metrics, submissions, trackers, combinations, calibrations, recipes"]);
}

#[test]
fn runs_are_compared_only_on_the_same_images() {
    let bench = Bench::new();
    let train = |name: &str, set: &str| {
        bench.ok(&[&TRAIN[..], &["--set", &format!("run.name={name}"), "--set", set]].concat());
    };
    train("a", "optim.lr=2e-3");
    train("b", "optim.lr=1e-6");
    train("other", "data.split.ratio=0.5");
    let valid = fs::read_to_string(bench.path("runs/a/valid.csv")).unwrap();
    assert!(valid.starts_with("image,group,truth,predicted,worn male <30,"), "{valid}");
    let report = fs::read_to_string(bench.path("runs/a/report.toml")).unwrap();
    let report: toml::Table = report.parse().unwrap();
    let classes = report["valid"]["classes"]["joint"].as_array().unwrap();
    assert_eq!(classes.len(), 18);
    assert_eq!(classes[0]["name"].as_str(), Some("worn male <30"));
    let gender = &report["valid"]["scores"]["gender"];
    assert!(
        gender["expected_calibration_error"].is_float() && gender["macro_f1_interval"].is_array()
    );

    let itself = bench.ok(&["compare", "runs/a", "runs/a"]);
    for want in ["  +0.0000  ", "  [+0.0000, +0.0000]\n", "0.500"] {
        assert!(itself.contains(want), "{want}: {itself}");
    }
    let out = bench.ok(&["compare", "runs/a", "runs/b", "--by", "log_loss"]);
    assert!(out.contains("A: runs/a\nB: runs/b") && out.contains("worn male <30"), "{out}");
    // There are two genders, so that top-2 accuracy says nothing about them.
    let top = bench.ok(&["compare", "runs/a", "runs/b", "--by", "top_k"]);
    let first = |it: &str| top.lines().any(|line| line.split(' ').next() == Some(it));
    assert!(first("top_2") && first("mask") && first("age") && !first("gender"), "{top}");
    bench.fails(
        &["compare", "runs/a", "runs/b", "--by", "{ kind = \"top_k\", k = 18 }"],
        expect!["error: `top_18` of 18 classes is always 1: choose a smaller `k`, or another metric by `--by`"],
    );
    let sides = bench.ok(&["compare", "--a", "runs/a", "runs/b", "--b", "runs/b"]);
    assert!(sides.contains("A: runs/a, runs/b\nB: runs/b"), "{sides}");

    bench.fails(
        &["compare", "runs/a"],
        expect![
            "error: expected two or more runs, or the runs of two sides: --a RUN... --b RUN..."
        ],
    );
    bench.fails(
        &["compare", "runs/a", "runs/b", "--test"],
        expect!["error: runs/a: there is no test.csv: its data has no test set: leave out --test"],
    );
    bench.fails(
        &["compare", "runs/a", "runs/b", "--by", "mae"],
        expect!["error: `mae` needs predicted numbers, which not every run has a head for"],
    );
    let err = text(&bench.run(&["compare", "runs/a", "runs/other"]).stderr);
    let begin = "have different images: only in the first: ";
    assert!(err.contains(begin) && err.contains(" (`"), "{err}");
    let err = text(&bench.run(&["compare", "runs/a", "runs/b", "--by", "cheese"]).stderr);
    assert!(err.contains("must be one of macro_f1, accuracy"), "{err}");
    let best_by = ["--set", "eval.best_by={ kind = \"mae\" }"];
    bench.fails(&[&TRAIN[..], &best_by].concat(), expect!["error: at `eval.best_by`: `mae` scores predicted numbers, but the head `factored` predicts none: choose another"]);
    let years = ["--set", "run.name=years", "--set", "head={ kind = \"regression\" }"];
    bench.ok(&[&TRAIN[..], &best_by, &years].concat());
    let valid = fs::read_to_string(bench.path("runs/years/valid.csv")).unwrap();
    assert!(
        valid.starts_with("image,group,truth,predicted,number,predicted_number,worn male <30,"),
        "{valid}"
    );
    // The number is that of one factor, so there is one row.
    let out = bench.ok(&["compare", "runs/years", "runs/years", "--by", "mae"]);
    let rows: Vec<&str> = out.lines().filter(|it| it.contains("  +0.0000  ")).collect();
    assert!(rows.len() == 1 && rows[0].starts_with("age "), "{out}");
}

#[test]
fn likely_label_errors_are_listed_and_decisions_are_applied() {
    let bench = Bench::new();
    bench.ok(&["kfold", "small.toml", "--folds", "2", "--set", "run.name=folds"]);
    let before = fs::read(bench.path("people/train/train.csv")).unwrap();
    let out = bench.ok(&["labels", "runs/folds", "-o", "issues"]);
    assert!(out.contains("56 images of 8 people"), "{out}");
    assert!(out.contains("gender:") && out.contains("among the labels of 8 people"), "{out}");
    assert!(out.contains("mask:") && out.contains("among the labels of 56 images"), "{out}");
    let table = fs::read_to_string(bench.path("issues/labels.csv")).unwrap();
    assert!(table.starts_with("group,image,factor,given,suggested,score,decision\n"), "{table}");
    assert!(fs::read(bench.path("issues/sheet.png")).unwrap().starts_with(b"\x89PNG"));
    assert!(
        fs::read(bench.path("people/train/train.csv")).unwrap() == before,
        "the data was changed"
    );
    bench.fails(
        &["labels", "runs/folds", "-o", "issues"],
        expect!["error: issues/labels.csv: already exists, perhaps reviewed: choose a new folder"],
    );
    fs::create_dir(bench.path("mine")).unwrap();
    fs::write(bench.path("mine/sheet.png"), "mine").unwrap();
    bench.fails(
        &["labels", "runs/folds", "-o", "mine"],
        expect!["error: mine/sheet.png: already exists: choose a new folder"],
    );

    // Decisions on the age label of the first person.
    let people: Vec<String> = fs::read_dir(bench.path("people/train/images"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    let person = people.iter().min().unwrap();
    let age: u32 = person.rsplit('_').next().unwrap().parse().unwrap();
    let given = ["<30", "30-59", ">=60"][usize::from(age >= 30) + usize::from(age >= 60)];
    let header = table.lines().next().unwrap();
    let row = |decision: &str| {
        format!("{header}\n{person},{person}/normal.jpg,age,{given},{given},0.1,{decision}\n")
    };
    let check = ["data", "check", "small.toml", "--set", "data.reviewed=['reviewed.csv']"];
    for (decision, n) in [("drop", 55), ("keep", 56), ("", 56), ("weight 0", 56), ("fix", 56)] {
        fs::write(bench.path("reviewed.csv"), row(decision)).unwrap();
        let out = bench.ok(&check);
        assert!(out.contains(&format!("{n} images of 8 people")), "{decision}: {out}");
    }
    fs::write(bench.path("reviewed.csv"), row("perhaps")).unwrap();
    bench.fails(&check, expect!["error: reviewed.csv: line 2: unknown decision `perhaps`: write `fix`, `drop`, `keep` or `weight 0.5`"]);
    fs::remove_file(bench.path("reviewed.csv")).unwrap();
    bench.fails(&check, expect!["error: reviewed.csv: No such file or directory (os error 2): `data.reviewed` names tables of `maskfit labels`"]);
}

#[test]
fn unwritable_folder_is_refused() {
    let bench = Bench::new();
    fs::write(bench.path("runs"), b"a file where the folder should be").unwrap();
    let args = ["train", "small.toml", "--set", "run.name=a"];
    bench.fails(&args, expect!["error: runs/a: Not a directory (os error 20)"]);
}

#[test]
fn resuming_from_another_folder_names_the_original_folder() {
    let bench = Bench::new();
    bench.ok(&["train", "small.toml", "--set", "run.name=a", "--set", "train.total=1 steps"]);
    fs::remove_file(bench.path("runs/a/report.toml")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let run = bench.path("runs/a");
    let error = |args: &[&str]| {
        let output = bench.command(args).arg(&run).current_dir(elsewhere.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let err = text(&output.stderr);
        let folder = |path: &Path| path.canonicalize().unwrap().display().to_string();
        let err = err.replace(&folder(elsewhere.path()), "ELSEWHERE");
        err.replace(&folder(&bench.path(".")), "START").trim_end().to_owned()
    };
    let begin = "error: START/runs/a/config.toml: `data.source.root` is `people/train`, which does not exist \
                 relative to ELSEWHERE: paths are relative to the folder that a run is started in: ";
    let set =
        "; or `train --resume` with `--set data.source.root=DIR --allow-changes` if it has moved";
    assert_eq!(
        error(&["train", "--resume"]),
        format!("{begin}this run was started in START: `cd START` first{set}")
    );
    // With that path it can be resumed.
    let root = format!("data.source.root={}", bench.path("people/train").display());
    let args = ["train", "--set", &root, "--allow-changes", "--resume"];
    let output = bench.command(&args).arg(&run).current_dir(elsewhere.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    fs::remove_file(bench.path("runs/a/report.toml")).unwrap();
    // If the data cannot be found, no folder is named.
    let config = fs::read_to_string(bench.path("runs/a/config.toml")).unwrap();
    let people = bench.path("people/train").display().to_string();
    fs::write(bench.path("runs/a/config.toml"), config.replace(&people, "people/train")).unwrap();
    fs::rename(bench.path("people"), bench.path("moved")).unwrap();
    assert_eq!(
        error(&["train", "--resume"]),
        format!("{begin}`cd` to where this run was started, or put the data back there{set}")
    );
    // Commands that only read it take another place for themselves.
    let root = format!("data.source.root={}", bench.path("moved/train").display());
    for command in [
        &["labels", "-o", "issues"][..],
        &["explain", "--side", "valid", "--n", "2", "-o", "maps"],
        &["evaluate", "--side", "valid", "-o", "scores"],
    ] {
        let err = error(command);
        assert!(err.ends_with("; or `--set data.source.root=DIR` if it has moved"), "{err}");
        let args = [command, &["--set", &root]].concat();
        let output = bench.command(&args).arg(&run).current_dir(elsewhere.path()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}
