//! `maskfit eda`: findings, files and error messages.

use std::{collections::BTreeMap, fs, path::Path};

use expect_test::expect;

use crate::bench::Bench;

/// Creates a folder with eight synthetic people.
fn people() -> Bench {
    let bench = Bench::empty();
    let few = ["--people", "8", "--test", "0", "--wrong-labels", "0"];
    bench.ok(&[&["data", "synthetic-people", "people"][..], &few].concat());
    bench
}

/// Returns all files of a folder.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |it: &fs::DirEntry| it.file_name().into_string().unwrap();
    let entries = fs::read_dir(dir).unwrap().map(|it| it.unwrap());
    entries.map(|it| (name(&it), fs::read(it.path()).unwrap())).collect()
}

#[test]
fn planted_problems_are_printed_drawn_and_written() {
    let bench = people();
    // Person 0's mask1 is also person 1's, and her normal image also her incorrect_mask image.
    fs::copy(bench.image(0, "mask1.jpg"), bench.image(1, "mask1.jpg")).unwrap();
    fs::copy(bench.image(0, "normal.jpg"), bench.image(0, "incorrect_mask.jpg")).unwrap();
    fs::write(bench.image(2, "mask3.jpg"), "a text file").unwrap();
    fs::remove_file(bench.image(3, "mask3.jpg")).unwrap();
    let out = bench.ok(&["eda", "people", "-o", "look"]);
    // Decoders may round differently on other machines.
    let is_exact = |it: &&str| !it.contains(" = [");
    let out: String = out.lines().filter(is_exact).map(|it| format!("{it}\n")).collect();
    expect![[r#"
        people/train: 55 images of 8 people

        problems
          1 image cannot be read:
            000003_female_Drawn_58/mask3.jpg  this is not an image: its first bytes are
                                              none of JPEG, PNG, WebP, GIF, BMP or TIFF
          data errors that prevent training:
            images/000004_male_Drawn_43/mask3  is missing  put the image there, or leave
                                                           the person out by a label fix
          2 pairs of duplicates or near-duplicates, 2 with different labels:
            000001_female_Drawn_23/incorrect_mask.jpg  identical file
            000001_female_Drawn_23/normal.jpg          incorrect female <30 / not worn
                                                       female <30
            000001_female_Drawn_23/mask1.jpg           identical file
            000002_male_Drawn_20/mask1.jpg             worn female <30 / worn male <30
          6 classes have no images, and no contact sheet:
             2  worn male >=60
             5  worn female >=60
             8  incorrect male >=60
            11  incorrect female >=60
            14  not worn male >=60
            17  not worn female >=60

            class                   images  people
         0  worn male <30                5       1
         1  worn male 30-59              9       2
         2  worn male >=60               0       0
         3  worn female <30             20       4
         4  worn female 30-59            5       1
         5  worn female >=60             0       0
         6  incorrect male <30           1       1
         7  incorrect male 30-59         2       2
         8  incorrect male >=60          0       0
         9  incorrect female <30         4       4
        10  incorrect female 30-59       1       1
        11  incorrect female >=60        0       0
        12  not worn male <30            1       1
        13  not worn male 30-59          2       2
        14  not worn male >=60           0       0
        15  not worn female <30          4       4
        16  not worn female 30-59        1       1
        17  not worn female >=60         0       0

           mask       images  people
        0  worn           39       8
        1  incorrect       8       8
        2  not worn        8       8

           gender  images  people
        0  male        20       3
        1  female      35       5

           age    images  people
        0  <30        35       5
        1  30-59      20       3
        2  >=60        0       0

        age         19 to 58
        sizes, HxW  128x96: 54 images
        brightness  median 128 of 255
                    darkest 66: 000003_female_Drawn_58/mask2.jpg
                    brightest 185: 000004_male_Drawn_43/mask4.jpg

        duplicates                same person  different people  labels differ
        identical file                      1                 1              2
        identical pixels                    0                 0              0
        near-duplicate                      -                 0              0
        (Hamming distance <= 15)

        written to look:
          classes.png     images and people by class, and by each factor
          by_age.png      people by age, with the boundaries of its classes
          brightness.png  images by mean grey value
          sheet_NN.png    contact sheet of class NN
          duplicates.png  pairs of suspicious duplicates
          duplicates.csv  all duplicates and near-duplicates
          eda.toml        all statistics
    "#]]
    .assert_eq(&out);

    let files = files(&bench.path("look"));
    let csv = String::from_utf8(files["duplicates.csv"].clone()).unwrap();
    expect![[r#"
        likeness,bits,image_a,image_b,group_a,group_b,class_a,class_b,labels_differ
        same_bytes,0,000001_female_Drawn_23/incorrect_mask.jpg,000001_female_Drawn_23/normal.jpg,000001_female_Drawn_23,000001_female_Drawn_23,incorrect female <30,not worn female <30,true
        same_bytes,0,000001_female_Drawn_23/mask1.jpg,000002_male_Drawn_20/mask1.jpg,000001_female_Drawn_23,000002_male_Drawn_20,worn female <30,worn male <30,true
    "#]].assert_eq(&csv);
    let figures: toml::Table =
        String::from_utf8(files["eda.toml"].clone()).unwrap().parse().unwrap();
    assert_eq!(figures["n_images"].as_integer(), Some(55));
    assert_eq!(figures["unreadable"].as_array().unwrap().len(), 1);
    assert_eq!(figures["duplicates"]["same_bytes"]["labels_differ"].as_integer(), Some(2));
    for (name, bytes) in files.iter().filter(|it| it.0.ends_with(".png")) {
        let image = image::load_from_memory(bytes).unwrap();
        assert!(image.width() >= 300 && image.height() >= 200, "{name}");
    }
    let n_sheets = files.keys().filter(|it| it.starts_with("sheet_")).count();
    let joint = figures["scopes"][0]["classes"].as_array().unwrap();
    let n_classes = joint.iter().filter(|it| it["n_images"].as_integer() > Some(0)).count();
    assert_eq!(n_sheets, n_classes);
}

#[test]
fn number_of_threads_does_not_change_the_output() {
    let bench = people();
    for n in ["1", "3"] {
        let threads = format!("threads={n}");
        bench.ok(&["eda", "people/train", "-o", n, "--set", &threads]);
    }
    let [one, three] = ["1", "3"].map(|it| files(&bench.path(it)));
    assert!(one == three);
}

#[test]
fn synthetic_people_and_configs_are_accepted() {
    let bench = people();
    let few = ["--set", "data.source.n_people=3", "--set", "data.source.n_test=1"];
    let out = bench.ok(&[&["eda"][..], &few].concat());
    assert!(
        out.starts_with(
            "synthetic_people: 21 images of 3 people\n7 more images belong to the test set"
        ),
        "{out}"
    );
    assert!(bench.path("eda/classes.png").is_file());
    let config = "data.source = { kind = \"mask_profiles\", root = \"people/train\" }";
    fs::write(bench.path("mine.toml"), config).unwrap();
    let out = bench.ok(&["eda", "mine.toml", "-o", "new/folder"]);
    assert!(out.starts_with("people/train: 56 images of 8 people\n"), "{out}");
}

#[test]
fn several_roots_are_explored_together() {
    let bench = people();
    let config = r#"data.source = { kind = "several", roots = [
        { source = { kind = "mask_profiles", root = "people/train" } },
        { source = { kind = "synthetic_people", n_people = 6, n_test = 2, seed = 9 }, name = "synthetic", share = 0.5, use = "train" },
    ] }"#;
    fs::write(bench.path("mine.toml"), config).unwrap();
    let out = bench.ok(&["eda", "mine.toml"]);
    let head = out.split("\n\n").next().unwrap();
    expect![[r#"
        people/train + synthetic_people: 77 images of 11 people
        note: roots[0]: 8 people, 56 images
        note: synthetic: 3 of 6 people, 21 images, training only; test set left out: 2
              people"#]]
    .assert_eq(head);
    // The same folder twice: images of held-out people would be in the training set.
    let twice = config.replace(
        "kind = \"synthetic_people\", n_people = 6, n_test = 2, seed = 9",
        "kind = \"mask_profiles\", root = \"./people/train\"",
    );
    fs::write(bench.path("mine.toml"), twice.replace("0.5", "1")).unwrap();
    bench.fails(&["eda", "mine.toml", "-o", "new"], expect!["error: at `data.source.roots[1]`: `000001_female_Drawn_23/incorrect_mask.jpg` and `synthetic/000001_female_Drawn_23/incorrect_mask.jpg` are the same image, but of two people: remove one of the roots, or set `same_groups = true` if their people have the same names"]);
}

#[test]
fn one_person_and_only_unreadable_images() {
    let bench = Bench::empty();
    bench.ok(&["data", "synthetic-people", "people", "--people", "1", "--test", "0"]);
    bench.ok(&["eda", "people", "-o", "one"]);
    for name in ["mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal"] {
        fs::write(bench.image(0, &format!("{name}.jpg")), "").unwrap();
    }
    let out = bench.ok(&["eda", "people", "-o", "none"]);
    assert!(out.contains("7 images cannot be read:"), "{out}");
    assert!(!bench.path("none/brightness.png").exists());
}

#[test]
fn every_layout_is_explored_by_its_folder() {
    let bench = people();
    for (class, person) in [("a", 0), ("b", 1)] {
        fs::create_dir_all(bench.path("classes").join(class)).unwrap();
        for name in ["mask1.jpg", "normal.jpg"] {
            let to = bench.path("classes").join(class).join(name);
            fs::copy(bench.image(person, name), to).unwrap();
        }
    }
    let out = bench.ok(&["eda", "classes", "-o", "look"]);
    assert!(out.starts_with("classes: 4 images"), "{out}");
    assert!(bench.path("look/sheet_01.png").exists());
    let rows = "name,label\na/mask1.jpg,x\na/normal.jpg,y\nb/mask1.jpg,x\n";
    fs::write(bench.path("classes/table.csv"), rows).unwrap();
    let out = bench.ok(&["eda", "classes", "-o", "other"]);
    assert!(out.starts_with("classes/table.csv: 3 images"), "{out}");
}

#[test]
fn errors_name_the_problem_and_the_fix() {
    let bench = people();
    bench.fails(
        &["eda", "nowhere"],
        expect!["error: nowhere: no such file or folder: give an experiment file, or a folder of labelled images"],
    );
    fs::create_dir(bench.path("empty")).unwrap();
    bench.fails(
        &["eda", "empty"],
        expect![[r#"
            error: empty: recognised no layout: there are no images, folders or tables; recognised are:
              - a folder of images for each class, here or in `train/`
              - a CSV or TSV file with a column that names images in this folder or a subfolder, and one of labels
              - `train.csv` with the columns `id`, `gender`, `race`, `age` and `path`, and `images/`"#]],
    );
    fs::write(bench.path("empty/train.csv"), "id,gender,race,age,path\n1,male,Asian,30,a\n")
        .unwrap();
    bench.fails(
        &["eda", "empty"],
        expect![[r#"
            error: empty: recognised no layout: `train.csv` has the columns of the mask competition, but there is no `images/` beside it; recognised are:
              - a folder of images for each class, here or in `train/`
              - a CSV or TSV file with a column that names images in this folder or a subfolder, and one of labels
              - `train.csv` with the columns `id`, `gender`, `race`, `age` and `path`, and `images/`"#]],
    );
    fs::write(bench.path("empty/train.csv"), "id,gender,race,age,path\n").unwrap();
    fs::create_dir(bench.path("empty/images")).unwrap();
    bench.fails(
        &["eda", "empty"],
        expect![[r#"
            error: empty: no images to train on; 1 problem in the data:
              train.csv: has no rows: add a row for each person"#]],
    );
    bench.fails(
        &["eda", "people", "-o", "people"],
        expect!["error: people: already exists: choose a new folder with `-o`"],
    );
    bench.fails(
        &["eda", "people", "-o", "people/train/train.csv"],
        expect!["error: people/train/train.csv: is a file: choose a new folder with `-o`"],
    );
    bench.fails(
        &["eda", "people", "-o", "people/train/train.csv/new"],
        expect!["error: people/train/train.csv/new: choose another folder with `-o`: Not a directory (os error 20)"],
    );
    bench.fails(
        &["eda", "people", "--set", "data.max_pixel=1"],
        expect!["error: --set data.max_pixel=1: at `data.max_pixel`: unknown field `max_pixel`: did you mean `max_pixels`? Expected one of `source`, `split`, `split_seed`, `fold`, `training_cuts`, `reviewed`, `leave_out`, `pseudo`, `sampler`, `num_workers`, `prefetch`, `max_pixels`"],
    );
    assert!(!bench.path("eda").exists());
}
