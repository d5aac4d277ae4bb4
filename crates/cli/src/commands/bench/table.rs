//! The profile of a pass as a table: the time spent, and its lower bound (roofline).

use std::collections::BTreeMap;

use ops::{OpTotals, Phase, Roofline};

/// The cost of steps, by operation.
pub(super) struct StepProfile {
    pub(super) totals: ops::Profile,
    /// Number of steps in the sums.
    pub(super) n_steps: usize,
    /// Total of all steps: the operations and everything else.
    pub(super) seconds: f64,
}

/// Returns a table with a row per layer kind and pass.
pub(super) fn by_kind(profile: &StepProfile, roofline: Roofline) -> String {
    let mut kinds = BTreeMap::<(String, Phase), (OpTotals, f64)>::new();
    for ((kind, _, phase), op) in &profile.totals {
        let (sum, floor) = kinds.entry((kind.clone(), *phase)).or_default();
        sum.calls += op.calls;
        sum.seconds += op.seconds;
        sum.flops += op.flops;
        sum.bytes += op.bytes;
        // Summed over shapes: one may be memory-bound where another is compute-bound.
        *floor += roofline.floor(op.flops, op.bytes);
    }
    let rows = kinds.into_iter().map(|((kind, phase), (op, floor))| (kind, phase, op, floor));
    table(rows.collect(), profile)
}

/// Returns a table with a row per layer shape and pass.
pub(super) fn by_shape(profile: &StepProfile, roofline: Roofline) -> String {
    let rows = profile.totals.iter().map(|((kind, shape, phase), op)| {
        let name = format!("{kind}  {shape}");
        (name.trim_end().to_owned(), *phase, *op, roofline.floor(op.flops, op.bytes))
    });
    table(rows.collect(), profile)
}

/// Formats the rows in descending order of time; the last two rows are everything else, and the total.
fn table(mut rows: Vec<(String, Phase, OpTotals, f64)>, profile: &StepProfile) -> String {
    rows.sort_by(|a, b| b.2.seconds.total_cmp(&a.2.seconds));
    let mut all = OpTotals::default();
    let mut total_floor = 0.0;
    for (_, _, op, floor) in &rows {
        all.calls += op.calls;
        all.seconds += op.seconds;
        all.flops += op.flops;
        all.bytes += op.bytes;
        total_floor += floor;
    }
    let rest = OpTotals { seconds: profile.seconds - all.seconds, ..OpTotals::default() };
    all.seconds = profile.seconds;
    let width = rows.iter().map(|it| it.0.chars().count()).max().unwrap_or(0).max(15);
    let mut text = format!(
        "{:<width$}  {:<8} {:>5} {:>8} {:>6} {:>8} {:>8} {:>8} {:>7} {:>9}\n",
        "per step", "", "calls", "ms", "share", "GFLOP", "GFLOP/s", "MB", "GB/s", "floor ms"
    );
    let n = profile.n_steps as f64;
    let mut row = |name: &str, phase: &str, it: OpTotals, floor: f64| {
        let some = |x: f64, digits: usize| match x > 0.0 {
            true => format!("{x:.digits$}"),
            false => String::new(),
        };
        let line = format!(
            "{name:<width$}  {phase:<8} {:>5} {:>8.2} {:>5.1}% {:>8} {:>8} {:>8} {:>7} {:>9}",
            some(it.calls as f64 / n, 0),
            it.seconds / n * 1e3,
            100.0 * it.seconds / profile.seconds,
            some(it.flops / n / 1e9, 3),
            some(it.flops / it.seconds / 1e9, 1),
            some(it.bytes / n / 1e6, 1),
            some(it.bytes / it.seconds / 1e9, 1),
            some(floor / n * 1e3, 2),
        );
        text += line.trim_end();
        text += "\n";
    };
    for (name, phase, op, floor) in &rows {
        let phase = match phase {
            Phase::Forward => "forward",
            Phase::Backward => "backward",
            Phase::Update => "update",
        };
        row(name, phase, *op, *floor);
    }
    row("everything else", "", rest, 0.0);
    row("total", "", all, total_floor);
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use ops::{OpTotals, Phase, Profile, Roofline};

    use super::{StepProfile, by_kind, by_shape};

    fn profile() -> StepProfile {
        let op = |calls, seconds, flops, bytes| OpTotals { calls, seconds, flops, bytes };
        let key = |kind: &str, shape: &str, phase| (kind.to_owned(), shape.to_owned(), phase);
        let totals = Profile::from([
            (key("depthwise 3x3", "7x7x8", Phase::Forward), op(2, 0.010, 2e8, 4e8)),
            (key("depthwise 3x3", "9x9x8", Phase::Forward), op(2, 0.030, 6e9, 4e7)),
            (key("norm", "", Phase::Backward), op(4, 0.050, 0.0, 0.0)),
        ]);
        StepProfile { totals, n_steps: 2, seconds: 0.1 }
    }

    const ROOFLINE: Roofline = Roofline { flops: 1e12, bytes: 1e11 };

    #[test]
    fn kinds_sum_their_shapes_and_the_floors_of_each_shape() {
        expect![[r#"
            per step                  calls       ms  share    GFLOP  GFLOP/s       MB    GB/s  floor ms
            norm             backward     2    25.00  50.0%
            depthwise 3x3    forward      2    20.00  40.0%    3.100    155.0    220.0    11.0      5.00
            everything else                     5.00  10.0%
            total                         4    50.00 100.0%    3.100     62.0    220.0     4.4      5.00
        "#]].assert_eq(&by_kind(&profile(), ROOFLINE));
    }

    #[test]
    fn shapes_have_a_row_each() {
        expect![[r#"
            per step                       calls       ms  share    GFLOP  GFLOP/s       MB    GB/s  floor ms
            norm                  backward     2    25.00  50.0%
            depthwise 3x3  9x9x8  forward      1    15.00  30.0%    3.000    200.0     20.0     1.3      3.00
            depthwise 3x3  7x7x8  forward      1     5.00  10.0%    0.100     20.0    200.0    40.0      2.00
            everything else                          5.00  10.0%
            total                              4    50.00 100.0%    3.100     62.0    220.0     4.4      5.00
        "#]].assert_eq(&by_shape(&profile(), ROOFLINE));
    }
}
