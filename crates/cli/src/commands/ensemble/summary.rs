//! What `maskfit ensemble` prints and writes to `report.toml`.

use base::task::Unit;
use ensemble::{By, Coverage, ReliabilityReport};
use metrics::Interval;

use super::scores::Scores;
use crate::{
    held_out::FitOn,
    style::headed,
    wrap::{columns, cut, wrapped},
};

/// Members that a matrix of correlations can show within the width of a terminal.
const MATRIX: usize = 12;
/// Pairs to show of more members, from each end.
const PAIRS: usize = 5;
/// Maximum width of the name of a member, and of a step.
const NAME: usize = 26;
const STEP: usize = 19;
/// A difference that is less is shown as 0.
const SHOWN: f64 = 0.000_05;

/// The results of `maskfit ensemble`.
pub(super) struct Summary {
    pub(super) by: By,
    pub(super) fit_on: FitOn,
    pub(super) unit: Unit,
    pub(super) members: Vec<MemberSummary>,
    /// How the errors of each two members are correlated.
    pub(super) correlation: Vec<Vec<f64>>,
    /// From the combination on, each with all before it.
    pub(super) steps: Vec<Step>,
    /// How often prediction sets of each level hold the true class; empty without sets.
    pub(super) coverage: Vec<Coverage>,
    /// What the prediction sets promise, in words.
    pub(super) promise: String,
    /// How far the nested probabilities can be believed.
    pub(super) reliability: ReliabilityReport,
    /// What the user should know of all this.
    pub(super) notes: Vec<String>,
}

/// One run among the members.
pub(super) struct MemberSummary {
    pub(super) name: String,
    /// The number of models: that of folds of a cross-validation.
    pub(super) n_models: usize,
    /// Where the combination has one.
    pub(super) weight: Option<f64>,
    pub(super) scores: Scores,
    /// How much better the ensemble is with it than without it, both nested; positive is better.
    pub(super) adds: Option<f64>,
}

/// A step from the members to the prediction.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) is_calibration: bool,
    /// The score that it is to improve.
    pub(super) by: By,
    /// The options that ask for it, for a text.
    pub(super) options: String,
    /// The scores on the images that it was fitted on, if something was fitted.
    pub(super) fitted: Option<Scores>,
    /// The scores where everything was fitted on other groups.
    pub(super) nested: Scores,
}

impl Step {
    /// Returns what the step makes worse, if anything, and how to leave it out: also the ECE, if it is a calibration.
    ///
    /// - `before`: the step before it.
    /// - `by`: a score that matters beside the one that it is to improve.
    fn harm(&self, before: &Step, by: By) -> Option<String> {
        let mut scores = vec![by];
        scores.extend(Some(self.by).filter(|it| *it != by));
        let of_score = |by: By| {
            let what = match by {
                By::MacroF1 => "lowers the nested macro F1",
                By::LogLoss => "raises the nested log loss",
            };
            (what, self.nested.gain_over(&before.nested, by))
        };
        let of_ece = || ("raises the nested ECE", self.nested.less_ece_than(&before.nested));
        let gains = scores.into_iter().map(of_score).chain(self.is_calibration.then(of_ece));
        let harm = |(what, gain): (&str, Interval)| {
            let how_sure = match gain.high < 0.0 {
                true => " (the interval of the difference excludes 0)",
                false => "",
            };
            (gain.value < -SHOWN).then(|| format!("{what}{how_sure}"))
        };
        let harms: Vec<String> = gains.filter_map(harm).collect();
        (!harms.is_empty()).then(|| {
            let (name, harms, options) = (&self.name, harms.join(" and "), &self.options);
            format!("`{name}` {harms}: leave it out (drop {options})")
        })
    }
}

impl Summary {
    /// Returns what the user should know: first which steps do harm.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = self.harms();
        notes.extend_from_slice(&self.notes);
        notes
    }

    fn harms(&self) -> Vec<String> {
        self.steps.windows(2).filter_map(|it| it[1].harm(&it[0], self.by)).collect()
    }

    /// Prints everything.
    pub(super) fn print(&self) {
        say!("\n{}", headed(&self.member_table()));
        if self.members.iter().any(|it| it.adds.is_some()) {
            let by = name(self.by);
            say!("adds: how much better the nested {by} is with it; positive is better");
        }
        if self.correlation.len() > 1 {
            say!("\n{}", self.correlations());
            say!("Members whose errors are less correlated gain more from each other.");
        }
        say!("\n{}", headed(&self.step_table()));
        if self.steps.len() > 1 {
            let text = format!(
                "how much better than the step before it, fitted than fitted and nested than nested, on the same \
                 resamples of the {}; positive is better",
                self.unit.many()
            );
            say!("{}", wrapped("difference: ", &text));
        }
        if self.steps.iter().any(|it| it.fitted.is_some()) {
            let (what, and) = match self.fit_on {
                FitOn::HeldOut => ("images", ""),
                FitOn::Test => ("test set", ", and no test score"),
            };
            say!("fitted: scored on the {what} it was fitted on: optimistic{and}");
            say!("nested: scored on {} it was not fitted on", self.unit.many());
        }
        self.harms().iter().for_each(|it| status!("note: {it}"));
        let calibrated = self.steps.windows(2).find(|it| it[1].is_calibration);
        if let Some([before, after]) = calibrated {
            let ece = |it: &Step| {
                let ece = it.nested.ece.centred_interval();
                format!("{:.4} [{:.4}, {:.4}]", ece.value, ece.low, ece.high)
            };
            say!("\nECE, nested: {} before, {} calibrated", ece(before), ece(after));
            let set = match self.fit_on {
                FitOn::HeldOut => "held-out images",
                FitOn::Test => "test set",
            };
            let text = format!(
                "of the joint classes on the {set}, before the decision; a report has the ECE of its own set, \
                 and of the predicted class after the decision"
            );
            say!("{}", wrapped("ECE: ", &text));
        }
        if !self.coverage.is_empty() {
            say!("\n{}", headed(&self.coverage_table()));
            say!("{}", wrapped("", &self.promise));
        }
        self.notes.iter().for_each(|it| status!("note: {it}"));
    }

    fn member_table(&self) -> String {
        let header = ["", "member", "weight", "macro F1", "95 % CI", "log loss", "adds"];
        let mut rows = vec![header.map(str::to_owned)];
        for (idx, it) in self.members.iter().enumerate() {
            let f1 = it.scores.macro_f1.interval();
            let folds =
                if it.n_models > 1 { format!(" ({} folds)", it.n_models) } else { String::new() };
            // The folds stay visible when a name is cut.
            let name = cut(&it.name, NAME.saturating_sub(folds.len())) + &folds;
            rows.push([
                (idx + 1).to_string(),
                name,
                it.weight.map_or("-".to_owned(), |it| format!("{it:.3}")),
                format!("{:.4}", f1.value),
                range(f1),
                format!("{:.4}", it.scores.log_loss.value),
                it.adds.map_or(String::new(), |it| format!("{it:+.4}")),
            ]);
        }
        columns(&rows, &[true, false, true, true, true, true, true])
    }

    /// Formats the correlations as a matrix, or of many members those of the extreme pairs.
    fn correlations(&self) -> String {
        let n = self.correlation.len();
        let cell = |x: f64| if x.is_nan() { "-".to_owned() } else { format!("{x:.2}") };
        let mut text = "correlation of errors\n".to_owned();
        if n <= MATRIX {
            let header = (1..=n).map(|it| format!("{it:>5}")).collect::<String>();
            text += &format!("   {header}");
            for (idx, row) in self.correlation.iter().enumerate() {
                let cells = row.iter().take(idx + 1).map(|&it| format!("{:>5}", cell(it)));
                text += &format!("\n{:>3}{}", idx + 1, cells.collect::<String>());
            }
            return text;
        }
        let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
        for a in 0..n {
            pairs
                .extend((0..a).map(|b| (self.correlation[a][b], a, b)).filter(|it| !it.0.is_nan()));
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let ends = [&pairs[..PAIRS.min(pairs.len())], &pairs[pairs.len().saturating_sub(PAIRS)..]];
        for (what, pairs) in ["lowest: ", "highest:"].into_iter().zip(ends) {
            let each = pairs.iter().map(|(x, a, b)| format!("{}-{} {x:.2}", b + 1, a + 1));
            text += &format!("{what} {}\n", each.collect::<Vec<_>>().join(", "));
        }
        text.trim_end().to_owned()
    }

    fn step_table(&self) -> String {
        let by = self.by;
        let other = match by {
            By::MacroF1 => By::LogLoss,
            By::LogLoss => By::MacroF1,
        };
        let header = ["", name(by), "95 % CI", "difference [95 % CI]", name(other)];
        let mut rows = vec![header.map(str::to_owned)];
        let mut before: Option<&Step> = None;
        for step in &self.steps {
            let names = match step.fitted {
                Some(_) => [format!("{} fitted", step.name), format!("{} nested", step.name)],
                None => [String::new(), step.name.clone()],
            };
            // What is not fitted is the same in both.
            let fitted_before = before.map(|it| it.fitted.as_ref().unwrap_or(&it.nested));
            let all = [
                (step.fitted.as_ref(), fitted_before),
                (Some(&step.nested), before.map(|it| &it.nested)),
            ];
            for (name, (scores, before)) in names.into_iter().zip(all) {
                let Some(scores) = scores else { continue };
                let own = scores.by(by).interval();
                let gain = before.map(|it| scores.gain_over(it, by));
                rows.push([
                    cut(&name, STEP),
                    format!("{:.4}", own.value),
                    range(own),
                    gain.map_or(String::new(), |it| {
                        format!("{:+.4} [{:+.4}, {:+.4}]", it.value, it.low, it.high)
                    }),
                    format!("{:.4}", scores.by(other).value),
                ]);
            }
            before = Some(step);
        }
        columns(&rows, &[false, true, true, true, true])
    }

    fn coverage_table(&self) -> String {
        let mut rows = vec![
            ["prediction sets", "true class in set", "classes", "one class"].map(str::to_owned),
        ];
        for it in &self.coverage {
            rows.push([
                format!("--sets {}", it.level),
                format!("{:.1} %", 100.0 * it.covered),
                format!("{:.2}", it.mean_size),
                format!("{:.1} %", 100.0 * it.single),
            ]);
        }
        columns(&rows, &[false, true, true, true])
    }
}

/// Returns the name of a score in texts.
pub(super) fn name(by: By) -> &'static str {
    match by {
        By::MacroF1 => "macro F1",
        By::LogLoss => "log loss",
    }
}

/// Formats an interval in 11 columns.
fn range(it: Interval) -> String {
    format!("{:.3}-{:.3}", it.low, it.high)
}

#[cfg(test)]
mod tests {
    use base::{Seed, Task, task::Unit};
    use ensemble::{By, Coverage, Reliability};
    use metrics::Bootstrapped;
    use unicode_width::UnicodeWidthStr as _;

    use super::{FitOn, MemberSummary, Scores, Step, Summary};

    fn scores(value: f64) -> Scores {
        let of = |value: f64| Bootstrapped { value, resamples: vec![value - 0.1, value + 0.1] };
        Scores { macro_f1: of(value), log_loss: of(2.5), ece: of(0.25) }
    }

    fn summary(n: usize, by: By) -> Summary {
        let member = |idx: usize| MemberSummary {
            name: format!("runs/사진-{}-{idx}", "아주 긴 이름 ".repeat(5)),
            n_models: 1 + idx % 2 * 19,
            weight: Some(1.0 / n as f64),
            scores: scores(0.5),
            adds: Some(-0.1234),
        };
        let step = |name: &str, value: f64| Step {
            name: name.to_owned(),
            is_calibration: name == "temperature",
            by: if name == "temperature" { By::LogLoss } else { by },
            options: format!("`--{name}`"),
            fitted: Some(scores(value + 0.1)),
            nested: scores(value),
        };
        Summary {
            by,
            fit_on: FitOn::HeldOut,
            unit: Unit::Person,
            members: (0..n).map(member).collect(),
            correlation: (0..n).map(|a| (0..n).map(|b| (a * b) as f64 / 300.0).collect()).collect(),
            steps: vec![step("rank average", 0.5), step("temperature", 0.4)],
            coverage: vec![Coverage { level: 0.95, covered: 0.9, mean_size: 123.4, single: 1.0 }],
            promise: String::new(),
            reliability: Reliability::new(&Task::mask_gender_age()).report(Seed(0)),
            notes: vec!["everything is known".to_owned()],
        }
    }

    #[test]
    fn tables_fit_a_terminal() {
        for n in [1, 2, 12, 13, 16] {
            for by in [By::MacroF1, By::LogLoss] {
                let it = summary(n, by);
                let all =
                    [it.member_table(), it.correlations(), it.step_table(), it.coverage_table()];
                for line in all.iter().flat_map(|it| it.lines()) {
                    assert!(line.width() <= 80, "{}: {line}", line.width());
                }
            }
        }
    }

    #[test]
    fn steps_are_compared_fitted_with_fitted_and_nested_with_nested() {
        let table = summary(2, By::MacroF1).step_table();
        let lines: Vec<&str> = table.lines().collect();
        // 0.5 and 0.4 nested, each 0.1 more fitted.
        assert!(lines[1].starts_with("rank average fitted "), "{table}");
        assert!(lines[1].contains("  0.6000  0.500-0.700  "), "{table}");
        assert!(lines[2].contains("0.5000  0.400-0.600  ") && !lines[2].contains('['), "{table}");
        assert!(lines[3].contains("-0.1000 [-0.1000, -0.1000]"), "{table}");
        assert!(lines[4].contains("-0.1000 [-0.1000, -0.1000]"), "{table}");
        // A step that is not fitted has the same predictions in both.
        let mut it = summary(2, By::MacroF1);
        it.steps[0].fitted = None;
        let table = it.step_table();
        assert!(table.lines().nth(2).unwrap().contains("+0.0000 [+0.0000, +0.0000]"), "{table}");
    }

    #[test]
    fn a_temperature_that_changes_no_class_has_no_difference_in_macro_f1() {
        // Fitted weights score more than nested ones; the classes stay as they are after them.
        let mut it = summary(2, By::MacroF1);
        it.steps[1].nested = it.steps[0].nested.clone();
        it.steps[1].fitted = it.steps[0].fitted.clone();
        let table = it.step_table();
        for line in [3, 4] {
            let line = table.lines().nth(line).unwrap();
            assert!(line.contains("+0.0000 [+0.0000, +0.0000]"), "{table}");
        }
    }

    #[test]
    fn positive_differences_are_better_by_every_score() {
        for (by, sign) in [(By::MacroF1, "+"), (By::LogLoss, "-")] {
            let mut it = summary(2, by);
            let scored = |value: f64| Scores { log_loss: scores(value).macro_f1, ..scores(value) };
            for (step, value) in it.steps.iter_mut().zip([0.5, 0.75]) {
                (step.fitted, step.nested) = (None, scored(value));
            }
            let table = it.step_table();
            assert!(table.contains(&format!("{sign}0.2500 [{sign}0.2500, ")), "{table}");
        }
    }

    #[test]
    fn steps_that_do_harm_are_named_with_the_options_to_drop() {
        let mut it = summary(2, By::MacroF1);
        assert_eq!(
            it.notes(),
            [
                "`temperature` lowers the nested macro F1 (the interval of the difference excludes 0): leave it out \
                 (drop `--temperature`)",
                "everything is known"
            ]
        );
        // By the score that it is to improve as well, and without a word where the interval contains 0.
        it.steps[1].nested = Scores { log_loss: scores(2.75).macro_f1, ..scores(0.5) };
        it.steps[1].nested.log_loss.resamples = vec![2.0, 3.0];
        let raises =
            "`temperature` raises the nested log loss: leave it out (drop `--temperature`)";
        assert_eq!(it.harms(), [raises]);
        // What is not shown is no harm; neither is what is better.
        it.steps[1].nested = scores(0.499_96);
        assert!(it.harms().is_empty());
        it.steps[1].nested = scores(0.75);
        assert!(it.harms().is_empty());
        // A calibration that improves the score, but not the calibration; another step is not asked for that.
        it.steps[1].nested.ece = scores(0.5).macro_f1;
        let raises = "`temperature` raises the nested ECE (the interval of the difference excludes 0): leave it out \
                      (drop `--temperature`)";
        assert_eq!(it.harms(), [raises]);
        it.steps[1].is_calibration = false;
        assert!(it.harms().is_empty());
    }

    #[test]
    fn of_many_members_only_extreme_pairs_are_shown() {
        let text = summary(13, By::MacroF1).correlations();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "correlation of errors");
        // The member 1 has 0 with all others; 12 and 13 have 11 · 12 / 300.
        assert!(lines[1].starts_with("lowest:  1-2 0.00, "), "{text}");
        assert!(lines[2].starts_with("highest: ") && lines[2].ends_with("12-13 0.44"), "{text}");
    }
}
