//! Time and memory of scoring many images of many classes.
//!
//! Runs at full scale where `MASKFIT_TEST_SCALE` is set, with measurements on standard error:
//! `MASKFIT_TEST_SCALE=1 cargo test --release --workspace --test it scale -- --nocapture`.

use std::{fs, time::Instant};

use base::{Seed, Task, task::Factor};
use infer::{LabelledReader, LabelledWriter, Row};
use metrics::{Evaluation, GroupSums, MetricConfig, Prediction, Resamples};

const VARIABLE: &str = "MASKFIT_TEST_SCALE";
const N_CLASSES: usize = 1000;

fn task() -> Task {
    let levels: Vec<String> = (0..N_CLASSES).map(|it| format!("class {it}")).collect();
    let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
    Task::new(vec![Factor::new("class", &levels)])
}

/// Passes predictions to `each`, of which four of five are correct.
fn predict(n_images: usize, mut each: impl FnMut(usize, &Prediction<'_>)) {
    let mut p = vec![0.2 / (N_CLASSES - 1) as f64; N_CLASSES];
    for image in 0..n_images {
        let class = (image * 7919) % N_CLASSES;
        let predicted = if image % 5 == 0 { (class + image / 5) % N_CLASSES } else { class };
        p[predicted] = 0.8;
        let it = Prediction {
            probabilities: &p,
            predicted,
            class,
            group: image,
            number: None,
            true_number: None,
        };
        each(image, &it);
        p[predicted] = 0.2 / (N_CLASSES - 1) as f64;
    }
}

/// The peak memory of the process, in MiB.
fn peak() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    let kib: f64 = line.and_then(|it| it.trim_end_matches("kB").trim().parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}

#[test]
fn report_on_many_images_of_many_classes_is_computed_in_a_stream() {
    let n_images = if std::env::var(VARIABLE).is_ok() { 1_000_000 } else { 10_000 };
    let mut evaluation = Evaluation::new(&task());
    let began = Instant::now();
    predict(n_images, |_, it| evaluation.add(it));
    let added = began.elapsed().as_secs_f64();
    let report = evaluation.report(Seed(0));
    let whole = began.elapsed().as_secs_f64();
    eprintln!(
        "report on {n_images} images of {N_CLASSES} classes: {added:.1} s of sums, {:.1} s of bootstrap \
         resamples, peak {:.0} MiB",
        whole - added,
        peak()
    );
    let joint = report.joint();
    // Of every 5,000 images, 1,000 get a shifted class, which for one of them is the true one.
    assert!((joint.scores.accuracy - 0.8002).abs() < 1e-9, "{}", joint.scores.accuracy);
    let it = joint.macro_f1;
    assert!(it.low < it.value && it.value < it.high && it.high - it.low < 0.05, "{it:?}");
    assert_eq!((report.n_groups, report.n_images), (n_images, n_images));
}

#[test]
fn ranking_of_many_images_for_many_classes_is_bootstrapped() {
    let is_large = std::env::var(VARIABLE).is_ok();
    let (n_images, n_resamples) = if is_large { (50_000, 1000) } else { (2_000, 16) };
    let (_, metric) = MetricConfig::zoo().into_iter().find(|it| it.0 == "roc_auc").unwrap();
    let mut tally = GroupSums::new(metric.get(), N_CLASSES);
    let began = Instant::now();
    predict(n_images, |_, it| tally.add(it));
    let groups = tally.groups();
    let ranked = began.elapsed().as_secs_f64();
    let it = Resamples::new(n_images, n_resamples, Seed(0)).scores(&[groups]).remove(0).interval();
    eprintln!(
        "roc_auc of {n_images} images of {N_CLASSES} classes: {ranked:.1} s of ranking, {:.1} s of \
         {n_resamples} resamples, peak {:.0} MiB",
        began.elapsed().as_secs_f64() - ranked,
        peak()
    );
    // A class's area is (1 + true positive rate - false positive rate) / 2: on average 0.8 and 0.0002.
    assert!((it.value - 0.9).abs() < 1e-3, "{it:?}");
    assert!(it.low < it.value && it.value < it.high && it.high - it.low < 0.1, "{it:?}");
}

#[test]
fn table_of_many_classes_is_written_and_read_row_by_row() {
    let n_images = if std::env::var(VARIABLE).is_ok() { 50_000 } else { 200 };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("valid.csv");
    let task = task();
    let began = Instant::now();
    let file = fs::File::create(&path).unwrap();
    let mut table = LabelledWriter::new(file, &task);
    predict(n_images, |image, it| {
        let name = format!("{image:07}.jpg");
        table.row(&name, &name, it).unwrap();
    });
    table.finish().unwrap();
    let written = began.elapsed().as_secs_f64();
    let (mut row, mut n, began) = (Row::default(), 0, Instant::now());
    let mut reader = LabelledReader::open(&path, &task).unwrap();
    while reader.next(&mut row).unwrap() {
        n += 1;
    }
    eprintln!(
        "table of {n_images} images of {N_CLASSES} classes: written in {written:.1} s, read in {:.1} s, \
         peak {:.0} MiB",
        began.elapsed().as_secs_f64(),
        peak()
    );
    assert_eq!((n, row.probabilities.len()), (n_images, N_CLASSES));
}
