//! Tests of review tables: what decisions do to the data, and which are refused.

use base::Task;

use super::Review;
use crate::{Content, Example, Manifest, Use};

/// Two men aged 28, each with an image with a mask and one without.
fn manifest() -> Manifest {
    let task = Task::mask_gender_age();
    let example = |group: usize, name: &str, mask: usize| Example {
        name: format!("{}/{name}.jpg", ["ann", "ben"][group]),
        content: Content::Memory([].into()),
        group,
        class: task.class_of(&[mask, 0, 0]),
        numbers: vec![f64::NAN, f64::NAN, 28.0],
        attributes: Vec::new(),
        usage: Use::Pool,
        weight: 1.0,
        hash: None,
    };
    let examples = vec![
        example(0, "mask1", 0),
        example(0, "normal", 2),
        example(1, "mask1", 0),
        example(1, "normal", 2),
    ];
    let groups = ["ann", "ben"].map(str::to_owned).into();
    Manifest::new(task, groups, examples)
}

const HEADER: &str = "group,image,factor,given,suggested,score,decision\n";

fn applied(rows: &str) -> Result<Manifest, String> {
    let mut manifest = manifest();
    Review::parse(&format!("{HEADER}{rows}"))?.apply(&mut manifest)?;
    Ok(manifest)
}

#[test]
fn each_decision_is_applied() {
    let it = applied(
        "ann,all,gender,male,female,0.1,fix\n\
         ann,all,age,<30,>=60,0.1,fix\n\
         ann,ann/normal.jpg,mask,not worn,incorrect,0.2,fix\n\
         ben,ben/mask1.jpg,mask,worn,incorrect,0.3,drop\n\
         ben,all,gender,male,female,0.4, weight 0.5\n\
         ben,all,age,<30,>=60,0.4,keep\n\
         nobody,all,age,<30,>=60,0.4,\n",
    )
    .unwrap();
    let class = |levels: [usize; 3]| it.task.class_of(&levels);
    let rows: Vec<_> = it
        .examples
        .iter()
        .map(|it| (it.name.as_str(), it.class, it.number(2), it.weight))
        .collect();
    assert_eq!(
        rows,
        [
            ("ann/mask1.jpg", class([0, 1, 2]), None, 1.0),
            ("ann/normal.jpg", class([1, 1, 2]), None, 1.0),
            ("ben/normal.jpg", class([2, 0, 0]), Some(28.0), 0.5),
        ]
    );
}

#[test]
fn invalid_rows_are_reported_with_line_and_reason() {
    for (row, want) in [
        ("ann,all,gender,male,female,0.1,yes", "line 2: unknown decision `yes`"),
        (
            "ann,all,gender,male,female,0.1,weight 2",
            "line 2: a weight must be from 0 to 1, not `2`",
        ),
        ("ann,all,cheese,male,female,0.1,fix", "line 2: the data has no factor `cheese`"),
        ("ann,all,gender,male,dog,0.1,fix", "line 2: `dog` is not one of: male, female"),
        ("eve,all,gender,male,female,0.1,fix", "line 2: the data has no `eve`"),
        ("ann,all,age,30-59,>=60,0.1,fix", "line 2: the label in the data is `<30`, not `30-59`"),
        ("ann,all,age", "line 2: has 3 fields, the header 7"),
        ("ann,all,age,<30,47,high,fix", "line 2: the score `high` is not a number"),
        (
            "\n\r\n\"an\nn\",all,age,<30,47,1,keep\n\neve,all,gender,male,female,0.1,fix",
            "line 7: the data has no `eve`",
        ),
        (
            "ann,all,age,<30,>=60,0.1,fix\nann,ann/mask1.jpg,age,<30,30-59,0.1,fix",
            "line 3: this label has already been decided in line 2",
        ),
    ] {
        let err = applied(row).unwrap_err();
        assert!(err.starts_with(want), "{err}");
    }
    let both = "ann,all,gender,male,female,0.1,yes\nben,all,gender,male,female,0.1,no\n";
    assert_eq!(applied(both).unwrap_err().lines().count(), 2);
}

#[test]
fn a_large_table_takes_linear_time() {
    // 40,000 rows and 40,000 images: two minutes if each row searches all images.
    let mut manifest = manifest();
    let [one, ..] = manifest.examples.as_slice() else { panic!("the manifest has examples") };
    let one = one.clone();
    let name = |it: usize| format!("group {it}");
    manifest.groups = (0..40_000).map(name).collect();
    let example = |it: usize| Example { name: format!("{it}.jpg"), group: it, ..one.clone() };
    manifest.examples = (0..40_000).map(example).collect();
    let row = |it: usize| match it % 4 {
        0 => format!("group {it},all,gender,male,female,0.1,fix\n"),
        1 => format!("group {it},{it}.jpg,mask,worn,incorrect,0.1,drop\n"),
        2 => format!("group {it},{it}.jpg,mask,worn,incorrect,0.1,weight 0.5\n"),
        _ => format!("group {it},all,gender,male,female,0.1,keep\n"),
    };
    let rows: String = (0..40_000).rev().map(row).collect();
    let review = Review::parse(&format!("{HEADER}{rows}")).unwrap();
    let summary = review.apply(&mut manifest).unwrap();
    assert_eq!(summary, "10000 labels fixed, 10000 dropped (10000 images), 10000 weighted");
    let it = &manifest.examples[3];
    assert_eq!((it.name.as_str(), it.class), ("4.jpg", manifest.task.class_of(&[0, 1, 0])));
    let n_halved = manifest.examples.iter().filter(|it| it.weight == 0.5).count();
    assert_eq!((manifest.examples.len(), n_halved), (30_000, 10_000));
}

#[test]
fn an_age_may_be_suggested_and_only_a_fix_needs_a_suggestion() {
    let it = applied("ann,all,age,<30,47,0.1,fix\nben,all,age,,,0.1,drop\n").unwrap();
    let ages: Vec<_> = it.examples.iter().map(|it| (it.class % 3, it.number(2))).collect();
    assert_eq!(ages, [(1, Some(47.0)); 2]);
}

#[test]
fn other_files_are_refused_and_rows_of_dropped_groups_are_ignored() {
    for text in ["", "hello", "group;image\n"] {
        assert!(Review::parse(text).unwrap_err().contains("not a table"), "{text}");
    }
    let mut manifest = manifest();
    let drop = Review::parse(&format!("{HEADER}ann,all,age,<30,<30,0.1,drop\n")).unwrap();
    let summary = drop.apply(&mut manifest).unwrap();
    assert_eq!(summary, "0 labels fixed, 1 dropped (2 images), 0 weighted");
    assert!(drop.apply(&mut manifest).is_ok() && manifest.examples.len() == 2);
}

#[test]
fn a_label_that_is_already_right_stays() {
    let twice = "ann,all,gender,female,male,0.1,fix\n";
    assert_eq!(applied(twice).unwrap().examples[0].class, manifest().examples[0].class);
}

#[test]
fn a_written_table_reads_back() {
    let rows = "\"a, b\",all,age,<30,>=60,0.25,weight 0.5\n";
    let review = Review::parse(&format!("{HEADER}{rows}")).unwrap();
    assert_eq!(review.to_csv(), format!("{HEADER}{rows}"));
}
