//! Tables: classification reports, confusion matrices, and plain columns.

use std::{cmp::Reverse, path::Path};

use base::task::Scope;
use metrics::{Interval, Report, ScopeReport};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::style::{BEST, HEADING, WORST, headed, paint};

/// Width of a terminal, at least.
pub(crate) const WIDTH: usize = 80;
/// With more classes than this, a table shows only the worst or most extreme ones.
pub(crate) const MANY: usize = 30;
/// Number of rows to show with many classes.
const N_SHOWN: usize = 15;

/// Width of a bar.
const BAR: usize = 7;
/// Maximum width of the name of a class: with it a marked row has [`WIDTH`] columns.
const NAME: usize = 22;
/// Maximum width of the name of a scope: with it a row of scores has [`WIDTH`] columns.
const SCOPE: usize = 11;
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
    for ScopeReport { name, scores, macro_f1, .. } in &report.scopes {
        let cell = |score: f64| format!("{score:.4}");
        rows.push([
            cut(name, SCOPE),
            cell(scores.macro_f1),
            format!("{:.3}-{:.3}", macro_f1.low, macro_f1.high),
            cell(scores.accuracy),
            cell(scores.balanced_accuracy),
            cell(scores.top_k),
            cell(scores.log_loss),
            cell(scores.expected_calibration_error),
        ]);
    }
    let scores = columns(&rows, &[false, true, true, true, true, true, true, true]);
    text += &format!("\n{}\n", headed(&scores));
    if let Some(mae) = report.mae {
        text += &format!("MAE: {mae:.2}\n");
    }
    text
}

/// Formats rows as a table, with columns as wide as their widest cell.
///
/// - `right`: whether each column is right-aligned, as numbers are.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]], right: &[bool; N]) -> String {
    let width = |idx: usize| rows.iter().map(|it| it[idx].width()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).zip(right).map(|((cell, width), right)| match right {
            true => " ".repeat(width - cell.width()) + cell,
            false => padded(cell, width),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Breaks text after commas into lines of at most [`WIDTH`] columns; the lines after the first are indented by
/// the width of the label.
pub(crate) fn fold(label: &str, text: &str) -> String {
    let (mut lines, mut line) = (String::new(), label.to_owned());
    for (idx, part) in text.split_inclusive(", ").enumerate() {
        if idx > 0 && line.width() + part.trim_end().width() > WIDTH {
            lines += line.trim_end();
            lines.push('\n');
            line = " ".repeat(label.width());
        }
        line += part;
    }
    lines + &line
}

/// Pads text with spaces at the end to a width in columns of a terminal.
pub(crate) fn padded(text: &str, width: usize) -> String {
    text.to_owned() + &" ".repeat(width.saturating_sub(text.width()))
}

/// Cuts text to a width in columns of a terminal; `…` replaces what is cut off.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut short, mut taken) = (String::new(), 1);
    for letter in text.chars() {
        taken += letter.width().unwrap_or(0);
        if taken > width {
            break;
        }
        short.push(letter);
    }
    short + "…"
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
        let row = format!(
            "{class:>3} {}  {:>9.3}  {:>6.3}  {:>8.3}  {}  {:>7}",
            padded(&cut(name, width), width),
            it.precision,
            it.recall,
            it.f1,
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

/// Returns the classes with the highest and the lowest F1, the first of several; `None` if there is no
/// difference. Classes that neither occur nor are predicted have none.
fn extremes(scope: &ScopeReport) -> Option<(usize, usize)> {
    let f1 = |class: usize| scope.confusion.class(class).f1;
    let all = scope.confusion.worst();
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
        let [precision, recall, f1] = [it.precision, it.recall, it.f1].map(|it| format!("{it:.3}"));
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
    use metrics::{Evaluation, Prediction};

    use unicode_width::UnicodeWidthStr as _;

    use super::{BAR, Counted, bar, counted, cut, fold, report};

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
    fn text_is_broken_after_commas() {
        assert_eq!(fold("plan:  ", "2 epochs, 10 steps"), "plan:  2 epochs, 10 steps");
        let text = ["a".repeat(40), "b".repeat(31), "c".repeat(90), "d".to_owned()].join(", ");
        let [a, b, c] = [("a", 40), ("b", 31), ("c", 90)].map(|it| it.0.repeat(it.1));
        assert_eq!(fold("to: ", &text), format!("to: {a}, {b},\n    {c},\n    d"));
        let text = text.replacen('b', "bb", 5);
        assert!(fold("to: ", &text).starts_with(&format!("to: {a},\n    bbbbb")));
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
    fn bars_and_names_fit_their_columns() {
        let bars = [0.0, 0.01, 0.5, 0.55, 1.0].map(bar);
        assert_eq!(bars, ["", "▏", "███▌", "███▉", "███████"]);
        assert!(bars.iter().all(|it| it.width() <= BAR));
        assert_eq!(cut("worn male <30", 13), "worn male <30");
        assert_eq!(cut("worn male <30", 12), "worn male <…");
        // A letter of Hangul takes two columns.
        assert_eq!(cut("마스크 미착용", 13), "마스크 미착용");
        assert_eq!(cut("마스크 미착용", 12), "마스크 미착…");
        assert_eq!(cut("마스크 미착용", 11), "마스크 미…");
    }

    #[test]
    fn classes_are_aligned_within_80_columns_and_the_best_and_the_worst_are_marked() {
        let levels = ["마스크 착용", "a class with a name that is too long", "없음"];
        let task = Task::new(vec![Factor::new("mask", &levels)]);
        let mut evaluation = Evaluation::new(&task);
        for (image, (class, predicted)) in
            [(0, 0), (0, 1), (1, 1), (1, 1), (1, 1)].into_iter().enumerate()
        {
            add(&mut evaluation, 3, class, predicted, image);
        }
        let text = report("validation set", &evaluation.report(Seed(0)), Path::new("valid"));
        let text = anstream::adapter::strip_str(&text).to_string();
        let table = text.split_once("\n\n").unwrap().0;
        expect_test::expect![[r#"
            validation set: 5 images of 5 groups
                class                   precision  recall  f1-score           support
              0 마스크 착용                 1.000   0.500     0.667  ████▋          2  worst
              1 a class with a name t…      0.750   1.000     0.857  ██████         3  best
              2 없음                        0.000   0.000     0.000                 0"#]]
        .assert_eq(table);
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
