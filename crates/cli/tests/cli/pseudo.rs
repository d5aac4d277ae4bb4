//! `maskfit pseudo`, and training with its labels.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::bench::{Bench, text};

/// Images that no run has seen: 7 of each of 3 people.
const EVAL: [&str; 2] = ["--images", "people/eval/images"];

fn read(bench: &Bench, name: &str) -> String {
    fs::read_to_string(bench.path(name)).unwrap()
}

/// Returns the names in the first column of a table.
fn names(table: &str) -> BTreeSet<&str> {
    table.lines().skip(1).map(|it| it.split(',').next().unwrap()).collect()
}

/// Runs a command that must fail and leave no file, and returns its error.
#[track_caller]
fn error(bench: &Bench, args: &[&str]) -> String {
    let before = bench.names();
    let output = bench.run(&[args, &["--quiet"]].concat());
    let err = text(&output.stderr);
    assert_eq!((output.status.code(), bench.names()), (Some(1), before), "{args:?}: {err}");
    err
}

#[test]
fn pseudo_labels_are_trained_on_and_never_validated() {
    let bench = Bench::new();
    let short = ["train", "small.toml", "--set", "train.total=1 epochs", "--set"];
    bench.ok(&[&short[..], &["run.name=a"]].concat());
    let pseudo = |run: &str, more: &[&str]| bench.ok(&[&["pseudo", run][..], &EVAL, more].concat());
    let out = pseudo("runs/a", &["--top", "1", "-o", "hard.csv"]);
    assert!(out.ends_with("21 of 21 images: hard.csv\n"), "{out}");
    assert!(out.lines().next().unwrap().contains("predicted  taken  mean confidence"), "{out}");
    let hard = read(&bench, "hard.csv");
    assert!(hard.starts_with("image,group,mask,gender,age,confidence,weight\n"), "{hard}");
    assert_eq!(names(&hard).len(), 21);
    let out = pseudo("runs/a", &["--top", "0.5", "--labels", "soft", "-o", "soft.csv"]);
    let soft = read(&bench, "soft.csv");
    assert!(soft.starts_with("image,group,worn male <30,"), "{soft}");
    let n = names(&soft).len();
    // Half of each predicted class, rounded up.
    assert!((11..=20).contains(&n) && out.contains(&format!("{n} of 21 images")), "{out}");
    let err = error(&bench, &[&["pseudo", "runs/a"][..], &EVAL, &["-o", "none.csv"]].concat());
    assert!(
        err.contains("no image reaches --threshold 0.9: the highest probability is 0."),
        "{err}"
    );

    let file = |it: &str| format!("data.pseudo.file={it}");
    let images = "data.pseudo.images=people/eval/images";
    let with = |name: &str, table: &str| {
        let (name, table) = (format!("run.name={name}"), file(table));
        bench.both(&[&short[..], &[name.as_str(), "--set", &table, "--set", images]].concat())
    };
    for (name, table) in [("hard", "hard.csv"), ("soft", "soft.csv")] {
        let (_, err) = with(name, table);
        let n = names(&read(&bench, table)).len();
        let note =
            format!("note: {table}: {n} pseudo-labelled images, {name}; at most 30 % of a batch");
        assert!(err.contains(&note), "{err}");
        let data = read(&bench, &format!("runs/{name}/data.csv"));
        let rows: Vec<&str> = data.lines().filter(|it| it.starts_with("pseudo/")).collect();
        assert_eq!(rows.len(), n);
        assert!(
            rows.iter().all(|it| it.contains(",0.5,pseudo ") && it.ends_with(",train")),
            "{rows:?}"
        );
        // The same people are held out as without them.
        let valid = |run: &str| read(&bench, &format!("runs/{run}/valid.csv"));
        let (own, first) = (valid(name), valid("a"));
        assert_eq!(names(&own), names(&first));
        assert_ne!(own, first, "they are trained on");
    }
    // The same bits again, and after another file's labels others.
    with("again", "soft.csv");
    assert_eq!(read(&bench, "runs/again/valid.csv"), read(&bench, "runs/soft/valid.csv"));
    assert_ne!(read(&bench, "runs/hard/valid.csv"), read(&bench, "runs/soft/valid.csv"));

    // A resumed run, which has not written its report yet, notices that the file has changed.
    let report = read(&bench, "runs/hard/report.toml");
    fs::remove_file(bench.path("runs/hard/report.toml")).unwrap();
    fs::write(bench.path("hard.csv"), hard.replacen(",1\n", ",0.9\n", 1)).unwrap();
    let err = error(&bench, &["train", "--resume", "runs/hard"]);
    assert!(
        err.contains("images with a different use: `pseudo/") && err.contains("reweighted"),
        "{err}"
    );
    fs::write(bench.path("hard.csv"), &hard).unwrap();
    fs::write(bench.path("runs/hard/report.toml"), report).unwrap();

    // A second round, with the new run, labels the same images.
    pseudo("runs/hard", &["--top", "1", "-o", "second.csv"]);
    assert_eq!(names(&read(&bench, "second.csv")), names(&hard));
    // A bundle alone does not know its data, only its files.
    let args =
        [&["pseudo", "runs/a/best"][..], &EVAL, &["--top", "1", "-o", "bundle.csv"]].concat();
    let err = bench.notes(&args);
    assert!(
        err.contains("note: runs/a/best: only files that it was trained on are recognised"),
        "{err}"
    );
    assert_eq!(read(&bench, "bundle.csv"), hard);

    // A share of less than an image, and files that are no such table.
    let check = |sets: &[&str], want: &str| {
        let table = file("hard.csv");
        let args = [&short[..], &["run.name=x", "--set", &table, "--set", images], sets].concat();
        let err = error(&bench, &args);
        assert!(err.contains(want), "{want}: {err}");
    };
    check(
        &["--set", "data.pseudo.share=0.1"],
        "a `share` of 0.1 of a batch of 8 is less than an image",
    );
    check(
        &["--set", "data.pseudo.weight=2"],
        "at `data.pseudo`: `weight` is above 0 and at most 1, not 2",
    );
    check(&["--set", "data.pseudo.images=\"\""], "name both the `file` of labels and the folder");
    check(&["--set", "head={kind = regression}"], "is trained on the number of `age`");
    let header = hard.lines().next().unwrap();
    let name = names(&hard).into_iter().next().unwrap();
    let rows = format!(
        "{header}\n{name},,worn,male,40,1,1\n{name},,worn,male,<30,nan,1\nnone.jpg,,worn,male,<30,1,1\n"
    );
    fs::write(bench.path("hard.csv"), rows).unwrap();
    for want in [
        "hard.csv: 4 problems in the data:",
        "line 2: `age` is `40`, which is not one of `<30`, `30-59`, `>=60`",
        "line 3: `confidence` is `nan`",
        &format!("line 3: `{name}` is in line 2 already"),
        "line 4: there is no file `none.jpg` in people/eval/images",
    ] {
        check(&[], want);
    }
}

#[test]
fn models_label_only_what_they_were_not_trained_on() {
    let bench = Bench::new();
    let short = ["--set", "train.total=2 steps", "--set"];
    let own = ["--images", "people/train/images", "--top", "1", "--labels", "soft", "-o"];
    bench.ok(&[&["train", "small.toml"][..], &short, &["run.name=a"]].concat());
    // A run labels only its validation set.
    let out = bench.ok(&[&["pseudo", "runs/a"][..], &own, &["a.csv"]].concat());
    let valid = read(&bench, "runs/a/valid.csv");
    let (labelled, held_out) = (read(&bench, "a.csv"), names(&valid));
    assert_eq!(names(&labelled), held_out);
    let n = 56 - held_out.len();
    assert!(
        out.contains(&format!("left out: {n} images that all models were trained on")),
        "{out}"
    );
    // These may not be trained on with the same validation set, in any fold.
    let images = "data.pseudo.images=people/train/images";
    let sets = ["run.name=b", "--set", "data.pseudo.file=a.csv", "--set", images];
    for command in [&["train", "small.toml"][..], &["kfold", "small.toml", "--folds", "2"]] {
        let before = bench.names();
        let output = bench.run(&[command, &short, &sets].concat());
        let err = text(&output.stderr);
        assert_eq!((output.status.code(), bench.names()), (Some(1), before), "{err}");
        let want = format!(
            "at `data.pseudo`: {} of its images are held out for validation",
            held_out.len()
        );
        assert!(err.contains(&want), "{err}");
        let name = held_out.iter().next().unwrap();
        assert!(err.contains(&format!("`pseudo/{name}` is a copy of `{name}`")), "{err}");
    }

    // A cross-validation labels its own data out of fold, and other images with all folds.
    let folds = ["kfold", "small.toml", "--folds", "2"];
    bench.ok(&[&folds[..], &short, &["run.name=k"]].concat());
    let (out, err) = bench.both(&[&["pseudo", "runs/k"][..], &own, &["k.csv"]].concat());
    assert!(
        out.contains("56 images among the data of the models, each labelled only by models"),
        "{out}"
    );
    let rows = |table: &str| -> BTreeMap<String, Vec<String>> {
        let fields = |it: &str| it.split(',').map(str::to_owned).collect::<Vec<_>>();
        table.lines().skip(1).map(fields).map(|it| (it[0].clone(), it)).collect()
    };
    let (oof, labelled) = (read(&bench, "runs/k/oof.csv"), read(&bench, "k.csv"));
    let (oof, labelled) = (rows(&oof), rows(&labelled));
    assert_eq!(oof.len(), 56);
    for (name, oof) in &oof {
        // image, group, truth, predicted, then classes; and image, group, classes, confidence, weight.
        let own = &labelled[name];
        assert_eq!(own[1], oof[1], "{name}");
        // Another batch size changes the rounding.
        for (a, b) in own[2..20].iter().zip(&oof[4..22]) {
            let [a, b] = [a, b].map(|it| it.parse::<f64>().unwrap());
            assert!((a - b).abs() < 1e-5, "{name}: {a}, {b}");
        }
    }
    // The command that it suggests is for a run with one validation set, without the rows that this holds out.
    let err = err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(err.contains("note: 56 images of k.csv are in the data of the models."), "{err}");
    let file = "data.pseudo.file=k.csv";
    let next = format!("next: maskfit train CONFIG --set {file} --set {images}");
    assert!(err.contains("take a CONFIG with one validation set") && err.contains(&next), "{err}");
    let sets = ["run.name=n", "--set", file, "--set", images];
    let next = [&["train", "small.toml"], &short[..], &sets].concat();
    let err = error(&bench, &next);
    assert!(
        held_out.iter().all(|it| err.contains(&format!("`pseudo/{it}` is a copy of"))),
        "{err}"
    );
    let table = read(&bench, "k.csv");
    let is_left = |it: &&str| !held_out.contains(it.split(',').next().unwrap());
    let left: String = table.lines().filter(is_left).map(|it| format!("{it}\n")).collect();
    fs::write(bench.path("k.csv"), &left).unwrap();
    bench.ok(&next);
    let trained = read(&bench, "runs/n/data.csv");
    assert_eq!(trained.lines().filter(|it| it.starts_with("pseudo/")).count(), n);

    bench.ok(&[
        &["pseudo", "runs/k"][..],
        &EVAL,
        &["--top", "1", "--labels", "soft", "-o", "e.csv"],
    ]
    .concat());
    bench.ok(&[&["predict", "runs/k"][..], &EVAL, &["-o", "predicted.csv"]].concat());
    let (eval, predicted) = (read(&bench, "e.csv"), read(&bench, "predicted.csv"));
    let (eval, predicted) = (rows(&eval), rows(&predicted));
    assert_eq!(eval.len(), 21);
    for (name, predicted) in &predicted {
        assert_eq!(eval[name][2..20], predicted[3..21], "{name}");
        assert_eq!(eval[name][1], "");
    }

    // The group of a copy is that of its image, whatever its name.
    let person = bench.image(0, "normal.jpg");
    fs::create_dir(bench.path("new")).unwrap();
    let name = person.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let copy = bench.path("new").join("new.jpg");
    fs::copy(&person, &copy).unwrap();
    let out = bench.ok(&["pseudo", "runs/k", "--images", "new", "--top", "1", "-o", "new.csv"]);
    assert!(out.contains("1 image among the data of the models"), "{out}");
    assert!(read(&bench, "new.csv").contains(&format!("\nnew.jpg,{name},")));
}

#[test]
fn the_sets_of_the_data_are_counted_separately() {
    let bench = Bench::new();
    let out = bench.ok(&["data", "check", "small.toml"]);
    assert!(
        out.starts_with("no problems found: 56 images of 8 people\n  training set:    "),
        "{out}"
    );
    assert!(out.contains("\n  validation set:  "), "{out}");
    assert!(!out.contains("test set"), "{out}");
    let header = out.lines().find(|it| it.starts_with("class")).unwrap();
    assert_eq!(
        header.split_whitespace().collect::<Vec<_>>(),
        ["class", "training", "validation", "test"]
    );
    let rows = out.lines().filter(|it| it.trim_start().starts_with(|it: char| it.is_ascii_digit()));
    let sums = rows.fold([0; 3], |mut sums, row| {
        let fields: Vec<&str> = row.split_whitespace().rev().take(3).collect();
        fields
            .iter()
            .rev()
            .zip(&mut sums)
            .for_each(|(it, sum)| *sum += it.parse::<usize>().unwrap());
        sums
    });
    assert_eq!((sums[0] + sums[1], sums[2]), (56, 0), "{out}");
    assert!(out.contains("joint classes without validation images: "), "{out}");

    // A person whose images are all dropped is not counted.
    let images = bench.path("people/train/images");
    let people: BTreeSet<String> = fs::read_dir(images)
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    let person = people.first().unwrap();
    let age: u32 = person.rsplit('_').next().unwrap().parse().unwrap();
    let given = ["<30", "30-59", ">=60"][usize::from(age >= 30) + usize::from(age >= 60)];
    let row = format!("{person},all,age,{given},{given},0.1,drop");
    let header = "group,image,factor,given,suggested,score,decision";
    fs::write(bench.path("reviewed.csv"), format!("{header}\n{row}\n")).unwrap();
    let out = bench.ok(&["data", "check", "small.toml", "--set", "data.reviewed=['reviewed.csv']"]);
    assert!(out.starts_with("no problems found: 49 images of 7 people\n"), "{out}");
}
