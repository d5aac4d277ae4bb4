//! Tables: classification reports, confusion matrices, and plain columns.

use std::{cmp::Reverse, path::Path};

use metrics::{Interval, Report, ScopeReport};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::style::{BEST, HEADING, headed, paint};

/// With more classes than this, a table shows only the worst or most extreme ones.
pub(crate) const MANY: usize = 30;
/// Number of rows to show with many classes.
const WORST: usize = 15;

/// Width of a bar.
const BAR: usize = 7;
/// Maximum width of the name of a class: with it a row has 80 columns.
const NAME: usize = 22;

/// Formats the report on predictions, with a title.
///
/// - `files`: the path prefix of the CSV files of all classes and of all confusions.
pub(crate) fn report(title: &str, report: &Report, files: &Path) -> String {
    let joint = report.joint();
    let is_long = |it: &ScopeReport| it.classes.len() > MANY;
    let gap = if title.starts_with('\n') { "\n" } else { "" };
    let images = report.unit.images_of(report.n_images, report.n_groups);
    let mut text = format!("{gap}{}: {images}\n", paint(HEADING, title.trim_start()));
    match is_long(joint) {
        true => text += &worst_classes(joint),
        false => text += &class_table(joint),
    }
    text += "\n";
    for (idx, scope) in report.scopes.iter().enumerate() {
        if idx > 0 {
            text += &format!("\n{}\n", paint(HEADING, &scope.name));
        }
        text += &match is_long(scope) {
            true => confusion_list(scope),
            false => confusion_table(scope),
        };
    }
    if report.scopes.iter().any(is_long) {
        let files = files.display();
        text += &format!(
            "\nall classes: {files}_classes.csv; all confusions: {files}_confusions.csv\n"
        );
    }
    let top = format!("top-{} acc", joint.scores.k);
    let header = ["", "macro F1", "95 % CI", "accuracy", "balanced acc", &top, "log loss", "ECE"];
    let mut rows = vec![header.map(str::to_owned)];
    for ScopeReport { name, scores, macro_f1, .. } in &report.scopes {
        let cell = |score: f64| format!("{score:.4}");
        rows.push([
            name.clone(),
            cell(scores.macro_f1),
            format!("{:.3} to {:.3}", macro_f1.low, macro_f1.high),
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
    let between = &classes[WORST..classes.len() - WORST];
    let [most, least] = [0, between.len() - 1].map(|it| counts[between[it]]);
    let between = Counted::Between { n: between.len(), least, most };
    let ends = [&classes[..WORST], &classes[classes.len() - WORST..]];
    let [first, last] = ends.map(|it| it.iter().copied().map(Counted::Class));
    first.chain([between]).chain(last).collect()
}

/// Formats precision, recall, F1 and support of each class, as scikit-learn's `classification_report` does,
/// with a bar for the F1, and marks the class with the highest.
fn class_table(scope: &ScopeReport) -> String {
    let width = width(scope);
    let gap = " ".repeat(BAR);
    let header =
        format!("     {}  precision  recall  f1-score  {gap}  support", padded("class", width));
    let mut text = paint(HEADING, header) + "\n";
    let best = best_class(scope);
    for (class, name) in scope.classes.iter().enumerate() {
        let it = scope.confusion.class(class);
        let row = format!(
            "{class:>3}  {}  {:>9.3}  {:>6.3}  {:>8.3}  {}  {:>7}",
            padded(&cut(name, width), width),
            it.precision,
            it.recall,
            it.f1,
            padded(&bar(it.f1), BAR),
            it.support
        );
        text += &match best == Some(class) {
            true => paint(BEST, row + "  best") + "\n",
            false => row + "\n",
        };
    }
    text
}

/// Returns the class with the highest F1, the first of several; `None` if none is above 0.
fn best_class(scope: &ScopeReport) -> Option<usize> {
    let f1 = |class: &usize| scope.confusion.class(*class).f1;
    let all = (0..scope.classes.len()).filter(|it| f1(it) > 0.0);
    all.max_by(|a, b| f1(a).total_cmp(&f1(b)).then(b.cmp(a)))
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
    let n_shown = worst.len().min(WORST);
    let header = ["", "class", "precision", "recall", "f1-score", "", "support"];
    let rows = worst.iter().take(WORST).map(|&class| {
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
    let n_shown = confusions.len().min(WORST);
    let mut text = format!("the {n_shown} most frequent of {} confusions\n", confusions.len());
    let header = ["true", "", "predicted", "images", "share of class", "share of errors"];
    let rows = confusions.iter().take(WORST).map(|&(actual, predicted, n)| {
        let share = |of: usize| format!("{:.1} %", 100.0 * n as f64 / of.max(1) as f64);
        let name = |class: usize| scope.classes[class].clone();
        let of_class = share(scope.confusion.class(actual).support);
        [name(actual), "->".to_owned(), name(predicted), n.to_string(), of_class, share(n_errors)]
    });
    let rows: Vec<_> = std::iter::once(header.map(str::to_owned)).chain(rows).collect();
    text += &headed(&columns(&rows, &[false, false, false, true, true, true]));
    text + "\n"
}

/// Formats the confusion matrix: rows are true classes, columns predicted classes, zeros are dots.
fn confusion_table(scope: &ScopeReport) -> String {
    let (width, n) = (width(scope), scope.classes.len());
    let most = (0..n).flat_map(|a| (0..n).map(move |b| scope.confusion.count(a, b))).max();
    let cell = most.unwrap_or(0).to_string().len().max(n.to_string().len()) + 1;
    let header: String = (0..n).map(|it| format!("{it:>cell$}")).collect();
    let (blank, side) = (" ".repeat(width), padded("true", width));
    let mut text = format!("     {blank}  predicted\n     {side} {header}\n");
    for (actual, name) in scope.classes.iter().enumerate() {
        let counts = (0..n).map(|predicted| match scope.confusion.count(actual, predicted) {
            0 => format!("{:>cell$}", "."),
            it => format!("{it:>cell$}"),
        });
        let name = padded(&cut(name, width), width);
        text += &format!("{actual:>3}  {name} {}\n", counts.collect::<String>());
    }
    text
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

    use super::{BAR, Counted, bar, counted, cut, report};

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
    fn classes_are_aligned_within_80_columns_and_the_best_is_marked() {
        let levels = ["마스크 착용", "a class with a name that is too long", "없음"];
        let task = Task::new(vec![Factor::new("mask", &levels)]);
        let mut evaluation = Evaluation::new(&task);
        for (image, (class, predicted)) in
            [(0, 0), (0, 1), (1, 1), (1, 1), (1, 1)].into_iter().enumerate()
        {
            let mut p = [0.0; 3];
            p[predicted] = 1.0;
            let it = Prediction {
                probabilities: &p,
                predicted,
                class,
                group: image,
                number: None,
                true_number: None,
            };
            evaluation.add(&it);
        }
        let text = report("validation set", &evaluation.report(Seed(0)), Path::new("valid"));
        let text = anstream::adapter::strip_str(&text).to_string();
        let table = text.split_once("\n\n").unwrap().0;
        expect_test::expect![[r#"
            validation set: 5 images of 5 groups
                 class                   precision  recall  f1-score           support
              0  마스크 착용                 1.000   0.500     0.667  ████▋          2
              1  a class with a name t…      0.750   1.000     0.857  ██████         3  best
              2  없음                        0.000   0.000     0.000                 0"#]]
        .assert_eq(table);
        assert!(table.lines().all(|it| it.width() <= 80), "{table}");
    }

    #[test]
    fn with_a_thousand_classes_the_worst_and_the_most_frequent_confusions_are_shown() {
        let levels: Vec<String> = (0..1000).map(|it| format!("class {it}")).collect();
        let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
        let task = Task::new(vec![Factor::new("class", &levels)]);
        let mut evaluation = Evaluation::new(&task);
        let mut p = vec![0.0; 1000];
        for image in 0..5000 {
            let class = image % 998;
            // Every tenth class is predicted as the next one, more often the larger its number.
            let is_wrong = class % 10 == 0 && image / 998 < class / 200;
            let predicted = if is_wrong { class + 1 } else { class };
            p[predicted] = 1.0;
            let it = Prediction {
                probabilities: &p,
                predicted,
                class,
                group: image / 7,
                number: None,
                true_number: None,
            };
            evaluation.add(&it);
            p[predicted] = 0.0;
        }
        let text = report("validation set", &evaluation.report(Seed(0)), Path::new("runs/a/valid"));
        let text = anstream::adapter::strip_str(&text).to_string();
        assert!(text.lines().count() < 50, "{text}");
        assert!(text.contains("the 15 of 1000 classes with the lowest f1-score\n"), "{text}");
        assert!(text.contains("2 classes without true or predicted images\n"), "{text}");
        assert!(text.contains("class 800  ->  class 801"), "{text}");
        assert!(text.contains("all classes: runs/a/valid_classes.csv"), "{text}");
        assert!(text.contains("balanced acc  top-5 acc  log loss"), "{text}");
    }
}
