//! `maskfit schedule` and `lr-find`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use expect_test::expect;

use crate::bench::Bench;

/// Returns every file in a folder, with its bytes and modification time.
fn all(dir: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(all(&path)),
            false => {
                let written = fs::metadata(&path).unwrap().modified().unwrap();
                files.push((path.clone(), fs::read(&path).unwrap(), written));
            }
        }
    }
    files.sort();
    files
}

fn is_png(path: &Path) -> bool {
    fs::read(path).unwrap().starts_with(b"\x89PNG")
}

#[test]
fn lr_find_does_not_change_the_run() {
    let bench = Bench::new();
    bench.ok(&["train", "small.toml", "--set", "run.name=a"]);
    let run = bench.path("runs/a");
    let before = all(&run);
    assert!(before.iter().any(|it| it.0.ends_with("checkpoints/00000010.safetensors")));
    let out = bench.ok(&["lr-find", "--run", "runs/a", "--steps", "40", "-o", "curve.png"]);
    assert!(out.contains("1  valley") && out.contains("--set optim.lr="), "{out}");
    assert!(is_png(&bench.path("curve.png")));
    assert!(before == all(&run), "the run was changed");

    // Without a run: a fresh model, and another curve. The schedule is ignored.
    let fresh = ["lr-find", "small.toml", "--steps", "40", "--set", "schedule.kind=fine_tune"];
    assert!(bench.ok(&fresh) != out);
    assert!(is_png(&bench.path("lr-find.png")));
    bench.fails(
        &["lr-find", "small.toml", "--from", "1", "--to", "0.1"],
        expect!["error: --to: the last rate must be above the first, 1e0, not 1e-1"],
    );
}

#[test]
fn schedule_is_plotted_without_a_run() {
    let bench = Bench::new();
    let names = bench.names().len();
    let out = bench.ok(&["schedule", "small.toml", "--set", "train.warmup=0 steps"]);
    expect![[r#"
        cosine over 10 steps

        learning rate
         2.0e-3 ┤⠉⠉⠉⠉⠑⠒⠒⠒⠒⠤⠤⠤⣀⣀⣀
                │               ⠉⠑⠒⠢⠤⢄⣀
                │                      ⠉⠑⠒⠢⢄⣀
                │                            ⠉⠑⠢⠤⣀⡀
         1.0e-3 ┤                                 ⠈⠉⠒⠤⣀⡀
                │                                      ⠈⠉⠒⠢⢄⣀
                │                                            ⠉⠑⠢⠤⢄⣀
                │                                                  ⠉⠑⠒⠢⠤⢄⣀
              0 ┤                                                         ⠉⠉⠉⠒⠒⠒⠤⠤
                └────────────────────────────────────────────────────────────────────────
                 0                0.5                1               1.5                2
                                        epoch (5 steps per epoch)

        learning rate: from 2.0e-3, to 4.9e-5 at the last step
        plot: schedule.png
    "#]]
    .assert_eq(&out);
    assert!(is_png(&bench.path("schedule.png")));
    assert_eq!(bench.names().len(), names + 1, "the command left more than the plot");

    let fine_tune = ["schedule", "small.toml", "--set", "schedule.kind=fine_tune", "-o", "b.png"];
    let out = bench.ok(&fine_tune);
    let wanted = [
        "learning rate of the head",
        "learning rate of the first stage",
        "momentum",
        "\nlearning rate of the head: from ",
        "only the head is trained",
    ];
    assert!(wanted.iter().all(|it| out.contains(it)), "{out}");
    let notes = out.lines().skip_while(|it| !it.starts_with("learning rate of the head: "));
    assert!(notes.clone().count() > 2 && notes.into_iter().all(|it| it.len() <= 80), "{out}");
    let [one, three] =
        ["schedule.png", "b.png"].map(|it| image::open(bench.path(it)).unwrap().height());
    assert!(three > one, "panels are stacked vertically");
    let out = bench.ok(&["schedule", "small.toml", "--set", "schedule.kind=plateau"]);
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("not known in advance"), "{out}");
    bench.fails(
        &["schedule", "small.toml", "--set", "schedule={ kind = \"one_cycle\", div = 0.5 }"],
        expect!["error: at `schedule`: `div` divides the peak, and is at least 1, not 0.5"],
    );
}
