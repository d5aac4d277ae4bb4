//! Images that a model was trained on are recognised under other names, by the hashes of their files.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
};

use crate::bench::{Bench, SMALL, text};

/// Copies the data with other names of people and their folders, and returns the names of its images.
fn renamed(bench: &Bench) -> BTreeSet<String> {
    let (from, to) = (bench.path("people/train"), bench.path("renamed/train"));
    let table = fs::read_to_string(from.join("train.csv")).unwrap();
    let mut lines = table.lines();
    let mut text = format!("{}\n", lines.next().unwrap());
    for line in lines {
        let [id, rest] = line.splitn(2, ',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (rest, path) = rest.rsplit_once(',').unwrap();
        text += &format!("9{id},{rest},9{path}\n");
    }
    let mut names = BTreeSet::new();
    for person in fs::read_dir(from.join("images")).unwrap() {
        let person = person.unwrap();
        let name = format!("9{}", person.file_name().into_string().unwrap());
        let dir = to.join("images").join(&name);
        fs::create_dir_all(&dir).unwrap();
        for image in fs::read_dir(person.path()).unwrap() {
            let image = image.unwrap();
            let file = image.file_name().into_string().unwrap();
            fs::copy(image.path(), dir.join(&file)).unwrap();
            names.insert(format!("{name}/{file}"));
        }
    }
    fs::write(to.join("train.csv"), text).unwrap();
    let config = SMALL.replace("people/train", "renamed/train");
    fs::write(bench.path("renamed.toml"), config).unwrap();
    names
}

#[test]
fn images_that_a_model_was_trained_on_are_found_under_other_names() {
    let bench = Bench::new();
    let short = ["--set", "train.total=2 steps", "--set", "run.name=a"];
    bench.ok(&[&["train", "small.toml"][..], &short].concat());
    let names = renamed(&bench);
    let data = fs::read_to_string(bench.path("runs/a/data.csv")).unwrap();
    let header: Vec<&str> = data.lines().next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|it| *it == name).unwrap();
    let (hash, side) = (column("hash"), column("side"));
    let rows: Vec<Vec<&str>> = data.lines().skip(1).map(|it| it.split(',').collect()).collect();
    let of_side = |wanted: &str| -> HashSet<&str> {
        rows.iter().filter(|it| it[side] == wanted).map(|it| it[hash]).collect()
    };
    let seen = |wanted: &str| rows.iter().filter(|it| of_side(wanted).contains(it[hash])).count();
    let (n_trained, n_valid) = (seen("train"), seen("valid"));
    assert!(n_trained >= 28 && n_valid >= 7 && n_trained + n_valid >= 56, "{n_trained}, {n_valid}");

    let of_new = ["--config", "renamed.toml", "--side", "all", "-o", "scores"];
    let refused = |model: &str, more: &[&str]| {
        let output = bench.run(&[&["evaluate", model][..], &of_new, more].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(!bench.path("scores").exists());
        text(&output.stderr)
    };
    let of = |how: &str, n: usize| format!("was {how} on the files of {n} of these 56 images: `9");
    for more in [&[][..], &["--new-groups"]] {
        let err = refused("runs/a", more);
        assert!(err.contains(&of("trained", n_trained)), "{err}");
        assert!(!err.contains("known by name only"), "{err}");
    }

    // What an ensemble was fitted on is kept with it, wherever the runs are.
    bench.ok(&["ensemble", "runs/a", "--calibrate", "temperature", "-o", "calibrated"]);
    fs::rename(bench.path("runs/a"), bench.path("runs/moved")).unwrap();
    let err = refused("calibrated", &[]);
    assert!(err.contains(&of("trained", n_trained)), "{err}");
    assert!(err.contains(&of("fitted", n_valid)), "{err}");

    // Nor are they labelled by the model, with or without its data.
    let images = ["--images", "renamed/train/images", "--top", "1", "-o"];
    for (model, more, file) in [
        ("runs/moved", &[][..], "run.csv"),
        ("runs/moved", &["--config", "renamed.toml"], "other.csv"),
        ("runs/moved/best", &[], "bundle.csv"),
    ] {
        let out = bench.ok(&[&["pseudo", model][..], &images, &[file], more].concat());
        let left = format!("left out: {n_trained} images that all models were trained on");
        assert!(out.contains(&left), "{model}: {out}");
        let table = fs::read_to_string(bench.path(file)).unwrap();
        assert_eq!(table.lines().count(), 1 + names.len() - n_trained, "{model}");
    }
    let of_calibrated = ["pseudo", "calibrated", "--images"];
    let eval = ["people/eval/images", "--top", "1", "-o", "eval.csv"];
    let out = bench.ok(&[&of_calibrated[..], &eval].concat());
    assert!(!out.contains("left out"), "{out}");
    let all = ["renamed/train/images", "--top", "1", "-o", "none.csv"];
    let err = text(&bench.run(&[&of_calibrated[..], &all].concat()).stderr);
    assert!(err.contains("all models were trained on these images"), "{err}");
}
