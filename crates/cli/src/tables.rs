//! Tables: final scores by class and who is taken for whom, and plain columns.

use metrics::{Interval, Report, ScopeReport};

/// The whole report on predictions, titled.
pub(crate) fn report(title: &str, report: &Report) -> String {
    let joint = report.joint();
    let mut text =
        format!("{title}: {} pictures of {} people\n", report.n_pictures, report.n_people);
    text += &class_table(joint);
    text += "\n";
    text += &confusion_table(joint);
    for scope in report.scopes.iter().skip(1) {
        text += &format!("\n{}\n", scope.name);
        text += &confusion_table(scope);
    }
    let header =
        ["", "macro F1", "95 % interval", "accuracy", "balanced", "top 2", "log loss", "ECE"];
    let mut rows = vec![header.map(str::to_owned)];
    for ScopeReport { name, scores, macro_f1, .. } in &report.scopes {
        let cell = |score: f64| format!("{score:.4}");
        rows.push([
            name.clone(),
            cell(scores.macro_f1),
            format!("{:.3} to {:.3}", macro_f1.low, macro_f1.high),
            cell(scores.accuracy),
            cell(scores.balanced_accuracy),
            cell(scores.top_2),
            cell(scores.log_loss),
            cell(scores.expected_calibration_error),
        ]);
    }
    text += &format!("\n{}\n", columns(&rows, &[false, true, true, true, true, true, true, true]));
    if let Some(years) = report.age_error {
        text += &format!("ages are {years:.2} years off on average\n");
    }
    text
}

/// Rows under each other, in columns as wide as their widest.
///
/// - `right`: whether each column is of numbers, which end below each other.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]], right: &[bool; N]) -> String {
    let width = |idx: usize| rows.iter().map(|it| it[idx].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).zip(right).map(|((cell, width), right)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A score with its interval, for a sentence.
pub(crate) fn interval(it: Interval) -> String {
    format!("{:.4} (95 % interval over people: {:.4} to {:.4})", it.value, it.low, it.high)
}

/// Precision, recall, F1 and support of each class.
fn class_table(scope: &ScopeReport) -> String {
    let width = width(scope);
    let mut text = format!("     {:width$}  precision  recall      F1  pictures\n", "class");
    for (class, name) in scope.classes.iter().enumerate() {
        let it = scope.confusion.class(class);
        text += &format!(
            "{class:>3}  {name:width$}  {:>9.3}  {:>6.3}  {:>6.3}  {:>8}\n",
            it.precision, it.recall, it.f1, it.support
        );
    }
    text
}

/// Rows are the truth, columns what was predicted; zeros are dots.
fn confusion_table(scope: &ScopeReport) -> String {
    let (width, n) = (width(scope), scope.classes.len());
    let most = (0..n).flat_map(|a| (0..n).map(move |b| scope.confusion.count(a, b))).max();
    let cell = most.unwrap_or(0).to_string().len().max(n.to_string().len()) + 1;
    let header: String = (0..n).map(|it| format!("{it:>cell$}")).collect();
    let mut text = format!("     {:width$}  taken for\n     {:width$} {header}\n", "", "truth");
    for (truth, name) in scope.classes.iter().enumerate() {
        let counts = (0..n).map(|predicted| match scope.confusion.count(truth, predicted) {
            0 => format!("{:>cell$}", "."),
            it => format!("{it:>cell$}"),
        });
        text += &format!("{truth:>3}  {name:width$} {}\n", counts.collect::<String>());
    }
    text
}

fn width(scope: &ScopeReport) -> usize {
    scope.classes.iter().map(|it| it.chars().count()).max().unwrap_or(0).max(5)
}
