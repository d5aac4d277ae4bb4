//! The table of epochs that is printed during training: a row for each evaluation, within 80 columns.
//!
//! Scores are those on the validation set. Factors that do not fit beside the others are left out;
//! `epochs.csv` has all of them, and `timing.csv` the throughput and the data wait.

use trainer::EpochReport;
use unicode_width::UnicodeWidthStr as _;

use crate::{
    phrases::{epoch, metric, seconds},
    style::{BEST, HEADING, paint},
    wrap::{WIDTH, cut},
};

/// Minimum width of a score, such as `0.1234`.
const SCORE: usize = 6;
/// Maximum width of a word of the header.
const WORD: usize = 12;
/// Space between columns.
const GAP: usize = 2;
/// Width of the longest mark at the end of a row, with the gap before it.
const MARK: usize = GAP + "biased".len();

/// A column: two lines of header, and the value of a row.
struct Column {
    header: [String; 2],
    value: String,
    width: usize,
}

impl Column {
    /// - `width`: the minimum width.
    /// - `most`: the maximum width of each line of the header.
    fn new(header: [&str; 2], value: String, width: usize, most: usize) -> Column {
        let header = header.map(|it| cut(it, most));
        let width = header.iter().map(|it| it.width()).fold(width, usize::max);
        Column { header, value, width }
    }

    /// A column of this name, the last word of which is in the second line.
    fn named(name: &str, value: String, width: usize) -> Column {
        let (above, below) = name.rsplit_once(' ').unwrap_or(("", name));
        Column::new([above, below], value, width, WORD)
    }
}

/// Formats the header.
pub(crate) fn header(report: &EpochReport) -> String {
    let columns = columns(report);
    let of = |idx: usize| line(columns.iter().map(|it| (it.header[idx].as_str(), it.width)));
    [0, 1].map(|idx| paint(HEADING, of(idx))).join("\n")
}

/// Formats the row of an evaluation; the best so far is marked.
pub(crate) fn row(report: &EpochReport) -> String {
    let columns = columns(report);
    let row = line(columns.iter().map(|it| (it.value.as_str(), it.width)));
    match (report.trained_on_valid, report.is_best) {
        (true, _) => row + "  biased",
        (false, true) => paint(BEST, row + "  best"),
        (false, false) => row,
    }
}

fn columns(report: &EpochReport) -> Vec<Column> {
    let joint = report.scores[0].1;
    let mut scores = vec![
        ("log_loss", joint.log_loss),
        ("accuracy", joint.accuracy),
        ("macro_f1", joint.macro_f1),
    ];
    match scores.iter_mut().find(|it| it.0 == report.metric) {
        // Its settings may differ from those of the other reports.
        Some(it) => it.1 = report.score,
        None => scores.insert(0, (report.metric, report.score)),
    }
    let mut columns = vec![
        Column::named("epoch", epoch(report.epoch), 0),
        Column::named("train loss", score(report.train_loss), SCORE),
    ];
    columns.extend(scores.iter().map(|it| Column::named(&metric(it.0), score(it.1), SCORE)));
    let spent = seconds(report.train_seconds + report.eval_seconds);
    let time = Column::named("time", spent, "59m 59s".len());

    let taken: usize = columns.iter().chain([&time]).map(|it| it.width + GAP).sum();
    let room = (WIDTH + GAP).saturating_sub(taken + MARK);
    let factors = &report.scores[1..];
    let share = room / factors.len().max(1);
    let most = share.saturating_sub(GAP).clamp(SCORE, WORD);
    let factors = factors.iter().take(room / (most + GAP));
    columns.extend(
        factors.map(|(name, it)| Column::new([name, "F1"], score(it.macro_f1), SCORE, most)),
    );
    columns.push(time);
    columns
}

/// Formats a number in [`SCORE`] columns.
fn score(x: f64) -> String {
    let n_more_digits = (x.abs().max(1.0).log10() as usize).min(4);
    format!("{x:.*}", 4 - n_more_digits)
}

/// Joins right-aligned cells of these widths.
fn line<'a>(cells: impl Iterator<Item = (&'a str, usize)>) -> String {
    let padded =
        |(cell, width): (&str, usize)| " ".repeat(width.saturating_sub(cell.width())) + cell;
    let line = cells.map(padded).collect::<Vec<_>>().join(&" ".repeat(GAP));
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use trainer::{EpochReport, MainScores};
    use unicode_width::UnicodeWidthStr as _;

    use super::{header, row, score};

    /// The header and a row of a run with these factors.
    fn table(metric: &'static str, factors: &[&str]) -> String {
        let scores = MainScores { macro_f1: 0.5521, accuracy: 0.6123, log_loss: 1.2031 };
        let names = ["joint"].iter().chain(factors);
        let report = EpochReport {
            step: 6288,
            epoch: 11.0,
            train_loss: 0.84213,
            scores: names.map(|it| ((*it).to_owned(), scores)).collect(),
            metric,
            score: 0.5521,
            is_best: true,
            trained_on_valid: false,
            images_per_second: 120.0,
            data_wait: 0.01,
            train_seconds: 700.0,
            eval_seconds: 23.0,
        };
        let biased = EpochReport { trained_on_valid: true, epoch: 11.25, ..report.clone() };
        let text = [header(&report), row(&report), row(&biased)].join("\n");
        let text = anstream::adapter::strip_str(&text).to_string();
        assert!(text.lines().all(|it| it.width() <= 80), "{text}");
        text
    }

    #[test]
    fn tables_of_one_and_of_three_factors_fit_80_columns() {
        expect![[r#"
                    train     log             macro
            epoch    loss    loss  accuracy      F1     time
               11  0.8421  1.2031    0.6123  0.5521  12m 03s  best
            11.25  0.8421  1.2031    0.6123  0.5521  12m 03s  biased"#]]
        .assert_eq(&table("macro_f1", &[]));
        expect![[r#"
                    train     log             macro    mask  gender     age
            epoch    loss    loss  accuracy      F1      F1      F1      F1     time
               11  0.8421  1.2031    0.6123  0.5521  0.5521  0.5521  0.5521  12m 03s  best
            11.25  0.8421  1.2031    0.6123  0.5521  0.5521  0.5521  0.5521  12m 03s  biased"#]]
        .assert_eq(&table("macro_f1", &["mask", "gender", "age"]));
    }

    #[test]
    fn other_metrics_have_a_column_and_long_names_are_cut() {
        expect![[r#"
                    train     ROC     log             macro   마스…  hair …
            epoch    loss     AUC    loss  accuracy      F1      F1      F1     time
               11  0.8421  0.5521  1.2031    0.6123  0.5521  0.5521  0.5521  12m 03s  best
            11.25  0.8421  0.5521  1.2031    0.6123  0.5521  0.5521  0.5521  12m 03s  biased"#]]
        .assert_eq(&table("roc_auc", &["마스크 착용", "hair colour"]));
        for metric in ["expected_calibration_error", "balanced_accuracy", "log_loss"] {
            table(metric, &["a", "b", "c", "d", "e", "f", "g"]);
            table(metric, &["a factor with a name that is long", "another one of those"]);
        }
    }

    #[test]
    fn large_numbers_are_as_wide_as_small_ones() {
        let numbers = [0.12346, 12.3456, 123.456, 12345.6, f64::NAN, f64::INFINITY].map(score);
        assert_eq!(numbers, ["0.1235", "12.346", "123.46", "12346", "NaN", "inf"]);
    }
}
