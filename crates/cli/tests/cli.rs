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
    bench.fails(&["train", "small.toml", "--set", "train.totl=1 epochs"], expect!["error: --set train.totl=1 epochs: at `train.totl`: unknown field `totl`, expected one of `total`, `warmup`, `batch_size`, `drop_last`, `freeze`"]);
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
fn a_sampler_that_does_not_fit() {
    let bench = Bench::new();
    let fails = |settings: &str, want: Expect| {
        let set = format!("data.sampler={{ {settings} }}");
        bench.fails(&["train", "small.toml", "--set", &set], want);
    };
    fails(
        "kind = \"imbalanced\", over = \"masks\"",
        expect![
            "error: at `data.sampler`: there is no `over = \"masks\"`, but: joint, mask, gender, age, years"
        ],
    );
    fails(
        "kind = \"weighted\", over = \"mask\", weights = [1, 2]",
        expect![
            "error: at `data.sampler`: `weights` are 2, but there are 3 classes: worn, incorrect, not worn"
        ],
    );
    fails(
        "kind = \"weighted\", weights = [0, -1]",
        expect!["error: at `data.sampler`: every one of `weights` is at least 0, not -1"],
    );
    fails(
        "kind = \"weighted\", over = \"mask\", weights = [0, 0, 0]",
        expect![
            "error: at `data.sampler`: it leaves epoch 1 without pictures: change its settings, or choose another"
        ],
    );
    fails(
        "kind = \"weighted\", replacement = false, num_samples = 1000",
        expect![
            "error: at `data.sampler`: without replacement there are 42 examples to draw, not 1000: set `num_samples`, or `replacement = true`"
        ],
    );
    fails(
        "kind = \"balance_class\", mode = \"sideways\"",
        expect![[
            r#"error: --set data.sampler={ kind = "balance_class", mode = "sideways" }: at `data.sampler.mode`: is "downsampling", "upsampling" or a number of examples"#
        ]],
    );
    fails(
        "kind = \"balance_class\", mode = 1000000000",
        expect![
            "error: at `data.sampler`: it gives epoch 1 more than 100000000 pictures, 12000000000"
        ],
    );
    fails(
        "kind = \"dynamic_balance\", exp_lambda = 1",
        expect!["error: at `data.sampler`: `exp_lambda` is between 0 and 1, not 1"],
    );
    fails(
        "kind = \"dynamic_balance\", mode = \"upsampling\"",
        expect![[r#"error: at `data.sampler`: `mode` is "downsampling" or a number of examples"#]],
    );
}

#[test]
fn a_sampler_says_what_it_makes_of_the_classes() {
    let bench = Bench::new();
    let printed = |name: &str, settings: &str, total: &str| {
        let sampler = format!("data.sampler={{ {settings} }}");
        let name = format!("run.name={name}");
        let args = ["train", "small.toml", "--set", &sampler, "--set", total, "--set", &name];
        let out = bench.ok(&args);
        let lines = out.lines().skip_while(|it| !it.starts_with("plan:"));
        let lines = lines.take_while(|it| !it.trim_start().starts_with("epoch"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let dynamic = "kind = \"dynamic_balance\", over = \"mask\", exp_lambda = 0.5";
    expect![[r#"
        plan:  10 steps of 8 pictures of 32x24, 5 in the first epoch, 2 in the last
        draw:  dynamic_balance, shares by mask in %: the data -> first epoch (40 pictures) -> last (16)
           worn      71.4 -> 72.5 -> 37.5   incorrect 14.3 -> 12.5 -> 31.2   not worn  14.3 -> 15.0 -> 31.2"#]].assert_eq(&printed("a", dynamic, "train.total=3 epochs"));
    expect![[r#"
        plan:  1 steps of 8 pictures of 32x24, 1 an epoch
        draw:  one_per_person, shares by joint in %: the data -> first epoch (6 pictures)
           worn male <30          11.9 -> 16.7   incorrect female <30    7.1 ->  0.0
           worn male 30-59        11.9 -> 16.7   incorrect female 30-59  2.4 ->  0.0
           worn male >=60          0.0 ->  0.0   incorrect female >=60   0.0 ->  0.0
           worn female <30        35.7 -> 50.0   not worn male <30       2.4 ->  0.0
           worn female 30-59      11.9 -> 16.7   not worn male 30-59     2.4 ->  0.0
           worn female >=60        0.0 ->  0.0   not worn male >=60      0.0 ->  0.0
           incorrect male <30      2.4 ->  0.0   not worn female <30     7.1 ->  0.0
           incorrect male 30-59    2.4 ->  0.0   not worn female 30-59   2.4 ->  0.0
           incorrect male >=60     0.0 ->  0.0   not worn female >=60    0.0 ->  0.0"#]]
    .assert_eq(&printed("b", "kind = \"one_per_person\"", "train.total=1 steps"));
    expect!["plan:  1 steps of 8 pictures of 32x24, 5 an epoch"].assert_eq(&printed(
        "c",
        "kind = \"shuffled\"",
        "train.total=1 steps",
    ));
}

#[test]
fn weights_of_another_network() {
    let bench = Bench::new();
    fs::write(bench.path("weights.pth"), b"hello").unwrap();
    let args = ["train", "small.toml", "--set", "model.pretrained=weights.pth"];
    bench.fails(&args, expect!["error: `model.pretrained`: weights.pth: this is text (`hello`), no weights: name a `.safetensors` or `.pth` file, or fetch it again"]);
}

/// A safetensors file of these tensors, all zeros.
fn safetensors(shapes: &[(String, Vec<usize>)]) -> Vec<u8> {
    let (mut header, mut at) = (Vec::new(), 0);
    for (name, dims) in shapes {
        let end = at + 4 * dims.iter().product::<usize>();
        header.push(format!(
            r#""{name}":{{"dtype":"F32","shape":{dims:?},"data_offsets":[{at},{end}]}}"#
        ));
        at = end;
    }
    let header = format!("{{{}}}", header.join(","));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; at]].concat()
}

/// The tensors of ResNet-18, as it was published.
fn resnet18() -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut layer = |conv: String, norm: String, dims: [usize; 4]| {
        all.push((format!("{conv}.weight"), dims.to_vec()));
        for name in ["weight", "bias", "running_mean", "running_var"] {
            all.push((format!("{norm}.{name}"), vec![dims[0]]));
        }
    };
    layer("conv1".to_owned(), "bn1".to_owned(), [64, 3, 7, 7]);
    let mut n_in = 64;
    for stage in 1..=4 {
        let n = 32 << stage;
        for block in 0..2 {
            let at = format!("layer{stage}.{block}");
            layer(format!("{at}.conv1"), format!("{at}.bn1"), [n, n_in, 3, 3]);
            layer(format!("{at}.conv2"), format!("{at}.bn2"), [n, n, 3, 3]);
            if n_in != n {
                let (conv, norm) = (format!("{at}.downsample.0"), format!("{at}.downsample.1"));
                layer(conv, norm, [n, n_in, 1, 1]);
            }
            n_in = n;
        }
    }
    all.push(("fc.weight".to_owned(), vec![1000, 512]));
    all.push(("fc.bias".to_owned(), vec![1000]));
    all
}

#[test]
fn weights_are_looked_into() {
    let bench = Bench { dir: tempfile::tempdir().unwrap() };
    let mut tensors = resnet18();
    fs::write(bench.path("net.safetensors"), safetensors(&tensors)).unwrap();
    expect![[r#"
        net.safetensors
          format      safetensors
          size        46.8 MB
          parameters  11689512, and 9600 running statistics of batch norms
          tensors     102
            conv1.weight                   f32  64 x 3 x 7 x 7
            bn1.weight                     f32  64
            bn1.bias                       f32  64
            bn1.running_mean               f32  64
            ... 94 more: --all shows them
            layer4.1.bn2.running_mean      f32  512
            layer4.1.bn2.running_var       f32  512
            fc.weight                      f32  1000 x 512
            fc.bias                        f32  1000

        fits resnet18 (torchvision and timm's names): 1000 classes; all 102 tensors used
    "#]]
    .assert_eq(&bench.ok(&["weights", "inspect", "net.safetensors"]));
    let all = bench.ok(&["weights", "inspect", "net.safetensors", "--all"]);
    assert!(tensors.iter().all(|it| all.contains(&format!("    {} ", it.0))), "{all}");

    tensors.retain(|it| !it.0.starts_with("fc") && it.0 != "bn1.bias");
    tensors.push(("extra".to_owned(), vec![2]));
    fs::write(bench.path("net.safetensors"), safetensors(&tensors)).unwrap();
    let out = bench.ok(&["weights", "inspect", "net.safetensors"]);
    expect![[r#"
        fits no published network; the closest is resnet18 (torchvision and timm's names): 1 of its 100 tensors differ:
          `bn1.bias` is missing
        1 of the file's are left over:
          extra
    "#]].assert_eq(out.split_once("\n\n").unwrap().1);

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/weights");
    fs::copy(golden.join("zip.pth"), bench.path("zip.pth")).unwrap();
    expect![[r#"
        zip.pth
          format      pth, zip form
          size        3.7 kB
          parameters  35
          tensors     10, and 1 of whole numbers, which are counters
            plain                         f32   2
            matrix                        f32   3 x 4
            transposed                    f32   4 x 3
            part                          f32   2
            ... 3 more: --all shows them
            brain                         bf16  2
            double                        f64   1
            num_batches_tracked           i64   one number
            parameter                     f32   1

        fits no published network, nor is it like any: see `list models`
    "#]]
    .assert_eq(&bench.ok(&["weights", "inspect", "zip.pth"]));
    fs::copy(golden.join("old.pth"), bench.path("old.pth")).unwrap();
    assert!(bench.ok(&["weights", "inspect", "old.pth"]).contains("pth, old form"));
}

#[test]
fn files_that_are_no_weights_are_refused() {
    let bench = Bench { dir: tempfile::tempdir().unwrap() };
    let check = |name: &str, content: &[u8], want: Expect| {
        fs::write(bench.path(name), content).unwrap();
        bench.fails(&["weights", "inspect", name], want);
    };
    check(
        "notes.txt",
        b"Dear diary,\nno weights today.\n",
        expect![
            "error: notes.txt: this is text (`Dear diary,`), no weights: name a `.safetensors` or `.pth` file, or fetch it again"
        ],
    );
    // What an object whose `__reduce__` is (os.system, ("touch hacked",)) pickles to.
    check(
        "evil.pth",
        b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch hacked\x85R.",
        expect![
            "error: evil.pth: this `.pth` file would call `os.system`, which loading weights does not need: it is refused (save the weights alone, as `torch.save(model.state_dict(), ...)` or as `.safetensors`)"
        ],
    );
    let eval = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x01x\x85R.";
    check(
        "evil.pt",
        eval,
        expect![
            "error: evil.pt: this `.pth` file would call `builtins.eval`, which loading weights does not need: it is refused (save the weights alone, as `torch.save(model.state_dict(), ...)` or as `.safetensors`)"
        ],
    );
    check(
        "empty.pth",
        b"",
        expect![
            "error: empty.pth: this is no whole `.safetensors` or `.pth` file (header too small): fetch it again"
        ],
    );
    check(
        "cut.safetensors",
        &safetensors(&resnet18())[..5000],
        expect![
            "error: cut.safetensors: this is no whole `.safetensors` or `.pth` file (invalid header length): fetch it again"
        ],
    );
    bench.fails(&["weights", "inspect", "."], expect!["error: .: is a folder: name a file in it"]);
    bench.fails(&["weights", "inspect", "absent.pth"], expect!["error: absent.pth: there is no such file (and MASKFIT_WEIGHTS names no folder of weights): name a file, or a place on the hub as `hf:owner/name`"]);
}

#[test]
fn published_weights_bring_their_pictures_along() {
    let bench = Bench::new();
    fs::create_dir(bench.path("weights")).unwrap();
    fs::write(bench.path("weights/resnet18-f37072fd.safetensors"), safetensors(&resnet18()))
        .unwrap();
    let config = r#"
        [data]
        source = { kind = "mask_profiles", root = "people/train" }
        [model]
        backbone = { kind = "resnet", depth = 18 }
        pretrained = "resnet18"
        [train]
        total = "1 steps"
        batch_size = 2
        [eval]
        batch_size = 4
    "#;
    fs::write(bench.path("net.toml"), config).unwrap();
    let run = |args: &[&str]| {
        let mut command = bench.command(&[&["train", "net.toml"], args].concat());
        let output = command.env("MASKFIT_WEIGHTS", "weights").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let out = text(&output.stdout);
        let is_note = |it: &&str| {
            ["weights:", "pictures", "note:", "pretr"].iter().any(|n| it.starts_with(n))
        };
        let lines: Vec<&str> = out.lines().filter(is_note).collect();
        lines
            .join("\n")
            .replace(&bench.dir.path().canonicalize().unwrap().display().to_string(), "DIR")
    };
    let small = "augment.train=[{ kind = \"resize\", size = [40, 32] }]";
    let small_eval = "augment.eval=[{ kind = \"resize\", size = [40, 32] }]";
    expect![[r#"
        weights: DIR/weights/resnet18-f37072fd.safetensors, `resnet18` in the folder of MASKFIT_WEIGHTS
        pictures as resnet18.a1_in1k's weights want them: 224x224, crop 0.95, bicubic, mean 0.485 0.456 0.406, std 0.229 0.224 0.225
        pretrained weights: 100 tensors by torchvision and timm's names, none missing; its classifier is replaced by a fresh head"#]].assert_eq(&run(&["--set", "run.name=a", "--set", small]));
    let half = "augment.statistics={ kind = \"given\" }";
    expect![[r#"
        weights: DIR/weights/resnet18-f37072fd.safetensors, `resnet18` in the folder of MASKFIT_WEIGHTS
        note: `augment.statistics` is mean 0.5 0.5 0.5, std 0.5 0.5 0.5, but resnet18.a1_in1k's weights want mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (leave it out to have that)
        note: pictures are sized as `augment` says; resnet18.a1_in1k's weights were published with eval = [{ filter = "bicubic", kind = "resize_shorter", size = 235 }, { kind = "center_crop", size = [224, 224] }]
        pretrained weights: 100 tensors by torchvision and timm's names, none missing; its classifier is replaced by a fresh head"#]].assert_eq(&run(&[
        "--set",
        "run.name=b",
        "--set",
        small,
        "--set",
        small_eval,
        "--set",
        half,
    ]));
    // What is kept says all, and finds the weights without the environment.
    let config = fs::read_to_string(bench.path("runs/a/config.toml")).unwrap();
    let (_, part) = config.split_once("[[augment").unwrap();
    let part = part.split_once("[head]").unwrap().0;
    let dir = bench.dir.path().canonicalize().unwrap().display().to_string();
    expect![[r#"
        [[augment.train]]
        kind = "resize"
        size = [40, 32]
        filter = "bilinear"

        [[augment.eval]]
        kind = "resize_shorter"
        size = 235
        filter = "bicubic"

        [[augment.eval]]
        kind = "center_crop"
        size = [224, 224]

        [augment.statistics]
        kind = "given"
        mean = [0.485, 0.456, 0.406]
        std = [0.229, 0.224, 0.225]

        [model]
        pretrained = "DIR/weights/resnet18-f37072fd.safetensors"

        [model.backbone]
        kind = "resnet"
        depth = 18
        groups = 1
        group_width = 64
        squeeze_excite = false
        drop_path = 0.0
        width = 1.0

    "#]]
    .assert_eq(&format!("[[augment{}", part.replace(&dir, "DIR")));
    bench.ok(&["train", "runs/a/config.toml", "--set", "run.name=c"]);
    assert!(lasting(&bench.path("runs/a")) == lasting(&bench.path("runs/c")));
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
fn a_mixed_batch_can_be_looked_at() {
    let bench = Bench::new();
    let mix = "augment.mix=[{ kind = \"mixup\", at_least_half = true }]";
    let mixed = ["data", "mixed", "small.toml", "--set", mix, "-o", "sheet.png", "--step"];
    let said = bench.ok(&[&mixed[..], &["1"]].concat());
    assert_eq!(said.lines().filter(|it| it.contains(" + ")).count(), 8, "{said}");
    // Eight pictures in two rows, their numbers and labels below them.
    let sheet = image::open(bench.path("sheet.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (1292, 660));
    fs::remove_file(bench.path("sheet.png")).unwrap();
    let late = [&mixed[..], &["99"]].concat();
    bench.fails(&late, expect!["error: --step: the run has steps 0 to 9, not 99"]);
}

#[test]
fn help_and_lists_say_what_there_is() {
    let bench = Bench { dir: tempfile::tempdir().unwrap() };
    let help = bench.ok(&["--help"]);
    let words = ["train", "kfold", "submit", "predict", "compare", "labels", "data", "list"];
    for word in words.into_iter().chain(["weights", "bench"]) {
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
          branched
              As `factored`, each factor with a copy of the last convolution stage.
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
    let metrics = bench.ok(&["list", "metrics"]);
    assert!(metrics.contains("absent = \"skip\"") && metrics.contains("bins = 15"), "{metrics}");
    let began = Instant::now();
    let models = bench.ok(&["list", "models"]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let network = |name: &str| models.lines().find(|it| it.starts_with(name)).unwrap().to_owned();
    expect!["published network      parameters  multiply-adds  size   crop  resized   colours          weights"].assert_eq(&network("published network"));
    expect!["tf_efficientnet_lite0      4.65 M         0.39 G   224  0.875  bicubic   inception (0.5)  in1k"].assert_eq(&network("tf_efficientnet_lite0"));
    expect!["efficientnet_b7           66.35 M        37.75 G   600  0.949  bicubic   imagenet         none by this name"].assert_eq(&network("efficientnet_b7"));
    bench.fails(&["list", "cheeses"], expect!["error: there is no list of `cheeses`, there are: sources, splits, samplers, pictures, mixes, statistics, models, heads, losses, optimizers, schedules, metrics"]);
}

#[test]
fn runs_are_compared_on_the_same_pictures() {
    let bench = Bench::new();
    let train = |name: &str, set: &str| {
        bench.ok(&[&TRAIN[..], &["--set", &format!("run.name={name}"), "--set", set]].concat());
    };
    train("a", "optim.lr=2e-3");
    train("b", "optim.lr=1e-6");
    train("other", "data.split.ratio=0.5");
    let valid = fs::read_to_string(bench.path("runs/a/valid.csv")).unwrap();
    assert!(valid.starts_with("picture,person,truth,predicted,worn male <30,"), "{valid}");
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
    assert!(itself.contains("+0.0000 [+0.0000, +0.0000]") && itself.contains("0.500"), "{itself}");
    let out = bench.ok(&["compare", "runs/a", "runs/b", "--by", "log_loss"]);
    assert!(out.contains("A: runs/a\nB: runs/b") && out.contains("worn male <30"), "{out}");
    let sides = bench.ok(&["compare", "--a", "runs/a", "runs/b", "--b", "runs/b"]);
    assert!(sides.contains("A: runs/a, runs/b\nB: runs/b"), "{sides}");

    bench.fails(
        &["compare", "runs/a"],
        expect!["error: name two runs or more, or the runs of two sides: --a RUN... --b RUN..."],
    );
    bench.fails(&["compare", "runs/a", "runs/b", "--scored"], expect!["error: runs/a: there is no scored.csv: its data has no people to score on: leave out --scored"]);
    bench.fails(
        &["compare", "runs/a", "runs/b", "--by", "age_error"],
        expect!["error: `age_error` judges years, which not every run has a head for"],
    );
    let err = text(&bench.run(&["compare", "runs/a", "runs/other"]).stderr);
    assert!(err.contains("not of the same pictures: only in the first: "), "{err}");
    let err = text(&bench.run(&["compare", "runs/a", "runs/b", "--by", "cheese"]).stderr);
    assert!(err.contains("is one of macro_f1, accuracy"), "{err}");
    let best_by = ["--set", "eval.best_by={ kind = \"age_error\" }"];
    bench.fails(&[&TRAIN[..], &best_by].concat(), expect!["error: at `eval.best_by`: `age_error` judges years, and the head `factored` says none: choose another"]);
    let years = ["--set", "run.name=years", "--set", "head={ kind = \"age_number\" }"];
    bench.ok(&[&TRAIN[..], &best_by, &years].concat());
    let valid = fs::read_to_string(bench.path("runs/years/valid.csv")).unwrap();
    assert!(
        valid.starts_with("picture,person,truth,predicted,age,years,worn male <30,"),
        "{valid}"
    );
    bench.ok(&["compare", "runs/years", "runs/years", "--by", "age_error"]);
}

#[test]
fn doubtful_labels_are_listed_and_decisions_are_carried_out() {
    let bench = Bench::new();
    bench.ok(&["kfold", "small.toml", "--folds", "2", "--set", "run.name=folds"]);
    let before = fs::read(bench.path("people/train/train.csv")).unwrap();
    let out = bench.ok(&["labels", "runs/folds", "-o", "doubts"]);
    assert!(out.contains("56 pictures of 8 people"), "{out}");
    assert!(out.contains("gender:") && out.contains("of the labels of 8 people"), "{out}");
    assert!(out.contains("mask:") && out.contains("of the labels of 56 pictures"), "{out}");
    let table = fs::read_to_string(bench.path("doubts/labels.csv")).unwrap();
    assert!(table.starts_with("person,picture,factor,given,suggested,score,decision\n"), "{table}");
    assert!(fs::read(bench.path("doubts/sheet.png")).unwrap().starts_with(b"\x89PNG"));
    assert!(fs::read(bench.path("people/train/train.csv")).unwrap() == before, "data is changed");
    bench.fails(
        &["labels", "runs/folds", "-o", "doubts"],
        expect!["error: doubts/labels.csv: is there already, perhaps reviewed: name a new folder"],
    );

    // Somebody decides: the first person is older, a picture of the second is left out.
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
        assert!(out.contains(&format!("{n} pictures of 8 people")), "{decision}: {out}");
    }
    fs::write(bench.path("reviewed.csv"), row("perhaps")).unwrap();
    bench.fails(&check, expect!["error: reviewed.csv: line 2: there is no decision `perhaps`: write `fix`, `drop`, `keep` or `weight 0.5`"]);
    fs::remove_file(bench.path("reviewed.csv")).unwrap();
    bench.fails(&check, expect!["error: reviewed.csv: No such file or directory (os error 2)"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_a_clear_end() {
    let bench = Bench::new();
    fs::write(bench.path("runs"), b"a file where the folder should be").unwrap();
    let args = ["train", "small.toml", "--set", "run.name=a"];
    bench.fails(&args, expect!["error: runs/a: Not a directory (os error 20)"]);
}
