//! `maskfit init`: what it finds in a folder, and what it says where it finds nothing.

use std::fs;

use expect_test::expect;

use crate::bench::{Bench, text, unwrapped};

/// Writes images that differ.
fn images(bench: &Bench, folder: &str, n: u8) {
    fs::create_dir_all(bench.path(folder)).unwrap();
    for shade in 0..n {
        let image = image::RgbImage::from_pixel(40, 40, image::Rgb([shade, 0, n]));
        image.save(bench.path(folder).join(format!("{shade}.png"))).unwrap();
    }
}

#[test]
fn data_without_an_image_is_an_error_and_missing_ones_are_one_line() {
    let bench = Bench::new();
    let folders: Vec<_> = fs::read_dir(bench.path("people/train/images"))
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    let (first, others): (Vec<_>, Vec<_>) =
        folders.into_iter().partition(|it| it.ends_with("000001_female_Drawn_23"));
    others.iter().for_each(|it| fs::remove_dir_all(it).unwrap());
    let (out, err) = bench.both(&["init", "people/train", "-o", "mine.toml"]);
    let lines = unwrapped(&out);
    let has = |want: &str| assert!(lines.iter().any(|it| it == want), "{want}: {out}");
    has("- 7 images of 1 person");
    has(
        "- `mask`: 3 classes of 1 (`incorrect`) to 5 (`worn`) images; `gender`: 1 class of 7 (`female`) \
         to 7 (`female`) images, and without images: `male`; `age`: 1 class of 7 (`<30`) to 7 (`<30`) \
         images, and without images: `30-59`, `>=60`",
    );
    assert!(err.contains("note: 7 problems in the data:"), "{err}");

    fs::remove_file(bench.path("mine.toml")).unwrap();
    fs::remove_dir_all(&first[0]).unwrap();
    let args = ["init", "people/train", "-o", "mine.toml"];
    bench.fails(&args, expect![[r#"
        error: people/train: no images to train on; 8 problems in the data:
          images/000001_female_Drawn_23, images/000002_male_Drawn_20, images/000003_female_Drawn_58 and 5 more: is missing: put the folder there, or remove the row
          (`--verbose` lists all 8)"#]]);
    let details = text(&bench.run(&[&args[..], &["-v"]].concat()).stderr);
    assert_eq!(details.matches(": is missing: put").count(), 1 + 8, "{details}");
}

#[test]
fn classes_without_images_and_such_that_look_alike_are_named() {
    let bench = Bench::empty();
    images(&bench, "mine/Cat", 5);
    images(&bench, "mine/cat", 6);
    fs::create_dir(bench.path("mine/empty")).unwrap();
    let (out, err) = bench.both(&["init", "mine"]);
    let lines = unwrapped(&out);
    assert_eq!(lines[0], "- a folder for each class");
    assert!(lines[1].starts_with("- nothing says which images belong together"), "{out}");
    let pattern = "group = { regex = \"([^/]+)_[0-9]+[.]\" }";
    assert!(lines[1].contains(pattern), "{out}");
    assert_eq!(lines[2], "- 11 images");
    assert_eq!(
        lines[3],
        "- `class`: 2 classes of 5 (`Cat`) to 6 (`cat`) images, and without images: `empty`"
    );
    let note = "note: classes of `class` that differ only in case, spaces or Unicode form: `Cat` and `cat`: \
                if they are meant as one, give it one name";
    assert!(unwrapped(&err).iter().any(|it| it == note), "{err}");
    let config = fs::read_to_string(bench.path("mine.toml")).unwrap();
    assert!(
        config.starts_with("# Written by `maskfit init mine`; every line may be changed.\n#\n# - ")
    );
    assert!(config.trim_end().ends_with("batch_size = 32"), "{config}");

    bench.fails(
        &["data", "check", "mine.toml"],
        expect![[r#"
            error: mine: 1 problem in the data:
              empty: has no images: put images there, or remove the folder"#]],
    );
    fs::remove_dir(bench.path("mine/empty")).unwrap();
    let notes = bench.notes(&["data", "check", "mine.toml"]);
    assert!(unwrapped(&notes).iter().any(|it| it == note), "{notes}");
    // The pattern that is named can be set, and a name alone cannot.
    let grouped = config.replace("root = \"mine\"", &format!("root = \"mine\", {pattern}"));
    fs::write(bench.path("mine.toml"), grouped.replace("([^/]+)_[0-9]+[.]", "/([0-9])[.]"))
        .unwrap();
    assert!(bench.ok(&["data", "check", "mine.toml"]).contains("11 images of 6 groups"));
    fs::write(bench.path("mine.toml"), grouped.replace(pattern, "group = \"person\"")).unwrap();
    bench.fails(
        &["data", "check", "mine.toml"],
        expect![[r#"error: mine.toml: at `data.source.group`: invalid type: string "person", expected a pattern of names, such as { regex = "([^/]+)_[0-9]+[.]" }"#]],
    );
}

#[test]
fn what_is_there_is_said_where_nothing_is_recognised() {
    let bench = Bench::empty();
    let fails = |args: &[&str], want: &str| {
        let before = bench.names();
        let output = bench.run(args);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}\n{err}");
        assert!(err.starts_with(&format!("error: {want}")), "{args:?}\n{err}");
        assert_eq!(bench.names(), before, "the command left files");
        err
    };
    fails(&["init", "mien"], "mien: there is no such folder: name the folder of the images\n");
    fs::create_dir(bench.path("mine")).unwrap();
    fails(
        &["init", "mine"],
        "mine: recognised no layout: there are no images, folders or tables; recognised are:\n  - a folder of",
    );
    images(&bench, "mine", 3);
    fails(&["init", "mine/0.png"], "mine/0.png: is a file: name the folder of the images\n");
    let flat = "there are 3 images and no folders: if they are one class, name the folder above;";
    fails(&["init", "mine"], &format!("mine: recognised no layout: {flat}"));
    let table = |rows: &str| fs::write(bench.path("mine/a.csv"), rows).unwrap();
    table("x,y\n8,9\n");
    let columns =
        "`a.csv` has the columns `x`, `y`, none of which names files in this folder or a subfolder";
    fails(&["init", "mine"], &format!("mine: recognised no layout: {columns}; {flat}"));
    fails(&["eda", "mine"], &format!("mine: recognised no layout: {columns}; {flat}"));
    table("x,y\n0,9\n7,9\n8,9\n");
    let few = "`a.csv` names files in this folder in only 1 of 3 rows, in its column `x`";
    fails(&["init", "mine"], &format!("mine: recognised no layout: {few}; {flat}"));
    table("id,note\n0,a\n1,b\n2,c\n");
    let err = fails(
        &["init", "mine"],
        "mine: `a.csv` names images in its column `id`, but none of its other columns (`note`) has labels",
    );
    assert!(err.contains("image = \"id\", label = \"COLUMN\" }`"), "{err}");

    images(&bench, "classes/a", 3);
    images(&bench, "classes/b", 4);
    fails(
        &["init", "classes", "-o", "nodir/a.toml"],
        "--output nodir/a.toml: folder nodir does not exist: create it\n",
    );
    // `-` is stdout, as of other commands.
    assert!(
        bench
            .ok(&["init", "classes", "-o", "-"])
            .starts_with("# Written by `maskfit init classes`")
    );
    let set = "data.source={ kind = \"folders\", root = \"mine\" }";
    fails(
        &["data", "check", "--set", set, "-q"],
        "mine: 1 problem in the data:\n  mine: has no folders: `data.source.root` must be a folder with",
    );
}
