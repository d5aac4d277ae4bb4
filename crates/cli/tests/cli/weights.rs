//! Pretrained weights: inspecting files, and the input settings that come with them.

use std::{fs, path::Path};

use expect_test::{Expect, expect};

use crate::bench::{Bench, lasting, text, unwrapped};

#[test]
fn file_without_weights_is_refused() {
    let bench = Bench::new();
    fs::write(bench.path("weights.pth"), b"hello").unwrap();
    let args = ["train", "small.toml", "--set", "model.pretrained=weights.pth"];
    bench.fails(&args, expect!["error: `model.pretrained`: weights.pth: this is a text file (`hello`), not weights: name a `.safetensors` or `.pth` file, or download it again"]);
}

/// Returns a safetensors file of these tensors, all zeros.
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

/// Returns the tensors of the published ResNet-18.
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

/// A file of ResNet-18.
pub(crate) fn zeros_of_resnet18() -> Vec<u8> {
    safetensors(&resnet18())
}

#[test]
fn weight_files_are_inspected() {
    let bench = Bench::empty();
    let mut tensors = resnet18();
    fs::write(bench.path("net.safetensors"), safetensors(&tensors)).unwrap();
    expect![[r#"
        net.safetensors
          format      safetensors
          size        46.8 MB
          parameters  11689512, and 9600 running statistics of batch norms
          tensors     102
            conv1.weight                    f32  64 x 3 x 7 x 7
            bn1.weight                      f32  64
            bn1.bias                        f32  64
            bn1.running_mean                f32  64
            ... 94 more: --all prints them
            layer4.1.bn2.running_mean       f32  512
            layer4.1.bn2.running_var        f32  512
            fc.weight                       f32  1000 x 512
            fc.bias                         f32  1000

        fits resnet18 (torchvision and timm's names): 1000 classes; all 102 tensors used
        by the tensor names the weights are torchvision and timm's:
          images      224x224, crop 0.95, bicubic, mean 0.485 0.456 0.406,
                      std 0.229 0.224 0.225
          note: it is unknown which of torchvision and timm's weights these are
                (resnet18.a1_in1k, resnet18.a3_in1k, resnet18.fb_ssl_yfcc100m_ft_in1k,
                ...; the library's own file name identifies them): assuming the
                preprocessing of resnet18.a1_in1k
    "#]]
    .assert_eq(&bench.ok(&["weights", "inspect", "net.safetensors"]));
    let all = bench.ok(&["weights", "inspect", "net.safetensors", "--all"]);
    assert!(tensors.iter().all(|it| all.contains(&format!("    {} ", it.0))), "{all}");

    tensors.retain(|it| !it.0.starts_with("fc") && it.0 != "bn1.bias");
    tensors.push(("extra".to_owned(), vec![2]));
    fs::write(bench.path("net.safetensors"), safetensors(&tensors)).unwrap();
    let out = bench.ok(&["weights", "inspect", "net.safetensors"]);
    expect![[r#"
        fits no published network; the closest is resnet18 (torchvision and timm's
          names): 1 of its 100 tensors differ:
          `bn1.bias` is missing
        1 of the file's tensors are unused:
          extra
    "#]]
    .assert_eq(out.split_once("\n\n").unwrap().1);

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/weights");
    fs::copy(golden.join("zip.pth"), bench.path("zip.pth")).unwrap();
    expect![[r#"
        zip.pth
          format      pth, zip format
          size        3.7 kB
          parameters  35
          tensors     10, and 1 of integers (counters)
            plain                          f32   2
            matrix                         f32   3 x 4
            transposed                     f32   4 x 3
            part                           f32   2
            ... 3 more: --all prints them
            brain                          bf16  2
            double                         f64   1
            num_batches_tracked            i64   scalar
            parameter                      f32   1

        fits no published network, and resembles none: see `list models`
    "#]]
    .assert_eq(&bench.ok(&["weights", "inspect", "zip.pth"]));
    fs::copy(golden.join("old.pth"), bench.path("old.pth")).unwrap();
    assert!(bench.ok(&["weights", "inspect", "old.pth"]).contains("pth, legacy format"));
}

#[test]
fn files_that_are_not_weights_are_refused() {
    let bench = Bench::empty();
    let check = |name: &str, content: &[u8], want: Expect| {
        fs::write(bench.path(name), content).unwrap();
        bench.fails(&["weights", "inspect", name], want);
    };
    check(
        "notes.txt",
        b"Dear diary,\nno weights today.\n",
        expect![
            "error: notes.txt: this is a text file (`Dear diary,`), not weights: name a `.safetensors` or `.pth` file, or download it again"
        ],
    );
    // The pickle of an object whose `__reduce__` is (os.system, ("touch hacked",)).
    check(
        "evil.pth",
        b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch hacked\x85R.",
        expect![
            "error: evil.pth: this `.pth` file would call `os.system`, which loading weights does not require, and is refused: save only the weights, as `torch.save(model.state_dict(), ...)` or as `.safetensors`"
        ],
    );
    let eval = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x01x\x85R.";
    check(
        "evil.pt",
        eval,
        expect![
            "error: evil.pt: this `.pth` file would call `builtins.eval`, which loading weights does not require, and is refused: save only the weights, as `torch.save(model.state_dict(), ...)` or as `.safetensors`"
        ],
    );
    check(
        "empty.pth",
        b"",
        expect![
            "error: empty.pth: this is not a complete `.safetensors` or `.pth` file (header too small): download it again"
        ],
    );
    check(
        "cut.safetensors",
        &safetensors(&resnet18())[..5000],
        expect![
            "error: cut.safetensors: this is not a complete `.safetensors` or `.pth` file (invalid header length): download it again"
        ],
    );
    bench.fails(
        &["weights", "inspect", "."],
        expect!["error: .: this is a folder: name a file in it"],
    );
    bench.fails(&["weights", "inspect", "absent.pth"], expect!["error: absent.pth: there is no such file (and MASKFIT_WEIGHTS does not name a folder of weights): name a file, or a place on the hub as `hf:owner/name`"]);
}

#[test]
fn published_weights_set_the_input_transforms() {
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
        let out = text(&output.stderr);
        let is_note = |it: &String| {
            ["weights:", "images", "note:", "pretr"].iter().any(|n| it.starts_with(n))
        };
        let lines: Vec<String> = unwrapped(&out).into_iter().filter(is_note).collect();
        lines
            .join("\n")
            .replace(&bench.path("").canonicalize().unwrap().display().to_string(), "DIR")
    };
    let small = "augment.train=[{ kind = \"resize\", size = [40, 32] }]";
    let small_eval = "augment.eval=[{ kind = \"resize\", size = [40, 32] }]";
    expect![[r#"
        weights: DIR/weights/resnet18-f37072fd.safetensors, `resnet18` in the folder of MASKFIT_WEIGHTS
        pretrained weights: 100 tensors with torchvision and timm names, none missing; its classifier is replaced by a newly initialised head"#]].assert_eq(&run(&["--set", "run.name=a", "--set", small]));
    let measured = "augment.statistics={ kind = \"data\" }";
    expect![[r#"
        weights: DIR/weights/resnet18-f37072fd.safetensors, `resnet18` in the folder of MASKFIT_WEIGHTS
        note: `augment.statistics` is measured from the images, but torchvision/resnet18.IMAGENET1K_V1 was trained with mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (remove the setting to use these)
        note: `augment.eval` differs from the preprocessing of torchvision/resnet18.IMAGENET1K_V1: eval = [{ filter = "bilinear", kind = "resize_shorter", size = 256 }, { kind = "center_crop", size = [224, 224] }]
        pretrained weights: 100 tensors with torchvision and timm names, none missing; its classifier is replaced by a newly initialised head"#]].assert_eq(&run(&[
        "--set",
        "run.name=b",
        "--set",
        small,
        "--set",
        small_eval,
        "--set",
        measured,
    ]));
    // The saved config is complete, and finds the weights without the environment variable.
    let config = fs::read_to_string(bench.path("runs/a/config.toml")).unwrap();
    let (_, part) = config.split_once("[[augment").unwrap();
    let part = part.split_once("[head]").unwrap().0;
    let dir = bench.path("").canonicalize().unwrap().display().to_string();
    expect![[r#"
        [[augment.train]]
        kind = "resize"
        size = [40, 32]
        filter = "bilinear"

        [[augment.eval]]
        kind = "resize_shorter"
        size = 256
        filter = "bilinear"

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
