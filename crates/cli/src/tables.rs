//! Tables: classification reports and confusion matrices.

use std::{cmp::Reverse, path::Path};

use base::task::{Scope, Unit};
use metrics::{AttributeReport, Interval, Report, ScopeReport};
use unicode_width::UnicodeWidthStr as _;

use crate::{
    style::{BEST, HEADING, WORST, headed, paint},
    wrap::{WIDTH, columns, cut, padded, wrapped},
};

/// With more classes than this, a table shows only the worst or most extreme ones.
pub(crate) const MANY: usize = 30;
/// Number of rows to show with many classes.
const N_SHOWN: usize = 15;

/// What stands for a score that is undefined, or says nothing.
const NONE: &str = "-";
/// Width of a bar.
const BAR: usize = 7;
/// Maximum width of the name of a class: with it a marked row has [`WIDTH`] columns.
const NAME: usize = 22;
/// Maximum width of the name of a scope: with it a row of scores has [`WIDTH`] columns.
const SCOPE: usize = 11;
/// Maximum width of the value of an attribute: with it a row of its scores has [`WIDTH`] columns.
const VALUE: usize = 16;
/// Minimum width of the names beside a confusion matrix, if they are cut.
const SHORT: usize = 10;

/// Formats the report on predictions, with a title.
///
/// - `files`: the path prefix of the CSV files of all classes and of all confusions.
pub(crate) fn report(title: &str, report: &Report, files: &Path) -> String {
    let joint = report.joint();
    let is_long = joint.classes.len() > MANY;
    let gap = if title.starts_with('\n') { "\n" } else { "" };
    let images = report.unit.images_of(report.n_images, report.n_groups);
    let mut text = format!("{gap}{}: {images}\n", paint(HEADING, title.trim_start()));
    match is_long {
        true => text += &worst_classes(joint),
        false => text += &class_table(joint),
    }
    let mut is_complete = !is_long;
    for scope in &report.scopes {
        let of = if report.scopes.len() > 1 { format!(": {}", scope.name) } else { String::new() };
        let matrix = confusion_table(scope);
        is_complete &= matrix.is_some();
        let title = if matrix.is_some() { "confusion matrix" } else { "confusions" };
        text += &format!("\n{}\n", paint(HEADING, title.to_owned() + &of));
        text += &matrix.unwrap_or_else(|| confusion_list(scope));
    }
    if !is_complete {
        let files = files.display();
        text += &format!(
            "\nall classes: {files}_classes.csv\nall confusions: {files}_confusions.csv\n"
        );
    }
    let top = format!("top-{}", joint.scores.k);
    let header = ["", "macro F1", "95 % CI", "accuracy", "bal. acc", &top, "log loss", "ECE"];
    let mut rows = vec![header.map(str::to_owned)];
    for ScopeReport { name, scores, macro_f1, classes, .. } in &report.scopes {
        let cell = |score: f64| format!("{score:.4}");
        rows.push([
            cut(name, SCOPE),
            cell(scores.macro_f1),
            format!("{:.3}-{:.3}", macro_f1.low, macro_f1.high),
            cell(scores.accuracy),
            cell(scores.balanced_accuracy),
            // All classes are among so many.
            if scores.k < classes.len() { cell(scores.top_k) } else { NONE.to_owned() },
            cell(scores.log_loss),
            cell(scores.expected_calibration_error),
        ]);
    }
    let scores = columns(&rows, &[false, true, true, true, true, true, true, true]);
    text += &format!("\n{}\n", headed(&scores));
    if let Some(mae) = report.mae {
        text += &format!("MAE: {mae:.2}\n");
    }
    text + &attributes(report)
}

/// Formats the scores by each attribute.
pub(crate) fn attributes(report: &Report) -> String {
    // The scores of a single value are those of the set.
    let several = report.attributes.iter().filter(|it| it.values.len() > 1);
    several.map(|it| attribute_table(it, report.unit)).collect()
}

/// Formats the scores by an attribute.
fn attribute_table(it: &AttributeReport, unit: Unit) -> String {
    let named = |value: &str| match value {
        "" => "(empty)".to_owned(),
        it => cut(it, VALUE),
    };
    // Of images that are groups of their own, the number of groups is the same.
    let groups = |text: String| if unit == Unit::Image { String::new() } else { text };
    let (name, unit) = (cut(&it.name, VALUE), groups(unit.many().to_owned()));
    let header = [&name, "images", &unit, "macro F1", "95 % CI", "accuracy", "95 % CI"];
    let mut rows = vec![header.map(str::to_owned)];
    for row in &it.values {
        let interval = |it: Interval| match it.low.is_nan() {
            true => NONE.to_owned(),
            false => format!("{:.3}-{:.3}", it.low, it.high),
        };
        rows.push([
            row.value.as_ref().map_or_else(|| format!("{} others", row.n_values), |it| named(it)),
            row.n_images.to_string(),
            groups(row.n_groups.to_string()),
            format!("{:.4}", row.macro_f1.value),
            interval(row.macro_f1),
            format!("{:.4}", row.accuracy.value),
            interval(row.accuracy),
        ]);
    }
    let table = columns(&rows, &[false, true, true, true, true, true, true]);
    let mut text = format!("\n{}\n", headed(&table));
    if let Some(gap) = &it.gap {
        let Interval { value, low, high } = gap.difference;
        let line = format!(
            "largest gap of accuracy: {value:.4} between {} and {} (95 % CI: {low:.4} to {high:.4})",
            named(&gap.lowest),
            named(&gap.highest)
        );
        text += &(wrapped("", &line) + "\n");
    }
    text
}

/// Formats the macro F1 of the joint classes with its confidence interval.
pub(crate) fn macro_f1(report: &Report) -> String {
    let Interval { value, low, high } = report.joint().macro_f1;
    format!("macro F1 {value:.4} (95 % CI over {}: {low:.4} to {high:.4})", report.unit.many())
}

/// A row of a table of classes by their counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Counted {
    Class(usize),
    /// `n` classes that are left out, with counts in this range.
    Between {
        n: usize,
        least: usize,
        most: usize,
    },
}

/// Returns all classes in order; of many, those with the largest and those with the smallest counts.
pub(crate) fn counted(counts: &[usize]) -> Vec<Counted> {
    let mut classes: Vec<usize> = (0..counts.len()).collect();
    if classes.len() <= MANY {
        return classes.into_iter().map(Counted::Class).collect();
    }
    classes.sort_by_key(|&it| Reverse(counts[it]));
    let between = &classes[N_SHOWN..classes.len() - N_SHOWN];
    let [most, least] = [0, between.len() - 1].map(|it| counts[between[it]]);
    let between = Counted::Between { n: between.len(), least, most };
    let ends = [&classes[..N_SHOWN], &classes[classes.len() - N_SHOWN..]];
    let [first, last] = ends.map(|it| it.iter().copied().map(Counted::Class));
    first.chain([between]).chain(last).collect()
}

/// Formats precision, recall, F1 and support of each class, as scikit-learn's `classification_report` does,
/// with a bar for the F1, and marks the classes with the highest and the lowest.
fn class_table(scope: &ScopeReport) -> String {
    let width = width(scope);
    let gap = " ".repeat(BAR);
    let header =
        format!("    {}  precision  recall  f1-score  {gap}  support", padded("class", width));
    let mut text = paint(HEADING, header) + "\n";
    let (best, worst) = extremes(scope).unzip();
    for (class, name) in scope.classes.iter().enumerate() {
        let it = scope.confusion.class(class);
        let [precision, recall, f1] = scores(scope, class);
        let row = format!(
            "{class:>3} {}  {precision:>9}  {recall:>6}  {f1:>8}  {}  {:>7}",
            padded(&cut(name, width), width),
            padded(&bar(it.f1), BAR),
            it.support
        );
        text += &match Some(class) {
            it if it == best => paint(BEST, row + "  best"),
            it if it == worst => paint(WORST, row + "  worst"),
            _ => row,
        };
        text.push('\n');
    }
    text
}

/// Formats precision, recall and F1 of a class; one that is undefined is [`NONE`].
fn scores(scope: &ScopeReport, class: usize) -> [String; 3] {
    let it = scope.confusion.class(class);
    let (n, n_predicted) = (it.support, scope.confusion.n_predicted(class));
    let scores = [(it.precision, n_predicted), (it.recall, n), (it.f1, n + n_predicted)];
    scores.map(|(score, of)| if of > 0 { format!("{score:.3}") } else { NONE.to_owned() })
}

/// Returns the classes with the highest and the lowest F1 of those that occur, the first of several; `None` if there
/// is no difference.
fn extremes(scope: &ScopeReport) -> Option<(usize, usize)> {
    let f1 = |class: usize| scope.confusion.class(class).f1;
    let mut all = scope.confusion.worst();
    all.retain(|&it| scope.confusion.class(it).support > 0);
    let best = all.iter().copied().max_by(|&a, &b| f1(a).total_cmp(&f1(b)).then(b.cmp(&a)))?;
    let worst = all.iter().copied().min_by(|&a, &b| f1(a).total_cmp(&f1(b)).then(a.cmp(&b)))?;
    (f1(best) > f1(worst)).then_some((best, worst))
}

/// Draws a share as a bar, in eighths of a column.
fn bar(share: f64) -> String {
    let eighths = (share.clamp(0.0, 1.0) * 8.0 * BAR as f64).round() as usize;
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    "█".repeat(eighths / 8) + rest
}

/// Formats the classes with the lowest F1, of many.
fn worst_classes(scope: &ScopeReport) -> String {
    let worst = scope.confusion.worst();
    let n_shown = worst.len().min(N_SHOWN);
    let header = ["", "class", "precision", "recall", "f1-score", "", "support"];
    let rows = worst.iter().take(N_SHOWN).map(|&class| {
        let it = scope.confusion.class(class);
        let [precision, recall, f1] = scores(scope, class);
        let (number, name) = (class.to_string(), cut(&scope.classes[class], NAME));
        let bar = padded(&bar(it.f1), BAR);
        [number, name, precision, recall, f1, bar, it.support.to_string()]
    });
    let rows: Vec<_> = std::iter::once(header.map(str::to_owned)).chain(rows).collect();
    let n = scope.classes.len();
    let mut text = format!("the {n_shown} of {n} classes with the lowest f1-score\n");
    text += &headed(&columns(&rows, &[true, false, true, true, true, false, true]));
    text += "\n";
    match n - worst.len() {
        0 => {}
        n_absent => text += &format!("{n_absent} classes without true or predicted images\n"),
    }
    text
}

/// Formats the most frequent confusions, of many classes.
fn confusion_list(scope: &ScopeReport) -> String {
    let confusions = scope.confusion.confusions();
    let n_errors: usize = confusions.iter().map(|it| it.2).sum();
    let n_shown = confusions.len().min(N_SHOWN);
    let mut text = format!("the {n_shown} most frequent of {} confusions\n", confusions.len());
    let header = ["true", "", "predicted", "images", "of class", "of errors"];
    let rows = confusions.iter().take(N_SHOWN).map(|&(actual, predicted, n)| {
        let share = |of: usize| format!("{:.1} %", 100.0 * n as f64 / of.max(1) as f64);
        let name = |class: usize| cut(&scope.classes[class], NAME);
        let of_class = share(scope.confusion.class(actual).support);
        [name(actual), "->".to_owned(), name(predicted), n.to_string(), of_class, share(n_errors)]
    });
    let rows: Vec<_> = std::iter::once(header.map(str::to_owned)).chain(rows).collect();
    text += &headed(&columns(&rows, &[false, false, false, true, true, true]));
    text + "\n"
}

/// Formats the confusion matrix: rows are true classes, columns predicted classes, zeros are dots.
///
/// Where it is too wide with names, a factor's names are cut, and the joint classes, which the table of classes
/// names, have numbers only; `None` if it is still too wide.
fn confusion_table(scope: &ScopeReport) -> Option<String> {
    let n = scope.classes.len();
    if n > MANY {
        return None;
    }
    let digits = |n: usize| n.to_string().len();
    let cell = |predicted: usize| {
        let most = (0..n).map(|actual| scope.confusion.count(actual, predicted)).max();
        1 + digits(predicted).max(digits(most.unwrap_or(0)))
    };
    let cells: Vec<usize> = (0..n).map(cell).collect();
    // A row begins with a number; a name has a space on each side.
    let room = WIDTH.checked_sub(4 + cells.iter().sum::<usize>())?;
    let width = width(scope);
    let width = match scope.scope {
        _ if width < room => width,
        Scope::Joint => 0,
        Scope::Factor(_) if SHORT < room => room - 1,
        Scope::Factor(_) => return None,
    };
    let side = |number: &str, name: &str| match width {
        0 => format!("{number:>4}"),
        _ => format!("{number:>3} {} ", padded(&cut(name, width), width)),
    };
    let row = |side: String, cell: &dyn Fn(usize) -> String| {
        let cells = (0..n).zip(&cells).map(|(idx, &width)| format!("{:>width$}", cell(idx)));
        side + &cells.collect::<String>() + "\n"
    };
    let label = if width == 0 { side("true", "") } else { side("", "true") };
    let mut text = side("", "") + " predicted\n" + &row(label, &|it| it.to_string());
    for (actual, name) in scope.classes.iter().enumerate() {
        let count = |predicted| match scope.confusion.count(actual, predicted) {
            0 => ".".to_owned(),
            it => it.to_string(),
        };
        text += &row(side(&actual.to_string(), name), &count);
    }
    Some(text)
}

/// Returns the width of the names of classes.
fn width(scope: &ScopeReport) -> usize {
    scope.classes.iter().map(|it| it.width()).max().unwrap_or(0).clamp(5, NAME)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base::{Seed, Task, task::Factor};
    use metrics::{AttributeReport, Evaluation, Gap, Interval, Prediction, Report, ValueReport};

    use unicode_width::UnicodeWidthStr as _;

    use super::{BAR, Counted, bar, counted, report};

    /// Adds an image that is predicted with certainty.
    fn add(evaluation: &mut Evaluation, n: usize, class: usize, predicted: usize, group: usize) {
        let mut probabilities = vec![0.0; n];
        probabilities[predicted] = 1.0;
        evaluation.add(&Prediction {
            probabilities: &probabilities,
            predicted,
            class,
            group,
            number: None,
            true_number: None,
        });
    }

    #[test]
    fn with_many_classes_only_the_most_and_the_least_frequent_are_listed() {
        let all: Vec<Counted> = (0..30).map(Counted::Class).collect();
        assert_eq!(counted(&[7; 30]), all);
        let counts: Vec<usize> = (0..1000).map(|it| 2 * it).collect();
        let rows = counted(&counts);
        assert_eq!(rows.len(), 31);
        assert_eq!((rows[0], rows[30]), (Counted::Class(999), Counted::Class(0)));
        assert_eq!(rows[15], Counted::Between { n: 970, least: 30, most: 1968 });
    }

    #[test]
    fn bars_fit_their_column() {
        let bars = [0.0, 0.01, 0.5, 0.55, 1.0].map(bar);
        assert_eq!(bars, ["", "▏", "███▌", "███▉", "███████"]);
        assert!(bars.iter().all(|it| it.width() <= BAR));
    }

    #[test]
    fn classes_are_aligned_within_80_columns_and_the_best_and_the_worst_are_marked() {
        let levels = ["마스크 착용", "a class with a name that is too long", "없음", "d"];
        let task = Task::new(vec![Factor::new("mask", &levels)]);
        let mut evaluation = Evaluation::new(&task);
        for (image, (class, predicted)) in
            [(0, 0), (0, 1), (1, 1), (1, 1), (1, 1), (0, 3)].into_iter().enumerate()
        {
            add(&mut evaluation, 4, class, predicted, image);
        }
        let text = report("validation set", &evaluation.report(Seed(0)), Path::new("valid"));
        let text = anstream::adapter::strip_str(&text).to_string();
        let table = text.split_once("\n\n").unwrap().0;
        expect_test::expect![[r#"
            validation set: 6 images of 6 groups
                class                   precision  recall  f1-score           support
              0 마스크 착용                 1.000   0.333     0.500  ███▌           3  worst
              1 a class with a name t…      0.750   1.000     0.857  ██████         3  best
              2 없음                            -       -         -                 0
              3 d                           0.000       -     0.000                 0"#]]
        .assert_eq(table);
        // Two of four classes mean something, two of two nothing.
        let scores = |text: &str| {
            let line = text.lines().rfind(|it| it.starts_with("joint") || it.starts_with("mask"));
            line.unwrap().split_whitespace().nth(5).unwrap().to_owned()
        };
        assert_ne!(scores(&text), "-");
        let mut evaluation = Evaluation::new(&Task::new(vec![Factor::new("mask", &["a", "b"])]));
        add(&mut evaluation, 2, 0, 1, 0);
        let text = report("validation set", &evaluation.report(Seed(0)), Path::new("valid"));
        assert_eq!(scores(&anstream::adapter::strip_str(&text).to_string()), "-");
        assert!(table.lines().all(|it| it.width() <= 80), "{table}");
    }

    #[test]
    fn a_confusion_matrix_that_is_too_wide_has_no_names() {
        let task = Task::mask_gender_age();
        let mut evaluation = Evaluation::new(&task);
        for image in 0..3600 {
            let class = image % 18;
            let predicted = if image % 7 == 0 { 0 } else { class };
            add(&mut evaluation, 18, class, predicted, image % 50);
        }
        let text = report("validation set", &evaluation.report(Seed(0)), Path::new("valid"));
        let text = anstream::adapter::strip_str(&text).to_string();
        assert!(text.lines().all(|it| it.width() <= 80), "{text}");
        let matrix = text.split_once("confusion matrix: joint\n").unwrap().1;
        let matrix = matrix.split_once("\nconfusion matrix: gender").unwrap().0;
        expect_test::expect![[r#"
                 predicted
            true   0   1   2   3   4   5   6   7   8   9  10  11  12  13  14  15  16  17
               0 200   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
               1  28 172   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
               2  29   . 171   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
               3  29   .   . 171   .   .   .   .   .   .   .   .   .   .   .   .   .   .
               4  28   .   .   . 172   .   .   .   .   .   .   .   .   .   .   .   .   .
               5  28   .   .   .   . 172   .   .   .   .   .   .   .   .   .   .   .   .
               6  29   .   .   .   .   . 171   .   .   .   .   .   .   .   .   .   .   .
               7  29   .   .   .   .   .   . 171   .   .   .   .   .   .   .   .   .   .
               8  28   .   .   .   .   .   .   . 172   .   .   .   .   .   .   .   .   .
               9  29   .   .   .   .   .   .   .   . 171   .   .   .   .   .   .   .   .
              10  29   .   .   .   .   .   .   .   .   . 171   .   .   .   .   .   .   .
              11  28   .   .   .   .   .   .   .   .   .   . 172   .   .   .   .   .   .
              12  28   .   .   .   .   .   .   .   .   .   .   . 172   .   .   .   .   .
              13  29   .   .   .   .   .   .   .   .   .   .   .   . 171   .   .   .   .
              14  29   .   .   .   .   .   .   .   .   .   .   .   .   . 171   .   .   .
              15  28   .   .   .   .   .   .   .   .   .   .   .   .   .   . 172   .   .
              16  29   .   .   .   .   .   .   .   .   .   .   .   .   .   .   . 171   .
              17  29   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .   . 171

            confusion matrix: mask
                           predicted
                true          0    1    2
              0 worn       1200    .    .
              1 incorrect   172 1028    .
              2 not worn    172    . 1028
        "#]]
        .assert_eq(matrix);
    }

    #[test]
    fn scores_by_attribute_fit_80_columns() {
        let interval =
            |value: f64, off: f64| Interval { value, low: value - off, high: value + off };
        let value = |value: Option<&str>, n_values, counts: [usize; 2], scores: [Interval; 2]| {
            ValueReport {
                value: value.map(str::to_owned),
                n_values,
                n_images: counts[0],
                n_groups: counts[1],
                macro_f1: scores[0],
                accuracy: scores[1],
            }
        };
        let values = vec![
            value(Some(""), 1, [1, 1], [interval(1.0, f64::NAN); 2]),
            value(Some("B"), 1, [20, 3], [interval(0.25, 0.15), interval(0.3, 0.1)]),
            value(
                Some("a value with a long name"),
                1,
                [1_234_567, 100_000],
                [interval(0.5, 0.1), interval(0.6, 0.1)],
            ),
            value(None, 990, [990, 990], [interval(0.5, 0.1); 2]),
        ];
        let gap = Gap {
            lowest: "B".to_owned(),
            highest: "a value with a long name".to_owned(),
            difference: interval(0.3, 0.15),
        };
        // The scores of one value are those of the set.
        let one =
            AttributeReport { name: "one".to_owned(), values: values[..1].to_vec(), gap: None };
        let site = AttributeReport { name: "site".to_owned(), values, gap: Some(gap) };
        let mut evaluation = Evaluation::new(&Task::new(vec![Factor::new("class", &["a", "b"])]));
        add(&mut evaluation, 2, 0, 0, 0);
        let all = Report { attributes: vec![one, site], ..evaluation.report(Seed(0)) };
        let text = report("validation set", &all, Path::new("valid"));
        let text = anstream::adapter::strip_str(&text).to_string();
        assert!(text.lines().all(|it| it.width() <= 80), "{text}");
        assert!(!text.contains("\none "), "{text}");
        let table = &text[text.find("\nsite ").unwrap() + 1..];
        expect_test::expect![[r#"
            site               images  groups  macro F1      95 % CI  accuracy      95 % CI
            (empty)                 1       1    1.0000            -    1.0000            -
            B                      20       3    0.2500  0.100-0.400    0.3000  0.200-0.400
            a value with a …  1234567  100000    0.5000  0.400-0.600    0.6000  0.500-0.700
            990 others            990     990    0.5000  0.400-0.600    0.5000  0.400-0.600
            largest gap of accuracy: 0.3000 between B and a value with a … (95 % CI: 0.1500
            to 0.4500)
        "#]]
        .assert_eq(table);
    }

    #[test]
    fn with_a_thousand_classes_the_worst_and_the_most_frequent_confusions_are_shown() {
        let levels: Vec<String> = (0..1000).map(|it| format!("class {it}")).collect();
        let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
        let task = Task::new(vec![Factor::new("class", &levels)]);
        let mut evaluation = Evaluation::new(&task);
        for image in 0..5000 {
            let class = image % 998;
            // Every tenth class is predicted as the next one, more often the larger its number.
            let is_wrong = class % 10 == 0 && image / 998 < class / 200;
            add(&mut evaluation, 1000, class, class + usize::from(is_wrong), image / 7);
        }
        let text = report("validation set", &evaluation.report(Seed(0)), Path::new("runs/a/valid"));
        let text = anstream::adapter::strip_str(&text).to_string();
        assert!(text.lines().count() < 50, "{text}");
        assert!(text.contains("the 15 of 1000 classes with the lowest f1-score\n"), "{text}");
        assert!(text.contains("2 classes without true or predicted images\n"), "{text}");
        assert!(text.contains("class 800  ->  class 801"), "{text}");
        assert!(text.contains("all classes: runs/a/valid_classes.csv"), "{text}");
        assert!(text.contains("bal. acc   top-5  log loss"), "{text}");
        assert!(text.lines().all(|it| it.width() <= 80), "{text}");
    }
}
