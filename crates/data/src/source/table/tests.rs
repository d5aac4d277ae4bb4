use std::{
    fs,
    path::{Path, PathBuf},
};

use base::{Seed, table, task::Unit};
use expect_test::{Expect, expect};

use super::{Source as _, Table};
use crate::{
    Content, Context, Findings, Manifest, MaskProfiles, SplitConfig, SyntheticPeople, Use,
};

/// Kaggle's layout.
const BREED: &str = "image = \"id\"\nlabel = \"breed\"\n";

fn context() -> Context<'static> {
    Context { cache: None, max_pixels: 1 << 20, progress: &|_, _| {} }
}

/// A table in a folder, with empty files of these names in `images/`.
fn source(dir: &Path, csv: &str, files: &[&str], settings: &str) -> Table {
    let images = dir.join("images");
    fs::create_dir_all(&images).unwrap();
    for file in files {
        let path = images.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    fs::write(dir.join("labels.csv"), csv).unwrap();
    let table: Table = toml::from_str(settings).unwrap();
    Table { root: dir.to_owned(), csv: "labels.csv".into(), images: "images".into(), ..table }
}

/// Lists a table without problems.
#[track_caller]
fn list(csv: &str, files: &[&str], settings: &str) -> Manifest {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, findings) = source(dir.path(), csv, files, settings).list(&context()).unwrap();
    assert_eq!(findings, Findings::default());
    manifest
}

/// Compares everything that is wrong with a table.
#[track_caller]
fn check(csv: &str, files: &[&str], settings: &str, want: Expect) {
    let dir = tempfile::tempdir().unwrap();
    let text = match source(dir.path(), csv, files, settings).list(&context()) {
        Ok((_, findings)) => findings.to_string(),
        Err(err) => err.to_string(),
    };
    want.assert_eq(&text.replace(&dir.path().display().to_string(), "ROOT"));
}

fn names(manifest: &Manifest) -> Vec<&str> {
    manifest.examples.iter().map(|it| it.name.as_str()).collect()
}

fn classes(manifest: &Manifest) -> Vec<usize> {
    manifest.examples.iter().map(|it| it.class).collect()
}

#[test]
fn images_are_found_with_and_without_ending() {
    let csv = "id,breed\nc,pug\nsub/b,akita\n./a.jpeg,pug\nd.1,akita\n";
    let files = ["a.jpeg", "sub/b.PNG", "c.jpg", "c.json", "c.x.jpg", "d.1.webp", ".c.png"];
    let it = list(csv, &files, BREED);
    assert_eq!(names(&it), ["a.jpeg", "c.jpg", "d.1.webp", "sub/b.PNG"]);
    assert_eq!(classes(&it), [1, 1, 0, 0]);
    assert_eq!(it.task.factors[0].name, "breed");
    assert_eq!(it.task.factors[0].levels, ["akita", "pug"]);
    // Each image is its own group.
    assert_eq!(it.task.unit, Unit::Image);
    assert_eq!(it.groups, names(&it));
    assert_eq!(it.listed.len(), 4);
    let Content::File(path) = &it.examples[3].content else { panic!("a file") };
    assert!(path.ends_with("images/sub/b.PNG"));
    let note = "without a row, not used: 1: `c.x.jpg`";
    assert!(it.notes.len() == 1 && it.notes[0].ends_with(note), "{:?}", it.notes);
}

#[test]
fn a_name_in_another_unicode_form_is_found() {
    // Hangul as Windows and as macOS write it: syllables, and their letters.
    let (nfc, nfd) = ("\u{d55c}", "\u{1112}\u{1161}\u{11ab}");
    for (row, file) in [(nfc, nfd), (nfd, nfc)] {
        let csv = format!("id,breed\n{row},x\n{row}/{row}2.jpg,y\n");
        let files = [format!("{file}.jpg"), format!("{file}/{file}2.jpg")];
        let it = list(&csv, &[&files[0], &files[1]], BREED);
        // The image has the name in the table, the file the name on disk.
        let mut want = [format!("{row}.jpg"), format!("{row}/{row}2.jpg")];
        want.sort();
        assert_eq!(names(&it), want);
        for it in &it.examples {
            let Content::File(path) = &it.content else { panic!("a file") };
            assert!(path.to_str().unwrap().contains(file), "{}", path.display());
        }
    }
}

#[test]
fn tables_are_read_as_spreadsheets_save_them() {
    for text in [
        "id,breed\na,\"x, 1\"\nb,y\n",
        "\u{feff}id;breed\r\na;x, 1\r\nb;y\r\n",
        "id\tbreed\na\tx, 1\nb\ty\n",
        "id|breed\n\na| x, 1 \n\nb|y",
        "other,breed,id\n\"1\n2\",\"x, 1\",a\n,y,b\n",
    ] {
        let it = list(text, &["a.jpg", "b.jpg"], BREED);
        assert_eq!(it.task.factors[0].levels, ["x, 1", "y"], "{text:?}");
        assert_eq!(names(&it), ["a.jpg", "b.jpg"], "{text:?}");
    }
}

#[test]
fn classes_are_sorted_as_numbers_or_text_unless_given() {
    let levels = |labels: [&str; 3], settings: &str| {
        let [a, b, c] = labels;
        let csv = format!("id,breed\na,{a}\nb,{b}\nc,{c}\n");
        list(&csv, &["a.jpg", "b.jpg", "c.jpg"], settings).task.factors.remove(0).levels
    };
    assert_eq!(levels(["10", "9", "-1"], BREED), ["-1", "9", "10"]);
    assert_eq!(levels(["10", "9", "x"], BREED), ["10", "9", "x"]);
    assert_eq!(levels(["b", "\u{e9}", "B"], BREED), ["B", "b", "\u{e9}"]);
    let given =
        "image = \"id\"\nlabels = [{ column = \"breed\", levels = [\"c\", \"a\", \"b\"] }]\n";
    assert_eq!(levels(["a", "b", "c"], given), ["c", "a", "b"]);
}

#[test]
fn numbers_are_cut_into_classes_and_kept() {
    let csv = "id,kind,years,weight,site\na,x,29.5,0.25,B\nb,y,30,1,A\nc,x,-2e0,0,B\n";
    let settings = "image = \"id\"\nweight = \"weight\"\nattributes = [\"site\", \"kind\"]\n\
         labels = [{ column = \"kind\" }, { column = \"years\", name = \"age\", cuts = [30, 60] }]\n";
    let it = list(csv, &["a.jpg", "b.jpg", "c.jpg"], settings);
    assert_eq!(it.task.factors[1].name, "age");
    assert_eq!(it.task.factors[1].levels, ["<30", "30-59", ">=60"]);
    assert_eq!(classes(&it), [0, 4, 0]);
    let numbers: Vec<_> = it.examples.iter().map(|it| (it.number(0), it.number(1))).collect();
    assert_eq!(numbers, [(None, Some(29.5)), (None, Some(30.0)), (None, Some(-2.0))]);
    assert!(it.examples.iter().map(|it| it.weight).eq([0.25, 1.0, 0.0]));
    assert_eq!(it.attributes[0].name, "site");
    assert_eq!(it.attributes[0].values, ["A", "B"]);
    assert_eq!(it.examples[0].attributes, [1, 0]);
    assert_eq!(it.examples[1].attributes, [0, 1]);

    let ranges = |cuts: &[f64]| super::ranges(cuts);
    assert_eq!(ranges(&[29.0, 30.0]), ["<29", "29", ">=30"]);
    assert_eq!(ranges(&[0.5, 1.5]), ["<0.5", "0.5 to <1.5", ">=1.5"]);
    assert_eq!(ranges(&[-5.0]), ["<-5", ">=-5"]);
}

#[test]
fn images_are_grouped_by_a_column_or_by_their_names() {
    let csv = "id,breed,owner\nb2,x,kim\na1,y,kim\nb1,x,ann\n";
    let files = ["a1.jpg", "b1.jpg", "b2.jpg"];
    let it = list(csv, &files, &format!("{BREED}group = \"owner\"\n"));
    assert_eq!(
        (it.groups.as_slice(), it.task.unit),
        (["ann", "kim"].map(str::to_owned).as_slice(), Unit::Group)
    );
    assert_eq!(names(&it), ["b1.jpg", "a1.jpg", "b2.jpg"]);
    let group: Vec<usize> = it.examples.iter().map(|it| it.group).collect();
    assert_eq!(group, [0, 1, 1]);
    // The group's images are of two breeds: an extra level.
    let strata: Vec<_> = it.listed.iter().map(|it| it.stratum[0]).collect();
    assert_eq!(strata, [0, 2]);
    for regex in ["^[a-z]", "(.)[0-9]\\\\.jpg$"] {
        let it = list(csv, &files, &format!("{BREED}group = {{ regex = \"{regex}\" }}\n"));
        assert_eq!(
            (it.groups.as_slice(), it.examples.len()),
            (["a", "b"].map(str::to_owned).as_slice(), 3)
        );
    }
}

#[test]
fn the_split_that_the_table_states_is_used() {
    let csv = "id,breed,set\na,x,train\nb,y,Train\nc,x,val\nd,y,valid\ne,x,validation\nf,y,test\n";
    let files = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"];
    let it = list(csv, &files, &format!("{BREED}split = \"set\"\n"));
    let uses: Vec<Use> = it.examples.iter().map(|it| it.usage).collect();
    let want = [Use::Pool, Use::Pool, Use::Valid, Use::Valid, Use::Valid, Use::Test];
    assert_eq!(uses, want);
    assert_eq!(
        it.notes,
        ["the data states its validation set (3 images), so `data.split` is not used"]
    );
    for (kind, split) in SplitConfig::zoo() {
        match (kind, split.sides(&it, Seed(0))) {
            ("stratified_kfold" | "leave_one_group_out", Err(err)) => {
                expect!["`data.split`: the data states its validation set, so that there are no folds: train once with `train`, or read the data without that set, with `data.source.keep_sets=false` of `folders`, or without `data.source.split` of `table`"]
                    .assert_eq(&err.to_string());
            }
            (_, Ok(sides)) => {
                assert_eq!(sides.len(), 1, "{kind}");
                assert_eq!((&*sides[0].train, &*sides[0].valid), (&[0, 1][..], &[2, 3, 4][..]));
            }
            (_, Err(err)) => panic!("{kind}: {err}"),
        }
    }
    // Without validation images, the split divides the training images.
    let csv = csv.replace("valid,", "train,").replace(",val\n", ",train\n");
    let csv = csv.replace(",valid\n", ",train\n").replace(",validation\n", ",train\n");
    let it = list(&csv, &files, &format!("{BREED}split = \"set\"\n"));
    let split: SplitConfig = toml::from_str("kind = \"profile\"\nratio = 0.4").unwrap();
    let sides = split.sides(&it, Seed(0)).unwrap();
    assert_eq!((sides[0].train.len(), sides[0].valid.len()), (3, 2));
    assert!(it.notes.is_empty());
}

#[test]
fn a_group_in_two_sets_is_an_error() {
    let csv = "id,breed,set,owner\na,x,train,kim\nb,y,val,kim\nc,x,train,ann\nd,y,test,ann\n";
    check(
        csv,
        &["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
        &format!("{BREED}split = \"set\"\ngroup = \"owner\"\n"),
        expect![[r#"
            2 problems in the data:
              group `ann`: has images in the training and test sets: put all images of a group into one set, or group them differently
              group `kim`: has images in the training and validation sets: put all images of a group into one set, or group them differently"#]],
    );
}

#[test]
fn a_class_without_training_images_is_noted() {
    let csv = "id,breed,set\na,x,train\nb,y,train\nc,z,test\n";
    let it = list(csv, &["a.jpg", "b.jpg", "c.jpg"], &format!("{BREED}split = \"set\"\n"));
    assert_eq!(it.notes, ["levels of `breed` without training images: 1: `z`"]);
}

#[test]
fn all_problems_of_rows_are_reported_at_once() {
    let csv = "id,breed,set,weight,owner\n\
               a,x,train,1,o\n\
               absent,x,train,1,o\n\
               a.jpg,y,train,1,o\n\
               b,,train,1,o\n\
               c,x,dev,1,o\n\
               d,y,train,-1,o\n\
               e,y,train,NaN,o\n\
               two,y,train,1,o\n\
               ../a,y,train,1,o\n\
               /etc/a,y,train,1,o\n\
               sub\\f,y,train,1,o\n\
               ,y,train,1,o\n\
               f,y,train,1\n\
               f,y,train,1,\n\
               sub/absent.jpg,,,x,o\n";
    let files = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg", "two.jpg", "two.png"];
    check(
        csv,
        &files,
        &format!("{BREED}split = \"set\"\nweight = \"weight\"\ngroup = \"owner\"\n"),
        expect![[r#"
            17 problems in the data:
              labels.csv line 3: `absent` has no file in ROOT/images: put the image there, or correct the row
              labels.csv line 4: `a.jpg` already has a row, in line 2: remove one of the two
              labels.csv line 5: `breed` is empty: write the label, or remove the row
              labels.csv line 6: the split is `dev`: write `train`, `val` or `test`
              labels.csv line 7: the weight is `-1`: write a number that is 0 or more
              labels.csv line 8: the weight is `NaN`: write a number that is 0 or more
              labels.csv line 9: `two` is 2 files: `two.jpg`, `two.png`: keep one of them
              labels.csv line 10: `../a` is not a path within the folder of images: write the path relative to it, with `/`
              labels.csv line 11: `/etc/a` is not a path within the folder of images: write the path relative to it, with `/`
              labels.csv line 12: `sub\f` is not a path within the folder of images: write the path relative to it, with `/`
              labels.csv line 13: the image is empty: name the image, or remove the row
              labels.csv line 14: has 4 fields, the header 5: correct the row
              labels.csv line 15: the group is empty: name the image's group
              labels.csv line 16: `sub/absent.jpg` has no file in ROOT/images: put the image there, or correct the row
              labels.csv line 16: `breed` is empty: write the label, or remove the row
              labels.csv line 16: the weight is `x`: write a number that is 0 or more
              labels.csv line 16: the split is ``: write `train`, `val` or `test`"#]],
    );
}

#[test]
fn bad_labels_are_reported() {
    let labels = "image = \"id\"\nlabels = [{ column = \"age\", cuts = [30] }, \
                  { column = \"mask\", levels = [\"worn\", \"not worn\"] }]\n";
    check(
        "id,age,mask\na,old,worn\nb,20,not worn\nc,inf,maybe\n",
        &["a.jpg", "b.jpg", "c.jpg"],
        labels,
        expect![[r#"
            3 problems in the data:
              labels.csv line 2: `age` is `old`, which is not a number: write a number, or remove the row
              labels.csv line 4: `age` is `inf`, which is not a number: write a number, or remove the row
              labels.csv line 4: `mask` is `maybe`, which is not one of its levels: write one of `worn`, `not worn`, or change its `levels` in `data.source.labels`"#]],
    );
    check(
        "id,breed\na,x\nb,x\n",
        &["a.jpg", "b.jpg"],
        BREED,
        expect![[r#"
            1 problem in the data:
              `breed`: all images have the same: `x`: name a label that differs between images"#]],
    );
}

#[test]
fn tables_without_samples_are_reported() {
    let files = ["a.jpg"];
    check(
        "id,race\na,x\n",
        &files,
        &format!("{BREED}weight = \"w\"\n"),
        expect![[r#"
            ROOT: 2 problems in the data:
              labels.csv: has no column `breed`: its columns are `id`, `race`: name one of its columns in `data.source.label`
              labels.csv: has no column `w`: its columns are `id`, `race`: name one of its columns in `data.source.weight`"#]],
    );
    check(
        "id,breed,breed\na,x,y\n",
        &files,
        BREED,
        expect![[r#"
            ROOT: 1 problem in the data:
              labels.csv: has 2 columns `breed`: name one of its columns in `data.source.label`"#]],
    );
    check(
        "id:breed\na:x\n",
        &files,
        BREED,
        expect![[r#"
            ROOT: 1 problem in the data:
              labels.csv: has one column, `id:breed`: separate columns by commas, tabs, semicolons or `|`"#]],
    );
    check(
        "id,breed\n",
        &files,
        BREED,
        expect![[r#"
            ROOT: 1 problem in the data:
              labels.csv: has no rows: add a row for each image"#]],
    );
    check(
        "",
        &files,
        BREED,
        expect![[r#"
            ROOT: 1 problem in the data:
              labels.csv: is empty: put a header and a row for each image there"#]],
    );
    check(
        "id,breed\nb,x\n",
        &files,
        BREED,
        expect![[r#"
            ROOT: 1 problem in the data:
              labels.csv line 2: `b` has no file in ROOT/images: put the image there, or correct the row"#]],
    );
    check(
        "id,breed\na,x\n",
        &files,
        &format!("{BREED}group = {{ regex = \"^[0-9]+\" }}\n"),
        expect![[r#"
            ROOT: 1 problem in the data:
              labels.csv line 2: `a.jpg` is not matched by `data.source.group.regex`: change the expression"#]],
    );
}

#[test]
fn another_encoding_is_detected_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let table = source(dir.path(), "", &["a.jpg"], BREED);
    // "김민수" in CP949.
    fs::write(dir.path().join("labels.csv"), b"id,breed\na,\xb1\xe8\xb9\xce\xbc\xf6\n").unwrap();
    let err = table.list(&context()).unwrap_err().to_string();
    let want = "labels.csv: this looks like CP949 (EUC-KR), not UTF-8 (line 2): save it as UTF-8";
    assert!(err.ends_with(want), "{err}");
}

#[test]
fn wrong_settings_are_reported_at_once() {
    let problems = |settings: &str| {
        let table: Table = toml::from_str(settings).unwrap();
        table.list(&context()).unwrap_err().to_string()
    };
    expect![[r#"
        `data.source.csv` is empty: name the table, CSV or TSV
        `data.source.image` is empty: name the column of the images' names
        `data.source.label` is empty: name the column of the label
        `data.source.group.regex` is `(`, which is not a regular expression: unclosed group"#]]
    .assert_eq(&problems("group = { regex = \"(\" }"));
    let labels = "csv = \"a\"\nimage = \"b\"\nlabels = [{ column = \"x\", cuts = [2, 1] }, {}, \
                  { column = \"x\" }, { column = \"y\", levels = [\"a\", \"a\"] }, \
                  { column = \"z\", cuts = [1], levels = [\"a\"] }]\n";
    expect![[r#"
        `data.source.labels[0]` has the cuts [2.0, 1.0]: they must increase
        `data.source.labels[1]` has no `column`: name the column of the label
        `data.source.labels[2]` is another factor `x`: set another `name`
        `data.source.labels[3]` has the level `a` twice
        `data.source.labels[4]` needs 2 levels for its cuts, not 1"#]]
    .assert_eq(&problems(labels));
    let both = "csv = \"a\"\nimage = \"b\"\nlabel = \"c\"\nlabels = [{ column = \"d\" }]\n\
                attributes = [\"e\", \"f\", \"e\"]\n";
    expect![[r#"
        `data.source.label` excludes `labels`: set `label` for one column, or `labels` for several
        `data.source.attributes` has `e` twice: leave one out"#]]
    .assert_eq(&problems(both));
    let read = |settings: &str| toml::from_str::<Table>(settings).unwrap_err().message().to_owned();
    expect!["must be a column or { regex = \"...\" }"].assert_eq(&read("group = 1"));
    assert!(read("labels = [\"a\"]").contains("a table such as { column = \"age\" }"));
}

#[test]
fn absent_files_and_folders_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let table = source(dir.path(), "id,breed\na,x\n", &["a.jpg"], BREED);
    let problem = |it: Table| {
        let err = it.list(&context()).unwrap_err().to_string();
        err.replace(&dir.path().display().to_string(), "ROOT")
    };
    expect!["ROOT/no.csv: No such file or directory (os error 2): `data.source.csv` must be a table, CSV or TSV"]
        .assert_eq(&problem(Table { csv: "no.csv".into(), ..table.clone() }));
    expect!["ROOT/no: No such file or directory (os error 2): `data.source.images` must be the folder of the images"]
        .assert_eq(&problem(Table { images: "no".into(), ..table }));
}

#[test]
fn damaged_images_are_found_before_training() {
    let dir = tempfile::tempdir().unwrap();
    let table = source(dir.path(), "id,breed\na,x\nb,y\n", &["a.jpg"], BREED);
    image::RgbImage::new(4, 4).save(dir.path().join("images/b.png")).unwrap();
    let err = table.read(&context()).unwrap_err().to_string();
    expect![[r#"
        ROOT: 1 problem in the data:
          images/a.jpg: the file is empty: replace the file, or remove its row"#]]
    .assert_eq(&err.replace(&dir.path().display().to_string(), "ROOT"));
}

/// Writes the images of a manifest as rows in reverse order, each image without its ending.
fn flattened(manifest: &Manifest) -> String {
    let task = &manifest.task;
    let rows = manifest.examples.iter().rev().map(|it| {
        let levels = task.levels_of(it.class);
        let image = it.name.strip_suffix(".jpg").unwrap().to_owned();
        let level = |idx: usize| task.factors[idx].levels[levels[idx]].clone();
        let race = manifest.attributes[0].values[it.attributes[0] as usize].clone();
        let group = manifest.groups[it.group].clone();
        [image, level(0), level(1), it.number(2).unwrap().to_string(), race, group]
    });
    table::text(["image", "mask", "gender", "age", "race", "path"], rows)
}

#[test]
fn a_flattened_table_is_the_same_data() {
    let dir = tempfile::tempdir().unwrap();
    let people = SyntheticPeople {
        n_people: 30,
        n_test: 0,
        size: [16, 16],
        wrong_labels: 0.3,
        flipped: 0.0,
        seed: 5,
    };
    people.write(dir.path(), &|_, _| {}).unwrap();
    let profiles = MaskProfiles { root: dir.path().join("train"), ..MaskProfiles::default() };
    let want = profiles.read(&context()).unwrap();
    fs::write(dir.path().join("images.csv"), flattened(&want)).unwrap();
    let table: Table = toml::from_str(
        "csv = \"images.csv\"\nimages = \"train/images\"\nimage = \"image\"\ngroup = \"path\"\n\
         attributes = [\"race\"]\n\
         labels = [{ column = \"mask\", levels = [\"worn\", \"incorrect\", \"not worn\"] }, \
         { column = \"gender\", levels = [\"male\", \"female\"] }, \
         { column = \"age\", cuts = [30, 60] }]\n",
    )
    .unwrap();
    let got = Table { root: dir.path().to_owned(), ..table }.read(&context()).unwrap();
    assert_eq!(got.task.factors, want.task.factors);
    assert_eq!(got.groups, want.groups);
    assert_eq!(got.listed, want.listed);
    assert_eq!(got.attributes, want.attributes);
    let rows =
        |it: &Manifest| -> Vec<String> { it.examples.iter().map(|it| format!("{it:?}")).collect() };
    assert_eq!(rows(&got), rows(&want));
    for (kind, split) in SplitConfig::zoo() {
        assert_eq!(split.sides(&got, Seed(3)), split.sides(&want, Seed(3)), "{kind}");
    }
}

#[test]
fn a_long_table_takes_linear_time() {
    // Names without ending that are the beginnings of others. In a folder that is in memory only.
    const N: usize = 200_000;
    let mut listed: Vec<String> = (0..N).map(|it| format!("{it}.jpg")).collect();
    listed.sort_unstable();
    let mut files = super::Files::in_memory(PathBuf::from("images"), listed);
    for it in 0..N {
        let (name, path) = files.find(&it.to_string(), it + 2).unwrap();
        assert_eq!(name, format!("{it}.jpg"));
        assert_eq!(path, Path::new("images").join(name));
    }
    assert!(files.find("7", 9).unwrap_err().0.ends_with("already has a row, in line 9"));
    assert_eq!(files.unused_note(), None);
}
