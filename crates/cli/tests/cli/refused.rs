//! Wrong data and settings are refused with one message, before any work.

use std::fs;

use expect_test::{Expect, expect};

use crate::bench::{Bench, TRAIN, text};

#[test]
fn missing_folder_is_refused() {
    Bench::new()
        .fails(&["train", "small.toml", "--set", "data.source.root=nowhere"], expect!["error: nowhere/train.csv: No such file or directory (os error 2): `data.source.root` must be the folder of `train.csv` and `images/`"]);
}

#[test]
fn contradictory_roots_are_refused() {
    let bench = Bench::new();
    let root = |text: &str| {
        format!(
            "data.source={{ kind = \"several\", roots = [{{ source = {{ kind = \"synthetic_people\" }} }}, {text}] }}"
        )
    };
    let check = |text: &str, want: Expect| {
        bench.fails(&[&TRAIN[..], &["--set", &root(text)]].concat(), want);
    };
    check(
        "{ source = { kind = \"synthetic_people\" } }",
        expect![
            "error: at `data.source.roots[1]`: generates the same people as another root: set another `seed`"
        ],
    );
    check(
        "{ source = { kind = \"synthetic_people\", n_peopel = 3 } }",
        expect![[
            r#"error: --set data.source={ kind = "several", roots = [{ source = { kind = "synthetic_people" } }, { source = { kind = "synthetic_people", n_peopel = 3 } }] }: at `data.source.roots[1].source.n_peopel`: unknown field `n_peopel`: did you mean `n_people`? Expected one of `n_people`, `n_test`, `size`, `wrong_labels`, `flipped`, `seed` (these are of kind `synthetic_people`)"#
        ]],
    );
}

#[test]
fn empty_table_is_refused() {
    let bench = Bench::new();
    fs::write(bench.path("people/train/train.csv"), "").unwrap();
    bench.fails(
        &TRAIN,
        expect![[r#"
            error: people/train: 1 problem in the data:
              train.csv: is empty: put the header `id,gender,race,age,path` and the rows there"#]],
    );
}

#[test]
fn missing_column_is_refused() {
    let bench = Bench::new();
    let path = bench.path("people/train/train.csv");
    let table = fs::read_to_string(&path).unwrap();
    fs::write(path, table.replace("gender", "sex")).unwrap();
    bench.fails(&TRAIN, expect![[r#"
        error: people/train: 1 problem in the data:
          train.csv: has no column `gender` (it has id, sex, race, age, path): the header is `id,gender,race,age,path`"#]]);
}

#[test]
fn damaged_images_are_all_named() {
    let bench = Bench::new();
    let whole = fs::read(bench.image(0, "mask1.jpg")).unwrap();
    fs::write(bench.image(0, "mask1.jpg"), &whole[..whole.len() - 300]).unwrap();
    fs::remove_file(bench.image(1, "mask2.jpg")).unwrap();
    fs::write(bench.image(1, "mask2.png"), b"").unwrap();
    fs::write(bench.image(2, "normal.jpg"), b"a text file").unwrap();
    fs::remove_file(bench.image(3, "mask3.jpg")).unwrap();
    bench.fails(&TRAIN, expect![[r#"
        error: people/train: 4 problems in the data:
          images/000001_female_Drawn_23/mask1.jpg: the image is truncated: replace the file, or leave its person out by a label fix
          images/000002_male_Drawn_20/mask2.png: the file is empty: replace the file, or leave its person out by a label fix
          images/000003_female_Drawn_58/normal.jpg: this is not an image: its first bytes are none of JPEG, PNG, WebP, GIF, BMP or TIFF: replace the file, or leave its person out by a label fix
          images/000004_male_Drawn_43/mask3: is missing: put the image there, or leave the person out by a label fix"#]]);
}

#[test]
fn images_that_are_all_too_small_are_one_line() {
    let bench = Bench::new();
    let crop = |kind: &str| format!("[{{ kind = \"{kind}\", size = [64, 64] }}]");
    let train = format!("augment.train={}", crop("random_crop"));
    let eval = format!("augment.eval={}", crop("center_crop"));
    let args = [&TRAIN[..], &["--set", &train, "--set", &eval]].concat();
    let output = bench.run(&args);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let lines: Vec<&str> = err.lines().filter(|it| it.contains("exceeds the image")).collect();
    assert_eq!(lines.len(), 2, "{err}");
    for line in lines {
        assert!(line.starts_with("  000001_") && line.contains(" and 53 more: at `aug"), "{err}");
    }
    assert!(err.contains("(`--verbose` lists all 112)"), "{err}");
    // All of them are among the details.
    let output = bench.run(&[&args[..], &["-v"]].concat());
    let err = text(&output.stderr);
    let n_lines = err.lines().filter(|it| it.contains("exceeds the image")).count();
    assert_eq!(n_lines, 2 + 112, "{err}");
}

#[test]
fn age_that_is_not_a_number_is_refused() {
    let bench = Bench::new();
    let path = bench.path("people/train/train.csv");
    let table = fs::read_to_string(&path).unwrap();
    fs::write(path, table.replacen(",23,", ",abc,", 1)).unwrap();
    bench.fails(
        &TRAIN,
        expect![[r#"
            error: people/train: 1 problem in the data:
              train.csv line 2: the age `abc` is not a number of years: write the age in years"#]],
    );
}

#[test]
fn wrong_settings_are_refused() {
    let bench = Bench::new();
    fs::write(bench.path("mine.toml"), "[optim]\nkind = \"adam\"\nrl = 0.1\n").unwrap();
    bench.fails(&["train", "mine.toml"], expect!["error: mine.toml: at `optim.rl`: unknown field `rl`, expected one of `lr`, `betas`, `eps`, `weight_decay` (these are of kind `adam`)"]);
    bench.fails(&["train", "small.toml", "--set", "train.totl=1 epochs"], expect!["error: --set train.totl=1 epochs: at `train.totl`: unknown field `totl`: did you mean `total`? Expected one of `total`, `warmup`, `batch_size`, `drop_last`, `accumulate`, `clip`, `freeze`, `sizes`, `patience`"]);
    bench.fails(&["train", "small.toml", "--set", "train.total=soon"], expect![[r#"error: --set train.total=soon: at `train.total`: `soon` is not a length: write "3 epochs", "500 steps" or "5 %""#]]);
    bench.fails(
        &["train", "absent.toml"],
        expect!["error: absent.toml: there is no such file: name an experiment's config file, or a recipe of `maskfit list recipes`"],
    );
    bench.fails(
        &["train", "small.toml", "--set", "optim.lr=-1"],
        expect!["error: at `optim`: `lr` is a number above 0, not -1"],
    );
    bench.fails(
        &["train", "small.toml", "--set", "augment.eval=[{ kind = \"random_crop\" }]"],
        expect![
            "error: at `augment.eval`: `random_crop` is random, but inference must be deterministic"
        ],
    );
}

#[test]
fn sampler_that_does_not_fit_the_data_is_refused() {
    let bench = Bench::new();
    let fails = |settings: &str, want: Expect| {
        let set = format!("data.sampler={{ {settings} }}");
        bench.fails(&["train", "small.toml", "--set", &set], want);
    };
    fails(
        "kind = \"imbalanced\", over = \"masks\"",
        expect![[
            r#"error: at `data.sampler`: unknown `over = "masks"`: use one of joint, mask, gender, age, age.number"#
        ]],
    );
    fails(
        "kind = \"weighted\", over = \"mask\", weights = [1, 2]",
        expect![
            "error: at `data.sampler`: `weights` has 2 values, but there are 3 classes: worn, incorrect, not worn"
        ],
    );
    fails(
        "kind = \"weighted\", weights = [0, -1]",
        expect!["error: at `data.sampler`: all `weights` must be at least 0 and finite, not -1"],
    );
    fails(
        "kind = \"weighted\", over = \"mask\", weights = [0, 0, 0]",
        expect![
            "error: at `data.sampler`: epoch 1 has no images: change the sampler's settings, or choose another"
        ],
    );
    fails(
        "kind = \"weighted\", replacement = false, num_samples = 1000",
        expect![
            "error: at `data.sampler`: cannot sample 1000 of 42 examples without replacement: set `num_samples`, or `replacement = true`"
        ],
    );
    fails(
        "kind = \"balance_class\", mode = \"sideways\"",
        expect![[
            r#"error: --set data.sampler={ kind = "balance_class", mode = "sideways" }: at `data.sampler.mode`: must be "downsampling", "upsampling" or a number of examples"#
        ]],
    );
    fails(
        "kind = \"balance_class\", mode = 1000000000",
        expect![
            "error: at `data.sampler`: epoch 1 has 12000000000 images, more than the maximum of 100000000"
        ],
    );
    fails(
        "kind = \"dynamic_balance\", exp_lambda = 1",
        expect!["error: at `data.sampler`: `exp_lambda` must be between 0 and 1, not 1"],
    );
    fails(
        "kind = \"dynamic_balance\", mode = \"upsampling\"",
        expect![[
            r#"error: at `data.sampler`: `mode` must be "downsampling" or a number of examples"#
        ]],
    );
}

#[test]
fn class_shares_of_the_sampler_are_printed() {
    let bench = Bench::new();
    let printed = |name: &str, settings: &str, total: &str| {
        let sampler = format!("data.sampler={{ {settings} }}");
        let name = format!("run.name={name}");
        let args = ["train", "small.toml", "--set", &sampler, "--set", total, "--set", &name];
        let out = bench.notes(&args);
        let lines = out.lines().skip_while(|it| !it.starts_with("plan:"));
        let lines = lines.take_while(|it| !it.trim_start().starts_with("train "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let dynamic = "kind = \"dynamic_balance\", over = \"mask\", exp_lambda = 0.5";
    expect![[r#"
        plan:  3 epochs, 10 steps of 8 images of 32x24, 5 in the first epoch,
               2 in the last
        sampler: dynamic_balance, class shares by mask in %:
           data -> first epoch (40 images) -> last epoch (16)
           worn      71.4 -> 72.5 -> 37.5   not worn  14.3 -> 15.0 -> 31.2
           incorrect 14.3 -> 12.5 -> 31.2"#]]
    .assert_eq(&printed("a", dynamic, "train.total=3 epochs"));
    expect![[r#"
        plan:  1 epoch, 1 step of 8 images of 32x24, 1 per epoch
        sampler: one_per_group, class shares by joint in %:
           data -> first epoch (6 images)
           worn male <30          11.9 -> 16.7   incorrect female <30    7.1 ->  0.0
           worn male 30-59        11.9 -> 16.7   incorrect female 30-59  2.4 ->  0.0
           worn male >=60          0.0 ->  0.0   incorrect female >=60   0.0 ->  0.0
           worn female <30        35.7 -> 50.0   not worn male <30       2.4 ->  0.0
           worn female 30-59      11.9 -> 16.7   not worn male 30-59     2.4 ->  0.0
           worn female >=60        0.0 ->  0.0   not worn male >=60      0.0 ->  0.0
           incorrect male <30      2.4 ->  0.0   not worn female <30     7.1 ->  0.0
           incorrect male 30-59    2.4 ->  0.0   not worn female 30-59   2.4 ->  0.0
           incorrect male >=60     0.0 ->  0.0   not worn female >=60    0.0 ->  0.0"#]]
    .assert_eq(&printed("b", "kind = \"one_per_group\"", "train.total=1 steps"));
    expect!["plan:  0.20 epochs, 1 step of 8 images of 32x24, 5 per epoch"].assert_eq(&printed(
        "c",
        "kind = \"shuffled\"",
        "train.total=1 steps",
    ));
}

#[test]
fn a_network_that_no_machine_holds() {
    let bench = Bench::new();
    for (set, want) in [
        (
            "model.backbone={ kind = \"vgg\", hidden = 65536, width = 16.0 }",
            "error: at `model.backbone`: with `width = 16.0` (default: 1.0, with 5,",
        ),
        (
            "head={ kind = \"joint\", depth = 16, width = 65536 }",
            "error: at `head`: with `depth = 16` (default: 0, with ",
        ),
    ] {
        // In parts of one image as well, which are tried before.
        for parts in ["train.accumulate=1", "train.accumulate=8"] {
            let args = ["train", "small.toml", "--set", set, "--set", parts];
            let output = bench.run(&args);
            let err = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{err}");
            let is_named = err.lines().any(|it| it.starts_with(want));
            assert!(is_named && err.contains(" parameters: training them"), "{err}");
            assert!(!bench.path("runs").exists());
        }
    }
}

#[test]
fn an_unknown_option_is_not_taken_for_a_value() {
    let bench = Bench::empty();
    let refused = |args: &[&str]| {
        let output = bench.run(args);
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let err = refused(&["lr-find", "--device", "cuda:0"]);
    let start = "error: unexpected argument '--device' found\n\nUsage: maskfit lr-find ";
    assert!(err.starts_with(start), "{err}");
    // Other tips are there.
    let err = refused(&["train", "--devise", "cuda:0"]);
    assert!(err.contains("tip: a similar argument exists: '--device'"), "{err}");
    // What begins with one dash may be a file.
    let err = refused(&["lr-find", "-x.toml"]);
    assert!(err.contains("as a value, use '-- -x"), "{err}");
}
