//! Weights determine the padding and the norms of their network, and the preprocessing of images.

use std::{collections::HashMap, fs, path::Path, process::Stdio};

use base::{Seed, Task};
use candle::Device;
use expect_test::{Expect, expect};
use models::{BackboneConfig, EfficientNet, HeadConfig, Model, ModelSpec, Variant};

use crate::{
    bench::{Bench, lasting, text, unwrapped},
    runs::{signal, wait_for},
};

/// Writes the weights of a small B0, with the tensor names of `library`.
fn write_weights(path: &Path, library: &str) {
    let small = EfficientNet { width: 0.25, depth: 0.3, ..EfficientNet::default() };
    let backbone = BackboneConfig::EfficientNet(EfficientNet { variant: Variant::B0, ..small });
    let spec = ModelSpec { backbone, head: HeadConfig::default() };
    let model = Model::fresh(&spec, &Task::mask_gender_age(), Seed(7), &Device::Cpu).unwrap();
    let all = model.params().to_file().unwrap();
    let ours = all.iter().map(|it| it.0.clone()).filter(|it| !it.starts_with("head."));
    let namings = spec.backbone.get().namings(&ours.collect::<Vec<_>>());
    let naming = namings.into_iter().find(|it| it.library == library).unwrap();
    let theirs: HashMap<_, _> = naming.backbone.into_iter().collect();
    let named = all.into_iter().filter_map(|(ours, it)| Some((theirs.get(&ours)?.clone(), it)));
    candle::safetensors::save(&named.collect::<HashMap<_, _>>(), path).unwrap();
}

const NET: &str = r#"
[data]
source = { kind = "mask_profiles", root = "people/train" }
split = { kind = "profile", ratio = 0.3 }

[augment]
train = [{ kind = "random_crop", size = [32, 24] }]
eval = [{ kind = "center_crop", size = [32, 24] }]

[model]
backbone = { kind = "efficientnet", variant = "b0", width = 0.25, depth = 0.3 }
pretrained = "best.safetensors"

[train]
total = "2 epochs"
batch_size = 8
"#;

fn bench() -> Bench {
    let bench = Bench::new();
    write_weights(&bench.path("best.safetensors"), "efficientnet_pytorch");
    fs::write(bench.path("net.toml"), NET).unwrap();
    bench
}

#[test]
fn settings_from_weights_are_saved_with_the_run_and_its_bundle() {
    let bench = bench();
    let out = bench.notes(&["train", "net.toml", "--set", "run.name=a"]);
    let mut notes = unwrapped(&out);
    notes.retain(|it| it.starts_with("note:"));
    expect![[r#"note: the weights are identified as efficientnet_pytorch's by the tensor names: the network has padding = "same", norm_eps = 0.001"#]].assert_eq(&notes.join("\n"));
    for file in ["config.toml", "best/bundle.toml"] {
        let text = fs::read_to_string(bench.path("runs/a").join(file)).unwrap();
        assert!(text.contains("padding = \"same\"\nnorm_eps = 0.001\n"), "{file}: {text}");
    }
    // The same settings given explicitly, and the config of the run, give the same run.
    let same = "model.backbone={ kind = efficientnet, variant = b0, width = 0.25, depth = 0.3, \
                padding = same, norm_eps = 1e-3 }";
    let out = bench.notes(&["train", "net.toml", "--set", "run.name=b", "--set", same]);
    assert!(!out.contains("the network has"), "{out}");
    bench.ok(&["train", "runs/a/config.toml", "--set", "run.name=c"]);
    for other in ["runs/b", "runs/c"] {
        assert!(lasting(&bench.path("runs/a")) == lasting(&bench.path(other)), "{other}");
    }
    // Weights of another library give another run.
    write_weights(&bench.path("best.safetensors"), "torchvision");
    let out = bench.notes(&["train", "net.toml", "--set", "run.name=d"]);
    assert!(out.contains("padding = \"symmetric\", norm_eps = 0.00001"), "{out}");
    assert!(lasting(&bench.path("runs/a")) != lasting(&bench.path("runs/d")));
}

#[test]
fn stopped_run_resumes_with_the_settings_from_its_weights() {
    let bench = bench();
    let long = ["train", "net.toml", "--set", "train.total=12 epochs", "--set"];
    bench.ok(&[&long[..], &["run.name=whole"]].concat());
    let mut command = bench.command(&[&long[..], &["run.name=stopped"]].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&bench.path("runs/stopped/best/bundle.toml"));
    signal("-KILL", child.id());
    child.wait().unwrap();
    assert!(
        !bench.path("runs/stopped/report.toml").exists(),
        "the run finished before it was stopped"
    );
    // The file is not needed any more.
    fs::remove_file(bench.path("best.safetensors")).unwrap();
    bench.ok(&["train", "--resume", "runs/stopped"]);
    assert!(lasting(&bench.path("runs/whole")) == lasting(&bench.path("runs/stopped")));
}

#[test]
fn folds_have_the_padding_and_norm_eps_of_the_weights() {
    let bench = bench();
    bench.ok(&["kfold", "net.toml", "--folds", "2", "--set", "run.name=a"]);
    for file in ["config.toml", "fold-0/config.toml", "fold-1/best/bundle.toml"] {
        let text = fs::read_to_string(bench.path("runs/a").join(file)).unwrap();
        assert!(text.contains("padding = \"same\"\nnorm_eps = 0.001\n"), "{file}: {text}");
    }
}

#[test]
fn settings_that_contradict_weights_are_refused_by_every_command() {
    let bench = bench();
    let wrong = "model.backbone={ kind = efficientnet, variant = b0, width = 0.25, depth = 0.3, \
                 padding = symmetric, norm_eps = 1e-5 }";
    let all: [&[&str]; 11] = [
        &["data", "prepare"],
        &["bench", "load"],
        &["train", "--fast"],
        &["train", "--overfit", "4"],
        &["kfold", "--folds", "2"],
        &["lr-find"],
        &["data", "check"],
        &["data", "stats"],
        &["data", "show"],
        &["data", "mixed"],
        &["data", "pack"],
    ];
    bench.fails(&["train", "net.toml", "--set", wrong], expect![[r#"
        error: 2 settings contradict the weights:
          at `model.backbone.padding`: it is "symmetric", but the weights of `model.pretrained` were trained with "same" (identified as efficientnet_pytorch's by the tensor names): remove the setting to use theirs, or use other weights
          at `model.backbone.norm_eps`: it is 0.00001, but the weights of `model.pretrained` were trained with 0.001 (identified as efficientnet_pytorch's by the tensor names): remove the setting to use theirs, or use other weights"#]]);
    let before = bench.names();
    let error = |command: &[&str]| {
        let output = bench.run(&[command, &["net.toml", "--set", wrong]].concat());
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        text(&output.stderr)
    };
    for command in all {
        assert_eq!(error(command), error(&["train"]), "{command:?}");
    }
    assert_eq!(bench.names(), before, "a file is left behind");
    let check = |set: &str, want: Expect| {
        bench.fails(&["train", "net.toml", "--set", set], want);
    };
    check(
        "model.backbone.padding=symmetric",
        expect![[
            r#"error: at `model.backbone.padding`: it is "symmetric", but the weights of `model.pretrained` were trained with "same" (identified as efficientnet_pytorch's by the tensor names): remove the setting to use theirs, or use other weights"#
        ]],
    );
    check(
        "model.backbone.norm_eps=1e-5",
        expect![
            "error: at `model.backbone.norm_eps`: it is 0.00001, but the weights of `model.pretrained` were trained with 0.001 (identified as efficientnet_pytorch's by the tensor names): remove the setting to use theirs, or use other weights"
        ],
    );
    bench.ok(&["train", "net.toml", "--fast", "--set", "model.backbone.padding=same"]);
}

#[test]
fn statistics_that_contradict_published_weights_are_refused() {
    let bench = Bench::new();
    fs::write(bench.path("resnet18-f37072fd.safetensors"), crate::weights::zeros_of_resnet18())
        .unwrap();
    let net = NET.replace("best.safetensors", "resnet18-f37072fd.safetensors").replace(
        r#"{ kind = "efficientnet", variant = "b0", width = 0.25, depth = 0.3 }"#,
        r#"{ kind = "resnet", depth = 18 }"#,
    );
    fs::write(bench.path("net.toml"), net).unwrap();
    let half = ["net.toml", "--set", "augment.statistics={ kind = given }"];
    bench.fails(&[&["train"][..], &half].concat(), expect![[r#"error: at `augment.statistics`: it is mean 0.5 0.5 0.5, std 0.5 0.5 0.5, but the weights of `model.pretrained` were trained with mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (identified as torchvision/resnet18.IMAGENET1K_V1 by the file name): remove the setting to use theirs, or use other weights, or set `{ kind = "data" }` to measure the statistics of the images"#]]);
    bench.fails(&[&["data", "show"][..], &half].concat(), expect![[r#"error: at `augment.statistics`: it is mean 0.5 0.5 0.5, std 0.5 0.5 0.5, but the weights of `model.pretrained` were trained with mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (identified as torchvision/resnet18.IMAGENET1K_V1 by the file name): remove the setting to use theirs, or use other weights, or set `{ kind = "data" }` to measure the statistics of the images"#]]);
    // Measured statistics are intentional, and settings of unknown weights are not refused.
    let measured = ["train", "net.toml", "--fast", "--set", "augment.statistics={ kind = data }"];
    let out = bench.notes(&measured);
    assert!(out.contains("note: `augment.statistics` is measured"), "{out}");
    fs::rename(bench.path("resnet18-f37072fd.safetensors"), bench.path("mine.safetensors"))
        .unwrap();
    let mine = ["--fast", "--set", "model.pretrained=mine.safetensors"];
    let out = bench.notes(&[&["train"][..], &half, &mine].concat());
    assert!(out.contains("it is unknown which of torchvision and timm's weights"), "{out}");
}

#[test]
fn preprocessing_of_absent_weights_is_shown_and_reported() {
    let bench = bench();
    let net = NET.replace("width = 0.25, depth = 0.3", "width = 1.0");
    let (head, rest) = net.split_once("[augment]").unwrap();
    let net = format!("{head}[model]{}", rest.split_once("[model]").unwrap().1);
    fs::write(bench.path("net.toml"), net).unwrap();
    let out = bench.run(&["data", "show", "net.toml", "--set", "model.pretrained=hf:timm/absent"]);
    expect![[r#"
        note: the weights `hf:timm/absent` are not on this machine: their preprocessing
              is derived from the network alone, until training reads the file
        preprocessing of efficientnet_b0.ra_in1k: 224x224, crop 0.875, bicubic, mean
          0.485 0.456 0.406, std 0.229 0.224 0.225
        reading the data
    "#]]
    .assert_eq(&text(&out.stderr));
    assert_eq!(
        text(&out.stdout),
        "6 images, 8 augmentations of each: show.png
"
    );
}
