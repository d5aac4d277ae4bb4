//! `maskfit explain`: a PNG of each image, a table, a contact sheet, and maps beside areas.

use std::{collections::BTreeSet, fs};

use expect_test::expect;

use crate::bench::{Bench, TRAIN, text, unwrapped};

fn trained() -> Bench {
    let bench = Bench::new();
    bench.ok(&[&TRAIN[..], &["--set", "run.name=a"]].concat());
    bench
}

/// The rows of `explain.csv`, without its header.
fn rows(bench: &Bench, folder: &str) -> Vec<String> {
    let table = fs::read_to_string(bench.path(folder).join("explain.csv")).unwrap();
    table.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn each_image_has_a_png_whatever_its_name() {
    let bench = trained();
    fs::create_dir_all(bench.path("one/deep")).unwrap();
    fs::create_dir_all(bench.path("two")).unwrap();
    let image = fs::read(bench.image(0, "mask1.jpg")).unwrap();
    for name in ["one/a.jpg", "one/deep/Kim, Min-su.jpg", "two/a.jpg", "two/사진 1.jpg"] {
        fs::write(bench.path(name), &image).unwrap();
    }
    fs::write(bench.path("two/notes.txt"), "notes").unwrap();
    let images = ["--images", "one", "two", "two/a.jpg", "-o", "maps"];
    let output = bench.run(&[&["explain", "runs/a"][..], &images].concat());
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert!(err.contains("notes.txt"), "{err}");
    assert!(out.contains("4 images explained: maps\n"), "{out}");
    assert!(out.contains("contact sheet of the first 4: maps/sheet.png\n"), "{out}");

    let mut names: Vec<String> = fs::read_dir(bench.path("maps"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let files = [
        "0001-a.png",
        "0002-Kim, Min-su.png",
        "0003-a.png",
        "0004-사진 1.png",
        "explain.csv",
        "sheet.png",
    ];
    assert_eq!(names, files);
    let begins = [
        "one/a.jpg,0001-a.png,",
        "\"one/deep/Kim, Min-su.jpg\",\"0002-Kim, Min-su.png\",",
        "two/a.jpg,0003-a.png,",
        "two/사진 1.jpg,0004-사진 1.png,",
    ];
    for (row, begin) in rows(&bench, "maps").iter().zip(begins) {
        assert!(row.starts_with(begin), "{row}");
    }
    // The same image has the same map, whatever its name.
    let drawn = |idx: usize| fs::read(bench.path("maps").join(files[idx])).unwrap();
    assert!(drawn(0) == drawn(1) && drawn(0) == drawn(3));
    // The input of 32 x 24 pixels, seven times as large, beside the map over it.
    let size = image::load_from_memory(&drawn(0)).unwrap().into_rgb8().dimensions();
    assert_eq!(size, (2 * 24 * 7 + 8, 32 * 7));
}

#[test]
fn the_probability_is_that_of_predict() {
    let bench = trained();
    let images = ["--images", "people/eval/images"];
    bench.ok(&[&["predict", "runs/a"][..], &images, &["-o", "p.csv"]].concat());
    let class = ["--target", "4", "--method", "grad_cam_plus_plus", "--stage", "stage3", "-o", "m"];
    bench.ok(&[&["explain", "runs/a"][..], &images, &class].concat());
    let table = fs::read_to_string(bench.path("p.csv")).unwrap();
    let mut lines = table.lines().map(|it| it.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = header.iter().position(|it| *it == "worn female 30-59").unwrap();
    let want: Vec<String> = lines.map(|it| format!("worn female 30-59,{}", it[column])).collect();
    let got = rows(&bench, "m");
    assert_eq!(got.len(), 21);
    for (got, want) in got.iter().zip(want) {
        assert!(got.contains(&want), "{got}: {want}");
    }
}

#[test]
fn all_unreadable_images_are_named_and_nothing_is_written() {
    let bench = trained();
    fs::create_dir_all(bench.path("in")).unwrap();
    let image = fs::read(bench.image(0, "mask1.jpg")).unwrap();
    fs::write(bench.path("in/a.jpg"), &image).unwrap();
    fs::write(bench.path("in/b.jpg"), &image[..image.len() / 2]).unwrap();
    fs::write(bench.path("in/c.jpg"), &image[..image.len() / 3]).unwrap();
    let output = bench.run(&["explain", "runs/a", "--images", "in", "-o", "maps"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("b.jpg") && err.contains("c.jpg") && !err.contains("a.jpg"), "{err}");
    assert!(err.contains("nothing is written") && !bench.path("maps").exists(), "{err}");
}

#[test]
fn what_the_network_does_not_have_is_an_error() {
    let bench = trained();
    let fails = |args: &[&str], want| {
        let images = ["--images", "people/eval/images", "-o", "maps"];
        bench.fails(&[&["explain", "runs/a"][..], &images, args].concat(), want);
    };
    fails(
        &["--factor", "masks"],
        expect!["error: --factor: there is no factor `masks`: did you mean `mask`?"],
    );
    fails(
        &["--factor", "gender", "--target", "worn"],
        expect!["error: --target: there is no level `worn`: expected one of: male, female"],
    );
    let output =
        bench.run(&["explain", "runs/a", "--side", "valid", "--target", "foo", "-o", "maps"]);
    let err = text(&output.stderr);
    assert!(err.starts_with("error: --target: there is no class or level `foo`: "), "{err}");
    fails(
        &["--stage", "neck"],
        expect![
            "error: --stage: the network has no stage `neck` with a feature map: expected one of: stem, stage1, stage2, stage3, stage4, stage5, stage6, stage7"
        ],
    );
    fails(
        &["--member", "1"],
        expect![
            "error: --member 1: runs/a: there is no model 1: the bundle has 1, numbered from 0"
        ],
    );
    fails(
        &["--method", "occlusion", "--stage", "stage1"],
        expect![
            "error: --stage: occlusion has no stage: leave it out, or choose another `--method`"
        ],
    );
    fails(&["--areas", "nowhere"], expect!["error: --areas nowhere: there is no such folder"]);
    bench.fails(
        &["explain", "runs/a", "--n", "2", "-o", "maps"],
        expect![
            "error: name the images with `--images PATH`, or a set of the run with `--side valid`"
        ],
    );
    bench.fails(
        &["explain", "runs/a", "--side", "test", "-o", "maps"],
        expect![
            "error: runs/a: `--side test`: its data has no test set: explain its validation set with `--side valid`, or name `--images`"
        ],
    );
    bench.fails(
        &["explain", "runs/a/valid.csv", "--side", "valid", "-o", "maps"],
        expect!["error: runs/a/valid.csv: this is a file: name the folder of a run or a bundle"],
    );
}

#[test]
fn wrong_and_right_images_of_a_runs_own_set_are_explained() {
    let bench = trained();
    let side = ["--side", "valid", "--n", "6", "--sheet", "2", "-o", "maps"];
    let out = bench.ok(&[&["explain", "runs/a"][..], &side].concat());
    assert!(out.contains("6 images explained") && out.contains("of the first 2"), "{out}");
    let table = fs::read_to_string(bench.path("maps/explain.csv")).unwrap();
    assert!(table.starts_with("image,file,truth,target,probability,half_mass\n"), "{table}");
    let is_right = |row: &String| {
        let fields: Vec<&str> = row.split(',').collect();
        fields[2] == fields[3]
    };
    // The wrong ones come first.
    let right: Vec<bool> = rows(&bench, "maps").iter().map(is_right).collect();
    assert!(right.is_sorted(), "{table}");
    bench.fails(
        &["explain", "runs/a/best", "--side", "valid", "-o", "other"],
        expect!["error: runs/a/best: `--side` needs the folder of a run or a cross-validation, with its data and predictions: name one, or name `--images`"],
    );
}

#[test]
fn images_of_a_cross_validation_are_explained_by_a_fold_that_was_not_trained_on_them() {
    let bench = Bench::new();
    let source =
        "data.source={kind = \"synthetic_people\", n_people = 18, n_test = 3, size = [40, 32]}";
    let kfold = ["kfold", "small.toml", "--folds", "2", "--set", source, "--set", "run.name=k"];
    bench
        .ok(&[&kfold[..], &["--set", "train.total=2 steps", "--set", "run.report=false"]].concat());
    // The folds of the rows, each of which has the prediction of its fold.
    let folds = |folder: &str, table: &str| -> BTreeSet<String> {
        let header = fs::read_to_string(bench.path(folder).join("explain.csv")).unwrap();
        assert!(header.starts_with("image,file,fold,truth,target,probability,half_mass\n"));
        let fold = |row: &String| {
            let fields: Vec<&str> = row.split(',').collect();
            let path = bench.path("runs/k").join(format!("fold-{}", fields[2])).join(table);
            let predicted = fs::read_to_string(path).unwrap();
            let begin = format!("{},", fields[0]);
            let own = predicted.lines().find(|it| it.starts_with(&begin));
            let own = own.unwrap_or_else(|| panic!("{row}"));
            assert!(own.split(',').skip(4).any(|it| it == fields[5]), "{row}\n{own}");
            fields[2].to_owned()
        };
        rows(&bench, folder).iter().map(fold).collect()
    };
    let explain = |args: &[&str]| bench.both(&[&["explain", "runs/k"][..], args].concat());
    let (out, err) = explain(&["--side", "valid", "--n", "126", "-o", "all"]);
    assert!(out.contains("126 images explained"), "{out}");
    let note = "note: each image is explained by the fold that was not trained on it: `--member` chooses one of the 2";
    assert!(unwrapped(&err).iter().any(|it| it == note), "{err}");
    assert_eq!(folds("all", "valid.csv").into_iter().collect::<Vec<_>>(), ["0", "1"]);
    let (_, err) = explain(&["--side", "valid", "--n", "4", "--member", "1", "-o", "one"]);
    assert!(err.contains("note: fold 1 of 2 is explained"), "{err}");
    assert_eq!(folds("one", "valid.csv").into_iter().collect::<Vec<_>>(), ["1"]);
    let (_, err) = explain(&["--side", "test", "--n", "4", "-o", "test"]);
    assert!(err.contains("note: fold 0 of 2 is explained"), "{err}");
    assert_eq!(folds("test", "test.csv").into_iter().collect::<Vec<_>>(), ["0"]);
}

#[test]
fn maps_are_compared_with_the_areas_of_masks() {
    let bench = trained();
    let people = ["--people", "2", "--test", "1", "--size", "40x32", "--seed", "5", "--areas"];
    bench.ok(&[&["data", "synthetic-people", "others"][..], &people].concat());
    let images = ["--images", "others/train/images", "--areas", "others/train/areas"];
    let target = ["--target", "worn", "--method", "occlusion", "-o", "maps"];
    let (out, err) = bench.both(&[&["explain", "runs/a"][..], &images, &target].concat());
    // Of seven images of a person, one has no mask.
    assert!(err.contains("2 of 14 images have no area"), "{err}");
    assert!(out.contains("mass of the maps on the areas of 12 images, on average:"), "{out}");
    let table = fs::read_to_string(bench.path("maps/explain.csv")).unwrap();
    assert!(table.lines().next().unwrap().ends_with(",half_mass,on_area,area,other_on_area"));
    let rows = rows(&bench, "maps");
    assert_eq!(rows.len(), 12);
    // The first has no image before it.
    assert!(out.contains("\n  maps of the image before  "), "{out}");
    let others: Vec<bool> = rows.iter().map(|it| it.ends_with(',')).collect();
    assert!(others[0] && !others[1], "{table}");
    for row in rows {
        let field = |at: usize| row.split(',').nth(at).unwrap().parse::<f64>().unwrap();
        // The share of the map, and of the pixels: a mask covers a part of the face.
        assert!((0.0..=1.0).contains(&field(5)), "{row}");
        assert!((0.005..0.5).contains(&field(6)), "{row}");
    }
}
