//! `maskfit submit`: what is written for a sample file, and which sample files are refused.

use std::fs;

use base::records::Records;
use expect_test::{Expect, expect};

use crate::bench::{Bench, SMALL};

const HEADER: &str = "id,푸들,\"Spitz, German\",10";

/// Returns a run on a table of three breeds, whose setting is to submit clipped probabilities, and a folder
/// `test/` of three images.
fn breeds() -> Bench {
    let bench = Bench::new();
    let images = bench.path("people/eval/images");
    let mut names: Vec<String> = fs::read_dir(&images)
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut labels = "id,breed\n".to_owned();
    for (name, breed) in names.iter().zip(["10", "\"Spitz, German\"", "푸들"].iter().cycle()) {
        labels += &format!("{},{breed}\n", name.rsplit_once('.').unwrap().0);
    }
    fs::write(bench.path("labels.csv"), labels).unwrap();
    fs::create_dir(bench.path("test")).unwrap();
    for (name, to) in names.iter().zip(["a.jpg", "b.jpg", "c.jpg"]) {
        fs::copy(images.join(name), bench.path("test").join(to)).unwrap();
    }
    let table = "{ kind = \"table\", csv = \"labels.csv\", images = \"people/eval/images\", image = \"id\", \
                 label = \"breed\" }";
    let config = SMALL.replace("{ kind = \"mask_profiles\", root = \"people/train\" }", table);
    let submit = "[head]\nkind = \"joint\"\n\n\
                  [submit]\nkind = \"probabilities\"\nclip = [0.2, 0.5]\n";
    fs::write(bench.path("breeds.toml"), format!("{config}\n{submit}")).unwrap();
    let short = ["--set", "run.name=a", "--set", "train.total=1 steps"];
    bench.ok(&[&["train", "breeds.toml"][..], &short].concat());
    bench
}

/// Returns the fields of a table that the program wrote.
fn fields(text: &str) -> Vec<Vec<String>> {
    let records = Records::exact(text);
    let all = std::iter::once(records.header()).chain(records.rows());
    all.map(|it| it.fields.iter().map(str::to_owned).collect()).collect()
}

#[test]
fn submission_has_the_rows_and_columns_of_the_sample_file() {
    let bench = breeds();
    let sample = format!("{HEADER}\nc,0,0,0\na,0,0,0\nb,0,0,0\n");
    fs::write(bench.path("sample_submission.csv"), sample).unwrap();
    let submit = ["submit", "runs/a", "--images", "test"];
    assert_eq!(bench.ok(&submit), "3 rows: output.csv\n");
    let text = fs::read_to_string(bench.path("output.csv")).unwrap();
    assert!(text.starts_with(&format!("{HEADER}\nc,")), "{text}");
    let submission = fields(&text);

    // The same probabilities, clipped, each row divided by its sum.
    bench.ok(&["predict", "runs/a", "--images", "test", "-o", "p.csv"]);
    let predicted = fields(&fs::read_to_string(bench.path("p.csv")).unwrap());
    assert_eq!(predicted[0], ["image", "predicted", "class", "10", "Spitz, German", "푸들"]);
    let mut classes = Vec::new();
    for (row, (name, at)) in submission[1..].iter().zip([("c", 3), ("a", 1), ("b", 2)]) {
        let of_image = &predicted[at];
        assert_eq!((row[0].as_str(), of_image[0].clone()), (name, format!("{name}.jpg")));
        let clipped = |it: usize| of_image[it].parse::<f64>().unwrap().clamp(0.2, 0.5);
        let sum: f64 = (3..6).map(clipped).sum();
        for (field, want) in row[1..].iter().zip([5, 4, 3].map(|it| clipped(it) / sum)) {
            assert!((field.parse::<f64>().unwrap() - want).abs() < 1e-7, "{row:?} {of_image:?}");
        }
        // The name is that of the index.
        assert_eq!(of_image[2], predicted[0][3 + of_image[1].parse::<usize>().unwrap()]);
        classes.push(of_image[2].clone());
    }

    assert_eq!(bench.ok(&[&submit[..], &["-o", "-"]].concat()), text);
    // A named sample file comes before the one beside the images.
    fs::write(bench.path("other.csv"), "image;label\nc.jpg;\na.jpg;\nb.jpg;\n").unwrap();
    let names = ["--set", "submit={ kind = classes, names = true }", "--sample", "other.csv"];
    bench.ok(&[&submit[..], &names, &["-o", "names.csv"]].concat());
    let names = fields(&fs::read_to_string(bench.path("names.csv")).unwrap());
    assert_eq!(names[0], ["image", "label"]);
    let want: Vec<_> = ["c.jpg", "a.jpg", "b.jpg"].into_iter().zip(&classes).collect();
    let got: Vec<_> = names[1..].iter().map(|it| (it[0].as_str(), &it[1])).collect();
    assert_eq!(got, want);
}

#[test]
fn wrong_sample_files_are_refused_and_nothing_is_written() {
    let bench = breeds();
    let check = |sample: &str, want: Expect| {
        fs::write(bench.path("sample_submission.csv"), sample).unwrap();
        bench.fails(&["submit", "runs/a", "--images", "test"], want);
    };
    let rows = "a,0,0,0\nb,0,0,0\nc,0,0,0\n";
    check(
        "",
        expect![[r#"
        error: sample_submission.csv: 1 problem in the data:
          header: is empty: put a header and a row for each image there"#]],
    );
    check(
        &format!("{HEADER}\n"),
        expect![[r#"
        error: sample_submission.csv: 1 problem in the data:
          rows: there are none: add a row for each image"#]],
    );
    check(
        &format!("id,푸들,German Spitz,10\n{rows}"),
        expect![[r#"
        error: sample_submission.csv: 2 problems in the data:
          header: `German Spitz` is not a column that the kind `probabilities` writes: remove it
          header: lacks the column `Spitz, German`: add it"#]],
    );
    check(
        &format!("id,푸들,Spitz German,10\n{rows}"),
        expect![[r#"
        error: sample_submission.csv: 1 problem in the data:
          header: `Spitz German` is not a column that the kind `probabilities` writes: rename it to `Spitz, German`"#]],
    );
    check(
        "id,푸들,10\na,0,0\nb,0,0\n",
        expect![[r#"
        error: sample_submission.csv: 1 problem in the data:
          header: lacks the column `Spitz, German`: add it"#]],
    );
    check(
        &format!("{HEADER},10\n{}", rows.replace(",0\n", ",0,0\n")),
        expect![[r#"
        error: sample_submission.csv: 1 problem in the data:
          header: has the column `10` more than once: keep one of them"#]],
    );
    check(
        "id,breed\na,0\nb,0\n",
        expect![[r#"
        error: sample_submission.csv: 1 problem in the data:
          header: the columns are those of the kind `classes`, not of `probabilities`: set `submit.kind="classes"`, or name another sample file"#]],
    );
    check(
        &format!("{HEADER}\n{rows}d,0,0,0\n"),
        expect![[r#"
        error: sample_submission.csv: 1 problem in the data:
          line 5: `d` has no file in test: put the image there, or correct the row"#]],
    );
    check(
        &format!("{HEADER}\n{rows}a.jpg,0,0,0\n"),
        expect![[r#"
        error: sample_submission.csv: 1 problem in the data:
          line 5: `a.jpg` already has a row, in line 2: remove one of the two"#]],
    );
    check(
        &format!("{HEADER}\n{rows}a,0\n"),
        expect![[r#"
        error: sample_submission.csv: 1 problem in the data:
          line 5: has 2 fields, the header 4: correct the row"#]],
    );
    check(
        &format!("{HEADER}\nx,0,0,0\ny,0,0,0\n"),
        expect![[r#"
        error: sample_submission.csv: 1 problem in the data:
          ids: none of the 2 ids has an image in test; the first: `x` has no file in test: name the folder of the images with `--images`"#]],
    );
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let bench = breeds();
    let check = |set: &str, want: Expect| {
        bench.fails(&["submit", "runs/a", "--images", "test", "--set", set], want);
    };
    check(
        "optim.lr=1",
        expect![
            "error: --set optim.lr=1: not a setting of `[submit]`, such as `submit.kind=probabilities`"
        ],
    );
    check(
        "submit.clip=[0.5, 0.1]",
        expect!["error: at `submit`: `clip` is [lo, hi] with 0 <= lo < hi <= 1, not [0.5, 0.1]"],
    );
    check(
        "submit.clip=kaggle",
        expect![[
            r#"error: --set submit.clip=kaggle: at `submit.clip`: must be [lo, hi] or "write_up_002""#
        ]],
    );
    check(
        "submit={ kind = classes, clip = write_up_002 }",
        expect![
            "error: --set submit={ kind = classes, clip = write_up_002 }: at `submit.clip`: unknown field `clip`, expected `names` (these are of kind `classes`)"
        ],
    );
    bench.fails(
        &["train", "breeds.toml", "--set", "submit.clip=[0.5, 0.1]"],
        expect!["error: at `submit`: `clip` is [lo, hi] with 0 <= lo < hi <= 1, not [0.5, 0.1]"],
    );
}

#[test]
fn factors_are_submitted_with_the_number_that_the_head_predicts() {
    let bench = Bench::new();
    let short = ["--set", "run.name=a", "--set", "train.total=1 steps"];
    bench.ok(&[&["train", "small.toml", "--set", "head.kind=regression"][..], &short].concat());
    let submit = ["submit", "runs/a", "--set", "submit.kind=factors", "--images"];
    let (_, notes) = bench.both(&[&submit[..], &["people/eval/images"]].concat());
    assert!(notes.contains("note: no sample file: a row for each image of"), "{notes}");
    let rows = fields(&fs::read_to_string(bench.path("output.csv")).unwrap());
    assert_eq!(rows[0], ["ImageID", "mask", "gender", "age", "age.number"]);
    assert_eq!(rows.len(), 22);
    for row in &rows[1..] {
        assert!(["worn", "incorrect", "not worn"].contains(&row[1].as_str()), "{row:?}");
        assert!(["male", "female"].contains(&row[2].as_str()), "{row:?}");
        assert!(["<30", "30-59", ">=60"].contains(&row[3].as_str()), "{row:?}");
        assert!(row[4].parse::<f64>().unwrap().is_finite(), "{row:?}");
    }
    // The folder of `info.csv` is that of another kind.
    bench.fails(&[&submit[..], &["people/eval"]].concat(), expect![[r#"
        error: people/eval/info.csv: 1 problem in the data:
          header: the columns are those of the kind `classes`, not of `factors`: set `submit.kind="classes"`, or name another sample file"#]]);
}
