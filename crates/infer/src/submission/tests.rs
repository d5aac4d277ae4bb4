use std::{fs, path::Path};

use base::{
    Task, table,
    task::{Factor, Scope},
};
use expect_test::{Expect, expect};
use tempfile::TempDir;

use super::{Submission, SubmitConfig};
use crate::predictor::Prediction;

const SAMPLE: &str = "sample_submission.csv";
const PROBABILITIES: &str = "kind = \"probabilities\"";
const CLASSES: &str = "kind = \"classes\"";
const FACTORS: &str = "kind = \"factors\"";

fn one_factor(levels: &[&str]) -> Task {
    Task::new(vec![Factor::new("breed", levels)])
}

fn breeds() -> Task {
    one_factor(&["beagle", "Spitz, German", "푸들"])
}

/// Creates `test/` with files that begin as JPEGs do.
fn folder(images: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in images {
        let path = dir.path().join("test").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"\xFF\xD8\xFF\xE0\0\x10JFIF\0").unwrap();
    }
    dir
}

fn open(
    root: &Path,
    config: &str,
    task: &Task,
    number: Option<usize>,
) -> Result<Submission, String> {
    let config: SubmitConfig = toml::from_str(config).unwrap();
    let parent = root.parent().unwrap().display().to_string();
    Submission::new(&config, task, number, root, None)
        .map_err(|err| err.to_string().replace(&parent, "ROOT"))
}

/// Opens a submission of `test/` with a sample file beside it.
fn sampled(
    dir: &TempDir,
    sample: impl AsRef<[u8]>,
    config: &str,
    task: &Task,
    number: Option<usize>,
) -> Result<Submission, String> {
    fs::write(dir.path().join(SAMPLE), sample).unwrap();
    open(&dir.path().join("test"), config, task, number)
}

fn predicted(probabilities: &[f64]) -> Prediction {
    let predicted = metrics::argmax(probabilities);
    Prediction { probabilities: probabilities.to_vec(), predicted, ..Prediction::default() }
}

/// Returns the prediction that is certain of a class.
fn certain(task: &Task, class: usize) -> Prediction {
    let p = |it| if it == class { 1.0 } else { 0.0 };
    predicted(&(0..task.n_classes()).map(p).collect::<Vec<_>>())
}

/// Returns the file of these predictions, one for each image.
fn csv(submission: &Submission, predictions: &[Prediction]) -> String {
    assert_eq!(submission.images.len(), predictions.len());
    let images = submission.images.iter().zip(predictions);
    let rows = images.map(|((id, _), it)| submission.row(id, it).unwrap());
    table::text(submission.header(), rows)
}

#[test]
fn rows_and_columns_have_the_order_of_the_sample_file() {
    let dir = folder(&["a.jpg", "b.png", "sub/c.jpeg", " d.jpg", "unused.jpg"]);
    let sample = "id,푸들,beagle,\"Spitz, German\"\nb,0,0,0\nsub/c,0,0,0\n d,0,0,0\na.jpg,1,,x\n";
    let it = sampled(&dir, sample, PROBABILITIES, &breeds(), None).unwrap();
    let third = 1.0 / 3.0;
    let predictions = [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [third; 3], [0.125, 0.375, 0.5]];
    assert_eq!(
        csv(&it, &predictions.map(|it| predicted(&it))),
        "id,푸들,beagle,\"Spitz, German\"\n\
         b,0.25,0.5,0.25\n\
         sub/c,0,0,1\n d,0.333333333,0.333333333,0.333333333\n\
         a.jpg,0.5,0.125,0.375\n"
    );
    let images = dir.path().join("test");
    let want = format!("images in {} without a row, not used: 1: `unused.jpg`", images.display());
    assert_eq!(it.notes, [want]);
    assert!(it.images.iter().all(|it| it.1.bytes().is_ok()));
}

#[test]
fn a_submission_for_the_same_images_is_recognised() {
    let dir = folder(&["a.jpg", "b.jpg"]);
    let it = sampled(&dir, "id,breed\nb,x\na,x\n", CLASSES, &breeds(), None).unwrap();
    let own = csv(&it, &[certain(&breeds(), 0), certain(&breeds(), 2)]);
    assert!(it.is_own(own.as_bytes()), "{own}");
    // Such as the labels of the training images, another order, or a part.
    for other in [
        "",
        "id,breed\n",
        "id,breed\nc,0\nd,1\n",
        "id,breed\na,0\nb,1\n",
        "id,breed\nb,0\n",
        "id,breed\nb,0\na,1\nc,1\n",
        "id,label\nb,0\na,1\n",
        "id,breed,fold\nb,0,1\na,1,1\n",
    ] {
        assert!(!it.is_own(other.as_bytes()), "{other}");
    }
    assert!(!it.is_own(&b"id,breed\nb,\xff\n"[..]));
}

#[test]
fn sample_files_as_spreadsheets_save_them_are_read() {
    let dir = folder(&["a.jpg", "nin\u{303}o.jpg"]);
    // A byte order mark, semicolons, spaces, and names in the other Unicode form.
    let sample = "\u{feff}ID; \u{1111}\u{116e}\u{1103}\u{1173}\u{11af} ;beagle;Spitz, German\r\n\
                  ni\u{f1}o;0;0;0\r\n\r\na ;0;0;0\r\n";
    let it = sampled(&dir, sample, PROBABILITIES, &breeds(), None).unwrap();
    let predictions = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]].map(|it| predicted(&it));
    assert_eq!(
        csv(&it, &predictions),
        "ID,\u{1111}\u{116e}\u{1103}\u{1173}\u{11af},beagle,\"Spitz, German\"\n\
         ni\u{f1}o,0.25,0.5,0.25\na,0.25,0.25,0.5\n"
    );
}

#[test]
fn wrong_sample_files_are_refused_with_everything_that_is_wrong() {
    let dir = folder(&["a.jpg", "b.jpg"]);
    let check = |sample: &[u8], want: Expect| {
        let err = sampled(&dir, sample, PROBABILITIES, &breeds(), None).err().unwrap();
        want.assert_eq(&err);
    };
    let rows = "a,0,0,0\nb,0,0,0\n";
    let check_header = |header: &str, want: Expect| {
        let n = header.matches(',').count() - usize::from(header.contains('"'));
        let rows = ["a", "b"].map(|it| format!("{it}{}\n", ",0".repeat(n))).concat();
        check(format!("{header}\n{rows}").as_bytes(), want);
    };
    check(
        b"",
        expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          header: is empty: put a header and a row for each image there"#]],
    );
    check(
        "id,beagle,\"Spitz, German\",푸들\n".as_bytes(),
        expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          rows: there are none: add a row for each image"#]],
    );
    check_header(
        "id,beagel,\"Spitz, German\",푸들",
        expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          header: `beagel` is not a column that the kind `probabilities` writes: rename it to `beagle`"#]],
    );
    check_header(
        "id,beagle,푸들",
        expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          header: lacks the column `Spitz, German`: add it"#]],
    );
    check_header(
        "id,beagle,beagle,\"Spitz, German\",푸들",
        expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          header: has the column `beagle` more than once: keep one of them"#]],
    );
    check_header(
        "id,beagle,\"Spitz, German\",푸들,husky",
        expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          header: `husky` is not a column that the kind `probabilities` writes: remove it"#]],
    );
    check_header(
        "id,x,y,z",
        expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          header: the kind `probabilities` writes none of the columns `x`, `y`, `z`: name a sample file with `beagle`, `Spitz, German`, `푸들`"#]],
    );
    check_header(
        "id,a,b,c,d,e,f",
        expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          header: the kind `probabilities` writes none of the columns `a`, `b`, `c`, `d`, `e` and 1 more: name a sample file with `beagle`, `Spitz, German`, `푸들`"#]],
    );
    check_header(
        "id,breed",
        expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          header: the columns are those of the kind `classes`, not of `probabilities`: set `submit.kind="classes"`, or name another sample file"#]],
    );
    check(
        "beagle,\"Spitz, German\",푸들\n0,0,0\n".as_bytes(),
        expect![[r#"
        ROOT/sample_submission.csv: 2 problems in the data:
          header: the first column is `beagle`, which is not one of ids: put a column of ids before it
          line 2: `0` has no file in ROOT/test: put the image there, or correct the row"#]],
    );
    let twice = "a.jpg,0,0,0\nc,0,0,0\n,0,0,0\n../b,0,0,0\nb,0\n";
    check(
        format!("id,beagle,\"Spitz, German\",푸들\n{rows}{twice}").as_bytes(),
        expect![[r#"
        ROOT/sample_submission.csv: 5 problems in the data:
          line 4: `a.jpg` already has a row, in line 2: remove one of the two
          line 5: `c` has no file in ROOT/test: put the image there, or correct the row
          line 6: the image is empty: name the image, or remove the row
          line 7: `../b` is not a path within the folder of images: write the path relative to it, with `/`
          line 8: has 2 fields, the header 4: correct the row"#]],
    );
    check(
        "id,beagle,\"Spitz, German\",푸들\nx,0,0,0\ny,0,0,0\n".as_bytes(),
        expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          ids: none of the 2 ids has an image in ROOT/test; the first: `x` has no file in ROOT/test: name the folder of the images with `--images`"#]],
    );
    check(
        b"ImageID\n\xb8\xb6\xbd\xba\xc5\xa9\xbb\xe7\xc1\xf8.jpg\n",
        expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          encoding: this looks like CP949 (EUC-KR), not UTF-8 (line 2): save it as UTF-8"#]],
    );
    // All at once.
    check(
        "id,Beagle_,husky,푸들\nc,0,0,0\na,0,0,0\n".as_bytes(),
        expect![[r#"
        ROOT/sample_submission.csv: 4 problems in the data:
          header: `Beagle_` is not a column that the kind `probabilities` writes: rename it to `beagle`
          header: `husky` is not a column that the kind `probabilities` writes: remove it
          header: lacks the column `Spitz, German`: add it
          line 2: `c` has no file in ROOT/test: put the image there, or correct the row"#]],
    );
}

#[test]
fn missing_files_and_folders_are_named() {
    let dir = folder(&["a.jpg"]);
    let config = SubmitConfig::default();
    let check = |root: &str, sample: Option<&str>, want: Expect| {
        let sample = sample.map(|it| dir.path().join(it));
        let root = dir.path().join(root);
        let err = Submission::new(&config, &breeds(), None, &root, sample.as_deref()).err();
        let err = err.unwrap().to_string();
        want.assert_eq(&err.replace(&dir.path().display().to_string(), "ROOT"));
    };
    check(
        "test",
        Some("no.csv"),
        expect![
            "ROOT/no.csv: No such file or directory (os error 2): `--sample` must be a CSV file"
        ],
    );
    check(
        "no",
        None,
        expect![
            "ROOT/no: No such file or directory (os error 2): name an image, or a folder of images"
        ],
    );
    fs::write(dir.path().join(SAMPLE), "id,breed\na,0\n").unwrap();
    check(
        "no",
        None,
        expect![
            "ROOT/no: No such file or directory (os error 2): `--images` must be the folder of the images"
        ],
    );
}

#[test]
fn classes_are_indices_or_names() {
    let dir = folder(&["a.jpg", "b.jpg", "images/Kim, Min-su.jpg", "images/사진 1.jpg"]);
    let task = one_factor(&["1", "2", "10"]);
    let sample = "image,label\nb,0\na,0\n";
    let predictions = [certain(&task, 2), certain(&task, 0)];
    // Without `images/`, which would be the folder of the images.
    fs::rename(dir.path().join("test/images"), dir.path().join("kept")).unwrap();
    let it = sampled(&dir, sample, CLASSES, &task, None).unwrap();
    assert_eq!(csv(&it, &predictions), "image,label\nb,2\na,0\n");
    expect!["classes are written as their indices, 0 to 2, not as their names, `1` to `10`: set `submit.names=true` to write names"].assert_eq(&it.notes.join("\n"));
    let names = format!("{CLASSES}\nnames = true");
    let it = sampled(&dir, sample, &names, &task, None).unwrap();
    assert_eq!(csv(&it, &predictions), "image,label\nb,10\na,1\n");
    assert!(it.notes.is_empty());
    let it = sampled(&dir, sample, &names, &breeds(), None).unwrap();
    let predictions = [certain(&breeds(), 1), certain(&breeds(), 2)];
    assert_eq!(csv(&it, &predictions), "image,label\nb,\"Spitz, German\"\na,푸들\n");
    let err = sampled(&dir, "id,x,y\na,0,0\n", CLASSES, &task, None).err().unwrap();
    expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          header: has 2 columns beside the ids, but the kind `classes` writes one: remove the others, or set another `submit.kind`"#]].assert_eq(&err);

    // The mask competition's folder, whose table comes before one beside it.
    fs::rename(dir.path().join("kept"), dir.path().join("test/images")).unwrap();
    let root = dir.path().join("test");
    fs::write(root.join("info.csv"), "ImageID,ans\n사진 1.jpg,0\n\"Kim, Min-su.jpg\",0\n").unwrap();
    let competition = Task::mask_gender_age();
    let it = open(&root, CLASSES, &competition, None).unwrap();
    let predictions = [certain(&competition, 17), certain(&competition, 4)];
    assert_eq!(csv(&it, &predictions), "ImageID,ans\n사진 1.jpg,17\n\"Kim, Min-su.jpg\",4\n");
    // A list of ids alone has the usual columns.
    fs::write(root.join("info.csv"), "ImageID\n사진 1.jpg\n").unwrap();
    let it = open(&root, CLASSES, &competition, None).unwrap();
    assert_eq!(csv(&it, &predictions[..1]), "ImageID,ans\n사진 1.jpg,17\n");
}

#[test]
fn factors_have_their_levels_and_the_number_that_is_predicted() {
    let dir = folder(&["a.jpg"]);
    let task = Task::mask_gender_age();
    let prediction = Prediction { number: Some(61.25), ..certain(&task, 11) };
    let all = [prediction];
    let it = open(&dir.path().join("test"), FACTORS, &task, Some(2)).unwrap();
    assert_eq!(
        csv(&it, &all),
        "ImageID,mask,gender,age,age.number\na.jpg,incorrect,female,>=60,61.25\n"
    );
    let note = format!(
        "no sample file: a row for each image of {}, in the order of their names",
        dir.path().join("test").display()
    );
    assert_eq!(it.notes, [note]);
    let it = sampled(&dir, "id,age,mask,gender\na,,,\n", FACTORS, &task, Some(2)).unwrap();
    assert_eq!(csv(&it, &all), "id,age,mask,gender\na,>=60,incorrect,female\n");
    let sample = "id,mask,gender,age,age.number\na,,,,\n";
    let err = sampled(&dir, sample, FACTORS, &task, None).err().unwrap();
    expect![[r#"
        ROOT/sample_submission.csv: 1 problem in the data:
          header: `age.number` is not a column that the kind `factors` writes: remove it"#]]
    .assert_eq(&err);
}

#[test]
fn clipped_rows_sum_to_one() {
    let dir = folder(&["a.jpg"]);
    let sample = "id,beagle,\"Spitz, German\",푸들\na,0,0,0\n";
    // 0.9, 0.01 and 0.01, divided by 0.92.
    let config = format!("{PROBABILITIES}\nclip = [0.01, 0.9]");
    let it = sampled(&dir, sample, &config, &breeds(), None).unwrap();
    assert_eq!(
        it.row("a", &certain(&breeds(), 0)).unwrap(),
        ["a", "0.97826087", "0.0108695652", "0.0108695652"]
    );
}

#[test]
fn the_literal_bounds_of_the_write_up_have_a_log_loss_of_at_least_0_789() {
    let dir = folder(&["a.jpg"]);
    let levels: Vec<String> = (0..120).map(|it| format!("breed {it}")).collect();
    let task = one_factor(&levels.iter().map(String::as_str).collect::<Vec<_>>());
    let loss = |clip: &str| {
        let config = format!("{PROBABILITIES}\nclip = {clip}");
        let it = open(&dir.path().join("test"), &config, &task, None).unwrap();
        let row = it.row("a", &certain(&task, 0)).unwrap();
        -row[1].parse::<f64>().unwrap().ln()
    };
    // 0.00825 / (0.00825 + 119 * 0.01 / 120) = 0.454128, and 0.99 / (0.99 + 119 * 0.01 / 120) = 0.990083.
    assert!((loss("\"write_up_002\"") - 0.789_376).abs() < 1e-5);
    assert!((loss("[0.0000833333333, 0.99]") - 0.009_967).abs() < 1e-5);
}

#[test]
fn invalid_bounds_are_refused() {
    let read =
        |clip: &str| toml::from_str::<SubmitConfig>(&format!("{PROBABILITIES}\nclip = {clip}"));
    let problem = |clip: &str| read(clip).unwrap().get().problem();
    for clip in ["[0, 1]", "[0.0001, 0.99]", "\"write_up_002\""] {
        assert_eq!(problem(clip), None, "{clip}");
    }
    for clip in ["[0.5, 0.2]", "[-0.1, 1.0]", "[0.1, 1.5]", "[nan, 1.0]", "[0.0, nan]", "[0, 0]"] {
        assert!(
            problem(clip).unwrap().starts_with("`clip` is [lo, hi] with 0 <= lo < hi"),
            "{clip}"
        );
    }
    let err = read("\"kaggle\"").unwrap_err().to_string();
    assert!(err.contains("must be [lo, hi] or \"write_up_002\""), "{err}");
}

#[test]
fn predictions_that_are_no_distribution_are_refused() {
    let dir = folder(&["a.jpg"]);
    let it = open(&dir.path().join("test"), PROBABILITIES, &breeds(), None).unwrap();
    let check = |p: [f64; 3], want: Expect| {
        want.assert_eq(&it.row("a.jpg", &predicted(&p)).unwrap_err().to_string());
    };
    check(
        [0.5, 0.5, 0.25],
        expect!["a.jpg: its probabilities sum to 1.25, not to 1: the bundle may be damaged"],
    );
    check(
        [0.5, f64::NAN, 0.25],
        expect!["a.jpg: its prediction is not finite (NaN or infinite): the bundle may be damaged"],
    );
    // Probabilities whose factor has no number.
    let task = Task::mask_gender_age();
    let it = open(&dir.path().join("test"), FACTORS, &task, Some(2)).unwrap();
    let number = Prediction { number: Some(f64::INFINITY), ..certain(&task, 0) };
    assert!(it.row("a.jpg", &number).is_err() && it.row("a.jpg", &certain(&task, 0)).is_err());
}

#[test]
fn rows_of_many_classes_sum_to_one_as_written() {
    let dir = folder(&["a.jpg"]);
    let levels: Vec<String> = (0..1000).map(|it| it.to_string()).collect();
    let task = one_factor(&levels.iter().map(String::as_str).collect::<Vec<_>>());
    let it = open(&dir.path().join("test"), PROBABILITIES, &task, None).unwrap();
    assert_eq!(it.header()[1..], task.class_names(Scope::Joint));
    // i / 500500 sums to 1 over i = 1, ..., 1000.
    let p: Vec<f64> = (1..=1000).map(|it| f64::from(it) / 500_500.0).collect();
    let row = it.row("a.jpg", &predicted(&p)).unwrap();
    let sum: f64 = row[1..].iter().map(|it| it.parse::<f64>().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    let digits = |it: &String| {
        let mantissa = it.split('e').next().unwrap().trim_start_matches(['0', '.']);
        mantissa.chars().filter(char::is_ascii_digit).count()
    };
    assert!(row[1..].iter().all(|it| digits(it) <= 9));
}
