//! Tables round-trip, are joined and averaged, and errors name the line.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Index, LabelledPredictions, LabelledReader, LabelledWriter, Row, TableError, mean};
use base::{Task, table::number, task::Factor};

fn task() -> Task {
    Task::new(vec![Factor::new("age", &["<30", "30, or more"])])
}

fn row(image: &str, group: &str, class: usize, p: [f64; 2]) -> Row {
    let predicted = usize::from(p[1] > p[0]);
    let (image, group) = (image.to_owned(), group.to_owned());
    Row { image, group, class, predicted, probabilities: p.to_vec(), ..Row::default() }
}

fn rows() -> Vec<Row> {
    let p = [[1.0 / 3.0, 2.0 / 3.0], [1e-300, 1.0 - f64::EPSILON]];
    vec![row("a, b.jpg", "y", 0, p[0]), row("c.jpg", "x", 1, p[1])]
}

fn write(path: &Path, rows: &[Row]) {
    let mut writer = LabelledWriter::new(Vec::new(), &task());
    for it in rows {
        writer.row(&it.image, &it.group, &it.prediction(0)).unwrap();
    }
    fs::write(path, writer.finish().unwrap()).unwrap();
}

fn read(path: &Path, task: &Task) -> Result<Vec<Row>, String> {
    let mut reader = LabelledReader::open(path, task).map_err(|err| reason(&err))?;
    let (mut rows, mut row) = (Vec::new(), Row::default());
    while reader.next(&mut row).map_err(|err| reason(&err))? {
        rows.push(row.clone());
    }
    Ok(rows)
}

fn reason(err: &TableError) -> String {
    match err {
        TableError::Damaged { reason, .. } => reason.clone(),
        TableError::Io { source, .. } => source.to_string(),
    }
}

/// Rounds the values to nine significant digits.
fn rounded(mut it: Row) -> Row {
    let round = |x: &mut f64| *x = number(*x).parse().unwrap();
    it.probabilities.iter_mut().for_each(round);
    it.number.iter_mut().for_each(round);
    it
}

#[test]
fn tables_round_trip_to_nine_digits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("valid.csv");
    write(&path, &rows());
    let begin = "image,group,truth,predicted,<30,\"30, or more\"\n\"a, b.jpg\",y,0,1,0.33";
    assert!(fs::read_to_string(&path).unwrap().starts_with(begin));
    let want: Vec<Row> = rows().into_iter().map(rounded).collect();
    assert_eq!(read(&path, &task()).unwrap(), want);

    let [mut a, mut b]: [Row; 2] = rows().try_into().unwrap();
    (a.number, a.true_number, b.number) = (Some(1.0 / 7.0), Some(29.125), Some(30.5));
    write(&path, &[a.clone(), b.clone()]);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("predicted,number,predicted_number,<30"), "{text}");
    assert!(text.contains(",29.125,0.142857143,") && text.contains(",,30.5,"), "{text}");
    assert_eq!(read(&path, &task()).unwrap(), [rounded(a), rounded(b)]);
}

#[test]
fn empty_table_has_a_header() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("valid.csv");
    write(&path, &[]);
    assert_eq!(read(&path, &task()).unwrap(), []);
}

#[test]
fn predicted_class_is_read_from_its_column() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("valid.csv");
    let mut tie = row("b", "x", 0, [0.5, 0.5]);
    tie.predicted = 1;
    write(&path, &[tie, row("a", "y", 1, [0.75, 0.25])]);
    let it = LabelledPredictions::open(&path, &task()).unwrap();
    assert_eq!(
        (it.images, it.groups),
        (vec!["a".into(), "b".into()], vec!["x".into(), "y".into()])
    );
    let it = it.predictions;
    assert_eq!((it.predicted, it.classes, it.groups), (vec![0, 1], vec![1, 0], vec![1, 0]));
}

#[test]
fn table_without_true_labels_or_with_other_classes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    fs::write(&path, "image,predicted,<30,\"30, or more\"\na.jpg,1,0.5,0.5\n").unwrap();
    assert!(read(&path, &task()).unwrap_err().contains("no column `truth`"));
    write(&path, &rows());
    let other = Task::new(vec![Factor::new("age", &["young", "old"])]);
    assert!(read(&path, &other).unwrap_err().contains("differ from the task's"));
    assert!(read(&path, &Task::mask_gender_age()).unwrap_err().starts_with("line 1"));
}

#[test]
fn errors_name_the_line() {
    let task = Task::new(vec![Factor::new("age", &["a", "b"])]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    let header = "image,group,truth,predicted,a,b\n";
    for (row, what) in [
        ("x,p,0,0,0.5,oops", "line 2: `oops`"),
        ("x,p,2,0,0.5,0.5", "line 2: `2` is not a class"),
        ("x,p,0,2,0.5,0.5", "line 2: `2` is not a class"),
        ("x,p,0,0,0.5", "line 2: has 5 fields, but the header has 6"),
        ("\"x\ny\",p,0,0,0.5,0.5\r\n\r\nx,p,0,0,0.5,oops", "line 5: `oops`"),
        ("x,p,0,0,0.5,NaN", "line 2: `NaN`"),
    ] {
        fs::write(&path, format!("{header}{row}\n")).unwrap();
        let err = read(&path, &task).unwrap_err();
        assert!(err.starts_with(what), "{err}");
    }
}

#[test]
fn rows_that_are_not_probabilities_are_counted_and_the_first_are_listed() {
    let task = Task::new(vec![Factor::new("age", &["a", "b"])]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("oof.csv");
    let read_rows = |rows: &[&str]| {
        let rows: String = rows.iter().map(|it| format!("x,p,0,0,{it}\n")).collect();
        fs::write(&path, format!("image,group,truth,predicted,a,b\n{rows}")).unwrap();
        read(&path, &task)
    };
    // As written with few digits, and exactly.
    assert_eq!(read_rows(&["0.3333,0.6667", "0.5,0.4995", "1,0"]).unwrap().len(), 3);
    for (row, want) in [
        ("0.9,0.9", "line 3: the probabilities sum to 1.8, not 1: the table was changed"),
        ("0,0", "line 3: the probabilities sum to 0, not 1"),
        ("0.5,0.498", "line 3: the probabilities sum to 0.998, not 1"),
        ("-0.25,1.25", "line 3: `-0.25` is not a probability from 0 to 1"),
        ("0,1.0005", "line 3: `1.0005` is not a probability"),
        ("NaN,0.5", "line 3: `NaN` is not a probability"),
        ("inf,0.5", "line 3: `inf` is not a probability"),
    ] {
        let err = read_rows(&["0.5,0.5", row, "0.5,0.5"]).unwrap_err();
        assert!(err.starts_with(want), "{row}: {err}");
        assert!(err.contains("`maskfit kfold join`") && !err.contains("more"), "{err}");
    }
    let err = read_rows(&[&["0,1"; 2][..], &["1,1"; 7], &["0,1"]].concat()).unwrap_err();
    let shown: Vec<String> =
        (4..9).map(|it| format!("line {it}: the probabilities sum to 2, not 1")).collect();
    let want = format!("{}; and 2 more, 7 rows in all: ", shown.join("; "));
    assert!(err.starts_with(&want), "{err}");
}

#[test]
fn tables_are_joined_by_image_name_without_parsing_probabilities() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = ["0", "1"].map(|it| dir.path().join(it)).into();
    let [a, c]: [Row; 2] = rows().try_into().unwrap();
    let (b, d) = (row("b.jpg", "w", 1, [0.5, 0.5]), row("d\n1.jpg", "y", 0, [0.25, 0.75]));
    write(&paths[0], &[c.clone(), a.clone()]);
    write(&paths[1], &[d.clone(), b.clone()]);
    let index = Index::of(&paths, &task()).unwrap();
    assert_eq!(index.groups, ["w", "x", "y"]);
    let groups: Vec<usize> = index.images.iter().map(|it| it.group).collect();
    assert_eq!(groups, [2, 0, 1, 2]);
    assert_eq!((index.position("c.jpg"), index.position("e")), (Some(2), None));
    assert_eq!((index.group("y"), index.group("z")), (Some(2), None));
    let mut joined = Vec::new();
    index.copy(&mut joined).unwrap();
    let whole = dir.path().join("whole");
    write(&whole, &[a, b, c, d]);
    assert_eq!(String::from_utf8(joined).unwrap(), fs::read_to_string(whole).unwrap());

    let err = Index::of(&[paths[0].clone(), paths[0].clone()], &task()).unwrap().check();
    let err = err.unwrap_err();
    assert!(reason(&err).contains("`a, b.jpg` has another row"), "{err}");
}

#[test]
fn tables_are_averaged_row_by_row() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = ["0", "1"].map(|it| dir.path().join(it)).into();
    write(&paths[0], &[row("a", "x", 0, [0.25, 0.75]), row("b", "x", 0, [1.0, 0.0])]);
    write(&paths[1], &[row("a", "x", 0, [0.875, 0.125]), row("b", "x", 0, [0.5, 0.5])]);
    let mut rows = Vec::new();
    let take = |rows: &mut Vec<Row>| {
        rows.clear();
        mean(&paths, &task(), &mut |it| {
            rows.push(it.clone());
            Ok::<_, TableError>(())
        })
    };
    take(&mut rows).unwrap();
    let want = [[0.5625, 0.4375], [0.75, 0.25]];
    assert_eq!(rows.iter().map(|it| it.probabilities.clone()).collect::<Vec<_>>(), want);
    assert_eq!(rows[0].predicted, 0);
    write(&paths[1], &[row("b", "x", 0, [0.5, 0.5])]);
    assert!(reason(&take(&mut rows).unwrap_err()).contains("`b` is not `a`"));
    write(&paths[1], &[row("a", "x", 0, [0.5, 0.5])]);
    assert!(reason(&take(&mut rows).unwrap_err()).contains("a different number of images"));
}
