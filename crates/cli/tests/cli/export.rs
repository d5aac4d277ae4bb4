//! `maskfit export`: files, names, and what is refused.

use std::{fs, path::Path};

use expect_test::expect;

use crate::bench::{Bench, TRAIN, text};

/// A small run `a`.
fn trained(set: &[&str]) -> Bench {
    let bench = Bench::new();
    let sets = ["--set", "run.name=a", "--set", "train.total=1 steps"];
    bench.ok(&[&TRAIN[..], &sets, set].concat());
    bench
}

/// The names, shapes and metadata of a safetensors file.
fn header(path: &Path) -> serde_json::Map<String, serde_json::Value> {
    let bytes = fs::read(path).unwrap();
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    serde_json::from_slice(&bytes[8..8 + n]).unwrap()
}

#[test]
fn an_onnx_file_is_described_and_never_replaced() {
    let bench = trained(&[]);
    let (out, err) = bench.both(&["export", "runs/a"]);
    let mut lines = out.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("model.onnx: 0."), "{out}");
    assert!(first.ends_with(" MiB, ONNX opset 18, 1 network"), "{out}");
    let words: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(words[..3], ["input", "images", "float32"], "{out}");
    assert!(out.contains(" [batch, 3, 32, 24]") && out.contains(" [batch, 18]"), "{out}");
    for want in [
        "\nimages are RGB, (x / 255 - mean) / std\n",
        "\n  session = onnxruntime.InferenceSession(\"model.onnx\")\n",
        "\n  probabilities, predicted, *_ = session.run(None, {\"images\": images})\n",
    ] {
        assert!(out.contains(want), "{out}");
    }
    assert!(!err.contains("note:"), "{err}");
    let made = fs::read(bench.path("model.onnx")).unwrap();
    bench.fails(
        &["export", "runs/a"],
        expect!["error: model.onnx: already exists: name another file with `-o`, or remove it"],
    );
    assert_eq!(fs::read(bench.path("model.onnx")).unwrap(), made);

    // The same bytes, wherever they go, with the class names and the pipeline in them.
    bench.ok(&["export", "a", "-o", "again.onnx"]);
    assert_eq!(fs::read(bench.path("again.onnx")).unwrap(), made);
    let output = bench.run(&["export", "runs/a/best", "-o", "-"]);
    assert_eq!(output.stdout, made);
    assert!(text(&output.stderr).contains("stdout: 0."), "{}", text(&output.stderr));
    let contains = |what: &str| made.windows(what.len()).any(|it| it == what.as_bytes());
    assert!(contains("center_crop") && contains("[32,24]"));

    let out = bench.ok(&["export", "runs/a", "runs/a/best", "--preprocessing", "-o", "two.onnx"]);
    assert!(out.contains("opset 18, 2 networks"), "{out}");
    assert!(out.contains("uint8 [batch, height, width, 3]"), "{out}");
}

#[test]
fn what_cannot_be_exported_is_named() {
    let padded =
        "augment.eval=[{ kind = \"resize\", size = [30, 22] }, { kind = \"pad\", by = [1, 1] }]";
    let bench = trained(&["--set", padded, "--set", "tta.kind=scales"]);
    let export = |args: &[&str], want| {
        bench.fails(&[&["export", "runs/a"][..], args].concat(), want);
    };
    export(
        &["--preprocessing", "--no-tta"],
        expect![
            "error: runs/a: `pad` cannot be in the graph, which has `resize`, `resize_shorter`, `center_crop` and `crop`: export without the preprocessing, and pass normalised images"
        ],
    );
    export(
        &[],
        expect![
            "error: runs/a: the test-time augmentation `scales` cannot be exported, only `flip`: export the prediction of the image alone with `--no-tta`"
        ],
    );
    export(
        &["--format", "safetensors-timm"],
        expect![
            "error: runs/a: the backbone `efficientnet` has settings (such as `width`) that no network of timm has: export to ONNX"
        ],
    );
    export(
        &["--format", "safetensors-timm", "--preprocessing"],
        expect![
            "error: --preprocessing: is for `--format onnx`: a file of weights has neither a graph nor preprocessing"
        ],
    );
    export(
        &["--format", "safetensors-timm", "-o", "x.ONNX"],
        expect![
            "error: --output x.ONNX: the ending is that of `--format onnx`: give this format, or a file that ends with `.safetensors`"
        ],
    );
    bench.fails(
        &["export", "nowhere"],
        expect!["error: nowhere: there is no such folder: name a run, a bundle or `latest` (there is runs/a)"],
    );
    bench.fails(
        &["export", "runs/a", "--no-tta", "-o", "no/x.onnx"],
        expect!["error: --output no/x.onnx: folder no does not exist: create it"],
    );
    bench.fails(
        &["export", "runs/a", "--no-tta", "-o", "x.safetensors"],
        expect![
            "error: --output x.safetensors: the ending is that of `--format safetensors-timm`: give this format, or a file that ends with `.onnx`"
        ],
    );
    bench.ok(&["export", "runs/a", "--no-tta", "-o", "x"]);
}

#[test]
fn weights_have_timms_names_and_layouts() {
    let bench = Bench::empty();
    bench.ok(&["bench", "fresh", "tf_efficientnet_lite0", "b"]);
    let out = bench.ok(&["export", "b", "--format", "safetensors-timm"]);
    assert!(out.starts_with("model.safetensors: 1"), "{out}");
    assert!(out.contains(" tensors of timm's `tf_efficientnet_lite0`, 18 classes\n"), "{out}");
    let create = "  model = timm.create_model(\"tf_efficientnet_lite0\", num_classes=18,\n";
    assert!(out.contains(create), "{out}");
    let header = header(&bench.path("model.safetensors"));
    for (name, shape) in [
        ("conv_stem.weight", vec![32, 3, 3, 3]),
        ("blocks.0.0.conv_dw.weight", vec![32, 1, 3, 3]),
        ("bn1.running_var", vec![32]),
        ("classifier.weight", vec![18, 1280]),
        ("classifier.bias", vec![18]),
    ] {
        assert_eq!(header[name]["shape"], serde_json::json!(shape), "{name}");
    }
    let metadata = &header["__metadata__"];
    assert_eq!(metadata["format"], "pt");
    assert_eq!(metadata["architecture"], "tf_efficientnet_lite0");
    assert_eq!(metadata["num_classes"], "18");
    let classes: Vec<String> = serde_json::from_str(metadata["classes"].as_str().unwrap()).unwrap();
    assert_eq!((classes.len(), classes[0].as_str()), (18, "0"));

    // They are the weights of that network for our own reader, too.
    let out = bench.ok(&["weights", "inspect", "model.safetensors"]);
    assert!(out.contains("tf_efficientnet_lite0"), "{out}");
}
