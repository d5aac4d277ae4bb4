//! The program from outside: what a person types, and what comes back.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failure")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use expect_test::{Expect, expect};
use tempfile::TempDir;

/// A folder with a small experiment and people drawn for it.
struct Bench {
    dir: TempDir,
}

const SMALL: &str = r#"# A tiny network on a few people.
[data]
source = { kind = "mask_profiles", root = "people/train" }
split = { kind = "profile", ratio = 0.3 }

[augment]
train = [{ kind = "random_crop", size = [32, 24] }]
eval = [{ kind = "center_crop", size = [32, 24] }]

[model]
backbone = { kind = "efficientnet", variant = "lite0", width = 0.25, depth = 0.3 }

[train]
total = "2 epochs"
batch_size = 8
"#;

impl Bench {
    fn new() -> Bench {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        fs::write(bench.path("small.toml"), SMALL).unwrap();
        bench
            .ok(&["data", "people", "people", "--people", "8", "--scored", "3", "--size", "40x32"]);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_maskfit"));
        command.args(args).current_dir(self.dir.path()).env("MASKFIT_CACHE", self.path("cache"));
        command.env_remove("RUST_BACKTRACE");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed, and returns what it prints.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{args:?}\n{out}\n{err}");
        out
    }

    /// Runs a command that must fail with one message, and leave nothing behind.
    #[track_caller]
    fn fails(&self, args: &[&str], want: Expect) {
        let before = self.names();
        let output = self.run(args);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}\n{err}");
        assert_eq!(err.matches("error:").count(), 1, "{err}");
        want.assert_eq(err.trim_end());
        assert_eq!(self.names(), before, "something was left behind");
    }

    /// Everything below the folder but the cache.
    fn names(&self) -> Vec<PathBuf> {
        let mut names = Vec::new();
        let mut todo = vec![self.dir.path().to_owned()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && path != self.path("cache") {
                    todo.push(path.clone());
                }
                names.push(path);
            }
        }
        names.retain(|it| !it.starts_with(self.path("cache")));
        names.sort();
        names
    }

    /// A file of one of the drawn people.
    fn picture(&self, person: usize, name: &str) -> PathBuf {
        let images = self.path("people/train/images");
        let mut people: Vec<PathBuf> =
            fs::read_dir(images).unwrap().map(|it| it.unwrap().path()).collect();
        people.sort();
        people[person].join(name)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const TRAIN: [&str; 2] = ["train", "small.toml"];

#[test]
fn a_folder_that_is_not_there() {
    Bench::new()
        .fails(&["train", "small.toml", "--set", "data.source.root=nowhere"], expect!["error: nowhere/train.csv: No such file or directory (os error 2): `data.source.root` is to be the folder of `train.csv` and `images/`"]);
}

#[test]
fn a_table_without_rows() {
    let bench = Bench::new();
    fs::write(bench.path("people/train/train.csv"), "").unwrap();
    bench.fails(
        &TRAIN,
        expect![[r#"
        error: people/train: 1 thing is wrong with the data:
          train.csv: is empty: put the header `id,gender,race,age,path` and the rows there"#]],
    );
}

#[test]
fn a_table_without_a_column() {
    let bench = Bench::new();
    let path = bench.path("people/train/train.csv");
    let table = fs::read_to_string(&path).unwrap();
    fs::write(path, table.replace("gender", "sex")).unwrap();
    bench.fails(&TRAIN, expect![[r#"
        error: people/train: 1 thing is wrong with the data:
          train.csv: has no column `gender` (it has id, sex, race, age, path): the header is `id,gender,race,age,path`"#]]);
}

#[test]
fn pictures_that_are_damaged_in_every_way() {
    let bench = Bench::new();
    let whole = fs::read(bench.picture(0, "mask1.jpg")).unwrap();
    fs::write(bench.picture(0, "mask1.jpg"), &whole[..whole.len() - 300]).unwrap();
    fs::remove_file(bench.picture(1, "mask2.jpg")).unwrap();
    fs::write(bench.picture(1, "mask2.png"), b"").unwrap();
    fs::write(bench.picture(2, "normal.jpg"), b"a text file").unwrap();
    fs::remove_file(bench.picture(3, "mask3.jpg")).unwrap();
    bench.fails(&TRAIN, expect![[r#"
        error: people/train: 4 things are wrong with the data:
          images/000001_female_Drawn_23/mask1.jpg: the picture is cut off: replace the file, or leave its person out by a label fix
          images/000002_male_Drawn_20/mask2.png: the file is empty: replace the file, or leave its person out by a label fix
          images/000003_female_Drawn_58/normal.jpg: this is no picture: it begins like none of JPEG, PNG, WebP, GIF, BMP and TIFF: replace the file, or leave its person out by a label fix
          images/000004_male_Drawn_43/mask3: is missing: put the picture there, or leave the person out by a label fix"#]]);
}

#[test]
fn an_age_that_is_no_number() {
    let bench = Bench::new();
    let path = bench.path("people/train/train.csv");
    let table = fs::read_to_string(&path).unwrap();
    fs::write(path, table.replacen(",23,", ",abc,", 1)).unwrap();
    bench.fails(
        &TRAIN,
        expect![[r#"
        error: people/train: 1 thing is wrong with the data:
          train.csv line 2: the age `abc` is no number of years: write the age in years"#]],
    );
}

#[test]
fn a_config_with_a_key_that_is_none() {
    let bench = Bench::new();
    fs::write(bench.path("mine.toml"), "[optim]\nkind = \"adam\"\nrl = 0.1\n").unwrap();
    bench.fails(&["train", "mine.toml"], expect!["error: mine.toml: at `optim.rl`: unknown field `rl`, expected one of `lr`, `betas`, `eps`, `weight_decay` (these are of kind `adam`)"]);
    bench.fails(&["train", "small.toml", "--set", "train.totl=1 epochs"], expect!["error: --set train.totl=1 epochs: at `train.totl`: unknown field `totl`, expected one of `total`, `warmup`, `batch_size`, `drop_last`"]);
    bench.fails(&["train", "small.toml", "--set", "train.total=soon"], expect![[r#"error: --set train.total=soon: at `train.total`: `soon` is no length: write "3 epochs", "500 steps" or "5 %""#]]);
    bench.fails(
        &["train", "absent.toml"],
        expect!["error: absent.toml: name an experiment's file, such as those of configs/: No such file or directory (os error 2)"],
    );
    bench.fails(
        &["train", "small.toml", "--set", "optim.lr=-1"],
        expect!["error: at `optim`: `lr` is a number above 0, not -1"],
    );
    bench.fails(
        &["train", "small.toml", "--set", "augment.eval=[{ kind = \"random_crop\" }]"],
        expect!["error: at `augment.eval`: `random_crop` is left to chance, which serving is not"],
    );
}

#[test]
fn weights_of_another_network() {
    let bench = Bench::new();
    fs::write(bench.path("weights.pth"), b"hello").unwrap();
    let args = ["train", "small.toml", "--set", "model.pretrained=weights.pth"];
    bench.fails(&args, expect!["error: `model.pretrained`: weights.pth: this is no whole `.safetensors` or `.pth` file (header too small): fetch it again"]);
}

#[test]
fn the_whole_path_and_a_bundle_that_is_cut_off() {
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
    let (info, answer) = (
        fs::read_to_string(bench.path("people/eval/info.csv")).unwrap(),
        fs::read_to_string(bench.path("output.csv")).unwrap(),
    );
    let ids = |text: &str| {
        text.lines().map(|it| it.split(',').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&info), ids(&answer));
    assert!(
        answer.lines().skip(1).all(|it| it.split(',').nth(1).unwrap().parse::<u32>().unwrap() < 18)
    );

    bench.ok(&["predict", "latest", "--images", "people/eval/images", "-o", "p.csv"]);
    let table = fs::read_to_string(bench.path("p.csv")).unwrap();
    assert!(table.starts_with("picture,predicted,worn male <30,worn male 30-59,"), "{table}");
    assert_eq!(table.lines().count(), 22);

    // What was resolved repeats the run.
    bench.ok(&["train", "runs/a/config.toml", "--set", "run.name=b"]);
    for name in ["steps.csv", "epochs.csv", "valid.csv", "report.toml"] {
        let read = |run: &str| fs::read(bench.path(run).join(name)).unwrap();
        assert!(read("runs/a") == read("runs/b"), "{name} differs");
    }
    bench.fails(&["train", "small.toml", "--set", "run.name=a"], expect!["error: runs/a: a run of this name is there already: choose another `run.name`, or go on with `--resume runs/a`"]);
    bench.fails(
        &["train", "--resume", "runs/a"],
        expect!["error: runs/a: this run is finished: there is nothing to go on with"],
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
    assert!(err.contains("weights-0-") && err.contains("this is no whole `.safetensors`"), "{err}");
    assert!(!bench.path("other.csv").exists());

    fs::write(&weights, whole).unwrap();
    fs::write(bench.path("people/eval/images/x.jpg"), b"no picture").unwrap();
    bench.fails(&["predict", "runs/a", "--images", "people/eval/images"], expect![[r#"
        error: people/eval/images: 1 thing is wrong with the data:
          x.jpg: this is no picture: it begins like none of JPEG, PNG, WebP, GIF, BMP and TIFF: replace the file"#]]);
    bench.fails(&["submit", "runs/a", "--images", "people"], expect!["error: people/info.csv: No such file or directory (os error 2): name the folder of `info.csv` and `images/`"]);
    bench.fails(
        &["submit", "people", "--images", "people/eval"],
        expect!["error: people: this is no bundle: name the folder of a `bundle.toml`, or a run"],
    );
}

/// Waits until a file is there.
fn wait_for(path: &Path) {
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < Duration::from_secs(120), "{} never came", path.display());
        thread::sleep(Duration::from_millis(5));
    }
}

fn signal(name: &str, id: u32) {
    let status = Command::new("kill").args([name, &id.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Files of a run that repeat to the last byte.
fn lasting(run: &Path) -> Vec<Vec<u8>> {
    let names = ["report.toml", "steps.csv", "epochs.csv", "valid.csv", "best/bundle.toml"];
    names.iter().map(|it| fs::read(run.join(it)).unwrap()).collect()
}

#[test]
fn ctrl_c_ends_after_a_step_and_the_run_goes_on() {
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
    assert!(!bench.path("runs/stopped/report.toml").exists(), "it was too quick to be stopped");
    bench.ok(&["train", "--resume", "runs/stopped"]);
    assert!(lasting(&bench.path("runs/whole")) == lasting(&bench.path("runs/stopped")));
}

#[test]
fn a_cross_validation_killed_in_its_second_fold_ends_with_the_same_numbers() {
    let bench = Bench::new();
    let args = ["kfold", "small.toml", "--folds", "3", "--set", "train.total=6 epochs", "--set"];
    bench.ok(&[&args[..], &["run.name=whole"]].concat());
    let mut child = bench
        .command(&[&args[..], &["run.name=killed"]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&bench.path("runs/killed/fold-1/last/state.toml"));
    signal("-KILL", child.id());
    child.wait().unwrap();
    assert!(
        !bench.path("runs/killed/fold-1/report.toml").exists(),
        "it was too quick to be killed"
    );
    bench.ok(&["kfold", "--resume", "runs/killed"]);
    for name in ["report.toml", "oof.csv"] {
        let read = |run: &str| fs::read(bench.path(run).join(name)).unwrap();
        assert!(read("runs/whole") == read("runs/killed"), "{name} differs");
    }
    for fold in 0..3 {
        let run = |name: &str| lasting(&bench.path(&format!("runs/{name}/fold-{fold}")));
        assert!(run("whole") == run("killed"), "fold {fold} differs");
    }
    // All folds answer together.
    bench.ok(&["submit", "runs/whole", "--images", "people/eval"]);
}

#[test]
fn help_and_lists_say_what_there_is() {
    let bench = Bench { dir: tempfile::tempdir().unwrap() };
    let help = bench.ok(&["--help"]);
    for word in ["train", "kfold", "submit", "predict", "data", "list", "bench"] {
        assert!(help.contains(word), "{help}");
    }
    expect![[r#"
        heads (head)
          joint
              One output a joint class, of linear layers.
              activation = "relu", depth = 0, dropout = 0.2, init = "default", width = 512
          factored
              Each factor of the task by linear layers of its own; their answers are multiplied.
              activation = "relu", depth = 0, dropout = 0.2, init = "default", width = 512
          cosine
              By the angle between features and a direction of each class; the margins of ArcFace and LDAM, which need this head, are a loss's.
              by = "joint", dropout = 0.2, scale = 30.0
          age_bins
              As `factored`, with the age as a distribution over years that is cut when answering.
              activation = "relu", cuts = [], decide = "mass", depth = 0, dropout = 0.2, init = "default", oldest = 60, width = 512
          age_number
              As `factored`, with the age as a number of years: beside its ranges, or cut into them.
              activation = "relu", beside = true, cuts = [], depth = 0, dropout = 0.2, init = "default", weight = 0.001, width = 512
          sigmoid
              One output a joint class, each a yes or no of its own.
              activation = "relu", depth = 0, dropout = 0.2, init = "default", width = 512
          multi_sample_dropout
              As `joint`, learning from several dropout masks at once (Inoue, 2019).
              dropout = 0.5, init = "default", mean = "loss", samples = 5
    "#]]
    .assert_eq(&bench.ok(&["list", "heads"]));
    assert!(bench.ok(&["list"]).contains("cross_entropy"));
    bench.fails(&["list", "cheeses"], expect!["error: there is no list of `cheeses`, there are: sources, splits, samplers, pictures, statistics, models, heads, losses, optimizers, schedules, metrics"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_a_clear_end() {
    let bench = Bench::new();
    fs::write(bench.path("runs"), b"a file where the folder should be").unwrap();
    let args = ["train", "small.toml", "--set", "run.name=a"];
    bench.fails(&args, expect!["error: runs/a: Not a directory (os error 20)"]);
}
